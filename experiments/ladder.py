"""
modern.py's ladder over many seeds: runs, tables and picture. Beside the rungs
there are rung 7 without each of its ideas (--without), nets that 1989 could not
have afforded (--off), and other digits: of nets trained on the sample of MNIST
the error on the 7,993 test digits outside it, and nets trained on all of MNIST.

    python -m experiments.ladder --dataset usps --rungs 0-8 --seeds 0-9
    python -m experiments.report ladder

Rungs 0 to 7 take two minutes a seed on one core, rung 8 three. In its CSV file
`loss` is the mean cross-entropy, of rung 0 the mean squared error; `others` is
the error on the digits outside the sample.
"""
import functools
import math
import os
import textwrap
from dataclasses import asdict, replace

import numpy as np

import modern
import prepro
import repro
from experiments import uncertainty
from experiments.markdown import Missing, columns, interval, pm, probability, results, table
from experiments.style import BLACK, BLUE, ORANGE, canvas, png
from support import cli, files, runs

KEY = ('dataset', 'rung', 'settings', 'seed')
VALUES = ('passes', 'train_error', 'misses', 'error', 'n', 'loss', 'seconds', 'others')
WORDS = KEY[:-1]    # all but the seed

# Rung 7 without one of its ideas; what takes its place was not tuned anew. Without its 250 passes it is rung 6.
TOP, ABLATED = len(modern.LADDER) - 1, 7
WITHOUT = {'without ReLU': dict(relu=False, rate=modern.rung(4).rate), 'without distortions': dict(distortions=None),
           'without elastic distortions': dict(distortions=modern.AFFINE), 'without AdamW': dict(adamw=False, rate=0.1),
           'without decaying rate': dict(decay=False, rate=0.003)}
# Nets that 1989 could not have afforded: as large as its number of parameters allows, and larger.
OFF = {'3x3 windows, width 9': dict(width=9, rate=0.005, passes=150),
       '3x3 windows, width 16': dict(width=16, rate=0.005, passes=60)}
# {data set: {whose: error, %}}: nets of at most 10,000 parameters; mostly one run, at its best pass on the test digits
PUBLISHED = {
    'mnist': {**{f'karpathy/lecun1989-repro, 2022: {step}': error for error, step in modern.PUBLISHED.values()},
              'buzzillio, 2025: modern tricks, 80 passes': 1.30},
    'mnist60k': {
        'LeNet-1, 2,578 parameters, 28x28 pixels (Mystique1337/lecun-1989-mnist-reproduction; five runs)': 1.69,
        '8,640 parameters, 28x28 pixels (aknakshay/MNIST-Challenge)': 0.80,
        '7,070 parameters, 28x28 pixels (nitin-vig/ERAv4S6)': 0.6,
        '8,900 parameters, 28x28 pixels (The-School-of-AI/era-s7-ram)': 0.5}}


def recipes():
    """{name: Settings} of the rungs, '0' and up, the ablations and the nets off the ladder."""
    return ({str(n): modern.rung(n) for n in range(TOP + 1)}
            | {name: replace(modern.rung(ABLATED), **changes) for name, changes in WITHOUT.items()}
            | {name: replace(modern.rung(6), **changes) for name, changes in OFF.items()})


def label(name):
    return f'{name} {modern.LADDER[int(name)][0]}' if name.isdigit() else name


def fingerprint(r):
    """Eight hex digits that change when one of the Settings does."""
    return runs.fingerprint(asdict(r))


def measured(r, digits, test, seed):
    """(a net, trained with Settings r on digits (X, Y); its VALUES but others). If it diverged, None and NaN."""
    try:
        *_, (passes, seconds, net) = modern.train(r, *digits, seed)
    except repro.Diverged:
        return None, dict.fromkeys(VALUES[:-1], math.nan)
    return net, {'passes': passes, 'train_error': modern.measure(net, *digits)['error'], **modern.measure(net, *test),
                 'n': len(test[0]), 'seconds': round(seconds, 1)}


@functools.cache
def others():
    """(X, Y): the 7,993 test digits of MNIST that are not among the 2007 of `mnist`. None without data/mnist60k."""
    if not os.path.exists(files.digits_path('mnist60k', 'digits.json')):
        return None
    splits = files.load_digits('mnist60k')
    X, Y = splits['test']
    rest = np.setdiff1d(range(len(X)), prepro.draw(splits)['test'])      # the draw that is called mnist
    return X[rest], Y[rest]


