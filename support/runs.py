"""
Many runs: over the cores of this machine or over a cluster, each a row of a CSV file, and their mean and sd.

A run is a job, a dict such as {'recipe': 'paper', 'settings': '1f0c9a2e', 'dataset': 'usps', 'seed': 3}: the key of
its row. `work(**job)` measures it and returns the row's other values as a dict. A run that is in the file is not done
again. Values are written with six digits, and tables are made of what was written, so that a resumed table is the same.
"""
import contextlib
import csv
import errno
import functools
import hashlib
import importlib
import io
import json
import logging
import math
import multiprocessing
import os
import re
import signal
import socket
import statistics
import sys
import threading
import traceback
import warnings
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from multiprocessing import resource_tracker
from pathlib import Path

import torch

from support import cli
from support.cli import fail, progress
from support.files import read_file

try:
    import fcntl
except ImportError:                     # Windows: nothing keeps two processes from writing to one file
    fcntl = None


# ---------------------------------------------------------------------------------------------------------------------
# what all scripts of many runs share

def add_arguments(parser, out):
    """The arguments --jobs, --cluster and --out (default: out); hand them to run_all as workers, cluster and path."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument('--jobs', type=cli.count, metavar='N',
                       help=f'runs at a time (default: one a core, here {cores()})')
    where.add_argument('--cluster', type=cli.path, metavar='ADDRESS', help='run them on a Dask cluster instead: the '
                       'address of its scheduler, as tcp://host:8786, or its scheduler file')
    parser.add_argument('--out', type=cli.path, default=out, metavar='CSV',
                        help=f'a row a run, written as it ends; what is there is not run again (default: {out})')


def cores(root='/'):
    """How many cores this process may use: those it may run on, or fewer where a container has a quota."""
    if hasattr(os, 'process_cpu_count'):                                 # Python 3.13
        n = os.process_cpu_count() or 1
    elif hasattr(os, 'sched_getaffinity'):
        n = len(os.sched_getaffinity(0))
    else:
        n = os.cpu_count() or 1
    group = Path(root, 'sys', 'fs', 'cgroup')
    for names in ('cpu.max',), ('cpu/cpu.cfs_quota_us', 'cpu/cpu.cfs_period_us'):        # versions 2 and 1
        with contextlib.suppress(OSError, ValueError):                   # ValueError: 'max', no quota
            quota, period = map(int, ' '.join((group / name).read_text() for name in names).split())
            if quota > 0 and period > 0:
                n = min(n, math.ceil(quota / period))
    return n


def fingerprint(settings):
    """Eight hex digits that change when a setting does. settings are what JSON can say."""
    text = json.dumps(settings, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def mean_sd(values):
    """
    (mean, sd, n, diverged) of the runs' values: n are finite, diverged are not; None, not measured, is neither. The
    mean is None where n is 0, the sd (n - 1 degrees of freedom) where n is 1 or less.
    """
    values = [v for v in values if v is not None]
    finite = [v for v in values if math.isfinite(v)]
    return (statistics.fmean(finite) if finite else None, statistics.stdev(finite) if len(finite) > 1 else None,
            len(finite), len(values) - len(finite))


# ---------------------------------------------------------------------------------------------------------------------
# the file. Its columns are key, what was run, and values, what was measured; words are the columns of text

NUMBER = re.compile(r'-?[0-9]{1,20}(\.[0-9]{1,20})?(e[-+]?[0-9]{1,3})?')


def read_rows(path, key, values, words, remedy='results/README.md has the command that makes it'):
    """
    The rows of a CSV file as dicts, numbers as numbers, an empty value as None. Ends the script with the file and the
    line of anything that is not a row.

    Files may be joined by `cat`: a second header is skipped, and a row that is there twice counts once. Two rows of one
    run that differ in more than seconds are an error.
    """
    content = read_file(path, remedy)
    rows, whole = parsed_file(path, content, key, values, words, remedy)
    if whole < len(content):
        fail(f'{path}: its last line is cut off; do the runs again that wrote it, or remove the line')
    return rows


def parsed_file(path, content, key, values, words, remedy):
    """(rows, the number of bytes in whole lines): a last line that is cut off is no row."""
    header = csv_line((*key, *values))
    if header.startswith(content):      # a new file, or one that was killed before its first row
        return [], len(content) if content == header else 0
    lines = content.split(b'\n')
    if lines[0].rstrip(b'\r') != header[:-1]:
        fail(f'{path} is not a table of these runs: its first line is not {header[:-1].decode()}; {remedy}')
    found = {}
    for number, line in enumerate(lines[:-1], 1):
        if line.rstrip(b'\r') in (b'', header[:-1]):
            continue
        try:
            row = parsed(line.decode(), key, values, words)
        except (ValueError, csv.Error) as e:
            fail(f'{path}, line {number}: {e}; remove the line, and its run is done again')
        first, other = found.setdefault(identity(row, key), (number, row))
        if any(str(row[name]) != str(other[name]) for name in row if name != 'seconds'):         # str: NaN is NaN
            fail(f'{path}, lines {first} and {number}: two different results of one run; remove one of them, or both')
    return [row for _, row in found.values()], len(content) - len(lines[-1])


def parsed(line, key, values, words):
    """The row in one line. Raises ValueError, or csv.Error, that says what is wrong with it."""
    if '\0' in line:
        raise ValueError('it has a NUL byte')
    [fields] = csv.reader([line], strict=True)
    if len(fields) != len(key) + len(values):
        raise ValueError(f'it has {len(fields)} fields, not {len(key) + len(values)}')
    row = dict(zip((*key, *values), fields))
    for name, field in row.items():
        if name in words:
            continue
        if field == '' and name in values:
            row[name] = None
        elif field == 'nan' and name in values:
            row[name] = math.nan
        elif NUMBER.fullmatch(field) and math.isfinite(float(field)):
            row[name] = int(field) if field.lstrip('-').isdigit() else float(field)
        else:
            raise ValueError(f'{name} is {field[:20]!r}, not a number')
    numbers = {name: row[name] for name in values if name not in words and row[name] is not None}
    if any(map(math.isnan, numbers.values())) and any(
            math.isfinite(number) for name, number in numbers.items() if name != 'seconds'):
        raise ValueError('some of its values are nan; in a run that diverged all of them are')
    return row


def identity(job, key):
    """What was run, as text, of a job or of its row. Seed 1.0, as another program may have written it, is seed 1."""
    return tuple(f'{job[name]:.17g}' if isinstance(job[name], float) else str(job[name]) for name in key)


def csv_line(fields):
    """A line of the file as bytes, floats with six digits."""
    f = io.StringIO()
    csv.writer(f, lineterminator='\n').writerow(f'{v:.6g}' if isinstance(v, float) else v for v in fields)
    return f.getvalue().encode()


@contextlib.contextmanager
def opened(path):
    """The file to append to, as a descriptor, once no other process is writing to it. Makes the file and its folder."""
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, 'O_BINARY', 0), 0o666)
            lock(fd, path)
            if is_at(fd, path):
                break
            os.close(fd)                # it was replaced while this process waited
    except OSError as e:
        fail(f'cannot write {path}: {e.strerror}; name another with --out')
    try:
        yield fd
    finally:
        os.close(fd)                    # the lock goes with it, as it does when the process is killed


def lock(fd, path):
    """Wait until no other process holds the file; then this one does."""
    if fcntl is None:
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f'another process is writing {path}; waiting for it to end')
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError:                     # a file system without locks
        pass


def is_at(fd, path):
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def append(fd, path, line):
    """Add a line, whole or not at all."""
    size = os.fstat(fd).st_size
    try:
        if not is_at(fd, path):
            fail(f'{path} was removed or replaced while it was being written; run the command again')
        if os.write(fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    except OSError as e:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        fail(f'cannot write {path}: {e.strerror}; the rows before are kept: run the same command again')


# ---------------------------------------------------------------------------------------------------------------------
# the runs

def run_all(work, jobs, path, key, values, words, threads=False, workers=None, cluster=None):
    """
    The rows of jobs, in their order: from the file at path, or run now and added to it.

    work: a function of a module, or a partial of one, so that other processes find it by its name. Its arguments are
    sent with every job, so it loads its digits itself, from data/, and keeps them (functools.cache). A run that
    diverged is a row too, with NaN for all numbers but seconds (None for what is not measured).

    threads: whether work may run in threads of this process, because it releases the interpreter lock and draws from no
    global generator; otherwise it runs in processes. workers: how many at a time (default: one a core), each with one
    PyTorch thread.

    cluster: the address of a Dask scheduler, to run there instead. Its workers are started in this folder, where they
    find the scripts and data/: python -m dask worker ADDRESS --nworkers auto --nthreads 1

    A job that fails, or whose process dies, is reported; the others go on, and then the script ends with status 1.
    """
    jobs = {identity(job, key): job for job in jobs}                     # a job that is given twice is one
    assert all(set(job) == set(key) for job in jobs.values())
    layout = key, values, words, 'name another with --out'

    def done():
        content = read_file(path, layout[-1]) if os.path.exists(path) else b''
        rows, whole = parsed_file(path, content, *layout)
        return {identity(row, key): row for row in rows}, whole

    rows, _ = done()
    if jobs.keys() <= rows.keys():      # nothing to write: the file may be read-only
        return [rows[name] for name in jobs]
    with opened(path) as fd:
        rows, whole = done()            # another process may have added some
        todo = [job for name, job in jobs.items() if name not in rows]
        if whole < os.fstat(fd).st_size:
            os.ftruncate(fd, whole)
        if whole == 0:
            append(fd, path, csv_line((*key, *values)))
        failed = 0
        pool = on_cluster(cluster, threads) if cluster else on_this_machine(workers or cores(), threads)
        with contextlib.closing(progress(total=len(jobs), initial=len(jobs) - len(todo), unit='run')) as bar, \
                pool as submit:
            futures = {submit(work, job): job for job in todo}
            for future in as_completed(futures):
                job = futures[future]
                try:
                    measured, error = future.result()
                    if error is None:
                        line = row_line(job, measured, key, values)
                        rows[identity(job, key)] = parsed(line.decode(), key, values, words)
                        append(fd, path, line)
                        bar.update()
                except CancelledError:
                    fail(f'the scheduler at {cluster} is gone; the rows before are kept: run the same command again')
                except Exception as e:  # a worker of the cluster died too often, or the values are no row
                    error = one_line(e)
                if error is not None:
                    failed += 1
                    say(f'{" ".join(f"{name}={value}" for name, value in job.items())}: {error}', bar)
    if failed:
        fail(f'{failed} of {len(jobs)} runs failed; the others are in {path}; the same command tries these again')
    return [rows[name] for name in jobs]


def row_line(job, measured, key, values):
    """A run's line of the file; the key is written in full. Raises ValueError if it would not be one line."""
    if set(measured) != set(values):
        raise ValueError(f'its values are {", ".join(measured)}, not {", ".join(values)}')
    line = csv_line((*(str(job[name]) for name in key), *(measured[name] for name in values)))
    if line.count(b'\n') > 1:
        raise ValueError('one of its values has a line break in it')
    return line


