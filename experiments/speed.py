"""
How fast is a training step? Run it on an otherwise idle machine.

    python -m experiments.speed [--rounds 5] [--out results/speed.csv]

One process on one core, except where it says otherwise. The candidates take
turns, and each time is the median of the rounds.

autograd, default threads   an eager PyTorch loop as the 2022 reproduction
                            wrote it, with PyTorch's own choice of threads
autograd, 1 thread          the same, on one core
engine autograd             repro.py --engine autograd
engine compiled             repro.py's default, support/backprop.py
arithmetic limit            the step's multiply-adds, at the speed of a large
                            float32 matrix product on the same core
"""
import functools
import os
import platform
import statistics
import textwrap
import timeit

import joblib
import torch
import torch.nn.functional as F

import prepro
import repro
from experiments.markdown import results, table
from experiments.style import BLUE, canvas, png
from support import cli, engine, files, runs

CSV = os.path.join('results', 'speed.csv')
STEPS = ('autograd, default threads', 'autograd, 1 thread', 'engine autograd', 'engine compiled', 'arithmetic limit')
EVALUATION = 'evaluation, a pattern'
SECONDS_2022 = 90                       # the 2022 reproduction's 23 passes, as published: a laptop of 2020


def multiply_adds(net):
    """Multiply-adds of a training step: one a connection for sums, deltas and gradient each, one a change of weight."""
    _, connections, parameters = net.counts()['all']
    deltas = connections - net.counts()['H1'][1]                         # no delta goes down from H1
    return connections + deltas + connections + parameters


