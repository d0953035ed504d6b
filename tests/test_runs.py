"""support/runs.py: each run is done once and is one row, whatever is killed, interrupted, full, damaged or far away."""
import contextlib
import functools
import gc
import math
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import REPO

from support import runs

KEY, VALUES, WORDS = ('what', 'seed'), ('error', 'misses', 'note', 'seconds'), ('what', 'note')
HEADER = 'what,seed,error,misses,note,seconds\n'
LAYOUT = KEY, VALUES, WORDS


def work(what, seed, pause=0.0):
    """A run, as short as one can be."""
    time.sleep(pause)
    if what == 'kill' and seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == 'exit' and seed == 1:
        sys.exit('script: no digits\nhere')
    if what == 'raise' and seed == 1:
        raise ValueError('a message\nof two lines')
    if what == 'diverge' and seed == 1:
        return dict.fromkeys(VALUES, math.nan) | {'note': ''}
    return {'error': math.sin(seed), 'misses': seed * seed, 'note': 'with, "a" comma', 'seconds': time.perf_counter()}


def jobs(n, what='plain'):
    return [{'what': what, 'seed': seed} for seed in range(n)]


def run(path, n=4, what='plain', pause=0.0, **options):
    options = {'threads': True, 'workers': 2} | options
    return runs.run_all(functools.partial(work, pause=pause), jobs(n, what), str(path), *LAYOUT, **options)


def message(capsys, function, *args, **kwargs):
    """The line that a call ends the script with."""
    with pytest.raises(SystemExit) as e:
        function(*args, **kwargs)
    text = str(e.value)
    assert '\n' not in text and 'Traceback' not in capsys.readouterr().err
    return text


def untimed(rows):
    return [{name: value for name, value in row.items() if name != 'seconds'} for row in rows]


def lines(path):
    """A file's rows, without the seconds, sorted; all of its lines are whole."""
    content = Path(path).read_text()
    assert content.startswith(HEADER) and content.endswith('\n')
    return sorted(line.rpartition(',')[0] for line in content.splitlines()[1:])


@contextlib.contextmanager
def forked(*calls):
    """Processes that make these calls: importing torch takes seconds, and a fork has it."""
    processes = [multiprocessing.get_context('fork').Process(target=call) for call in calls]
    for process in processes:
        process.start()
    yield processes
    for process in processes:
        process.join(20)
        assert process.exitcode is not None
        process.close()


# ---------------------------------------------------------------------------------------------------------------------
# runs and rows

def test_each_job_is_a_row_in_the_order_asked_for_and_not_done_again(tmp_path):
    path = tmp_path / 'new' / 'a.csv'
    before = run(path, 3)
    rows = run(path, 5)
    assert [row['seed'] for row in rows] == list(range(5)) and rows[:3] == before        # seconds and all
    assert rows[2]['misses'] == 4 and rows[2]['error'] == 0.909297       # six digits, as in the file
    assert rows[2]['note'] == 'with, "a" comma'
    content = path.read_bytes()
    assert runs.run_all(None, jobs(5)[::-1], str(path), *LAYOUT) == rows[::-1]
    assert path.read_bytes() == content and len(lines(path)) == 5


def test_a_run_that_diverged_is_a_row(tmp_path):
    rows = run(tmp_path / 'a.csv', 3, 'diverge')
    assert math.isnan(rows[1]['error']) and math.isnan(rows[1]['misses'])
    assert str(run(tmp_path / 'a.csv', 3, 'diverge')) == str(rows)       # read again, not run again


@pytest.mark.parametrize('what, said', [
    ('raise', 'ValueError: a message of two lines (test_runs.py:'), ('exit', 'script: no digits here')])
