"""README.md and results/README.md say what results/ say, and their commands can be followed."""
import functools
import importlib
import re
import shlex

import pytest
from conftest import REPO, call, originals, write_digits
from PIL import Image, ImageDraw

import modern
import prepro
import repro
from experiments import compare, ladder_tables, report
from support import runs

PAGES = {page: (REPO / page).read_text(encoding='utf-8') for page in report.PAGES}
COMMANDS = sorted({command for text in PAGES.values() for command in
                   re.findall(r'(?:^    |`)(python (?:-m )?[\w/.]+[^`\n#]*?)\s*(?=`|\n|$|#)', text, re.M)})


# ---------------------------------------------------------------------------------------------------------------------
# numbers

@pytest.mark.parametrize('page', PAGES)
def test_numbers_are_those_of_results(page):
    assert report.render(PAGES[page]) == PAGES[page], 'run: python -m experiments.report'


@pytest.mark.parametrize('page, rows, picked, key', [
    ('README.md', report.compared, {'recipe': 'paper', 'dataset': 'usps'}, 'test_error'),
    ('results/README.md', report.compared, {'recipe': 'fc40', 'dataset': 'usps'}, 'train_loss'),
    ('README.md', lambda: ladder_tables.rows('usps'), {'rung': str(modern.TOP)}, 'error'),
])
def test_a_changed_number_is_noticed(page, rows, picked, key, monkeypatch):
    row = next(row for row in rows() if all(row[name] == value for name, value in picked.items()))
    monkeypatch.setitem(row, key, row[key] + 1)
    assert report.render(PAGES[page]) != PAGES[page]


@pytest.mark.parametrize('module, reader, says', [
    (report, 'compared', 'two runs of paper on usps'), (ladder_tables, 'rows', 'rung 0 on mnist'),
    (report.pictures, 'read', 'own pictures of mnist'),
    (report.posterior_tables.posterior, 'read', 'draws of posterior.py')])
def test_runs_that_are_missing_are_named_and_no_page_is_written(module, reader, says, monkeypatch):
    caches = report.posterior_tables.draws, report.posterior_tables.summary
    for cache in caches:
        cache.cache_clear()
    monkeypatch.setattr(module, reader, lambda *_: [])
    said = call(report, cwd=REPO)
    for cache in caches:
        cache.cache_clear()
    assert said.status == 1 and len(said.err) == 1 and says in said.err[0]
    assert all((REPO / page).read_text(encoding='utf-8') == text for page, text in PAGES.items())


def test_the_scripts_docstrings_give_the_same_numbers():
    n, _, results = report.stats_of('paper')
    for key in ('train_error', 'test_error', 'rejection'):
        assert report.mean_sd_of('paper', key).replace('±', '+-') in repro.__doc__
    assert f'n={n}' in repro.__doc__
    for dataset in ('mnist', 'usps'):
        found = modern.summary(ladder_tables.rows(dataset))
        for rung in map(str, range(modern.TOP + 1)):
            line = next(line for line in modern.__doc__.splitlines() if line.startswith(f'    {rung} '))
            assert report.pm(found[rung]['error'][:2]).replace('±', '+-') in line


def test_there_are_seeds_enough():
    for name in ('paper', 'reference', 'fc40', *compare.VARIANTS):
        assert report.stats_of(name)[0] >= 10, name
    for name in ('test_first', 'train_first', 'reference', 'passes_100'):
        assert report.stats_of(name, 'mnist60k')[0] >= 10, name
    for dataset in 'mnist', 'usps', 'mnist60k':
        found = modern.summary(ladder_tables.rows(dataset))
        assert all(found[str(n)]['n'] >= (5 if dataset == 'mnist60k' else 10) for n in range(modern.TOP + 1))
        assert all(found[name]['n'] >= 5 for name in modern.OFF_LADDER)
        assert dataset == 'mnist60k' or all(found[f'without {idea}']['n'] >= 5 for idea in modern.WITHOUT)


