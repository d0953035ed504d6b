"""
Back-propagation written out by hand and compiled by numba: what repro.py's nets and autograd compute, one pattern at a
time, a hundred times as fast. For a layer with inputs x, weights w, biases b, and the layer's unit p of map m:

    s[m,p] = sum over k of w[m,k] x[p,k] + b[m,p]       its weighted sum
    y[m,p] = A tanh(S s[m,p])                           its output, "squashed"
    delta[m,p] = slope[m,p] e[m,p], slope = dy/ds       dE/ds; at the output e = 2/10 (y - t), and below it
    e[p,k] = sum over m of delta[m,p] w[m,k]            what the layer passes down to its input k
    w[m,k] -= rate[m,k] sum over p of delta[m,p] x[p,k]
    b[m,p] -= rate[m,p] delta[m,p]

A map's units share its weights; in a fully connected layer each map is one unit. Three loop nests say the same: sums,
deltas, change. Curvature, the second derivatives, goes down the same way with weights, inputs and slopes squared.

The layout. All inner loops must run over numbers that lie side by side. So H1's outputs, with their border, are turned
round to row, column, map, and each column of H2's units gets a copy of the five columns it sees, a strip of 12 rows:

    columns  0 1 2 3 4 5 6 7 8 9 10 11      12 maps a column: a row of a window is 5*12 = 60 numbers, filled up to K = 64
    strip 0  = = = = =                      row 0   |60 numbers|0000|  |
    strip 1      = = = = =                  row 1   |60 numbers|0000|  |  the window of H2's unit in row 0, column 0;
    strip 2          = = = = =              row 2   |60 numbers|0000|  |  2K further on, the window of row 1
    strip 3              = = = = =          ...                       |

A window of H2 is then one run of 5K numbers in all maps of H1, and so is a map's kernel. Where the connection table
has no connection, weight and rate are 0: the table is known to pack and unpack alone. results/engine.md has the rest.
"""
import sys
import threading
from collections import namedtuple

import numpy as np
import torch

from support import loops               # ImportError, with a reason in a line, where numba cannot be used

BACKGROUND = -1.0   # what connections see that reach over the border of the image, or of a map of H1
Layer = namedtuple('Layer', 'w b')
Rate = namedtuple('Rate', 'w b row_w row_b')            # the rates of row m of the weights are row row_w[m] of this w
Net = namedtuple('Net', 'H1 H2 H3 out')
Room = namedtuple('Room', 'image x1 y1 maps x2 x3 x4 y4 delta1 delta2 delta3 delta4 e2 e1 g1')


def views(net, p):
    """{parameter's name: a tensor of its shape on the memory of p, a Net of Layers of tensors}, but for H2w."""
    h = net.H3b.numel()
    found = {'H3w': p.H3.w[:h, :len(net.H3w)].T, 'H3b': p.H3.b[0, :h],
             'outw': p.out.w[:10, :h].T, 'outb': p.out.b[0, :10]}
    if hasattr(net, 'table'):
        found['H1w'], found['H1b'] = p.H1.w[:, :25].view(net.H1w.shape), p.H1.b.view(net.H1b.shape)
        found['H2b'] = p.H2.b[:len(net.H2b)].view(net.H2b.shape)
    return found


def kernels(net, p):
    """For each map of H2: its kernel in p (5, 5, maps of H1), and the maps it sees."""
    n1 = len(net.H1w)
    return [(w.view(5, -1)[:, :5*n1].view(5, 5, n1), row) for w, row in zip(p.H2.w, net.table)]


def pack(net, values):
    """A Net of Layers of tensors, filled up with 0, from {parameter's name: number or tensor}."""
    n1, n2 = (len(net.H1w), len(net.H2w)) if hasattr(net, 'table') else (0, 0)
    n2, h, K = up(n2, 4), up(net.H3b.numel(), 16), up(5*n1, 16)
    zeros = torch.zeros
    p = Net(Layer(zeros(n1, 28), zeros(n1, 64)), Layer(zeros(n2, 5*K), zeros(n2, 16)),
            Layer(zeros(h, 16*n2 or 256), zeros(1, h)), Layer(zeros(12, h), zeros(1, 12)))
    for name, view in views(net, p).items():
        view.copy_(torch.as_tensor(values[name]))
    if n1:
        for (w, row), value in zip(kernels(net, p), torch.as_tensor(values['H2w']).expand(net.H2w.shape)):
            w[:, :, row] = value.permute(1, 2, 0)
    return p


def unpack(net, p):
    """The opposite of pack."""
    found = views(net, p)
    if hasattr(net, 'table'):
        found['H2w'] = torch.stack([w[:, :, row].permute(2, 0, 1) for w, row in kernels(net, p)])
    return found


