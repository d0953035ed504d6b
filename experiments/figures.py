"""
Ten pictures of results/README.md: example digits, the net, its learning
curves, what it learned, what it gets wrong, which class it takes for which,
error against rejection, twenty samples of MNIST, the ladder of later ideas,
and speed.

    python -m experiments.figures                   # all ten
    python -m experiments.figures curves wrong      # some of them

The nets are trained on the spot, in a few minutes, on data/usps and data/mnist
as prepro.py makes them. `ladder` is drawn from results/modern.csv, `draws` from
results/compare.csv, `speed` from results/bench.csv. The same inputs give the
same bytes.
"""
import functools
import os
import statistics
import textwrap

import numpy as np
import torch
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

import modern
import prepro
import repro
from experiments import compare
from experiments.architecture import draw_architecture
from experiments.style import BLACK, BLUE, GRAY, ORANGE, WIDTH, bare, canvas, mosaic, name_ends, plt, png, ticks
from support import cli, files, runs
from support.cli import fail

SEEDS = range(10)                       # of the nets; where a picture shows one net, it is the first
MODERN = os.path.join('results', 'modern.csv')
BENCH = os.path.join('results', 'bench.csv')
COMPARE = os.path.join('results', 'compare.csv')
COMMAND = {MODERN: f'python modern.py --out {MODERN}', BENCH: f'python -m experiments.bench --out {BENCH}',
           COMPARE: f'python -m experiments.compare twenty_draws --dataset mnist60k --seeds 0-4 --out {COMPARE}'}

COLOR = {'usps': BLUE, 'mnist': ORANGE}
REFERENCE_SECONDS = 90                  # the 2022 reproduction's 23 passes, as published: a laptop of 2020

# ---------------------------------------------------------------------------------------------------------------------
# the nets

digits = files.load_digits


@functools.cache
def trained(recipe, dataset, seed):
    """
    A net of one of repro.py's recipes, trained, and what repro.measure said after each pass, as
    {split: {'loss', 'error', ...: array, one number a pass}}.
    """
    settings = repro.RECIPES[{'reference': 'karpathy2022'}.get(recipe, recipe)]
    net = repro.build(settings, seed)
    splits = digits(dataset)
    measured = {split: [] for split in splits}
    try:
        for _ in repro.train(net, *splits['train'], **settings['training']):
            for split, (X, Y) in splits.items():
                measured[split].append(repro.measure(net, X, Y))
    except repro.Diverged:
        fail(f'recipe {recipe} diverged on {dataset} with seed {seed}; there is nothing to draw')
    return net, {split: {key: np.array([m[key] for m in rows]) for key in rows[0]} for split, rows in measured.items()}


def tested(recipe, dataset, seed):
    """(outputs, labels) of a trained net on the test digits: tensors (n, 10) and (n,)."""
    net, _ = trained(recipe, dataset, seed)
    X, Y = digits(dataset)['test']
    return repro.outputs(net, X), Y.argmax(1)


def confusion(dataset):
    """
    Which class the paper's net takes for which: how many test digits of each class (rows) get which answer (columns),
    a NumPy array (10, 10), the mean over SEEDS; and the error in percent of each class (10,).
    """
    matrix = np.zeros((10, 10))
    for seed in SEEDS:
        out, labels = tested('paper', dataset, seed)
        np.add.at(matrix, (labels.numpy(), out.argmax(1).numpy()), 1 / len(SEEDS))
    sizes = matrix.sum(1)
    return matrix, 100 * (sizes - matrix.diagonal()) / sizes.clip(1)


SPREAD = 'lines: the mean of {} seeds; bands: from the lowest to the highest'
NAME = {'train': 'training', 'test': 'test'}


def band(ax, x, curves, color, style, label):
    """Curves (n, len(x)) as their mean, and the range that they span."""
    ax.fill_between(x, curves.min(0), curves.max(0), color=color, alpha=0.25, linewidth=0)
    ax.plot(x, curves.mean(0), style, color=color, label=label)


