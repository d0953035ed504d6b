"""
Nets other than the paper's, each given by its connections: logistic units, unshared windows, two hidden layers,
LeNet-1.

A layer is a list of units, and a unit a list of connections (source, name of the weight). The source is a unit of the
layer below, counted from 0, or BORDER or ONE. Connections that name the same weight share it, so that any sharing can
be written down, and the paper's counts of units, connections and free parameters are the lengths of these lists. Such
a net is its own engine, which repro.train and repro.measure use: for the paper's net it gives what repro.py computes
(tested), thirty times slower than support/backprop.py.
"""
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F

import repro
from repro import BACKGROUND, TABLE
from support.backprop import exp, numba

BORDER, ONE = -1, -2    # sources that are not units: what is beyond a map's border, and a bias's constant input
f32 = np.float32

# ---------------------------------------------------------------------------------------------------------------------
# layers


def windows(table, below, size, stride=1, pad=0, shared=True, own_biases=True):
    """
    Maps of size x size units with windows of 5x5 on maps of below x below units; map m sees the maps in table[m].

    The weights are shared within a map, unless shared is False; the biases are shared unless own_biases.
    """
    units = []
    for (m, seen), r, c in product(enumerate(table), range(size), range(size)):
        unit = []
        for a, i, j in product(seen, range(5), range(5)):
            y, x = stride*r + i - pad, stride*c + j - pad
            inside = 0 <= y < below and 0 <= x < below
            unit.append(((a*below + y)*below + x if inside else BORDER, (m, a, i, j) if shared else (m, a, i, j, r, c)))
        units.append([*unit, (ONE, ('bias', m, r, c) if own_biases else ('bias', m))])
    return units


