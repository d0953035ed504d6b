"""
Named recipes over many seeds, and the paper's table (section 5) with theirs
beside it.

    python compare.py                       # paper, reference, fc40; 10 seeds
    python compare.py rate_0.01 rate_0.02   # some recipes
    python compare.py open                  # a group: the open questions

Each run is a row of a CSV file, written as it ends; runs that are there
already are not done again, so a command may be interrupted and repeated. The
table is of the recipes named, from that file. Runs differ in nothing but the
seed of the initial weights: `--seeds 0-4 --out a.csv` on one machine and
`--seeds 5-9 --out b.csv` on another are one experiment.
"""
import argparse
import csv
import math
import os
import statistics
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import prepro                           # first, for Ctrl-C: see there
import repro
import torch
from prepro import DATASETS, fail, run
from repro import BLOCKS, FIGURES, PAPER, PASSES, REFERENCE, Diverged, FullNet, Net
from tqdm import tqdm

PAPER_FC40 = dict.fromkeys(FIGURES) | {'train_error': 1.6, 'test_error': 8.1, 'rejection': 19.4}       # section 5
BLOG_60K = dict.fromkeys(FIGURES) | {'test_error': 2.74}         # the 2022 blog post: 50,000 digits, 100 passes

# ---------------------------------------------------------------------------------------------------------------------
# connection tables, for "a scheme that will not be described here"

CYCLIC = [[(m + i) % 12 for i in range(8)] for m in range(12)]           # neighbours share 7; the runs of LeNet-5 (1998)
SPREAD = [[a for a in range(12) if (a - m) % 12 not in (0, 1, 4, 6)] for m in range(12)]     # neighbours share 5 or 4


def random_table(seed=0):
    """8 of the 12 maps at random for each map of H2."""
    g = torch.Generator().manual_seed(seed)
    return [sorted(torch.randperm(12, generator=g)[:8].tolist()) for _ in range(12)]


RANDOM = random_table()

# ---------------------------------------------------------------------------------------------------------------------
# recipes: {name: (whose guess it is, settings)}. Settings are arguments of Net (or FullNet, with full) and of
# repro.train, and the target level, which the +1 and -1 of Y are multiplied by

LECUN_UNIT = {'A': 1.7159, 'S': 2 / 3}       # LeCun 1989, "Generalization and network design strategies"

# What the paper says: Newton's method, a constant order, 23 passes, initial weights in 2.4/F. What it leaves open is
# fitted to its two training figures, MSE 2.5e-3 and 0.14%, by `python compare.py fit`: unit, level, rate and damping.
# No test digit is looked at for that. Neither said nor fitted: initial biases 0.
PAPER_SETTINGS = {'optimizer': 'newton', 'passes': PASSES, 'root': False, 'out_bias': 0.0,
                  'level': 0.8, 'rate': 0.002, 'damping': 0.03}
REFERENCE_SETTINGS = {'passes': PASSES, 'rate': 0.03}

RECIPES = {
    'paper': ('as the paper says, what it leaves open fitted to its training figures', PAPER_SETTINGS),
    'reference': ('karpathy/lecun1989-repro, 2022', REFERENCE_SETTINGS),
    'fc40': ("the paper's fully connected net, trained as its other", PAPER_SETTINGS | {'full': True}),
}
VARIANTS = {        # the open questions, one at a time: what is changed in `paper`, and whose guess it is
    'sgd': ('plain gradient descent, rate fitted likewise', {'optimizer': 'sgd', 'rate': 0.06}),
    'lecun_unit': ('1.7159 tanh(2/3 s), targets +-1', LECUN_UNIT | {'level': 1.0}),
    'lecun_unit_0.8': ('1.7159 tanh(2/3 s), targets at 0.8 of its range', LECUN_UNIT | {'level': 0.8 * 1.7159}),
    'level_0.6': ('target level', {'level': 0.6}),
    'level_0.7': ('target level', {'level': 0.7}),
    'level_0.9': ('target level', {'level': 0.9}),
    'level_1.0': ("target level; the 2022 reproduction's", {'level': 1.0}),
    'root': ("initial range with the fan-in's square root, as in the 2022 reproduction", {'root': True}),
    'out_bias_-1': ("initial biases of the output; the 2022 reproduction's", {'out_bias': -1.0}),
    'scheme_cyclic': ('8 maps in a row, as the runs of LeNet-5', {'table': CYCLIC}),
    'scheme_spread': ('every map feeds 8, neighbours share 4 or 5', {'table': SPREAD}),
    'scheme_random': ('8 of the 12 at random', {'table': RANDOM}),
    'half': ('a factor 1/2 in the cost: half the gradient, half the curvature', {'damping': 2 * 0.03}),
    'shuffled': ('a new order for each pass', {'shuffle': 0}),
    'passes_46': ('twice the passes', {'passes': 46}),
    'passes_92': ('four times', {'passes': 92}),
    **{f'rate_{rate}': ('rate over two decades', {'rate': rate}) for rate in (0.0002, 0.0005, 0.001, 0.005, 0.01, 0.02)},
}
RECIPES |= {name: (note, PAPER_SETTINGS | changed) for name, (note, changed) in VARIANTS.items()}
RECIPES |= {
    'test_first': ("the reference's draw of MNIST; with --dataset mnist60k",
                   REFERENCE_SETTINGS | {'draw': ('test', 'train')}),
    'train_first': ('its other draw, the training digits first; likewise',
                    REFERENCE_SETTINGS | {'draw': ('train', 'test')}),
    'passes_100': ("the reference's settings for 100 passes; with --dataset mnist60k",
                   REFERENCE_SETTINGS | {'passes': 100}),
}
FIT = {             # what `paper` was fitted with: runs that measure no test digit
    f'fit_{unit}_{level}_{rate}_{damping}':
        ('one point of the fit', PAPER_SETTINGS | settings | {'level': level, 'rate': rate, 'damping': damping})
    for unit, settings, levels in (('tanh', {}, (0.7, 0.8, 0.9)), ('lecun', LECUN_UNIT, (1.0, 1.37)))
    for level in levels for rate in (0.0005, 0.001, 0.002, 0.004) for damping in (0.01, 0.03, 0.1)
}
GROUPS = {'table': ['paper', 'reference', 'fc40'], 'open': ['paper', *VARIANTS],
          'draws': ['test_first', 'train_first'], 'fit': list(FIT)}
