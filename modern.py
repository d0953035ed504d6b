"""
What later ideas buy: the net of 1989, with the same 9,760 parameters and the
same connections, so that it costs no more to use, trained with one later idea
after another, each on top of those before.

    python modern.py [--dataset mnist|usps|mnist60k] [--rungs 0-8] [--seeds 0-4]
    python modern.py --show 7                  # every setting of a rung

The test error in percent, ten seeds (--seeds 0-9):

    rung                         mnist            usps
    0 1989, as in repro.py       4.65 +- 0.39     6.00 +- 0.19
    1 softmax, cross-entropy     4.50 +- 0.47     6.39 +- 0.27
    2 AdamW in minibatches       4.56 +- 0.70     6.34 +- 0.58
    3 decaying rate              3.87 +- 0.28     5.47 +- 0.21
    4 distortions                2.07 +- 0.16     3.60 +- 0.34
    5 ReLU                       1.57 +- 0.18     2.84 +- 0.27
    6 elastic distortions        1.40 +- 0.22     2.77 +- 0.28
    7 longer training            1.09 +- 0.18     2.49 +- 0.21
    8 distillation               0.93 +- 0.15     2.28 +- 0.12

The settings were chosen on five folds of the 7291 training digits, without the
test digits: blocks of consecutive digits, as usps comes zip code by
zip code, so that a writer's digits mostly stay together. experiments/trials.py
trains on four of them and measures on the fifth; results/modern_trials.csv has
every trial. Then the recipes were frozen, trained on all 7291, and the test
digits read. They had been read once before, for an earlier ladder, from which
most settings come (results/README.md).
"""
import collections
import functools
import hashlib
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
        H1 = self.squash(repro.windows(x, self.H1w, repro.BACKGROUND) + self.H1b)                           # (n, 12, 8, 8)
        seen = F.pad(H1.flatten(1), (0, 1), value=self.H2_border)                        # (n, 768 + 1)
        H2 = self.squash(seen @ self.H2_matrix() + self.H2b.flatten())                   # (n, 192)
        H2 = H2.unflatten(1, (12, 4, 4))                                                 # (n, 12, 4, 4)
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
    maps, each followed by batch normalization (Ioffe and Szegedy 2015), 2x2 max pooling and ReLU; then the output. The
    initial weights are PyTorch's own.
    """

    def __init__(self, seed, width):
        def layer(below, maps):
            return nn.Conv2d(below, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.MaxPool2d(2), nn.ReLU()
        torch.manual_seed(seed)
        super().__init__(*layer(1, width), *layer(width, 2*width), *layer(2*width, 4*width), nn.Flatten(),
                         nn.Linear(4*width * 2*2, 10))
        self.to(memory_format=torch.channels_last)       # twice as fast


def macs(net):
    """The multiply-adds that an image takes: one for each connection between units, as the paper counts connections."""
    if isinstance(net, repro.Net):
        return sum(connections - units for layer, (units, connections, _) in net.counts().items() if layer != 'all')
    weights = [p.numel() for p in net.parameters() if p.dim() > 1]
    return sum(n * units for n, units in zip(weights, (16*16, 8*8, 4*4, 1)))     # each shared by so many units of a map


# ---------------------------------------------------------------------------------------------------------------------
# Distortions

def fields():
    """
    What a smooth displacement of an image's pixels is made of (19, 256): 1, x and y at each pixel, from -1 to 1 over
    the image; then, for each point of a 4x4 grid over it, a bump that is 1 there: a bicubic interpolation's.
    """
    y, x = (torch.arange(256).view(16, 16) // step % 16 / 8 - 15/16 for step in (16, 1))
    bumps = F.interpolate(torch.eye(16).view(16, 1, 4, 4), (16, 16), mode='bicubic', align_corners=True)
    return torch.cat([torch.stack([torch.ones(16, 16), x, y]).view(3, 256), bumps.view(16, 256)])


FIELDS = fields()


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
    affine = torch.stack([dx, size * angle.cos(), shear - size * angle.sin(),
                          dy, size * angle.sin(), size * angle.cos()], 1).view(-1, 2, 3)
    grid = torch.cat([affine, torch.randn(len(X), 2, 16) * elastic / 8], 2) @ FIELDS     # (n, 2, 256): where x, y go
    ink = F.grid_sample(X - repro.BACKGROUND, grid.view(-1, 2, 16, 16).permute(0, 2, 3, 1), mode='bicubic',
                        align_corners=False)                                     # zero beyond the edge
    return (ink + repro.BACKGROUND).clamp(-1, 1)


def distorted_copy(X, distortions, number):
    """distort(X, **distortions), the same for the same number, wherever the global random generator is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(number)
        return distort(X, **distortions)


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
    rate=repro.RECIPES['karpathy2022']['training']['rate'],
    schedule=dict(name='constant'),
    passes=repro.PASSES,                # over 7291 digits; passes() says how many over more
    distortions=None,                   # arguments of distort; drawn anew for each pass
    distill=None,                       # arguments of lessons, and how they are weighed
)]


