"""posterior.py: the prior, the draws, what is kept where the answer is known; and what a user can get wrong."""
import math
import sys

import numpy as np
import pytest
import torch
from conftest import REPO, random_patterns

import repro
from experiments import compare, posterior, posterior_pictures
from support import files


@pytest.fixture
def usps(tmp_path, monkeypatch):
    """A directory with a tiny data set `usps`, and paper and fc40 of two passes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(files, 'SHA256', {})
    for name in ('paper', 'fc40'):
        monkeypatch.setitem(repro.RECIPES, name, repro.RECIPES[name] | {'passes': 2})
    files.save_digits('usps', {'train': random_patterns(60, 1), 'test': random_patterns(30, 2)})
    for module in (posterior, compare):
        module.load.cache_clear()
    yield tmp_path
    for module in (posterior, compare):
        module.load.cache_clear()


def run(monkeypatch, *argv):
    monkeypatch.setattr(sys, 'argv', ['posterior.py', *argv])
    posterior.main()


def test_posterior_best_is_the_nearest_of_the_committed_draws():
    row, _ = posterior.best(posterior.read(REPO / 'results' / 'posterior.csv'))
    assert compare.RECIPES['posterior_best'][1] == posterior.recipe(row)


# the prior

def test_every_draw_is_in_the_priors_range_and_all_of_it_is_drawn():
    rows = posterior.drawn(range(1024))
    for name, (kind, *values) in posterior.PRIOR.items():
        found = [row[name] for row in rows]
        if kind == 'one of':            # Sobol: equal shares of 2^n points
            assert [found.count(value) for value in values] == [1024 // len(values)] * len(values)
        else:
            low, high = values
            middle = (low + high) / 2 if kind == 'uniform' else math.sqrt(low * high)
            assert low <= min(found) < low + (middle - low) / 50 and high - (high - middle) / 50 < max(found) <= high
            assert sum(value < middle for value in found) == 512


def test_a_draw_is_the_same_in_any_range_and_order():
    rows = posterior.drawn(range(300))
    assert posterior.drawn([299, 0, 17]) == [rows[299], rows[0], rows[17]]
    assert posterior.drawn([255]) == [rows[255]]


def test_a_draw_is_the_same_on_any_machine():
    assert posterior.drawn([1, 4095]) == [
        {'draw': 1, 'unit': 'tanh', 'share': 0.418097, 'rate': 0.00575695, 'damping': 0.0792606, 'patterns': 300,
         'scheme': 'cyclic', 'root': 1, 'drawn_biases': 0, 'shuffled': 0},
        {'draw': 4095, 'unit': 'lecun', 'share': 0.653724, 'rate': 0.000994672, 'damping': 0.0859002, 'patterns': 100,
         'scheme': 'random', 'root': 1, 'drawn_biases': 1, 'shuffled': 1}]


def test_what_the_paper_says_stays():
    for row in posterior.drawn(range(64)):
        settings = posterior.recipe(row)
        assert (settings['optimizer'], settings['passes'], 'shuffle' in settings) == ('newton', 23, False)
        assert settings['level'] == row['share'] * settings['A'] and settings['out_bias'] == 0
        assert [len(set(maps)) for maps in settings['table']] == [8] * 12
        repro.build({name: value for name, value in settings.items() if name not in ('order', 'drawn_biases')}, 0)
        full = posterior.recipe(row, 'fc40')
        assert {name for name in settings if full.get(name, '') != settings[name]} == {'net', 'table'}


# what is kept, and what follows

def made_up(theta, noise, scale):
    """Columns of draws of a toy: one number, theta = ln rate, and one result, ln train_loss = theta + scale * noise."""
    n = len(theta)
    return {'draw': np.arange(n), 'rate': np.exp(theta), 'train_loss': np.exp(theta + scale * noise),
            'train_misses': np.full(n, 10)}


def test_distance():
    paper = repro.PAPER
    rows = [paper, paper | {'train_loss': 2.5e-3 * math.exp(-0.2)}, paper | {'train_misses': 21},
            paper | {'train_misses': 0, 'train_loss': math.nan}]
    c = {name: np.array([row[name] for row in rows]) for name in repro.RESULTS}
    assert posterior.distance(c, paper, ('train_loss', 'train_misses')) == pytest.approx(
        [0, 2, math.log(2) / 0.25, math.inf])


def test_kept_is_what_brute_force_keeps():
    d = np.random.default_rng(0).exponential(size=500)
    assert sorted(posterior.kept(d, 0.5)) == [i for i in range(500) if d[i] <= 0.5]
    assert sorted(posterior.kept(d, 1e-6)) == sorted(sorted(range(500), key=lambda i: d[i])[:posterior.LEAST])
    d[5:] = math.inf                    # diverged
    assert sorted(posterior.kept(d, 1e-6)) == [0, 1, 2, 3, 4]


def test_the_posterior_of_a_gaussian_mean():
    """theta ~ N(0, 1), x ~ N(theta, 1), x = 1 seen: theta ~ N(1/2, 1/2). With tolerance 0.1, to within its error."""
    rng = np.random.default_rng(0)
    c = made_up(rng.standard_normal(200_000), rng.standard_normal(200_000), scale=1)
    i = posterior.kept(posterior.distance(c, {'train_loss': math.e}, ['train_loss']), 1.0)       # |x - 1| <= 0.1
    found = posterior.described(c['rate'][i], 'log-uniform', 0, 1)
    assert len(i) > 5000
    assert math.log(found['mean']) == pytest.approx(0.5, abs=0.04)
    assert found['sd'] == pytest.approx(math.sqrt(0.5), abs=0.03)
    assert np.log(found['interval']) == pytest.approx([0.5 - 1.645 * 0.7071, 0.5 + 1.645 * 0.7071], abs=0.08)


def test_intervals_hold_nine_in_ten_even_from_few():
    rng = np.random.default_rng(0)
    held = [low <= x <= high for *sample, x in rng.standard_normal((4000, posterior.LEAST + 1))
            for low, high in [posterior.interval(sample)]]
    assert np.mean(held) == pytest.approx(0.9, abs=0.02)


def test_binomial():
    assert posterior.binomial(45, 50) == pytest.approx((0.9, 0.8076, 0.9508), abs=1e-3)
    assert posterior.binomial(0, 20)[:2] == pytest.approx((0, 0))


@pytest.mark.parametrize('wrong', [False, True])
def test_calibration_covers_on_the_toy_and_notices_where_it_does_not(wrong, monkeypatch):
    """Noise three times the tolerance, which hides nothing then. Where the papers' is more, intervals do not cover."""
    rng = np.random.default_rng(0)
    n = 6000
    c = made_up(rng.uniform(0, 3, n), rng.standard_normal(n), scale=0.3)
    c['half'] = (np.log(c['rate']) + rng.standard_normal(n) > 1.5).astype(int)         # depends on theta
    monkeypatch.setattr(posterior, 'SETTINGS', {'rate': ('log-uniform', 1, 20), 'half': ('one of', 0, 1)})
    monkeypatch.setattr(posterior, 'TEST', ())
    if wrong:
        c['train_misses'][300:] = 200   # the papers are among the first 300, and those lie
        c['train_loss'][:300] *= np.exp(0.9 * rng.standard_normal(300))
        c['half'][:300] = 1 - c['half'][:300]
        monkeypatch.setitem(posterior.GIVEN, 'training', (('train_loss',), (0.5, 1.0, 2.0)))
    found = posterior.calibration(c, 'training', papers=200)
    true, alike, sd = found['half']
    if wrong:
        assert found['rate'][4] < 0.8 and true < alike - 5 * sd
    else:
        assert found['rate'][3] < 0.9 < found['rate'][4] and abs(true - alike) < 2.5 * sd
        assert 0.5 < alike < 1


