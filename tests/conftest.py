"""What the tests share: running a script as a shell would, tiny data sets, and where the originals may be."""
import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

import modern                                                            # noqa: E402 (found by the line above)
import prepro                                                            # noqa: E402
import repro                                                             # noqa: E402
import support.files                                                     # noqa: E402
from experiments import compare, ladder, paper                           # noqa: E402
from support import cli, runs                                            # noqa: E402

ORIGINALS = Path(os.environ.get('LECUN1989_DATA') or REPO.parent / 'shared' / 'data')

torch.set_num_threads(1)                # as repro.py does


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', default=bool(os.environ.get('LECUN1989_SLOW')),
                     help='run the slow tests as well (or set LECUN1989_SLOW)')


def pytest_collection_modifyitems(config, items):
    if not config.getoption('--slow'):
        for item in items:
            if item.get_closest_marker('slow'):
                item.add_marker(pytest.mark.skip(reason='slow; run with --slow'))


@pytest.fixture(autouse=True)
def forget():
    """No digits, rows, nets or warnings are kept from one test to the next."""
    for kept in support.files.load_digits, ladder.others, ladder.committed, compare.committed, paper.trained, cli.warn:
        kept.cache_clear()


# ---------------------------------------------------------------------------------------------------------------------
# running a script

def script(name):
    """The module that `python -m name` runs, or `python name.py`."""
    module = importlib.import_module(name)
    return importlib.import_module(f'{name}.__main__') if hasattr(module, '__path__') else module


def call(module, *argv, cwd):
    """
    What running a script's module with these arguments in cwd does, in this process, as importing torch takes seconds:
    .status, .out, and .err, the lines on stderr without the one about compiling.

    An exception that would end in a traceback comes out, and fails the test. Warnings count as lines on stderr.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), 'utf-8', errors, write_through=True)
                for errors in ('strict', 'backslashreplace'))           # as Python opens them
    status = 0
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned, \
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, 'argv', [module.__file__, *map(str, argv)])
        warnings.simplefilter('always', UserWarning)
        for cached in cli.warn, support.files.load_digits, compare.committed:    # a process warns once, and reads once
            cached.cache_clear()
        try:
            cli.run(module.main)
        except SystemExit as e:
            status = e.code
        except KeyboardInterrupt:       # left to the program that calls; in a process of its own:
            status = 130
            print('interrupted', file=err)
    said, lines = (f.buffer.getvalue().decode() for f in (out, err))
    return SimpleNamespace(status=status, out=said, err=uncompiled(lines) + [str(w.message) for w in warned])


def shell(script, *argv, cwd, **env):
    """
    The same in a process of its own: 'repro.py' is run as `python repro.py`, 'experiments.predict' as
    `python -m experiments.predict`; a path may be that of any script, which finds the repository's modules.
    """
    start = [REPO / script] if str(script).endswith('.py') else ['-m', script]
    p = subprocess.run([sys.executable, *start, *map(str, argv)], cwd=cwd, capture_output=True, text=True,
                       env={**os.environ, 'PYTHONPATH': str(REPO), **env}, stdin=subprocess.DEVNULL, timeout=300)
    return SimpleNamespace(status=p.returncode, out=p.stdout, err=uncompiled(p.stderr))


def uncompiled(text):
    """The lines of a text without the one that says that the engine is being compiled."""
    return [line for line in text.splitlines() if 'compiling' not in line]


def refused(said, script, *parts):
    """It ended with status 1, having printed no result, and with one line on stderr that has these parts."""
    assert (said.status, len(said.err)) == (1, 1), said
    assert said.err[0].startswith(f'{script}: ')
    assert 'eval:' not in said.out
    for part in parts:
        assert str(part) in said.err[0]


def files(folder):
    """The files under a folder, as paths relative to it."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*') if p.is_file())


# ---------------------------------------------------------------------------------------------------------------------
# digits, recipes and rungs, as small as they can be

def random_patterns(n, seed=0):
    """(X, Y) of n patterns of noise, as prepro.py would write them."""
    g = torch.Generator().manual_seed(seed)
    Y = torch.full((n, 10), -1.0)
    Y[torch.arange(n), torch.randint(10, (n,), generator=g)] = 1.0
    return torch.rand(n, 1, 16, 16, generator=g) * 2 - 1, Y


