"""remake.py: what it runs, and what it says of rows that are the same, differ, or are missing."""
import importlib
import shutil
import subprocess

import pytest
from conftest import REPO, call

from experiments import remake


def test_every_results_file_is_made_by_a_command():
    lines = [' '.join(command) for command in remake.commands()]
    made = {'posterior.csv': 'experiments.posterior --draws', 'posterior_fc40.csv': 'experiments.posterior --fc40'}
    for name in remake.remade():
        assert any(made.get(name, f'--out results/{name}') in line for line in lines), name
    for name, *_ in remake.commands():
        assert (REPO / name).exists() if name.endswith('.py') else importlib.import_module(name)


def test_rows_are_compared_without_their_times(tmp_path):
    lines = (REPO / 'results' / 'predict.csv').read_text().splitlines()
    head = lines[0] + ',seconds'
    old, new = tmp_path / 'old.csv', tmp_path / 'new.csv'
    old.write_text('\n'.join([head, *(f'{line},1' for line in lines[1:])]))
    new.write_text('\n'.join([head, *(f'{line},2' for line in lines[1:])]))
    assert remake.rows(old) == remake.rows(new) and len(remake.rows(old)) == len(lines) - 1


def test_a_row_that_differs_is_told(tmp_path):
    shutil.copy(REPO / 'results' / 'predict.csv', tmp_path)
    assert 'not made' in remake.compared('fit.csv', tmp_path)
    n = len(remake.rows(tmp_path / 'predict.csv'))
    assert f'{n} rows are the same,    0 only in results/,    0 only here' in remake.compared('predict.csv', tmp_path)
    lines = (tmp_path / 'predict.csv').read_text().splitlines()
    (tmp_path / 'predict.csv').write_text('\n'.join([*lines[:-2], lines[-1] + '1']))
    told = remake.compared('predict.csv', tmp_path)
    assert f'{n - 2} rows are the same,    2 only in results/,    1 only here' in told


@pytest.mark.parametrize('status, told', [(0, 0), (1, 1)])
def test_a_command_that_fails_is_told_at_the_end(tmp_path, monkeypatch, status, told):
    monkeypatch.setattr(remake, 'ROOT', str(tmp_path))
    for dataset in 'mnist', 'usps', 'mnist60k':
        (tmp_path / 'data' / dataset).mkdir(parents=True)
        (tmp_path / 'data' / dataset / 'digits.json').write_text('{}')
    monkeypatch.setattr(subprocess, 'run', lambda *_, **__: subprocess.CompletedProcess([], status))
    done = call(remake, cwd=tmp_path)
    assert (done.status, len(done.err)) == (told, told)
