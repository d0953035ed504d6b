"""experiments/posterior: the prior, the draws, the emulator where the answer is known, the fit, and what is kept."""
import math

import numpy as np
import pytest
import torch
from conftest import call, random_patterns, refused

import repro
from experiments import compare
from experiments.posterior import __main__, answer, draws, fit, inference
from experiments.posterior.inference import NAMES, PAPERS
from experiments.style import png


@pytest.fixture
def usps(tmp_path, monkeypatch):
    """A directory with a tiny data set `usps`, and nets that are trained for two passes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(draws, 'PASSES', 2)
    monkeypatch.setattr(draws, 'load', lambda _: {'train': random_patterns(60, 1), 'test': random_patterns(30, 2)})
    return tmp_path


# the prior

def test_every_draw_is_in_the_priors_range_and_all_of_it_is_drawn():
    c = inference.columns(draws.settings(range(1024)))
    for name, (kind, *values) in draws.PRIOR.items():
        if kind == 'one of':            # Sobol: equal shares of 2^n points
            assert [(c[name] == value).sum() for value in values] == [1024 // len(values)] * len(values)
        else:
            low, high = values
            middle = (low + high) / 2 if kind == 'uniform' else math.sqrt(low * high)
            assert low <= min(c[name]) < low + (middle - low) / 50
            assert high - (high - middle) / 50 < max(c[name]) <= high
            assert (c[name] < middle).sum() == 512 or name == 'fc_passes'
    assert 512 <= (c['fc_passes'] == 23).sum() < 560


def test_a_draw_is_the_same_in_any_range_and_on_any_machine():
    rows = draws.settings(range(300))
    assert draws.settings([299, 0, 17]) == [rows[299], rows[0], rows[17]]
    assert rows[1] == {
        'draw': 1, 'unit': 'tanh', 'share': 0.490862, 'damping': 0.0321741, 'step': 0.243316, 'patterns': 300,
        'scheme': 'blocks', 'sqrt_fan_in': 1, 'drawn_biases': 0, 'shuffled': 0, 'fc_passes': 9}


def test_what_the_paper_says_stays():
    for row in draws.settings(range(64)):
        conv, fc = (draws.recipe(row, name) for name in ('paper', 'fc40'))
        assert (conv['training']['optimizer'], conv['training']['passes']) == ('newton', 23)
        assert fc['training'] == conv['training'] | {'passes': row['fc_passes']}
        assert [len(set(maps)) for maps in conv['net']['table']] == [8] * 12
        assert conv['net']['level'] == row['share'] * conv['net']['A']
        step = conv['training']['rate'] / (draws.TYPICAL + row['damping'])
        assert step == pytest.approx(row['step'])


# the draws

def test_a_row_is_what_its_settings_train(usps):
    row = next(row for row in draws.settings(range(500)) if row['shuffled'] and row['drawn_biases']
               and row['sqrt_fan_in'] and row['scheme'] == 'random' and row['fc_passes'] < 6)
    found, (X, Y) = draws.one_run(**row), draws.load('usps')['train']
    order = torch.randperm(60, generator=torch.Generator().manual_seed(row['draw']))
    for name, prefix in ('paper', ''), ('fc40', 'fc_'):
        recipe = draws.recipe(row, name)
        net = repro.build(recipe, row['draw'])
        compare.draw_biases(net, row['draw'], True)
        for _ in repro.train(net, X[order], Y[order], **recipe['training']):
            pass
        by_hand = repro.results(repro.measure(net, X, Y), repro.measure(net, *draws.load('usps')['test']))
        assert all(found[prefix + result] == by_hand[result] for result in by_hand if prefix + result in found)


@pytest.mark.parametrize('make', [repro.Net, repro.FullNet])
def test_drawn_biases_are_in_their_weights_range_and_leave_the_weights_as_they_were(make):
    net, other = make(7, sqrt_fan_in=False), make(7, sqrt_fan_in=False)
    compare.draw_biases(net, 7, False)
    for name, fan_in in zip(net.LAYERS, (25, 200, 192, 30) if make is repro.Net else (256, 40)):
        assert torch.equal(getattr(net, f'{name}w'), getattr(other, f'{name}w'))
        assert 0.5 < getattr(net, f'{name}b').abs().max() * fan_in / 2.4 <= 1


def test_a_file_is_gone_on_with_but_not_one_of_another_prior(usps, monkeypatch):
    argv = '--draws', '0-1', '--out', 'a.csv', '--jobs', '1'
    assert call(__main__, *argv, cwd=usps).status == 0
    content = (usps / 'a.csv').read_text()
    (usps / 'a.csv').write_text(content[:-20])           # killed while it wrote its last row
    assert call(__main__, *argv, cwd=usps).status == 0
    assert (usps / 'a.csv').read_text() == content
    monkeypatch.setitem(draws.PRIOR, 'share', ('uniform', 0.5, 1.0))
    refused(call(__main__, *argv, cwd=usps), 'posterior', 'another prior')
    assert (usps / 'a.csv').read_text() == content


def test_a_draw_that_diverges_is_a_row(usps):
    row, = draws.settings([0])
    row['step'] = 1e30
    assert all(map(math.isnan, draws.one_run(**row).values()))


# the emulator and what follows, in a made-up world

def world(n, start=0):
    """
    Rows of a made-up world, in which the test MSE tells the targets, the rejection the step and the fully connected
    net's errors its passes; only LeCun's unit, with the MSE halved, gives all that the paper has.
    """
    rng = np.random.default_rng(start)
    rows = []
    for row in draws.settings(range(start, start + n)):
        lecun, noise = row['unit'] == 'lecun', rng.standard_normal(8)
        means = np.zeros(8) + [7 if lecun else 1, 0 if lecun else 3, 14 + 40 * (row['share'] - 0.7), 0,
                               3 * math.log(row['step'] / 0.05), 8 * math.log(12 / row['fc_passes']), 0, 0]
        values = [float(inference.inverse(name, x)) for name, x in zip(NAMES, means + noise)]
        failed = row['step'] > 0.3      # nothing is learned
        rows.append(row | dict(zip(NAMES, values)) | {'curvature': 1e-3, 'newton': row['share']} | (
            {'train_misses': 6000} if failed else {}))
    return rows


@pytest.fixture(scope='module')
def posterior():
    return inference.Posterior(world(256), 2**13)


def test_results_are_compared_in_sds_of_the_papers():
    paper = {name: np.array([x, x]) for name, x in zip(NAMES, PAPERS)}
    assert inference.compared(paper) == pytest.approx(0)
    twice = paper | {name: 2 * paper[name] for name in ('train_loss', 'test_loss')}
    assert inference.compared(twice)[0] == pytest.approx(inference.HALVED[1, 0])
    assert inference.inverse('rejection', 2.0) == pytest.approx(12.1 * math.exp(0.22))
    assert inference.inverse('train_misses', 2.0) == pytest.approx((math.sqrt(10) + 1)**2)


def test_a_process_without_a_point_is_one_that_never_saw_it():
    rng = np.random.default_rng(0)
    x = rng.random((60, 2))
    y = np.sin(5 * x[:, 0]) + 0.1 * rng.standard_normal(60)
    process, new = inference.Process(x, y), rng.random((200, 2))
    assert process(new) == pytest.approx(np.sin(5 * new[:, 0]), abs=0.2)
    K = np.linalg.inv(process.inverse)
    for out in 3, 17:
        rest = np.arange(60) != out
        alpha = np.linalg.solve(K[np.ix_(rest, rest)], (y[rest] - process.mean) / process.sd)
        by_hand = process.mean + process.sd * process.kernel(new, x[rest]) @ alpha
        assert process(new, [out])[:, 0] == pytest.approx(by_hand)
        left = process.mean + process.sd * process.kernel(x[[out]], x[rest]) @ alpha
        assert process.errors[out] == pytest.approx(y[out] - left[0])


@pytest.mark.slow
def test_the_posterior_is_what_was_put_in(posterior):
    w = posterior.weights()
    assert answer.cases(posterior)[inference.ALL]["LeCun's unit, MSE halved"].sum() > 0.9
    mean = (w * posterior.c['share']).sum()
    assert mean == pytest.approx(0.7, abs=0.02)          # the test MSE's error, 1 sd, is 1/40
    assert 0.02 < math.sqrt((w * (posterior.c['share'] - mean)**2).sum()) < 0.04
    assert (w**2).sum() > 2 * (posterior.weights(tolerance=2)**2).sum()  # fewer points count
    assert 0.3 < inference.mass(w, posterior.c['shuffled'] == 0) < 0.7


@pytest.mark.slow
def test_the_rest_is_predicted_from_what_is_given(posterior):
    values = posterior.predictive("both nets' training results")
    assert set(values) == set(NAMES) - {'train_loss', 'train_misses', 'fc_train_misses'}
    x = (np.sqrt(values['test_misses']) - np.sqrt(102)) / 0.3
    assert abs(x.mean()) < 0.3 and 0.8 < x.std() < 1.3


@pytest.mark.slow
def test_what_is_far_from_the_paper_is_ruled_out(posterior):
    c = inference.columns(draws.settings(range(2000, 3000)))
    left = posterior.emulator.left(*posterior.emulator(c))
    assert 0.05 < left.mean() < 0.5 and left[c['step'] > 0.4].mean() < 0.1
    true = (abs(c['share'] - 0.7) < 0.05) & (abs(c['fc_passes'] - 12) < 3) & (abs(np.log(c['step'] / 0.05)) < 0.3)
    assert left[true & (c['unit'] == 'lecun')].all()


@pytest.mark.slow
def test_calibration_holds_and_notices_where_it_does_not(posterior, monkeypatch):
    def coverage():
        ranks = posterior.calibration(n=60)['share']
        return ((0.05 <= ranks) & (ranks <= 0.95)).mean()
    assert coverage() > 0.8
    monkeypatch.setattr(posterior.emulator, 'covariance', posterior.emulator.covariance / 16)
    assert coverage() < 0.75


def test_a_recipe_is_the_point_that_it_came_from():
    for row in draws.settings(range(40)):
        same = row['scheme'] != 'random'
        found = inference.point(draws.recipe(row, 'paper'))
        assert (found is not None) == same
        if same:
            expected = row | {'fc_passes': 23}
            assert all(found[name] == pytest.approx(expected[name]) for name in found)
    assert inference.point(repro.RECIPES['karpathy2022']) is None


@pytest.mark.slow
def test_pictures(posterior, monkeypatch):
    """Its tables are compared with the pages by test_report.py."""
    monkeypatch.setattr(answer, 'posterior', lambda: posterior)
    monkeypatch.setattr(answer, 'png', lambda fig, *_: png(fig))
    for draw in answer.pictures().values():
        assert draw().startswith(b'\x89PNG')


# the fit, and what is committed

def test_the_fit_measures_no_test_digit_and_its_best_point_is_first(usps, monkeypatch):
    monkeypatch.setattr(fit, 'load', lambda _: {'train': random_patterns(60, 1)})
    found = fit.one_run('newton', 0.03, 0.002, 1)
    assert set(found) == {'train_loss', 'train_misses'} and math.isfinite(found['train_loss'])
    rows = [dict(zip(fit.KEY, (*point, seed))) | {'train_loss': 2.5e-3 * (1 + k), 'train_misses': 10}
            for k, point in enumerate(fit.GRID[::-1]) for seed in (0, 1)]
    lines = [line.split(' | ') for line in fit.best(rows, 2).splitlines()[3:]]
    points = [[f'{damping:g}' if damping else '', f'{rate:g}'] for _, damping, rate in fit.GRID[::-1]]
    assert [line[1:3] for line in lines] == [*points[7:9], *points[:2]] and lines[2][5] == '0.000 |'
