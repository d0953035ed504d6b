"""
LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel 1989, "Backpropagation
Applied to Handwritten Zip Code Recognition", Neural Computation 1(4):541-551:
the net, its learning and its results, in the paper's order.

    python repro.py                                  # as in 2022, on MNIST
    python repro.py --recipe paper --dataset usps    # as in 1989, on its digits

The second prints at its end, and so on every machine:

                         train                   test               rejected
                           MSE  error misses      MSE  error misses   for 1%
1989, the paper's net  2.5e-03  0.14%     10  1.8e-02  5.00%    102    12.1%
1989, fully connected        -  1.60%      -        -  8.10%      -    19.4%
2022, on mnist         4.1e-03  0.62%     45  2.8e-02  4.09%     82        -
this run, on usps      2.6e-03  0.16%     12  2.0e-02  5.18%    104    13.1%

results/README.md has many seeds of each. A run writes out/<recipe>-<dataset>/:
args.json, metrics.csv (a row for each pass and split) and, at its end,
model.pt (a state_dict).
"""
import functools
import os
import time

from support import cli, files          # first: it says what is not installed

import torch
import torch.nn as nn
import torch.nn.functional as F

from support.engine import faster       # the functions below, compiled, as long as they do the same

# ---------------------------------------------------------------------------------------------------------------------
# Section 3, network design; with the units, the cost and the initial weights of section 4

# The 8 maps of H1 that each of H2's 12 maps sees: "a scheme that will not be described here". Assumed, as in the 2022
# reproduction: three blocks of four maps.
TABLE = [list(range(0, 8))] * 4 + [list(range(4, 12))] * 4 + [[0, 1, 2, 3, 8, 9, 10, 11]] * 4

BACKGROUND = -1.0   # what windows see beyond the border of the image, or of a map of H1


def initial(seed, sqrt_fan_in):
    """
    A function uniform(fan_in, *shape) that draws a layer's initial weights. Section 4: uniform in [-2.4/F, 2.4/F], F a
    unit's fan-in. With sqrt_fan_in the range is 2.4 over the square root of F, as many have read it.
    """
    g = torch.Generator().manual_seed(seed)

    def uniform(fan_in, *shape):
        F = fan_in**0.5 if sqrt_fan_in else fan_in
        return nn.Parameter((torch.rand(*shape, generator=g) - 0.5) * 2 * 2.4 / F)
    return uniform


class Units(nn.Module):
    """What the paper's two nets share: their units, and what is counted and minimized. Layer H1 has H1w and H1b."""

    def __init__(self, A, S, level, factor):
        super().__init__()
        assert torch.get_default_dtype() == torch.float32, 'nets are float32: torch.set_default_dtype(torch.float32)'
        self.A, self.S, self.level, self.factor = A, S, level, factor

    def squash(self, s):
        """Section 4: a scaled hyperbolic tangent of the weighted sums s."""
        return self.A * torch.tanh(self.S * s)

    def slope(self, y):
        """The slope dy/ds of squash, where its value is y."""
        return self.A * self.S * (1 - (y / self.A)**2)

    def cost(self, y, t):
        """factor times the mean squared error, over patterns and outputs, of y where targets are t, both (n, 10)."""
        return self.factor * (t - y).square().mean()

    def forward(self, x):
        return self.layers(x)[-1]

    def counts(self):
        """
        {layer: (units, connections, free parameters)}; 'all' counts the 256 units of the image too. A bias is a
        connection, to a constant input.
        """
        counts = {}
        for layer in self.LAYERS:
            w, b = getattr(self, f'{layer}w'), getattr(self, f'{layer}b')
            fan_in = w[0].numel() if w.dim() == 4 else len(w)        # (maps, maps seen, 5, 5), or (inputs, units)
            counts[layer] = b.numel(), b.numel() * (fan_in + 1), w.numel() + b.numel()
        units, connections, parameters = map(sum, zip(*counts.values()))
        return counts | {'all': (16*16 + units, connections, parameters)}


