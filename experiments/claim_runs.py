"""
What the claims' experiments share: nets, ways of learning, what is watched in a net while it learns, and how the rows
of their runs are read.
"""
import math
import statistics
import time

import torch

import repro
from experiments import compare, lenet1, nets
from repro import TABLE
from support import runs
from support.engine import faster

BASE = compare.BASE['paper']
TUNING = 2              # seeds on which a rate is chosen
FEW = 5                 # seeds, instead of all, where a claim says so
SIXTEENTH = 16          # parts into which a pass is cut where its beginning is looked at
FLAT = 0.95             # |y| / A, beyond which the slope is less than a tenth of its largest
OPERATING = 1.0         # |S s|, up to which tanh has 0.42 of its largest slope

HOLDS, PART, NOT, OPEN = 'holds', 'holds in part', 'does not hold', 'cannot be told'
NOT_RUN, SOME_RUN = 'not run yet', 'some of its runs diverged, or are missing'

# ---------------------------------------------------------------------------------------------------------------------
# nets


def scheme(n):
    """
    A connection table for n maps in H1 and in H2, each map of H2 seeing two thirds of H1's, as TABLE is for 12.

    For multiples of 3 there are three blocks of maps, each of which leaves out a third of H1's. Otherwise each map of
    H2 sees a row of neighbors, two thirds rounded up, that starts one further on than the row of the map before.
    """
    if n % 3 == 0:
        third = n // 3
        return [[a for a in range(n) if a // third != left_out] for left_out in (2, 0, 1) for _ in range(third)]
    return [sorted((m + i) % n for i in range(-(-2*n // 3))) for m in range(n)]


assert scheme(12) == TABLE


def layers_of(kind):
    """The connections of a net other than repro.py's: {layer: units}, as nets.Net takes them."""
    return {'paper': {'H1': nets.windows([[0]] * 12, 16, 8, 2, 2), 'H2': nets.windows(TABLE, 8, 4, 2, 2),
                      'H3': nets.full(192, 30), 'output': nets.full(30, 10)},
            'unshared': {'H1': nets.windows([[0]] * 12, 16, 8, 2, 2, shared=False),
                         'H2': nets.windows(TABLE, 8, 4, 2, 2, shared=False),
                         'H3': nets.full(192, 30), 'output': nets.full(30, 10)},
            'two hidden': {'H1': nets.full(256, 60), 'H2': nets.full(60, 30), 'output': nets.full(30, 10)}}[kind]


def build(settings, seed):
    """The net of a run's settings, which are those of a recipe of repro.py and the ones below."""
    kind = settings['net']
    if kind in ('conv', 'full'):
        return repro.build(compare.nested({k: v for k, v in settings.items() if k not in OURS}), seed)
    chosen = {name: settings[name] for name in ('A', 'S', 'level', 'root', 'logistic', 'width') if name in settings}
    return lenet1.lenet1(seed, **chosen) if kind == 'lenet1' else nets.Net(layers_of(kind), seed, **chosen)


# ---------------------------------------------------------------------------------------------------------------------
# learning. Settings beyond repro.py's:
#   net        one of layers_of's, or 'lenet1', with logistic and width as for nets.Net
#   optimizer  'batch' and 'batch newton' too: one update a pass, by the gradient of all patterns
#   part       train on every part-th digit, from number seed % part on
#   chunks     cut the digits into sixteenths, every sixteenth digit, and present the first `chunks` of them in turn
#   at         the passes, or sixteenths of a pass, after which to measure
#   watch      what to measure then: names in WATCH
OURS = ('part', 'chunks', 'at', 'watch')


def learning(net, X, Y, settings):
    """Train net in place; yields after each pass, or each sixteenth. Raises repro.Diverged."""
    names = ('passes', 'rate', 'optimizer', 'damping', 'patterns')
    training = {name: settings[name] for name in names if name in settings}
    if settings['optimizer'].startswith('batch'):
        yield from batch_learning(net, X, Y, **training)
    elif 'chunks' in settings:
        for n in range(settings['passes'] * SIXTEENTH):
            chunk = slice(n % settings['chunks'], None, SIXTEENTH)
            yield from repro.train(net, X[chunk], Y[chunk], **training | {'passes': 1})
    else:
        yield from repro.train(net, X, Y, **training)


def gradient(net, X, T):
    """{parameter's name: dE/dw}, E the mean over all patterns of their squared error: the true gradient."""
    net.zero_grad()
    net.cost(net(X), T).backward()
    return {name: p.grad for name, p in net.named_parameters()}


def batch_learning(net, X, Y, passes, rate, optimizer, damping=0.0, patterns=500):
    """As repro.train, but with one update a pass: w -= rate dE/dw, or with Newton's rates."""
    few = X[torch.arange(min(patterns, len(X))) * len(X) // min(patterns, len(X))]
    start = time.perf_counter()
    for n in range(1, passes + 1):
        found = gradient(net, X, net.level * Y)
        h = faster('curvature', repro.curvature, net, X[:3])(net, few) if optimizer == 'batch newton' else None
        with torch.no_grad():
            for name, p in net.named_parameters():
                p -= (rate / (h[name] + damping) if h else rate) * found[name]
                if not p.isfinite().all():
                    raise repro.Diverged
        yield n, time.perf_counter() - start


def watch_loss(net, splits):
    """The learning curves: MSE and error of both splits."""
    measured = {split: repro.measure(net, *XY) for split, XY in splits.items()}
    return {f'{split}_{key}': [m[key]] for split, m in measured.items() for key in ('loss', 'error')}


def watch_train(net, splits):
    """The same of the training digits alone."""
    return watch_loss(net, {'train': splits['train']})


def watch_weights(net, splits):
    """The norm of all weights, that of the output's weights, and the % of outputs in the flat spot (FLAT)."""
    X, _ = splits['train']
    out = faster('outputs', repro.outputs, net, X[:3])(net, X)
    weights = net.state_dict().values()
    flat = out.abs() > FLAT * net.A
    return {'norm': [math.sqrt(sum(float(w.square().sum()) for w in weights))],
            'output_norm': [float(net.outw.detach().norm())], 'flat': [100 * float(flat.float().mean())]}


def watch_sums(net, splits):
    """Layer by layer, the standard deviation of the total inputs, and the % of them in the OPERATING range."""
    with torch.no_grad():
        ys = [y / net.A for y in net.layers(splits['train'][0][:1000])]
    return {'spread': [float(torch.atanh(y.double().clamp(-1 + 1e-7, 1 - 1e-7)).std() / net.S) for y in ys],
            'within': [100 * float((y.abs() <= math.tanh(OPERATING)).float().mean()) for y in ys]}


WATCH = {'loss': watch_loss, 'train': watch_train, 'weights': watch_weights, 'sums': watch_sums}

# ---------------------------------------------------------------------------------------------------------------------
# reading rows

def curve(row, name):
    """The numbers of a row's curve; [] if it has no curve of that name."""
    found = dict(part.split('=') for part in row['curves'].split(';') if part)
    return [float(v) for v in found.get(name, '').split()]


def of(rows, setting):
    """The rows of a setting that did not diverge, by seed."""
    return sorted((row for row in rows if row['setting'] == setting and row['train_loss'] == row['train_loss']),
                  key=lambda row: row['seed'])


def best(rows, names):
    """
    The setting with the lowest training MSE: the geometric mean of TUNING seeds, none diverged. None if runs are
    missing, or none is left.
    """
    found = {}
    for name in names:
        tuned = [row['train_loss'] for row in rows if row['setting'] == name and row['seed'] < TUNING]
        if len(tuned) < TUNING:
            return None
        if all(map(math.isfinite, tuned)):
            found[name] = statistics.fmean(map(math.log, tuned))
    return min(found, key=found.get, default=None)


def grid(names, seeds):
    """Jobs: each setting on the tuning seeds."""
    return [(name, seed) for name in names for seed in seeds if seed < TUNING]


def chosen(rows, names, seeds):
    """Jobs: a grid, and the best of it on all the seeds."""
    found = best(rows, names)
    return grid(names, seeds) + ([(found, seed) for seed in seeds] if found else [])


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


def pm(values, digits=2, scale=1.0):
    """'mean +- sd'."""
    mean, sd, _, _ = runs.mean_sd(values)
    return ' +- '.join(f'{v * scale:.{digits}f}' for v in (mean, sd) if v is not None)


def missing(rows):
    """What a verdict says while it has too few runs."""
    return (SOME_RUN if rows else NOT_RUN), OPEN


def first_passes(row, name, level):
    """Which moment of `at`, from 1 on, is the first with a curve at or below level; if none, one more than the last."""
    numbers = curve(row, name)
    return next((n for n, v in enumerate(numbers, 1) if v <= level), len(numbers) + 1)


def rate_of(name):
    return float(name.split()[-1])


# ---------------------------------------------------------------------------------------------------------------------
# the claims, as experiments/claims_of_learning.py and claims_of_nets.py enter them

SETTINGS = {}           # {claim: {name of a setting: every setting of a net, its learning, and what to watch}}
CLAIMS = {}             # {claim: {'words', 'section', 'jobs', 'verdict'}}


def claim(number, words, section, jobs=None):
    """
    Decorator of a claim's verdict(rows) -> (what was measured, verdict), where rows are the claim's own.
    jobs(rows, seeds) -> [(setting, seed)]: the runs that it needs, as far as rows tell, since which rate is best is
    known once its grid has run.
    """
    def enter(function):
        CLAIMS[number] = {'words': words, 'section': section, 'jobs': jobs, 'verdict': function}
        return function
    return enter