def one_run(dataset, rung, settings, seed):
    """A row's VALUES."""
    splits = files.load_digits(dataset)
    net, row = measured(recipes()[rung], splits['train'], splits['test'], seed)
    beside = others() if net and dataset in ('mnist', 'mnist60k') else None
    return row | {'others': modern.measure(net, *beside)['error'] if beside else None}


def read(path):
    """The rows of a CSV file, of the recipes as they are now."""
    now = {name: fingerprint(r) for name, r in recipes().items()}
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS) if now.get(row['rung']) == row['settings']]


def in_minibatches(row):
    """Whether PyTorch trained the net of a row: its bits are then not the same everywhere."""
    return row['rung'] not in ('0', '1')


def tables():
    mnist, before, usps, before_usps = (stat(d, str(n))[0] for d in ('mnist', 'usps') for n in (TOP, 0))
    return {f'ladder_{dataset}': ladder(dataset) for dataset in ('mnist', 'usps', 'mnist60k')} | {
        'ladder': front(), 'ladder_front': (
            f'**With later ideas, a net of the same size gets {mnist:.2f}% of the test digits of MNIST wrong**, where '
            f'the settings of 2022 get {before:.2f}% wrong; on USPS {usps:.2f}, where they have {before_usps:.2f} '
            '([one idea at a time](#what-later-ideas-buy)).')}


def pictures():
    return {'ladder.png': draw}


committed = functools.cache(read)       # reads results/modern.csv once


def rows(dataset, name):
    return [row for row in committed(results('modern.csv')) if (row['dataset'], row['rung']) == (dataset, name)]


def stat(dataset, name, key='error'):
    """(mean, sd) over a recipe's runs that ended."""
    mean, sd, n, _ = runs.mean_sd([row[key] for row in rows(dataset, name)])
    if n < 2:
        raise Missing(f'rung {name} on {dataset}')
    return mean, sd


def size(r):
    """(parameters, multiply-adds for an image: one for each connection between units) of a net."""
    net = modern.build(r, 0)
    units = (16*16, 8*8, 4*4, 1) if r.width else (8*8, 4*4, 1, 1)        # so many in a map share a layer's weights
    layers = [p.numel() for name, p in net.named_parameters() if name.endswith(('w', 'weight')) and p.dim() > 1]
    return sum(p.numel() for p in net.parameters()), sum(n * u for n, u in zip(layers, units, strict=True))


def span(*datasets):
    """How many runs the rungs have: '5' or '5 to 10'."""
    counts = [len(rows(dataset, str(n))) for dataset in datasets for n in range(TOP + 1)]
    return ' to '.join(map(str, sorted({min(counts), max(counts)})))


def front():
    """The ladder in five rows."""
    lines = []
    for first, last in (0, 0), (1, 3), (4, 4), (5, 5), (6, TOP):
        ideas = '; '.join(idea for idea, _, _ in modern.LADDER[first:last + 1])
        lines.append([f'+ {ideas}' if first else ideas, *(pm(stat(d, str(last))) for d in ('mnist', 'usps'))])
    parameters, multiply_adds = size(modern.rung(TOP))
    return (f'The net, its {parameters:,} parameters and its {multiply_adds:,} multiply-adds a digit stay those of '
            f'1989. Test digits wrong, %, n={span("mnist", "usps")}. The settings were chosen on folds of MNIST\'s '
            'training digits, mostly for an earlier ladder, whose test results we saw:\n\n'
            + table(['', 'MNIST, 2007 digits', 'USPS'], lines))


def ladder(dataset):
    """The table of a data set, with the sources of its ideas, and what others published."""
    beside = {'mnist': ['on the 7,993 others, %'], 'mnist60k': ["on the sample's 2007, %"]}.get(dataset, [])
    lines = []
    for name, r in recipes().items():
        found = rows(dataset, name)
        if not found and (dataset == 'mnist60k' or not name.isdigit()):
            continue                    # all of MNIST has no ablations, and perhaps no distillation
        about, below = name, str(ABLATED)
        if name.isdigit():
            about, below = f'{label(name)} ({modern.LADDER[int(name)][1]})', str(int(name) - 1)
        elif name in OFF:
            about = '{} (Simonyan and Zisserman 2015), {:,} parameters, {:,} multiply-adds'.format(name, *size(r))
        errors = [{row['seed']: row['error'] for row in rows(dataset, rung)} for rung in (name, below)]
        d = uncertainty.difference(*errors) if errors[1] else None
        lines.append([about, len(found), f'{stat(dataset, name, "passes")[0]:.0f}',
                      pm(stat(dataset, name, 'train_error')), pm(stat(dataset, name)),
                      *(elsewhere(dataset, found) for _ in beside), pm(stat(dataset, name, 'misses'), 1),
                      *([interval(d), probability(d['p'])] if d else ['', ''])])
    lines += [[f'published: {whose}', '', '', '', f'{error:.2f}', *('' for _ in beside), '', '', '']
              for whose, error in PUBLISHED.get(dataset, {}).items()]
    return table(['', 'n', 'passes', 'train error, %', 'test error, %', *beside, 'misses', 'change [95%]',
                  'p'], lines)


