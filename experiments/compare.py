"""
Recipes beside repro.py's, each over many seeds: what the paper leaves open, one
change at a time, and other draws of MNIST.

    python -m experiments.compare                  # those of the paper's table
    python -m experiments.compare open             # a group: the open questions
    python -m experiments.compare sgd rate_0.01    # some recipes

A recipe is every setting of a net and its training; its runs differ only in the
seed of the initial weights. Each run is a row of a CSV file. Runs that are in
the file are not done again, so that a command may be interrupted and repeated,
and continued on other machines. results/compare.csv has what came out; paper.py
and samples.py make tables of it.
"""
import functools
import math
import os
import textwrap

import torch

import prepro
import repro
from experiments.markdown import Missing, columns, pm, results
from repro import KARPATHY2022, PAPER, PAPER_FC40, PASSES, RESULTS
from support import cli, files, runs
from support.engine import faster

# connection tables, for "a scheme that will not be described here"
CYCLIC = [[(m + i) % 12 for i in range(8)] for m in range(12)]           # neighbors share 7; the runs of LeNet-5 (1998)
SPREAD = [[a for a in range(12) if (a - m) % 12 not in (0, 1, 4, 6)] for m in range(12)]     # any two share 5 or 6


def random_table(seed=0):
    """8 of the 12 maps at random for each map of H2."""
    g = torch.Generator().manual_seed(seed)
    return [sorted(torch.randperm(12, generator=g)[:8].tolist()) for _ in range(12)]


# ---------------------------------------------------------------------------------------------------------------------
# Recipes: {name: (what it is, its settings)}. Settings are {'net', 'training'} as repro.RECIPES has them, and may have
#   draw           the seed and order with which prepro.draw takes the digits from all of MNIST
#   order          the seed of the constant order in which the digits are presented; without it, as they are stored
#   drawn_biases   whether the initial biases are drawn as the weights are

def changed(recipe, net=(), training=(), **others):
    """A recipe with other settings of its net and its training, and others beside them."""
    return recipe | {'net': recipe['net'] | dict(net), 'training': recipe['training'] | dict(training)} | others


TANH = {'A': 1.0, 'S': 1.0, 'factor': 1.0}
IN_TABLE = {        # the paper's table
    'paper': ("as the paper says, with LeCun's constants; two rates are fitted to its training results",
              repro.RECIPES['paper']),
    'karpathy2022': ('karpathy/lecun1989-repro, 2022', repro.RECIPES['karpathy2022']),
    'fc40': ("the paper's fully connected net, trained as its other", repro.RECIPES['fc40'])}
VARIANTS = {        # the open questions, one at a time: what is changed in `paper`, and whose guess it is
    'tanh_0.8': ('tanh, targets +-0.8, MSE without the factor 1/2, rate and damping fitted in the same way: the first '
                 'recipe here', {'net': TANH | {'level': 0.8}, 'training': {'rate': 0.002, 'damping': 0.03}}),
    'tanh_0.7': ('the same with targets +-0.7',
                 {'net': TANH | {'level': 0.7}, 'training': {'rate': 0.002, 'damping': 0.03}}),
    'sgd': ('plain gradient descent, its rate fitted in the same way',
            {'training': {'optimizer': 'sgd', 'rate': 0.12}}),
    'level_0.8': ('target level', {'net': {'level': 0.8}}),
    'level_0.9': ('target level', {'net': {'level': 0.9}}),
    'level_1.2': ('target level', {'net': {'level': 1.2}}),
    'level_1.7159': ("target level at the ends of the unit's range", {'net': {'level': 1.7159}}),
    'sqrt_fan_in': ("initial range with the fan-in's square root, as in the 2022 reproduction",
                    {'net': {'sqrt_fan_in': True}}),
    'out_bias_-1': ("initial biases of the output; the 2022 reproduction's", {'net': {'out_bias': -1.0}}),
    'drawn_biases': ('all initial biases drawn as the weights are', {'drawn_biases': True}),
    'scheme_cyclic': ('8 maps in a row, as the runs of LeNet-5', {'net': {'table': CYCLIC}}),
    'scheme_spread': ('every map feeds 8, any two share 5 or 6', {'net': {'table': SPREAD}}),
    'scheme_random': ('8 of the 12 at random', {'net': {'table': random_table()}}),
    'order': ('another constant order', {'order': 0}),
    'shuffled': ('a new order for each pass', {'training': {'shuffle': 0}}),
    'passes_46': ('twice the passes', {'training': {'passes': 2 * PASSES}}),
    'passes_92': ('four times', {'training': {'passes': 4 * PASSES}}),
    'damping_0.0005': ('damping that half of the curvatures exceed, rate fitted in the same way',
                       {'training': {'damping': 0.0005, 'rate': 0.0001}}),
    'damping_0.05': ('damping above nearly all curvatures, rate fitted in the same way',
                     {'training': {'damping': 0.05, 'rate': 0.0051}}),
    'patterns_100': ('patterns for the curvature', {'training': {'patterns': 100}}),
    'patterns_7291': ('all patterns for the curvature', {'training': {'patterns': prepro.N_TRAIN}}),
    **{f'rate_{rate}': (f'rate, times {rate / repro.RECIPES["paper"]["training"]["rate"]:.2g}',
                        {'training': {'rate': rate}}) for rate in (0.00008, 0.0002, 0.0004, 0.0016, 0.004, 0.008)},
}
# for the fully connected net, of whose training the paper says nothing
FC40_VARIANTS = {
    'fc40_tanh_0.8': ('fc40 with the settings of tanh_0.8', VARIANTS['tanh_0.8'][1]),
    'fc40_tanh_0.7': ('fc40 with those of tanh_0.7', VARIANTS['tanh_0.7'][1]),
    'fc40_tanh_0.7_passes_9': ('the same for 9 passes', changed(VARIANTS['tanh_0.7'][1], training={'passes': 9})),
    'fc40_passes_46': ('fc40 with twice the passes', {'training': {'passes': 2 * PASSES}}),
}
# the settings of karpathy2022 on draws from all of MNIST; with --dataset mnist60k
DRAWS = {f'{order[0]}_first': (f"the 2022 reproduction's draw of MNIST, {order[0]} digits first", changed(
    repro.RECIPES['karpathy2022'], draw={'seed': prepro.SEED, 'order': order}))
         for order in (['test', 'train'], ['train', 'test'])}