def add_rung(idea, source, **changes):
    """Add a rung: the highest so far, with these changes."""
    RUNGS.append({**RUNGS[-1], 'idea': idea, 'source': source, **changes})


# What each gains is in the table above. A rate beside an idea was chosen again for it, as results/README.md shows.

# Ten outputs are one choice among ten classes. Alone it gains little.
add_rung('softmax, cross-entropy', 'Bridle 1990', net=dict(name='Net'), rate=0.005)

# A step for each weight by its own gradients' size, and many patterns at a time. Alone it gains nothing either: without
# a decaying rate the weights end wherever the last batches left them.
add_rung('AdamW in minibatches', 'Loshchilov and Hutter 2019', batch=128, rate=0.004, passes=40,
         optimizer=dict(name='AdamW', betas=(0.9, 0.99), weight_decay=0.01, fused=True))

add_rung('decaying rate', 'Smith 2018', schedule=dict(name='one_cycle', warm=0.15), rate=0.005)

# The training digits are memorized by now. Shifted, turned, scaled and sheared anew for each pass they never
# come twice; the largest gain of all, and it takes more passes.
add_rung('distortions', 'Baird 1990; Simard et al. 1992', passes=60,
         distortions=dict(shift=1.25, rotation=12, scale=0.15, shear=0.15))

# With it come He's initial weights, and 0 beyond the edge of H1: a ReLU is never below 0.
add_rung('ReLU', 'Nair and Hinton 2010; initial weights: He et al. 2015', rate=0.01,
         net=dict(name='Net', unit='relu', H2_border=0.0, he=True))

add_rung('elastic distortions', 'Simard et al. 2003', distortions={**RUNGS[-1]['distortions'], 'elastic': 0.4})

# Digits that never come twice can be learned from for longer.
add_rung('longer training', 'Hoffer et al. 2017', passes=250)

# Larger nets, trained on the same digits, say how likely each class is, which is more than a label does.
add_rung('distillation', 'Hinton et al. 2015',
         distill=dict(width=16, teachers=4, teacher_passes=40, copies=100, temperature=2.0, weight=0.7))

TOP = len(RUNGS) - 1
ABLATED = 7         # its ideas are taken away, one at a time; what takes their place was not tuned anew
WITHOUT = {
    'ReLU': dict(net=RUNGS[4]['net'], rate=RUNGS[4]['rate']),
    'distortions': dict(distortions=None),
    'elastic distortions': dict(distortions=RUNGS[5]['distortions']),
    'longer training': dict(passes=RUNGS[6]['passes']),
    'AdamW': dict(optimizer=dict(name='SGD'), rate=0.1),
    'decaying rate': dict(schedule=dict(name='constant'), rate=0.003),
}

# For scale, nets that 1989 could not have afforded: as large as its parameters allow, and larger.
OFF_LADDER = {f'3x3 windows, width {width}': {
    **RUNGS[6], 'idea': 'a net of 3x3 windows', 'source': 'Simonyan and Zisserman 2015; Ioffe and Szegedy 2015',
    'net': dict(name='Free', width=width), 'rate': 0.005, 'passes': passes} for width, passes in ((9, 150), (16, 60))}

# What did not help on the folds, or by no more than they differ. For the ladder before this one
# (results/modern_trials_before.csv): label smoothing; ten times the weight decay; He's initial weights under tanh. For
# this one (the table in results/README.md): the mean of the weights over the last tenth of the updates,
# by when the rate has come down and they hardly move; SiLU for ReLU; distillation with other weights, temperatures and
# rates, a copy for every pass, or twice the passes. Mixup and sharpness-aware steps take 3 of rung 7's 22 misses a
# fold away; but mixup raises the cross-entropy, and sharpness-aware steps take twice the time and add nothing to
# distillation.

# What karpathy/lecun1989-repro publishes for its four changes, cumulative: error in percent on its draw of MNIST,
# one run each, watched on the test digits.
MODERN_2022 = {'softmax, cross-entropy': 4.38, 'AdamW, 46 passes': 3.59, 'shifts, 60 passes': 2.19,
               'ReLU, dropout, 80 passes': 1.59}


