"""
What the paper's eight results say about its settings: their likelihood by an emulator that is trained on the draws, and
beside it approximate Bayesian computation, which keeps the draws that come near the paper.
"""
import math
import warnings

import numpy as np
from scipy import linalg, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from experiments.compare import RECIPES, runs_of
from experiments.posterior import draws
from experiments.posterior.draws import LECUN, PRIOR, SETTINGS, TYPICAL
from prepro import N_TEST, N_TRAIN
from repro import PAPER, PAPER_FC40, PASSES

# ---------------------------------------------------------------------------------------------------------------------
# The rules. They were written down before the draws were run. What had been seen is said in draws.py; the emulator was
# tried on the draws of the round before.

# {result: (how it is compared, one sd over initial weights as it is compared, the paper's, half the last digit that the
# paper prints, the most that both nets may have to count as having learned)}. Misses are compared by their square root
# and the others by their logarithm, in which the sd is nearly the same for good nets and bad ones. The sds are those of
# ten seeds of about ten recipes, near the paper's results; they set the distance and the plots' units, no more.
RESULTS = {
    'train_loss': (np.log, 0.10, PAPER['train_loss'], 0.05e-3, 20e-3),
    'train_misses': (np.sqrt, 0.50, PAPER['train_misses'], 0, 60),
    'test_loss': (np.log, 0.05, PAPER['test_loss'], 0.5e-3, 70e-3),
    'test_misses': (np.sqrt, 0.30, PAPER['test_misses'], 0, 170),
    'rejection': (np.log, 0.11, PAPER['rejection'], 0.05, 30),
    'fc_train_misses': (np.sqrt, 0.45, PAPER_FC40['train_error'] * N_TRAIN / 100, 0.05 * N_TRAIN / 100, 250),
    'fc_test_misses': (np.sqrt, 0.24, PAPER_FC40['test_error'] * N_TEST / 100, 0.05 * N_TEST / 100, 230),
    'fc_rejection': (np.log, 0.11, PAPER_FC40['rejection'], 0.05, 45)}
NAMES, ALL = list(RESULTS), 'all eight'
COMPARE, SD, PAPERS, ROUNDING, MOST = zip(*RESULTS.values())
GIVEN = {           # what is given: the rest is predicted
    "the convolutional net's training results": ['train_loss', 'train_misses'],
    "both nets' training results": ['train_loss', 'train_misses', 'fc_train_misses'],
    "the convolutional net's five": NAMES[:5],
    ALL: NAMES}
# The likelihood of the paper's results x, given settings s: P(both nets learn | s) N(x; m(s), t**2 (C + R)). P and the
# means m are emulated; C is the covariance of the emulator's errors on draws that it was not trained on, and so holds
# what initial weights do and what the emulator does not know; R is the variance that the paper's rounding adds. With a
# tolerance t above 1 the paper's nets may differ from ours in more than that: in digits that were not deslanted, say.
# The answer is that of 1, and the others show how it depends on that.
TOLERANCES = 1.0, 1.5, 2.0, 3.0
# ABC, which needs no emulator, keeps the draws that are within this many sds of the paper in every result.
DISTANCES = 2.0, 3.0, 4.0
# Draws are run in two waves (history matching: Craig et al. 1997): 1,024 from the prior; then the points of the same
# sequence that the emulator does not rule out: those with P above 1/10 and, with the MSE as it is or halved, every
# mean within CUTOFF sds, of C + R, of the paper's result. Inside that region draws of both waves are from the prior, so
# that none needs a weight; outside it none is near the paper.
FIRST, CUTOFF = 1024, 6.0


# ---------------------------------------------------------------------------------------------------------------------
# the draws as numbers

def columns(rows):
    """The rows as arrays by name."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def inputs(c):
    """The settings as the emulator sees them (n, 13): numbers by their place in their range, from 0 to 1."""
    def place(name, low, high):
        return np.log(c[name] / low) / math.log(high / low)
    patterns = np.interp(np.log(c['patterns']), np.log(PRIOR['patterns'][1:]), (0, 1/3, 2/3, 1))
    return np.stack([c['unit'] == 'lecun', (c['share'] - 0.4) / 0.6, patterns,
                     *(place(name, *PRIOR[name][1:]) for name in ('damping', 'step', 'fc_passes')),
                     *(c[name] for name in ('sqrt_fan_in', 'drawn_biases', 'shuffled')),
                     *(c['scheme'] == scheme for scheme in PRIOR['scheme'][1:])], 1).astype(float)


def compared(c):
    """The eight results (n, 8), or those of them that c has, in sds from the paper's, as they are compared."""
    return np.stack([(compare(c[name]) - compare(paper)) / sd
                     for name, compare, sd, paper in zip(NAMES, COMPARE, SD, PAPERS) if name in c], -1)


