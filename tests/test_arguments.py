"""Each script's arguments: its help, and what it refuses with status 2 before it does anything."""
import argparse
import shlex

import pytest
from conftest import REPO, call, files, script

from support import cli

SCRIPTS = [path.stem for path in REPO.glob('*.py')] + [
    '.'.join(path.relative_to(REPO).with_suffix('').parts).removesuffix('.__main__')
    for path in (REPO / 'experiments').rglob('*.py') if '\n    cli.run(main)' in path.read_text(encoding='utf-8')]


@pytest.mark.parametrize('name', SCRIPTS)
def test_help(name, tmp_path):
    said = call(script(name), '--help', cwd=tmp_path)
    assert (said.status, said.err) == (0, []) and 'usage: ' in said.out


# (script, arguments, what the line on stderr names)
BAD = [
    ('prepro', '--seed -1', '--seed'), ('prepro', '--seed 4294967296', '--seed'), ('prepro', "--root ''", '--root'),
    ('prepro', '--seed 3 --dataset usps', '--seed'),
    ('repro', '-l nan', '-l'), ('repro', '--passes 0', '--passes'), ('repro', '--seed -1', '--seed'),
    ('repro', '--dataset ../mnist', '--dataset'), ('repro', '--dataset mnist-seed1337', '--dataset'),
    ('modern', '-o there', '--rung'),
    ('experiments.compare', 'nothing', 'nothing'), ('experiments.compare', '--seeds 5-2', '5-2'),
    ('experiments.compare', 'draws', '--dataset mnist60k'), ('experiments.compare', '--jobs 0', '--jobs'),
    ('experiments.compare', '--jobs 2 --cluster a', '--cluster'),
    ('experiments.ladder', '--rungs 9', '0 to 8'), ('experiments.trials', "'rung 99'", 'rung 99'),
    ('experiments.trials', "'rung 2' --folds 5", '0 to 4'),
    ('experiments.claims', '16', '16'), ('experiments.claims', '4 --seeds 0-3', '--seeds'),
    ('experiments.predict', 'run a.png --save ./a.png', 'a.png is one of the pictures to read'),
    ('experiments.report', 'nonsense', 'nonsense'), ('experiments.verify', 'results/bench.csv', 'bench.csv'),
]


@pytest.mark.parametrize('name, argv, word', BAD, ids=[f'{name} {argv}' for name, argv, _ in BAD])
def test_bad_arguments(name, argv, word, tiny):
    before = files(tiny)
    said = call(script(name), *shlex.split(argv), cwd=tiny)
    assert said.status == 2 and 'error: ' in said.err[-1] and word in said.err[-1]
    assert files(tiny) == before


@pytest.mark.parametrize('kind, text', [
    *((cli.positive, text) for text in ('0', 'inf', 'fast')), (cli.count, '1.5'), (cli.seed, str(2**63)),
    *((cli.numbers, text) for text in ('', '1-', '0-99999999'))])
def test_bad_values(kind, text):
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)
