"""The commands of README.md and results/README.md can be followed, and what they link to is there."""
import re
import shlex

import pytest
from conftest import REPO, call, script
from PIL import Image, ImageDraw

import repro
from experiments import report

PAGES = {page: (REPO / page).read_text(encoding='utf-8') for page in report.PAGES}
COMMANDS = sorted({command for text in PAGES.values() for command in
                   re.findall(r'(?:^    |`)(python (?:-m )?[\w/.]+[^`\n#]*?)\s*(?=`|\n|$|#)', text, re.M)})
# their arguments are looked at, and refused if they are wrong
MINUTES = ('experiments.claims', 'experiments.speed', 'experiments.reading', 'experiments.learning',
           'experiments.posterior', 'experiments.posterior.fit', 'experiments.report', 'experiments.verify')


def module_of(command):
    """(module's name, arguments) of a command."""
    words = shlex.split(command)[1:]
    return (words[1], words[2:]) if words[0] == '-m' else (words[0].removesuffix('.py'), words[1:])


def test_every_script_is_shown_and_every_link_leads_somewhere():
    shown = {module_of(command)[0] for command in COMMANDS}
    assert shown >= {'prepro', 'repro', 'modern', *(
        f'experiments.{path.stem}' for path in (REPO / 'experiments').glob('*.py')
        if '\n    cli.run(main)' in path.read_text(encoding='utf-8'))}
    for page, text in PAGES.items():
        for path in re.findall(r'\]\(([\w/.]+)\)', text):
            assert (REPO / page).parent.joinpath(path).exists(), path


@pytest.mark.slow
@pytest.mark.parametrize('command', [c for c in COMMANDS if not re.search('prepro|dask|--cluster', c)])
def test_a_command_runs(command, tiny, short):
    page = Image.new('L', (90, 120), 255)
    ImageDraw.Draw(page).line([(30, 20), (60, 20), (40, 100)], 0, 9)     # a seven
    page.save(tiny / 'mine.png')
    name, argv = module_of(command)
    if name in MINUTES:
        assert call(script(name), *argv, '--help', cwd=tiny).status == 0
        return
    if name == 'experiments.predict':
        assert call(repro, cwd=tiny).status == 0
    done = call(script(name), *argv, cwd=tiny)
    assert (done.status, done.err) == (0, [])