def attempt(work, job):
    """(what work measured, None), or (None, a line that says what went wrong). Uses one PyTorch thread."""
    torch.set_num_threads(1)
    try:
        return work(**job), None
    except BaseException as e:          # SystemExit too, which would end a Dask worker
        return None, one_line(e)


def one_line(e):
    """An exception and where it was raised, in one line; of cli.fail, the message alone."""
    text = str(e) if isinstance(e, SystemExit) else f'{type(e).__name__}: {e}'
    where = [f' ({os.path.basename(frame.filename)}:{frame.lineno})' for frame in traceback.extract_tb(e.__traceback__)]
    return ' '.join(text.split())[:500] + ('' if isinstance(e, SystemExit) else where[-1] if where else '')


def say(message, bar=None):
    """Print a line on stderr, after clearing the progress bar."""
    with contextlib.suppress(AttributeError):
        bar.clear()
    with contextlib.suppress(OSError):           # stderr is full: no reason to end
        sys.stderr and print(f'{os.path.basename(sys.argv[0])}: {message}', file=sys.stderr, flush=True)


@contextlib.contextmanager
def on_this_machine(workers, threads):
    """submit(work, job) -> future of attempt's result; workers at a time."""
    pool, children = ThreadPoolExecutor(workers), {}
    try:
        yield functools.partial(pool.submit, attempt if threads else functools.partial(in_child, children))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child, _ in list(children.values()):
            child.kill()