RECIPES |= FIT

COLUMNS = ('recipe', 'dataset', 'seed', *FIGURES, 'seconds')

# ---------------------------------------------------------------------------------------------------------------------


interrupted = threading.Event()         # the runs under way look at it after each pass


def begin(recipe, seed, X, Y):
    """A recipe's net, its target level, and its training on X, Y, begun: an iterator as repro.train's."""
    settings = dict(RECIPES[recipe][1])
    settings.pop('draw', None)          # one_run's
    passes, rate, level = settings.pop('passes'), settings.pop('rate'), settings.pop('level', 1.0)
    training = {key: settings.pop(key) for key in ('optimizer', 'damping', 'shuffle') if key in settings}
    net = (FullNet if settings.pop('full', False) else Net)(seed, **settings)
    return net, level, repro.train(net, X, Y * level, passes, rate, **training)


def one_run(recipe, seed, splits):
    """Train one recipe from one seed: its row without recipe, dataset and seed. splits: {split: (X, Y)}."""
    if 'draw' in RECIPES[recipe][1]:
        splits = prepro.drawn(splits, prepro.draw(splits, order=RECIPES[recipe][1]['draw']))
    X, Y = splits['train']
    net, level, training = begin(recipe, seed, X, Y)
    try:
        for _, seconds in training:
            if interrupted.is_set():
                return None
    except Diverged:
        return dict.fromkeys(FIGURES, float('nan')) | {'seconds': float('nan')}
    train = repro.measure(net, X, Y * level)
    if recipe in FIT:
        test = dict.fromkeys(train)
    else:
        X, Y = splits['test']
        test = repro.measure(net, X, Y * level)
    return repro.figures(train, test) | {'seconds': seconds}


def drop_cut_off_row(path):
    """Take away a last row without an end, as a run leaves it that was killed while it wrote; it is done again."""
    if os.path.isfile(path):
        with open(path, 'rb') as f:
            content = f.read()
        if b'\n' in content and not content.endswith(b'\n'):
            prepro.write_file(path, content[:content.rindex(b'\n') + 1])


def read_rows(path, columns=COLUMNS, words=('recipe', 'dataset')):
    """The rows of a CSV file of runs, numbers as numbers, but for the columns of words; none if there is no such file."""
    if not os.path.exists(path):
        return []
    try:
        with open(path, newline='') as f:
            reader = csv.DictReader(f)
            if tuple(reader.fieldnames or ()) != columns:
                fail(f'{path} is not a table of runs: its first line is not {",".join(columns)}; name another with --out')
            return [{key: value if key in words else int(value) if key == 'seed'
                     else float(value) if value else None for key, value in row.items()} for row in reader]
    except (UnicodeDecodeError, ValueError, TypeError) as e:
        fail(f'{path} is not a table of runs ({e}); name another with --out')


def mean_sd(values):
    """'mean +- sd' as two numbers (sd 0 for one run), or None where a figure is not known."""
    values = [v for v in values if v is not None]
    if not values:
        return None
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def distance(runs):
    """How far a point of the fit lies from the paper's two training figures: the mean run's, squared, on a log scale."""
    return sum(math.log(statistics.fmean(run[key] for run in runs) / PAPER[key])**2 for key in ('train_loss', 'train_misses'))