def test_a_job_that_fails_is_reported_and_the_others_go_on(what, said, tmp_path, capsys):
    path = tmp_path / 'a.csv'
    with pytest.raises(SystemExit) as e:
        run(path, 4, what)
    assert '1 of 4 runs failed' in str(e.value)
    [line] = capsys.readouterr().err.splitlines()
    assert f'what={what} seed=1: {said}' in line
    assert len(lines(path)) == 3


def test_mean_sd():
    nan = math.nan
    assert runs.mean_sd([1, 2, 3]) == (2, 1, 3, 0)
    assert runs.mean_sd([1.0, nan, None, 3.0]) == (2, pytest.approx(2**0.5), 2, 1)
    assert runs.mean_sd([5.0, nan, nan]) == (5, None, 1, 2)
    assert runs.mean_sd([nan, nan]) == (None, None, 0, 2)
    assert runs.mean_sd([None]) == runs.mean_sd([]) == (None, None, 0, 0)


# ---------------------------------------------------------------------------------------------------------------------
# the file

@pytest.mark.parametrize('content', ['', 'what,se', HEADER + 'plain,0,0.1,2'])
def test_a_file_of_a_run_that_was_killed_is_gone_on_with(content, tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text(content)
    run(path, 3)
    run(tmp_path / 'fresh.csv', 3)
    assert lines(path) == lines(tmp_path / 'fresh.csv')


GOOD = HEADER + 'plain,7,0.5,3,x,1.5\n'


@pytest.mark.parametrize('content, says', [
    ('a note', 'its first line is not'), (GOOD + 'plain,8,1\n', 'line 3: '),
    (GOOD + 'plain,8,much,3,x,1\n', "line 3: error is 'much', not a number"),
    (GOOD + HEADER + 'plain,7,0.25,3,x,1.5\n', 'line 4: another result')])
def test_what_is_no_row_is_one_line(content, says, tmp_path, capsys):
    path = tmp_path / 'a.csv'
    path.write_text(content)
    for function in (runs.read_rows, functools.partial(runs.run_all, work, jobs(1))):
        text = message(capsys, function, str(path), *LAYOUT)
        assert 'a.csv' in text and says in text
    assert path.read_text() == content


def test_readers_refuse_a_cut_off_line(tmp_path, capsys):
    path = tmp_path / 'a.csv'
    path.write_text(GOOD + 'plain,8,0.5')
    assert 'its last line is cut off' in message(capsys, runs.read_rows, str(path), *LAYOUT)


def test_a_table_that_excel_wrote_is_read(tmp_path):
    (tmp_path / 'a.csv').write_bytes(b'\xef\xbb\xbf' + GOOD.replace('\n', '\r\n').encode())
    assert [row['note'] for row in runs.read_rows(str(tmp_path / 'a.csv'), *LAYOUT)] == ['x']


def test_files_joined_by_cat(tmp_path):
    run(tmp_path / 'a.csv', 3)
    run(tmp_path / 'b.csv', 5)          # three runs are in both, alike but for their seconds
    (tmp_path / 'c.csv').write_bytes((tmp_path / 'a.csv').read_bytes() + (tmp_path / 'b.csv').read_bytes())
    assert untimed(run(tmp_path / 'c.csv', 5)) == untimed(run(tmp_path / 'b.csv', 5))


def test_where_nothing_can_be_written_a_complete_table_is_read(tmp_path, capsys, monkeypatch):
    path = tmp_path / 'a.csv'
    rows = run(path, 3)
    monkeypatch.setattr(os, 'makedirs', lambda *args, **kwargs: (_ for _ in ()).throw(PermissionError(13, 'Denied')))
    assert run(path, 3) == rows
    assert f'cannot write {path}: Denied; name another with --out' in message(capsys, run, path, 4)
    assert str(tmp_path) in message(capsys, run, tmp_path)               # a folder


def test_no_room_on_the_disk(tmp_path, capsys):
    resource = pytest.importorskip('resource')
    path, limits = tmp_path / 'a.csv', resource.getrlimit(resource.RLIMIT_FSIZE)
    for size in (10, 100):              # not enough for the header; for the second or third row
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            text = message(capsys, run, path, 5)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert 'cannot write' in text and 'the rows before are kept' in text
    before = path.read_text().split('\n')[1:-1]
    assert len(before) in (1, 2)
    run(path, 5)
    assert len(lines(path)) == 5 and set(before) < set(path.read_text().split('\n'))


# ---------------------------------------------------------------------------------------------------------------------
# several processes, and their ends

def test_processes_on_one_file_do_each_run_once_one_after_the_other(tmp_path, capfd):
    run(tmp_path / 'fresh.csv', 12)
    path = tmp_path / 'a.csv'
    call = functools.partial(run, path, 12, pause=0.03)
    with forked(call, call, call):
        pass
    assert lines(path) == lines(tmp_path / 'fresh.csv')
    assert f'another process is writing {path}; waiting for it to end' in capfd.readouterr().err


def test_killed_then_resumed(tmp_path):
    path = tmp_path / 'a.csv'
    with forked(functools.partial(run, path, 200, pause=0.02)) as [process]:
        while not path.exists() or path.read_text().count('\n') < 3:
            time.sleep(0.01)
        process.kill()
    assert 2 <= len(lines(path)) < 200
    run(path, 200)
    run(tmp_path / 'fresh.csv', 200)
    assert lines(path) == lines(tmp_path / 'fresh.csv')


SCRIPT = f"""
import sys
sys.path[:0] = [{str(REPO)!r}, {str(REPO / 'tests')!r}]
from support import cli, runs

KEY, VALUES = ('seed',), ('error', 'seconds')


def work(seed):
    import test_runs
    print(f'begun {{seed}}', flush=True)
    row = test_runs.work('plain', seed, pause=0.05 if seed < 3 else 60)
    return {{name: row[name] for name in VALUES}}


if __name__ == '__main__':
    cli.run(lambda: runs.run_all(work, [{{'seed': n}} for n in range(9)], 'a.csv', KEY, VALUES, (), workers=2,
                                 threads='threads' in sys.argv))
"""


@pytest.mark.slow
@pytest.mark.parametrize('how, signum, status', [('threads', signal.SIGINT, 130), ('processes', signal.SIGINT, 130),
                                                 ('processes', signal.SIGKILL, -signal.SIGKILL)])
def test_interrupted_or_killed_a_script_ends_at_once_with_its_processes(how, signum, status, tmp_path):
    (tmp_path / 'script.py').write_text(SCRIPT)
    p = subprocess.Popen([sys.executable, 'script.py', how], cwd=tmp_path, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))    # jobs of a shell ignore it
    for line in p.stdout:               # until two of the long runs have begun
        if line == 'begun 4\n':
            break
    deadline = time.perf_counter() + 30
    while len((tmp_path / 'a.csv').read_text().splitlines()) < 4 and time.perf_counter() < deadline:
        time.sleep(0.02)
    (os.killpg if signum == signal.SIGINT else os.kill)(p.pid, signum)   # Ctrl-C goes to all processes of a terminal
    _, err = p.communicate(timeout=20)  # until the last process has closed its stdout; the runs take 60 s
    assert p.returncode == status and (signum != signal.SIGINT or err == 'interrupted\n')
    assert len((tmp_path / 'a.csv').read_text().splitlines()) == 4


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_command_which_then_goes_on(tmp_path, capsys):
    path = tmp_path / 'a.csv'
    text = message(capsys, run, path, 4, 'kill', threads=False, workers=1)
    assert 'was killed' in text and 'run the same command again' in text
    assert lines(path) == ['kill,0,0,0,"with, ""a"" comma"']
    path.write_text(path.read_text().replace('kill', 'plain'))
    assert untimed(run(path, 4, threads=False)) == untimed(run(tmp_path / 'fresh.csv', 4))


