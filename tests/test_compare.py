"""compare.py: what its recipes are, what a run measures, its rows and its table."""
import pytest
import torch
from conftest import call

import prepro
import repro
from experiments import compare
from support import files, runs

pytestmark = pytest.mark.usefixtures('short')


def change(monkeypatch, recipe, **training):
    what, settings = compare.RECIPES[recipe]
    monkeypatch.setitem(compare.RECIPES, recipe, (what, compare.changed(settings, training=training)))


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


def test_runs_are_rows_that_are_not_done_twice_and_repeat_to_the_bit(tiny, monkeypatch):
    def rows(name):
        return [{key: v for key, v in row.items() if key != 'seconds'} for row in sorted(
            compare.read(tiny / name), key=lambda row: (row['recipe'], row['seed']))]
    argv = ['karpathy2022', 'fc40', '--seeds', '0-1,0', '--out', 'runs.csv']
    first = call(compare, *argv, cwd=tiny)
    assert (first.status, first.err) == (0, [])
    content = (tiny / 'runs.csv').read_bytes()
    assert [(row['recipe'], row['seed']) for row in rows('runs.csv')] == [
        (name, seed) for name in ('fc40', 'karpathy2022') for seed in (0, 1)]
    assert call(compare, *argv, cwd=tiny).out == first.out
    assert (tiny / 'runs.csv').read_bytes() == content
    call(compare, *argv[:-1], 'again.csv', '--jobs', 1, cwd=tiny)
    assert rows('again.csv') == rows('runs.csv')

    change(monkeypatch, 'karpathy2022', rate=0.02)                       # other settings: the old rows are not its own
    assert len(rows('runs.csv')) == 2
    assert call(compare, *argv, cwd=tiny).out != first.out
    assert len(rows('runs.csv')) == 4 and (tiny / 'runs.csv').read_bytes().startswith(content)


def test_runs_that_diverge_are_rows_and_the_table_counts_them(tiny, monkeypatch):
    change(monkeypatch, 'karpathy2022', rate=1e38)
    for _ in range(2):                  # and read again
        done = call(compare, 'karpathy2022', '--seeds', '0-1', cwd=tiny)
        assert (done.status, done.err) == (0, []) and '2 diverged' in done.out
