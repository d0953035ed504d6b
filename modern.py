"""
What later ideas buy: the net of 1989, its 9,760 parameters, its connections
and its cost of use untouched, trained with one later idea after another, each
on top of those before.

    python modern.py [--dataset mnist|usps] [--rungs 0-5] [--seeds 0-4]

The test error, five seeds, in less than three minutes a seed on one core:

    mnist: 4.47 +- 0.15% wrong at rung 0, 1.07 +- 0.14% at rung 5
    usps: 6.06 +- 0.19% wrong at rung 0, 2.34 +- 0.05% at rung 5

How the settings were chosen: never on the 2007 test digits. The 7291 training
digits, in their order (in usps that is zip code by zip code, so that a
writer's digits mostly stay together), are cut into five blocks; a setting is
tried by training on four of them and counting misses on the fifth. --validate
does that for a rung: --seeds then names the blocks. results/modern_trials.csv
has every trial. Then the recipes were frozen, trained on all 7291, and the
test digits read.

What did not help in those trials, or no more than the blocks differ: averaging
the weights, GELU, SiLU (better on usps, worse on mnist), higher rates, He's
initial weights under tanh, distillation from larger nets. Ten times the weight
decay helped as much as label smoothing did; both together were not tried.
"""
import argparse
import csv
import math
import os
import textwrap
import time

from prepro import fail, run, tensor_path

import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

import compare
import repro

BLOCKS = 5          # of the training digits, to validate on

# ---------------------------------------------------------------------------------------------------------------------
# the net: repro.py's, and what a rung may change in it


class Net(repro.Net):
    """
    The 1989 net with logits for outputs. unit is the hidden units' function; border, what H2's windows see beyond the
    edge of H1; he=True draws the weights from the normal distribution of He et al. 2015, of variance 2 / fan-in.
    """
    softmax = True      # for backprop.py, which trains it as long as unit and border are repro.Net's

    def __init__(self, seed, unit=torch.tanh, border=repro.BACKGROUND, he=False):
        super().__init__(seed, out_bias=0.0)
        self.squash, self.border = unit, border
        if he:
            g = torch.Generator().manual_seed(seed)
            for w, fan_in in (self.H1w, 25), (self.H2w, 200), (self.H3w, 192), (self.outw, 30):
                nn.init.normal_(w, std=(2 / fan_in)**0.5, generator=g)

        # For speed, H2 is one product with a matrix that is mostly zeros: ten times faster, there and back, than the
        # grouped convolution. Which of the 2400 weights go where in it:
        below = F.pad(torch.arange(768.).view(1, 12, 8, 8), (2, 2, 2, 2), value=768)[0].long()   # 768 is the border
        seen = below.unfold(1, 5, 2).unfold(2, 5, 2)[torch.tensor(self.table)]       # (12, 8, 4, 4, 5, 5) units of H1
        above = torch.arange(192).view(12, 1, 4, 4, 1, 1)                            # the unit of H2 that sees them
        self.place = (192 * seen + above).flatten()
        self.weight = torch.arange(2400).view(12, 8, 1, 1, 5, 5).expand_as(seen).flatten()

    def H2_matrix(self):
        """H2's connections as a matrix (769, 192): from the 768 units of H1, and the border, to the 192 of H2."""
        w = self.H2w.flatten().index_select(0, self.weight)
        return w.new_zeros(769 * 192).index_add(0, self.place, w).view(769, 192)

    def forward(self, x):
        """Logits (n, 10) for images (n, 1, 16, 16)."""
        x = F.pad(x, (2, 2, 2, 2), value=repro.BACKGROUND)                           # x is now (n, 1, 20, 20)
        x = self.squash(F.conv2d(x, self.H1w, stride=2) + self.H1b).flatten(1)         # x is now (n, 768): H1
        w = self.H2_matrix()
        x = self.squash(x @ w[:768] + self.border * w[768] + self.H2b.flatten())       # x is now (n, 192): H2
        x = self.squash(x @ self.H3w + self.H3b)                                       # x is now (n, 30): H3
        return x @ self.outw + self.outb                                             # (n, 10)


