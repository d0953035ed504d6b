"""compare.py: recipes, their runs, the CSV file that survives anything, the table; and what a user can get wrong."""
import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import REPO, call, random_patterns

import compare
import prepro
import repro


@pytest.fixture
def usps(tmp_path):
    """A directory with a tiny data set `usps`."""
    folder = tmp_path / 'data' / 'usps'
    folder.mkdir(parents=True)
    for split, n, seed in (('train', 60, 1), ('test', 30, 2)):
        torch.save(random_patterns(n, seed), folder / f'{split}1989.pt')
    return tmp_path


def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


def without_time(path):
    return sorted(tuple(v for k, v in row.items() if k != 'seconds') for row in rows(path))


@pytest.mark.parametrize('name', ['CYCLIC', 'SPREAD', 'RANDOM'])
def test_connection_tables_take_eight_of_twelve(name):
    table = getattr(compare, name)
    assert [len(set(row)) for row in table] == [8] * 12
    assert {a for row in table for a in row} == set(range(12))
    if name != 'RANDOM':                # every map of H1 feeds the same number of maps of H2
        assert [sum(a in row for row in table) for a in range(12)] == [8] * 12
    repro.Net(table=table)              # the paper's counts are asserted there


@pytest.mark.parametrize('name', [n for n in compare.RECIPES if n not in compare.FIT and 'draw' not in
                                  compare.RECIPES[n][1]] + [next(iter(compare.FIT))])
def test_every_recipe_trains(name, monkeypatch):
    monkeypatch.setitem(compare.RECIPES, name, (compare.RECIPES[name][0], compare.RECIPES[name][1] | {'passes': 1}))
    splits = {split: random_patterns(n, n) for split, n in (('train', 40), ('test', 20))}
    row = compare.one_run(name, 3, splits)
    assert tuple(row) == (*repro.FIGURES, 'seconds')
    assert 0 <= row['train_misses'] <= 40 and row['train_loss'] > 0
    assert (row['test_loss'] is None) == (name in compare.FIT)           # the fit looks at no test digit


def test_a_variant_differs_from_paper_in_what_it_says():
    for name, (_, changed) in compare.VARIANTS.items():
        settings = compare.RECIPES[name][1]
        different = {key for key in settings if settings[key] != compare.PAPER_SETTINGS.get(key)}
        assert different == set(changed) and different, name


def test_draws_differ_in_their_order_only(monkeypatch):
    seen = []
    monkeypatch.setattr(prepro, 'N_TRAIN', 30)
    monkeypatch.setattr(prepro, 'N_TEST', 10)
    monkeypatch.setattr(repro, 'train', lambda net, X, T, *args, **kwargs: seen.append(X) or [(1, 0.0)])
    splits = {split: random_patterns(n, n) for split, n in (('train', 200), ('test', 100))}
    for name in ('test_first', 'train_first'):
        compare.one_run(name, 0, splits)
    assert [len(X) for X in seen] == [30, 30] and not torch.equal(*seen)
    first = prepro.draw(splits)['train']
    assert torch.equal(seen[0], splits['train'][0][first])


def test_rows_are_kept_skipped_and_repeated_to_the_bit(usps):
    argv = ['reference', 'fc40', '--seeds', '0-1', '--out', 'runs.csv']
    done = call(compare, *argv, cwd=usps)
    assert (done.status, done.err) == (0, [])
    first = rows(usps / 'runs.csv')
    assert tuple(first[0]) == compare.COLUMNS
    assert sorted((r['recipe'], r['seed']) for r in first) == [(n, s) for n in ('fc40', 'reference') for s in '01']
    assert call(compare, *argv, cwd=usps).status == 0
    assert rows(usps / 'runs.csv') == first                              # nothing is done twice
    call(compare, *argv[:-1], 'again.csv', cwd=usps)
    assert without_time(usps / 'again.csv') == without_time(usps / 'runs.csv')
    call(compare, 'reference', '--seeds', '2', '--out', 'runs.csv', cwd=usps)
    assert rows(usps / 'runs.csv')[:4] == first and len(rows(usps / 'runs.csv')) == 5