def windows(x, w, background):
    """The weighted sums of 5x5 windows at stride 2 over maps x (n, m, 2h, 2h): (n, maps, h, h)."""
    return F.conv2d(F.pad(x, (2, 2, 2, 2), value=background), w, stride=2)


class Net(Units):
    """16x16 image -> H1, 12 maps of 8x8 -> H2, 12 maps of 4x4 -> H3, 30 units -> 10 outputs. 9,760 free parameters."""

    LAYERS = 'H1', 'H2', 'H3', 'out'

    def __init__(self, seed=1337,       # of the initial weights. The defaults are those of 2022
                 table=TABLE,           # for each map of H2, the maps of H1 that it sees, equally many
                 A=1.0, S=1.0,          # of the squashing function A tanh(S s)
                 level=1.0,             # targets are +level and -level
                 factor=1.0,            # the cost is this times the mean squared error
                 sqrt_fan_in=True,      # whether the initial range is 2.4 / sqrt(F), not 2.4 / F
                 out_bias=-1.0):        # the initial biases of the output; all others are 0
        super().__init__(A, S, level, factor)
        assert len(set(map(len, table))) == 1, 'table: each map of H2 sees equally many maps of H1'
        self.table = table
        H1_maps, H2_maps, seen = 1 + max(map(max, table)), len(table), len(table[0])     # 12, 12, 8
        uniform = initial(seed, sqrt_fan_in)
        # 5x5 windows; within a map weights are shared, biases are not
        self.H1w = uniform(5*5, H1_maps, 1, 5, 5)
        self.H1b = nn.Parameter(torch.zeros(H1_maps, 8, 8))
        # 5x5 windows in 8 of H1's 12 maps
        self.H2w = uniform(seen*5*5, H2_maps, seen, 5, 5)
        self.H2b = nn.Parameter(torch.zeros(H2_maps, 4, 4))
        # fully connected, as is the output
        self.H3w = uniform(H2_maps*4*4, H2_maps*4*4, 30)
        self.H3b = nn.Parameter(torch.zeros(30))
        self.outw = uniform(30, 30, 10)
        self.outb = nn.Parameter(torch.full((10,), out_bias))

    def layers(self, x):
        """The outputs of H1, H2, H3 and the last layer for images x (n, 1, 16, 16)."""
        H1 = self.squash(self.sums('H1', x, self.H1w) + self.H1b)              # (n, 12, 8, 8)
        H2 = self.squash(self.sums('H2', H1, self.H2w) + self.H2b)             # (n, 12, 4, 4)
        H3 = self.squash(self.sums('H3', H2, self.H3w) + self.H3b)             # (n, 30)
        out = self.squash(self.sums('out', H3, self.outw) + self.outb)         # (n, 10): one output a class
        return H1, H2, H3, out

    def sums(self, layer, x, w, background=BACKGROUND):
        """
        A layer's weighted sums of its inputs x with weights w, without the biases: linear in x and in w. curvature asks
        for those of x**2 and w**2.
        """
        if layer == 'H1':
            return windows(x, w, background)
        if layer == 'H2':
            return windows(x, self.kernels(w), background)
        return x.flatten(1) @ w

    def kernels(self, w):
        """H2's weights w (12, 8, 5, 5) as kernels over all maps of H1 (12, 12, 5, 5), 0 where nothing is connected."""
        kernels = w.new_zeros(len(self.table), len(self.H1w), 5, 5)
        kernels[torch.arange(len(self.table))[:, None], torch.tensor(self.table)] = w
        return kernels


assert Net().counts() == {              # the paper's own counts: units, connections, free parameters
    'H1': (768, 19_968, 1_068),         # 12 maps of 8x8 units, 5x5 inputs and a bias each; 12 kernels, 768 biases
    'H2': (192, 38_592, 2_592),         # 12 maps of 4x4 units, 8 times 5x5 inputs and a bias; 12 times 200 + 192
    'H3': (30, 5_790, 5_790),           # 30 units, 192 inputs and a bias each
    'out': (10, 310, 310),              # 10 units, 30 inputs and a bias each
    'all': (1_256, 64_660, 9_760)}, 'TABLE: not the counts of section 3; a recipe may have a table of its own'


