"""
How fast is a training step? Run it by hand, on an otherwise idle machine.

    python -m experiments.bench [--rounds 5] [--out results/bench.csv]

One process on one core, except where it says otherwise. The candidates take
turns, and each time is the median of the rounds.

autograd, default threads   an eager PyTorch loop as the 2022 reproduction
                            wrote it, with PyTorch's own choice of threads
autograd, 1 thread          the same, on one core
engine autograd             repro.py --engine autograd
engine compiled             repro.py's default, support/backprop.py
arithmetic limit            the step's multiply-adds, at the speed of a large
                            float32 matrix product on the same core
cold start                  `python repro.py --passes 1` in a fresh copy, where
                            the engine is compiled, less a second run
"""
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F

import prepro
import repro
from support import cli, engine, files, runs


def multiply_adds(net):
    """Multiply-adds of a training step: one a connection for sums, deltas and gradient each, one a change of weight."""
    _, connections, parameters = net.counts()['all']
    deltas = connections - net.counts()['H1'][1]                         # no delta goes down from H1
    return connections + deltas + connections + parameters


def reference_steps(net, X, T, n, rate=0.03):
    """n steps as an eager loop with torch.optim does them, H2 as three convolutions over concatenated maps."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
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


def timed(f, *args):
    start = time.perf_counter()
    f(*args)
    return time.perf_counter() - start


def machine():
    """The processor's name, as far as the system tells."""
    try:
        with open('/proc/cpuinfo') as f:
            name = next(line.split(':')[1].strip() for line in f if line.startswith('model name'))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f'{name}, {runs.cores()} cores'


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--rounds', type=cli.count, default=5, metavar='N', help='default: 5')
    parser.add_argument('--out', type=cli.path, metavar='CSV', help='write the table there as well')
    args = parser.parse_args()
    if not engine.backprop:
        cli.fail(f'there is no compiled engine to time: {engine.missing}')
    if args.out:
        files.writable(*os.path.split(os.path.abspath(args.out)))
    default_threads = torch.get_num_threads()
    X, T = prepro.tensors(*prepro.embedded()['train'])
    nets = {name: repro.Net() for name in ('eager', 'autograd', 'compiled')}
    step = multiply_adds(nets['compiled'])
    rates = dict.fromkeys(dict(nets['compiled'].named_parameters()), 0.03)
    order, some = range(len(X)), range(400)

    def eager(threads):
        torch.set_num_threads(threads)
        seconds = timed(reference_steps, nets['eager'], X, T, len(some)) / len(some)
        torch.set_num_threads(1)
        return seconds

    a = torch.rand(1024, 1024)
    candidates = {
        f'autograd, default threads ({default_threads})': lambda: eager(default_threads),
        'autograd, 1 thread': lambda: eager(1),
        'engine autograd': lambda: timed(repro.train_pass, nets['autograd'], X, T, rates, some) / len(some),
        'engine compiled': lambda: timed(engine.backprop.train_pass, nets['compiled'], X, T, rates, order) / len(X),
        'arithmetic limit': lambda: statistics.fmean(timed(torch.matmul, a, a) for _ in range(10)) / len(a)**3 * step,
        'evaluation, a pattern': lambda: timed(engine.backprop.outputs, nets['compiled'], X) / len(X),
    }
    torch.set_num_threads(1)
    engine.backprop.train_pass(nets['compiled'], X, T, rates, [])               # compile
    seconds = {name: [] for name in candidates}
    for _ in cli.progress(range(args.rounds), unit='round'):
        for name, f in candidates.items():
            seconds[name].append(f())
    seconds = {name: statistics.median(s) for name, s in seconds.items()}
    us = {name: s * 1e6 for name, s in seconds.items()}

    def seeds(n):
        with ThreadPoolExecutor(runs.cores()) as pool:
            list(pool.map(lambda seed: engine.backprop.train_pass(repro.Net(seed), X, T, rates, order), range(n)))

    n = 2 * runs.cores()
    whole = {f'{n} seeds on all cores, a pass each': statistics.median(timed(seeds, n) for _ in range(args.rounds))}
    here = os.path.dirname(os.path.abspath(repro.__file__))
    with tempfile.TemporaryDirectory() as folder:
        def python(*argv, **env):
            return timed(lambda: subprocess.run([sys.executable, *argv], cwd=folder, stdout=subprocess.DEVNULL,
                                                stderr=subprocess.DEVNULL, check=True, env={**os.environ, **env}))

        def cold_start():
            """The first run less the second, in a fresh copy of the scripts without numba's cache."""
            shutil.rmtree(os.path.join(folder, 'support'), ignore_errors=True)
            for name in ('prepro.py', 'repro.py'):
                shutil.copy(os.path.join(here, name), folder)
            shutil.copytree(os.path.join(here, 'support'), os.path.join(folder, 'support'),
                            ignore=shutil.ignore_patterns('__pycache__'))
            run = ('repro.py', '--passes', '1')
            first = python(*run, NUMBA_CACHE_DIR='')
            return first - python(*run, NUMBA_CACHE_DIR='')

        script = os.path.join(here, 'repro.py')
        python(os.path.join(here, 'prepro.py'))                          # writes folder/data/mnist
        for name, f in (('import torch', lambda: python('-c', 'import torch')),
                        ('python repro.py, 23 passes', lambda: python(script)),
                        ('cold start', cold_start)):
            whole[name] = statistics.median(f() for _ in range(args.rounds))

    compiled, limit = us['engine compiled'], us['arithmetic limit']
    print(f'{machine()}; Python {platform.python_version()}, torch {torch.__version__}')
    print(f'{step:,} multiply-adds a training step\n')
    print(f'{"a pattern":38}{"us":>10}{"/ compiled":>12}{"/ limit":>10}')
    for name, t in us.items():
        print(f'{name:38}{t:10.2f}' + (f'{t / compiled:12.2f}{t / limit:10.2f}' if 'evaluation' not in name else ''))
    training = repro.PASSES * len(X) * seconds['engine compiled']
    print(f'\n{"whole":38}{"s":>10}')
    for name, t in whole.items():
        print(f'{name:38}{t:10.2f}')
    extra = (whole['python repro.py, 23 passes'] - whole['import torch']) / training
    print(f'{"of that 23 passes of training":38}{training:10.2f}')
    print(f'\npython repro.py less the import of torch takes {extra:.2f} times the training itself')
    if args.out:
        files.write_file(args.out, ('what,seconds,machine\n' + ''.join(
            f'"{name}",{t:.6g},"{machine()}"\n' for name, t in (seconds | whole).items())).encode())


if __name__ == '__main__':
    cli.run(main)