def test_table_shows_the_paper_and_mean_and_deviation(usps):
    out = call(compare, 'reference', '--seeds', '0-2', cwd=usps).out
    errors = [float(r['test_error']) for r in rows(usps / 'out' / 'compare.csv')]
    mean = sum(errors) / 3
    sd = (sum((e - mean)**2 for e in errors) / 2)**0.5
    assert f'{mean:.2f}+-{sd:.2f}' in out
    for published in ('paper, 1989', '102', '12.1', 'its fc net', '19.4', 'reproduction, 2022', '4.09'):
        assert published in out
    assert max(len(line) for line in out.splitlines()) <= 110


def test_divergence_is_a_row_that_says_so(usps, monkeypatch):
    monkeypatch.setitem(compare.RECIPES, 'reference', ('', {'passes': 2, 'rate': 1e38}))
    assert call(compare, 'reference', '--seeds', '0', cwd=usps).status == 0
    assert rows(usps / 'out' / 'compare.csv')[0]['test_error'] == 'nan'


def test_interrupted_keeps_what_is_done(usps):
    p = subprocess.Popen([sys.executable, REPO / 'compare.py', 'reference', '--seeds', '0-5000', '--out', 'runs.csv'],
                         cwd=usps, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.time() + 90
    while time.time() < until and not ((usps / 'runs.csv').exists() and len(rows(usps / 'runs.csv')) > 3):
        time.sleep(0.1)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=60)
    assert p.returncode == 130
    assert 'Traceback' not in err
    kept = rows(usps / 'runs.csv')
    assert len(kept) > 3 and all(None not in row.values() for row in kept)


@pytest.mark.parametrize('argv, says', [
    (['nothing'], "no recipe or group is called 'nothing'"),
    (['--seeds', '3-x'], "'x' is not a whole number"),
    (['--seeds', ''], "'' is not a whole number"),
    (['--seeds', '0-999999999999'], '0-999999999999'),
    (['--seeds', '5-2'], "'5-2'"),
    (['--dataset', 'svhn'], 'svhn'),
])
def test_bad_arguments(argv, says, usps):
    done = call(compare, *argv, cwd=usps)
    assert done.status == 2
    assert says in done.err[-1]
    assert not os.path.exists(usps / 'out')


@pytest.mark.parametrize('content', [b'a,b\n1,2\n', b'\xff\xfe\x00', ','.join(compare.COLUMNS).encode() + b'\nx,usps,z\n'])
def test_a_file_that_is_no_table_of_runs_is_left_alone(content, usps):
    (usps / 'runs.csv').write_bytes(content)
    done = call(compare, 'reference', '--seeds', '0', '--out', 'runs.csv', cwd=usps)
    assert done.status == 1
    assert len(done.err) == 1 and 'runs.csv' in done.err[0]
    assert (usps / 'runs.csv').read_bytes() == content


def test_a_row_that_was_cut_off_is_done_again(usps):
    argv = ['reference', '--seeds', '0-1', '--out', 'runs.csv']
    call(compare, *argv, cwd=usps)
    whole = (usps / 'runs.csv').read_bytes()
    (usps / 'runs.csv').write_bytes(whole[:-20])                         # killed while it wrote the last row
    assert call(compare, *argv, cwd=usps).status == 0
    assert len(without_time(usps / 'runs.csv')) == 2
    assert all(row['seconds'] for row in rows(usps / 'runs.csv'))


def test_out_that_cannot_be_written(usps):
    (usps / 'file').write_text('')
    done = call(compare, 'reference', '--seeds', '0', '--out', 'file/runs.csv', cwd=usps)
    assert done.status == 1 and len(done.err) == 1
    assert 'file' in done.err[0]


def test_data_not_prepared(tmp_path):
    done = call(compare, 'reference', cwd=tmp_path)
    assert done.status == 1
    assert done.err == ['compare.py: data/usps/train1989.pt is not there; run: python prepro.py --dataset usps']
