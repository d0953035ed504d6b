"""
Beyond the paper's own script: comparisons, claims, pictures. Run them as `python -m experiments.NAME`. They need what
requirements-dev.txt names too.
"""
import sys

from support import cli


def uncaught(kind, error, trace):
    """A package that is not installed is one line; all else is Python's own traceback."""
    if issubclass(kind, ImportError):
        install = '; run: pip install -r requirements.txt -r requirements-dev.txt'
        cli.warn(f'{error}{install if issubclass(kind, ModuleNotFoundError) else ""}')
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = uncaught
