"""
The paper's table (section 5): its results beside ours, where its single runs
lie among ours, two nets on the same digits, and what the paper leaves open. And
four pictures: learning curves, rejection, the mistakes, and which digit is
taken for which.

    python -m experiments.compare table open --out results/compare.csv
    python -m experiments.report curves rejection wrong confusion

The tables are of results/compare.csv. For the pictures nets are trained on the
spot, in a few minutes, on data/usps and data/mnist as prepro.py makes them.
"""
import functools

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import confusion_matrix

import prepro
import repro
from experiments import uncertainty
from experiments.compare import (DECIMALS, FC40_VARIANTS, LABELS, NARROW, SCALE, VARIANTS, by_seed, head, load, ours,
                                 published, runs_of, theirs)
from experiments.markdown import interval, probability, table
from experiments.style import BLACK, BLUE, GRAY, ORANGE, WIDTH, bare, canvas, png, ticks
from repro import KARPATHY2022, PAPER, PAPER_FC40, RESULTS
from support import cli


def tables():
    papers = table(head(), [
        theirs('the paper, 1989', PAPER),
        ours('**here, on USPS** (`paper`)', runs_of('paper')),
        theirs('its fully connected net', PAPER_FC40),
        ours('here, on USPS (`fc40`)', runs_of('fc40')),
        theirs('the 2022 reproduction, on MNIST', KARPATHY2022),
        ours('its settings, our seeds, on its digits of MNIST (`karpathy2022`)', runs_of('karpathy2022', 'mnist')),
        ours('its settings, on USPS (`karpathy2022`)', runs_of('karpathy2022'))])
    misses = by_seed('karpathy2022', 'test_misses', 'mnist').values()
    single = (f'**One run says little.** The 2022 reproduction published {KARPATHY2022["test_misses"]} test misses. '
              f'Over {len(misses)} random initializations the same net on the same digits misses {min(misses):.0f} to '
              f'{max(misses):.0f} ([more](results/README.md#the-papers-table)).')
    return {'front': front(), 'table': papers, 'single': single_runs(), 'nets': nets(), 'single_finding': single,
            'notes': notes(), 'open': open_questions('paper', VARIANTS),
            'open_full': open_questions('fc40', FC40_VARIANTS)}


def front():
    """The errors, the paper's and ours, and what agrees."""
    paper, fc, in_2022 = (ours('', runs_of(recipe, dataset), NARROW)[1:] for recipe, dataset in (
        ('paper', 'usps'), ('fc40', 'usps'), ('karpathy2022', 'mnist')))
    fitted = [f'**{cell}**' + ', fitted' * key.startswith('train') for key, cell in zip(NARROW, paper[1:])]
    link = '[the 2022 reproduction](https://github.com/karpathy/lecun1989-repro)'
    return table(
        ['', *(LABELS[key] for key in NARROW)],
        [['the paper, 1989', *published(PAPER, NARROW)],
         [f'**here, on USPS** (`paper`, n={paper[0]})', *fitted],
         ['its fully connected net', *published(PAPER_FC40, NARROW)],
         [f'here, on USPS (`fc40`, n={fc[0]})', *fc[1:]],
         [f'{link}, one run on MNIST', *published(KARPATHY2022, NARROW)],
         [f'here, its settings on MNIST (`karpathy2022`, n={in_2022[0]})', *in_2022[1:]]]) + f'\n\n{agreement()}'