def summary(rows, names, dataset):
    """{recipe: (n, {figure: (mean, sd) or None})} of the runs of some recipes."""
    out = {}
    for name in names:
        runs = [row for row in rows if row['recipe'] == name and row['dataset'] == dataset]
        if runs:
            out[name] = len(runs), {key: mean_sd([row[key] for row in runs]) for key in (*FIGURES, 'seconds')}
    return out


def cells(figures, n=None):
    """A line of the table: n, and the figures as 'mean+-sd', or as they were published where there is no n."""
    digits = {'train_loss': 2, 'train_error': 2, 'train_misses': 1, 'test_loss': 1, 'test_error': 2, 'test_misses': 1,
              'rejection': 1}
    line = ['' if n is None else str(n)]
    for key in FIGURES:
        value, scale = figures[key], 1000 if key.endswith('loss') else 1
        if value is None:
            line.append('-')
        elif n is None:
            line.append(f'{value * scale:g}')
        else:
            line.append(f'{value[0] * scale:.{digits[key]}f}+-{value[1] * scale:.{digits[key]}f}')
    return line


HEAD = ['n', 'MSE/1e-3', 'error %', 'misses', 'MSE/1e-3', 'error %', 'misses', 'reject %']


def table(rows, names, dataset):
    """The table as text: the paper and the reproductions as published, then the recipes on this dataset."""
    lines = [['', '', 'train', '', '', 'test', '', '', ''], [dataset, *HEAD],
             ['paper, 1989', *cells(PAPER)], ['its fc net', *cells(PAPER_FC40)],
             ['reproduction, 2022', *cells(REFERENCE)]]
    if dataset == 'mnist60k':
        lines.append(['its blog, 50,000', *cells(BLOG_60K)])
    lines += [[name, *cells(figures, n)] for name, (n, figures) in summary(rows, names, dataset).items()]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return '\n'.join('  '.join(f'{cell:{">" if i else "<"}{w}}' for i, (cell, w) in enumerate(zip(line, widths))).rstrip()
                     for line in lines)


def main():
    names = '\n'.join(textwrap.fill(f'  {name:18}{note}', 79, subsequent_indent=20*' ')
                      for name, (note, _) in RECIPES.items() if name not in FIT)
    groups = '\n'.join(f'  {name:18}{len(recipes)} recipes' for name, recipes in GROUPS.items())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f'recipes:\n{names}\n\ngroups of recipes:\n{groups}')
    parser.add_argument('recipes', nargs='*', metavar='RECIPE', help='recipes or groups of them (default: table)')
    parser.add_argument('--dataset', choices=DATASETS, default='usps', help='default: usps, the paper\'s digits')
    parser.add_argument('--seeds', type=repro.seeds, default=range(10), metavar='A-B', help='default: 0-9')
    parser.add_argument('--out', default=os.path.join('out', 'compare.csv'), metavar='CSV',
                        help='one row a run (default: out/compare.csv)')
    args = parser.parse_args()
    chosen = []
    for name in args.recipes or ['table']:
        if name not in RECIPES and name not in GROUPS:
            parser.error(f'no recipe or group is called {name!r}: see --help')
        chosen += [r for r in GROUPS.get(name, [name]) if r not in chosen]

    torch.set_num_threads(1)
    splits = {split: repro.load(args.dataset, split) for split in ('train', 'test')}
    drop_cut_off_row(args.out)
    rows = read_rows(args.out)
    done = {(row['recipe'], row['dataset'], row['seed']) for row in rows}
    todo = [(recipe, seed) for recipe in chosen for seed in args.seeds if (recipe, args.dataset, seed) not in done]
    repro.writable(os.path.dirname(args.out) or '.')
    with ThreadPoolExecutor(os.cpu_count()) as pool, open(args.out, 'a', newline='') as f:
        writer = csv.DictWriter(f, COLUMNS, lineterminator='\n')
        if f.tell() == 0:
            writer.writeheader()
        jobs = {pool.submit(one_run, recipe, seed, splits): (recipe, seed) for recipe, seed in todo}
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), unit='run', disable=None):
                recipe, seed = jobs[job]
                row = {'recipe': recipe, 'dataset': args.dataset, 'seed': seed, **job.result()}
                writer.writerow({key: f'{value:.6g}' if isinstance(value, float) else value
                                 for key, value in row.items()})
                f.flush()
                rows.append(row)
        except BaseException:
            interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise
    print(table([row for row in rows if row['seed'] in args.seeds], chosen, args.dataset))


if __name__ == '__main__':
    run(main)