class Free(nn.Sequential):
    """
    A net that 1989 could not have afforded: three layers of 3x3 windows at stride 1, of width, 2 and 4 times width maps,
    each with batch normalisation (Ioffe and Szegedy 2015) and ReLU, halved by the largest of 2x2; then the output. The
    initial weights are PyTorch's own, from the seed that train() has set.
    """

    def __init__(self, seed, width):
        def layer(below, maps):
            return nn.Conv2d(below, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.ReLU(), nn.MaxPool2d(2)
        super().__init__(*layer(1, width), *layer(width, 2*width), *layer(2*width, 4*width), nn.Flatten(),
                         nn.Linear(4*width * 2*2, 10))


def macs(net):
    """Multiply-adds an image takes: one for each connection of a unit to another, as the paper counts connections."""
    if isinstance(net, repro.Net):
        return sum(connections - units for layer, (units, connections, _) in net.counts().items() if layer != 'all')
    weights = [p.numel() for p in net.parameters() if p.dim() > 1]
    return sum(n * units for n, units in zip(weights, (16*16, 8*8, 4*4, 1)))      # shared by so many units of a map


# ---------------------------------------------------------------------------------------------------------------------
# distortions

def distort(X, shift, turn=0, scale=0, shear=0, bend=0):
    """
    The images X (n, 1, 16, 16), each differently: moved by up to `shift` pixels, turned by up to `turn` degrees,
    stretched and sheared by up to the fractions `scale` and `shear`, and bent: the points of a 4x4 grid over the image
    are moved by normal random amounts of `bend` pixels, all others smoothly with them.
    """
    def uniform(most):
        return (2 * torch.rand(len(X)) - 1) * most
    turn, size = uniform(math.radians(turn)), 1 + uniform(scale)
    to_x = torch.stack([size * turn.cos(), uniform(shear) - size * turn.sin(), uniform(shift / 8)], 1)
    to_y = torch.stack([size * turn.sin(), size * turn.cos(), uniform(shift / 8)], 1)    # the image is 2 units wide
    grid = F.affine_grid(torch.stack([to_x, to_y], 1), X.shape, align_corners=False)     # grid is now (n, 16, 16, 2)
    if bend:
        bent = F.interpolate(torch.randn(len(X), 2, 4, 4) * bend / 8, (16, 16), mode='bicubic', align_corners=True)
        grid = grid + bent.permute(0, 2, 3, 1)
    ink = F.grid_sample(X - repro.BACKGROUND, grid, mode='bicubic', align_corners=False)    # none beyond the edge
    return (ink + repro.BACKGROUND).clamp(-1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# the ladder: each rung is the one below and one idea

def adamw(parameters, rate):
    return torch.optim.AdamW(parameters, rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)


def constant(progress):
    return 1.0


def one_cycle(progress, warm=0.15):
    """The share of the rate at a share of the training: up in a straight line, down in half a cosine."""
    if progress < warm:
        return progress / warm
    return (1 + math.cos(math.pi * (progress - warm) / (1 - warm))) / 2


# What a rung is made of: the net and its arguments, how many patterns a step sees, the rate, ..., distort()'s arguments.
RUNGS = [dict(idea='1989, as in repro.py', source='LeCun et al. 1989', net=repro.Net, arguments={}, batch=1,
              rate=repro.RATE['sgd'], passes=repro.PASSES, optimiser=None, schedule=None, distort=None, smoothing=0.0)]


def rung(idea, source, **changes):
    """One more rung: the highest so far, with these changes."""
    RUNGS.append({**RUNGS[-1], **changes, 'idea': idea, 'source': source})


rung('softmax, cross-entropy', 'Bridle 1990', net=Net, rate=0.005)
rung('AdamW, decaying rate', 'Loshchilov and Hutter 2019; Smith 2018',
     optimiser=adamw, schedule=one_cycle, batch=128, rate=0.005, passes=40)
rung('distortions', 'Baird 1990; Simard et al. 1992',
     distort=dict(shift=1.25, turn=12, scale=0.15, shear=0.15), passes=80)
rung('ReLU', 'Nair and Hinton 2010; initial weights: He et al. 2015',
     arguments=dict(unit=F.relu, border=0.0, he=True), rate=0.01)
rung('elastic, smoothing, longer', 'elastic distortions: Simard et al. 2003; label smoothing: Szegedy et al. 2016',
     distort={**RUNGS[-1]['distort'], 'bend': 0.4}, smoothing=0.05, passes=300)
rung('all 60,000 of MNIST', 'LeCun et al. 1998', data='mnist60k', passes=60)
rung('a net of 3x3 windows', 'off the ladder, for scale: Simonyan and Zisserman 2015; Ioffe and Szegedy 2015',
     net=Free, arguments=dict(width=16), rate=0.005, passes=20)

TOP = 5             # the highest rung on the same digits. Its ideas taken away, one at a time:
WITHOUT = {
    'ReLU': dict(arguments={}, rate=RUNGS[3]['rate']),
    'distortions': dict(distort=None),
    'elastic distortions': dict(distort=RUNGS[4]['distort']),
    'label smoothing': dict(smoothing=0.0),
    'length': dict(passes=RUNGS[4]['passes']),
    'AdamW': dict(optimiser=torch.optim.SGD, rate=0.1),
    'decaying rate': dict(schedule=constant, rate=0.003),
}

# What karpathy/lecun1989-repro publishes for its four changes, cumulative: error in percent on its draw of MNIST,
# one run each, watched on the test digits.
REFERENCE = {'softmax, cross-entropy': 4.38, 'AdamW, 46 passes': 3.59, 'shifts, 60 passes': 2.19,
             'ReLU, dropout, 80 passes': 1.59}


# ---------------------------------------------------------------------------------------------------------------------
# training, one loop for all rungs but the first

def train(recipe, X, Y, seed):
    """The net that a recipe makes of the digits X (n, 1, 16, 16), Y (n, 10). Raises repro.Diverged."""
    torch.manual_seed(seed)
    net = recipe['net'](seed, **recipe['arguments'])
    if recipe['batch'] == 1:            # the first rungs: repro.py's training
        for _ in repro.train(net, X, Y, recipe['passes'], recipe['rate']):
            pass
        return net
    optimiser = recipe['optimiser'](net.parameters(), recipe['rate'])
    labels = Y.argmax(1)
    step, steps = 0, recipe['passes'] * math.ceil(len(X) / recipe['batch'])
    for _ in tqdm(range(recipe['passes']), leave=False, disable=None, unit='pass'):
        images = distort(X, **recipe['distort']) if recipe['distort'] else X
        for batch in torch.randperm(len(X)).split(recipe['batch']):
            for group in optimiser.param_groups:
                group['lr'] = recipe['rate'] * recipe['schedule'](step / steps)
            loss = F.cross_entropy(net(images[batch]), labels[batch], label_smoothing=recipe['smoothing'])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            step += 1
        if not all(p.isfinite().all() for p in net.parameters()):
            raise repro.Diverged
    return net


def misses(net, X, Y):
    """How many of the digits X (n, 1, 16, 16), as they are, the net takes for another than Y (n, 10) says."""
    net.eval()
    with torch.no_grad():
        return int((net(X).argmax(1) != Y.argmax(1)).sum())


# ---------------------------------------------------------------------------------------------------------------------
# runs, and the table

COLUMNS = ('dataset', 'split', 'rung', 'idea', 'seed', 'passes', 'parameters', 'macs', 'train_misses', 'train_error',
           'misses', 'error', 'n', 'seconds')


def read_rows(path):
    return compare.read_rows(path, COLUMNS, words=('dataset', 'split', 'rung', 'idea'))


def digits(dataset, data, validate, seed):
    """
    ((X, Y) to train on, (X, Y) to measure on) for a run. Measured is on dataset's test digits; or, to validate, on one
    of BLOCKS blocks of its training digits, seed saying which, and trained on the others.
    """
    X, Y = repro.load(data or dataset, 'train')
    if not validate:
        return (X, Y), repro.load(dataset, 'test')
    left_out = torch.arange(len(X)) * BLOCKS // len(X) == seed
    return (X[~left_out], Y[~left_out]), (X[left_out], Y[left_out])


def one_run(dataset, name, recipe, seed, validate):
    """Train and measure: a row of the table."""
    (X, Y), (Xt, Yt) = digits(dataset, recipe.get('data'), validate, seed)
    start = time.perf_counter()
    net = train(recipe, X, Y, seed)
    seconds = time.perf_counter() - start
    wrong, wrong_t = misses(net, X, Y), misses(net, Xt, Yt)
    return dict(zip(COLUMNS, (
        dataset, 'validation' if validate else 'test', name, recipe['idea'], seed, recipe['passes'],
        sum(p.numel() for p in net.parameters()), macs(net), wrong, round(100 * wrong / len(X), 3),
        wrong_t, round(100 * wrong_t / len(Xt), 3), len(Xt), round(seconds, 1))))


def label(name, row):
    """How a table calls a row: a rung with its idea, an ablation by its name."""
    return f'{name} {row["idea"]}' if name.isdigit() else name


def summary(rows):
    """
    {name of a rung or ablation: figures}, rungs first: label, n, passes, parameters, macs, and (mean, sd) of seconds,
    train_error, error and misses; change, the mean error's against the rung below, None where there is none.
    """
    out, below = {}, None
    for name in sorted({row['rung'] for row in rows}):
        runs = [row for row in rows if row['rung'] == name]
        figures = {key: compare.mean_sd([row[key] for row in runs])
                   for key in ('seconds', 'train_error', 'error', 'misses')}
        figures |= {key: runs[0][key] for key in ('passes', 'parameters', 'macs')}
        change = None if below is None else figures['error'][0] - below
        out[name] = {'label': label(name, runs[0]), 'n': len(runs), 'change': change, **figures}
        below = figures['error'][0] if name.isdigit() and int(name) <= TOP else below
    return out


def table(rows):
    """summary(rows) as text. An ablation's or higher rung's change is against rung TOP, if that is among the rows."""
    lines = [f'{"":28}{"passes":>6}{"s":>7}{"train":>7}{"test error":>16}{"misses":>7}{"change":>7}{"n":>2}']
    for f in summary(rows).values():
        lines.append(f'{f["label"]:28}{f["passes"]:>6g}{f["seconds"][0]:>7.1f}{f["train_error"][0]:>6.2f}%'
                     f'{f["error"][0]:>7.2f} +- {f["error"][1]:.2f}%{f["misses"][0]:>7.1f}'
                     + (f'{"":7}' if f['change'] is None else f'{f["change"]:>+7.2f}') + f'{f["n"]:>2}')
    return '\n'.join(lines)


def main():
    ladder = '\n'.join(textwrap.fill(f'  {n}  {r["idea"]} ({r["source"]})', 79, subsequent_indent=5*' ')
                       for n, r in enumerate(RUNGS))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog=f'rungs, each with what is below it but for 7:\n{ladder}')
    parser.add_argument('--dataset', choices=('mnist', 'usps'), default='mnist', help='the digits, as prepro.py made '
                        'them (default: mnist)')
    parser.add_argument('--rungs', type=repro.seeds, default='0-5', metavar='A-B',
                        help=f'of the ladder below, as 0-5 or 0,2,4; 6 and 7 need all of MNIST (default: 0-{TOP})')
    parser.add_argument('--without', action='store_true',
                        help=f'as well, rung {TOP} with each of its ideas taken away alone')
    parser.add_argument('--seeds', type=repro.seeds, default='0-4', metavar='A-B', help='a run of each (default: 0-4)')
    parser.add_argument('--validate', action='store_true', help='measure on a block of the training digits, which '
                        f'is left out of training, instead of the test digits: --seeds, 0-{BLOCKS - 1}, says which')
    parser.add_argument('--out', default=os.path.join('out', 'modern.csv'), metavar='CSV',
                        help='each run adds a row; runs that are there are skipped (default: out/modern.csv)')
    args = parser.parse_args()
    if max(args.rungs) >= len(RUNGS):
        parser.error(f'--rungs: there are 0 to {len(RUNGS) - 1}')
    if args.validate and max(args.seeds) >= BLOCKS:
        parser.error(f'--validate: there are blocks 0 to {BLOCKS - 1}')
    if args.dataset != 'mnist' and any('data' in RUNGS[n] for n in args.rungs):
        parser.error(f'--rungs: only --dataset mnist has more digits, for rungs above {TOP}')

    torch.set_num_threads(1)            # a second gains a tenth here: rather train both datasets side by side
    recipes = {str(n): RUNGS[n] for n in args.rungs}
    if args.without:
        recipes |= {f'without {idea}': {**RUNGS[TOP], **changes} for idea, changes in WITHOUT.items()}
    missing = {name for name, r in recipes.items()
               if 'data' in r and not os.path.exists(tensor_path(r['data'], 'train'))}
    split = 'validation' if args.validate else 'test'
    repro.load(args.dataset, 'train')   # ends here if it is not there
    compare.drop_cut_off_row(args.out)
    rows = [row for row in read_rows(args.out) if (row['dataset'], row['split']) == (args.dataset, split)
            and row['seed'] in args.seeds and row['rung'] in recipes]
    done = {(row['rung'], row['seed']) for row in rows}
    repro.writable(os.path.dirname(args.out) or '.')
    for seed in args.seeds:
        for name, recipe in recipes.items():
            if name in missing or (name, seed) in done:
                continue
            try:
                row = one_run(args.dataset, name, recipe, seed, args.validate)
            except repro.Diverged:
                fail(f'{name}, seed {seed}: training diverged, a value is no longer finite; the runs before it are in '
                     f'{args.out}')
            with open(args.out, 'a', newline='') as f:
                writer = csv.DictWriter(f, COLUMNS, lineterminator='\n')
                if f.tell() == 0:
                    writer.writeheader()
                writer.writerow(row)
            rows.append(row)
            print(f'{label(name, row)}, seed {seed}: {row["misses"]} of {row["n"]} missed, {row["error"]:.2f}%; '
                  f'{row["seconds"]} s', flush=True)
    if rows:
        print(table(rows))
    if args.dataset == 'mnist' and not args.validate:
        print('as published in 2022, one run each, watched on the test digits:')
        print('\n'.join(f'  {idea:48}{error:>6.2f}%' for idea, error in REFERENCE.items()))
    if missing:
        fail(f'rung {", ".join(sorted(missing))} was left out: it needs all of MNIST; '
             'run: python prepro.py --dataset mnist60k')


if __name__ == '__main__':
    run(main)
