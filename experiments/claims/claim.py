"""What a claim is, and what the claims share: ways of learning, what is measured meanwhile, how runs are judged."""
import contextlib
import itertools
import math
import statistics

import torch
from scipy import stats

import repro
from experiments import markdown
from experiments.claims import nets
from experiments.markdown import Missing, interval
from repro import RESULTS
from support import backprop, runs

TUNING = 2              # seeds 0 and 1 choose rates, and count in no verdict
SIXTEENTH = 16          # parts into which a pass is cut where its beginning is looked at
SURE = 0.01             # p below which a difference counts
HOLDS, PART, NOT, OPEN = 'holds', 'holds in part', 'does not hold', 'cannot be told'
TO_RUN = 'to be run'

PAPER, FC40 = repro.RECIPES['paper'], repro.RECIPES['fc40']


class Claim:
    """A claim of the paper. A subclass has its experiment; the docstring gives the rule for the verdict."""

    number = words = section = None
    settings = {}           # {key: settings of a run}. A key is data, such as ('newton', 0.01)
    grids = []              # lists of keys that differ in the rate: the best of each is run on all seeds
    seeds = 30              # how many of its own, from 100 times its number on
    alone = False           # whether its runs are timed: one at a time, after all others
    front = {}              # {verdict: a sentence for the front page}
    before = None           # the verdict by the rule that was amended
    picture = None          # or a method picture(found) -> the bytes of results/claim_N.png. Raises Missing

    def jobs(self, found, seeds):
        """
        [(key, seed)]: the runs that it needs, as far as those found so far tell. Which rate is best is known once its
        grid has run.
        """
        if not self.grids:
            return [(key, seed) for key in self.settings for seed in seeds]
        jobs = [(key, seed) for keys in self.grids for key in keys for seed in range(TUNING)]
        for keys in self.grids:
            with contextlib.suppress(Missing):
                keys, n = self.then(self.best(found, keys))
                jobs += [(key, seed) for key in keys for seed in seeds[:n]]
        return jobs

    def then(self, best):
        """What is run at the best key of a grid: (keys, on how many seeds; None for all)."""
        return [best], None

    def best(self, found, keys):
        """The key with the lowest mean merit. Raises Missing if runs are missing, or all of them diverged."""
        merits = {key: [self.merit(row) for row in found[key] if row['seed'] < TUNING] for key in keys}
        if min(map(len, merits.values())) == TUNING:
            key = min(merits, key=lambda key: statistics.fmean(merits[key]))
            if math.isfinite(max(merits[key])):
                return key
        raise Missing('runs')

    def merit(self, row):
        """What a rate is chosen for: the lowest training MSE."""
        return math.log(row['train_loss']) if math.isfinite(row['train_loss']) else math.inf

    def measure(self, settings, splits, seed):
        """One run: the values of its row, and {curve: one or more numbers for each moment in `at`}."""
        part, at, curves = settings.get('part', 1), settings.get('at', ()), {}
        X, Y = (t[seed % part::part] for t in splits['train'])
        net = nets.build(settings, seed)
        try:
            for n, seconds in itertools.chain([(0, 0.0)], learning(net, X, Y, settings)):
                for name, numbers in self.look(net, splits).items() if n in at else ():
                    curves.setdefault(name, []).extend(numbers)
                if n in at and self.enough(settings, curves):
                    break
        except repro.Diverged:
            return dict.fromkeys(RESULTS, math.nan) | {'seconds': seconds}, {}
        train, test = (repro.measure(net, *splits[split]) for split in ('train', 'test'))
        return repro.results(train, test) | {'seconds': seconds}, curves

    def enough(self, settings, curves):
        """Whether a run has come to what it is run for, and ends."""
        return False

    def look(self, net, splits):
        """What is measured while the net learns."""
        return losses(net, splits)

    def verdict(self, found):
        """
        (what was measured, {part of the claim: whether it holds; None if that cannot be told}), from {key: [row]}.
        Raises Missing.
        """
        raise NotImplementedError

    def judge(self, found):
        """(what was measured, verdict, verdict with the parts of the claim)."""
        try:
            measured, parts = self.verdict(found)
        except Missing:
            return 'runs are missing, or diverged', TO_RUN, TO_RUN
        kinds = set(parts.values())
        verdict = HOLDS if kinds == {True} else PART if True in kinds else NOT if False in kinds else OPEN
        words = '; '.join(f'{kind}: ' + ', '.join(part for part, holds in parts.items() if holds is value)
                          for value, kind in ((True, HOLDS), (False, NOT), (None, OPEN)) if value in kinds)
        if self.before and self.before != verdict:
            words += f' (by its first rule: {self.before})'
        return measured, verdict if parts else '', words