class FullNet(Units):
    """Section 5's comparison, a fully connected net: 256-40-10. Arguments as for Net."""

    LAYERS = 'hidden', 'out'

    def __init__(self, seed=1337, hidden=40, A=1.0, S=1.0, level=1.0, factor=1.0, sqrt_fan_in=True, out_bias=-1.0):
        super().__init__(A, S, level, factor)
        uniform = initial(seed, sqrt_fan_in)
        self.hiddenw = uniform(16*16, 16*16, hidden)
        self.hiddenb = nn.Parameter(torch.zeros(hidden))
        self.outw = uniform(hidden, hidden, 10)
        self.outb = nn.Parameter(torch.full((10,), out_bias))

    def layers(self, x):
        """The outputs of the hidden layer and the last for images x (n, 1, 16, 16)."""
        hidden = self.squash(self.sums('hidden', x, self.hiddenw) + self.hiddenb)        # (n, 40)
        return hidden, self.squash(self.sums('out', hidden, self.outw) + self.outb)      # (n, 10)

    def sums(self, layer, x, w, background=BACKGROUND):
        return x.flatten(1) @ w         # no windows, no background


assert FullNet().counts()['all'] == (16*16 + 50, 10_690, 10_690)             # 10,690 connections


# ---------------------------------------------------------------------------------------------------------------------
# Section 4, experimental environment: learning

class Diverged(ArithmeticError):
    """Training came to a value that is not finite."""


def train(net, X, Y, passes, rate, optimizer='sgd', damping=0.0, patterns=500, shuffle=None, engine='compiled'):
    """
    Train net in place on X (n, 1, 16, 16), Y (n, 10) of +-1, which net.level makes targets. Yields (pass, seconds of
    training so far) after each pass. Raises Diverged.

    optimizer: 'sgd', one rate for all weights; or 'newton', the "special version of Newton's algorithm", in which each
    weight's rate is rate / (h + damping). h is its curvature, estimated before each pass on `patterns` of the patterns,
    evenly spread; the damping keeps steps from growing without bound where the cost is flat. The order is constant, as
    the paper's was, unless shuffle is a seed: then a new order is drawn for each pass.
    """
    assert optimizer in ('sgd', 'newton'), f'{optimizer!r} is neither sgd nor newton'
    T = net.level * Y
    rates = {name: rate for name, _ in net.named_parameters()}
    k = min(patterns, len(X))
    sample = torch.arange(k) * len(X) // k
    g = None if shuffle is None else torch.Generator().manual_seed(shuffle)
    update, second_derivatives = train_pass, curvature
    if engine == 'compiled':            # the same two functions, over 100 times as fast
        update = faster('train_pass', train_pass, net, X[:3], T[:3], rates, range(len(X[:3])))
        if optimizer == 'newton':
            second_derivatives = faster('curvature', curvature, net, X[:3], T[:3])
    seconds = 0.0
    for n in range(1, passes + 1):
        start = time.perf_counter()
        if optimizer == 'newton':
            rates = {name: rate / (h + damping) for name, h in second_derivatives(net, X[sample], T[sample]).items()}
        order = range(len(X)) if g is None else torch.randperm(len(X), generator=g).tolist()
        if update(net, X, T, rates, order) < len(X):
            raise Diverged
        seconds += time.perf_counter() - start
        yield n, seconds


def train_pass(net, X, T, rates, order):
    """
    One pass over the patterns, X (n, 1, 16, 16) and targets T (n, 10), in the order given (indices), the weights
    updated after each: w -= rate dE/dw, E the net's cost of the pattern.

    rates: {parameter's name: rate}, a number or a tensor of the parameter's shape. Stops at the first value that is not
    finite. Returns how many patterns came before it.
    """
    for n, i in enumerate(cli.progress(order, leave=False, unit='pattern')):
        E = net.cost(net(X[i:i+1]), T[i:i+1])
        net.zero_grad()
        E.backward()
        with torch.no_grad():
            for name, p in net.named_parameters():
                if p.requires_grad:
                    p -= rates[name] * p.grad
        if not all(p.isfinite().all() for p in net.parameters()):
            return n
    return len(order)