def averages(maps, below):
    """A map for each map of below x below units; each unit sees 2x2 of it. One weight and one bias a map."""
    return [[*(((m*below + 2*r + i)*below + 2*c + j, (m,)) for i in range(2) for j in range(2)), (ONE, ('bias', m))]
            for m, r, c in product(range(maps), range(below // 2), range(below // 2))]


def full(below, units):
    """Units that see all of the layer below."""
    return [[*((x, (x, u)) for x in range(below)), (ONE, ('bias', u))] for u in range(units)]


def paper(shared=True):
    """The paper's layers, or with the same windows and a weight for each connection."""
    return {'H1': windows([[0]] * 12, 16, 8, 2, 2, shared), 'H2': windows(TABLE, 8, 4, 2, 2, shared),
            'H3': full(192, 30), 'out': full(30, 10)}


def two_hidden():
    """256-60-30-10."""
    return {'H1': full(256, 60), 'H2': full(60, 30), 'out': full(30, 10)}


# Which maps of H2 each map of LeNet-1's H3 sees: table 1 of the paper of 1990, from memory. It agrees with the
# transcription in github.com/Mystique1337/lecun-1989-mnist-reproduction, and has 20 kernels, as the counts require.
LENET1_TABLE = [[0], [0, 1], [0, 1], [1], [0, 1], [0, 1], [2], [2, 3], [2, 3], [3], [2, 3], [2, 3]]


def lenet1():
    """
    The net of section 5.1's claim: LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel 1990, "Handwritten Digit
    Recognition with a Back-Propagation Network" (NIPS 1989). Images are 28x28; windows alternate with averages, and
    weights and biases are shared. What that paper leaves open, the squashing function, targets, initial weights and
    learning, is assumed to be that of 1989.
    """
    return {'H1': windows([[0]] * 4, below=28, size=24, own_biases=False),     # 4 maps of 24x24
            'H2': averages(4, below=24),                                       # 4 of 12x12
            'H3': windows(LENET1_TABLE, below=12, size=8, own_biases=False),   # 12 of 8x8
            'H4': averages(12, below=8),                                       # 12 of 4x4
            'out': full(12*4*4, 10)}


# ---------------------------------------------------------------------------------------------------------------------
# the engine: the way up and the way down, connection by connection

OUTPUTS, TRAINING, CURVATURE = 0, 1, 2


@numba.njit(fastmath={'contract'}, error_model='numpy', nogil=True, cache=True)
def run(task, w, start, source, weight, units, constants, E2, X, T, rates):
    """
    Over the patterns: (how many came before a value that is not finite, outputs, d2E/dw2 summed). TRAINING changes w
    after each. E2 is d2E/dy2 of the cost E.
    """
    A, S, C = units
    inputs, n = X.shape[1], len(A)
    y, slope, d = np.zeros(inputs + n + 3, f32), np.zeros(n, f32), np.zeros(inputs + n + 3, f32)
    y[inputs + n:] = constants
    ends = slice(inputs + n - 10, inputs + n)
    out, g, down = np.zeros((len(X), 10), f32), np.zeros_like(w), w**2 if task == CURVATURE else w
    for i in range(len(X)):
        y[:inputs] = X[i]
        for u in range(n):
            s = f32(0)
            for c in range(start[u], start[u + 1]):
                s += w[weight[c]] * y[source[c]]
            t = f32(1) - f32(2) / (exp(f32(2) * S[u] * s) + f32(1))      # tanh
            y[inputs + u] = A[u] * t + C[u]
            slope[u] = A[u] * S[u] * (f32(1) - t * t)
        out[i] = y[ends]
        if task == OUTPUTS:
            continue
        d[:] = 0
        if task == TRAINING:
            g[:] = 0
            d[ends] = E2 * (out[i] - T[i])                      # dE/dy
            values, slopes = y, slope
        else:                           # second derivatives go down the same way with everything squared
            d[ends] = E2
            values, slopes = y**2, slope**2
        if not np.isfinite(d.sum()):
            return i, out, g
        for u in range(n - 1, -1, -1):
            delta = d[inputs + u] * slopes[u]
            for c in range(start[u], start[u + 1]):
                g[weight[c]] += delta * values[source[c]]
                d[source[c]] += delta * down[weight[c]]
        if task == TRAINING:
            for k in range(len(w)):
                w[k] -= rates[k] * g[k]
    return len(X), out, g


# ---------------------------------------------------------------------------------------------------------------------
# the net

class Net(repro.Units):
    """
    A net of layers {name: units}. w is the vector of its free parameters. Images are framed by so many pixels of
    background.

    With logistic, hidden units are 1 / (1 + e**-s), from 0 to 1, and what is beyond a map's border is 0. Outputs y are
    then read as 2 y - 1, from -1 to 1, so that targets and errors compare with a symmetric net's; with the targets
    scaled to match, this is the same learning with the cost and the rate in other units.
    """

    def __init__(self, layers, seed, A=1.0, S=1.0, level=1.0, factor=1.0, sqrt_fan_in=False, logistic=False, frame=0):
        super().__init__(A, S, level, factor)
        self.engine = Net               # its functions train it, instead of support/backprop.py's
        self.structure, self.frame, self.inputs = layers, frame, (16 + 2*frame)**2
        n = self.inputs + sum(map(len, layers.values()))
        # values in order: the image, the units, what is beyond the image's border and beyond a map's, the constant 1
        self.constants = np.array([BACKGROUND, 0 if logistic else BACKGROUND, 1], f32)
        start, source, weight, fan_in = [0], [], [], []
        numbers = self.numbers = {}     # where in w each (layer, name of the weight) is
        first, above, border = 0, self.inputs, n     # where the layer below begins, and this one; and its border
        for name, layer in layers.items():
            for unit in layer:
                fan = sum(s != ONE for s, _ in unit)
                for s, key in unit:
                    source.append({BORDER: border, ONE: n + 2}.get(s, first + s))
                    weight.append(numbers.setdefault((name, key), len(numbers)))
                    fan_in.append(np.inf if s == ONE else fan)           # a bias is 0
                start.append(len(source))
            first, above, border = above, above + len(layer), n + 1
        self.connections = np.array(start), np.array(source, np.uint32), np.array(weight, np.uint32)
        units = np.full((n - self.inputs, 3), (0.5, 0.5, 0.5) if logistic else (A, S, 0), f32)   # y = A tanh(S s) + C
        if logistic:
            units[-10:] = 1, 0.5, 0
        self.units = units.T.copy()
        fans = torch.zeros(len(numbers))
        fans[weight] = torch.tensor(fan_in)
        self.w = repro.initial(seed, sqrt_fan_in)(fans, len(numbers))

    def counts(self):
        counts = {name: (len(layer), sum(map(len, layer)), len({key for unit in layer for _, key in unit}))
                  for name, layer in self.structure.items()}
        return counts | {'all': tuple(map(sum, zip((self.inputs, 0, 0), *counts.values())))}

    def call(self, task, X, T=None, rates=0.0):
        X = F.pad(X, 4 * [self.frame], value=BACKGROUND).flatten(1).contiguous()
        rates = torch.as_tensor(rates, dtype=torch.float32).expand(len(self.w)).contiguous()
        return run(task, self.w.detach().numpy(), *self.connections, self.units, self.constants,
                   f32(self.factor * 2 / 10), X.numpy(), (torch.zeros(0, 10) if T is None else T.contiguous()).numpy(),
                   rates.numpy())

    def train_pass(self, X, T, rates, order):
        n, _, _ = self.call(TRAINING, X[list(order)], T[list(order)], rates['w'])
        return n if self.w.isfinite().all() else min(n, len(order) - 1)

    def outputs(self, X):
        return torch.from_numpy(self.call(OUTPUTS, X)[1])

    def curvature(self, X, T):
        return {'w': torch.from_numpy(self.call(CURVATURE, X)[2] / len(X))}

    forward = outputs                   # without a gradient


KINDS = {'logistic': (paper, {'logistic': True}), 'unshared': (lambda: paper(shared=False), {}),
         'two hidden': (two_hidden, {}), 'lenet1': (lenet1, {'frame': 6})}


def recipe(kind):
    """`paper` for another net. A logistic unit's targets are at the same part of its range."""
    settings = repro.RECIPES['paper']
    same = {name: settings['net'][name] for name in ('A', 'S', 'level', 'factor', 'sqrt_fan_in')}
    if kind == 'logistic':
        same |= {'A': 1.0, 'S': 1.0, 'level': same['level'] / same['A']}
    return {'net': {'type': kind, **same}, 'training': settings['training']}


def build(settings, seed):
    """repro.build, for these nets too."""
    arguments = dict(settings['net'])
    layers, own = KINDS.get(arguments.pop('type'), (None, {}))
    return Net(layers(), seed, **own, **arguments) if layers else repro.build(settings, seed)


# the counts in the paper of 1990: units (with the image's 784), connections, free parameters
assert build(recipe('lenet1'), 0).counts() == {
    'H1': (4*24*24, 59_904, 104), 'H2': (4*12*12, 2_880, 8), 'H3': (12*8*8, 32_768, 512), 'H4': (12*4*4, 960, 24),
    'out': (10, 1_930, 1_930), 'all': (28*28 + 3_850, 98_442, 2_578)}
