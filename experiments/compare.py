"""
The paper's table (section 5), and what the paper leaves open: recipes over
many seeds.

    python -m experiments.compare                  # paper, reference, fc40
    python -m experiments.compare open             # a group: the open questions
    python -m experiments.compare sgd rate_0.01    # some recipes

A recipe is every setting of a net and its training; its runs differ only in the
seed of the initial weights. Each run is a row of a CSV file. Runs that are in
the file are not done again, so that a command may be interrupted and repeated,
and continued on other machines.
"""
import math
import os
import textwrap

import torch

import prepro
import repro
from repro import KARPATHY2022, PAPER, PAPER_FC40, PASSES, RESULTS
from support import cli, files, runs
from support.engine import faster

BLOG = {'test_error': 2.74}         # the 2022 blog post: 50,000 digits, 100 passes
# Test errors of reproductions by the settings of `reference`, each on a draw of its own, as they were published.
PUBLISHED_DRAWS = {'2022, the first': 4.09, 'MLX': 3.34, 'C++': 4.83, 'Node.js': 4.19}

# ---------------------------------------------------------------------------------------------------------------------
# connection tables, for "a scheme that will not be described here"

CYCLIC = [[(m + i) % 12 for i in range(8)] for m in range(12)]           # neighbors share 7; the runs of LeNet-5 (1998)
SPREAD = [[a for a in range(12) if (a - m) % 12 not in (0, 1, 4, 6)] for m in range(12)]     # any two share 5 or 6


def random_table(seed=0):
    """8 of the 12 maps at random for each map of H2."""
    g = torch.Generator().manual_seed(seed)
    return [sorted(torch.randperm(12, generator=g)[:8].tolist()) for _ in range(12)]


# ---------------------------------------------------------------------------------------------------------------------
# recipes: {name: (what it is, its settings)}, repro.py's and what is changed in them

TRAINING = 'passes', 'rate', 'optimizer', 'damping', 'patterns', 'shuffle'


def flat(recipe):
    """A recipe of repro.py as one dict, by the names that the committed rows were made with."""
    net, training = recipe['net'], recipe['training']
    flattened = {**net, **training, 'net': {'Net': 'conv', 'FullNet': 'full'}[net['type']], 'root': net['sqrt_fan_in']}
    return {name: value for name, value in flattened.items() if name not in ('type', 'sqrt_fan_in')}


def nested(settings):
    """The opposite of flat."""
    training = {name: settings[name] for name in TRAINING if name in settings}
    net = {name: value for name, value in settings.items() if name not in (*TRAINING, 'net', 'root')}
    kind = {'conv': 'Net', 'full': 'FullNet'}[settings['net']]
    return {'net': {'type': kind, 'sqrt_fan_in': settings['root'], **net}, 'training': training}


BASE = {name: flat(repro.RECIPES[recipe])
        for name, recipe in (('paper', 'paper'), ('reference', 'karpathy2022'), ('fc40', 'fc40'))}
LECUN_UNIT = {'A': 1.7159, 'S': 2 / 3}       # LeCun 1989, "Generalization and network design strategies"
WHAT = {
    'paper': 'as the paper says, what it leaves open fitted to its training results',
    'reference': 'karpathy/lecun1989-repro, 2022',
    'fc40': "the paper's fully connected net, trained as its other",
}
VARIANTS = {        # the open questions, one at a time: what is changed in `paper`, and whose guess it is
    'sgd': ('plain gradient descent, its rate fitted in the same way', {'optimizer': 'sgd', 'rate': 0.06}),
    'lecun_unit': ('1.7159 tanh(2/3 s), targets +-1', LECUN_UNIT | {'level': 1.0}),
    'lecun_unit_0.8': ('1.7159 tanh(2/3 s), targets at 0.8 of its range', LECUN_UNIT | {'level': 0.8 * 1.7159}),
    'level_0.6': ('target level', {'level': 0.6}),
    'level_0.7': ('target level', {'level': 0.7}),
    'level_0.9': ('target level', {'level': 0.9}),
    'level_1.0': ("target level; the 2022 reproduction's", {'level': 1.0}),
    'root': ("initial range with the fan-in's square root, as in the 2022 reproduction", {'root': True}),
    'out_bias_-1': ("initial biases of the output; the 2022 reproduction's", {'out_bias': -1.0}),
    'scheme_cyclic': ('8 maps in a row, as the runs of LeNet-5', {'table': CYCLIC}),
    'scheme_spread': ('every map feeds 8, any two share 5 or 6', {'table': SPREAD}),
    'scheme_random': ('8 of the 12 at random', {'table': random_table()}),
    'half': ('a factor 1/2 in the cost: half the gradient, half the curvature', {'damping': 2 * 0.03}),
    'shuffled': ('a new order for each pass', {'shuffle': 0}),
    'passes_46': ('twice the passes', {'passes': 2 * PASSES}),
    'passes_92': ('four times', {'passes': 4 * PASSES}),
    **{f'rate_{rate}': ('rate over two decades', {'rate': rate})
       for rate in (0.0002, 0.0005, 0.001, 0.005, 0.01, 0.02)},
}
FIT = {             # the grid on which `paper` was fitted: runs that measure no test digit
    f'fit_{unit}_{level}_{rate}_{damping}':
        ('one point of the fit', BASE['paper'] | settings | {'level': level, 'rate': rate, 'damping': damping})
    for unit, settings, levels in (('tanh', {}, (0.7, 0.8, 0.9)), ('lecun', LECUN_UNIT, (1.0, 1.37)))
    for level in levels for rate in (0.0005, 0.001, 0.002, 0.004) for damping in (0.01, 0.03, 0.1)
}
# the settings of `reference` on draws from all of MNIST, as prepro.draw makes them; with --dataset mnist60k
DRAWS = {name: (f"the reference's draw of MNIST, {order[0]} digits first",
                BASE['reference'] | {'draw': {'seed': prepro.SEED, 'order': order}})
         for name, order in (('test_first', ['test', 'train']), ('train_first', ['train', 'test']))}