def rows_made_up(n):
    """Rows of a made-up world in which the MSE was halved, with LeCun's unit: only then are its results the paper's."""
    rng = np.random.default_rng(1)
    rows = []
    for row in posterior.drawn(range(n)):
        noise = rng.standard_normal(5)
        far = 1 if row['unit'] == 'lecun' else 1.5
        values = [5e-3 * far * math.exp(0.1 * noise[0]), 0, round(10 * far * math.exp(0.25 * noise[1])),
                  36e-3 * math.exp(0.05 * noise[2]), 5 + 0.3 * noise[3], 102 + 6 * noise[3], 12 + noise[4]]
        values = dict(zip(repro.RESULTS, values)) if row['draw'] % 10 else dict.fromkeys(repro.RESULTS, math.nan)
        rows.append(row | values | {'seconds': 1.0})
    return rows


def test_summary_finds_what_was_put_in():
    rows = rows_made_up(400)
    s = posterior.summary(rows)
    assert s['n'] == s['within'] >= 30 and s['reach'] <= 1
    assert max(s['hypotheses'], key=lambda h: s['hypotheses'][h][0]) == ('lecun', 1)
    assert s['settings']['half'][1][1] == 1 and s['settings']['half'][0][:2] == (0, 0)
    test = s['predicted']['test_loss']
    assert test['mean'] == pytest.approx(18e-3, rel=0.05) and test['inside'] and 0.1 < test['quantile'] < 0.9
    assert sum(v[0] for v in s['hypotheses'].values()) == s['n']
    full = [row | {'test_error': 8.1} for row in rows]
    assert posterior.summary(rows, fully=full)['fc40']['test_error']['quantile'] == 0.5
    row, half = posterior.best(rows)
    assert half == 1 and row['unit'] == 'lecun'
    lines = posterior.text(rows)
    assert '400 draws, 40 diverged' in lines and 'lecun, halved MSE' in lines


