"""How the rooms write numbers and tables for README.md and results/README.md; report.py puts them there."""
import os

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Missing(LookupError):
    """Runs that a page needs, in words, which results/*.csv do not have."""


def results(name):
    """The path of a file in results/."""
    return os.path.join(ROOT, 'results', name)


def table(head, rows, align='---:'):
    """A table, all columns but the first aligned to the right, or as align says."""
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |'
                     for line in [head, ['---'] + [align] * (len(head) - 1), *rows])


def columns(lines):
    """Lines of cells as text for a shell, all columns but the first aligned to the right."""
    lines = [[str(cell).replace(' ± ', '+-') for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip()
                     for line in lines)


def pm(stat, digits=2):
    """'mean ± sd' of (mean, sd)."""
    return ' ± '.join(f'{v:.{digits}f}' for v in stat if v is not None)


def interval(d, digits=2):
    """'-0.20 [-0.45, +0.05]' of uncertainty's difference."""
    return f'{d["mean"]:+.{digits}f} [{d["low"]:+.{digits}f}, {d["high"]:+.{digits}f}]'


def probability(p):
    """'0.031', '< 0.001', or nothing where p is NaN."""
    return '' if p != p else f'{p:.3f}' if p >= 0.001 else '< 0.001'
