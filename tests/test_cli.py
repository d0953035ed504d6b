"""support/cli.py: how a script ends, what its arguments may be, and its progress bar."""
import argparse
import importlib
import os
import subprocess
import sys
import time

import pytest

from conftest import REPO, call, shell
from support import cli


# ---------------------------------------------------------------------------------------------------------------------
# how a script ends

def script(folder, body):
    """A script with this body for its main."""
    path = folder / 'script.py'
    path.write_text(f'import sys, threading, time\nfrom support import cli\ndef main():\n    {body}\ncli.run(main)\n')
    return path


@pytest.mark.parametrize('body, status, out, err', [
    ('print("done")', 0, 'done\n', []),
    ('cli.fail("no digits; run prepro.py")', 1, '', ['script.py: no digits; run prepro.py']),
    ('cli.warn("slow"), cli.warn("slow")', 0, '', ['script.py: slow']),
    ('raise KeyboardInterrupt', 130, '', ['interrupted']),
    ('threading.Thread(target=time.sleep, args=[60]).start(); raise KeyboardInterrupt', 130, '', ['interrupted']),
], ids=['done', 'fails', 'warns once', 'interrupted', 'interrupted beside a thread'])
def test_status_and_lines(body, status, out, err, tmp_path):
    start = time.monotonic()
    said = shell(script(tmp_path, body), cwd=tmp_path)
    assert (said.status, said.out, said.err) == (status, out, err)
    assert time.monotonic() - start < 30                                 # no thread is waited for


def test_a_name_that_the_terminal_cannot_print_is_shown_in_escapes(tmp_path):
    said = shell(script(tmp_path, r'print("\u00fc"); cli.fail("\u00fc")'), cwd=tmp_path, PYTHONIOENCODING='ascii',
                 PYTHONUTF8='0')
    assert (said.status, said.out, said.err) == (1, '\\xfc\n', ['script.py: \\xfc'])


@pytest.mark.parametrize('redirect, status, err', [
    ('| head -n 1', 1, []), ('> /dev/full', 1, ['script.py: cannot print: No space left on device']), ('>&-', 0, [])])
@pytest.mark.parametrize('body', ['print(1)', 'for n in range(10**5): print(n)',
                                  'cli.parser("help").parse_args(["--help"])'])
@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_output_that_nobody_takes(redirect, status, err, body, unbuffered, tmp_path):
    """A short output may be gone before the reader is: then all is well."""
    if 'full' in redirect and not os.path.exists('/dev/full'):
        pytest.skip('this system has no /dev/full')
    p = subprocess.run(['bash', '-c', f'"$0" script.py {redirect}; exit "${{PIPESTATUS[0]}}"', sys.executable],
                       cwd=script(tmp_path, body).parent, capture_output=True, text=True,
                       env={'PYTHONPATH': str(REPO), 'PYTHONUNBUFFERED': unbuffered})
    assert p.stderr.splitlines() == err
    assert p.returncode in ((0, 1) if 'head' in redirect and 'for' not in body else (status,))


def test_warnings_do_not_go_to_stdout_where_stderr_is_closed(tmp_path):
    p = subprocess.run(['bash', '-c', '"$0" script.py 2>&-', sys.executable], env={'PYTHONPATH': str(REPO)},
                       cwd=script(tmp_path, 'cli.warn("slow"); print(1); cli.fail("no digits")').parent,
                       capture_output=True, text=True)
    assert (p.returncode, p.stdout) == (1, '1\n')


@pytest.mark.parametrize('name', [path.stem for path in REPO.glob('*.py')]
                         + [f'experiments.{path.stem}' for path in (REPO / 'experiments').glob('*.py')
                            if 'cli.run(main)' in path.read_text(encoding='utf-8')])
def test_help_fits_80_columns(name, tmp_path, monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    said = call(importlib.import_module(name), '--help', cwd=tmp_path)
    assert (said.status, said.err) == (0, []) and 'usage: ' in said.out
    assert [line for line in said.out.splitlines() if len(line) > 80] == []


# ---------------------------------------------------------------------------------------------------------------------
# argparse types

@pytest.mark.parametrize('kind, text, value', [
    (cli.positive, '0.03', 0.03), (cli.positive, '1e300', 1e300), (cli.count, '23', 23), (cli.seed, '0', 0),
    (cli.numbers, '7', [7]), (cli.numbers, '0-3', [0, 1, 2, 3]), (cli.numbers, '0,3,5', [0, 3, 5]),
    (cli.numbers, '0,0,2-3,3', [0, 2, 3]), (cli.path, 'out/a', 'out/a')])
def test_good_arguments(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize('kind, text', [
    *((cli.positive, text) for text in ('0', '-1', 'nan', 'inf', '1e999', 'fast', '')),
    *((cli.count, text) for text in ('0', '-1', '1.5', 'nan', '9' * 5000)),
    *((cli.seed, text) for text in ('-1', '1e3', str(2**63))),
    *((cli.numbers, text) for text in ('', '3-1', '1-', '-1', 'a', '0,', '0-99999999')), (cli.path, '')])
def test_bad_arguments(kind, text):
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


@pytest.mark.parametrize('hidden, name, argv', [('scipy', 'experiments.report', ['--check']),
                                                ('torchvision', 'prepro', ['--dataset', 'usps'])])
def test_a_package_that_is_missing_is_one_line(hidden, name, argv, tmp_path):
    (tmp_path / 'script.py').write_text(f'''\
import runpy, sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == {hidden!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Hidden())
runpy.run_module({name!r}, run_name='__main__')
''')
    said = shell(tmp_path / 'script.py', *argv, cwd=tmp_path, PYTHONPATH=str(REPO))
    assert (said.status, len(said.err)) == (1, 1)
    assert f"No module named '{hidden}'; run: pip install -r requirements" in said.err[0]


# ---------------------------------------------------------------------------------------------------------------------
# progress

@pytest.mark.parametrize('terminal', [True, False])
def test_progress_is_shown_on_a_terminal_only(terminal, monkeypatch, capsys):
    pytest.importorskip('tqdm')
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: terminal, raising=False)
    assert list(cli.progress(range(3), unit='pattern')) == [0, 1, 2]
    assert ('3/3' in capsys.readouterr().err) == terminal


def test_without_tqdm_the_loop_is_the_same(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'tqdm', None)                       # importing it fails
    assert list(cli.progress(range(3), unit='pattern')) == [0, 1, 2]
    bar = cli.progress(total=3)
    bar.update()
    bar.close()
    assert capsys.readouterr().err == ''