def in_child(children, work, job):
    """attempt(work, job) in a child process of this thread's own: if it dies, the other threads' jobs go on."""
    thread = threading.get_ident()
    if thread not in children:
        children[thread] = start_child()
    child, pipe = children[thread]
    try:
        pipe.send((work, job))
        return pipe.recv()
    except (EOFError, OSError):
        del children[thread]
        child.join()
        code = child.exitcode
        return None, ('its process was killed by ' + signal.Signals(-code).name if code < 0 else
                      f'its process ended with status {code}')


def start_child():
    """(process, pipe) of a process that does attempts."""
    if hasattr(signal, 'pthread_sigmask'):       # the child inherits the mask, so Ctrl-C reaches the parent alone
        resource_tracker.ensure_running()        # before that, because starting it unblocks the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    context = multiprocessing.get_context('spawn')
    pipe, theirs = context.Pipe()
    child = context.Process(target=serve, args=(theirs,), daemon=True)
    child.start()
    theirs.close()
    return child, pipe


def serve(pipe):
    """The loop of a child process: attempt what comes through the pipe, for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    while True:
        pipe.send(attempt(*pipe.recv()))


def end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


# ---------------------------------------------------------------------------------------------------------------------
# a cluster

@contextlib.contextmanager
def on_cluster(address, threads):
    """submit as of on_this_machine, on the workers of a Dask scheduler. A job whose worker dies is run on another."""
    try:
        from distributed import Client
    except ImportError:
        fail('--cluster needs Dask; run: pip install distributed')
    logging.disable(logging.CRITICAL)   # Dask's, of workers that come and go
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            client = Client(**{'scheduler_file' if os.path.isfile(address) else 'address': address}, timeout=10)
        except Exception as e:          # OSError, TimeoutError, ValueError for what is no address
            fail(f'no Dask scheduler answers at {address} ({type(e).__name__}); is that the address it printed?')
        try:
            if not client.nthreads():
                say(f'the scheduler at {address} has no workers yet; waiting for them')
                client.wait_for_workers(1)
            if not threads and max(client.nthreads().values()) > 1:
                say('workers have several threads, of which these runs use one: start them with --nthreads 1')
            executor = client.get_executor(pure=False)
            yield lambda work, job: executor.submit(attempt_there, importable(work), job, threads, version())
        finally:
            client.close(timeout=2)
            logging.disable(logging.NOTSET)


ONE = threading.Lock()


def attempt_there(work, job, threads, wanted):
    """attempt in a worker of a cluster, one at a time if work must not run in threads."""
    if version() != wanted:
        return None, f'the worker on {socket.gethostname()} has other scripts, or older ones; start it anew'
    with contextlib.nullcontext() if threads else ONE:
        return attempt(work, job)


@functools.cache
def version():
    """A fingerprint of the scripts as they were when this process first asked."""
    root = Path(__file__).resolve().parent.parent
    return fingerprint({str(path.relative_to(root)): path.read_text(encoding='utf-8')
                        for folder in (root, root / 'support', root / 'experiments') for path in folder.glob('*.py')})


def importable(work):
    """work, with a function of __main__, which is another module elsewhere, looked up in the script's own module."""
    if isinstance(work, functools.partial):
        return functools.partial(importable(work.func), *work.args, **work.keywords)
    if work.__module__ != '__main__':
        return work
    main = sys.modules['__main__']
    name = main.__spec__.name if main.__spec__ else os.path.splitext(os.path.basename(main.__file__))[0]
    return getattr(importlib.import_module(name), work.__qualname__)
