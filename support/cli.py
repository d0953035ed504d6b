"""The shell's side of a script: how it ends, what its arguments may be, and its progress bar."""
import argparse
import errno
import functools
import math
import os
import sys


def fail(message):
    """End the script: one line on stderr, exit status 1."""
    sys.exit(f'{os.path.basename(sys.argv[0])}: {message}')


@functools.cache
def warn(message):
    """One line on stderr, once."""
    print(f'{os.path.basename(sys.argv[0])}: {message}', file=sys.stderr)


def run(main):
    """Call main as a script's body, and end as a shell expects: 130 after Ctrl-C, 1 where it cannot print."""
    if sys.stdout:                      # a name that the terminal cannot show is shown in escapes
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        main()
        sys.stdout and sys.stdout.flush()
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr, flush=True)
        os._exit(130)                   # at once, whatever other threads are doing
    except OSError as e:
        if e.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)                     # what is left to print goes nowhere
        if e.errno == errno.ENOSPC:     # `python repro.py > file` on a full disk
            fail(f'cannot print: {e.strerror}')
        sys.exit(1)                     # `python repro.py | head`


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
count = checked(int, 1, 10**6, 'a whole number, 1 or more')
seed = checked(int, 0, 2**63 - 1, 'a whole number, 0 or more')


def seeds(text):
    """'0-9' or '0,3,5' or '7' as a list of seeds, each once."""
    found = []
    for part in text.split(','):
        low, dash, high = part.partition('-')
        low, high = seed(low), seed(high if dash else low)
        if not low <= high < low + 10_000:
            raise argparse.ArgumentTypeError(f'{text!r} is not a range of seeds such as 0-9 or 0,3,5')
        found += range(low, high + 1)
    return list(dict.fromkeys(found))


def path(text):
    """A file's or folder's name, not empty."""
    if not text:
        raise argparse.ArgumentTypeError('it is empty; give a name')
    return text


def parser(description, **options):
    """An ArgumentParser that shows a script's docstring as it stands."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter,
                                   **options)


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
    """tqdm's progress bar, on a terminal only; no bar where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return Quiet(*args, **kwargs)
    return tqdm(*args, disable=None, **kwargs)