def test_the_fit_measured_no_test_digit_and_paper_is_its_best_point():
    rows = compare.read(REPO / 'results' / 'fit.csv')
    assert {row['recipe'] for row in rows} == set(compare.FIT)
    assert all(row[key] is None for row in rows for key in ('test_loss', 'test_error', 'test_misses', 'rejection'))
    best = min(compare.FIT, key=lambda name: compare.distance([row for row in rows if row['recipe'] == name]))
    assert compare.FIT[best][1] == repro.RECIPES['paper']


def test_every_claim_is_measured_and_on_the_front_page():
    block = PAGES['README.md'].split('<!-- claims_front -->')[1]
    assert {int(n) for n in re.findall(r'\b(\d+)(?=[,)])', block)} >= set(range(1, 16)) - {7, 15}


def test_pictures_are_there():
    for page, text in PAGES.items():
        for path in re.findall(r'\]\(([\w/.]+)\)', text):
            assert (REPO / page).parent.joinpath(path).exists(), path


def test_the_front_page_is_short():
    assert len(PAGES['README.md'].splitlines()) <= 120


# ---------------------------------------------------------------------------------------------------------------------
# commands

MINUTES = ('experiments.claims', 'experiments.figures', 'experiments.bench',
           'experiments.pictures', 'experiments.posterior', 'experiments.posterior_pictures', 'experiments.report')


def module_of(command):
    """(module, arguments) of a command."""
    words = shlex.split(command)[1:]
    name, argv = (words[1], words[2:]) if words[0] == '-m' else (words[0].removesuffix('.py'), words[1:])
    return name, argv


def test_every_script_is_shown():
    assert {module_of(command)[0] for command in COMMANDS} >= {
        'prepro', 'repro', 'modern', *(f'experiments.{name}' for name in (
            'compare', 'claims', 'posterior', 'posterior_pictures', 'figures', 'predict', 'bench',
            'pictures', 'report'))}


@pytest.fixture
def small(tmp_path, monkeypatch, any_digits):
    """A directory with tiny data sets of all names and a picture in it; and recipes and rungs of one pass."""
    for dataset, n, m in ('mnist', 60, 30), ('usps', 60, 30), ('mnist60k', 120, 60):
        write_digits(tmp_path, dataset, n, m)
    for recipes in repro.RECIPES, {name: settings for name, (_, settings) in compare.RECIPES.items()}:
        for settings in recipes.values():
            monkeypatch.setitem(settings, 'passes', 1)
    for recipe in *modern.RUNGS, *modern.OFF_LADDER.values():
        monkeypatch.setitem(recipe, 'passes', 1)
    for recipe in modern.RUNGS:
        if recipe['distill']:
            monkeypatch.setitem(recipe, 'distill', recipe['distill'] | {'teachers': 1, 'teacher_passes': 1, 'width': 2})
    # in threads, as other processes would see none of this
    monkeypatch.setattr(runs, 'run_all', functools.partial(runs.run_all, threads=True))
    monkeypatch.setattr(prepro, 'N_TRAIN', 30)
    monkeypatch.setattr(prepro, 'N_TEST', 10)
    page = Image.new('L', (90, 120), 255)
    ImageDraw.Draw(page).line([(30, 20), (60, 20), (40, 100)], 0, 9)     # a seven
    page.save(tmp_path / 'mine.png')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize('command', [c for c in COMMANDS if 'prepro' not in c and '--cluster' not in c])
def test_a_command_runs(small, command):
    name, argv = module_of(command)
    module = importlib.import_module(name)
    if name in MINUTES:                 # their arguments are looked at, and refused if they are wrong
        assert call(module, *argv, '--help', cwd=small).status == 0
        return
    if name == 'experiments.predict':
        assert call(repro, '--passes', '1', cwd=small).status == 0
    done = call(module, *argv, cwd=small)
    assert (done.status, done.err) == (0, [])


@pytest.mark.parametrize('command', [c for c in COMMANDS if 'prepro' in c])
def test_a_command_prepares(tmp_path, command):
    _, argv = module_of(command)
    if argv:                                                             # which would be downloaded
        argv += ['--root', originals('USPS/usps.bz2' if 'usps' in argv else 'MNIST/raw/train-images-idx3-ubyte')]
    assert call(prepro, *argv, cwd=tmp_path).status == 0