# ---------------------------------------------------------------------------------------------------------------------
# the pictures: each function returns the bytes of a PNG file

def draw_digits(each=4):
    """Examples of the digits, as in the paper's section 2: the first `each` of each class."""
    def first(labels, rows):
        chosen = [np.flatnonzero(labels == c) for c in range(10)]
        return np.array([i[r % len(i)] for r in range(rows) for i in chosen if len(i)])

    images, labels = prepro.embedded()['train']
    chosen = first(labels, each)
    X, _ = prepro.tensors(images[chosen], labels[chosen])
    sheets = {'MNIST, 28x28 as it comes': images[chosen] / 127.5 - 1, 'MNIST, the same at 16x16': X[:, 0].numpy()}
    for split, (X, Y) in digits('usps').items():
        sheets[f'USPS, 16x16 as it comes: {NAME[split]}'] = X[first(Y.argmax(1).numpy(), each), 0].numpy()
    fig, axes = canvas(4.1, 2, 2)
    for ax, (title, sheet) in zip(axes.T.flat, sheets.items()):
        bare(ax).set_title(title)
        ax.imshow(mosaic(sheet, 10, sheet.shape[-1] // 4, -1), vmin=-1, vmax=1)
    return png(fig)


def draw_curves():
    """The learning curves: MSE and error after each pass, training and test, and where the published runs ended."""
    fig, axes = canvas(4.4, 1, 2)
    for dataset, recipe, settings, source, published in (
            ('usps', 'paper', "the paper's settings", 'the paper', repro.PAPER),
            ('mnist', 'reference', 'the settings of 2022', 'the 2022 reproduction', repro.KARPATHY2022)):
        histories = [trained(recipe, dataset, seed)[1] for seed in SEEDS]
        for ax, key in zip(axes, ('loss', 'error')):
            for split, style in (('train', '--'), ('test', '-')):
                curves = np.array([h[split][key] for h in histories])
                band(ax, np.arange(1, curves.shape[1] + 1), curves, COLOR[dataset], style,
                     f'{dataset.upper()}, {settings}: {NAME[split]}')
            for split, marker in (('train', 'v'), ('test', '^')):
                ax.plot(repro.PASSES, published[f'{split}_{key}'], marker, color=COLOR[dataset], markersize=7.5,
                        markeredgecolor=BLACK, clip_on=False, zorder=5, linestyle='none',
                        label=f'{source} after {repro.PASSES} passes: {NAME[split]}')
    for ax, title, at in ((axes[0], 'mean squared error', (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)),
                          (axes[1], 'error, %', (0.1, 0.2, 0.5, 1, 2, 5, 10))):
        ax.set(yscale='log', title=title, xlabel='passes', xlim=(1, repro.PASSES), xticks=(1, 5, 10, 15, 20, 23))
        ticks(ax.yaxis, *at)
    fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=2, alignment='left',
               title=SPREAD.format(len(SEEDS)))
    return png(fig)


def draw_kernels(dataset='usps'):
    """What H1 learned to see, and what one test digit does to each layer."""
    net, _ = trained('paper', dataset, SEEDS[0])
    X, _ = digits(dataset)['test']
    out, labels = tested('paper', dataset, SEEDS[0])
    # a digit of which every layer shows something: the first 3 that is right
    i = int(((labels == 3) & (out.argmax(1) == 3)).int().argmax())
    x = X[i:i + 1]
    with torch.no_grad():
        H1, H2, H3, out = (y[0].numpy() for y in net.layers(x))
    layers = {'image': x[0].numpy(), 'H1': H1, 'H2': H2, 'H3': H3.reshape(-1, 1, 1), 'output': out}
    fig = plt.figure(figsize=(WIDTH, 3.9), layout='constrained')
    top, bottom = fig.subfigures(2, 1, height_ratios=(1, 2.1))

    ax = bare(top.subplots())
    kernels = net.H1w.detach()[:, 0].numpy()
    most = np.abs(kernels).max()
    n = len(kernels)
    ax.imshow(mosaic(kernels, n, 1, np.nan), vmin=-most, vmax=most, cmap='gray')
    for k in range(n):
        ax.add_patch(Rectangle((6 * k + .5, .5), 5, 5, facecolor='none', edgecolor=GRAY, linewidth=0.6))
        ax.text(6 * k + 3, 6.1, str(k), ha='center', va='top', fontsize=8, color=GRAY)
    ax.set_title(f'The {n} kernels of H1, seed {SEEDS[0]} (black: {-most:.1f}, mid-gray: 0, white: {most:.1f})')

    parts = dict(zip(layers, bottom.subplots(1, len(layers), width_ratios=(1.6, 3.0, 1.6, 0.7, 1.7))))
    for name, y in layers.items():
        ax = parts[name]
        bare(ax).set_anchor('N')
        ax.set_title(name, fontsize=9)
        if name == 'output':
            continue
        size = y.shape[-1]
        columns = {'image': 1, 'H1': 4, 'H2': 3, 'H3': 3}[name]
        gap = 0 if name == 'image' else 1
        ax.imshow(mosaic(y, columns, gap, np.nan), vmin=-1, vmax=1, cmap='gray')
        for k in range(len(y)):
            corner = gap - .5 + k % columns * (size + gap), gap - .5 + k // columns * (size + gap)
            ax.add_patch(Rectangle(corner, size, size, facecolor='none', edgecolor=GRAY, linewidth=0.6))
    ax = parts['output']
    ax.set_axis_on()
    ax.barh(range(10), out + 1, left=-1, color=[BLUE if k == out.argmax() else '#AAAAAA' for k in range(10)],
            edgecolor=BLACK, linewidth=0.6)
    ax.set(yticks=range(10), xticks=(-1, 0, 1), xlim=(-1, 1), ylim=(9.6, -.6))
    ax.grid(False)
    ax.tick_params(length=0)
    ax.set_box_aspect(1.28)
    bottom.suptitle(f'The activations for a test digit of {dataset.upper()} (black: -1, white: +1)', x=0.005,
                    ha='left', fontsize=10)
    return png(fig)


def draw_wrong(dataset='usps', columns=14):
    """Every test digit that one net gets wrong, most confident first."""
    net, _ = trained('paper', dataset, SEEDS[0])
    X, _ = digits(dataset)['test']
    out, labels = tested('paper', dataset, SEEDS[0])
    answers = out.argmax(1)
    top = out.topk(2).values
    gap = top[:, 0] - top[:, 1]
    wrong = torch.nonzero(answers != labels)[:, 0]
    wrong = wrong[gap[wrong].argsort(descending=True, stable=True)]
    rows = max(1, -(-len(wrong) // columns))
    w, h = 20, 25                       # a digit's place, in its pixels: 16x16 and the label below it
    fig, ax = canvas(0.6 + WIDTH * rows * h / (columns * w))
    bare(ax)
    for i, k in enumerate(wrong.tolist()):
        x, y = i % columns * w, i // columns * h
        ax.imshow(X[k, 0].numpy(), extent=(x, x + 16, y + 16, y), vmin=-1, vmax=1)
        ax.add_patch(Rectangle((x, y), 16, 16, facecolor='none', edgecolor='#BBBBBB', linewidth=0.5))
        ax.text(x + 8, y + 16.8, f'{labels[k]}→{answers[k]}  {gap[k]:.1f}', ha='center', va='top', fontsize=7.5)
    ax.set(xlim=(-1, columns * w - 3), ylim=(rows * h, -1), aspect='equal')
    misses = f'{len(wrong)} of {len(X)} test digits of {dataset.upper()}'
    ax.set_title(f'The {misses} that one net, seed {SEEDS[0]}, gets wrong (the paper: {repro.PAPER["test_misses"]}), '
                 'most confident first.\n'
                 'Below each: its label → the answer, and the difference between the two largest outputs '
                 f'(in the targets {2 * net.level:g})', linespacing=1.4)
    return png(fig)


def draw_confusion(dataset='usps'):
    """Which class is taken for which, and the error of each class."""
    matrix, error = confusion(dataset)
    sizes = matrix.sum(1)
    wrong = matrix * (1 - np.eye(10))
    fig, (ax, bars) = canvas(4.4, 1, 2, sharey=True, width_ratios=(1.9, 1))
    ax.imshow(wrong, cmap='Blues', aspect='auto', vmax=1.6 * wrong.max() or 1)       # pale enough to read numbers on
    for (c, a), n in np.ndenumerate(matrix):
        if a == c:
            ax.add_patch(Rectangle((a - .5, c - .5), 1, 1, facecolor='#EEEEEE', edgecolor='none'))
        if n:
            ax.text(a, c, f'{n:.1f}', ha='center', va='center', fontsize=8.5, color=GRAY if a == c else BLACK)
    ax.set(xticks=range(10), yticks=range(10), yticklabels=[f'{c} (of {round(sizes[c])})' for c in range(10)],
           xlabel='answer', ylabel='digit',
           title=f'test digits of {dataset.upper()} by answer: the mean of {len(SEEDS)} seeds')
    mean = 100 * wrong.sum() / sizes.sum()
    bars.axvline(mean, color=BLACK, linewidth=0.8, linestyle=':')
    bars.barh(range(10), error, color=BLUE, height=0.6)
    for c in range(10):
        bars.annotate(f'{error[c]:.1f}', (error[c], c), (4, 0), textcoords='offset points', va='center', fontsize=8.5,
                      bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1})
    bars.set(title='error, % of the class', xlabel=f'dotted: all {round(sizes.sum())}, {mean:.1f}%')
    bars.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (ax, bars):
        axes.grid(False)
        axes.tick_params(length=0)
    return png(fig)


def draw_rejection():
    """Section 5: error on the digits that are not rejected, against how many are."""
    fig, ax = canvas(4.2)
    x = np.linspace(0, 30, 301)
    for recipe, dataset, color, style, label in (
            ('fc40', 'usps', GRAY, '-.', 'fully connected, 40 hidden units, USPS'),
            ('paper', 'usps', BLUE, '-', "the 1989 net, USPS, the paper's settings"),
            ('reference', 'mnist', ORANGE, '--', 'the 1989 net, MNIST, the settings of 2022')):
        curves = []
        for seed in SEEDS:
            rejected, error, _ = repro.rejection_curve(*tested(recipe, dataset, seed))
            curves.append(np.interp(x, rejected[::-1], error[::-1]))     # np.interp wants x to grow
        band(ax, x, np.array(curves), color, style, label)
    for published, color, marker, label in ((repro.PAPER_FC40, 'white', 's', 'the paper, fully connected'),
                                            (repro.PAPER, BLUE, 'D', 'the paper'),
                                            (repro.KARPATHY2022, ORANGE, 'o', 'the 2022 reproduction')):
        ax.plot(0, published['test_error'], marker, color=color, markersize=7, markeredgecolor=BLACK, clip_on=False,
                zorder=5, label=label)
        if published['rejection']:
            point = published['rejection'], 1
            ax.plot(*point, marker, color=color, markersize=7, markeredgecolor=BLACK, zorder=5)
            ax.annotate(f'{published["rejection"]}% rejected\nfor 1% error', point, (24, 62),
                        textcoords='offset points', arrowprops={'arrowstyle': '-', 'shrinkB': 5, 'linewidth': 0.8})
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=':')
    ax.set(xlim=(0, 30), ylim=(0, 9), xlabel='rejected, % of the test digits',
           title='error, % of the digits not rejected')
    ax.legend(alignment='left', title=SPREAD.format(len(SEEDS)))
    return png(fig)


def draw_ladder():
    """The error of modern.py's rungs on both data sets, and the steps that the 2022 reproduction published."""
    same_net = repro.Net().counts()['all'][2]
    rows = [row | {'rung': int(row['rung'])} for row in modern.read(MODERN)
            if row['rung'].isdecimal() and row['parameters'] == same_net]
    if not rows:
        fail(f'{MODERN} has no rung; run: {COMMAND[MODERN]}')
    ideas = {rung: modern.RUNGS[rung]['idea'] for rung in sorted({row['rung'] for row in rows})}
    fig, ax = canvas(4.4)
    for dataset, style, marker in (('usps', '-', 'o'), ('mnist', '--', 's')):
        stats = {r: runs.mean_sd([row['error'] for row in rows if (row['dataset'], row['rung']) == (dataset, r)])
                 for r in ideas}
        stats = {r: (mean, sd or 0, n) for r, (mean, sd, n, _) in stats.items() if n}
        if not stats:
            continue
        mean, sd, counts = zip(*stats.values())
        n = f'n={min(counts)}' if min(counts) == max(counts) else f'n={min(counts)} to {max(counts)}'
        ax.errorbar(list(stats), mean, sd, fmt=style, marker=marker, color=COLOR[dataset], capsize=4, markersize=6,
                    label=f'{dataset.upper()}, mean and sd, {n}')
        for r, m, s in zip(stats, mean, sd):    # USPS's numbers above their bars, MNIST's below
            up = dataset == 'usps'
            ax.annotate(f'{m:.2f}', (r, m + max(s, 0.1) * (1 if up else -1)), (0, 4 if up else -4),
                        textcoords='offset points', ha='center', va='bottom' if up else 'top', fontsize=8.5)
    reference = [repro.KARPATHY2022['test_error'], *modern.MODERN_2022.values()]
    ax.plot(np.array([0, 1, 2, 4, 5]) + 0.28, reference, 'x', color=BLACK, markersize=7, markeredgewidth=1.6,
            label='published in 2022 (MNIST, one run each), drawn\nto the right of the rung most like the step')
    ax.set(xticks=list(ideas), title='test error, %')
    ax.set_xticklabels([f'{r}\n{textwrap.fill(idea, 13, break_on_hyphens=False)}' for r, idea in ideas.items()],
                       fontsize=8.5)
    ax.margins(x=0.07)
    ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
    ax.legend()
    return png(fig)


def draw_draws():
    """The test error of `reference` on twenty draws of MNIST, and the numbers published for single draws."""
    errors = {name: [] for name in compare.TWENTY}
    for row in compare.read(COMPARE):
        if row['recipe'] in errors:
            errors[row['recipe']].append(row['test_error'])
    for name, found in errors.items():
        if not found:
            fail(f'{COMPARE} has no run of {name}; run: {COMMAND[COMPARE]}')
    fig, ax = canvas(3.6)
    for x, found in enumerate(sorted(errors.values(), key=statistics.fmean)):
        ax.plot([x] * len(found), found, 'o', color=BLUE, markersize=4, alpha=0.6, label=None if x else 'a run')
        ax.plot(x, statistics.fmean(found), '_', color=BLACK, markersize=14, markeredgewidth=1.6,
                label=None if x else 'the mean of a sample')
    for error in compare.PUBLISHED_DRAWS.values():
        ax.axhline(error, color=ORANGE, linewidth=1, linestyle='--')
    ax.set(xticks=[], xlim=(-1, len(errors)), xlabel=f'{len(errors)} samples of MNIST, in order of their means',
           title='test error, %; dashed: as published, each from one run on a sample of its own')
    ax.grid(axis='x', visible=False)
    name_ends(ax, {f'{name}: {error}': ((len(errors), error), ORANGE)
                   for name, error in compare.PUBLISHED_DRAWS.items()})
    ax.legend()
    return png(fig)


def draw_speed():
    """How long the paper's 23 passes take, from 1989 to now, and what the arithmetic alone would take."""
    rows = runs.read_rows(BENCH, ('what', 'seconds', 'machine'), (), ('what', 'machine'), f'run: {COMMAND[BENCH]}')
    rows = {row['what']: row for row in rows}
    times = {'The paper, 1989\nSUN-4/260': repro.DAYS * 24 * 60 * 60,
             'The 2022 reproduction, as published\nPyTorch, a laptop of 2020': REFERENCE_SECONDS}
    for what, name in (('autograd, 1 thread', 'The same loop'), ('engine compiled', 'support/backprop.py, compiled'),
                       ('arithmetic limit', 'The arithmetic at the speed of\na large matrix product')):
        if what not in rows:
            fail(f'{BENCH} has no row {what!r}; run: {COMMAND[BENCH]}')
        machine = textwrap.fill(f'one core ({rows[what]["machine"]})', 34)
        times[f'{name}\n{machine}'] = rows[what]['seconds'] * prepro.N_TRAIN * repro.PASSES     # of one pattern
    fig, ax = canvas(3.6)
    for i, seconds in enumerate(times.values()):
        color = 'white' if i == len(times) - 1 else BLUE                 # the last is no training, but its limit
        ax.plot(seconds, i, 'o', color=color, markeredgecolor=BLUE, markeredgewidth=1.6, markersize=8)
        ratio = f', {significant(repro.DAYS * 86400 / seconds)} times as fast' if i else ''
        ax.annotate(span(seconds) + ratio, (seconds, i), (9, 0), textcoords='offset points', va='center', weight='bold')
    whole = f'{repro.PASSES} passes over {prepro.N_TRAIN:,} digits'
    at = {1: '1 s', 60: '1 minute', 3600: '1 hour', 86400: '1 day'}
    ax.set(xscale='log', xlim=(min(times.values()) / 3, 15 * max(times.values())), ylim=(len(times) - 0.5, -0.5),
           title=f'time for {whole}, and how many times as fast as in 1989')
    ax.set_yticks(range(len(times)), times, fontsize=9)
    ax.set_xticks(list(at), list(at.values()))
    ax.set_xticks([], minor=True)
    ax.grid(axis='y', visible=False)
    return png(fig)


def significant(x):
    """A ratio to two digits, with commas."""
    return f'{float(f"{x:.1e}"):,.0f}'


def span(seconds):
    """A time in the largest unit of which it is at least two."""
    for unit, size in (('days', 86400), ('hours', 3600), ('minutes', 60)):
        if seconds >= 2 * size:
            return f'{seconds / size:.2g} {unit}'
    return f'{seconds:.2g} s'


FIGURES = {'digits': draw_digits, 'architecture': draw_architecture, 'curves': draw_curves, 'kernels': draw_kernels,
           'wrong': draw_wrong, 'confusion': draw_confusion, 'rejection': draw_rejection, 'ladder': draw_ladder,
           'draws': draw_draws, 'speed': draw_speed}
FROM = {'ladder': MODERN, 'draws': COMPARE, 'speed': BENCH}


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('figures', nargs='*', metavar='NAME', help=f'{", ".join(FIGURES)} (default: all)')
    parser.add_argument('--out', type=cli.path, default='results', metavar='DIR',
                        help='where NAME.png goes (default: results)')
    args = parser.parse_args()
    for name in args.figures:
        if name not in FIGURES:
            parser.error(f'no figure is called {name!r}; there are {", ".join(FIGURES)}')
    torch.set_num_threads(1)
    files.writable(args.out)
    for name in dict.fromkeys(args.figures or FIGURES):
        if not args.figures and not os.path.exists(FROM.get(name, '.')):
            cli.warn(f'{name}: skipped, {FROM[name]} is not there; to make it: {COMMAND[FROM[name]]}')
            continue
        path = os.path.join(args.out, f'{name}.png')
        files.write_file(path, FIGURES[name]())
        print(path, flush=True)


if __name__ == '__main__':
    cli.run(main)