def curvature(net, X, T):
    """
    The "positive, diagonal approximation of the Hessian": {parameter's name: d2E/dw2, averaged over the patterns X, T}.

    Second derivatives go down layer by layer, as the deltas of back-propagation do, with everything squared (LeCun
    1987; Becker and LeCun 1988; LeCun et al. 1998, "Efficient BackProp", section 7). For a unit with inputs x, weights
    w, weighted sum s and output y = f(s),

        d2E/ds2 = f'(s)**2 d2E/dy2
        d2E/dw2 = sum of x**2 d2E/ds2, over the units that share the weight
        d2E/dx2 = sum of w**2 d2E/ds2, over the units above: the next layer's d2E/dy2

    What is left out is the term in f''(s), which could be negative.
    """
    h, grad = {}, torch.autograd.grad
    with torch.no_grad():
        ys = net.layers(X)
    y = ys[-1].requires_grad_()
    slopes, = grad(net.cost(y, T), y, create_graph=True)                       # dE/dy
    d2E_dy2 = torch.stack([grad(slopes[:, j].sum(), y, retain_graph=True)[0][:, j] for j in range(10)], 1)
    for layer, x, y in reversed(list(zip(net.LAYERS, (X, *ys), ys))):          # from the output down
        d2E_ds2 = net.slope(y.detach())**2 * d2E_dy2
        h[f'{layer}b'] = d2E_ds2.sum(0)
        # the weighted sums are linear in x and in w: their derivatives at the squares are the two sums above
        x2, w2 = (t.detach().square().requires_grad_() for t in (x, getattr(net, f'{layer}w')))
        d2E_dy2, h[f'{layer}w'] = grad(net.sums(layer, x2, w2, BACKGROUND**2), (x2, w2), d2E_ds2)
    return h


def outputs(net, X):
    """net(X) (n, 10), without a gradient."""
    with torch.no_grad():
        return torch.cat([net(x) for x in X.split(1000)])


# ---------------------------------------------------------------------------------------------------------------------
# Section 5, results

RESULTS = ('train_loss', 'train_error', 'train_misses', 'test_loss', 'test_error', 'test_misses', 'rejection')
PAPER = {'train_loss': 2.5e-3, 'train_error': 0.14, 'train_misses': 10,
         'test_loss': 1.8e-2, 'test_error': 5.0, 'test_misses': 102, 'rejection': 12.1}
PAPER_FC40 = {'train_error': 1.6, 'test_error': 8.1, 'rejection': 19.4}        # its fully connected net
KARPATHY2022 = {'train_loss': 4.073383e-3, 'train_error': 0.62, 'train_misses': 45,
                'test_loss': 2.838382e-2, 'test_error': 4.09, 'test_misses': 82}         # karpathy/lecun1989-repro
DAYS, PASSES = 3, 23                    # the paper's training, on a SUN-4/260


def measure(net, X, Y, engine='compiled'):
    """
    What the paper measures on a split, as a dict: loss, the net's cost; error, in percent; misses; rejection, the
    percentage of patterns to reject for 1% error on the rest.
    """
    out = (faster('outputs', outputs, net, X[:3]) if engine == 'compiled' else outputs)(net, X)
    misses = int((out.argmax(1) != Y.argmax(1)).sum())
    rejected, error, _ = rejection_curve(out, Y.argmax(1))
    cost = net.cost(out.double(), net.level * Y.double())
    return {'loss': float(f'{cost:.12g}'),       # beyond twelve digits it depends on the order of the sum
            'error': 100 * misses / len(X), 'misses': misses,
            'rejection': float(rejected[error <= 1].min(initial=100.0))}       # 100 if no threshold gives 1%


