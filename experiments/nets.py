"""
Nets other than the paper's, each given by its connections: unshared windows, logistic units, two hidden layers,
LeNet-1.

A layer is a list of units, and a unit a list of connections (source, name of the weight). The source is a unit of the
layer below, counted from 0, or BORDER or ONE. Connections that name the same weight share it, so that any sharing can
be written down, and the paper's counts of units, connections and free parameters are the lengths of these lists.
train_pass, outputs and curvature go over the connections one by one, compiled: for the paper's net they give the
numbers of support/backprop.py (tested),
thirty times slower. repro.train and repro.measure use them: they are such a net's engine.
"""
import sys
from itertools import product

import numpy as np
import torch
import torch.nn as nn

from repro import BACKGROUND
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


# ---------------------------------------------------------------------------------------------------------------------
# the net

class Net(nn.Module):
    """
    A net of layers {name: units} on images of inputs pixels. w is the vector of its free parameters.

    seed, A, S, level and root are as in repro.Net: weights are uniform in +-2.4/F, biases 0. With logistic, hidden
    units are 1 / (1 + e**-s), from 0 to 1, and what is beyond a map's border is 0. Outputs y are then read as 2 y - 1,
    from -1 to 1, so that targets and errors compare with a symmetric net's; with the targets scaled to match, this is
    the same learning with the cost and the rate in other units. width multiplies the range of the initial weights.
    """

    def __init__(self, layers, seed, inputs=256, A=1.0, S=1.0, level=1.0, root=False, logistic=False, width=1.0):
        super().__init__()
        self.engine = sys.modules[__name__]      # what trains it, instead of support/backprop.py
        self.level, self.inputs, self.border = level, inputs, 0.0 if logistic else BACKGROUND
        units = [unit for layer in layers.values() for unit in layer]
        n = inputs + len(units)         # values in order: the image, the units, the two borders, the constant 1
        source, weight, fan_in = [], [], []
        numbers = self.numbers = {}     # where in w each (layer, name of the weight) is
        first, above, border = 0, inputs, n     # where the layer below begins, where this one does, the border's place
        self.counts = {}
        for name, layer in layers.items():
            parameters = len(numbers)
            for unit in layer:
                F = sum(s != ONE for s, _ in unit)
                for s, key in unit:
                    source.append({BORDER: border, ONE: n + 2}.get(s, first + s))
                    if (name, key) not in numbers:
                        numbers[name, key] = len(numbers)
                        fan_in.append(np.inf if s == ONE else F**0.5 if root else F)     # a bias is 0
                    weight.append(numbers[name, key])
            first, above, border = above, above + len(layer), n + 1
            self.counts[name] = len(layer), sum(map(len, layer)), len(numbers) - parameters
        self.counts['all'] = inputs + len(units), len(source), len(numbers)
        self.ends = np.cumsum([len(layer) for layer in layers.values()])
        start = np.cumsum([0, *map(len, units)])
        self.connections = start, np.array(source, np.uint32), np.array(weight, np.uint32)

        hidden = (0.5, 0.5, 0.5) if logistic else (A, S, 0.0)            # y = A tanh(S s) + C
        outputs = (1.0, 0.5, 0.0) if logistic else (A, S, 0.0)
        self.units = np.array([hidden] * (len(units) - 10) + [outputs] * 10, f32).T.copy()
        g = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter((torch.rand(len(numbers), generator=g) - 0.5) * 2 * 2.4 * width
                              / torch.tensor(fan_in, dtype=torch.float32))

    def layers(self, x):
        """The activations of every layer for images x (n, 1, h, h): what the functions below compute."""
        start, source, weight = (torch.from_numpy(a.astype(np.int64)) for a in self.connections)
        A, S, C = torch.from_numpy(self.units)
        units = torch.arange(len(A)).repeat_interleave(start.diff())     # whose each connection is
        n = self.inputs + len(A)
        rest = x.new_tensor([BACKGROUND, self.border, 1.0]).expand(len(x), 3)
        found, y, first = [], x.flatten(1), 0
        for end in self.ends.tolist():
            part = slice(start[first], start[end])
            values = torch.cat([y, x.new_zeros(len(x), n - y.shape[1]), rest], 1)
            s = x.new_zeros(len(x), end - first).index_add(1, units[part] - first,
                                                           self.w[weight[part]] * values[:, source[part]])
            found.append(A[first:end] * torch.tanh(S[first:end] * s) + C[first:end])
            y, first = torch.cat([y, found[-1]], 1), end
        return found

    def forward(self, x):
        return self.layers(x)[-1]


# ---------------------------------------------------------------------------------------------------------------------
# the way up and the way down, connection by connection