# ---------------------------------------------------------------------------------------------------------------------
# a cluster

@pytest.fixture
def dask(tmp_path):
    """
    (address, start): start(command, ...) starts a scheduler or a worker as results/README.md has it, in the folder of
    the repository, and returns its process.
    """
    pytest.importorskip('distributed')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))        # a port that is free
        address, started = f'tcp://127.0.0.1:{s.getsockname()[1]}', []
    readme = (REPO / 'results' / 'README.md').read_text(encoding='utf-8')

    def start(command, *argv, cwd=REPO):
        [line] = re.findall(f'^    python (-m dask {command}.*)', readme, re.M)
        argv = [*line.replace('tcp://HOST:8786', address).split(), '--no-dashboard', *argv]
        if command == 'scheduler':
            argv += '--host', '127.0.0.1', '--port', address.rpartition(':')[2]
        with open(tmp_path / 'dask.log', 'a') as log:
            started.append(subprocess.Popen([sys.executable, *argv], cwd=cwd, stdout=log, stderr=log,
                                            env=os.environ | {'PYTHONPATH': str(REPO / 'tests')}))
        return started[-1]
    yield address, start
    for process in started:
        process.terminate()
    for process in started:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:        # a worker that waits for a scheduler that has ended
            process.kill()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_rows(dask, tmp_path, capfd, monkeypatch):
    address, start = dask
    path = tmp_path / 'a.csv'
    start('scheduler')
    first, _ = (start('worker', '--no-nanny', '--nworkers', '1') for _ in range(2))

    def kill_one_in_mid_run():
        while not path.exists() or path.read_text().count('\n') < 5:
            time.sleep(0.05)
        first.kill()

    threading.Thread(target=kill_one_in_mid_run, daemon=True).start()
    rows = run(path, 30, pause=0.2, threads=False, cluster=address)
    assert first.wait(10) == -signal.SIGKILL
    assert [line for line in capfd.readouterr().err.splitlines() if 'has no worker' not in line] == []
    assert untimed(rows) == untimed(run(tmp_path / 'fresh.csv', 30))

    with pytest.raises(SystemExit):     # a failed run there is as one here
        run(tmp_path / 'b.csv', 4, 'exit', cluster=address)
    assert 'what=exit seed=1: script: no digits here' in capfd.readouterr().err
    assert len(lines(tmp_path / 'b.csv')) == 3

    monkeypatch.setattr(runs, 'version', lambda: 'newer')                # of the scripts here
    with pytest.raises(SystemExit):
        run(tmp_path / 'c.csv', 1, cluster=address)
    assert 'has other scripts, or older ones; start it anew' in capfd.readouterr().err


@pytest.mark.slow
def test_a_cluster_that_was_started_elsewhere(dask, tmp_path, capsys):
    address, start = dask
    start('scheduler')
    start('worker', cwd=tmp_path)
    from distributed import Client
    with Client(address) as client:
        client.wait_for_workers(1, timeout=60)
    text = message(capsys, run, tmp_path / 'a.csv', cluster=address)
    assert "No module named 'support'" in text and 'in the folder of the repository: python -m dask' in text


@pytest.mark.slow
def test_no_scheduler(tmp_path, capsys):
    pytest.importorskip('distributed')
    assert 'no Dask scheduler answers at 127.0.0.1:1' in message(capsys, run, tmp_path / 'a.csv', cluster='127.0.0.1:1')
    gc.collect()        # a client that failed, collected while the next one starts, waits for a lock that one holds


def test_a_function_of_the_script_itself_has_a_name_elsewhere(monkeypatch):
    script = type(sys)('__main__')
    script.__spec__ = work.__globals__['__spec__']
    monkeypatch.setitem(sys.modules, '__main__', script)
    there = type(work)(work.__code__, {'__name__': '__main__'}, 'work')
    assert there.__module__ == '__main__' and runs.importable(there) is work is runs.importable(work)
