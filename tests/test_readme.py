"""The commands of README.md and results/README.md can be followed, and what they link to is there."""
import functools
import importlib
import re
import shlex

import pytest
from conftest import REPO, call, write_digits
from PIL import Image, ImageDraw

import modern
import prepro
import repro
from experiments import compare, ladder, report
from support import runs

PAGES = {page: (REPO / page).read_text(encoding='utf-8') for page in report.PAGES}
COMMANDS = sorted({command for text in PAGES.values() for command in
                   re.findall(r'(?:^    |`)(python (?:-m )?[\w/.]+[^`\n#]*?)\s*(?=`|\n|$|#)', text, re.M)})
# their arguments are looked at, and refused if they are wrong
MINUTES = ('experiments.claims', 'experiments.speed', 'experiments.reading', 'experiments.learning',
           'experiments.posterior', 'experiments.posterior.fit', 'experiments.report', 'experiments.verify')


def module_of(command):
    """(module, arguments) of a command."""
    words = shlex.split(command)[1:]
    return (words[1], words[2:]) if words[0] == '-m' else (words[0].removesuffix('.py'), words[1:])


def script(name):
    """The module that `python -m name` runs."""
    module = importlib.import_module(name)
    return importlib.import_module(f'{name}.__main__') if hasattr(module, '__path__') else module


def test_every_script_is_shown_and_every_link_leads_somewhere():
    rooms = [path.stem for path in (REPO / 'experiments').glob('*.py') if '\n    cli.run(main)' in path.read_text()]
    assert {module_of(command)[0] for command in COMMANDS} >= {
        'prepro', 'repro', 'modern', *(f'experiments.{room}' for room in rooms)}
    for page, text in PAGES.items():
        for path in re.findall(r'\]\(([\w/.]+)\)', text):
            assert (REPO / page).parent.joinpath(path).exists(), path


@pytest.fixture
def small(tmp_path, monkeypatch, any_digits):
    """A directory with tiny data sets of all names and a picture in it; and recipes and rungs of one pass."""
    for dataset, n, m in ('mnist', 60, 30), ('usps', 60, 30), ('mnist60k', 120, 60):
        write_digits(tmp_path, dataset, n, m)
    for settings in *repro.RECIPES.values(), *(settings for _, settings in compare.RECIPES.values()):
        monkeypatch.setitem(settings['training'], 'passes', 1)
    short = {'passes': 1, 'teachers': 1, 'teacher': {'width': 2, 'passes': 1}}
    for n, (_, _, changes) in enumerate(modern.LADDER):
        for name in changes.keys() & short.keys() if n else {'passes'}:
            monkeypatch.setitem(changes, name, short[name])
    for changes in ladder.OFF.values():
        monkeypatch.setitem(changes, 'passes', 1)
    # in threads, as other processes would see none of this
    monkeypatch.setattr(runs, 'run_all', functools.partial(runs.run_all, threads=True))
    monkeypatch.setattr(prepro, 'N_TRAIN', 30)
    monkeypatch.setattr(prepro, 'N_TEST', 10)
    page = Image.new('L', (90, 120), 255)
    ImageDraw.Draw(page).line([(30, 20), (60, 20), (40, 100)], 0, 9)     # a seven
    page.save(tmp_path / 'mine.png')
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize('command', [c for c in COMMANDS if not re.search('prepro|dask|--cluster', c)])
def test_a_command_runs(small, command):
    name, argv = module_of(command)
    if name in MINUTES:
        assert call(script(name), *argv, '--help', cwd=small).status == 0
        return
    if name == 'experiments.predict':
        assert call(repro, cwd=small).status == 0
    done = call(script(name), *argv, cwd=small)
    assert (done.status, done.err) == (0, [])
