"""
What a claim is, and what the claims' experiments share: nets, ways of learning, what is measured while a net learns,
and how runs are judged.
"""
import itertools
import math
import statistics
import time

import torch

import repro
from experiments.claims import lenet1, nets
from experiments.markdown import Missing
from repro import RESULTS
from support import runs
from support.engine import faster

TUNING = 2              # seeds on which a rate is chosen
SIXTEENTH = 16          # parts into which a pass is cut where its beginning is looked at
HOLDS, PART, NOT, OPEN = 'holds', 'holds in part', 'does not hold', 'cannot be told'
NOT_RUN, SOME_RUN = 'not run yet', 'some of its runs diverged, or are missing'

PAPER, FC40 = repro.RECIPES['paper'], repro.RECIPES['fc40']


class Claim:
    """A claim of the paper. A subclass has its experiment; the docstring gives the rule for the verdict."""

    number = words = section = None
    settings = {}           # {key: settings of a run}. A key is data, such as ('newton', 0.01)
    grids = []              # lists of keys that differ in the rate: the best of each is run on all seeds
    seeds = range(10)
    threads = True          # whether runs may go on side by side
    front = None            # (verdict, what the front page then says), if anything

    def jobs(self, found, seeds):
        """
        [(key, seed)]: the runs that it needs, as far as those found so far tell. Which rate is best is known once its
        grid has run.
        """
        if self.grids:
            return [job for keys in self.grids for job in chosen(found, keys, seeds)]
        return [(key, seed) for key in self.settings for seed in seeds]

    def measure(self, settings, splits, seed):
        """One run: the values of its row, and {curve: one or more numbers for each moment in `at`}."""
        part, at, curves = settings.get('part', 1), settings.get('at', ()), {}
        X, Y = (t[seed % part::part] for t in splits['train'])
        net = build(settings, seed)
        try:
            for n, seconds in itertools.chain([(0, 0.0)], learning(net, X, Y, settings)):      # noqa: B007
                for name, numbers in self.look(net, splits).items() if n in at else ():
                    curves.setdefault(name, []).extend(numbers)
        except repro.Diverged:
            return dict.fromkeys(RESULTS, math.nan) | {'seconds': seconds}, {}
        train, test = (repro.measure(net, *splits[split]) for split in ('train', 'test'))
        return repro.results(train, test) | {'seconds': seconds}, curves

    def look(self, net, splits):
        """What is measured while the net learns: here MSE and error of both splits."""
        return losses(net, splits)

    def verdict(self, found):
        """(what was measured, verdict), from the runs that were found, {key: [row]}. Raises Missing."""
        raise NotImplementedError

    def judge(self, found):
        """verdict, or what is said while it has too few runs."""
        try:
            return self.verdict(found)
        except Missing:
            return (SOME_RUN if any(found.values()) else NOT_RUN), OPEN

    picture = None          # or a method picture(found) -> the bytes of results/claim_N.png. Raises Missing

# ---------------------------------------------------------------------------------------------------------------------
# settings: a recipe, and of the claims' own
#   part    train on every part-th digit, from number seed % part on
#   chunks  cut the digits into sixteenths, every sixteenth digit, and present the first `chunks` of them in turn
#   at      the passes, or sixteenths of a pass, after which to look
# A net may be one of KINDS, and training has `batch`: one update a pass, by the gradient of all patterns.
KINDS = {'logistic': lambda seed, **settings: nets.Net(nets.paper(), seed, logistic=True, **settings),
         'unshared': lambda seed, **settings: nets.Net(nets.paper(shared=False), seed, **settings),
         'two hidden': lambda seed, **settings: nets.Net(nets.two_hidden(), seed, **settings),
         'lenet1': lenet1.lenet1}


def changed(recipe, net=(), training=(), **own):
    """A recipe with other values for some of its settings, and a claim's own settings."""
    return {'net': recipe['net'] | dict(net), 'training': recipe['training'] | dict(training), **own}


def build(settings, seed):
    arguments = dict(settings['net'])
    kind = KINDS.get(arguments.pop('type'))
    return kind(seed, **arguments) if kind else repro.build(settings, seed)