def up(n, m):
    """n rounded up to a multiple of m."""
    return -(-n // m) * m


def alike(a):
    """(a without the rows that it has already, where in it each row is). Of rates, mostly one is left: less to read."""
    first = {}
    for m, row in enumerate(a):
        first.setdefault(row.tobytes(), m)
    kept = {row: i for i, row in enumerate(first)}
    return a[np.array(list(first.values()), np.int64)], np.array([kept[row.tobytes()] for row in a], np.int64)


def room(p):
    """Memory for one pattern's way up and down."""
    n1, n2, h, K = len(p.H1.w), len(p.H2.w), len(p.H3.w), p.H2.w.shape[1] // 5
    zeros = torch.zeros
    x2 = zeros(4, 12, K)
    x2[:, :, :5*n1] = BACKGROUND
    return Room(image=zeros(20, 20) + BACKGROUND, x1=zeros(5, 2, 80), y1=zeros(n1, 64),
                maps=zeros(12, 12*n1) + BACKGROUND, x2=x2.view(4, 12*K), x3=zeros(n2 or 16, 16), x4=zeros(1, h),
                y4=zeros(1, 12), delta1=zeros(n1, 64), delta2=zeros(n2, 16), delta3=zeros(1, h), delta4=zeros(1, 12),
                e2=zeros(4, 12*K), e1=zeros(12, 12*n1), g1=zeros(n1, 28))


def arrays(p):
    return Net(*(Layer(w.numpy(), b.numpy()) for w, b in p))


def call(task, net, params, X, T, order, above=None, changed=None, rates=None):
    """(how many patterns were good, outputs): runs the compiled code; a line on stderr if compiling it takes long."""
    out, params = torch.zeros(len(order), 10), arrays(params)
    rates = Net(*(Rate(w, b, row_w, row_b) for (w, row_w), (b, row_b) in
                  ((alike(w), alike(b)) for w, b in (arrays(rates) if rates else params))))
    args = (task, params, arrays(above) if above else params, arrays(changed) if changed else params, rates,
            np.float32(net.A), np.float32(net.S), bool(getattr(net, 'softmax', False)),
            np.ascontiguousarray(X.reshape(len(X), 256).numpy()), np.ascontiguousarray(T.numpy()),
            np.asarray(order, np.int64), out.numpy(), Room(*(t.numpy() for t in room(params))))
    if not loops.run.signatures:
        late = threading.Timer(1, lambda: print('compiling backprop.py, which is done once ...', file=sys.stderr))
        late.daemon = True
        late.start()
        try:
            loops.run.compile(tuple(loops.numba.typeof(a) for a in args))             # or load it, which is quick
        finally:
            late.cancel()
    return loops.run(*args), out


def parameters(net, X):
    """pack of net's parameters. ValueError if net is not one that is computed here, by its output for a pattern."""
    if not all(hasattr(net, name) for name in ('H3w', 'H3b', 'outw', 'outb', 'A', 'S')):
        raise ValueError(f'{type(net).__name__} is not a net that support/backprop.py computes')
    params = pack(net, {name: p.detach() for name, p in net.named_parameters()})
    with torch.no_grad():
        y = net(X[:1])
    y = y.softmax(1) if getattr(net, 'softmax', False) else y
    found = call(loops.OUTPUTS, net, params, X[:1], torch.zeros(len(X[:1]), 10), range(len(X[:1])))[1]
    if y.isfinite().all() and found.isfinite().all() and (found - y).abs().sum() > 1e-3 * max(1, abs(net.A)):
        raise ValueError(f'{type(net).__name__} computes something else than support/backprop.py does')
    return params


def train_pass(net, X, T, rates, order):
    """
    One pass of net over X (n, 1, 16, 16), T (n, 10) in the order given, in place. net is repro.Net, of any size and
    table, or repro.FullNet; with an attribute softmax that is true, its outputs and cost are softmax and cross-entropy.

    rates: {parameter's name: learning rate, a number or a tensor of the parameter's shape}. Returns how many patterns
    were good: fewer than there are if a value was not finite. Releases the interpreter lock while it runs.
    """
    params = parameters(net, X)
    done, _ = call(loops.TRAINING, net, params, X, T, order, rates=pack(net, rates))
    with torch.no_grad():
        for name, value in unpack(net, params).items():
            getattr(net, name).copy_(value)
    if done == len(order) and not all(p.isfinite().all() for p in net.parameters()):
        done -= 1                       # the last change was not followed by a pattern that would have shown it
    return max(done, 0)


def outputs(net, X):
    """Outputs (n, 10) of net for X (n, 1, 16, 16)."""
    return call(loops.OUTPUTS, net, parameters(net, X), X, torch.zeros(1, 10).expand(len(X), 10), range(len(X)))[1]


def curvature(net, X):
    """
    {parameter's name: d2E/dw2, averaged over the patterns X}, of the parameter's shape, never negative.

    The diagonal approximation of LeCun 1987 and of Becker and LeCun 1988: second derivatives go down as deltas do,
    with weights, inputs and slopes squared, without the term in the squashing function's second derivative (which may
    be negative) and without the terms that mix units; shared weights get the sum over the units that share them.
    """
    params = parameters(net, X)
    names = [name for name, _ in net.named_parameters()]
    squares = Net(*(Layer(w**2, b**2) for w, b in params))
    found, rates = pack(net, dict.fromkeys(names, 0.0)), pack(net, dict.fromkeys(names, -1 / len(X)))
    call(loops.CURVATURE, net, params, X, torch.zeros(1, 10).expand(len(X), 10), range(len(X)), squares, found, rates)
    return {name: value.clone() for name, value in unpack(net, found).items()}