def agreement():
    """What was fitted, and which of the paper's other results lie where single runs of ours are expected."""
    agree, differ = [], []
    for net, key, value, place in comparisons():
        if net in WHOSE and (net, key) not in FITTED:
            decimals = 0 if key.endswith('misses') else DECIMALS[key]
            low, high = (f'{place[end] * SCALE[key]:.{decimals}f}' for end in ('low', 'high'))
            (agree if place['low'] <= value <= place['high'] else differ).append(
                f'- {WHOSE[net]}{NAMES[key]}: {published({key: value}, [key])[0]}{UNITS[key]} in the paper, {low} to '
                f'{high}{UNITS[key]} here')
    return ("Mean ± standard deviation over n random initializations. Rejected: the share of test digits without an "
            'answer, so that 1% of the answers are wrong. Fitted: the learning rate and the damping of '
            "Newton's method, to the paper's training MSE and training misses. Nothing is fitted to a test result, nor "
            'to a result of the fully connected net.\n\nThe paper reports one run of each net. Beside each of its '
            'results is the range in which one run of ours lies with a probability of 95%.\n\n**What agrees**:\n\n'
            + '\n'.join(agree) + '\n\n**What does not**:\n\n' + '\n'.join(differ))


NET, FULL = 'the paper, `paper` on USPS', 'its fully connected net, `fc40` on USPS'
APART, NET_2022 = 'the two, `fc40` - `paper`', '2022, `karpathy2022` on MNIST'
WHOSE = {NET: 'the ', FULL: "the fully connected net's ", APART: "the two nets' difference in "}
NAMES = dict(zip(RESULTS, ('training MSE', 'training error', 'training misses', 'test MSE', 'test error', 'test misses',
                           'rejection')))
UNITS = dict(zip(RESULTS, ('e-3', '%', '', 'e-3', '%', '', '%')))
FITTED = (NET, 'train_loss'), (NET, 'train_misses')


def comparisons():
    """[(net, result, value, place)]: published single runs, and uncertainty.single_run of each among ours."""
    runs = [(net, key, value, by_seed(recipe, key, dataset))
            for net, results, recipe, dataset in ((NET, PAPER, 'paper', 'usps'), (FULL, PAPER_FC40, 'fc40', 'usps'),
                                                  (NET_2022, KARPATHY2022, 'karpathy2022', 'mnist'))
            for key, value in results.items()                            # misses, where published, are not rounded
            if not (key.endswith('error') and key[:-5] + 'misses' in results)]
    full, net = (by_seed(recipe, 'test_misses') for recipe in ('fc40', 'paper'))
    apart = round(PAPER_FC40['test_error'] / 100 * prepro.N_TEST) - PAPER['test_misses']
    runs.append((APART, 'test_misses', apart, {seed: full[seed] - net[seed] for seed in full if seed in net}))
    return [(net, key, value, uncertainty.single_run(value, found.values())) for net, key, value, found in runs]


def span(key, place):
    return ' to '.join(f'{place[end] * SCALE[key]:.{DECIMALS[key]}f}' for end in ('low', 'high'))


def single_runs():
    """The published single runs beside our distributions."""
    return table(['published', 'result', 'value', '95% of our single runs', 'z'],
                 [[net, LABELS[key] + (', fitted' if (net, key) in FITTED else ''), published({key: value}, [key])[0],
                   span(key, place), f'{place["z"]:+.1f}'] for net, key, value, place in comparisons()])


def change(recipe, base='paper'):
    """How the test error of a recipe differs from that of another, as uncertainty.difference."""
    return uncertainty.difference(by_seed(recipe, 'test_error'), by_seed(base, 'test_error'))


def nets():
    """Pairs of recipes on the same test digits."""
    rows, paper = [], by_seed('paper', 'missed')
    for name in 'fc40', 'karpathy2022', 'sgd':
        tests = [uncertainty.mcnemar(set(missed.split()), set(paper[seed].split()))
                 for seed, missed in by_seed(name, 'missed').items() if seed in paper]
        only_a, only_paper, p = np.transpose(tests)
        d = change(name)
        rows.append([f'`{name}` - `paper`', d['n'], interval(d), probability(d['p']), f'{only_a.mean():.1f}',
                     f'{only_paper.mean():.1f}', f'{(p < 0.05).sum()} of {len(tests)}'])
    return table(['', 'n', 'test error, % [95%]', 'p over seeds', 'missed by the first alone', 'by the second alone',
                  'McNemar p < 0.05'], rows)


