"""
LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel 1989, "Backpropagation
Applied to Handwritten Zip Code Recognition", Neural Computation 1(4):541-551:
the net, its training, its results, in the paper's order.

    python repro.py

trains for the paper's 23 passes over data/mnist (python prepro.py makes it),
measures both splits after each pass, and writes out/base/: args.json,
metrics.csv (one row a pass and split) and model.pt (a state_dict). Where the
paper is silent the code says "assumed": then it does what the best-known
reproduction does (karpathy/lecun1989-repro, 2022), so that the two can be
compared line by line.
"""
import argparse
import csv
import io
import json
import math
import os
import sys
import tempfile
import time

from prepro import DATASETS, fail, packed, run, tensor_path, write_file      # first, for Ctrl-C: see there

import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

# ---------------------------------------------------------------------------------------------------------------------
# Section 3, network design

# Which 8 of the 12 maps of H1 each of the 12 maps of H2 sees. The paper: "a scheme that will not be described here".
# Assumed: three blocks of four maps, as in the 2022 reproduction.
BLOCKS = [list(range(0, 8))] * 4 + [list(range(4, 12))] * 4 + [[0, 1, 2, 3, 8, 9, 10, 11]] * 4

BACKGROUND = -1.0   # what connections see that reach over the border of the image, or of a map of H1


class Net(nn.Module):
    """
    16x16 image -> H1: 12 maps of 8x8 -> H2: 12 maps of 4x4 -> H3: 30 units -> 10 outputs.

    In a map the weights are shared and the biases are not. seed fixes the initial weights. What the paper leaves open:
    the connection table (12 rows of 8), the squashing function A tanh(S s), whether the initial range has the fan-in
    under a square root, and the initial biases of the output.
    """

    def __init__(self, seed=1337, table=BLOCKS, A=1.0, S=1.0, root=True, out_bias=-1.0):
        super().__init__()
        self.table, self.A, self.S = table, A, S

        # Section 4: weights are uniform in [-2.4/F, 2.4/F], F the unit's fan-in, so that its weighted sum stays where the
        # squashing function is not flat. Assumed: F's square root, which is what does that; and the output biases.
        uniform = initial(seed, root)
        self.H1w = uniform(5*5, 12, 1, 5, 5)
        self.H2w = uniform(8*5*5, 12, 8, 5, 5)
        self.H3w = uniform(12*4*4, 192, 30)
        self.outw = uniform(30, 30, 10)
        self.H1b = nn.Parameter(torch.zeros(12, 8, 8))
        self.H2b = nn.Parameter(torch.zeros(12, 4, 4))
        self.H3b = nn.Parameter(torch.zeros(30))
        self.outb = nn.Parameter(torch.full((10,), out_bias))

        # the paper's own counts, from the structure that computes: an image, its units, and what each unit sees
        c = self.counts()
        assert c['H1'] == (768, 19_968, 1_068)
        assert c['H2'] == (192, 38_592, 2_592)
        assert c['H3'] == (30, 5_790, 5_790)
        assert c['output'] == (10, 310, 310)
        assert c['all'] == (1_256, 64_660, 9_760)

    def counts(self):
        """{layer: (units, connections, free parameters)}, and 'all', where the 256 units of the image count too."""
        layers = {'H1': (self.H1w, self.H1b, 1*5*5), 'H2': (self.H2w, self.H2b, len(self.table[0])*5*5),
                  'H3': (self.H3w, self.H3b, 12*4*4), 'output': (self.outw, self.outb, 30)}
        # a unit has its own bias, and as many connections as it has inputs, the bias's among them
        c = {name: (b.numel(), b.numel() * (fan_in + 1), w.numel() + b.numel())
             for name, (w, b, fan_in) in layers.items()}
        c['all'] = tuple(sum(n) for n in zip((16*16, 0, 0), *c.values()))
        return c

    def forward(self, x):
        """Outputs (n, 10) for images (n, 1, 16, 16)."""
        x = F.pad(x, (2, 2, 2, 2), value=BACKGROUND)                     # x is now (n, 1, 20, 20)
        x = self.squash(F.conv2d(x, self.H1w, stride=2) + self.H1b)      # x is now (n, 12, 8, 8): H1

        x = F.pad(x, (2, 2, 2, 2), value=BACKGROUND)                     # x is now (n, 12, 12, 12)
        x = x[:, sum(self.table, [])]                                    # x is now (n, 12*8, 12, 12): 8 for each map
        x = self.squash(F.conv2d(x, self.H2w, stride=2, groups=12) + self.H2b)   # x is now (n, 12, 4, 4): H2

        x = self.squash(x.flatten(1) @ self.H3w + self.H3b)              # x is now (n, 30): H3
        return self.squash(x @ self.outw + self.outb)                    # (n, 10): one output a class

    def squash(self, s):
        """Section 4: a scaled hyperbolic tangent of the weighted sums s."""
        return self.A * torch.tanh(self.S * s)