def inverse(name, x):
    """The result that is x sds from the paper's."""
    compare, sd, paper, *_ = RESULTS[name]
    return np.exp(np.log(paper) + sd * x) if compare is np.log else (np.sqrt(paper) + sd * x).clip(0)**2


def learned(c):
    """Whether both nets of a draw learned: no result is beyond what MOST says."""
    return np.all([c[name] <= most for name, most in zip(NAMES, MOST) if name in c], 0)


# how far a draw moves with its MSE as it is and halved (2, 1, 8)
HALVED = np.outer((0, 1), [math.log(2) / sd if name.endswith('loss') else 0 for name, sd in zip(NAMES, SD)])[:, None]
# the variance of what the paper rounds away, uniform over the last digit that it prints
ROUNDED = np.array([((f(x + r) - f(x - r)) / 2 / sd)**2 / 3 for f, sd, x, r in zip(COMPARE, SD, PAPERS, ROUNDING)])


# ---------------------------------------------------------------------------------------------------------------------
# the emulator

class Process:
    """A Gaussian process through points x (n, d) with values y. The first 300 points set its length scales."""

    def __init__(self, x, y):
        self.mean, self.sd = y.mean(), y.std() or 1.0
        y = (y - self.mean) / self.sd
        start = (ConstantKernel(10, (0.1, 1e3)) * Matern(np.ones(x.shape[1]), (0.1, 30), nu=2.5)
                 + WhiteKernel(0.1, (1e-4, 1)))
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)          # of settings that do not matter
            kernel = GaussianProcessRegressor(start).fit(x[:300], y[:300]).kernel_
        self.x, self.kernel = x, kernel.k1
        self.inverse = linalg.inv(kernel(x))
        self.alpha = self.inverse @ y
        # the value minus what the process predicts for the point from all others
        self.errors = self.sd * self.alpha / self.inverse.diagonal()

    def __call__(self, x, out=None):
        """Predictions at x (n,); or (n, out) of the processes through all points but one, which are `out`."""
        alpha = self.alpha if out is None else self.alpha[:, None] - self.inverse[:, out] * self.errors[out] / self.sd
        return np.concatenate([self.mean + self.sd * self.kernel(part, self.x) @ alpha
                               for part in np.array_split(x, len(x) // 4096 + 1)])       # all at once take gigabytes


class Emulator:
    """P(both nets learn); of nets that do the means of the eight results, and what is said of their curvature."""

    def __init__(self, rows):
        c = columns(sorted(rows, key=lambda row: row['draw']))
        good = learned(c)
        self.draws = {name: values[good] for name, values in c.items()}
        x, y = inputs(self.draws), compared(self.draws)
        self.learns = Process(inputs(c), good.astype(float))
        self.results = [Process(x, column) for column in y.T]
        self.curvature, self.newton = (Process(x, y) for y in (np.log(self.draws['curvature']), self.draws['newton']))
        # the draws that are nearest to the paper by what the emulator predicts from all others
        errors = np.stack([process.errors for process in self.results], 1)
        far = abs(y - errors - HALVED).max(2).min(0)
        self.errors = errors[np.argsort(far)[:200]]
        self.covariance = self.errors.T @ self.errors / len(self.errors) + np.diag(ROUNDED)

    def __call__(self, c):
        """(P (n,), means (n, 8)) for settings c."""
        x = inputs(c)
        return self.learns(x).clip(1e-6, 1), np.stack([process(x) for process in self.results], 1)

    def left(self, learns, means):
        """Whether settings that have this P and these means are not ruled out."""
        most = CUTOFF * np.sqrt(self.covariance.diagonal())
        return (learns > 0.1) & (abs(means - HALVED) <= most).all(2).any(0)


# ---------------------------------------------------------------------------------------------------------------------
# the posterior

class Posterior:
    """Points of the prior that are not ruled out, each with its MSE as it is and halved: weights are (2, points)."""

    def __init__(self, rows, n=2**19):
        self.rows, self.emulator = rows, Emulator(rows)
        c = draws.sample(n, seed=1990)  # another sequence than the draws'
        learns, means = self.emulator(c)
        left = self.emulator.left(learns, means)
        self.prior_left, self.learns, self.means = left.mean(), learns[left], means[left] - HALVED
        c = {name: values[left] for name, values in c.items()}
        x = inputs(c)
        c['level'] = c['share'] * np.where(c['unit'] == 'lecun', LECUN['A'], 1.0)
        c['rate'] = c['step'] * (TYPICAL + c['damping'])
        c['own_step'] = c['rate'] / (c['damping'] + np.exp(self.emulator.curvature(x)))
        c['newton'] = 100 * self.emulator.newton(x).clip(0, 1)
        self.c = c | {'half': np.array([[0], [1]])}

    def weights(self, given=ALL, tolerance=1.0):
        """The weight of each point, given these of the paper's results. They sum to 1."""
        return self.weighed(self.learns, self.means, given, tolerance)

    def weighed(self, learns, gaps, given=ALL, tolerance=1.0):
        """The weights of points that have this P, whose means are so far (2, points, 8) from the results."""
        i = [NAMES.index(name) for name in GIVEN[given]]
        normal = stats.multivariate_normal(cov=tolerance**2 * self.emulator.covariance[np.ix_(i, i)])
        w = learns * normal.pdf(gaps[..., i])
        return w / w.sum()

    def predictive(self, given):
        """{result: 4,000 values of what the paper's would be} of nets that agree with it in what is given."""
        rng, w = np.random.default_rng(1989), self.weights(given)
        half, k = np.divmod(rng.choice(w.size, 4000, p=w.ravel()), w.shape[1])
        means = self.means[half, k]
        known = np.isin(NAMES, GIVEN[given])
        C = self.emulator.covariance
        gain = C[~known][:, known] @ linalg.inv(C[known][:, known])      # of the rest's errors on those known
        rest = means[:, ~known] - means[:, known] @ gain.T + rng.multivariate_normal(
            np.zeros((~known).sum()), C[~known][:, ~known] - gain @ C[known][:, ~known], len(k))
        return {name: inverse(name, column) for name, column in zip(np.array(NAMES)[~known], rest.T)}

    def calibration(self, n=400):
        """
        The n draws nearest to the paper play it, each inferred from the others: simulation-based calibration (Talts et
        al. 2018). {setting: the posterior's probability below the true value, uniform if the inference works (n,)}, of
        numbers, at random within the probability of that value itself, as 23 passes have; {setting: the true option's
        probability, and what it should be on average (n, 2)}, of choices.
        """
        results = compared(self.emulator.draws) - HALVED
        nearest = np.argsort(abs(results).max(2), None, kind='stable')[:n]
        half, which = np.divmod(nearest, results.shape[1])
        truth = {name: self.emulator.draws[name][which] for name in PRIOR} | {'half': half}
        # every second point, as all of them take a gigabyte
        c = {name: self.c[name][::2] for name in PRIOR}
        x, c['half'] = inputs(c), self.c['half']
        means = np.stack([process(x, which).astype(np.float32) for process in self.emulator.results], -1)
        ranks, rng = {name: [] for name in truth}, np.random.default_rng(1989)
        for k in range(len(which)):
            w = self.weighed(self.learns[::2], means[:, k] - HALVED - results[half[k], which[k]])
            for name, values in truth.items():
                at = mass(w, c[name] == values[k])
                kind, *options = SETTINGS[name]
                ranks[name].append((at, sum(mass(w, c[name] == option)**2 for option in options)) if kind == 'one of'
                                   else mass(w, c[name] < values[k]) + rng.random() * at)
        return {name: np.array(found) for name, found in ranks.items()}


def mass(w, where):
    """The weight of the points where something holds."""
    return (w * where).sum()


# ---------------------------------------------------------------------------------------------------------------------
# Checks of the emulator. On draws that it was not trained on: Emulator.errors and Posterior.calibration. Of the latter
# a number passes if its ranks are uniform by a Kolmogorov-Smirnov test with p > 0.01, a choice if the true option has
# the probability that it should have to within 2.5 standard errors. The answer does not hold for what fails.

def point(recipe):
    """The settings of a recipe as those of a draw; None if it is not one that the prior knows."""
    net, training = recipe['net'], recipe['training']
    schemes = [name for name, table in draws.TABLES.items() if table == net.get('table')]
    stays = (training['optimizer'], training['passes'], net['out_bias']) == ('newton', PASSES, 0)
    if not (stays and schemes) or 'shuffle' in training:
        return None
    damping = training['damping'] / net['factor']        # as draws are trained, without the factor 1/2
    row = {'unit': 'lecun' if net['A'] == LECUN['A'] else 'tanh', 'share': net['level'] / net['A'],
           'damping': damping, 'step': training['rate'] / (TYPICAL + damping),
           'patterns': training['patterns'], 'scheme': schemes[0], 'sqrt_fan_in': int(net['sqrt_fan_in']),
           'drawn_biases': int(recipe.get('drawn_biases', False)), 'shuffled': int(recipe.get('order') is not None),
           'fc_passes': PASSES}
    x = inputs(columns([row]))
    return row if 0 <= x.min() <= x.max() <= 1 else None                 # in the prior's ranges


def against_recipes(emulator):
    """
    The emulator beside compare.py's runs, which it has not seen: [mean over a recipe's seeds - the emulator's mean, of
    the convolutional net's five results (5,), in sds], for each recipe that is a point of the prior.
    """
    gaps = []
    for name, (_, recipe) in RECIPES.items():
        if point(recipe):
            runs = columns(runs_of(name))
            if learned(runs).all():
                _, means = emulator(columns([point(recipe)]))
                means = means - HALVED[int(recipe['net']['factor'] == 0.5)]
                gaps.append(compared(runs).mean(0) - means[0, :5])
    return gaps