def recipes():
    """{name: recipe} of every rung, '0' and up, every ablation, 'without ...', and the nets off the ladder."""
    return ({str(n): recipe for n, recipe in enumerate(RUNGS)}
            | {f'without {idea}': {**RUNGS[ABLATED], **changes} for idea, changes in WITHOUT.items()} | OFF_LADDER)


def teacher(distill, distortions):
    """The recipe of the larger nets from which a net learns with distillation."""
    return {**OFF_LADDER['3x3 windows, width 16'], 'net': dict(name='Free', width=distill['width']),
            'passes': distill['teacher_passes'], 'distortions': distortions}


def settings_of(recipe):
    """All that a recipe's runs depend on: idea and source are no settings, and its teacher's settings are."""
    settings = {key: value for key, value in recipe.items() if key not in ('idea', 'source')}
    if recipe['distill']:
        settings['teacher'] = settings_of(teacher(recipe['distill'], recipe['distortions']))
    return settings


def fingerprint(recipe):
    """Eight hex digits that change when a setting does."""
    return runs.fingerprint(settings_of(recipe))


# ---------------------------------------------------------------------------------------------------------------------
# Training, one loop for all rungs but the first two

def check(recipe):
    """Raises ValueError if training would ignore a part of a recipe, or not do as it says."""
    if recipe.keys() != RUNGS[0].keys():
        raise ValueError(f'settings that are missing or unknown: {", ".join(sorted(recipe.keys() ^ RUNGS[0].keys()))}')
    ignored = [key for key in ('optimizer', 'schedule', 'distortions', 'distill') if recipe[key] != RUNGS[0][key]]
    if recipe['batch'] == 1 and ignored:
        raise ValueError(f'training of one pattern at a time would ignore {", ".join(ignored)}')
    if recipe['batch'] > 1 and recipe['net']['name'] == 'repro.Net':
        raise ValueError('minibatches are trained with the cross-entropy of logits, and repro.Net has none')


