"""
What later ideas buy: the net of 1989, with the same 9,760 parameters and the
same connections, so that it costs no more to use, trained with one later idea
after another, each on top of those before.

    python modern.py                    # climb to rung 7, once: minutes
    python modern.py --rung 8           # train one rung alone
    python modern.py --show 7           # every setting of a rung

The test error in percent, ten seeds (experiments/ladder.py):

    rung                                  mnist            usps
    0 settings of 2022, 23 passes         4.66 +- 0.36     6.00 +- 0.19
    1 softmax, cross-entropy              4.50 +- 0.47     6.39 +- 0.27
    2 AdamW, minibatches, 40 passes       4.46 +- 0.44     6.33 +- 0.47
    3 decaying rate                       3.87 +- 0.28     5.48 +- 0.19
    4 distortions, 60 passes              1.98 +- 0.23     3.47 +- 0.16
    5 ReLU, He's weights, background 0    1.50 +- 0.16     2.88 +- 0.08
    6 elastic distortions                 1.43 +- 0.23     2.78 +- 0.12
    7 longer training, 250 passes         1.10 +- 0.26     2.42 +- 0.17
    8 distillation                        0.82 +- 0.17     2.28 +- 0.17

The settings were chosen on folds of the 7291 training digits
(experiments/trials.py); then the rungs were trained on all 7291, and the test
digits read. They had been read once before, for an earlier ladder, from which
most settings come (results/README.md).
"""
import math
import os
import textwrap
import time
from dataclasses import asdict, dataclass, replace

from support import cli, files          # first: it says what is not installed

import torch
import torch.nn as nn
import torch.nn.functional as F

import repro

# ---------------------------------------------------------------------------------------------------------------------
# The net


class Net(repro.Net):
    """
    The net of 1989 with ten logits as its output: their softmax is how likely each class is. relu: ReLU units in H1, H2
    and H3; with them come normal initial weights of variance 2 / fan-in (He et al. 2015), and 0 as the background
    beyond the border of H1, as a ReLU is never below it.
    """
    softmax = True      # tells support/backprop.py, which trains rung 1, to take the cross-entropy of a softmax

    def __init__(self, seed, relu=False):
        super().__init__(seed, out_bias=0.0)
        self.squash, self.H1_background = (F.relu, 0.0) if relu else (torch.tanh, repro.BACKGROUND)
        if relu:
            g = torch.Generator().manual_seed(seed)
            for w, fan_in in (self.H1w, 5*5), (self.H2w, 8*5*5), (self.H3w, 12*4*4), (self.outw, 30):
                nn.init.normal_(w, std=(2 / fan_in)**0.5, generator=g)

    def layers(self, x):
        """The activations of H1, H2 and H3, and the logits, for images x (n, 1, 16, 16)."""
        H1 = self.squash(windows(x, self.H1w, repro.BACKGROUND) + self.H1b)                      # (n, 12, 8, 8)
        H2 = self.squash(windows(H1, self.kernels(self.H2w), self.H1_background) + self.H2b)     # (n, 12, 4, 4)
        H3 = self.squash(H2.flatten(1) @ self.H3w + self.H3b)                                    # (n, 30)
        return H1, H2, H3, H3 @ self.outw + self.outb                                            # (n, 10)

    def cost(self, logits, t):
        """The cross-entropy of logits (n, 10), where t > 0 marks the class."""
        return F.cross_entropy(logits, t.argmax(1))


def windows(x, w, background):
    """
    repro.windows in 3/4 of the time. conv2d pads with zeros by itself: it is given x - background, and what the
    background adds to each sum as a bias.
    """
    return F.conv2d(x - background, w, background * w.sum((1, 2, 3)), stride=2, padding=2)


class WideNet(nn.Sequential):
    """
    A net that 1989 could not have afforded, for teachers: three layers of 3x3 windows at stride 1, of width, 2 width
    and 4 width maps, each followed by batch normalization (Ioffe and Szegedy 2015), 2x2 max pooling and ReLU; then the
    output. The initial weights are PyTorch's own.
    """
    cost = Net.cost

    def __init__(self, seed, width):
        def layer(below, maps):
            return nn.Conv2d(below, maps, 3, padding=1, bias=False), nn.BatchNorm2d(maps), nn.MaxPool2d(2), nn.ReLU()
        torch.manual_seed(seed)
        super().__init__(*layer(1, width), *layer(width, 2*width), *layer(2*width, 4*width), nn.Flatten(),
                         nn.Linear(4*width * 2*2, 10))
        self.to(memory_format=torch.channels_last)       # twice as fast