def initial(seed, root):
    """A function that draws the next parameter: uniform(fan_in, *shape)."""
    g = torch.Generator().manual_seed(seed)
    return lambda F, *shape: nn.Parameter((torch.rand(*shape, generator=g) - 0.5) * 2 * 2.4 / (F**0.5 if root else F))


class FullNet(nn.Module):
    """Section 5's comparison, a fully connected net with 40 hidden units: 256-40-10. Arguments as for Net."""

    def __init__(self, seed=1337, A=1.0, S=1.0, root=True, out_bias=-1.0):
        super().__init__()
        self.A, self.S = A, S
        uniform = initial(seed, root)
        self.H3w = uniform(16*16, 256, 40)
        self.outw = uniform(40, 40, 10)
        self.H3b = nn.Parameter(torch.zeros(40))
        self.outb = nn.Parameter(torch.full((10,), out_bias))
        assert sum(p.numel() for p in self.parameters()) == 10_690       # the paper's count of its connections

    def forward(self, x):
        """Outputs (n, 10) for images (n, 1, 16, 16)."""
        x = self.squash(x.flatten(1) @ self.H3w + self.H3b)              # x is now (n, 40)
        return self.squash(x @ self.outw + self.outb)                    # (n, 10)

    squash = Net.squash


# ---------------------------------------------------------------------------------------------------------------------
# Section 4, experimental environment: learning

RATE = {'sgd': 0.03, 'newton': 0.005}     # assumed
DAMPING = 0.03      # Newton's: assumed
CURVATURE = 500     # patterns that it is estimated on before each pass: assumed


class Diverged(ArithmeticError):
    """Training came to a value that is not finite."""


def train_pass(net, X, T, rates, order, engine='compiled', title=None):
    """
    One pass over the patterns, X (n, 1, 16, 16) and targets T (n, 10), in the order given (indices), the weights
    updated after each: w -= rate dE/dw, E the mean squared error of the pattern's 10 outputs.

    rates: {parameter's name: rate}, a number or a tensor of the parameter's shape. engine: 'compiled' is backprop.py;
    'autograd' is the loop below, the reference for it. Raises Diverged at the first value that is not finite.
    """
    if engine == 'compiled':
        import backprop                  # here, for only this needs numba
        if backprop.train_pass(net, X, T, rates, order) < len(order):
            raise Diverged
        return
    for i in tqdm(order, title, leave=False, disable=None, unit='pattern'):
        loss = (T[i:i+1] - net(X[i:i+1])).square().mean()
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for name, p in net.named_parameters():
                p -= rates[name] * p.grad
        if not all(p.isfinite().all() for p in net.parameters()):
            raise Diverged


def newton_rates(net, X, rate, damping):
    """
    Section 4's "special version of Newton's algorithm that uses a positive, diagonal approximation of the Hessian":
    {parameter's name: rate / (h + damping)}, h the second derivatives averaged over the patterns X (LeCun et al. 1998,
    "Efficient BackProp", section 7). The damping keeps the steps where the cost is flat from growing without bound.
    """
    import backprop
    return {name: rate / (h + damping) for name, h in backprop.curvature(net, X).items()}


