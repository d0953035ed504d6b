"""The shell's side of a script: how it ends, what its arguments may be, and its progress bar."""
import argparse
import contextlib
import functools
import math
import os
import re
import sys
import threading


def fail(message):
    """End the script: one line on stderr, exit status 1."""
    sys.exit(f'{os.path.basename(sys.argv[0])}: {message}')


@functools.cache
def warn(message):
    """One line on stderr, once."""
    with contextlib.suppress(AttributeError, OSError):                   # stderr may be closed or full
        print(f'{os.path.basename(sys.argv[0])}: {message}', file=sys.stderr, flush=True)


def run(main):
    """
    Call main as a script's body, and end as a shell expects: 0; 1 with a line on stderr; 2 for bad arguments; 130 after
    Ctrl-C, at once, whatever other threads are doing.
    """
    for fd in 0, 1, 2:
        try:
            os.fstat(fd)
        except OSError:                 # closed: the next file that is opened would get what is printed
            os.open(os.devnull, os.O_RDWR)
    try:
        if sys.stdout is None:          # closed; the files are written all the same
            sys.stdout = open(os.devnull, 'w')
        if sys.stderr is None:          # print() to None would go to stdout
            sys.stderr = open(os.devnull, 'w')
        sys.stdout.reconfigure(errors='backslashreplace')                # a name that the terminal cannot show
        try:
            main()
            sys.stdout.flush()
        except ModuleNotFoundError as e:
            fail(f'{e}; run: pip install -r requirements.txt')
        except OSError as e:
            if e.filename:              # of a file, and so a defect: files are guarded where they are touched
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)                 # what is left to print goes nowhere
            if not isinstance(e, BrokenPipeError):                       # `python repro.py | head` ends without a word
                fail(f'cannot print: {e.strerror}')
            sys.exit(1)
    except KeyboardInterrupt:
        end(130, 'interrupted', at_once=True)
    except SystemExit as e:
        status, message = (1, e.code) if isinstance(e.code, str) else (e.code or 0, None)
        end(status, message, at_once=any(not thread.daemon and thread is not threading.main_thread()
                                         for thread in threading.enumerate()))


def end(status, message, at_once):
    """Print a last line and exit; with at_once, without waiting for other threads."""
    for fd, stream, text in (1, sys.stdout, ''), (2, sys.stderr, f'{message}\n' if message else ''):
        try:
            stream.write(text)
            stream.flush()
        except (AttributeError, OSError):                                # closed or full: Python would try again
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
    if at_once:
        os._exit(status)
    sys.exit(status)


# ---------------------------------------------------------------------------------------------------------------------
# argparse types

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
    found = []
    for part in text.split(','):
        low, dash, high = part.partition('-')
        low, high = (int(n) if re.fullmatch('[0-9]{1,18}', n) else -1 for n in (low, high if dash else low))
        if not 0 <= low <= high < low + 10_000:
            raise argparse.ArgumentTypeError(f'{text!r} is not a range such as 0-9 or 0,3,5, of 10,000 at most')
        found += range(low, high + 1)
    return list(dict.fromkeys(found))


def path(text):
    """A file's or folder's name, not empty."""
    if not text:
        raise argparse.ArgumentTypeError('it is empty; give a name')
    return text


def parser(description, **options):
    """An ArgumentParser that shows a script's docstring as it stands."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                                   **options)
    # argparse's own exits with 0 where nothing can be printed
    made.print_help = lambda file=None: print(made.format_help(), end='', file=file, flush=True)
    return made


# ---------------------------------------------------------------------------------------------------------------------
# progress

class Quiet:
    """What progress gives where tqdm is missing: the same loop without a bar."""

    def __init__(self, iterable=(), **_):
        self.iterable = iterable

    def __iter__(self):
        return iter(self.iterable)

    def update(self, n=1):
        pass

    def close(self):
        pass


def progress(*args, **kwargs):
    """tqdm's progress bar, on a terminal only; no bar where tqdm is not installed, or stderr is closed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return Quiet(*args, **kwargs)
    return tqdm(*args, disable=None, **kwargs) if sys.stderr else Quiet(*args, **kwargs)
