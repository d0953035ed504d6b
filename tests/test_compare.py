"""compare.py: what its recipes are, what a run measures, its rows and its table; and what a user gets wrong."""
import csv
import math
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


def change(monkeypatch, recipe, **changes):
    what, settings = compare.RECIPES[recipe]
    monkeypatch.setitem(compare.RECIPES, recipe, (what, settings | changes))


def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


@pytest.mark.parametrize('table', [compare.CYCLIC, compare.SPREAD, compare.random_table()])
def test_connection_tables_take_eight_of_twelve(table):
    assert [len(set(row)) for row in table] == [8] * 12
    assert {a for row in table for a in row} == set(range(12))
    assert repro.Net(table=table).counts() == repro.Net().counts()


@pytest.mark.parametrize('name', ['paper', 'fc40', *compare.VARIANTS, 'passes_100', next(iter(compare.FIT))])
def test_a_recipe_trains_and_the_fit_measures_no_test_digit(name, monkeypatch):
    change(monkeypatch, name, passes=1)
    monkeypatch.setattr(compare, 'load', lambda dataset: SPLITS)
    values = compare.one_run(name, runs.fingerprint(compare.RECIPES[name][1]), 'usps', 3)
    assert tuple(values) == compare.VALUES
    assert 0 <= values['train_misses'] <= 60 and values['train_loss'] > 0
    if name in compare.FIT:
        assert values['test_loss'] is values['rejection'] is None and values['missed'] == ''
    else:
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
    argv = ['reference', 'fc40', '--seeds', '0-1,0', '--out', 'runs.csv']
    done = call(compare, *argv, cwd=usps)
    assert (done.status, done.err) == (0, [])
    first = (usps / 'runs.csv').read_bytes()
    assert sorted((r['recipe'], r['seed']) for r in rows(usps / 'runs.csv')) == [
        (name, seed) for name in ('fc40', 'reference') for seed in '01']
    assert call(compare, *argv, cwd=usps).out == done.out
    assert (usps / 'runs.csv').read_bytes() == first

    def without_time(path):
        return sorted(tuple(v for k, v in row.items() if k != 'seconds') for row in rows(path))
    call(compare, *argv[:-1], 'again.csv', '--jobs', 1, cwd=usps)
    assert without_time(usps / 'again.csv') == without_time(usps / 'runs.csv')

    change(monkeypatch, 'reference', rate=0.02)                          # other settings: the old rows are not its own
    assert call(compare, *argv, cwd=usps).out != done.out
    assert len(rows(usps / 'runs.csv')) == 6
    assert {row['seed'] for row in compare.read(usps / 'runs.csv') if row['recipe'] == 'reference'} == {0, 1}


def test_table_shows_the_paper_and_mean_and_deviation(usps):
    out = call(compare, 'reference', '--seeds', '0-2', cwd=usps).out
    errors = [float(r['test_error']) for r in rows(usps / 'out' / 'compare.csv')]
    mean = sum(errors) / 3
    sd = (sum((e - mean)**2 for e in errors) / 2)**0.5
    assert f'{mean:.2f}+-{sd:.2f}' in out
    for published in ('5.0', '12.1', '19.4', '4.09'):
        assert published in out


def test_runs_that_diverge_are_rows_and_the_table_counts_them(usps, monkeypatch):
    change(monkeypatch, 'reference', rate=1e38)
    for _ in range(2):                  # and read again
        done = call(compare, 'reference', '--seeds', '0-1', cwd=usps)
        assert (done.status, done.err) == (0, []) and '2 diverged' in done.out
    found = rows(usps / 'out' / 'compare.csv')
    assert [row['test_error'] for row in found] == ['nan', 'nan']
    assert all(math.isnan(float(row[key])) for row in found for key in repro.RESULTS)


@pytest.mark.parametrize('argv, says', [
    (['nothing'], "no recipe or group is called 'nothing'"),
    (['--seeds', '3-x'], "'3-x' is not a range such as"),
    (['--seeds', '5-2'], "'5-2'"),
    (['--dataset', 'svhn'], 'svhn'),
    (['draws'], '--dataset mnist60k'),
])
def test_bad_arguments(argv, says, usps):
    done = call(compare, *argv, cwd=usps)
    assert done.status == 2
    assert says in done.err[-1]
    assert not os.path.exists(usps / 'out')


def test_data_not_prepared(tmp_path):
    done = call(compare, 'reference', cwd=tmp_path)
    assert done.status == 1
    assert done.err == [f'compare.py: {tmp_path}/data/usps/digits.json is not there; '
                        'run: python prepro.py --dataset usps']