def compiled(function):
    return numba.njit(fastmath={'contract'}, error_model='numpy', nogil=True, cache=True)(function)


@compiled
def room(inputs, n, border):
    """Memory: y for the values of inputs, n units and the constants, which are set; slope; and d, for dE/dy."""
    y = np.zeros(inputs + n + 3, f32)
    y[inputs + n:] = border
    return y, np.zeros(n, f32), np.zeros(inputs + n + 3, f32)


@compiled
def forward(w, connections, units, x, y, slope):
    """Set y, the values of the image x, the units and, at its end, the constants; and slope, the units' dy/ds."""
    start, source, weight = connections
    A, S, C = units
    y[:len(x)] = x
    for u in range(len(A)):
        s = f32(0)
        for c in range(start[u], start[u + 1]):
            s += w[weight[c]] * y[source[c]]
        t = f32(1) - f32(2) / (exp(f32(2) * S[u] * s) + f32(1))          # tanh
        y[len(x) + u] = A[u] * t + C[u]
        slope[u] = A[u] * S[u] * (f32(1) - t * t)


@compiled
def backward(w, connections, y, slope, d, gradient):
    """
    From d, dE/dy of the outputs and 0 elsewhere, add every weight's dE/dw to gradient. Overwrites d.

    With w, y and slope squared it makes d2E/dw2 from d2E/dy2 in the same way (repro.curvature).
    """
    start, source, weight = connections
    inputs = len(y) - 3 - len(slope)
    for u in range(len(slope) - 1, -1, -1):
        delta = d[inputs + u] * slope[u]
        for c in range(start[u], start[u + 1]):
            gradient[weight[c]] += delta * y[source[c]]
            d[source[c]] += delta * w[weight[c]]


@compiled
def run_pass(w, rates, connections, units, border, X, T, order):
    """repro.train_pass: changes w in place, and returns how many patterns came before a value that is not finite."""
    inputs, n = X.shape[1], len(units[0])
    (y, slope, d), gradient = room(inputs, n, border), np.zeros_like(w)
    for i in range(len(order)):
        forward(w, connections, units, X[order[i]], y, slope)
        d[:] = 0
        gradient[:] = 0
        for j in range(10):
            d[inputs + n - 10 + j] = f32(2 / 10) * (y[inputs + n - 10 + j] - T[order[i], j])
        total = d.sum()
        backward(w, connections, y, slope, d, gradient)
        for k in range(len(w)):
            w[k] -= rates[k] * gradient[k]
        if not np.isfinite(total):
            return i
    return len(order)


@compiled
def run_outputs(w, connections, units, border, X, out):
    """out (n, 10) for X (n, inputs)."""
    inputs, n = X.shape[1], len(units[0])
    y, slope, d = room(inputs, n, border)
    for i in range(len(X)):
        forward(w, connections, units, X[i], y, slope)
        out[i] = y[inputs + n - 10:inputs + n]


@compiled
def run_curvature(w, connections, units, border, X, total):
    """Add each pattern's second derivatives to total, 0 so far."""
    inputs, n = X.shape[1], len(units[0])
    y, slope, d = room(inputs, n, border)
    for i in range(len(X)):
        forward(w, connections, units, X[i], y, slope)
        d[:] = 0
        d[inputs + n - 10:inputs + n] = f32(2 / 10)
        backward(w**2, connections, y**2, slope**2, d, total)


# ---------------------------------------------------------------------------------------------------------------------
# the functions that repro.py calls, as in support/backprop.py

def arrays(net, X):
    """(w, connections, units, constants, images) as the functions above want them."""
    return (net.w.detach().numpy(), net.connections, net.units, np.array([BACKGROUND, net.border, 1], f32),
            np.ascontiguousarray(X.flatten(1).numpy()))


def train_pass(net, X, T, rates, order):
    """As repro.train_pass."""
    w, connections, units, border, X = arrays(net, X)
    rates = torch.as_tensor(rates['w'], dtype=torch.float32).expand(len(w)).contiguous().numpy()
    done = run_pass(w, rates, connections, units, border, X, T.contiguous().numpy(), np.asarray(order, np.int64))
    return done if np.isfinite(w).all() else min(done, len(order) - 1)


def outputs(net, X):
    """As repro.outputs."""
    out = np.empty((len(X), 10), f32)
    run_outputs(*arrays(net, X), out)
    return torch.from_numpy(out)


def curvature(net, X):
    """As repro.curvature."""
    total = np.zeros(len(net.w), f32)
    run_curvature(*arrays(net, X), total)
    return {'w': torch.from_numpy(total / len(X))}
