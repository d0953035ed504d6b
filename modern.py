"""
What later ideas buy: the net of 1989, with the same 9,760 parameters and the
same connections, so that it costs no more to use, trained with one later idea
after another, each on top of those before.

    python modern.py [--dataset mnist|usps] [--rungs 0-5] [--seeds 0-4]

The test error, ten seeds, in about two minutes a seed and data set on one core:

    mnist: 4.65 +- 0.39% wrong at rung 0, 1.06 +- 0.12% at rung 5
    usps: 6.00 +- 0.19% wrong at rung 0, 2.45 +- 0.15% at rung 5

How the settings were chosen: never on the 2007 test digits. The 7291 training
digits are cut into five folds, blocks of consecutive digits (in usps they come
zip code by zip code, so that a writer's digits mostly stay together). A
setting is tried by training on four folds and counting misses on the fifth;
--validate does that for a rung, and --seeds then names the folds.
results/modern_trials.csv has every trial. Then the recipes were frozen,
trained on all 7291, and the test digits read.
"""
import functools
import math
import os
import textwrap
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

import repro
from support import cli, files, runs

# ---------------------------------------------------------------------------------------------------------------------
# The net: repro.py's, and what a rung may change in it


class Net(repro.Net):
    """
    The 1989 net with logits as its outputs. unit: the activation function of the hidden units, as torch.nn.functional
    names it; H2_border: what the windows of H2 see beyond the edge of H1; he: whether the initial weights are those of
    He et al. 2015, normal with variance 2 / fan-in.
    """
    softmax = True      # tells support/backprop.py that the outputs are logits and the cost is the cross-entropy

    def __init__(self, seed, unit='tanh', H2_border=repro.BACKGROUND, he=False):
        super().__init__(seed, out_bias=0.0)
        self.squash, self.H2_border = getattr(F, unit), H2_border
        if he:
            g = torch.Generator().manual_seed(seed)
            for w, fan_in in (self.H1w, 5*5), (self.H2w, 8*5*5), (self.H3w, 12*4*4), (self.outw, 30):
                nn.init.normal_(w, std=(2 / fan_in)**0.5, generator=g)
        self.places, self.weights = H2_entries(self.table)

    def layers(self, x):
        """The activations of H1, H2 and H3, and the logits, for images x (n, 1, 16, 16)."""
        H1 = self.squash(self.windows(x, self.H1w) + self.H1b)                           # (n, 12, 8, 8)
        w = self.H2_matrix()                                                             # (768 + 1, 192)
        sums = H1.flatten(1) @ w[:768] + self.H2_border * w[768] + self.H2b.flatten()    # (n, 192)
        H2 = self.squash(sums).unflatten(1, (12, 4, 4))                                  # (n, 12, 4, 4)
        H3 = self.squash(H2.flatten(1) @ self.H3w + self.H3b)                            # (n, 30)
        return H1, H2, H3, H3 @ self.outw + self.outb                                    # (n, 10)

    def H2_matrix(self):
        """
        H2's connections as one matrix (768 + 1, 192), from the units of H1, and the border, to the units of H2. Most of
        it is zero; the product still takes a tenth of the time of the grouped convolution, forward and backward.
        """
        w = self.H2w.flatten().index_select(0, self.weights)
        return w.new_zeros(769 * 192).index_add(0, self.places, w).view(769, 192)

    def cost(self, logits, t):
        """The cross-entropy of softmax(logits) (n, 10), where t > 0 marks the class."""
        return F.cross_entropy(logits, t.argmax(1))


def H2_entries(table):
    """
    Where the weights H2w go in H2's matrix (769, 192): (places, weights), a pair for each of H2's 192 * 200 connections
    but its biases, indices into the matrix and H2w, both flattened. H2w[weights[i]] is added to what is at places[i]:
    all that a unit sees of the border adds up in the matrix's last row.
    """
    units = F.pad(torch.arange(768).view(12, 8, 8), (2, 2, 2, 2), value=768)     # numbers H1's units; 768 is the border
    seen = units.unfold(1, 5, 2).unfold(2, 5, 2)[torch.tensor(table)]            # (12, 8, 4, 4, 5, 5): what H2 sees
    above = torch.arange(192).view(12, 1, 4, 4, 1, 1)                            # numbers the units of H2 that see it
    weights = torch.arange(12*8*5*5).view(12, 8, 1, 1, 5, 5).expand_as(seen)     # shared by the 4x4 units of a map
    return (192 * seen + above).flatten(), weights.flatten()


