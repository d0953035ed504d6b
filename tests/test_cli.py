"""support/cli.py: how a script ends, in a shell and in a notebook."""
import subprocess
import sys
import time

import pytest

from conftest import REPO, TINY, shell


def script(folder, body):
    """A script with this body for its main."""
    path = folder / 'script.py'
    path.write_text(f'import sys, threading, time\nfrom support import cli\ndef main():\n    {body}\ncli.run(main)\n')
    return path


@pytest.mark.parametrize('body, status, out, err', [
    ('print("done")', 0, 'done\n', []),
    ('cli.fail("no digits; run prepro.py")', 1, '', ['script.py: no digits; run prepro.py']),
    ('raise KeyboardInterrupt', 130, '', ['interrupted']),
    ('threading.Thread(target=time.sleep, args=[60]).start(); raise KeyboardInterrupt', 130, '', ['interrupted']),
    ('import torchvisions', 1, '', ["script.py: No module named 'torchvisions'; run: pip install -r requirements.txt"]),
    (r'print("\u00fc"); cli.fail("\u00fc")', 1, '\\xfc\n', ['script.py: \\xfc']),
], ids=['done', 'fails', 'interrupted', 'interrupted beside a thread', 'no package', 'a letter the terminal has not'])
def test_status_and_lines(body, status, out, err, tmp_path):
    start = time.monotonic()
    said = shell(script(tmp_path, body), cwd=tmp_path, PYTHONIOENCODING='ascii', PYTHONUTF8='0')
    assert (said.status, said.out, said.err) == (status, out, err)
    assert time.monotonic() - start < 30                                 # no thread is waited for


def test_experiments_without_their_packages(tmp_path):
    (tmp_path / 'script.py').write_text("""\
import runpy, sys
sys.modules['scipy'] = None
sys.argv = ['-m'] + sys.argv[1:]        # as Python has it while it looks for the module
runpy.run_module('experiments.report', run_name='__main__')
""")
    said = shell(tmp_path / 'script.py', '--check', cwd=tmp_path)
    assert said.status == 1
    assert said.err == ['experiments need scipy; run: pip install -r requirements-experiments.txt']


@pytest.mark.parametrize('body', ['print(1)', 'for n in range(10**5): print(n)'], ids=['short', 'long'])
def test_output_into_head(body, tmp_path):
    """A short output may be gone before the reader is: then all is well."""
    p = subprocess.run(['bash', '-c', '"$0" script.py | head -n 1; exit "${PIPESTATUS[0]}"', sys.executable],
                       cwd=script(tmp_path, body).parent, capture_output=True, text=True,
                       env={'PYTHONPATH': str(REPO)})
    assert p.stderr == '' and p.returncode in ((1,) if 'for' in body else (0, 1))


def test_an_import_changes_nothing(tmp_path):
    (tmp_path / 'script.py').write_text('''\
import logging, signal, sys, warnings
import torch
def state():
    return (sys.excepthook, sys.stdout, sys.argv, signal.getsignal(signal.SIGINT), logging.root.manager.disable,
            torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed())
before = state()
import prepro
assert 'torchvision' not in sys.modules                                  # the embedded digits do without it
import modern, repro, experiments.compare, experiments.claims, experiments.report, support.runs
assert state() == before
''')
    said = shell(tmp_path / 'script.py', cwd=tmp_path)
    assert (said.status, said.out, said.err) == (0, '', [])


@pytest.mark.slow
def test_in_a_notebook(tiny):
    """It imports, trains, is stopped, and goes on."""
    manager = pytest.importorskip('jupyter_client.manager')
    pytest.importorskip('ipykernel')
    kernel, client = manager.start_new_kernel(kernel_name='python3', cwd=str(tiny))

    def execute(code, stop_at=None):
        """What a cell printed, and its exception's name; stopped, as by the button, once it has printed stop_at."""
        cell, printed = client.execute(code), ''
        while True:
            message = client.get_iopub_msg(timeout=100)
            if message['parent_header'].get('msg_id') != cell:
                continue
            printed += message['content'].get('text', '') + message['content'].get('ename', '')
            if stop_at and stop_at in printed:
                kernel.interrupt_kernel()
                stop_at = None
            if message['content'].get('execution_state') == 'idle':
                return printed
    try:
        execute(f'import sys; sys.path.insert(0, {str(REPO)!r})')
        assert execute(f'%run {REPO}/repro.py --dataset {TINY} --passes 2').count('eval: split test') == 2
        assert 'run: python prepro.py --seed 9' in execute(f'%run {REPO}/repro.py --dataset mnist-seed9')
        for engine in 'compiled', 'autograd':
            assert 'KeyboardInterrupt' in execute(
                f'%run {REPO}/repro.py --dataset {TINY} --passes 1000000 --engine {engine}', 'eval: split test')
        assert execute('import repro, experiments; print(repro.Net().counts()["all"])') == '(1256, 64660, 9760)\n'
    finally:
        client.stop_channels()
        kernel.shutdown_kernel(now=True)