def passes(recipe, n):
    """
    How many passes over n digits: a recipe's are for 7291, or four folds of them. Over many more, as mnist60k has, a
    quarter of them, but 1989's number at least, where the recipe has that many.
    """
    return recipe['passes'] if n < 2 * 7291 else max(min(recipe['passes'], repro.PASSES), recipe['passes'] // 4)


def lessons(distill, distortions, X, Y, n_passes):
    """
    What larger nets say of the digits X (n, 1, 16, 16), Y (n, 10): (logits (copies, n, 10), the mean over the teachers;
    seconds that their training and their answers took). logits[c] are those for distorted_copy(X, distortions, c).

    A teacher is trained on the same X and Y, and so sees no digit that its student does not. Its answers are kept in
    out/teachers, under a fingerprint of its recipe and of X and Y themselves, so that all students of these digits, of
    any seed, share their teachers and their distorted copies: seeds differ in initial weights and order alone.
    """
    recipe, copies = teacher(distill, distortions), min(distill['copies'], n_passes)
    digits = hashlib.sha256(X.numpy().tobytes() + Y.numpy().tobytes()).hexdigest()
    found = []
    for seed in range(distill['teachers']):
        name = runs.fingerprint({'recipe': fingerprint(recipe), 'digits': digits, 'copies': copies, 'seed': seed})
        path = os.path.join('out', 'teachers', f'{name}.pt')
        if not os.path.exists(path):
            net, seconds, _ = train(recipe, X, Y, seed)
            net.eval()
            start = time.perf_counter()
            said = torch.stack([repro.outputs(net, distorted_copy(X, distortions, c)).half() for c in range(copies)])
            seconds += time.perf_counter() - start
            files.write_file(path, files.packed({'logits': said, 'seconds': seconds}))
        found.append(files.unpacked(path, 'remove it, and the teacher is trained again'))
    return sum(f['logits'].float() for f in found) / len(found), sum(f['seconds'] for f in found)


def cost(logits, t, said=None, weight=0.0, temperature=1.0):
    """
    The cross-entropy of softmax(logits) (n, 10) where t (n, 10) are the probabilities of the classes. said (n, 10): the
    teachers' logits, whose softmax then has this weight; both are softened by the temperature T, and the gradient, 1/T
    of its size in each, is made up for (Hinton et al. 2015).
    """
    loss = F.cross_entropy(logits, t)
    if said is None:
        return loss
    soft = F.cross_entropy(logits / temperature, (said / temperature).softmax(1)) * temperature**2
    return (1 - weight) * loss + weight * soft


def train(recipe, X, Y, seed):
    """
    Train on the digits X (n, 1, 16, 16), Y (n, 10) as a recipe says: (net, seconds, seconds that its teachers took).
    Raises repro.Diverged, and ValueError for a recipe that would not be followed.
    """
    check(recipe)
    n_passes, distill = passes(recipe, len(X)), recipe['distill']
    said, teachers = lessons(distill, recipe['distortions'], X, Y, n_passes) if distill else (None, 0.0)
    torch.manual_seed(seed)
    net = made(recipe['net'], seed)
    if recipe['batch'] == 1:
        for _, seconds in repro.train(net, X, Y, n_passes, recipe['rate']):
            pass
        return net, seconds, teachers
    start = time.perf_counter()
    optimizer = made(recipe['optimizer'], net.parameters(), recipe['rate'])
    targets = Y.clamp(min=0)                                                             # 1 for the class, else 0
    step, steps = 0, n_passes * math.ceil(len(X) / recipe['batch'])
    for n in range(n_passes):
        images = X
        if distill:
            images = distorted_copy(X, recipe['distortions'], n % len(said))
        elif recipe['distortions']:
            images = distort(X, **recipe['distortions'])
        for batch in torch.randperm(len(X)).split(recipe['batch']):
            lesson = (said[n % len(said), batch], distill['weight'], distill['temperature']) if distill else ()
            optimizer.param_groups[0]['lr'] = recipe['rate'] * made(recipe['schedule'], step / steps)
            optimizer.zero_grad()
            cost(net(images[batch]), targets[batch], *lesson).backward()
            optimizer.step()
            step += 1
        if not all(p.isfinite().all() for p in net.parameters()):
            raise repro.Diverged
    return net, time.perf_counter() - start, teachers


def measure(net, X, Y):
    """
    (misses, loss) on the digits X (n, 1, 16, 16), Y (n, 10): how many the net takes for another class, and the mean
    cross-entropy of softmax of its outputs, which those of rung 0 were not trained for.
    """
    net.eval()
    out = repro.outputs(net, X)
    return int((out.argmax(1) != Y.argmax(1)).sum()), float(cost(out, Y.clamp(min=0)))


# ---------------------------------------------------------------------------------------------------------------------
# Runs, and their table

KEY = ('dataset', 'rung', 'settings', 'seed')
VALUES = ('passes', 'parameters', 'macs', 'train_misses', 'train_error', 'misses', 'error', 'n', 'loss', 'seconds',
          'teacher_seconds', 'others')
WORDS = KEY[:-1]    # all but the seed
load = files.load_digits


def measured(recipe, digits, test, seed):
    """
    Train on digits, (X, Y), and measure on test, (X, Y): (the net, {all VALUES but others}). Errors are in percent. If
    training diverged the net is None and the values are NaN.
    """
    try:
        net, seconds, teachers = train(recipe, *digits, seed)
    except repro.Diverged:
        return None, dict.fromkeys(VALUES[:-1], math.nan)
    n, n_test = len(digits[0]), len(test[0])
    (wrong, _), (wrong_test, loss) = measure(net, *digits), measure(net, *test)
    return net, dict(zip(VALUES, (
        passes(recipe, n), sum(p.numel() for p in net.parameters()), macs(net), wrong, 100 * wrong / n, wrong_test,
        100 * wrong_test / n_test, n_test, loss, round(seconds, 1), round(teachers, 1))))


@functools.cache
def others():
    """
    (X, Y): the 7,993 test digits of MNIST that are not among the 2007 of the draw `mnist`, found by their images. None
    where the two data sets are not at hand, or mnist60k does not have each of the 2007.
    """
    if not all(os.path.exists(files.digits_path(dataset, 'digits.json')) for dataset in ('mnist', 'mnist60k')):
        return None
    X, Y = load('mnist60k')['test']
    drawn, left = collections.Counter(x.numpy().tobytes() for x in load('mnist')['test'][0]), []
    for i, x in enumerate(X):
        if drawn[x.numpy().tobytes()]:
            drawn[x.numpy().tobytes()] -= 1      # an image that is there twice counts twice
        else:
            left.append(i)
    return (X[left], Y[left]) if not any(drawn.values()) else None


def one_run(chosen, dataset, rung, settings, seed):
    """A row's VALUES, of one of the recipes {name: recipe}. others is the error on those digits."""
    net, row = measured(chosen[rung], load(dataset)['train'], load(dataset)['test'], seed)
    beside = others() if net and dataset in ('mnist', 'mnist60k') else None
    return row | {'others': 100 * measure(net, *beside)[0] / len(beside[0]) if beside else None}


def read(path):
    """The rows of a CSV file of runs, of the recipes as they are now."""
    now = {name: fingerprint(recipe) for name, recipe in recipes().items()}
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS) if now.get(row['rung']) == row['settings']]


