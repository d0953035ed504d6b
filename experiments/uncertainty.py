"""
How sure we can be of a comparison: of two recipes over seeds, of two nets on the same digits, of our runs with one
published number. Intervals are at 95%, p-values two-sided.
"""
import math

import numpy as np
from scipy import stats

RESAMPLES = 10**5       # permutations: all of them if there are no more than this, otherwise so many drawn at random


def difference(a, b):
    """
    a - b, {seed: value} each, paired over the seeds that ended in both: {'n', 'mean', 'low', 'high', 'p'}.

    The interval is Student's. p is that of the sign-flip permutation test: of the 2^n ways to exchange a and b within
    pairs, the share whose mean difference is at least as far from 0. It is NaN below six pairs, where it cannot fall
    below 0.05.
    """
    def far(gaps, axis):                # rounded, so that ways that differ only in the last bits are ties
        return np.round(np.abs(np.mean(gaps, axis)), 9)

    gaps = np.array([a[seed] - b[seed] for seed in a if seed in b and math.isfinite(a[seed] - b[seed])])
    n, mean, p = len(gaps), float(gaps.mean()) if len(gaps) else math.nan, math.nan
    low, high = stats.t.interval(0.95, n - 1, mean, gaps.std(ddof=1) / math.sqrt(n)) if n > 1 else (math.nan, math.nan)
    if n > 5:
        p = stats.permutation_test((gaps,), far, vectorized=True, permutation_type='samples', alternative='greater',
                                   n_resamples=RESAMPLES, random_state=0).pvalue
    return {'n': n, 'mean': mean, 'low': float(low), 'high': float(high), 'p': float(p)}


def mcnemar(wrong_a, wrong_b):
    """
    Two nets on the same digits, the sets of those that they miss: (digits that only a misses, that only b misses, p).

    McNemar's exact test: if the nets were equally good, a digit that only one of them misses would be missed by either
    with probability 1/2, so that the first number would be binomial.
    """
    only_a, only_b = len(wrong_a - wrong_b), len(wrong_b - wrong_a)
    return only_a, only_b, float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def single_run(value, runs):
    """
    Where a published run's value lies among ours, which differ in their seeds: {'low', 'high', 'z'}. low, high is the
    95% prediction interval of another single run, Student's around the mean of ours, its scale sd sqrt(1 + 1/n). z is
    value - mean on that scale.
    """
    runs = np.array([v for v in runs if math.isfinite(v)])
    n, mean = len(runs), float(runs.mean())
    scale = float(runs.std(ddof=1)) * math.sqrt(1 + 1 / n)
    low, high = stats.t.interval(0.95, n - 1, mean, scale)
    return {'low': float(low), 'high': float(high), 'z': (value - mean) / scale}


def variance_split(values):
    """
    How much of a result's variance lies between draws of the digits, given {(draw, seed): value} of as many seeds on
    every draw: {'between', 'within', variances; 'share', between / both; 'low', 'high', its 95% interval}.

    One-way analysis of variance, draws random: with D draws of S runs each and the mean squares MS, within =
    MS_within, between = (MS_between - MS_within) / S, or 0 where that is negative. The interval is the exact one of the
    intraclass correlation, by F(D - 1, D (S - 1)). A draw's test digits belong to it, and so does their sampling error.
    """
    draws, seeds = (sorted({key[i] for key in values}) for i in (0, 1))
    x = np.array([[values[draw, seed] for seed in seeds] for draw in draws])             # (D, S)
    D, S = x.shape
    within, between = float(x.var(1, ddof=1).mean()), S * float(x.mean(1).var(ddof=1))       # MS
    low, high = (max(0.0, (f - 1) / (f - 1 + S)) for f in between / within / stats.f.ppf((0.975, 0.025), D - 1,
                                                                                          D * (S - 1)))
    between = max(0.0, (between - within) / S)
    return {'between': between, 'within': within, 'share': between / (between + within), 'low': low, 'high': high}


def sampling_sd(missed, n, whole):
    """
    The standard deviation, in percent, that a net's error has because its n test digits are a sample of `whole`.
    missed: the sets of digits that nets of several seeds miss, all on the same n.

    A digit is missed with a probability of its own. Its variance over the digits is the covariance between two nets'
    misses; the mean over n digits, drawn without replacement, has an n-th of it, times 1 - n / whole.
    """
    pairs = [len(a & b) / n - len(a) * len(b) / n**2 for i, a in enumerate(missed) for b in missed[:i]]
    return 100 * math.sqrt(max(0.0, np.mean(pairs)) / n * (1 - n / whole))
