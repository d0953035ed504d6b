"""
How sure we can be of a comparison: of two recipes over seeds, of two nets on the same digits, of our runs with one
published number. Intervals are at 95%, p-values two-sided, error rates in percent.
"""
import math

import numpy as np
from scipy import stats

RESAMPLES = 10**5       # permutations: all of them if there are no more than this, otherwise so many drawn at random


def difference(a, b):
    """
    a - b, {seed: value} each, paired over the seeds that ended in both: {'n', 'mean', 'low', 'high', 'p'}.

    The interval is mean +- t(n - 1) sd / sqrt(n) of the paired differences. p is that of the sign-flip permutation
    test: of the 2^n ways to exchange a and b within pairs, the share whose mean difference is at least as far from 0.
    """
    def apart(a, b, axis):              # rounded, so that ways that differ only in the last bits are ties
        return np.round(np.abs(np.mean(a, axis) - np.mean(b, axis)), 9)

    seeds = [seed for seed in a if seed in b and math.isfinite(a[seed]) and math.isfinite(b[seed])]
    a, b = (np.array([values[seed] for seed in seeds], dtype=float) for values in (a, b))
    n, mean = len(seeds), float(np.mean(a - b)) if seeds else math.nan
    if n < 2:
        return {'n': n, 'mean': mean, 'low': math.nan, 'high': math.nan, 'p': 1.0}
    half = float(stats.t.ppf(0.975, n - 1) * np.std(a - b, ddof=1) / math.sqrt(n))
    test = stats.permutation_test((a, b), apart, vectorized=True, permutation_type='samples', alternative='greater',
                                  n_resamples=RESAMPLES, random_state=0)
    return {'n': n, 'mean': mean, 'low': mean - half, 'high': mean + half, 'p': float(test.pvalue)}


def mcnemar(wrong_a, wrong_b):
    """
    Two nets on the same digits, true where they miss one: (digits that only a misses, that only b misses, p).

    McNemar's exact test: if the nets were equally good, a digit that only one of them misses would be missed by either
    with probability 1/2, so that the first number would be binomial.
    """
    wrong_a, wrong_b = np.asarray(wrong_a, dtype=bool), np.asarray(wrong_b, dtype=bool)
    only_a, only_b = int((wrong_a & ~wrong_b).sum()), int((wrong_b & ~wrong_a).sum())
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return only_a, only_b, p


def sampling(misses, n):
    """The Clopper-Pearson interval (low, high) of the error rate of a net that misses so many of n digits."""
    interval = stats.binomtest(misses, n).proportion_ci(0.95, 'exact')
    return 100 * float(interval.low), 100 * float(interval.high)


def single_run(value, runs, n_test=None):
    """
    How far one published run lies from ours: {'mean', 'sd', 'sampling', 'low', 'high', 'z'}.

    Our n runs differ in their seeds: they have the standard deviation sd, and their mean the standard error sd /
    sqrt(n). If the published error rate was measured on other digits than ours, n_test of them each time, both also
    have the digits' sampling error, 'sampling' = sqrt(p (1 - p) / n_test). The variance of value - mean is then
    sd^2 (1 + 1/n) + 2 sampling^2, a little too large, as part of sd is sampling too. low, high is the prediction
    interval with t(n - 1); z is value - mean over the square root of that variance. Without n_test the digits are the
    same, and only seeds count.
    """
    runs = np.array([v for v in runs if math.isfinite(v)], dtype=float)
    n, mean, sd = len(runs), float(runs.mean()), float(runs.std(ddof=1))
    error = math.sqrt(mean * (100 - mean) / n_test) if n_test else 0.0
    spread = math.sqrt(sd**2 * (1 + 1 / n) + 2 * error**2)
    half = float(stats.t.ppf(0.975, n - 1)) * spread
    z = (value - mean) / spread if spread else math.copysign(math.inf, value - mean) if value != mean else 0.0
    return {'mean': mean, 'sd': sd, 'sampling': error, 'low': mean - half, 'high': mean + half, 'z': z}


def variance_split(values):
    """
    Where a result's variance comes from, given {(draw, seed): value} of every seed on every draw: {'draw', 'seed',
    'rest'}.

    Analysis of variance of the crossed two-way layout with one run a cell, both factors random. With D draws, S seeds
    and the mean squares MS: rest = MS_rest, draw = (MS_draw - MS_rest) / S, seed = (MS_seed - MS_rest) / D, or 0 where
    that is negative. The test digits belong to the draw, and so does their sampling error.
    """
    draws, seeds = (sorted({name[i] for name in values}) for i in (0, 1))
    D, S = len(draws), len(seeds)
    if len(values) != D * S or min(D, S) < 2:
        raise ValueError(f'{len(values)} values are not {D} draws x {S} seeds, two or more of each')
    x = np.array([[values[draw, seed] for seed in seeds] for draw in draws], dtype=float)        # (D, S)
    by_draw, by_seed = x.mean(1, keepdims=True), x.mean(0, keepdims=True)
    rest = float(((x - by_draw - by_seed + x.mean())**2).sum() / ((D - 1) * (S - 1)))
    return {'draw': max(0.0, float(by_draw.var(ddof=1)) - rest / S),     # MS_draw / S is the variance of the means
            'seed': max(0.0, float(by_seed.var(ddof=1)) - rest / D), 'rest': rest}
