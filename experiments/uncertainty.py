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
    def far(gaps, axis):                # rounded, so that ways that differ only in the last bits are ties
        return np.round(np.abs(np.mean(gaps, axis)), 9)

    gaps = np.array([a[seed] - b[seed] for seed in a if seed in b and math.isfinite(a[seed] - b[seed])])
    n, mean = len(gaps), float(gaps.mean()) if len(gaps) else math.nan
    if n < 2:
        return {'n': n, 'mean': mean, 'low': math.nan, 'high': math.nan, 'p': 1.0}
    half = float(stats.t.ppf(0.975, n - 1) * gaps.std(ddof=1) / math.sqrt(n))
    test = stats.permutation_test((gaps,), far, vectorized=True, permutation_type='samples', alternative='greater',
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


def single_run(value, runs):
    """
    Where a published run's value lies among ours, which differ in their seeds: {'low', 'high', 'z'}. low, high is the
    95% prediction interval of another single run: mean +- t(n - 1) sd sqrt(1 + 1/n). z is value - mean over
    sd sqrt(1 + 1/n).
    """
    runs = np.array([v for v in runs if math.isfinite(v)], dtype=float)
    n, mean = len(runs), float(runs.mean())
    spread = float(runs.std(ddof=1)) * math.sqrt(1 + 1 / n)
    half = float(stats.t.ppf(0.975, n - 1)) * spread
    z = (value - mean) / spread if spread else math.copysign(math.inf, value - mean) if value != mean else 0.0
    return {'low': mean - half, 'high': mean + half, 'z': z}


def variance_split(values):
    """
    How much of a result's variance lies between draws of the digits, given {(draw, seed): value} of as many seeds on
    every draw: {'between', 'within', variances; 'share', between / both; 'low', 'high', its 95% interval}.

    One-way analysis of variance, draws random: with D draws of S runs each and the mean squares MS, within =
    MS_within, between = (MS_between - MS_within) / S, or 0 where that is negative. The interval is the exact one of the
    intraclass correlation, by F(D - 1, D (S - 1)). A draw's test digits belong to it, and so does their sampling error.
    """
    draws = sorted({draw for draw, _ in values})
    x = [[value for (draw, _), value in values.items() if draw == one] for one in draws]
    D, S = len(draws), len(x[0])
    if {len(runs) for runs in x} != {S} or min(D, S) < 2:
        raise ValueError(f'{len(values)} values are not {D} draws x {S} seeds, two or more of each')
    x = np.array(x, dtype=float)                                         # (D, S)
    within, between = float(x.var(1, ddof=1).mean()), S * float(x.mean(1).var(ddof=1))       # MS
    low, high = (max(0.0, (f - 1) / (f - 1 + S)) for f in between / within / stats.f.ppf((0.975, 0.025), D - 1,
                                                                                          D * (S - 1)))
    between = max(0.0, (between - within) / S)
    return {'between': between, 'within': within, 'share': between / (between + within), 'low': low, 'high': high}