TWENTY = {f'draw_{seed}': ('another draw', changed(
    repro.RECIPES['karpathy2022'], draw={'seed': seed, 'order': ['test', 'train']})) for seed in range(20)}

RECIPES = dict(IN_TABLE)
for recipe, variants in ('paper', VARIANTS), ('fc40', FC40_VARIANTS):
    RECIPES |= {name: (what, changed(repro.RECIPES[recipe], **changes)) for name, (what, changes) in variants.items()}
RECIPES |= {'passes_100': ("the 2022 reproduction's settings for 100 passes",
                           changed(repro.RECIPES['karpathy2022'], training={'passes': 100}))} | DRAWS | TWENTY
GROUPS = {'table': list(IN_TABLE), 'open': ['paper', *VARIANTS], 'full': ['fc40', *FC40_VARIANTS],
          'draws': list(DRAWS), 'twenty_draws': list(TWENTY)}

# ---------------------------------------------------------------------------------------------------------------------
# a run

KEY = ('recipe', 'settings', 'dataset', 'seed')
VALUES = (*RESULTS, 'seconds', 'missed')     # missed: the numbers of the test digits that are wrong
WORDS = ('recipe', 'settings', 'dataset', 'missed')

load = files.load_digits


def draw_biases(net, seed, sqrt_fan_in):
    """Draw the initial biases as the weights were, after them, from the same generator."""
    uniform = repro.initial(seed, sqrt_fan_in)
    for kind in 'w', 'b':               # for the weights what they have already
        for layer in net.LAYERS:
            w, p = getattr(net, f'{layer}w'), getattr(net, layer + kind)
            p.data = uniform(w[0].numel() if w.dim() == 4 else len(w), *p.shape).data


def trained(settings, X, Y, seed):
    """(net, seconds) of a recipe's net, trained on X (n, 1, 16, 16), Y (n, 10). Raises repro.Diverged."""
    net = repro.build(settings, seed)
    if settings.get('drawn_biases'):
        draw_biases(net, seed, settings['net']['sqrt_fan_in'])
    if settings.get('order') is not None:
        order = torch.randperm(len(X), generator=torch.Generator().manual_seed(settings['order']))
        X, Y = X[order], Y[order]
    for _, seconds in repro.train(net, X, Y, **settings['training']):
        pass
    return net, seconds


def one_run(recipe, settings, dataset, seed):
    """Train one recipe from one seed: the values of its row. settings is the fingerprint of the recipe's settings."""
    chosen, splits = RECIPES[recipe][1], load(dataset)
    if 'draw' in chosen:
        splits = prepro.chosen(splits, prepro.draw(splits, **chosen['draw']))
    try:
        net, seconds = trained(chosen, *splits['train'], seed)
    except repro.Diverged:
        return dict.fromkeys((*RESULTS, 'seconds'), math.nan) | {'missed': ''}
    train = repro.measure(net, *splits['train'])
    X, Y = splits['test']
    missed = (faster('outputs', repro.outputs, net, X[:3])(net, X).argmax(1) != Y.argmax(1)).nonzero().flatten()
    return repro.results(train, repro.measure(net, X, Y)) | {
        'seconds': seconds, 'missed': ' '.join(map(str, missed.tolist()))}


