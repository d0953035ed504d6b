"""experiments/uncertainty.py against brute force and against numbers from textbooks."""
import itertools
import math

import numpy as np
import pytest

from experiments import uncertainty

# Student's data (1908): hours of sleep gained with two drugs, the same ten patients
SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_difference_of_students_sleep_data():
    d = uncertainty.difference(*(dict(enumerate(values)) for values in SLEEP))
    assert d['n'] == 10 and d['mean'] == pytest.approx(-1.58)
    assert (d['low'], d['high']) == (pytest.approx(-2.4598858, abs=1e-6), pytest.approx(-0.7001142, abs=1e-6))     # R
    gaps = [a - b for a, b in zip(*SLEEP)]
    as_far = [abs(sum(s * g for s, g in zip(signs, gaps))) >= abs(sum(gaps)) - 1e-9
              for signs in itertools.product((1, -1), repeat=10)]
    assert d['p'] == pytest.approx(sum(as_far) / 2**10)


def test_differences_pair_by_seed_and_leave_out_what_diverged():
    d = uncertainty.difference({3: 5.0, 1: 4.0, 2: math.nan, 7: 1.0}, {1: 3.0, 2: 1.0, 3: 3.0})
    assert (d['n'], d['mean']) == (2, 1.5) and d['low'] < 1.5 < d['high']
    assert math.isnan(d['p'])           # of two pairs: it could not fall below 0.5
    assert math.isnan(uncertainty.difference({1: 2.0}, {1: 1.0})['low'])
    assert math.isnan(uncertainty.difference({}, {})['mean'])


def test_mcnemar():
    tail = sum(math.comb(12, k) for k in (0, 1, 2)) / 2**12
    wrong_a, wrong_b = set(range(10)) | {50, 51}, {20, 21} | {50, 51}
    assert uncertainty.mcnemar(wrong_a, wrong_b) == (10, 2, pytest.approx(2 * tail))
    assert uncertainty.mcnemar(wrong_a, wrong_a) == (0, 0, 1)


def test_single_run():
    place = uncertainty.single_run(6.0, [4.0, 4.5, math.nan, 5.0, 5.5, 6.0])     # mean 5, variance 0.625
    scale = (0.625 * 1.2)**0.5
    assert place['z'] == pytest.approx(1 / scale)
    assert place['low'] == pytest.approx(5 - 2.776445 * scale) and place['high'] == pytest.approx(5 + 2.776445 * scale)


def test_variance_split_by_hand():
    split = uncertainty.variance_split({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 5.0, (1, 1): 8.0})
    # within draws (0.5 + 4.5) / 2 = 2.5; means 1.5, 6.5, whose variance 12.5 has 2.5 / 2 from within
    assert (split['between'], split['within'], split['share']) == (11.25, 2.5, pytest.approx(11.25 / 13.75))
    f = 10 * 799.5                      # F = 25 / 2.5, times the 97.5% point of F(2, 1)
    assert (split['low'], 1 - split['high']) == (0, pytest.approx(2 / (f + 1), rel=1e-3))


def test_sampling_sd_is_that_of_samples():
    g = np.random.default_rng(0)
    p = g.beta(0.1, 1.9, 10_000)        # 5% of nets miss a digit, most digits are missed by none
    estimates, errors = [], []
    for _ in range(300):
        sample = g.choice(10_000, 2000, replace=False)
        errors.append(100 * p[sample].mean())
        missed = [set(np.flatnonzero(g.random(2000) < p[sample])) for _ in range(5)]
        estimates.append(uncertainty.sampling_sd(missed, 2000, 10_000))
    assert np.mean(estimates) == pytest.approx(np.std(errors), rel=0.1)