def random_biases(net, seed=5):
    """The net with biases of the size of its weights: zeros would hide one that is never read."""
    g = torch.Generator().manual_seed(seed)
    for name, p in net.named_parameters():
        if name.endswith('b'):
            p.data = torch.rand(p.shape, generator=g) * 0.4 - 0.2
    return net


def write_digits(folder, name, n_train, n_test):
    """Write a data set of noise under folder/data, as prepro.py writes one. Returns {split: (X, Y)}."""
    splits = {'train': random_patterns(n_train, 1), 'test': random_patterns(n_test, 2)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(support.files, 'SHA256', {})                       # these digits are nobody's
        support.files.save_digits(name, splits)
    return splits


class AnyDigits(dict):
    """In place of files.SHA256: all names are known, and promise no particular digits."""

    def get(self, name, default):
        return default


TINY = 'mnist-seed7'                    # its name promises no known digits, in another process neither


def save_run(folder, recipe='karpathy2022', dataset=TINY):
    """A run in folder, of a recipe's net as it is drawn. Returns the net."""
    settings = repro.RECIPES[recipe]
    net = repro.build(settings, 5)
    support.files.save_run(folder, {'recipe': recipe, 'dataset': dataset, 'seed': 5, 'settings': settings},
                           [{'pass': 1}], net)
    return net


@pytest.fixture(scope='session')
def noise(tmp_path_factory):
    """A folder with data sets of noise, of 40 and 20 patterns; mnist60k has 120 and 60."""
    folder = tmp_path_factory.mktemp('noise')
    for name, n in ((TINY, 40), ('mnist', 40), ('usps', 40), ('mnist60k', 120)):
        write_digits(folder, name, n, n // 2)
    return folder


@pytest.fixture
def tiny(noise, tmp_path, monkeypatch):
    """A folder to run scripts in, with these data sets. In this process any digits may have any name."""
    monkeypatch.setattr(support.files, 'SHA256', AnyDigits(support.files.SHA256))
    shutil.copytree(noise, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def short(monkeypatch):
    """Recipes of two passes, rungs and trials of one with small teachers, and runs in this process."""
    for settings in *repro.RECIPES.values(), *(settings for _, settings in compare.RECIPES.values()):
        monkeypatch.setitem(settings['training'], 'passes', 2)
    small = {'passes': 1, 'teachers': 1, 'teacher': {'width': 2, 'rate': 0.005, 'passes': 1}}
    rungs = [changes for _, _, changes in modern.LADDER]
    monkeypatch.setitem(rungs[0], 'passes', 1)
    for changes in *rungs, *ladder.OFF.values():
        for name in changes.keys() & small.keys():
            monkeypatch.setitem(changes, name, small[name])
    run_all = runs.run_all
    monkeypatch.setattr(runs, 'run_all', lambda *args, **options: run_all(
        *args, **options | {'threads': True, 'workers': 1}))             # other processes would see nothing of this
    monkeypatch.setattr(prepro, 'N_TRAIN', 30)
    monkeypatch.setattr(prepro, 'N_TEST', 10)


@pytest.fixture(scope='session')
def prepared(tmp_path_factory):
    """A folder to run scripts in, with the embedded digits as `python prepro.py` prepares them; and what it said."""
    cwd = tmp_path_factory.mktemp('prepared')
    return cwd, call(prepro, cwd=cwd)


def originals(*names):
    """The folder that has these files of MNIST or USPS; skips the test where it does not."""
    missing = [name for name in names if not (ORIGINALS / name).is_file()]
    if missing:
        pytest.skip(f'needs the originals: {ORIGINALS} has no {", ".join(missing)} (LECUN1989_DATA names '
                    'another folder)')
    return ORIGINALS


@pytest.fixture
def mnist_root():
    return originals(*(f'MNIST/raw/{name}' for name in prepro.ORIGINALS['mnist'][1]))


@pytest.fixture
def usps_root():
    return originals('USPS/usps.bz2', 'USPS/usps.t.bz2')