TWENTY = {f'draw_{seed}': ('another draw', BASE['reference'] | {'draw': {'seed': seed, 'order': ['test', 'train']}})
          for seed in range(20)}

RECIPES = {name: (what, BASE[name]) for name, what in WHAT.items()}
RECIPES |= {name: (what, BASE['paper'] | changes) for name, (what, changes) in VARIANTS.items()}
RECIPES |= {'posterior_best': (
    'the draw of posterior.py nearest to all results: it has seen the test digits',
    BASE['paper'] | LECUN_UNIT | {'level': 0.573083 * 1.7159, 'rate': 0.000540431, 'damping': 0.00680103,
                                  'table': CYCLIC, 'patterns': 1000, 'drawn_biases': False, 'order': 3327})}
RECIPES |= {'passes_100': ("the reference's settings for 100 passes", BASE['reference'] | {'passes': 100})}
RECIPES |= DRAWS | TWENTY | FIT
GROUPS = {'table': list(WHAT), 'open': ['paper', *VARIANTS], 'draws': list(DRAWS), 'twenty_draws': list(TWENTY),
          'fit': list(FIT)}

# ---------------------------------------------------------------------------------------------------------------------
# runs

KEY = ('recipe', 'settings', 'dataset', 'seed')
VALUES = (*RESULTS, 'seconds', 'missed')     # missed: the numbers of the test digits that are wrong
WORDS = ('recipe', 'settings', 'dataset', 'missed')

load = files.load_digits


def shuffled(X, Y, seed):
    """The digits in an order drawn with the seed; as they are if it is None."""
    if seed is None:
        return X, Y
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    return X[order], Y[order]


def draw_biases(net, seed, root):
    """Draw the initial biases as the weights were, after them, from the same generator."""
    uniform = repro.initial(seed, root)
    for kind in 'w', 'b':               # for the weights what they have already
        for layer in net.LAYERS:
            w, p = getattr(net, f'{layer}w'), getattr(net, layer + kind)
            p.data = uniform(w[0].numel() if w.dim() == 4 else len(w), *p.shape).data


def trained(settings, X, Y, seed):
    """
    (net, seconds) of a recipe's net, trained on X (n, 1, 16, 16), Y (n, 10). Besides repro.py's settings there may be
    drawn_biases. Raises repro.Diverged.
    """
    recipe = nested({name: value for name, value in settings.items() if name != 'drawn_biases'})
    net = repro.build(recipe, seed)
    if settings.get('drawn_biases'):
        draw_biases(net, seed, settings['root'])
    for _, seconds in repro.train(net, X, Y, **recipe['training']):
        pass
    return net, seconds


def one_run(recipe, settings, dataset, seed):
    """Train one recipe from one seed: the values of its row. settings is the fingerprint of the recipe's settings."""
    chosen = dict(RECIPES[recipe][1])
    assert settings == runs.fingerprint(chosen)
    splits, draw, order = load(dataset), chosen.pop('draw', None), chosen.pop('order', None)
    if draw:
        splits = prepro.chosen(splits, prepro.draw(splits, **draw))
    try:
        net, seconds = trained(chosen, *shuffled(*splits['train'], order), seed)
    except repro.Diverged:
        return dict.fromkeys((*RESULTS, 'seconds'), math.nan) | {'missed': ''}
    train = repro.measure(net, *splits['train'])
    if recipe in FIT:                   # measures no test digit
        return repro.results(train, dict.fromkeys(train)) | {'seconds': seconds, 'missed': ''}
    X, Y = splits['test']
    missed = (faster('outputs', repro.outputs, net, X[:3])(net, X).argmax(1) != Y.argmax(1)).nonzero().flatten()
    return repro.results(train, repro.measure(net, X, Y)) | {'seconds': seconds,
                                                             'missed': ' '.join(map(str, missed.tolist()))}