def rejection_curve(out, label):
    """
    Error against rejection: NumPy arrays of the percentage of patterns rejected, the error in percent on the rest, and
    the threshold that does it, from the strictest to the most lenient, which rejects none.

    A pattern is kept if its two most active outputs differ by at least the threshold. out (n, 10), label (n,).
    """
    top = out.topk(2).values.double()
    gap, order = (top[:, 0] - top[:, 1]).sort(descending=True)
    wrong = (out.argmax(1) != label)[order].cumsum(0)
    kept = torch.arange(1, len(out) + 1).double()
    whole = torch.cat([gap[1:] != gap[:-1], torch.tensor([True])])             # equal gaps are treated alike
    return (100 - 100 * kept / len(out))[whole].numpy(), (100 * wrong / kept)[whole].numpy(), gap[whole].numpy()


def results(train, test):
    """The paper's seven numbers (RESULTS) from what was measured on the two splits."""
    splits = {'train': train, 'test': test}
    return {f'{split}_{key}': m[key] for split, m in splits.items() for key in ('loss', 'error', 'misses')} | {
        'rejection': test['rejection']}


def closing_table(rows):
    """The table that a run ends with, as text. rows: {name: results}; a result may be missing."""
    line = '{:22}{:>8}{:>7}{:>7}{:>9}{:>7}{:>7}{:>9}'.format
    forms = '{:.1e}', '{:.2f}%', '{}', '{:.1e}', '{:.2f}%', '{}', '{:.1f}%'
    lines = [line('', 'train', '', '', 'test', '', '', 'rejected'),
             line('', 'MSE', 'error', 'misses', 'MSE', 'error', 'misses', 'for 1%')]
    lines += [line(name, *(form.format(row[key]) if key in row else '-' for key, form in zip(RESULTS, forms)))
              for name, row in rows.items()]
    return '\n'.join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Recipes: every setting of a net and its training, and where it comes from

RECIPES = {
    # karpathy/lecun1989-repro: its reading of the paper, and plain gradient descent
    'karpathy2022': {
        'net': dict(type='Net', table=TABLE, A=1.0, S=1.0, level=1.0, factor=1.0, sqrt_fan_in=True, out_bias=-1.0),
        'training': dict(optimizer='sgd', rate=0.03, passes=PASSES)},
    'paper': {
        'net': dict(
            type='Net', sqrt_fan_in=False,               # the paper, sections 3 and 4
            A=1.7159, S=2/3, level=1.0,                  # LeCun 1989, "Generalization and network design strategies"
            factor=0.5,                                  # LeCun's custom; the paper does not say
            table=TABLE, out_bias=0.0),                  # assumed: the 2022 reproduction's; as all other biases
        'training': dict(
            optimizer='newton', passes=PASSES,           # the paper, sections 4 and 5
            rate=0.00077, damping=0.005,                 # fitted to its two training results
            patterns=500)},                              # assumed
    # the paper's fully connected net, of whose training it says nothing: as `paper`; nothing is fitted to its results
    'fc40': {
        'net': dict(type='FullNet', hidden=40, A=1.7159, S=2/3, level=1.0, factor=0.5, sqrt_fan_in=False, out_bias=0.0),
        'training': dict(optimizer='newton', rate=0.00077, damping=0.005, patterns=500, passes=PASSES)},
}