def scheme(n):
    """
    A connection table for n maps in H1 and in H2, each map of H2 seeing two thirds of H1's, as repro.TABLE is for 12.

    For multiples of 3 there are three blocks of maps, each of which leaves out a third of H1's. Otherwise each map of
    H2 sees a row of neighbors, two thirds rounded up, that starts one further on than the row of the map before.
    """
    if n % 3 == 0:
        third = n // 3
        return [[a for a in range(n) if a // third != left_out] for left_out in (2, 0, 1) for _ in range(third)]
    return [sorted((m + i) % n for i in range(-(-2*n // 3))) for m in range(n)]


assert scheme(12) == repro.TABLE

# ---------------------------------------------------------------------------------------------------------------------
# learning, and what is measured meanwhile


def learning(net, X, Y, settings):
    """Train net in place; yields (n, seconds so far) after each pass, or each sixteenth. Raises repro.Diverged."""
    training, chunks = settings['training'], settings.get('chunks')
    if 'batch' in training:
        yield from batch_learning(net, X, Y, **training)
    elif chunks:
        seconds = 0.0
        for n in range(training['passes'] * SIXTEENTH):
            chunk = slice(n % chunks, None, SIXTEENTH)
            [(_, more)] = repro.train(net, X[chunk], Y[chunk], **training | {'passes': 1})
            seconds += more
            yield n + 1, seconds
    else:
        yield from repro.train(net, X, Y, **training)


def gradient(net, X, T):
    """{parameter's name: dE/dw}, E the mean over all patterns of their squared error: the true gradient."""
    net.zero_grad()
    net.cost(net(X), T).backward()
    return {name: p.grad for name, p in net.named_parameters()}


def batch_learning(net, X, Y, passes, rate, optimizer, damping, patterns, batch=True):
    """As repro.train, but with one update a pass: w -= rate dE/dw, or with Newton's rates."""
    sample = X[torch.arange(min(patterns, len(X))) * len(X) // min(patterns, len(X))]
    start = time.perf_counter()
    for n in range(1, passes + 1):
        slopes = gradient(net, X, net.level * Y)
        h = faster('curvature', repro.curvature, net, X[:3])(net, sample) if optimizer == 'newton' else None
        with torch.no_grad():
            for name, p in net.named_parameters():
                p -= (rate / (h[name] + damping) if h else rate) * slopes[name]
                if not p.isfinite().all():
                    raise repro.Diverged
        yield n, time.perf_counter() - start


def losses(net, splits, *names):
    """MSE and error of some splits, or all."""
    return {f'{split}_{key}': [value] for split in names or splits
            for key, value in repro.measure(net, *splits[split]).items() if key in ('loss', 'error')}

# ---------------------------------------------------------------------------------------------------------------------
# runs, and how they are judged


def text(key):
    """A key as a CSV file has it."""
    return ' '.join(map(str, key)) if isinstance(key, tuple) else str(key)


def found_in(rows, claim):
    """{key: [row]}, by seed: the rows of a CSV file with the claim's settings as they are now. Curves become lists."""
    found = {key: [] for key in claim.settings}
    keys = {(claim.number, text(key), runs.fingerprint(one)): key for key, one in claim.settings.items()}
    for row in sorted(rows, key=lambda row: row['seed']):
        key = keys.get((row['claim'], row['setting'], row['settings']))
        if key is not None:
            packed = dict(curve.split('=') for curve in row['curves'].split(';') if curve)
            found[key].append(row | {'curves': {name: [*map(float, v.split())] for name, v in packed.items()}})
    return found


def ended(rows):
    """The runs that did not diverge. Raises Missing if there are none."""
    rows = [row for row in rows if row['train_loss'] is None or math.isfinite(row['train_loss'])]
    if not rows:
        raise Missing('runs')
    return rows


def values(rows, name):
    return [row[name] for row in ended(rows)]


def curves(rows, name):
    return [row['curves'][name] for row in ended(rows)]


def best(found, keys):
    """
    The key with the lowest training MSE: the geometric mean of TUNING seeds, none diverged. Raises Missing if runs are
    missing, or none is left.
    """
    means = {}
    for key in keys:
        tuned = [row['train_loss'] for row in found[key] if row['seed'] < TUNING]
        if len(tuned) < TUNING:
            raise Missing('runs')
        if all(map(math.isfinite, tuned)):
            means[key] = statistics.fmean(map(math.log, tuned))
    if not means:
        raise Missing('runs')
    return min(means, key=means.get)


def grid(keys, seeds):
    """Jobs: each key on the tuning seeds."""
    return [(key, seed) for key in keys for seed in seeds if seed < TUNING]


def chosen(found, keys, seeds):
    """Jobs: a grid, and the best of it on all the seeds."""
    try:
        return grid(keys, seeds) + [(best(found, keys), seed) for seed in seeds]
    except Missing:
        return grid(keys, seeds)


def differ(a, b):
    """-1, 0 or 1: whether the mean of a is below, near or above that of b, by more than two standard errors."""
    if len(a) < 2 or len(b) < 2:
        return 0
    error = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    gap = statistics.fmean(a) - statistics.fmean(b)
    return 0 if abs(gap) <= 2 * error else int(math.copysign(1, gap))


def verdict(*parts):
    """The verdict on a claim whose parts hold (True) or do not."""
    return HOLDS if all(parts) else PART if any(parts) else NOT


def pm(numbers, digits=2, scale=1.0):
    """'mean +- sd'."""
    mean, sd, _, _ = runs.mean_sd(numbers)
    return ' +- '.join(f'{v * scale:.{digits}f}' for v in (mean, sd) if v is not None)


def first(curve, level):
    """Which number of a curve, from 1 on, is the first at or below level; if none, one more than the last."""
    return next((n for n, v in enumerate(curve, 1) if v <= level), len(curve) + 1)


def crossing(xs, ys, level):
    """The x at which ys first comes down to level, interpolated on a log scale; inf if it never does."""
    for n, y in enumerate(ys):
        if y <= level:
            if n == 0 or y == ys[n - 1]:
                return xs[n]
            share = math.log(ys[n - 1] / level) / math.log(ys[n - 1] / y)
            return xs[n - 1] + share * (xs[n] - xs[n - 1])
    return math.inf