def jobs_of(names, dataset, seeds):
    return [{'recipe': name, 'settings': runs.fingerprint(RECIPES[name][1]), 'dataset': dataset, 'seed': seed}
            for name in names for seed in seeds]


def read(path):
    """The rows of a CSV file of runs, of the recipes as they are now."""
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS)
            if row['recipe'] in RECIPES and row['settings'] == runs.fingerprint(RECIPES[row['recipe']][1])]


def distance(rows):
    """How far a point of the fit is from the paper's two training results: the sum of ln(mean / the paper's)**2."""
    return sum(math.log(runs.mean_sd([row[key] for row in rows])[0] / PAPER[key])**2
               for key in ('train_loss', 'train_misses'))


# ---------------------------------------------------------------------------------------------------------------------
# the table

def summary(rows, names, dataset):
    """{recipe: (number of runs, how many diverged, {result: (mean, sd)})} of the recipes that have rows."""
    out = {}
    for name in names:
        found = [row for row in rows if row['recipe'] == name and row['dataset'] == dataset]
        if found:
            stats = {key: runs.mean_sd([row[key] for row in found]) for key in RESULTS}
            out[name] = len(found), stats['train_loss'][3], {key: s[:2] for key, s in stats.items()}
    return out


SCALE = {key: 1000 if key.endswith('loss') else 1 for key in RESULTS}       # a table's MSE is in 1e-3
DECIMALS = dict(zip(RESULTS, (2, 2, 1, 1, 2, 1, 1)))
LABELS = dict(zip(RESULTS, ('train MSE, 1e-3', 'train error, %', 'train misses', 'test MSE, 1e-3', 'test error, %',
                            'test misses', 'rejected, %')))
NARROW = [key for key in RESULTS if not key.endswith('misses')]          # the error says the same


def cells(results, keys=RESULTS, pm='+-'):
    """Cells of the table: each of the paper's results (those of keys) as 'mean+-sd', or as it was published."""
    def cell(key, value):
        if value is None or value == (None, None):
            return '-'
        if not isinstance(value, tuple):
            return f'{value * 1000:.4g}' if key.endswith('loss') else str(value)
        return pm.join(f'{v * SCALE[key]:.{DECIMALS[key]}f}' for v in value if v is not None)
    return [cell(key, results.get(key)) for key in keys]


def label_n(n, diverged):
    return f'{n}, {diverged} diverged' if diverged else str(n)


def table(rows, names, dataset):
    """The table as text: the paper and the reproductions as published, then the recipes on this dataset."""
    lines = [['', '', 'train', '', 'test', '', ''],
             [dataset, 'n', 'MSE/1e-3', 'error %', 'MSE/1e-3', 'error %', 'reject %'],
             ['paper, 1989', '', *cells(PAPER, NARROW)], ['its full net', '', *cells(PAPER_FC40, NARROW)],
             ['reproduction, 2022', '', *cells(KARPATHY2022, NARROW)]]
    if dataset == 'mnist60k':
        lines.append(['its blog, 50,000', '', *cells(BLOG, NARROW)])
    lines += [[name, label_n(n, diverged), *cells(results, NARROW)]
              for name, (n, diverged, results) in summary(rows, names, dataset).items()]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    form = '{:<%d}' % widths[0] + ''.join('  {:>%d}' % w for w in widths[1:])
    return '\n'.join(form.format(*line).rstrip() for line in lines)


def main():
    names = '\n'.join(textwrap.fill(f'  {name:18}{what}', 79, subsequent_indent=20*' ')
                      for name, (what, _) in RECIPES.items() if name not in FIT | TWENTY)
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
    drawn = [name for name in chosen if 'draw' in RECIPES[name][1]]
    if drawn and args.dataset != 'mnist60k':
        parser.error(f'{drawn[0]} draws from all of MNIST: give --dataset mnist60k')

    load(args.dataset)                  # ends here if it is not there
    rows = runs.run_all(one_run, jobs_of(chosen, args.dataset, args.seeds), args.out, KEY, VALUES, WORDS, threads=True,
                        workers=args.jobs, cluster=args.cluster)
    print(table(rows, chosen, args.dataset))


if __name__ == '__main__':
    cli.run(main)