def eager_steps(net, X, T, n, threads):
    """n steps as an eager loop with torch.optim does them, H2 as three convolutions over concatenated maps."""
    torch.set_num_threads(threads)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03)
    for i in range(n):
        x = F.pad(X[i:i+1], (2, 2, 2, 2), value=-1.0)
        x = torch.tanh(F.conv2d(x, net.H1w, stride=2) + net.H1b)
        x = F.pad(x, (2, 2, 2, 2), value=-1.0)
        parts = x[:, 0:8], x[:, 4:12], torch.cat((x[:, 0:4], x[:, 8:12]), dim=1)
        x = torch.cat([F.conv2d(part, net.H2w[4*k:4*k + 4], stride=2) for k, part in enumerate(parts)], dim=1)
        x = torch.tanh(x + net.H2b).flatten(1)
        x = torch.tanh(x @ net.H3w + net.H3b)
        x = torch.tanh(x @ net.outw + net.outb)
        loss = torch.mean((T[i:i+1] - x)**2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    torch.set_num_threads(1)


def times(rounds):
    """{what: seconds} of a pattern, in each of STEPS and in evaluation."""
    threads, compiled = torch.get_num_threads(), engine.backprop
    torch.set_num_threads(1)
    X, T = prepro.tensors(*prepro.embedded()['train'])
    some, nets, a = 400, [repro.Net() for _ in range(4)], torch.rand(1024, 1024)
    rates = dict.fromkeys(dict(nets[0].named_parameters()), 0.03)
    compiled.train_pass(nets[3], X, T, rates, range(1))                  # compile
    candidates = {                      # {what: (a function, how many patterns' worth it does)}
        f'{STEPS[0]} ({threads})': (lambda: eager_steps(nets[0], X, T, some, threads), some),
        STEPS[1]: (lambda: eager_steps(nets[1], X, T, some, 1), some),
        STEPS[2]: (lambda: repro.train_pass(nets[2], X, T, rates, range(some)), some),
        STEPS[3]: (lambda: compiled.train_pass(nets[3], X, T, rates, range(len(X))), len(X)),
        STEPS[4]: (lambda: [a @ a for _ in range(10)], 10 * len(a)**3 / multiply_adds(nets[0])),
        EVALUATION: (lambda: compiled.outputs(nets[3], X), len(X))}
    found = [{what: timeit.timeit(work, number=1) / patterns for what, (work, patterns) in candidates.items()}
             for _ in cli.progress(range(rounds), unit='round')]
    return {what: statistics.median(each[what] for each in found) for what in candidates}


def machine():
    """The processor's name, as far as the system tells."""
    try:
        with open('/proc/cpuinfo') as f:
            name = next(line.split(':')[1].strip() for line in f if line.startswith('model name'))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f'{name}, {joblib.cpu_count()} cores'


def tables():
    found, where = committed()
    step = found['engine compiled']
    return {'speed': speed_table(found, where), 'speed_front': (
        f'The {repro.PASSES} passes take {repro.PASSES * prepro.N_TRAIN * step:.1f} s on one core ({where}): '
        f"{found['autograd, 1 thread'] / step:.0f} times as fast as PyTorch's eager loop ([how](results/engine.md)).")}


def pictures():
    return {'speed.png': draw_speed}


@functools.cache
def committed():
    """({what: seconds}, the machine) of results/speed.csv."""
    rows = runs.read_rows(results('speed.csv'), ('what', 'seconds', 'machine'), (), ('what', 'machine'),
                          f'run: python -m experiments.speed --out {CSV}')
    return {row['what']: row['seconds'] for row in rows}, rows[0]['machine']


def speed_table(found, where):
    return f'{where}:\n\n' + table(['', 'microseconds', '/ compiled', '/ limit'], [
        *([f'a training step, {what}', f'{1e6 * s:.3g}', *(f'{s / found[other]:.3g}' for other in STEPS[3:])]
          for what, s in found.items() if what != EVALUATION),
        [EVALUATION, f'{1e6 * found[EVALUATION]:.3g}', '', '']])


def draw_speed():
    """How long the paper's 23 passes take, from 1989 to now, and what the arithmetic alone would take."""
    found, where = committed()
    whole = {'The paper, 1989\nSUN-4/260': repro.DAYS * 24 * 60 * 60,
             'The 2022 reproduction, as published\nPyTorch, a laptop of 2020': SECONDS_2022}
    for what, name in (('autograd, 1 thread', 'The same loop'), ('engine compiled', 'support/backprop.py, compiled'),
                       ('arithmetic limit', 'The arithmetic at the speed of\na large matrix product')):
        label = f'{name}\n{textwrap.fill(f"one core ({where})", 34)}'
        whole[label] = found[what] * prepro.N_TRAIN * repro.PASSES
    fig, ax = canvas(3.6)
    for i, s in enumerate(whole.values()):
        color = 'white' if i == len(whole) - 1 else BLUE                 # the last is no training, but its limit
        ax.plot(s, i, 'o', color=color, markeredgecolor=BLUE, markeredgewidth=1.6, markersize=8)
        ratio = f', {float(f"{repro.DAYS * 86400 / s:.1e}"):,.0f} times as fast' if i else ''        # two digits
        span = f'{s / 86400:.2g} days' if i == 0 else f'{s / 60:.2g} minutes' if s >= 120 else f'{s:.2g} s'
        ax.annotate(span + ratio, (s, i), (9, 0), textcoords='offset points', va='center', weight='bold')
    at = {1: '1 s', 60: '1 minute', 3600: '1 hour', 86400: '1 day'}
    ax.set(xscale='log', xlim=(min(whole.values()) / 3, 15 * max(whole.values())), ylim=(len(whole) - 0.5, -0.5),
           title=f'time for {repro.PASSES} passes over {prepro.N_TRAIN:,} digits, and how many times as fast as in '
                 '1989')
    ax.set_yticks(range(len(whole)), whole, fontsize=9)
    ax.set_xticks(list(at), list(at.values()))
    ax.set_xticks([], minor=True)
    ax.grid(axis='y', visible=False)
    return png(fig, 'speed.csv')


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--rounds', type=cli.count, default=5, metavar='N', help='default: 5')
    parser.add_argument('--out', type=cli.path, metavar='CSV', help='write the times there as well')
    args = parser.parse_args()
    if not engine.backprop:
        cli.fail(f'there is no compiled engine to time: {engine.missing}')
    if args.out:
        files.writable(os.path.dirname(args.out) or '.')
    found = times(args.rounds)
    print(f'Python {platform.python_version()}, torch {torch.__version__}, '
          f'{multiply_adds(repro.Net()):,} multiply-adds a training step, on {speed_table(found, machine())}')
    if args.out:
        lines = [('what', 'seconds', 'machine'), *((what, s, machine()) for what, s in found.items())]
        files.write_file(args.out, b''.join(map(runs.csv_line, lines)))


if __name__ == '__main__':
    cli.run(main)
