"""What the tests share: running a script as a shell would, tiny data sets, and where the originals may be."""
import contextlib
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

import prepro                                                            # noqa: E402 (found by the line above)

ORIGINALS = Path(os.environ.get('LECUN1989_DATA') or REPO.parent / 'shared' / 'data')

torch.set_num_threads(1)                # as repro.py does


def call(script, *argv, cwd):
    """
    What `python script argv` does, in this process, for importing torch takes seconds: .status, .out, .err.

    An exception that would end in a traceback comes out, and fails the test. Warnings count as lines on stderr.
    """
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned, \
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, 'argv', [script.__file__, *map(str, argv)])
        warnings.simplefilter('always', UserWarning)
        try:
            prepro.run(script.main)
        except SystemExit as e:
            status = e.code or 0
            if isinstance(status, str):                                  # what Python does with it
                print(status, file=sys.stderr)
                status = 1
    lines = [line for line in err.getvalue().splitlines() if not line.startswith('compiling backprop.py')]
    return SimpleNamespace(status=status, out=out.getvalue(), err=lines + [str(w.message) for w in warned])


def shell(script, *argv, cwd, **env):
    """`python script argv` in a process of its own: .status, .out, .err as from call."""
    p = subprocess.run([sys.executable, REPO / script, *map(str, argv)], cwd=cwd, env={**os.environ, **env},
                       capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    return SimpleNamespace(status=p.returncode, out=p.stdout, err=p.stderr.splitlines())


def files(folder):
    """The files under a folder, as paths relative to it."""
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*') if p.is_file())


def random_patterns(n, seed=0):
    """(X, Y) of n patterns, as prepro.py would write them."""
    g = torch.Generator().manual_seed(seed)
    Y = torch.full((n, 10), -1.0)
    Y[torch.arange(n), torch.randint(10, (n,), generator=g)] = 1.0
    return torch.rand(n, 1, 16, 16, generator=g) * 2 - 1, Y


@pytest.fixture
def tiny(tmp_path):
    """A directory to run scripts in, with a data set `mnist` of 40 and 20 random patterns."""
    folder = tmp_path / 'data' / 'mnist'
    folder.mkdir(parents=True)
    for split, n, seed in (('train', 40, 1), ('test', 20, 2)):
        torch.save(random_patterns(n, seed), folder / f'{split}1989.pt')
    return tmp_path


@pytest.fixture(scope='session')
def prepared(tmp_path_factory):
    """A directory to run scripts in, with the embedded digits as `python prepro.py` prepares them; and what it said."""
    cwd = tmp_path_factory.mktemp('prepared')
    return cwd, call(prepro, cwd=cwd)


def originals(*names):
    """The directory that has these files of MNIST or USPS; skips the test where it does not."""
    missing = [name for name in names if not (ORIGINALS / name).is_file()]
    if missing:
        pytest.skip(f'needs the originals: {ORIGINALS} has no {", ".join(missing)} (LECUN1989_DATA names another '
                    'directory)')
    return ORIGINALS


@pytest.fixture
def mnist_root():
    return originals(*(f'MNIST/raw/{name}' for name in prepro.MNIST_MD5))


@pytest.fixture
def usps_root():
    return originals('USPS/usps.bz2', 'USPS/usps.t.bz2')
