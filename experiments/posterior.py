"""
What was done in 1989? The settings that the paper leaves open, inferred from its own results (approximate Bayesian
computation): nets are trained by settings drawn from a prior, and those whose results come near the paper's are kept.

    python -m experiments.posterior                     # the answer, from results/posterior.csv
    python -m experiments.posterior --draws 0-4095      # more draws, a row each, and the answer
    python -m experiments.posterior --fc40              # section 5's fully connected net by the settings kept

Draw i is point i of a scrambled Sobol sequence, the same on any machine and in any order. Draws that are in the file
are not done again.
"""
import functools
import math
import os

import numpy as np
import torch

import repro
from experiments.compare import CYCLIC, LECUN_UNIT, SPREAD, random_table
from repro import PAPER, PAPER_FC40, RESULTS
from support import cli, files, runs

# ---------------------------------------------------------------------------------------------------------------------
# The prior, the distance and the tolerances. They were written down before the draws were run, and are kept.

PRIOR = {           # in the order of the sequence's dimensions, to which new ones may only be added
    # The paper: "scaled hyperbolic tangent". LeCun gives 1.7159 tanh(2/3 s) in the same year, in "Generalization and
    # network design strategies"; the 2022 reproduction takes tanh.
    'unit': ('one of', 'tanh', 'lecun'),
    # The targets, as a share of the unit's range: "within the quasilinear range of the sigmoid". +-1 of LeCun's unit is
    # 0.58; the 2022 reproduction's +-1 of tanh is 1, the asymptote, which the paper argues against; up to 0.4 a tanh is
    # within 6% of a line.
    'share': ('uniform', 0.4, 1.0),
    # Newton's step is rate / (h + damping), h the curvature. LeNet-5 (LeCun et al. 1998) began with 5e-4. With the rest of
    # `paper`, 2e-4 is too little for 23 passes (127 training misses), and at 2e-2 nothing is learned.
    'rate': ('log-uniform', 2e-4, 2e-2),
    # LeNet-5's is 0.02; for a cost that is a sum over 10 outputs where ours is a mean, that is 0.002 here. At 0.3, more
    # than nearly all curvatures in these nets, Newton's method is gradient descent.
    'damping': ('log-uniform', 2e-3, 0.3),
    # Patterns for each pass's estimate of h: LeNet-5's are 500; all are 7291.
    'patterns': ('one of', 100, 300, 1000, 7291),
    # Which 8 maps of H1 a map of H2 sees, "a scheme that will not be described here": the 2022 reproduction's; 8 in a
    # row, as the runs of LeNet-5; 8 spread evenly; 8 at random, each draw its own.
    'scheme': ('one of', 'blocks', 'cyclic', 'spread', 'random'),
    # The initial range 2.4 / F, as printed (0), or 2.4 / sqrt(F), as the 2022 reproduction reads it (1).
    'root': ('one of', 0, 1),
    # Initial biases, of which the paper says nothing: 0, or drawn as the unit's weights are (1), for a bias is a weight.
    'drawn_biases': ('one of', 0, 1),
    # "Constant order": the order in which the digits are stored (0), or that order shuffled once (1), each draw its own.
    'shuffled': ('one of', 0, 1),
}
# The seed of the initial weights is the draw's number. That the MSE was reported with the customary factor 1/2, or was
# not, needs no training: each draw stands for both, at equal odds ('half').
HALF = ('one of', 0, 1)

# A draw's distance from the paper is the largest over results of |ln(its / the paper's)| / scale (misses count one more,
# so that none is allowed). A scale is about one sd of the result's logarithm over initial weights, the median of
# compare.py's recipes: no closer match can be asked of one run. The paper's rounding is finer (2.5e-3: 2%; 10 and 102
# misses are exact; 12.1%: 0.4%), but for the test MSE's 1.8e-2, 3%, which with the seeds' 4% makes 5%.
SCALE = {'train_loss': 0.10, 'train_misses': 0.25, 'test_loss': 0.05, 'test_misses': 0.06, 'rejection': 0.11}
PLUS = {'train_misses': 1, 'test_misses': 1}

# {what is given: (its results, tolerances)}: the middle tolerance counts, the others show what hangs on it. With the
# scales as sd, another run by the very settings of 1989 would lie within 1 of it in both training results once in 4
# times, in all five once in 26; within 2 in all five twice in 5: hence the wider tolerances there.
GIVEN = {'training': (('train_loss', 'train_misses'), (0.5, 1.0, 2.0)),
         'all': (tuple(SCALE), (1.0, 2.0, 3.0))}
LEAST = 20          # draws kept, the nearest, where fewer lie within the tolerance: a 90% interval needs 19
TEST = ('test_loss', 'test_error', 'test_misses', 'rejection')

