"""
Many runs: over the cores of this machine or over a cluster, each a row of a CSV file, and their mean and sd.

A run is a job, a dict such as {'recipe': 'paper', 'settings': '1f0c9a2e', 'dataset': 'usps', 'seed': 3}: the key of
its row. `work(**job)` measures it and returns the row's other values as a dict. A run that is in the file is not done
again. Values are written with six digits, and tables are made of what was written, so that a resumed table is the same.
"""
import contextlib
import csv
import functools
import hashlib
import importlib
import io
import json
import logging
import math
import multiprocessing
import operator
import os
import re
import signal
import statistics
import sys
import threading
import traceback
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from pathlib import Path

import filelock
import joblib
import torch
from tqdm import tqdm

from support import cli, files
from support.cli import fail, warn

AGAIN = 'the rows before are kept: run the same command again'


def add_arguments(parser, out):
    """The arguments --jobs, --cluster and --out (default: out); hand them to run_all as workers, cluster and path."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument('--jobs', type=cli.count, metavar='N',
                       help=f'runs at a time (default: one a core, here {joblib.cpu_count()})')
    where.add_argument('--cluster', type=cli.path, metavar='ADDRESS', help='run them on a Dask cluster instead: the '
                       'address of its scheduler, as tcp://host:8786')
    parser.add_argument('--out', type=cli.path, default=out, metavar='CSV',
                        help=f'a row a run, written as it ends; what is there is not run again (default: {out})')


def fingerprint(settings):
    """Eight hex digits that change when a setting does. settings are what JSON can say."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


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

def read_rows(path, key, values, words, remedy='results/README.md has the command that makes it', unfinished=False):
    """
    The rows of a CSV file as dicts, numbers as numbers, an empty value as None. Ends the script with the file and the
    line of anything that is not a row. Files may be joined by `cat`: a second header is skipped, and a row that is
    there twice counts once; two rows of one run that differ in more than seconds are an error. unfinished: a last line
    that is cut off is no error.
    """
    text = files.read_file(path, remedy).decode('utf-8-sig', 'replace').replace('\r\n', '\n')
    whole, _, cut_off = text.rpartition('\n')
    columns, rows, run_of = [*key, *values], {}, operator.itemgetter(*key)
    header = csv_line(columns).decode()
    if not text.startswith(header) and not header.startswith(text):      # the start of one: killed before its first row
        fail(f'{path} is not a table of these runs: its first line is not {header.rstrip()}; {remedy}')
    if cut_off and not unfinished:
        fail(f'{path}: its last line is cut off; do the runs again that wrote it, or remove the line')
    lines = csv.DictReader(whole.split('\n'), strict=True)
    try:
        for fields in lines:
            if [*fields.values()] == columns:
                continue
            if None in fields or None in fields.values():                # as DictReader has it
                raise ValueError(f'it has not {len(columns)} fields')
            row = {name: field if name in words else number(name, field, name in values)
                   for name, field in fields.items()}
            other = rows.setdefault(run_of(row), row)
            if any(str(row[name]) != str(other[name]) for name in values if name != 'seconds'):  # str: NaN is NaN
                raise ValueError('another result than in a line before, of the same run')
    except (ValueError, csv.Error) as e:
        fail(f'{path}, line {lines.line_num}: {e}; remove it, and the command that wrote it runs again what is missing')
    return list(rows.values())


def number(name, field, measured):
    """A field as a number; of what was measured it may be None, not measured, or NaN, of a run that diverged."""
    if measured and field in ('', 'nan'):
        return math.nan if field else None
    if not re.fullmatch(r'-?[0-9]{1,20}(\.[0-9]{1,20})?(e[-+]?[0-9]{1,2})?', field):
        raise ValueError(f'{name} is {field[:20]!r}, not a number')
    return int(field) if field.lstrip('-').isdigit() else float(field)


def csv_line(fields):
    """A line of the file as bytes, floats with six digits."""
    f = io.StringIO()
    csv.writer(f, lineterminator='\n').writerow(f'{v:.6g}' if isinstance(v, float) else v for v in fields)
    return f.getvalue().encode()


def lock(path):
    """A context in which this process alone writes the file; waits for it. Makes the folder, and path.lock in it."""
    lock = filelock.FileLock(f'{path}.lock')                             # released when the process is killed, too
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        warn(f'another process is writing {path}; waiting for it to end')
        return lock.acquire()
    except OSError as e:
        fail(f'cannot write {path}: {e.strerror}; name another with --out')


def append(path, columns, row=None):
    """Add a row, a dict, to a new file after its header. A last line that was cut off goes."""
    try:
        with open(path, 'a+b') as f:
            f.seek(0)
            whole = f.read().rfind(b'\n') + 1
            f.truncate(whole)
            f.write((b'' if whole else csv_line(columns)) + (csv_line(row[name] for name in columns) if row else b''))
    except OSError as e:
        fail(f'cannot write {path}: {e.strerror}; {AGAIN}')


# ---------------------------------------------------------------------------------------------------------------------
# the runs