def open_questions(recipe, variants):
    """One change to a recipe at a time."""
    changes = {name: change(name, recipe) for name in variants}
    return table([f'one change to `{recipe}`', *head(NARROW)[1:], f'test error - `{recipe}` [95%]', 'p'], [
        [*ours(f'`{recipe}`', runs_of(recipe), NARROW), '', ''],
        *([*ours(f'`{name}`: {what}'.replace('+-', '±'), runs_of(name), NARROW), interval(changes[name]),
           probability(changes[name]['p'])] for name, (what, _) in variants.items())])


# What the paper leaves open: the question, what `paper` assumes, why, and the recipes that do otherwise
ASSUMED = (
    ('the unit, "a scaled hyperbolic tangent"', '1.7159 tanh(2/3 s)', 'LeCun gave it in print in the same year',
     ('tanh_0.7', 'tanh_0.8')),
    ('the targets, "within the quasilinear range"', '±1', 'his, with this unit', ('level_0.8', 'level_1.2',
                                                                                'level_1.7159')),
    ('whether the MSE has a factor 1/2', 'it has', 'his custom: without it, and with twice the damping, every MSE is '
     'doubled and nothing else changes', ()),
    ('the initial range', '2.4/F', 'as printed; many read it with a square root over F', ('sqrt_fan_in',)),
    ('the initial biases', '0', 'custom', ('out_bias_-1', 'drawn_biases')),
    ('which 8 maps of H1 a map of H2 sees, "a scheme that will not be described here"', 'three blocks of four',
     "the 2022 reproduction's guess", ('scheme_cyclic', 'scheme_spread', 'scheme_random')),
    ('the constant order', 'as USPS is stored', 'nothing else is known', ('order', 'shuffled')),
    ('the learning rate, and the damping of Newton\'s method', '{rate} and {damping}',
     "fitted to the paper's two training results", ('damping_0.0005', 'damping_0.05', 'sgd')),
    ('the patterns on which curvatures are estimated', '{patterns}', "LeNet-5's", ('patterns_100', 'patterns_7291')),
    ('how the fully connected net was trained', 'as the other', 'the paper says nothing',
     ('fc40_passes_46', 'fc40_tanh_0.8', 'fc40_tanh_0.7_passes_9')))


def notes():
    """What the paper leaves open, what is assumed, and what another choice does to the test error."""
    return table(['open', 'assumed', 'why', 'otherwise'], [
        [question, assumed.format(**repro.RECIPES['paper']['training']), why, '; '.join(
            f'`{name}`: {interval(change(name, "fc40" if name in FC40_VARIANTS else "paper"))}' for name in names)]
        for question, assumed, why, names in ASSUMED], '---')


# ---------------------------------------------------------------------------------------------------------------------
# the nets of the pictures

SEEDS = range(10)                       # where a picture shows one net, it is the first


@functools.cache
def trained(recipe, dataset, seed):
    """(a net of one of repro.py's recipes, {split: {'loss', 'error', ...: [repro.measure's after each pass]}})."""
    settings, splits = repro.RECIPES[recipe], load(dataset)
    net, history = repro.build(settings, seed), {split: [] for split in splits}
    try:
        for _ in cli.progress(repro.train(net, *splits['train'], **settings['training']), leave=False, unit='pass',
                              total=settings['training']['passes'], desc=f'{recipe} on {dataset}, seed {seed}'):
            for split, digits in splits.items():
                history[split].append(repro.measure(net, *digits))
    except repro.Diverged:
        cli.fail(f'recipe {recipe} diverged on {dataset} with seed {seed}; there is nothing to draw')
    return net, {split: {key: [m[key] for m in passes] for key in passes[0]} for split, passes in history.items()}


def tested(recipe, dataset, seed):
    """(outputs (n, 10), labels (n,)) of a trained net on the test digits."""
    X, Y = load(dataset)['test']
    return repro.outputs(trained(recipe, dataset, seed)[0], X), Y.argmax(1)


