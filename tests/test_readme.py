"""README.md says what results/ say, and its commands can be followed."""
import importlib
import os
import re
import shlex

import pytest
import torch
from conftest import REPO, call, originals, random_patterns
from PIL import Image, ImageDraw

import compare
import modern
import prepro
import readme
import repro

with open(readme.README, encoding='utf-8') as f:
    TEXT = f.read()
COMMANDS = re.findall(r'(?:^    |`)(python [\w/]+\.py[^`\n]*?)(?=`|\n|$)', TEXT, re.M)


def test_numbers_are_those_of_results():
    assert readme.render(TEXT) == TEXT, 'run: python tests/readme.py'


def test_a_changed_number_is_noticed(monkeypatch):
    row = next(row for row in readme.RUNS if row['recipe'] == 'paper' and row['dataset'] == 'usps')
    monkeypatch.setitem(row, 'test_misses', row['test_misses'] + 50)
    assert readme.render(TEXT) != TEXT


def test_a_changed_error_of_the_ladder_is_noticed(monkeypatch):
    row = next(row for row in readme.MODERN if row['rung'] == '5' and row['dataset'] == 'usps')
    monkeypatch.setitem(row, 'error', row['error'] + 1)
    assert readme.render(TEXT) != TEXT


def test_every_recipe_of_the_tables_has_ten_seeds_or_says_how_many():
    for name in ('paper', 'reference', 'fc40', *compare.VARIANTS):
        assert readme.runs(name)[0] >= 10, name


def test_fit_measured_no_test_digit():
    rows = compare.read_rows(f'{readme.ROOT}/results/fit.csv')
    assert {row['recipe'] for row in rows} == set(compare.FIT)
    assert all(row[key] is None for row in rows for key in ('test_loss', 'test_error', 'test_misses', 'rejection'))


def test_paper_is_the_best_point_of_the_fit():
    rows = compare.read_rows(f'{readme.ROOT}/results/fit.csv')
    best = min(compare.FIT, key=lambda name: compare.distance([row for row in rows if row['recipe'] == name]))
    assert compare.FIT[best][1] == compare.PAPER_SETTINGS


def test_the_ladder_is_whole():
    for dataset, rungs in ('mnist', range(8)), ('usps', range(6)):
        found = modern.summary([row for row in readme.MODERN if (row['dataset'], row['split']) == (dataset, 'test')])
        assert all(found[str(n)]['n'] >= 5 for n in rungs if n < 7)
        assert set(found) == {*map(str, rungs), *(f'without {idea}' for idea in modern.WITHOUT)}
        assert all(figures['n'] >= 3 for figures in found.values())


def test_modern_py_states_its_result():
    words = ' '.join(modern.__doc__.split())
    for dataset, name in ('mnist', 'mnist'), ('usps', 'usps'):
        found = modern.summary([row for row in readme.MODERN if (row['dataset'], row['split']) == (dataset, 'test')])
        bottom, top = (readme.pm_cell(found[n]['error']).replace('±', '+-') for n in '05')
        assert f'{name}: {bottom}% wrong at rung 0, {top}% at rung 5' in words


def test_files_that_the_readme_names_are_there():
    for path in re.findall(r'\]\(((?!http)[^)#]+)\)', TEXT):
        assert (REPO / path).exists(), path
    for path in (REPO / 'results').glob('*.png'):
        assert f'(results/{path.name})' in TEXT, path


def test_the_commands_are_found():
    assert {shlex.split(command)[1] for command in COMMANDS} == {
        *(f'{name}.py' for name in ('prepro', 'repro', 'compare', 'modern', 'figures', 'predict')),
        'tests/bench.py', 'tests/pictures.py'}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A directory with tiny data sets of all names, a run and a picture in it; and recipes and rungs of one pass."""
    for dataset, n, m in ('mnist', 60, 30), ('usps', 60, 30), ('mnist60k', 120, 60):
        (tmp_path / 'data' / dataset).mkdir(parents=True)
        for split, size in ('train', n), ('test', m):
            torch.save(random_patterns(size, size), tmp_path / 'data' / dataset / f'{split}1989.pt')
    for name, (note, settings) in compare.RECIPES.items():
        monkeypatch.setitem(compare.RECIPES, name, (note, settings | {'passes': 1}))
    for recipe in modern.RUNGS:
        monkeypatch.setitem(recipe, 'passes', 1)
    monkeypatch.setitem(modern.WITHOUT, 'length', {'passes': 1})
    monkeypatch.setattr(prepro, 'N_TRAIN', 30)
    monkeypatch.setattr(prepro, 'N_TEST', 10)
    page = Image.new('L', (90, 120), 255)
    ImageDraw.Draw(page).line([(30, 20), (60, 20), (40, 100)], 0, 9)     # a seven
    page.save(tmp_path / 'mine.png')
    return tmp_path


@pytest.mark.parametrize('command', sorted({command for command in COMMANDS if 'prepro' not in command}))
def test_a_command_runs(small, command):
    _, script, *argv = shlex.split(command)
    assert (REPO / script).is_file()
    module = importlib.import_module(os.path.basename(script)[:-3])
    if script in ('figures.py', 'tests/bench.py', 'tests/pictures.py'):  # minutes; their options can be looked at
        assert call(module, '--help', cwd=small).status == 0 and not [a for a in argv if a.startswith('-')]
        return
    if script == 'predict.py':
        assert call(repro, '--passes', '1', cwd=small).status == 0
    done = call(module, *argv, cwd=small)
    assert (done.status, done.err) == (0, [])


@pytest.mark.parametrize('command', sorted({command for command in COMMANDS if 'prepro' in command}))
def test_a_command_prepares(tmp_path, command):
    _, _, *argv = shlex.split(command)
    if argv:                                                             # which would be downloaded
        wanted = 'USPS/usps.bz2' if 'usps' in argv else 'MNIST/raw/train-images-idx3-ubyte'
        argv += ['--root', originals(wanted)]
    assert call(prepro, *argv, cwd=tmp_path).status == 0