def build(settings, seed):
    """The net of a recipe, untrained. train(net, X, Y, **settings['training']) trains it."""
    arguments = dict(settings['net'])
    return {'Net': Net, 'FullNet': FullNet}[arguments.pop('type')](seed, **arguments)


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--recipe', choices=tuple(RECIPES), default='karpathy2022', help="every setting: the 2022 "
                        "reproduction's, the paper's, or those of its fully connected net (default: karpathy2022)")
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D', help='the digits, as prepro.py '
                        "made them: mnist, usps (the paper's), mnist60k or mnist-seedN (default: mnist)")
    parser.add_argument('--passes', type=cli.count, metavar='N', help=f'over the training set (default: {PASSES})')
    parser.add_argument('-l', '--learning-rate', type=cli.positive, metavar='RATE', help='of each update; in paper '
                        'and fc40 divided by curvature + damping (default: '
                        + ', '.join(f'{r["training"]["rate"]} for {name}' for name, r in RECIPES.items()) + ')')
    parser.add_argument('--seed', type=cli.seed, default=1337, metavar='N',
                        help='of the initial weights (default: 1337)')
    parser.add_argument('--engine', choices=('compiled', 'autograd'), default='compiled', help='support/backprop.py, '
                        'compiled by numba, or PyTorch, over 100 times slower (default: compiled)')
    parser.add_argument('-o', '--output', type=cli.path, metavar='DIR',
                        help='where args.json, metrics.csv and model.pt go (default: out/<recipe>-<dataset>, and '
                        'what is not as in the recipe: out/paper-usps-passes2)')
    args = parser.parse_args()

    torch.set_num_threads(1)            # two are slower on a net of this size
    splits = files.load_digits(args.dataset)
    changes = {'passes': args.passes, 'rate': args.learning_rate}
    others = [f'{name}{value}' for name, value in changes.items() if value is not None]
    others += [f'seed{args.seed}'] * (args.seed != parser.get_default('seed'))
    folder = args.output or os.path.join('out', '-'.join([args.recipe, args.dataset, *others]))
    files.writable(folder)
    recipe = RECIPES[args.recipe]
    settings = recipe | {'training': recipe['training'] | {k: v for k, v in changes.items() if v is not None}}
    start = {'recipe': args.recipe, 'dataset': args.dataset, 'seed': args.seed, 'settings': settings,
             'engine': args.engine}
    net = build(settings, args.seed)
    print(f'recipe {args.recipe}, seed {args.seed}, on {args.dataset}: '
          + ', '.join(f'{len(X):,} {split} digits' for split, (X, _) in splits.items()))
    print(describe(settings, net))
    passes = ((n, seconds, net) for n, seconds in train(net, *splits['train'], **settings['training'],
                                                        engine=args.engine))
    rows = follow(passes, splits, functools.partial(measure, engine=args.engine), folder, start)

    print(closing_table({"1989, the paper's net": PAPER, '1989, fully connected': PAPER_FC40,
                         '2022, on mnist': KARPATHY2022, f'this run, on {args.dataset}': results(*rows[-2:])}))
    n = rows[-1]['pass']
    print(f'{n} pass{"es" if n > 1 else ""} over {len(splits["train"][0]):,} digits took {rows[-1]["seconds"]:.2f} s; '
          f'in 1989, {PASSES} over 7,291 took {DAYS} days')


def follow(passes, splits, measure, folder, args):
    """
    Train: `passes` yields (n, seconds, net) after each pass. Print the lines that people compare, and write the run's
    files. Returns the rows of metrics.csv: of each pass and split what measure(net, X, Y) says.
    """
    rows = []
    try:
        for n, seconds, net in passes:
            print(n)
            for split, (X, Y) in splits.items():
                m = measure(net, X, Y)
                print(f'eval: split {split:5}. loss {m["loss"]:e}. error {m["error"]:.2f}%. misses: {m["misses"]}',
                      flush=True)
                rows.append({'pass': n, 'split': split, **m, 'seconds': seconds})
            place = files.save_run(folder, args, rows)
    except Diverged:
        cli.fail(f'training diverged in pass {len(rows) // 2 + 1}: a value is no longer finite; '
                 + (f'the passes before it are in {place}' if rows else 'nothing is written')
                 + '; try a lower learning rate')
    files.save_run(folder, args, rows, net)
    return rows


def describe(settings, net):
    """A recipe's settings and its net's size, as text."""
    lines = [f'{part:9} ' + ', '.join(f'{name} {value}' for name, value in values.items() if name != 'table')
             for part, values in settings.items()]
    line = '{:9}{:>8}{:>13}{:>17}'.format
    lines += [line('layer', 'units', 'connections', 'free parameters')]
    lines += [line(layer, *(f'{n:,}' for n in numbers)) for layer, numbers in net.counts().items()]
    units, connections, _ = net.counts()['all']
    return '\n'.join([*lines, f'{connections - (units - 16*16):,} multiply-adds a digit'])


if __name__ == '__main__':
    cli.run(main)