# ---------------------------------------------------------------------------------------------------------------------
# pictures

def pictures():
    return {'curves.png': draw_curves, 'rejection.png': draw_rejection, 'wrong.png': draw_wrong,
            'confusion.png': draw_confusion}


BANDS = 'lines: the mean of {} seeds; bands: from the lowest to the highest'


def band(ax, x, curves, color, style, label):
    ax.fill_between(x, curves.min(0), curves.max(0), color=color, alpha=0.25, linewidth=0)
    ax.plot(x, curves.mean(0), style, color=color, label=label)


def draw_curves():
    """The learning curves: MSE and error after each pass, training and test, and where the published runs ended."""
    fig, axes = canvas(4.4, 1, 2)
    for dataset, recipe, color, settings, source, single in (
            ('usps', 'paper', BLUE, "the paper's settings", 'the paper', PAPER),
            ('mnist', 'karpathy2022', ORANGE, 'the settings of 2022', 'the 2022 reproduction', KARPATHY2022)):
        histories = [trained(recipe, dataset, seed)[1] for seed in SEEDS]
        for ax, key in zip(axes, ('loss', 'error')):
            for split, style, name in (('train', '--', 'training'), ('test', '-', 'test')):
                curves = np.array([h[split][key] for h in histories])
                band(ax, np.arange(1, curves.shape[1] + 1), curves, color, style,
                     f'{dataset.upper()}, {settings}: {name}')
            for split, marker, name in (('train', 'v', 'training'), ('test', '^', 'test')):
                ax.plot(repro.PASSES, single[f'{split}_{key}'], marker, color=color, markersize=7.5,
                        markeredgecolor=BLACK, clip_on=False, zorder=5,
                        label=f'{source} after {repro.PASSES} passes: {name}')
    for ax, title, at in zip(axes, ('mean squared error', 'error, %'), (
            (0.002, 0.005, 0.01, 0.02, 0.05, 0.1), (0.1, 0.2, 0.5, 1, 2, 5, 10))):
        ax.set(yscale='log', title=title, xlabel='passes', xlim=(1, repro.PASSES), xticks=(1, 5, 10, 15, 20, 23))
        ticks(ax.yaxis, *at)
    fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=2, alignment='left',
               title=BANDS.format(len(SEEDS)))
    return png(fig)


def draw_rejection():
    """Section 5: error on the digits that are not rejected, against how many are."""
    fig, ax = canvas(4.2)
    x = np.linspace(0, 30, 301)
    for recipe, dataset, color, style, label in (
            ('fc40', 'usps', GRAY, '-.', 'fully connected, 40 hidden units, USPS'),
            ('paper', 'usps', BLUE, '-', "the 1989 net, USPS, the paper's settings"),
            ('karpathy2022', 'mnist', ORANGE, '--', 'the 1989 net, MNIST, the settings of 2022')):
        curves = []
        for seed in SEEDS:
            rejected, error, _ = repro.rejection_curve(*tested(recipe, dataset, seed))
            curves.append(np.interp(x, rejected[::-1], error[::-1]))     # np.interp wants x to grow
        band(ax, x, np.array(curves), color, style, label)
    for single, color, marker, label in ((PAPER_FC40, 'white', 's', 'the paper, fully connected'),
                                         (PAPER, BLUE, 'D', 'the paper'),
                                         (KARPATHY2022, ORANGE, 'o', 'the 2022 reproduction')):
        points = {0: single['test_error']}
        if 'rejection' in single:
            points[single['rejection']] = 1
            ax.annotate(f'{single["rejection"]}% rejected\nfor 1% error', (single['rejection'], 1), (24, 62),
                        textcoords='offset points', arrowprops={'arrowstyle': '-', 'shrinkB': 5, 'linewidth': 0.8})
        ax.plot(list(points), list(points.values()), marker, color=color, markersize=7, markeredgecolor=BLACK,
                clip_on=False, zorder=5, label=label)
    ax.axhline(1, color=BLACK, linewidth=0.8, linestyle=':')
    ax.set(xlim=(0, 30), ylim=(0, 9), xlabel='rejected, % of the test digits',
           title='error, % of the digits not rejected')
    ax.legend(alignment='left', title=BANDS.format(len(SEEDS)))
    return png(fig)