def read(path):
    """The rows of a CSV file of runs, of the recipes as they are now."""
    now = {name: runs.fingerprint(settings) for name, (_, settings) in RECIPES.items()}
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS) if now.get(row['recipe']) == row['settings']]


committed = functools.cache(read)       # reads results/compare.csv once


def runs_of(recipe, dataset='usps'):
    """The rows of a recipe in results/compare.csv. Raises Missing."""
    found = [row for row in committed(results('compare.csv')) if (row['recipe'], row['dataset']) == (recipe, dataset)]
    if sum(math.isfinite(row['train_loss']) for row in found) < 2:
        raise Missing(f'two runs of {recipe} on {dataset}')
    return found


def by_seed(recipe, result, dataset='usps'):
    """{seed: a result}."""
    return {row['seed']: row[result] for row in runs_of(recipe, dataset)}


# ---------------------------------------------------------------------------------------------------------------------
# results as a table has them

SCALE = {key: 1000 if key.endswith('loss') else 1 for key in RESULTS}       # a table's MSE is in 1e-3
DECIMALS = dict(zip(RESULTS, (2, 2, 1, 1, 2, 1, 1)))
LABELS = dict(zip(RESULTS, ('train MSE, 1e-3', 'train error, %', 'train misses', 'test MSE, 1e-3', 'test error, %',
                            'test misses', 'rejected, %')))
NARROW = [key for key in RESULTS if not key.endswith('misses')]          # the error says the same


def head(keys=RESULTS):
    return ['', 'n', *(LABELS[key] for key in keys)]


def theirs(label, single, keys=RESULTS):
    """A row for results of a single run, as they were published."""
    return [label, '', *published(single, keys)]


def published(single, keys=RESULTS):
    return ['' if key not in single else f'{single[key] * 1000:.4g}' if key.endswith('loss') else str(single[key])
            for key in keys]


def ours(label, rows, keys=RESULTS):
    """A row for runs: how many, and each result as 'mean ± sd'."""
    stats = {key: runs.mean_sd([row[key] * SCALE[key] for row in rows]) for key in keys}
    diverged = max(stat[3] for stat in stats.values())
    return [label, f'{len(rows)}, {diverged} diverged' if diverged else str(len(rows)),
            *(pm(stat[:2], DECIMALS[key]) for key, stat in stats.items())]


def main():
    names = '\n'.join(textwrap.fill(f'  {name:18}{what}', 79, subsequent_indent=20*' ')
                      for name, (what, _) in RECIPES.items() if name not in TWENTY)
    groups = '\n'.join(f'  {name:18}{len(recipes)} recipes' for name, recipes in GROUPS.items())
    parser = cli.parser(__doc__, epilog=f'recipes:\n{names}\n\ngroups of recipes:\n{groups}')
    parser.add_argument('recipes', nargs='*', metavar='RECIPE', help='recipes or groups of them (default: table)')
    parser.add_argument('--dataset', type=files.dataset, default='usps', metavar='D', help='default: usps')
    parser.add_argument('--seeds', type=cli.numbers, default=range(10), metavar='A-B', help='default: 0-9')
    runs.add_arguments(parser, os.path.join('out', 'compare.csv'))
    args = parser.parse_args()
    chosen = []
    for name in args.recipes or ['table']:
        if name not in RECIPES and name not in GROUPS:
            parser.error(f'no recipe or group is called {name!r}: see --help')
        chosen += [r for r in GROUPS.get(name, [name]) if r not in chosen]
        if any('draw' in RECIPES[r][1] for r in chosen) and args.dataset != 'mnist60k':
            parser.error(f'{name} draws from all of MNIST: give --dataset mnist60k')

    load(args.dataset)                  # ends here if it is not there
    jobs = [dict(zip(KEY, (name, runs.fingerprint(RECIPES[name][1]), args.dataset, seed)))
            for name in chosen for seed in args.seeds]
    rows = runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, threads=True, workers=args.jobs,
                        cluster=args.cluster)
    print(columns([
        *(['', n, *words] for n, words in zip(('', 'n'), zip(*(LABELS[key].split(' ', 1) for key in NARROW)))),
        theirs('paper, 1989', PAPER, NARROW), theirs('its full net', PAPER_FC40, NARROW),
        theirs('reproduction, 2022', KARPATHY2022, NARROW),
        *(ours(name, [row for row in rows if row['recipe'] == name], NARROW) for name in chosen)]))


if __name__ == '__main__':
    cli.run(main)