def summary(rows):
    """
    {name of a recipe: its results}, rungs first: label; n, how many runs ended, and diverged, how many did not; passes,
    parameters, macs; (mean, sd) of the other VALUES, None where runs are too few; change, of the mean error, from the
    rung below among these rows; of what is no rung, from rung ABLATED.
    """
    out, below, ablated = {}, None, None
    for name, recipe in recipes().items():
        found = [row for row in rows if row['rung'] == name]
        if not found:
            continue
        stats = {key: runs.mean_sd([row[key] for row in found]) for key in VALUES}
        error, _, n, diverged = stats['error']
        base = below if name.isdigit() else ablated
        out[name] = {'label': f'{name} {recipe["idea"]}' if name.isdigit() else name,
                     **{key: values[:2] for key, values in stats.items()}, 'n': n, 'diverged': diverged,
                     'change': None if None in (error, base) else error - base,
                     **{key: stats[key][0] for key in ('passes', 'parameters', 'macs')}}
        below, ablated = error, error if name == str(ABLATED) else ablated
    return out


def table(rows):
    """summary(rows) as text: errors and their change in percent."""
    line = '{:28}{:>3}{:>7}{:>7}{:>7}{:>6}{:>8}{:>7}{:>7}'.format
    forms = '{:g}', '{:.1f}', '{:.2f}', '{:.2f}', '{:.2f}', '{:.1f}', '{:+.2f}'
    lines = [line('', 'n', 'passes', 's', 'test', 'sd', 'train', 'misses', 'change')]
    for s in summary(rows).values():
        values = s['passes'], s['seconds'][0], *s['error'], s['train_error'][0], s['misses'][0], s['change']
        lines.append(line(s['label'], s['n'], *('-' if v is None else f.format(v) for f, v in zip(forms, values)))
                     + (f'\n  {s["diverged"]} diverged' if s['diverged'] else ''))
    return '\n'.join(lines)


def main():
    ladder = '\n'.join(textwrap.fill(f'  {n}  {r["idea"]} ({r["source"]})', 79, subsequent_indent=5*' ')
                       for n, r in enumerate(RUNGS))
    parser = cli.parser(__doc__, epilog=f'rungs, each on top of those below it:\n{ladder}')
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D', help='the digits, as prepro.py '
                        'made them: mnist, usps, mnist60k (fewer passes) or mnist-seedN (default: mnist)')
    parser.add_argument('--rungs', type=cli.numbers, default=f'0-{TOP}', metavar='A-B',
                        help=f'of the ladder below, as 0-5 or 0,2,4 (default: 0-{TOP})')
    parser.add_argument('--without', action='store_true',
                        help=f'run rung {ABLATED} without each of its ideas as well, one at a time')
    parser.add_argument('--off', action='store_true', help=f'run nets off the ladder as well: {"; ".join(OFF_LADDER)}')
    parser.add_argument('--seeds', type=cli.numbers, default='0-4', metavar='A-B', help='a run for each (default: 0-4)')
    parser.add_argument('--show', type=int, choices=range(len(RUNGS)), metavar='N',
                        help='print every setting of rung N, and do nothing else')
    runs.add_arguments(parser, os.path.join('out', 'modern.csv'))
    args = parser.parse_args()
    if args.show is not None:
        shown = RUNGS[args.show] | settings_of(RUNGS[args.show])
        print('\n'.join(f'{name:12} {value}' for name, value in shown.items()))
        return
    if max(args.rungs) > TOP:
        parser.error(f'--rungs: there are 0 to {TOP}')

    wanted = {*map(str, args.rungs), *(f'without {idea}' for idea in WITHOUT if args.without),
              *(OFF_LADDER if args.off else ())}
    chosen = {name: recipe for name, recipe in recipes().items() if name in wanted}
    X, Y = load(args.dataset)['train']                                   # ends here if they are not there
    jobs = [dict(zip(KEY, (args.dataset, name, fingerprint(recipe), seed)))
            for seed in args.seeds for name, recipe in chosen.items()]
    if any(recipe['batch'] == 1 for recipe in chosen.values()):          # compiles once, not once a process
        list(repro.train(repro.Net(), X[:1], Y[:1], 1, 0.01))
    print(table(runs.run_all(functools.partial(one_run, chosen), jobs, args.out, KEY, VALUES, WORDS,
                             workers=args.jobs, cluster=args.cluster)))
    if args.dataset == 'mnist':
        print('as published in 2022, one run each, watched on the test digits:')
        print('\n'.join(f'  {idea:48}{error:>6.2f}%' for idea, error in MODERN_2022.items()))


if __name__ == '__main__':
    cli.run(main)
