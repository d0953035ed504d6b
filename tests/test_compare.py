"""compare.py: what its recipes are, what a run measures, its rows and its table."""
import pytest
import torch
from conftest import call

import prepro
import repro
from experiments import compare
from support import files, runs

pytestmark = pytest.mark.usefixtures('short')


def one_run(name, dataset):
    return compare.one_run(name, runs.fingerprint(compare.RECIPES[name][1]), dataset, 3)


@pytest.mark.parametrize('name', [name for name, (_, settings) in compare.RECIPES.items() if 'draw' not in settings])
def test_a_recipe_trains(name, tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    values = one_run(name, 'usps')
    assert tuple(values) == compare.VALUES and 0 <= values['train_misses'] <= 40 and values['train_loss'] > 0
    assert len(values['missed'].split()) == values['test_misses']


def test_draws_differ_in_their_order_and_seed_only(tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    seen = []
    monkeypatch.setattr(repro, 'train', lambda net, X, Y, *args, **kwargs: seen.append(X) or [(1, 0.0)])
    for name in ('test_first', 'train_first', 'draw_0', 'draw_1'):
        one_run(name, 'mnist60k')
    assert [len(X) for X in seen] == [30] * 4
    assert len({X.numpy().tobytes() for X in seen}) == 4
    splits = files.load_digits('mnist60k')
    assert torch.equal(seen[0], splits['train'][0][prepro.draw(splits)['train']])


def test_rows_are_those_of_the_settings_and_runs_that_diverge_are_counted(tiny, monkeypatch):
    argv = 'karpathy2022', 'fc40', '--seeds', '0-1,0', '--out', 'runs.csv'
    done = call(compare, *argv, cwd=tiny)
    assert (done.status, done.err) == (0, []) and 'diverged' not in done.out
    assert sorted((row['recipe'], row['seed']) for row in compare.read(tiny / 'runs.csv')) == [
        (name, seed) for name in ('fc40', 'karpathy2022') for seed in (0, 1)]
    content = (tiny / 'runs.csv').read_bytes()

    what, settings = compare.RECIPES['karpathy2022']
    monkeypatch.setitem(compare.RECIPES, 'karpathy2022', (what, compare.changed(settings, training={'rate': 1e38})))
    assert {row['recipe'] for row in compare.read(tiny / 'runs.csv')} == {'fc40'}        # the others' settings are old
    done = call(compare, *argv, cwd=tiny)
    assert (done.status, done.err) == (0, []) and '2 diverged' in done.out
    assert len(compare.read(tiny / 'runs.csv')) == 4 and (tiny / 'runs.csv').read_bytes().startswith(content)