class Free(nn.Sequential):
    """
    A net that 1989 could not have afforded: three layers of 3x3 windows at stride 1, of width, 2 width and 4 width
    maps, each followed by batch normalization (Ioffe and Szegedy 2015), ReLU and 2x2 max pooling; then the output. The
    initial weights are PyTorch's own, from the seed that train() has set.
    """

    def __init__(self, seed, width):
        def layer(below, maps):
            return nn.Conv2d(below, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU(), nn.MaxPool2d(2)
        super().__init__(*layer(1, width), *layer(width, 2*width), *layer(2*width, 4*width), nn.Flatten(),
                         nn.Linear(4*width * 2*2, 10))


def macs(net):
    """The multiply-adds that an image takes: one for each connection between units, as the paper counts connections."""
    if isinstance(net, repro.Net):
        return sum(connections - units for layer, (units, connections, _) in net.counts().items() if layer != 'all')
    weights = [p.numel() for p in net.parameters() if p.dim() > 1]
    return sum(n * units for n, units in zip(weights, (16*16, 8*8, 4*4, 1)))     # each shared by so many units of a map


# ---------------------------------------------------------------------------------------------------------------------
# Distortions

def distort(X, shift, rotation=0, scale=0, shear=0, elastic=0):
    """
    The images X (n, 1, 16, 16), each distorted differently: shifted by up to `shift` pixels, rotated by up to
    `rotation` degrees, scaled and sheared by up to the fractions `scale` and `shear`. Elastic distortion: the points of
    a 4x4 grid over the image are displaced by normal random amounts of sd `elastic` pixels, all others smoothly with
    them.
    """
    def uniform(most):
        return (2 * torch.rand(len(X)) - 1) * most
    angle, size, shear = uniform(math.radians(rotation)), 1 + uniform(scale), uniform(shear)
    dx, dy = uniform(shift / 8), uniform(shift / 8)                              # the image is 2 units wide
    to_x = torch.stack([size * angle.cos(), shear - size * angle.sin(), dx], 1)
    to_y = torch.stack([size * angle.sin(), size * angle.cos(), dy], 1)
    grid = F.affine_grid(torch.stack([to_x, to_y], 1), X.shape, align_corners=False)     # (n, 16, 16, 2)
    if elastic:
        moved = F.interpolate(torch.randn(len(X), 2, 4, 4) * elastic / 8, (16, 16), mode='bicubic', align_corners=True)
        grid = grid + moved.permute(0, 2, 3, 1)
    ink = F.grid_sample(X - repro.BACKGROUND, grid, mode='bicubic', align_corners=False)     # zero beyond the edge
    return (ink + repro.BACKGROUND).clamp(-1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# The ladder: each rung is the one below and one idea

def one_cycle(progress, warm):
    """
    A learning rate schedule: the factor on the rate when progress, a share, of all updates is done. It rises to 1 along
    a line until progress is warm, then falls to 0 along half a cosine.
    """
    if progress < warm:
        return progress / warm
    return (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2


# A recipe is made of plain values. What the names in it stand for:
NAMES = {'repro.Net': repro.Net, 'Net': Net, 'Free': Free, 'SGD': torch.optim.SGD, 'AdamW': torch.optim.AdamW,
         'constant': lambda progress: 1.0, 'one_cycle': one_cycle}


def made(setting, *arguments):
    """What a setting with a name stands for: made(dict(name='Net', unit='relu'), 3) is Net(3, unit='relu')."""
    return NAMES[setting['name']](*arguments, **{key: value for key, value in setting.items() if key != 'name'})


RUNGS = [dict(
    idea='1989, as in repro.py', source='LeCun et al. 1989',
    net=dict(name='repro.Net'),
    batch=1,                            # patterns per update; repro.py trains where it is 1, in a constant order
    optimizer=dict(name='SGD'),
    rate=repro.RECIPES['reference']['rate'],
    schedule=dict(name='constant'),
    passes=repro.PASSES,
    distortions=None,                   # arguments of distort; drawn anew for each pass
    smoothing=0.0,                      # of the labels
    data=None,                          # trains on this data set's training digits, not on those of --dataset
)]


def rung(idea, source, **changes):
    """One more rung: the highest so far, with these changes."""
    RUNGS.append({**RUNGS[-1], 'idea': idea, 'source': source, **changes})


rung('softmax, cross-entropy', 'Bridle 1990', net=dict(name='Net'), rate=0.005)
rung('AdamW, decaying rate', 'Loshchilov and Hutter 2019; Smith 2018',
     optimizer=dict(name='AdamW', betas=(0.9, 0.99), weight_decay=0.01, fused=True),
     schedule=dict(name='one_cycle', warm=0.15), batch=128, rate=0.005, passes=40)
rung('distortions', 'Baird 1990; Simard et al. 1992',
     distortions=dict(shift=1.25, rotation=12, scale=0.15, shear=0.15), passes=80)
rung('ReLU', 'Nair and Hinton 2010; initial weights: He et al. 2015',
     net=dict(name='Net', unit='relu', H2_border=0.0, he=True), rate=0.01)
rung('elastic, smoothing, longer', 'elastic distortions: Simard et al. 2003; label smoothing: Szegedy et al. 2016',
     distortions={**RUNGS[3]['distortions'], 'elastic': 0.4}, smoothing=0.05, passes=300)
rung('all 60,000 of MNIST', 'LeCun et al. 1998', data='mnist60k', passes=60)
rung('a net of 3x3 windows', 'off the ladder, for scale: Simonyan and Zisserman 2015; Ioffe and Szegedy 2015',
     net=dict(name='Free', width=16), rate=0.005, passes=20)

TOP = 5             # the highest rung on the same digits. Its ideas taken away, one at a time:
WITHOUT = {
    'ReLU': dict(net=RUNGS[3]['net'], rate=RUNGS[3]['rate']),
    'distortions': dict(distortions=None),
    'elastic distortions': dict(distortions=RUNGS[4]['distortions']),
    'label smoothing': dict(smoothing=0.0),
    'length': dict(passes=RUNGS[4]['passes']),
    'AdamW': dict(optimizer=dict(name='SGD'), rate=0.1),
    'decaying rate': dict(schedule=dict(name='constant'), rate=0.003),
}

# What did not help on the folds, or by no more than they differ: weight averaging, GELU, SiLU (better on usps, worse on
# mnist), higher learning rates, He's initial weights under tanh, distillation from larger nets. Ten times the weight
# decay helped as much as label smoothing did; both together were not tried.

# What karpathy/lecun1989-repro publishes for its four changes, cumulative: error in percent on its draw of MNIST,
# one run each, watched on the test digits.
REFERENCE = {'softmax, cross-entropy': 4.38, 'AdamW, 46 passes': 3.59, 'shifts, 60 passes': 2.19,
             'ReLU, dropout, 80 passes': 1.59}


def recipes():
    """{name: recipe} of every rung, '0' and up, and every ablation, 'without ...'."""
    return ({str(n): recipe for n, recipe in enumerate(RUNGS)}
            | {f'without {idea}': {**RUNGS[TOP], **changes} for idea, changes in WITHOUT.items()})


def fingerprint(recipe):
    """Eight hex digits that change when a setting does; idea and source are none."""
    return runs.fingerprint({key: value for key, value in recipe.items() if key not in ('idea', 'source')})


# ---------------------------------------------------------------------------------------------------------------------
# Training, one loop for all rungs but the first two

def check(recipe):
    """Raises ValueError if training would ignore a part of the recipe."""
    if recipe.keys() != RUNGS[0].keys():
        raise ValueError(f'settings that are missing or unknown: {", ".join(sorted(recipe.keys() ^ RUNGS[0].keys()))}')
    if recipe['batch'] > 1 and recipe['net']['name'] == 'repro.Net':
        raise ValueError('minibatches are trained with the cross-entropy of logits, and repro.Net has none')
    ignored = [key for key in ('optimizer', 'schedule', 'distortions', 'smoothing') if recipe[key] != RUNGS[0][key]]
    if recipe['batch'] == 1 and ignored:
        raise ValueError(f'training of one pattern at a time would ignore {", ".join(ignored)}')


def train(recipe, X, Y, seed):
    """
    Train on the digits X (n, 1, 16, 16), Y (n, 10) as a recipe says: (net, seconds). Raises repro.Diverged, and
    ValueError for a recipe that cannot be trained as it says.
    """
    check(recipe)
    torch.manual_seed(seed)
    net = made(recipe['net'], seed)
    if recipe['batch'] == 1:
        for _, seconds in repro.train(net, X, Y, recipe['passes'], recipe['rate']):
            pass
        return net, seconds
    start = time.perf_counter()
    optimizer = made(recipe['optimizer'], net.parameters(), recipe['rate'])
    labels = Y.argmax(1)
    step, steps = 0, recipe['passes'] * math.ceil(len(X) / recipe['batch'])
    for _ in range(recipe['passes']):
        images = distort(X, **recipe['distortions']) if recipe['distortions'] else X
        for batch in torch.randperm(len(X)).split(recipe['batch']):
            optimizer.param_groups[0]['lr'] = recipe['rate'] * made(recipe['schedule'], step / steps)
            loss = F.cross_entropy(net(images[batch]), labels[batch], label_smoothing=recipe['smoothing'])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if not all(p.isfinite().all() for p in net.parameters()):
            raise repro.Diverged
    return net, time.perf_counter() - start


def misses(net, X, Y):
    """How many of the digits X (n, 1, 16, 16), undistorted, the net takes for another class than Y (n, 10) says."""
    net.eval()
    return int((repro.outputs(net, X).argmax(1) != Y.argmax(1)).sum())


# ---------------------------------------------------------------------------------------------------------------------
# Runs, and their table

FOLDS = 5           # of the training digits, to validate on
KEY = ('dataset', 'split', 'rung', 'settings', 'seed')
VALUES = ('passes', 'parameters', 'macs', 'train_misses', 'train_error', 'misses', 'error', 'n', 'seconds')
WORDS = KEY[:-1]    # all but the seed
load = functools.lru_cache(files.load_digits)       # each process reads a data set once


def digits(dataset, data, split, seed):
    """
    ((X, Y) to train on, (X, Y) to measure on). Trains on the training digits of data, or of dataset where that is None.
    split 'test' measures on dataset's test digits; 'validation' on fold `seed` of the training digits, which is then
    left out of training.
    """
    X, Y = load(data or dataset)['train']
    if split == 'test':
        return (X, Y), load(dataset)['test']
    left_out = torch.arange(len(X)) * FOLDS // len(X) == seed
    return (X[~left_out], Y[~left_out]), (X[left_out], Y[left_out])


def one_run(chosen, dataset, split, rung, settings, seed):
    """Train and measure one of the recipes {name: recipe}: its row's VALUES, all NaN if training diverged."""
    recipe = chosen[rung]
    (X, Y), (Xt, Yt) = digits(dataset, recipe['data'], split, seed)
    try:
        net, seconds = train(recipe, X, Y, seed)
    except repro.Diverged:
        return dict.fromkeys(VALUES, math.nan)
    wrong, wrong_t = misses(net, X, Y), misses(net, Xt, Yt)
    return dict(zip(VALUES, (recipe['passes'], sum(p.numel() for p in net.parameters()), macs(net), wrong,
                             100 * wrong / len(X), wrong_t, 100 * wrong_t / len(Xt), len(Xt), round(seconds, 1))))


def read(path):
    """The rows of a CSV file of runs, of the recipes as they are now."""
    now = {name: fingerprint(recipe) for name, recipe in recipes().items()}
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS) if now.get(row['rung']) == row['settings']]


def summary(rows):
    """
    {name of a rung or ablation: its results}, rungs first: label; n, how many runs ended, and diverged, how many did
    not; passes, parameters, macs; (mean, sd) of seconds, train_error, error and misses, None where runs are too few;
    change, of the mean error, from the rung below among these rows; above rung TOP, and for ablations, from rung TOP.
    """
    out, below = {}, None
    for name, recipe in recipes().items():
        found = [row for row in rows if row['rung'] == name]
        if not found:
            continue
        stats = {key: runs.mean_sd([row[key] for row in found]) for key in VALUES}
        error, _, n, diverged = stats['error']
        out[name] = {'label': f'{name} {recipe["idea"]}' if name.isdigit() else name, 'n': n, 'diverged': diverged,
                     'change': None if None in (error, below) else error - below,
                     **{key: stats[key][0] for key in ('passes', 'parameters', 'macs')},
                     **{key: stats[key][:2] for key in ('seconds', 'train_error', 'error', 'misses')}}
        below = error if name.isdigit() and int(name) <= TOP else below
    return out


def table(rows):
    """summary(rows) as text: errors and their change in percent."""
    line = '{:28}{:>3}{:>7}{:>7}{:>7}{:>7}{:>6}{:>8}{:>7}'.format
    forms = '{:g}', '{:.1f}', '{:.2f}', '{:.2f}', '{:.2f}', '{:.1f}', '{:+.2f}'
    lines = [line('', 'n', 'passes', 's', 'train', 'test', 'sd', 'misses', 'change')]
    for s in summary(rows).values():
        values = s['passes'], s['seconds'][0], s['train_error'][0], *s['error'], s['misses'][0], s['change']
        lines.append(line(s['label'], s['n'], *('-' if v is None else f.format(v) for f, v in zip(forms, values)))
                     + (f'\n  {s["diverged"]} diverged' if s['diverged'] else ''))
    return '\n'.join(lines)


def main():
    ladder = '\n'.join(textwrap.fill(f'  {n}  {r["idea"]} ({r["source"]})', 79, subsequent_indent=5*' ')
                       for n, r in enumerate(RUNGS))
    parser = cli.parser(__doc__, epilog=f'rungs, each on top of those below it, except 7:\n{ladder}')
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D',
                        help='the digits, as prepro.py made them: mnist, usps or mnist-seedN (default: mnist)')
    parser.add_argument('--rungs', type=cli.seeds, default=f'0-{TOP}', metavar='A-B',
                        help=f'of the ladder below, as 0-5 or 0,2,4; 6 and 7 need all of MNIST (default: 0-{TOP})')
    parser.add_argument('--without', action='store_true',
                        help=f'run rung {TOP} without each of its ideas as well, one at a time')
    parser.add_argument('--seeds', type=cli.seeds, default='0-4', metavar='A-B', help='a run for each (default: 0-4)')
    parser.add_argument('--validate', action='store_true', help='measure on a fold of the training digits, which '
                        f'is left out of training, instead of the test digits: --seeds, 0-{FOLDS - 1}, says which')
    parser.add_argument('--show', type=int, choices=range(len(RUNGS)), metavar='N',
                        help='print every setting of rung N, and do nothing else')
    runs.add_arguments(parser, os.path.join('out', 'modern.csv'))
    args = parser.parse_args()
    if args.show is not None:
        print('\n'.join(f'{name:12} {value}' for name, value in RUNGS[args.show].items()))
        return
    if max(args.rungs) >= len(RUNGS):
        parser.error(f'--rungs: there are 0 to {len(RUNGS) - 1}')
    if args.validate and max(args.seeds) >= FOLDS:
        parser.error(f'--validate: there are folds 0 to {FOLDS - 1}')
    if args.dataset == 'mnist60k':
        parser.error('--dataset: rungs 6 and 7 of --dataset mnist train on all of MNIST')
    if args.dataset == 'usps' and any(RUNGS[n]['data'] for n in args.rungs):
        parser.error(f'--rungs: usps has no more digits, for rungs above {TOP}')

    chosen = {name: recipe for name, recipe in recipes().items()
              if (int(name) in args.rungs if name.isdigit() else args.without)}
    for name in {args.dataset, *(recipe['data'] or args.dataset for recipe in chosen.values())}:
        load(name)                      # ends here if it is not there
    split = 'validation' if args.validate else 'test'
    jobs = [dict(zip(KEY, (args.dataset, split, name, fingerprint(recipe), seed)))
            for seed in args.seeds for name, recipe in chosen.items()]
    if any(recipe['batch'] == 1 for recipe in chosen.values()):          # compiles once, not once a process
        list(repro.train(repro.Net(), *(t[:1] for t in load(args.dataset)['train']), 1, 0.01))
    print(table(runs.run_all(functools.partial(one_run, chosen), jobs, args.out, KEY, VALUES, WORDS,
                             workers=args.jobs, cluster=args.cluster)))
    if args.dataset == 'mnist' and not args.validate:
        print('as published in 2022, one run each, watched on the test digits:')
        print('\n'.join(f'  {idea:48}{error:>6.2f}%' for idea, error in REFERENCE.items()))


if __name__ == '__main__':
    cli.run(main)