def draw_wrong():
    """Every test digit that one net gets wrong, most confident first."""
    columns = 14
    X, _ = load('usps')['test']
    out, labels = tested('paper', 'usps', SEEDS[0])
    answers, gap = out.argmax(1), -out.topk(2).values.diff()[:, 0]
    wrong = [k for k in gap.argsort(descending=True, stable=True).tolist() if answers[k] != labels[k]]
    rows = -(-len(wrong) // columns)
    w, h = 20, 25                       # a digit's place, in its pixels: 16x16 and the label below it
    fig, ax = canvas(0.6 + WIDTH * rows * h / (columns * w))
    bare(ax)
    for i, k in enumerate(wrong):
        x, y = i % columns * w, i // columns * h
        ax.imshow(X[k, 0].numpy(), extent=(x, x + 16, y + 16, y), vmin=-1, vmax=1)
        ax.add_patch(Rectangle((x, y), 16, 16, facecolor='none', edgecolor='#BBBBBB', linewidth=0.5))
        ax.text(x + 8, y + 16.8, f'{labels[k]}→{answers[k]}  {gap[k]:.1f}', ha='center', va='top', fontsize=7.5)
    ax.set(xlim=(-1, columns * w - 3), ylim=(rows * h, -1), aspect='equal')
    level = repro.RECIPES['paper']['net']['level']
    ax.set_title(f'The {len(wrong)} of {len(X)} test digits of USPS that one net, seed {SEEDS[0]}, gets wrong (the '
                 f'paper: {PAPER["test_misses"]}), most confident first.\nBelow each: its label → the answer, and the '
                 f'difference between the two largest outputs (in the targets {2 * level:g})', linespacing=1.4)
    return png(fig)


def draw_confusion():
    """Which class is taken for which, and the error of each class."""
    # how many test digits of each class (rows) get which answer (columns)
    matrix = np.mean([confusion_matrix(labels, out.argmax(1), labels=range(10))
                      for out, labels in (tested('paper', 'usps', seed) for seed in SEEDS)], 0)
    sizes, wrong = matrix.sum(1), matrix * (1 - np.eye(10))
    fig, (ax, bars) = canvas(4.4, 1, 2, sharey=True, width_ratios=(1.9, 1))
    ax.imshow(wrong, cmap='Blues', aspect='auto', vmax=1.6 * wrong.max())       # pale enough to read numbers on
    for (c, a), n in np.ndenumerate(matrix):
        if n:
            ax.text(a, c, f'{n:.1f}', ha='center', va='center', fontsize=8.5, color=GRAY if a == c else BLACK)
    ax.set(xticks=range(10), yticks=range(10), yticklabels=[f'{c} (of {round(sizes[c])})' for c in range(10)],
           xlabel='answer', ylabel='digit',
           title=f'test digits of USPS by answer: the mean of {len(SEEDS)} seeds')
    mean = 100 * wrong.sum() / sizes.sum()
    bars.axvline(mean, color=BLACK, linewidth=0.8, linestyle=':')
    bars.bar_label(bars.barh(range(10), 100 * wrong.sum(1) / sizes, color=BLUE, height=0.6), fmt='%.1f', padding=4,
                   fontsize=8.5, bbox={'facecolor': 'white', 'edgecolor': 'none', 'pad': 1})
    bars.set(title='error, % of the class', xlabel=f'dotted: all {round(sizes.sum())}, {mean:.1f}%')
    bars.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in (ax, bars):
        axes.grid(False)
        axes.tick_params(length=0)
    return png(fig)