@pytest.mark.slow
def test_pictures():
    rows = rows_made_up(400)
    for draw in (posterior_pictures.draw_posterior, posterior_pictures.draw_predictive):
        assert draw(rows).startswith(b'\x89PNG') and draw(rows) == draw(rows)


# the draws' runs

def test_runs_resume_and_any_order_gives_the_same(usps, monkeypatch, capsys):
    monkeypatch.setattr(posterior, 'LEAST', 2)
    run(monkeypatch, '--draws', '0-3', '--out', 'a.csv', '--jobs', '1')
    first = (usps / 'a.csv').read_text()
    run(monkeypatch, '--draws', '3-5', '--out', 'a.csv', '--jobs', '2')
    assert (usps / 'a.csv').read_text().startswith(first)                # draw 3 was not done again
    (usps / 'a.csv').write_text((usps / 'a.csv').read_text()[:-20])      # killed while it wrote its last row
    run(monkeypatch, '--draws', '0-5', '--out', 'a.csv')
    run(monkeypatch, '--draws', '0-5', '--out', 'b.csv', '--jobs', '2')
    a, b = ({row['draw']: row | {'seconds': 0} for row in posterior.read(path)} for path in ('a.csv', 'b.csv'))
    assert a == b and sorted(a) == [0, 1, 2, 3, 4, 5]
    assert all(next(iter(row)) == 'draw' for row in a.values())
    assert 'Given train_loss, train_misses' in capsys.readouterr().out
    run(monkeypatch, '--fc40', '--out', 'a.csv', '--jobs', '1')
    full = posterior.read('a_fc40.csv')
    assert full and {row['draw'] for row in full} <= set(a)
    assert ('fc40 by' in capsys.readouterr().out) == (len(full) > 1)