def train(net, X, T, passes, rate, optimizer='sgd', damping=DAMPING, shuffle=None, engine='compiled'):
    """
    Train net in place; yields (pass, seconds of training so far) after each pass. Raises Diverged.

    The order is constant, as the paper's was, unless shuffle is a seed: then it is drawn anew for each pass.
    """
    rates = dict.fromkeys(dict(net.named_parameters()), rate)
    train_pass(net, X, T, rates, [], engine)     # of no patterns: compiles the engine if need be, before time is taken
    if optimizer == 'newton':
        newton_rates(net, X[:1], rate, damping)
    g = None if shuffle is None else torch.Generator().manual_seed(shuffle)
    seconds = 0.0
    for n in range(1, passes + 1):
        start = time.perf_counter()
        if optimizer == 'newton':
            rates = newton_rates(net, X[::len(X) // CURVATURE + 1], rate, damping)
        order = range(len(X)) if g is None else torch.randperm(len(X), generator=g).tolist()
        train_pass(net, X, T, rates, order, engine, f'pass {n}')
        seconds += time.perf_counter() - start
        yield n, seconds


# ---------------------------------------------------------------------------------------------------------------------
# Section 5, results

DAYS = 3            # section 5: 23 passes on a SUN-4/260
PASSES = 23
FIGURES = ('train_loss', 'train_error', 'train_misses', 'test_loss', 'test_error', 'test_misses', 'rejection')
PAPER = dict(zip(FIGURES, (2.5e-3, 0.14, 10, 1.8e-2, 5.0, 102, 12.1)))
REFERENCE = dict(zip(FIGURES, (4.073383e-3, 0.62, 45, 2.838382e-2, 4.09, 82, None)))    # karpathy/lecun1989-repro


def measure(net, X, T, engine='compiled'):
    """
    What the paper measures on a split, as a dict: loss, the mean over patterns and outputs of the squared error;
    error, in percent; misses; rejection, the percentage of patterns to reject for 1% error on the rest.
    """
    out = outputs(net, X, engine)
    misses = int((out.argmax(1) != T.argmax(1)).sum())
    rejected, error, _ = rejection_curve(out, T.argmax(1))
    return {'loss': float((T - out).square().mean()), 'error': 100 * misses / len(X), 'misses': misses,
            'rejection': float(rejected[error <= 1].min(initial=100.0))}   # all of them where no threshold reaches 1%


def outputs(net, X, engine='compiled'):
    """net(X) without a gradient. For a Net the compiled engine is quicker: PyTorch is slow at so many small windows."""
    if type(net) is Net and engine == 'compiled':      # a subclass may compute something else
        import backprop
        return backprop.outputs(net, X)
    with torch.no_grad():
        return net(X)


def rejection_curve(out, label):
    """
    Error against rejection (section 5): NumPy arrays of the percentage of patterns rejected, the error in percent on
    the rest, and the threshold that does it, from the strictest to the most lenient, which rejects none.

    A pattern is kept if its two most active outputs differ by the threshold or more. out (n, 10), label (n,).
    """
    top = out.topk(2).values.double()
    gap, order = (top[:, 0] - top[:, 1]).sort(descending=True)
    wrong = (out.argmax(1) != label)[order].cumsum(0)
    kept = torch.arange(1, len(out) + 1).double()
    whole = torch.cat([gap[1:] != gap[:-1], torch.tensor([True])])         # equal gaps are kept or rejected together
    return ((100 - 100 * kept / len(out))[whole].numpy(), (100 * wrong / kept)[whole].numpy(), gap[whole].numpy())


def load(dataset, split):
    """
    (X, Y) as prepro.py wrote them: X float32 (n, 1, 16, 16) in [-1, 1]; Y float32 (n, 10), +1 for the class, else -1.
    Ends the script with a line that says what is wrong with the file if they are anything else.
    """
    path = tensor_path(dataset, split)
    remedy = f'run: python prepro.py --dataset {dataset}'
    try:
        XY = torch.load(path, weights_only=True)
    except FileNotFoundError:
        fail(f'{path} is not there; {remedy}')
    except Exception:                   # zip, pickle and torch each have their own errors for a file that is not theirs
        fail(f'{path} is damaged, or not a file that prepro.py wrote; {remedy}')
    if not (isinstance(XY, tuple) and len(XY) == 2 and all(isinstance(t, torch.Tensor) for t in XY)):
        fail(f'{path} does not hold a tuple (X, Y) of tensors; {remedy}')
    X, Y = XY
    for name, t, shape in (('X', X, (1, 16, 16)), ('Y', Y, (10,))):
        if t.dtype != torch.float32 or t.shape[1:] != shape or len(t) != len(X) or len(t) == 0:
            fail(f'{path}: {name} is {t.dtype} {tuple(t.shape)}, not torch.float32 (n, {", ".join(map(str, shape))}); '
                 f'{remedy}')
    if not (X.abs() <= 1).all():        # false for NaN as well
        fail(f'{path}: X has values outside [-1, 1] or not a number; {remedy}')
    if not ((Y.abs() == 1).all() and ((Y == 1).sum(1) == 1).all()):
        fail(f'{path}: Y is not +1 for one class and -1 for the others; {remedy}')
    return X, Y


def figures(train, test):
    """The paper's seven figures (FIGURES) from the measurements of the two splits."""
    return dict(zip(FIGURES, [m[key] for m in (train, test) for key in ('loss', 'error', 'misses')] + [test['rejection']]))


def table(rows):
    """The closing table as text. rows: {name: figures as in PAPER, None for one that is not known}."""
    def line(name, cells, split_by='  '):
        return f'{name:18}{cells[0]:>9}{cells[1]:>8}{cells[2]:>8}{split_by}{cells[3]:>9}{cells[4]:>8}{cells[5]:>8}{cells[6]:>10}'

    lines = [line('', ('train', '', '', 'test', '', '', 'rejected')),
             line('', ('MSE', 'error', 'misses') * 2 + ('for 1%',))]
    for name, figures in rows.items():
        forms = ('{:.1e}', '{:.2f}%', '{}', '{:.1e}', '{:.2f}%', '{}', '{:.1f}%')
        lines.append(line(name, ['-' if figures[key] is None else form.format(figures[key])
                                 for key, form in zip(FIGURES, forms)]))
    return '\n'.join(lines)


def checked(kind, low, high, what):
    """An argparse type: a number of this kind, low <= number <= high."""
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:    # false for NaN as well
            raise argparse.ArgumentTypeError(f'{text!r} is not {what}')
        return value
    return parse


positive = checked(float, sys.float_info.min, sys.float_info.max, 'a positive number')
count = checked(int, 1, 10**6, 'a whole number, 1 or more')
seed = checked(int, 0, 2**63 - 1, 'a whole number, 0 or more')


def seeds(text):
    """An argparse type: '0-9' or '0,3,5' or '7' as a list of seeds."""
    found = []
    for part in text.split(','):
        low, dash, high = part.partition('-')
        low, high = seed(low), seed(high if dash else low)
        if not low <= high < low + 10_000:
            raise argparse.ArgumentTypeError(f'{text!r} is not a range of seeds such as 0-9 or 0,3,5')
        found += range(low, high + 1)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--dataset', choices=DATASETS, default='mnist', help='the digits, as prepro.py made them '
                        '(default: mnist)')
    parser.add_argument('--optimizer', choices=tuple(RATE), default='sgd',
                        help='plain gradient descent, or the paper\'s Newton (default: sgd)')
    parser.add_argument('-l', '--learning-rate', type=positive, metavar='RATE',
                        help='assumed: the paper does not give one (default: '
                        + ', '.join(f'{rate} for {optimizer}' for optimizer, rate in RATE.items()) + ')')
    parser.add_argument('--passes', type=count, default=PASSES, metavar='N',
                        help=f'over the training digits (default: the paper\'s {PASSES})')
    parser.add_argument('--seed', type=seed, default=1337, metavar='N', help='of the initial weights (default: 1337)')
    parser.add_argument('--engine', choices=('compiled', 'autograd'), default='compiled',
                        help='backprop.py, compiled by numba, or the same by PyTorch, 100 times slower (default: compiled)')
    parser.add_argument('-o', '--output', default=os.path.join('out', 'base'), metavar='DIR',
                        help='where args.json, metrics.csv and model.pt go (default: out/base)')
    args = parser.parse_args()
    args.learning_rate = args.learning_rate or RATE[args.optimizer]

    torch.set_num_threads(1)            # two are slower on a net of this size
    splits = {split: load(args.dataset, split) for split in ('train', 'test')}
    writable(args.output)
    net = Net(args.seed)
    rows = []
    try:
        for n, seconds in train(net, *splits['train'], args.passes, args.learning_rate, args.optimizer,
                                engine=args.engine):
            print(n)
            for split, (X, T) in splits.items():
                m = measure(net, X, T, args.engine)
                print(f'eval: split {split:5}. loss {m["loss"]:e}. error {m["error"]:.2f}%. misses: {m["misses"]}')
                rows.append({'pass': n, 'split': split, **m, 'seconds': seconds})
            sys.stdout.flush()
            save(args, rows, net)
    except Diverged:
        done = len(rows) // 2
        if done:
            os.remove(os.path.join(args.output, 'model.pt'))
        kept = f'no model is kept, but the measurements of {done} passes' if done else 'nothing is written'
        fail(f'training diverged in pass {done + 1}: a value is no longer finite; {kept}; '
             f'try a learning rate smaller than {args.learning_rate}')

    print(table({'paper, 1989': PAPER, 'reproduction, 2022': REFERENCE, 'this run': figures(*rows[-2:])}))
    before = DAYS * 24 * 60 * 60 * args.passes / PASSES
    print(f'trained for {args.passes} passes in {seconds:.1f} s: {before / seconds:,.0f} times faster than in 1989 '
          f'({DAYS} days for {PASSES} passes)')


def writable(folder):
    """End the script, before there is anything to lose, if a run cannot be written to folder."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        fail(f'cannot write to {folder}: {e.strerror}; name another directory')


def save(args, rows, net):
    """Write a run as far as it has come: how it was started, a row for each pass and split, the net."""
    f = io.StringIO()
    metrics = csv.DictWriter(f, rows[0], lineterminator='\n')
    metrics.writeheader()
    metrics.writerows(rows)
    for name, content in (('args.json', (json.dumps(vars(args), indent=1) + '\n').encode()),
                          ('metrics.csv', f.getvalue().encode()), ('model.pt', packed(net.state_dict()))):
        write_file(os.path.join(args.output, name), content)


if __name__ == '__main__':
    run(main)