# ---------------------------------------------------------------------------------------------------------------------
# learning, and what is measured meanwhile. Settings are a recipe's, and of the claims' own
#   part    train on every part-th digit, from number seed % part on
#   chunks  cut the digits into sixteenths, every sixteenth digit, and present the first `chunks` of them in turn
#   at      the passes, or sixteenths of a pass, after which to look
# A net may be one of nets.KINDS, and training has `batch`: one update a pass, by the gradient of all patterns.


class Batch:
    """An engine that updates the weights once a pass, by the gradient of all patterns; else support/backprop.py."""

    outputs, curvature = backprop.outputs, backprop.curvature

    def train_pass(net, X, T, rates, order):
        g = backprop.gradient(net, X, T)
        with torch.no_grad():
            for name, p in net.named_parameters():
                p -= rates[name] * g[name]
        return len(X) if all(p.isfinite().all() for p in net.parameters()) else 0


def learning(net, X, Y, settings):
    """Train net in place; yields (n, seconds so far) after each pass, or each sixteenth. Raises repro.Diverged."""
    training, chunks = dict(settings['training']), settings.get('chunks')
    if training.pop('batch', False):
        net.engine = Batch
    if chunks:
        seconds = 0.0
        for n in range(training['passes'] * SIXTEENTH):
            chunk = slice(n % chunks, None, SIXTEENTH)
            [(_, more)] = repro.train(net, X[chunk], Y[chunk], **training | {'passes': 1})
            seconds += more
            yield n + 1, seconds
    else:
        yield from repro.train(net, X, Y, **training)


def losses(net, splits):
    """MSE and error of splits."""
    return {f'{split}_{key}': [value] for split, XY in splits.items()
            for key, value in repro.measure(net, *XY).items() if key in ('loss', 'error')}


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
    """The runs that did not diverge. Raises Missing if there are fewer than two."""
    rows = [row for row in rows if row['seed'] >= TUNING and not math.isnan(row['train_loss'] or 0)]
    if len(rows) < 2:
        raise Missing('runs')
    return rows


def values(rows, name):
    return [row[name] for row in ended(rows)]


def curves(rows, name):
    return [row['curves'][name] for row in ended(rows)]


def below(a, b):
    """Whether the mean of a is below that of b, by Welch's t-test. None if that cannot be told."""
    test = stats.ttest_ind(a, b, equal_var=False)
    return bool(test.statistic < 0) if test.pvalue < SURE else None


def gap(a, b):
    """mean of a - mean of b, and its 95% interval."""
    low, high = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    return interval({'mean': statistics.fmean(a) - statistics.fmean(b), 'low': low, 'high': high})


def pm(numbers, digits=2):
    """'mean ± sd'."""
    return markdown.pm(runs.mean_sd(numbers)[:2], digits) or '-'


def crossing(xs, ys, level):
    """The x at which ys first comes down to level, interpolated on a log scale; inf if it never does."""
    for n, y in enumerate(ys):
        if y <= level:
            if n == 0:
                return xs[0]
            share = math.log(ys[n - 1] / level) / math.log(ys[n - 1] / max(y, 1e-9))
            return xs[n - 1] + share * (xs[n] - xs[n - 1])
    return math.inf