# ---------------------------------------------------------------------------------------------------------------------
# Distortions

# (16, 256): row k is a 4x4 grid over the image, 1 at its point k and 0 at the others, interpolated to 16x16.
BUMPS = F.interpolate(torch.eye(16).view(16, 1, 4, 4), (16, 16), mode='bicubic', align_corners=True).view(16, 256)


def distort(X, shift=0, rotation=0, scale=0, shear=0, elastic=0):
    """
    The images X (n, 1, 16, 16), each distorted differently: shifted by up to `shift` pixels, rotated by up to
    `rotation` degrees, scaled and sheared by up to these fractions, uniformly distributed; and elastically: the points
    of a 4x4 grid are displaced by normal random amounts of sd `elastic` pixels, all others smoothly with them.
    """
    dx, dy, angle, size, skew = (2 * torch.rand(5, len(X)) - 1) * torch.tensor(
        [shift / 8, shift / 8, math.radians(rotation), scale, shear])[:, None]       # the image is 2 units wide
    cos, sin = (1 + size) * angle.cos(), (1 + size) * angle.sin()
    affine = torch.stack([cos, skew - sin, dx, sin, cos, dy], 1).view(-1, 2, 3)
    grid = F.affine_grid(affine, X.shape, align_corners=False)                       # where each pixel comes from
    if elastic:
        moves = torch.randn(len(X), 2, 16) * elastic / 8 @ BUMPS
        grid = grid + moves.view(-1, 2, 16, 16).permute(0, 2, 3, 1)
    ink = F.grid_sample(X - repro.BACKGROUND, grid, mode='bicubic', align_corners=False)         # 0 beyond the border
    return (ink + repro.BACKGROUND).clamp(-1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# The ladder

@dataclass(frozen=True)
class Settings:
    """All that a rung can change, as rung 0 has it."""
    softmax: bool = False       # outputs and cost: softmax and cross-entropy, not tanh and mean squared error
    relu: bool = False          # units: ReLU, not tanh
    batch: int = 1              # patterns per update; a single one in a constant order, more in a new one each pass
    adamw: bool = False         # updates: AdamW's, not those of plain gradient descent
    rate: float = repro.RECIPES['karpathy2022']['training']['rate']
    decay: bool = False         # the rate rises for 15% of the updates, then falls to 0; not constant
    passes: int = repro.PASSES
    distortions: dict = None    # arguments of distort, which acts anew in each pass
    teachers: int = 0           # how many wider nets to learn from as well as from the labels
    teacher: dict = None        # a teacher's own settings; the others are its pupil's
    temperature: float = 1.0    # by which the answers of teachers and pupil are softened
    weight: float = 0.0         # of the teachers' answers; the labels have the rest
    width: int = 0              # other than 0: a WideNet of this width in place of the net of 1989

    def __post_init__(self):            # what would be ignored
        assert self.softmax or not self.relu, 'relu needs softmax'
        assert self.batch > 1 or not (self.adamw or self.decay or self.distortions or self.teachers), \
            'with batch 1 repro.py trains, by plain gradient descent'


# (idea, source, what it changes), each on top of those before it. A rate beside an idea was chosen again for it.
AFFINE = dict(shift=1.25, rotation=12, scale=0.15, shear=0.15)
LADDER = [
    ('settings of 2022, 23 passes', 'karpathy/lecun1989-repro 2022', dict()),

    # Ten outputs are one choice among ten classes. Alone it gains little.
    ('softmax, cross-entropy', 'Bridle 1990', dict(softmax=True, rate=0.005)),

    # A step for each weight by its own gradients' size, and many patterns at a time. Alone it gains nothing either:
    # at a constant rate the weights end wherever the last batches left them.
    ('AdamW, minibatches, 40 passes', 'Loshchilov and Hutter 2019', dict(adamw=True, batch=128, rate=0.004, passes=40)),

    ('decaying rate', 'Smith 2018', dict(decay=True, rate=0.005)),

    # The training digits are memorized by now. Shifted, rotated, scaled and sheared anew in each pass they never come
    # twice; the largest gain of all, and it takes more passes.
    ('distortions, 60 passes', 'Baird 1990; Simard et al. 1992', dict(distortions=AFFINE, passes=60)),

    ('ReLU, He\'s weights, background 0', 'Nair and Hinton 2010; He et al. 2015', dict(relu=True, rate=0.01)),

    ('elastic distortions', 'Simard et al. 2003', dict(distortions=AFFINE | dict(elastic=0.4))),

    # Digits that never come twice can be learned from for longer.
    ('longer training, 250 passes', 'Hoffer et al. 2017', dict(passes=250)),

    # Wider nets, trained on the same digits, say how likely each class is, which is more than a label does.
    ('distillation', 'Hinton et al. 2015', dict(teachers=4, teacher=dict(width=16, rate=0.005, passes=40),
                                                temperature=2.0, weight=0.7)),
]

# What karpathy/lecun1989-repro publishes: {the rung most like it: (test error in percent, step)}, on its draw of MNIST,
# one run each, watched on the test digits.
PUBLISHED = {0: (repro.KARPATHY2022['test_error'], 'as in 1989'), 1: (4.38, 'softmax, cross-entropy'),
             2: (3.59, 'AdamW, 46 passes'), 4: (2.19, 'shifts, 60 passes'),
             5: (1.59, 'ReLU, dropout, 80 passes')}


def rung(n):
    """The Settings of rung n."""
    r = Settings()
    for _, _, changes in LADDER[:n + 1]:
        r = replace(r, **changes)
    return r


def passes_over(X, r):
    """r.passes; over all of MNIST, which has eight times as many digits, a quarter of them, but 23 at least."""
    return r.passes if len(X) < 10_000 else max(repro.PASSES, r.passes // 4)


# ---------------------------------------------------------------------------------------------------------------------
# Training

def build(r, seed):
    """The net that settings r describe, with its initial weights."""
    if r.width:
        return WideNet(seed, r.width)
    return Net(seed, r.relu) if r.softmax else repro.build(repro.RECIPES['karpathy2022'], seed)


def train(r, X, Y, seed):
    """
    Train a net on X (n, 1, 16, 16), Y (n, 10) with settings r. Yields (pass, seconds of training so far, net) after
    each pass. Raises repro.Diverged.
    """
    passes, start, seconds = passes_over(X, r), time.perf_counter(), 0.0
    teachers = []
    if r.teachers:                      # each with its own seed
        for k in range(1, r.teachers + 1):
            its = replace(r, teachers=0, **r.teacher)
            *_, (_, _, teacher) = cli.progress(train(its, X, Y, seed + 1000 * k), total=passes_over(X, its),
                                               desc=f'teacher {k} of {r.teachers}', leave=False, unit='pass')
            teachers.append(teacher.eval())

    torch.manual_seed(seed)
    net = build(r, seed)
    if r.batch == 1:                    # rungs 0 and 1: by repro.py
        for n, seconds in repro.train(net, X, Y, passes, r.rate):
            yield n, seconds, net
        return

    if r.adamw:
        optimizer = torch.optim.AdamW(net.parameters(), r.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    else:                               # no rung, but an ablation of experiments/ladder.py
        optimizer = torch.optim.SGD(net.parameters(), r.rate)
    step, steps = 0, passes * math.ceil(len(X) / r.batch)
    for n in range(passes):
        net.train()                     # measure leaves it in eval
        x = distort(X, **r.distortions) if r.distortions else X
        for i in torch.randperm(len(X)).split(r.batch):
            rate = r.rate
            if r.decay:                 # up along a line, down along half a cosine
                t = step / steps
                rate *= min(t / 0.15, (1 + math.cos(math.pi * (t - 0.15) / 0.85)) / 2)
            optimizer.param_groups[0]['lr'] = rate
            logits = net(x[i])
            loss = net.cost(logits, Y[i])
            if teachers:                # softening by T makes gradients 1/T^2 of their size, which T^2 undoes
                with torch.no_grad():
                    answers = sum(teacher(x[i]) for teacher in teachers) / len(teachers)
                T = r.temperature
                soft = F.cross_entropy(logits / T, (answers / T).softmax(1)) * T**2
                loss = (1 - r.weight) * loss + r.weight * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if not all(p.isfinite().all() for p in net.parameters()):
            raise repro.Diverged
        seconds += time.perf_counter() - start
        yield n + 1, seconds, net
        start = time.perf_counter()


def measure(net, X, Y):
    """{'loss': the net's cost, 'error': in percent, 'misses'} on the digits X (n, 1, 16, 16), Y (n, 10)."""
    net.eval()
    out = repro.outputs(net, X)
    misses = int((out.argmax(1) != Y.argmax(1)).sum())
    return {'loss': float(net.cost(out, Y)), 'error': 100 * misses / len(X), 'misses': misses}


# ---------------------------------------------------------------------------------------------------------------------
# The script

def climb(dataset, seed):
    """Train the rungs without teachers once, and print a line for each."""
    splits = files.load_digits(dataset)
    line = '{:34}{:>7}{:>8}  {}'.format
    published = 'published in 2022, %' if dataset == 'mnist' else ''
    print(line(f'test digits of {dataset}, seed {seed}', '%', 'misses', published).rstrip())
    for n, (idea, _, _) in enumerate(LADDER):
        r = rung(n)
        if r.teachers:                  # who take minutes: --rung trains them too
            continue
        passes = cli.progress(train(r, *splits['train'], seed), total=passes_over(splits['train'][0], r), desc=idea,
                              leave=False, unit='pass')
        try:
            *_, (_, _, net) = passes
        except repro.Diverged:
            cli.fail(f'rung {n}: training diverged: a value is no longer finite')
        m = measure(net, *splits['test'])
        published = '{:.2f} {}'.format(*PUBLISHED[n]) if dataset == 'mnist' and n in PUBLISHED else ''
        print(line(f'{n} {idea}', f'{m["error"]:.2f}', m['misses'], published).rstrip(), flush=True)


def train_rung(n, dataset, seed, folder):
    """Train a rung, with repro.py's lines after each pass, and its files in the folder at the end."""
    r, splits = rung(n), files.load_digits(dataset)
    files.writable(folder)
    print(f'rung {n}, {LADDER[n][0]}, seed {seed}, on {dataset}')
    repro.follow(train(r, *splits['train'], seed), splits, measure, folder,
                 {'rung': n, 'dataset': dataset, 'seed': seed, 'settings': asdict(r)})


def main():
    rungs = '\n'.join(textwrap.fill(f'  {n}  {idea} ({source})', 79, subsequent_indent=5*' ')
                      for n, (idea, source, _) in enumerate(LADDER))
    parser = cli.parser(__doc__, epilog=f'rungs, each on top of those below it:\n{rungs}')
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D', help='the digits, as prepro.py '
                        'makes them: mnist, usps, mnist60k (fewer passes) or mnist-seedN (default: mnist)')
    one = parser.add_mutually_exclusive_group()
    one.add_argument('--rung', type=int, choices=range(len(LADDER)), metavar='N',
                     help='train rung N alone (default: rungs 0 to 7, a line for each)')
    one.add_argument('--show', type=int, choices=range(len(LADDER)), metavar='N',
                     help='print every setting of rung N, and do nothing else')
    parser.add_argument('--seed', type=cli.seed, default=0, metavar='N',
                        help='of initial weights, order and distortions (default: 0)')
    parser.add_argument('-o', '--output', type=cli.path, metavar='DIR',
                        help='where args.json, metrics.csv and model.pt of --rung go (default: out/rung<N>-<dataset>, '
                        'and -seed<N> if that is not 0)')
    args = parser.parse_args()
    if args.output and args.rung is None:
        parser.error('-o: only --rung writes files')
    torch.set_num_threads(1)            # two are slower on a net of this size
    if args.show is not None:
        idea, source, _ = LADDER[args.show]
        print(f'rung {args.show}: {idea} ({source})')
        print('\n'.join(f'  {name:12} {value}' for name, value in asdict(rung(args.show)).items()))
    elif args.rung is not None:
        folder = args.output or os.path.join(
            'out', f'rung{args.rung}-{args.dataset}' + f'-seed{args.seed}' * (args.seed != 0))
        train_rung(args.rung, args.dataset, args.seed, folder)
    else:
        climb(args.dataset, args.seed)


if __name__ == '__main__':
    cli.run(main)