# ---------------------------------------------------------------------------------------------------------------------
# the draws

KEY = ('draw', *PRIOR)
VALUES = (*RESULTS, 'seconds')
WORDS = ('unit', 'scheme')
TABLES = {'blocks': repro.TABLE, 'cyclic': CYCLIC, 'spread': SPREAD}

load = functools.cache(files.load_digits)


def drawn(draws):
    """The settings of some draws: [{'draw': i, setting: value}]."""
    sobol = torch.quasirandom.SobolEngine(len(PRIOR), scramble=True, seed=1989)
    points = sobol.draw(max(draws) + 1, dtype=torch.float64)             # in [0, 1)
    return [{'draw': i} | {name: at(float(u), *prior) for u, (name, prior) in zip(points[i], PRIOR.items())}
            for i in draws]


def at(u, kind, *values):
    """The value of a setting whose prior has the share u of its mass below it; numbers to six digits, as they are written."""
    if kind == 'one of':
        return values[int(u * len(values))]
    low, high = values
    return float(f'{low + u * (high - low) if kind == "uniform" else low * (high / low)**u:.6g}')


def recipe(row, name='paper'):
    """
    The settings of a draw as one of repro.RECIPES, `paper` or `fc40`, has them: what the paper does say, newton, 23
    passes, an update after each pattern, stays. 'order' is added: the seed of the shuffle, None for none.
    """
    unit = {'A': 1.0, 'S': 1.0} if row['unit'] == 'tanh' else LECUN_UNIT
    table = {'table': TABLES.get(row['scheme']) or random_table(row['draw'])} if name == 'paper' else {}
    return repro.RECIPES[name] | unit | table | {
        'level': row['share'] * unit['A'], 'rate': row['rate'], 'damping': row['damping'], 'patterns': row['patterns'],
        'root': bool(row['root']), 'drawn_biases': bool(row['drawn_biases']),
        'order': row['draw'] if row['shuffled'] else None}


def one_run(name, **row):
    """Train the net of a draw on USPS, the convolutional one (name: paper) or the fully connected one (fc40): its results."""
    settings, (X, Y) = recipe(row, name), load('usps')['train']
    order = settings.pop('order')
    if order is not None:
        order = torch.randperm(len(X), generator=torch.Generator().manual_seed(order))
        X, Y = X[order], Y[order]
    net, training = repro.build(settings, row['draw'])
    try:
        for _, seconds in repro.train(net, X, Y, **training):
            pass
    except repro.Diverged:
        return dict.fromkeys(VALUES, math.nan)
    return repro.results(repro.measure(net, X, Y), repro.measure(net, *load('usps')['test'])) | {'seconds': seconds}


def simulate(jobs, path, name='paper', workers=None, cluster=None):
    """The rows of some draws, trained now if they are not in the file at path."""
    return runs.run_all(functools.partial(one_run, name), jobs, path, KEY, VALUES, WORDS, threads=True,
                        workers=workers, cluster=cluster)


def read(path):
    """The rows of a file of draws. Ends the script if they are of another prior."""
    rows = runs.read_rows(path, KEY, VALUES, WORDS, 'run: python -m experiments.posterior --draws 0-4095')
    expected = drawn([row['draw'] for row in rows]) if rows else []
    for row, settings in zip(rows, expected):
        if any(row[name] != value for name, value in settings.items()):
            cli.fail(f'{path}: draw {row["draw"]} is of another prior than that of experiments/posterior.py')
    return rows


# ---------------------------------------------------------------------------------------------------------------------

def draws(text):
    """An argparse type: '0-4095' or '7' as a range of draws."""
    low, dash, high = text.partition('-')
    number = cli.checked(int, 0, 10**6, 'a range of draws such as 0-4095, each a million or less')
    low, high = number(low), number(high if dash else low)
    if high < low:
        raise cli.argparse.ArgumentTypeError(f'{text!r} ends before it begins')
    return range(low, high + 1)


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--draws', type=draws, metavar='A-B', help='train these draws, if they are not in the file')
    runs.add_arguments(parser, os.path.join('results', 'posterior.csv'))
    args = parser.parse_args()
    if args.draws:
        load('usps')                    # ends here if it is not there
        if os.path.exists(args.out):
            read(args.out)              # or here if the file is of another prior
        simulate(drawn(args.draws), args.out, workers=args.jobs, cluster=args.cluster)
    rows = read(args.out)
    print(f'{len(rows)} draws, {sum(row["train_loss"] != row["train_loss"] for row in rows)} diverged')


if __name__ == '__main__':
    cli.run(main)