def elsewhere(dataset, found):
    """The error on MNIST's test digits outside the sample or, of nets measured on all of them, inside it."""
    errors = []
    for row in found:
        if row['others'] is not None:
            inside = row['misses'] - row['others'] / 100 * (row['n'] - prepro.N_TEST)
            errors.append(row['others'] if dataset == 'mnist' else 100 * inside / prepro.N_TEST)
    return pm(runs.mean_sd(errors)[:2])


def draw():
    """The error of each rung on both data sets, and the steps that the 2022 reproduction published."""
    fig, ax = canvas(4.4)
    for dataset, style, marker, color, side in ('usps', '-', 'o', BLUE, 1), ('mnist', '--', 's', ORANGE, -1):
        means, sds = zip(*(stat(dataset, str(n)) for n in range(TOP + 1)))
        ax.errorbar(range(TOP + 1), means, sds, fmt=style, marker=marker, color=color, capsize=4, markersize=6,
                    label=f'{dataset.upper()}, mean and sd, n={span(dataset)}')
        for n, (mean, sd) in enumerate(zip(means, sds)):         # USPS's numbers above their bars, MNIST's below
            ax.annotate(f'{mean:.2f}', (n, mean + side * max(sd, 0.1)), (0, 4 * side),
                        textcoords='offset points', ha='center', va='bottom' if side > 0 else 'top', fontsize=8.5)
    ax.plot([n + 0.28 for n in modern.PUBLISHED], [error for error, _ in modern.PUBLISHED.values()], 'x', color=BLACK,
            markersize=7, markeredgewidth=1.6,
            label='published in 2022 (MNIST, one run each), drawn\nto the right of the rung most like the step')
    ax.set_xticks(range(TOP + 1), [f'{n}\n{textwrap.fill(idea, 13, break_on_hyphens=False)}'
                                   for n, (idea, _, _) in enumerate(modern.LADDER)], fontsize=8.5)
    ax.set(title='test error, %')
    ax.margins(x=0.07)
    ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
    ax.legend()
    return png(fig, 'modern.csv')


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D', help='the digits, as prepro.py '
                        'makes them: mnist, usps, mnist60k (fewer passes) or mnist-seedN (default: mnist)')
    parser.add_argument('--rungs', type=cli.numbers, default=f'0-{TOP}', metavar='A-B',
                        help=f'as 0-5 or 0,2,4 (default: 0-{TOP})')
    parser.add_argument('--without', action='store_true',
                        help=f'run rung {ABLATED} without each of its ideas as well, one at a time')
    parser.add_argument('--off', action='store_true', help=f'run nets off the ladder as well: {"; ".join(OFF)}')
    parser.add_argument('--seeds', type=cli.numbers, default='0-4', metavar='A-B', help='a run for each (default: 0-4)')
    runs.add_arguments(parser, os.path.join('results', 'modern.csv'))
    args = parser.parse_args()
    if max(args.rungs) > TOP:
        parser.error(f'--rungs: there are 0 to {TOP}')
    names = [*map(str, args.rungs), *(WITHOUT if args.without else ()), *(OFF if args.off else ())]
    X, Y = files.load_digits(args.dataset)['train']                      # ends here if it is not there
    if {0, 1} & set(args.rungs):
        list(repro.train(repro.Net(), X[:1], Y[:1], 1, 0.01))            # compiles once, not once a process
    jobs = [dict(zip(KEY, (args.dataset, name, fingerprint(recipes()[name]), seed)))
            for seed in args.seeds for name in names]
    found = runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, workers=args.jobs, cluster=args.cluster)
    stats = {name: runs.mean_sd([row['error'] for row in found if row['rung'] == name]) for name in names}
    print(columns([[f'on {args.dataset}', 'test error, %', 'n', 'diverged'],
                   *([label(name), pm(stat[:2]), *stat[2:]] for name, stat in stats.items())]))


if __name__ == '__main__':
    cli.run(main)
