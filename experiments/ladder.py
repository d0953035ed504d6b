"""
modern.py's ladder over many seeds: a row of CSV for each run.
"""
import collections
import functools
import math
import os
import time
from dataclasses import asdict, replace

import torch.nn.functional as F

import modern
import repro
from support import cli, files, runs

OUT = os.path.join('results', 'modern.csv')
KEY = ('dataset', 'rung', 'settings', 'seed')
VALUES = ('passes', 'train_error', 'misses', 'error', 'n', 'loss', 'seconds', 'others')
WORDS = KEY[:-1]    # all but the seed
load = functools.cache(files.load_digits)       # each process reads a data set once

# Rung 7 without one of its ideas; what takes its place was not tuned anew. Without its 250 passes it is rung 6.
TOP, ABLATED = len(modern.LADDER) - 1, 7
WITHOUT = {'without ReLU': dict(relu=False, rate=modern.rung(4).rate), 'without distortions': dict(distortions=None),
           'without elastic distortions': dict(distortions=modern.AFFINE), 'without AdamW': dict(adamw=False, rate=0.1),
           'without decaying rate': dict(decay=False, rate=0.003)}
# Nets that 1989 could not have afforded: as large as its number of parameters allows, and larger.
OFF = {'3x3 windows, width 9': dict(width=9, rate=0.005, passes=150),
       '3x3 windows, width 16': dict(width=16, rate=0.005, passes=60)}


def recipes():
    """{name: Settings} of the rungs, '0' and up, the ablations and the nets off the ladder."""
    return ({str(n): modern.rung(n) for n in range(TOP + 1)}
            | {name: replace(modern.rung(ABLATED), **changes) for name, changes in WITHOUT.items()}
            | {name: replace(modern.rung(6), **changes) for name, changes in OFF.items()})


def fingerprint(r):
    """Eight hex digits that change when one of the Settings does."""
    return runs.fingerprint(asdict(r))


# ---------------------------------------------------------------------------------------------------------------------
# runs

def measured(r, digits, test, seed):
    """
    Train with Settings r on digits, (X, Y), and measure on test, (X, Y): (the net, {all VALUES but others}). If training
    diverged the net is None and the values are NaN.
    """
    start = time.perf_counter()
    try:
        *_, (passes, net) = modern.train(r, *digits, seed)
    except repro.Diverged:
        return None, dict.fromkeys(VALUES[:-1], math.nan)
    seconds = round(time.perf_counter() - start, 1)
    tested = modern.measure(net, *test)
    return net, {'passes': passes, 'train_error': modern.measure(net, *digits)['error'], **tested, 'n': len(test[0]),
                 'seconds': seconds}


@functools.cache
def others():
    """
    (X, Y): the 7,993 test digits of MNIST that are not among the 2007 of the draw `mnist`, found by their images. None
    where one of the two data sets is not at hand.
    """
    if not all(os.path.exists(files.digits_path(dataset, 'digits.json')) for dataset in ('mnist', 'mnist60k')):
        return None
    X, Y = load('mnist60k')['test']
    draw, left = collections.Counter(x.numpy().tobytes() for x in load('mnist')['test'][0]), []
    for i, x in enumerate(X):
        if draw[x.numpy().tobytes()]:
            draw[x.numpy().tobytes()] -= 1       # an image that is there twice counts twice
        else:
            left.append(i)
    return X[left], Y[left]


def one_run(dataset, rung, settings, seed):
    """A row's VALUES. others is the error on those digits."""
    net, row = measured(recipes()[rung], load(dataset)['train'], load(dataset)['test'], seed)
    beside = others() if net and dataset in ('mnist', 'mnist60k') else None
    return row | {'others': modern.measure(net, *beside)['error'] if beside else None}


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
    runs.add_arguments(parser, OUT)
    args = parser.parse_args()
    if max(args.rungs) > TOP:
        parser.error(f'--rungs: there are 0 to {TOP}')
    names = [*map(str, args.rungs), *(WITHOUT if args.without else ()), *(OFF if args.off else ())]
    load(args.dataset)                  # ends here if it is not there
    jobs = [dict(zip(KEY, (args.dataset, name, fingerprint(recipes()[name]), seed)))
            for seed in args.seeds for name in names]
    rows = runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, workers=args.jobs, cluster=args.cluster)
    for name in names:
        errors = [row['error'] for row in rows if row['rung'] == name]
        print(name, *runs.mean_sd(errors))


if __name__ == '__main__':
    cli.run(main)
