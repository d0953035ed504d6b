"""experiments/uncertainty.py against brute force and against numbers from textbooks."""
import itertools
import math
import random

import numpy as np
import pytest

from experiments import uncertainty

pytestmark = pytest.mark.filterwarnings('error')

# Student's data (1908): hours of sleep gained with two drugs, the same ten patients
SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def seeded(values):
    return dict(enumerate(values))


def test_difference_of_students_sleep_data():
    d = uncertainty.difference(*map(seeded, SLEEP))
    assert d['n'] == 10 and d['mean'] == pytest.approx(-1.58)
    assert (d['low'], d['high']) == (pytest.approx(-2.4598858, abs=1e-6), pytest.approx(-0.7001142, abs=1e-6))     # R
    gaps = [a - b for a, b in zip(*SLEEP)]
    as_far = [abs(sum(s * g for s, g in zip(signs, gaps))) >= abs(sum(gaps)) - 1e-9
              for signs in itertools.product((1, -1), repeat=10)]
    assert d['p'] == pytest.approx(sum(as_far) / 2**10)


def test_differences_pair_by_seed_and_leave_out_what_diverged():
    a, b = {3: 5.0, 1: 4.0, 2: math.nan, 7: 1.0}, {1: 3.0, 2: 1.0, 3: 3.0}
    d = uncertainty.difference(a, b)
    assert (d['n'], d['mean'], d['p']) == (2, 1.5, 0.5)
    assert uncertainty.difference({1: 2.0}, {1: 1.0})['p'] == 1
    assert math.isnan(uncertainty.difference({}, {})['mean'])
    alike = uncertainty.difference(seeded([2.0] * 5), seeded([1.0] * 5))
    assert (alike['low'], alike['high'], alike['p']) == (1, 1, 2 / 2**5)


def test_many_seeds_are_sampled():
    random.seed(0)
    a, b = ({seed: random.gauss(mean, 1) for seed in range(20)} for mean in (0, 1.5))
    assert uncertainty.difference(a, b)['p'] < 1e-3
    assert uncertainty.difference(a, b) == uncertainty.difference(a, b)


def test_mcnemar():
    wrong_a = [True] * 10 + [False] * 2 + [True] * 5 + [False] * 83
    wrong_b = [False] * 10 + [True] * 2 + [True] * 5 + [False] * 83
    tail = sum(math.comb(12, k) for k in (0, 1, 2)) / 2**12
    assert uncertainty.mcnemar(wrong_a, wrong_b) == (10, 2, pytest.approx(2 * tail))
    assert uncertainty.mcnemar(wrong_a, wrong_a) == (0, 0, 1)


def test_sampling():
    low, high = uncertainty.sampling(102, 2007)                          # the paper's
    assert 4.1 < low < 102 / 20.07 < high < 6.2
    for p, side in (low / 100, range(102, 2008)), (high / 100, range(103)):          # what Clopper-Pearson means
        tail = sum(math.exp(math.lgamma(2008) - math.lgamma(k + 1) - math.lgamma(2008 - k)
                            + k * math.log(p) + (2007 - k) * math.log1p(-p)) for k in side)
        assert tail == pytest.approx(0.025, rel=1e-6)
    assert uncertainty.sampling(0, 2007) == (0, pytest.approx(100 * (1 - 0.025**(1 / 2007))))


def test_single_run():
    found = uncertainty.single_run(6.0, [4.0, 4.5, 5.0, 5.5, 6.0])
    assert found['z'] == pytest.approx(1 / (0.625 * 1.2)**0.5) and found['low'] < 5 < found['high']
    assert uncertainty.single_run(5.0, [5.0, 5.0])['z'] == 0
    assert uncertainty.single_run(4.0, [5.0, 5.0])['z'] == -math.inf


def test_single_run_covers_95_of_100_where_only_seeds_count():
    g = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *runs, value = g.normal(5, 0.3, 11)
        found = uncertainty.single_run(value, runs)
        inside += found['low'] <= value <= found['high']
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_variance_split():
    g = np.random.default_rng(0)
    found, inside = [], 0
    for _ in range(1000):
        draw, rest = g.normal(0, 2, 20), g.normal(0, 3, (20, 5))
        found.append(uncertainty.variance_split({(d, s): draw[d] + rest[d, s] for d in range(20) for s in range(5)}))
        inside += found[-1]['low'] <= 4 / 13 <= found[-1]['high']
    for source, variance in ('between', 4), ('within', 9):
        assert np.mean([f[source] for f in found]) == pytest.approx(variance, rel=0.05)
    assert inside / 1000 == pytest.approx(0.95, abs=0.02)


def test_variance_split_by_hand():
    split = uncertainty.variance_split({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 5.0, (1, 1): 8.0})
    # within draws (0.5 + 4.5) / 2 = 2.5; means 1.5, 6.5, whose variance 12.5 has 2.5 / 2 from within
    assert (split['between'], split['within'], split['share']) == (11.25, 2.5, pytest.approx(11.25 / 13.75))
    f = 10 * 799.5                      # F = 25 / 2.5, times the 97.5% point of F(2, 1)
    assert (split['low'], 1 - split['high']) == (0, pytest.approx(2 / (f + 1), rel=1e-3))
    assert uncertainty.variance_split({(d, s): (d + s) % 2 for d in (0, 1) for s in (0, 1)})['share'] == 0
    with pytest.raises(ValueError):
        uncertainty.variance_split({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 5.0})
