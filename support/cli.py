"""The shell's side of a script: how it ends, its progress bar, and what its arguments may be."""
import argparse
import contextlib
import functools
import math
import os
import re
import sys
import threading


def script():
    """The name of the script that runs; that of `python -m experiments.claims` is claims."""
    folder, name = os.path.split(sys.argv[0])
    return os.path.basename(folder) if name == '__main__.py' else name


def fail(message):
    """End the script: one line on stderr, exit status 1."""
    sys.exit(f'{script()}: {message}')


@functools.cache
def warn(message):
    """One line on stderr, once."""
    print(f'{script()}: {message}', file=sys.stderr, flush=True)


def run(main):
    """
    Call main as a script's body, and end as a shell expects: 0; 1 with a line on stderr; 2 for bad arguments; 130 after
    Ctrl-C. In a notebook, or another program, Ctrl-C is left to it.
    """
    own = main.__module__ == '__main__' and not (hasattr(sys, 'ps1') or sys.flags.interactive)   # IPython sets ps1
    with contextlib.suppress(AttributeError):                            # a notebook's stdout has no such method
        sys.stdout.reconfigure(errors='backslashreplace')                # a name that the terminal cannot show
    try:
        try:
            main()
        finally:
            sys.stdout.flush()
        return
    except ModuleNotFoundError as e:
        kind = '-experiments' if 'experiments' in sys.argv[0].split(os.sep) else ''
        status, message = 1, f'{script()}: {e}; run: pip install -r requirements{kind}.txt'
    except BrokenPipeError:             # `python repro.py | head` ends without a word
        status, message = 1, ''
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())   # where Python flushes what is left
    except SystemExit as e:
        status, message = (1, e.code) if isinstance(e.code, str) else (e.code or 0, '')
    except KeyboardInterrupt:
        if not own:
            raise
        status, message = 130, 'interrupted'
    if message:
        print(message, file=sys.stderr, flush=True)
    if own and any(not t.daemon and t is not threading.main_thread() for t in threading.enumerate()):
        os._exit(status)                # sys.exit would wait for the other threads, which train
    sys.exit(status)


def progress(iterable, **options):
    """A loop with tqdm's progress bar, on a terminal only; no bar where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return iterable
    return tqdm(iterable, disable=None, **options)


# ---------------------------------------------------------------------------------------------------------------------
# arguments

def checked(kind, low, high, what):
    """An argparse type: a number of this kind, low <= number <= high."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:    # false for NaN as well
            raise argparse.ArgumentTypeError(f'{text!r} is not {what}')
        return value
    return parse


positive = checked(float, sys.float_info.min, sys.float_info.max, 'a positive number')
count = checked(int, 1, 10**6, 'a whole number from 1 to a million')
seed = checked(int, 0, 2**63 - 1, 'a whole number from 0 to 2**63 - 1')


def numbers(text):
    """'0-9' or '0,3,5' or '7' as a list of whole numbers, each once."""
    chosen = []
    for part in text.split(','):
        match = re.fullmatch('([0-9]{1,9})(?:-([0-9]{1,9}))?', part)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not low <= high < low + 10_000:
            raise argparse.ArgumentTypeError(f'{text!r} is not a range such as 0-9 or 0,3,5, of 10,000 at most')
        chosen += range(low, high + 1)
    return list(dict.fromkeys(chosen))


def path(text):
    """A file's or folder's name, not empty."""
    if not text:
        raise argparse.ArgumentTypeError('it is empty; give a name')
    return text


def parser(description, **options):
    """An ArgumentParser that shows a script's docstring as it stands."""
    return argparse.ArgumentParser(script(), description=description,
                                   formatter_class=argparse.RawDescriptionHelpFormatter, **options)
