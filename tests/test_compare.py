"""compare.py: what its recipes are, what a run measures, its rows and its table; and what a user gets wrong."""
import csv
import os

import pytest
import torch
from conftest import call, random_patterns, write_digits

import prepro
import repro
from experiments import compare
from support import runs

SPLITS = {split: random_patterns(n, n) for split, n in (('train', 60), ('test', 30))}

pytestmark = pytest.mark.usefixtures('any_digits')


@pytest.fixture
def usps(tmp_path):
    """A directory with a tiny data set `usps`."""
    write_digits(tmp_path, 'usps', 60, 30)
    return tmp_path


def change(monkeypatch, recipe, **training):
    what, settings = compare.RECIPES[recipe]
    monkeypatch.setitem(compare.RECIPES, recipe, (what, compare.changed(settings, training=training)))


def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


@pytest.mark.parametrize('name', ['paper', 'fc40', *compare.VARIANTS, 'passes_100'])
def test_a_recipe_trains(name, monkeypatch):
    change(monkeypatch, name, passes=1)
    monkeypatch.setattr(compare, 'load', lambda dataset: SPLITS)
    values = compare.one_run(name, runs.fingerprint(compare.RECIPES[name][1]), 'usps', 3)
    assert tuple(values) == compare.VALUES
    assert 0 <= values['train_misses'] <= 60 and values['train_loss'] > 0
    assert len(values['missed'].split()) == values['test_misses']


def test_draws_differ_in_their_order_and_seed_only(monkeypatch):
    seen = []
    monkeypatch.setattr(prepro, 'N_TRAIN', 30)
    monkeypatch.setattr(prepro, 'N_TEST', 10)
    monkeypatch.setattr(compare, 'load', lambda dataset: SPLITS)
    monkeypatch.setattr(repro, 'train', lambda net, X, Y, *args, **kwargs: seen.append(X) or [(1, 0.0)])
    for name in ('test_first', 'train_first', 'draw_0', 'draw_1'):
        compare.one_run(name, runs.fingerprint(compare.RECIPES[name][1]), 'mnist60k', 0)
    assert [len(X) for X in seen] == [30] * 4
    assert len({X.numpy().tobytes() for X in seen}) == 4
    assert torch.equal(seen[0], SPLITS['train'][0][prepro.draw(SPLITS)['train']])


def test_runs_are_rows_that_are_not_done_twice_and_repeat_to_the_bit(usps, monkeypatch):
    argv = ['karpathy2022', 'fc40', '--seeds', '0-1,0', '--out', 'runs.csv']
    first = call(compare, *argv, cwd=usps)
    assert (first.status, first.err) == (0, [])
    content = (usps / 'runs.csv').read_bytes()
    assert sorted((r['recipe'], r['seed']) for r in rows(usps / 'runs.csv')) == [
        (name, seed) for name in ('fc40', 'karpathy2022') for seed in '01']
    assert call(compare, *argv, cwd=usps).out == first.out
    assert (usps / 'runs.csv').read_bytes() == content

    def without_time(path):
        return sorted(tuple(v for k, v in row.items() if k != 'seconds') for row in rows(path))
    call(compare, *argv[:-1], 'again.csv', '--jobs', 1, cwd=usps)
    assert without_time(usps / 'again.csv') == without_time(usps / 'runs.csv')

    change(monkeypatch, 'karpathy2022', rate=0.02)                       # other settings: the old rows are not its own
    assert call(compare, *argv, cwd=usps).out != first.out
    assert len(rows(usps / 'runs.csv')) == 6
    assert {row['seed'] for row in compare.read(usps / 'runs.csv') if row['recipe'] == 'karpathy2022'} == {0, 1}


def test_runs_that_diverge_are_rows_and_the_table_counts_them(usps, monkeypatch):
    change(monkeypatch, 'karpathy2022', rate=1e38)
    for _ in range(2):                  # and read again
        done = call(compare, 'karpathy2022', '--seeds', '0-1', cwd=usps)
        assert (done.status, done.err) == (0, []) and '2 diverged' in done.out


@pytest.mark.parametrize('argv, says', [
    (['nothing'], "no recipe or group is called 'nothing'"), (['--seeds', '5-2'], "'5-2'"),
    (['--dataset', 'svhn'], 'svhn'), (['draws'], '--dataset mnist60k')])
def test_bad_arguments(argv, says, usps):
    done = call(compare, *argv, cwd=usps)
    assert done.status == 2 and says in done.err[-1]
    assert not os.path.exists(usps / 'out')