def test_a_row_is_what_its_settings_train(usps):
    row = next(row for row in posterior.drawn(range(1, 100)) if row['shuffled'] and row['drawn_biases']
               and row['root'] and row['scheme'] == 'random')
    found = posterior.one_run('paper', **row)
    settings = posterior.recipe(row)
    before = dict(settings)
    (X, Y), test = (files.load_digits('usps')[split] for split in ('train', 'test'))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(settings.pop('order')))
    net, _ = compare.trained(settings, X[order], Y[order], row['draw'])
    assert settings | {'order': row['draw']} == before                   # the recipe is as it was
    by_hand, training = repro.build({name: value for name, value in settings.items() if name != 'drawn_biases'},
                                    row['draw'])
    compare.draw_biases(by_hand, row['draw'], True)
    for _ in repro.train(by_hand, X[order], Y[order], **training):
        pass
    assert net.table == compare.random_table(row['draw'])
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), by_hand.parameters()))
    assert {**found, 'seconds': 0} == repro.results(repro.measure(net, X[order], Y[order]),
                                                    repro.measure(net, *test)) | {'seconds': 0}


def test_compare_runs_the_best_as_posterior_did(usps, monkeypatch):
    row = posterior.drawn([0])[0]
    monkeypatch.setitem(compare.RECIPES, 'best', ('', posterior.recipe(row)))
    ours, theirs = posterior.one_run('paper', **row), compare.one_run(**compare.jobs_of(['best'], 'usps', [0])[0])
    assert [ours[name] for name in repro.RESULTS] == pytest.approx([theirs[name] for name in repro.RESULTS])


def test_a_diverged_draw_is_a_row(usps, monkeypatch):
    def diverge(*args, **kwargs):
        raise repro.Diverged
        yield
    monkeypatch.setattr(repro, 'train', diverge)
    posterior.simulate(posterior.drawn([0, 1]), 'a.csv', workers=1)
    rows = posterior.read('a.csv')
    assert len(rows) == 2 and all(math.isnan(row[name]) for row in rows for name in repro.RESULTS)


def test_a_file_of_another_prior_is_refused(usps, monkeypatch):
    posterior.simulate(posterior.drawn([0, 1]), 'a.csv', workers=1)
    monkeypatch.setitem(posterior.PRIOR, 'share', ('uniform', 0.5, 1.0))
    with pytest.raises(SystemExit, match='another prior'):
        run(monkeypatch, '--draws', '0-3', '--out', 'a.csv')
    assert len((usps / 'a.csv').read_text().splitlines()) == 3


def test_what_a_user_gets_wrong(usps, monkeypatch, capsys):
    for text, says in (('5-2', 'ends before'), ('a', 'range of draws'), ('0-9999999', 'a million')):
        with pytest.raises(SystemExit, match='2'):
            run(monkeypatch, '--draws', text)
        assert says in capsys.readouterr().err
    with pytest.raises(SystemExit, match='--draws 0-4095'):
        run(monkeypatch)
    run(monkeypatch, '--draws', '0-1', '--out', 'a.csv')                 # is done, though there is no answer yet
    with pytest.raises(SystemExit, match='a.csv has 2 draws that did not diverge; an answer takes 40'):
        run(monkeypatch, '--out', 'a.csv')
    assert posterior.draws('7') == range(7, 8) and len(posterior.draws('0-99999')) == 10**5


@pytest.mark.parametrize('make', [repro.Net, repro.FullNet])
def test_drawn_biases_are_in_their_weights_range_and_leave_the_weights_as_they_were(make):
    net, other = make(7, root=False), make(7, root=False)
    compare.draw_biases(net, 7, False)
    for name, fan_in in (('H1', 25), ('H2', 200), ('H3', 192 if make is repro.Net else 256), ('out', len(net.outw))):
        if hasattr(net, f'{name}w'):
            assert torch.equal(getattr(net, f'{name}w'), getattr(other, f'{name}w'))
            assert 0.5 < getattr(net, f'{name}b').abs().max() * fan_in / 2.4 <= 1