def run_all(work, jobs, path, key, values, words, threads=False, workers=None, cluster=None):
    """
    The rows of jobs, in their order: from the file at path, or run now and added to it, so that the same command goes
    on where one ended. A job that fails is reported; the others go on, and then the script ends with status 1.

    work: a function of a module, so that other processes find it by its name. It loads its digits itself, from data/. A
    run that diverged is a row too, with NaN for all numbers but seconds (None for what is not measured).
    threads: work runs in threads of this process, as it releases the interpreter lock and draws from no global
    generator; otherwise in processes. workers: how many at a time (default: one a core), each with one PyTorch thread.
    cluster: the address of a Dask scheduler, to run there instead.
    """
    columns, run_of, failed = (*key, *values), operator.itemgetter(*key), 0
    jobs = {run_of(job): job for job in jobs}                            # a job that is given twice is one

    def rows():
        """{run: row} of the file, as it is now."""
        table = read_rows(path, key, values, words, 'name another with --out', True) if os.path.exists(path) else []
        return {run_of(row): row for row in table}

    done = rows()
    if jobs.keys() <= done.keys():      # nothing to write: the file may be read-only
        return [done[run] for run in jobs]
    with lock(path):
        done = rows()                   # another process may have added some
        append(path, columns)           # fails before there is anything to lose
        todo = [job for run, job in jobs.items() if run not in done]
        pool = on_cluster(cluster) if cluster else on_this_machine(workers or joblib.cpu_count(), threads)
        with pool as submit, tqdm(total=len(todo), unit='run', disable=None) as bar:             # on a terminal only
            handler = signal.signal(signal.SIGINT, signal.SIG_IGN)       # a process that starts here inherits it
            futures = [submit(work, job) for job in todo]
            signal.signal(signal.SIGINT, handler)
            for future in as_completed(futures):
                try:
                    row, error = future.result()
                except Exception as e:
                    fail(f'a process was killed, perhaps as memory ran out, or is out of reach: {one_line(e)}; {AGAIN}')
                if error:
                    failed += 1
                    bar.clear()
                    warn(error)
                else:
                    append(path, columns, row)
                    bar.update()
    if failed:
        fail(f'{failed} of {len(jobs)} runs failed; the others are in {path}; the same command tries these again')
    done = rows()
    return [done[run] for run in jobs]


def attempt(work, job, scripts=None):
    """
    (a job's row, None), or (None, a line that says what went wrong). scripts: version() of those who ask a cluster,
    whose workers run one job at a time, however many threads they have.
    """
    torch.set_num_threads(1)
    try:
        if scripts and scripts != version():
            fail('a worker has other scripts, or older ones; start it anew')
        with ONE if scripts else contextlib.nullcontext():
            return job | work(**job), None
    except BaseException as e:          # SystemExit too, which would end a Dask worker
        return None, f'{" ".join(f"{name}={value}" for name, value in job.items())}: {one_line(e)}'


ONE = threading.Lock()


def one_line(e):
    """An exception and where it was raised, in one line; of cli.fail, the message alone."""
    if isinstance(e, SystemExit):
        return ' '.join(str(e).split())
    place = traceback.extract_tb(e.__traceback__)[-1]
    return f'{" ".join(f"{type(e).__name__}: {e}".split())[:500]} ({os.path.basename(place.filename)}:{place.lineno})'


@contextlib.contextmanager
def on_this_machine(workers, threads):
    """submit(work, job) -> future of attempt's result; so many workers at a time. If the script ends, they do."""
    others = multiprocessing.active_children()
    pool = (ThreadPoolExecutor(workers) if threads else
            ProcessPoolExecutor(workers, multiprocessing.get_context('spawn'), initializer=begin_process))
    try:
        yield functools.partial(pool.submit, attempt)
    except BaseException:
        for process in set(multiprocessing.active_children()) - set(others):
            process.kill()
        raise
    finally:
        pool.shutdown(wait=not threads, cancel_futures=True)


def begin_process():
    """A process of the pool ends when its parent does, however that ends."""
    threading.Thread(target=lambda: (multiprocessing.parent_process().join(), os._exit(1)), daemon=True).start()


@contextlib.contextmanager
def on_cluster(address):
    """submit as of on_this_machine, on the workers of a Dask scheduler. A job whose worker dies is run on another."""
    from distributed import Client
    start = ('scheduler and workers start in the folder of the repository: python -m dask scheduler; '
             f'python -m dask worker {address} --nworkers auto --nthreads 1')
    logging.disable(logging.CRITICAL)   # Dask's, of workers and schedulers that go
    try:
        client = Client(address, timeout=10)
    except Exception as e:              # OSError, TimeoutError, ValueError for what is no address
        fail(f'no Dask scheduler answers at {address} ({type(e).__name__}); {start}')
    ended = threading.Event()

    def watch():
        while not ended.wait(3):
            with contextlib.suppress(OSError):   # the scheduler ends while it is asked: the futures say so
                if client.status == 'running' and not client.nthreads():
                    warn(f'the scheduler at {address} has no worker; {start}')
    threading.Thread(target=watch, daemon=True).start()
    try:
        client.wait_for_workers(1)
        client.run_on_scheduler(exec, 'import support.runs')
        client.run(exec, 'import support.runs')
        submit = client.get_executor(pure=False).submit
        yield lambda work, job: submit(attempt, importable(work), job, version())
    except ImportError as e:
        fail(f'the cluster at {address} does not find the scripts ({e}); {start}')
    finally:
        ended.set()
        client.close(timeout=2)
        logging.disable(logging.NOTSET)


@functools.cache
def version():
    """A fingerprint of the scripts as they were when this process first asked."""
    root = Path(__file__).resolve().parent.parent
    return fingerprint({str(path.relative_to(root)): path.read_text(encoding='utf-8') for path in
                        (*root.glob('*.py'), *root.glob('support/**/*.py'), *root.glob('experiments/**/*.py'))})


def importable(work):
    """work; a function of __main__, which is another module elsewhere, is looked up in the script's own module."""
    if work.__module__ != '__main__':
        return work
    return getattr(importlib.import_module(sys.modules['__main__'].__spec__.name), work.__name__)
