"""
The engine: repro.py's train_pass, outputs and curvature as one function over arrays, laid out for a processor's vector
registers and compiled by numba; results/engine.md says how fast it is, and why its bits are the same on every machine.
To learn how the net is trained, read repro.py. For a layer with inputs x, weights w, biases b, and its unit p of map m:

    s[m,p] = sum over k of w[m,k] x[p,k] + b[m,p]       its weighted sum
    y[m,p] = A tanh(S s[m,p])                           its output, "squashed"
    delta[m,p] = slope[m,p] e[m,p], slope = dy/ds       dE/ds; at the output e = E2 (y - t), and below it
    e[p,k] = sum over m of delta[m,p] w[m,k]            what the layer passes down to its input k
    w[m,k] -= rate[m,k] sum over p of delta[m,p] x[p,k]
    b[m,p] -= rate[m,p] delta[m,p]

A map's units share its weights; in a fully connected layer each map is one unit. Curvature, the second derivatives,
goes down the same way with weights, inputs and slopes squared. All inner loops run over numbers that lie side by side.
What belongs to H1's units is stored by row, column and map. Each column of H2's units has its own copy of the five
columns of H1 that it sees: a strip of 12 rows, with the border's.

    columns  0 1 2 3 4 5 6 7 8 9 10 11      12 maps a column: a row of a window is 60 numbers, filled up to K = 64
    strip 0  = = = = =                      row 0   |60 numbers|0000|  |
    strip 1      = = = = =                  row 1   |60 numbers|0000|  |  the window of H2's unit in row 0, column 0;
    strip 2          = = = = =              row 2   |60 numbers|0000|  |  2K further on, the window of row 1
    strip 3              = = = = =          ...                       |

A window of H2 in all maps of H1 is then a single row of 5K numbers, and so is a map's kernel. Where the connection
table has no connection, weight and rate are 0, so only layout() knows the table. H1's loops take 16 maps at a time;
where there are 12, the other 4 are the next column's, and their results are overwritten or never read.
"""
import glob
import os
from math import factorial, log

import numpy as np
import torch

from support import cli

try:
    import llvmlite.binding as llvm
    import numba
    from llvmlite import ir
    from numba import extending, types
    from numba.core import cgutils
except Exception as e:                  # numba has errors of its own for a Python or a NumPy that it does not know
    raise ImportError(f'{(str(e) or type(e).__name__).splitlines()[0]}; pip install -U numba') from None
features = numba.config.CPU_FEATURES or llvm.get_host_cpu_features().flatten()
if '+avx512f' in features and not numba.config.CPU_FEATURES:             # left alone LLVM uses registers of 8, not 16
    numba.config.CPU_FEATURES = features + ',-prefer-256-bit'

# The compiled code allocates nothing, so it needs no reference counts (_nrt), which would double the time to compile.
# 'contract' fuses a product and a sum, as every processor here does. No flag lets LLVM take sums in an order of its
# own, or assume that values are finite: training has to stop at the first that is not.
lean = {'error_model': 'numpy', '_nrt': False, 'no_cfunc_wrapper': True}
part = numba.njit(fastmath={'contract'}, no_cpython_wrapper=True, **lean)

f32, index = np.float32, np.uint64      # signed indices may count from the end, and keep a loop from being vectorized
zero, BACKGROUND = f32(0), f32(-1)      # BACKGROUND is what windows see beyond the border of the image or H1's maps
OUTPUTS, TRAINING, CURVATURE, GRADIENT = 0, 1, 2, 3
# 2**f = sum over k of (f ln 2)**k / k!, for |f| <= 1/2. The first term left out is at most (ln 2 / 2)**7 / 7! = 1.2e-7.
T1, T2, T3, T4, T5, T6 = (f32(log(2)**k / factorial(k)) for k in range(1, 7))


@part
def exp(x):
    """e**x to a few units in the last place, beyond +-19 that of +-19; nan unless x is finite."""
    z = min(max(x, f32(-19)), f32(19)) * f32(1 / log(2))                 # e**x = 2**z
    n = np.rint(z)
    f = z - n
    power = f32(1) + f * (T1 + f * (T2 + f * (T3 + f * (T4 + f * (T5 + f * T6)))))                # 2**f
    return power * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32) + zero * x    # 2**n by bits


@part
def squash(s, b, A, S, slope):
    """In place of s, y = A tanh(S (s + b)), tanh to within 2.5e-7; and slope = S/A (A - y)(A + y)."""
    for m in range(len(s)):
        for p in range(s.shape[1]):
            x = S * (s[m, p] + b[m, p])
            y = A * (f32(1) - f32(2) / (exp(f32(2) * x) + f32(1)))
            s[m, p], slope[m, p] = y, S / A * (A - y) * (A + y)


@part
def change(b, rate, e, slope):
    """In place of e, delta = slope e; and b -= rate delta. (For w1, e is its gradient, and slope is 1.)"""
    for m in range(len(b)):
        for p in range(b.shape[1]):
            e[m, p] *= slope[m, p]
            b[m, p] -= rate[m, p] * e[m, p]


@extending.intrinsic
def dots(context, rows, x):
    """
    The sums over k of row[k] x[k], for each row, as a tuple; k counts to a multiple of 16. A sum is taken in 16 parts,
    those of k = 0, 16, 32 ..., of k = 1, 17, 33 ... and so on, which are then added in halves, 16 to 8, 4, 2 and 1.
    LLVM left alone takes as many parts as a register holds, and the bits depend on the processor.
    """
    lanes = ir.VectorType(ir.FloatType(), 16)

    def build(context, builder, signature, arguments):
        array = context.make_array(signature.args[1])
        *rows, x = (array(context, builder, value)
                    for value in (*cgutils.unpack_tuple(builder, arguments[0]), arguments[1]))
        parts = [cgutils.alloca_once_value(builder, ir.Constant(lanes, None)) for _ in rows]
        length = builder.extract_value(x.shape, 0)
        with cgutils.for_range_slice(builder, length.type(0), length, length.type(16)) as (k, _):
            *w, b = (builder.load(builder.bitcast(builder.gep(array.data, [k]), lanes.as_pointer()), align=4)
                     for array in (*rows, x))
            for part, a in zip(parts, w):
                product = builder.fmul(a, b, flags=['contract'])
                builder.store(builder.fadd(builder.load(part), product, flags=['contract']), part)
        return context.make_tuple(builder, signature.return_type, [halved(builder, builder.load(p)) for p in parts])
    return types.UniTuple(types.float32, len(rows))(rows, x), build


def halved(builder, part):
    """The sum of the 16 numbers in part, as dots takes it."""
    for half in 8, 4, 2, 1:
        low, high = (ir.Constant(ir.VectorType(ir.IntType(32), half), [*range(first, first + half)])
                     for first in (0, half))
        nothing = ir.Constant(part.type, ir.Undefined)
        part = builder.fadd(builder.shuffle_vector(part, nothing, low), builder.shuffle_vector(part, nothing, high))
    return builder.extract_element(part, ir.IntType(32)(0))


@part
def sums(w, x, s, p):
    """s[m,p] = sum over k of w[m,k] x[k], four maps at a time."""
    for m in range(0, len(w), 4):
        s[m, p], s[m + 1, p], s[m + 2, p], s[m + 3, p] = dots((w[m], w[m + 1], w[m + 2], w[m + 3]), x)


@part
def full(v, w, rate, delta, x, e):
    """Back through a fully connected layer: e[k] = sum over m of delta[m] v[m,k]; w[m,k] -= rate[m,k] delta[m] x[k]."""
    e.fill(zero)
    for m in range(len(w)):
        vm, wm, rm, d = v[m], w[m], rate[m], delta[m]
        for k in range(len(e)):
            e[k] += d * vm[k]
        for k in range(len(x)):
            wm[k] -= rm[k] * (d * x[k])


@part
def strips(y, x, n1, down):
    """Copy H1's outputs y, n1 a column, to strips x; or with down, add what H2 passed down, in x, to each unit in y."""
    for c in range(4):
        for r in range(8):
            row, strip, skip = y[r], x[c], (r + 2) * x.shape[1] // 12 + n1 * (2 - 2*c)
            for k in range(index(n1 * max(2*c - 2, 0)), index(n1 * min(2*c + 3, 8))):    # columns without the border
                if down:
                    row[k] += strip[index(skip + k)]
                else:
                    strip[index(skip + k)] = row[k]


def run(task, order, outputs, net, above, changed, rates, ys, slopes, deltas, image, x2, e2, A, S, E2, softmax, X, T):
    """
    Do task with each pattern of X (n, 256), T (n, 10) in the order given. Stops at the first value that is not finite,
    and returns how many patterns came before it. The deltas pass through the weights `above`, and `changed` is updated:
    in training both are net, for the gradient net and its sum, for curvature net squared and its sum. In ys, slopes and
    deltas a unit is where its bias is in net. E2 is d2E/dy2 of the cost E.
    """
    (w1, b1, w2, b2, w3, b3, w4, b4), (v2, v3, v4) = net, above
    (_, y1, y2, y3, y4), (ones, slope1, slope2, slope3, slope4) = ys, slopes
    g1, delta1, delta2, delta3, delta4 = deltas
    K, wide, second, flat2 = x2.shape[1] // 12, y1.shape[1], task == CURVATURE, y2.reshape(y2.size)
    n1, w, g, pixels = (wide - 16) // 8, w1.reshape(w1.size), g1.reshape(g1.size), image.reshape(image.size)
    flat1, e1 = y1.reshape(y1.size), delta1.reshape(delta1.size)
    for n in range(len(order)):
        x, t, y = X[order[n]], T[order[n]], y4[0]
        if n1 == 0:                     # 256-h-10: the image stands where H2 does
            for k in range(256):
                flat2[k] = x[k]
        else:
            if second:                  # the pattern before squared the border
                image.fill(BACKGROUND), x2.fill(BACKGROUND)
            for r in range(16):
                for c in range(16):
                    image[r + 2, c + 2] = x[16*r + c]
            for r in range(8):          # H1's sums
                for c in range(8):
                    for m in range(0, n1, 16):
                        for k in range(16):
                            s = zero
                            for i in range(5):
                                u = zero
                                for j in range(5):
                                    u += w[index(25*m + 80*i + 16*j + k)] * pixels[index(40*r + 20*i + 2*c + j)]
                                s += u
                            flat1[index(wide*r + n1*c + m + k)] = s
            squash(y1, b1, A, S, slope1)
            strips(y1, x2, n1, False)
            for c in range(4):
                for r in range(4):
                    sums(w2, x2[c, 2*K*r:2*K*r + 5*K], y2, 4*r + c)
            squash(y2, b2, A, S, slope2)
        sums(w3, flat2, y3.reshape(y3.size, 1), 0)
        squash(y3, b3, A, S, slope3)
        sums(w4, y3[0], y4.reshape(12, 1), 0)
        if not softmax:                 # with it, the slopes stay 1
            squash(y4, b4, A, S, slope4)
        for j in range(10):
            total = zero
            for i in range(10 if softmax else 0):
                total += exp(y[i] + b4[0, i] - y[j] - b4[0, j])
            outputs[n, j] = f32(1) / total if softmax else y[j]
        if task == OUTPUTS:
            continue
        if second:
            for a in (image, x2, y2, y3, slope1, slope2, slope3, slope4):
                for r in range(len(a)):
                    for c in range(a.shape[1]):
                        a[r, c] *= a[r, c]

        # down: in each layer what it passes on, then its changes
        total = zero
        for j in range(10):
            o = outputs[n, j]
            delta4[0, j] = o - f32(t[j] > 0) if softmax else E2 * (f32(1) if second else o - t[j])
            total += delta4[0, j]
        if not np.isfinite(total):
            return n
        change(changed[7], rates[7], delta4, slope4)
        full(v4, changed[6], rates[6], delta4[0], y3[0], delta3[0])
        change(changed[5], rates[5], delta3, slope3)
        full(v3, changed[4], rates[4], delta3[0], flat2, delta2.reshape(delta2.size))
        if n1 == 0:
            continue
        change(changed[3], rates[3], delta2, slope2)
        e2.fill(zero)
        for m in range(0, len(w2), 4):  # H2, four maps at a time
            m0, m1, m2, m3 = v2[m], v2[m + 1], v2[m + 2], v2[m + 3]
            for p in range(16):
                d0, d1, d2, d3 = delta2[m, p], delta2[m + 1, p], delta2[m + 2, p], delta2[m + 3, p]
                e = e2[p % 4, p // 4 * 2*K:]
                for k in range(index(2*K if p < 4 else 0), index(4*K if p >= 12 else 5*K)):     # no border
                    e[k] = e[k] + d0 * m0[k] + d1 * m1[k] + d2 * m2[k] + d3 * m3[k]
            for c in range(0, 4, 2):
                a0, a1, a2, a3 = x2[c, :5*K], x2[c, 2*K:7*K], x2[c, 4*K:9*K], x2[c, 6*K:11*K]
                c0, c1, c2, c3 = x2[c + 1, :5*K], x2[c + 1, 2*K:7*K], x2[c + 1, 4*K:9*K], x2[c + 1, 6*K:11*K]
                for j in range(m, m + 4):
                    d0, d1, d2, d3 = delta2[j, c], delta2[j, 4 + c], delta2[j, 8 + c], delta2[j, 12 + c]
                    f0, f1, f2, f3 = delta2[j, c + 1], delta2[j, 5 + c], delta2[j, 9 + c], delta2[j, 13 + c]
                    v, rate = changed[2][j], rates[2][j]
                    for k in range(len(v)):
                        v[k] -= rate[k] * ((d0 * a0[k] + d1 * a1[k] + d2 * a2[k] + d3 * a3[k])
                                           + (f0 * c0[k] + f1 * c1[k] + f2 * c2[k] + f3 * c3[k]))
        delta1.fill(zero)
        strips(delta1, e2, n1, True)
        change(changed[1], rates[1], delta1, slope1)
        g1.fill(zero)
        for m in range(0, n1, 16):      # H1's gradient, of a row of taps and a row of units at a time
            for r in range(8):
                for i in range(5):
                    for k in range(16):
                        s0, s1, s2, s3, s4 = zero, zero, zero, zero, zero
                        for c in range(8):
                            d, q = e1[index(wide*r + n1*c + m + k)], 40*r + 20*i + 2*c
                            s0 += pixels[index(q)] * d
                            s1 += pixels[index(q + 1)] * d
                            s2 += pixels[index(q + 2)] * d
                            s3 += pixels[index(q + 3)] * d
                            s4 += pixels[index(q + 4)] * d
                        q = 25*m + 80*i + k
                        g[index(q)] += s0
                        g[index(q + 16)] += s1
                        g[index(q + 32)] += s2
                        g[index(q + 48)] += s3
                        g[index(q + 64)] += s4
        change(changed[0], rates[0], g1, ones)
    return len(order)


options = dict(fastmath={'contract'}, nogil=True, **lean)
try:
    run = numba.njit(cache=True, **options)(run)
except RuntimeError:                    # numba finds no folder for its cache that can be written
    run = numba.njit(**options)(run)


def layout(net):
    """(the shapes of w1, b1, ..., w4, b4; a function that views a memory as them; {parameter's name: places in it})."""
    n1, n2 = (len(net.H1w), len(net.H2w)) if hasattr(net, 'table') else (0, 16)
    hidden = 'H3' if n1 else 'hidden'
    h, K = len(getattr(net, f'{hidden}b')), -(-5*n1 // 16) * 16
    fours, units = -(-n2 // 4) * 4, -(-h // 16) * 16                     # rounded up
    shapes = (((n1 + 15) // 16 * 25, 16), (8, 8*n1 + 16), (fours, 5*K), (fours, 16), (units, 16*fours), (1, units),
              (12, units), (1, 12))

    def arrays(memory):
        return [a.view(s) for a, s in zip(memory.split([a * b for a, b in shapes]), shapes)]

    w1, b1, w2, b2, w3, b3, w4, b4 = arrays(torch.arange(sum(a * b for a, b in shapes)))
    places = {f'{hidden}w': w3[:h, :16*n2].T, f'{hidden}b': b3[0, :h], 'outw': w4[:10, :h].T, 'outb': b4[0, :10]}
    if n1:
        seen = torch.arange(n2)[:, None], torch.as_tensor(net.table)
        kernels = w2[:n2].view(n2, 5, K)[:, :, :5*n1].unflatten(2, (5, n1))                  # by row, column, map
        places |= {'H1w': w1.view(-1, 25, 16).transpose(1, 2).reshape(-1, 1, 5, 5)[:n1],
                   'H1b': b1[:, :8*n1].unflatten(1, (8, n1)).permute(2, 0, 1),
                   'H2w': kernels.permute(0, 3, 1, 2)[seen], 'H2b': b2[:n2].view(n2, 4, 4)}
    return shapes, arrays, places


def call(task, net, X, order, T=None, rates=None):
    """(run's count, outputs, {parameter's name: what was changed})."""
    shapes, arrays, places = layout(net)

    def pack(values):
        memory = torch.zeros(sum(a * b for a, b in shapes))
        for name, place in places.items():
            memory[place] = torch.as_tensor(values[name], dtype=torch.float32)
        return memory
    params = pack({name: p.detach() for name, p in net.named_parameters()})
    above = params**2 if task == CURVATURE else params
    changed = torch.zeros_like(params) if task in (CURVATURE, GRADIENT) else params
    ys, slopes, deltas = torch.zeros_like(params), torch.ones_like(params), torch.zeros_like(params)
    memories = params, above, changed, pack(rates) if rates else params, ys, slopes, deltas
    every, weights, units = range(8), (2, 4, 6), (0, 1, 3, 5, 7)
    parts = [tuple(arrays(m)[i].numpy() for i in which)
             for m, which in zip(memories, (every, weights, every, every, units, units, units))]
    strip_shape, outputs = (4, 12 * shapes[2][1] // 5), torch.zeros(len(order), 10)
    arguments = (task, np.asarray(order, np.int64), outputs.numpy(), *parts,
                 *(torch.full(shape, -1.0).numpy() for shape in ((20, 20), strip_shape, strip_shape)),
                 f32(net.A), f32(net.S), f32(net.factor * 2 / 10), bool(getattr(net, 'softmax', False)),
                 np.ascontiguousarray(X.reshape(len(X), 256).numpy()),
                 (torch.zeros(len(X), 10) if T is None else T.contiguous()).numpy())
    folder = getattr(run.stats, 'cache_path', None)
    if not run.signatures and not (folder and glob.glob(os.path.join(folder, 'backprop.run-*.nbc'))):
        cli.warn('compiling support/backprop.py, which is done once and takes some seconds')
    try:
        done = run(*arguments)
    except OSError:                     # the disk is full: what was compiled is not kept, but it is there
        done = run(*arguments)
    return done, outputs, {name: changed[place] for name, place in places.items()}


def train_pass(net, X, T, rates, order):
    """
    repro.train_pass, for a repro.Net of any size and table or a repro.FullNet; with an attribute softmax that is true,
    its outputs and cost are softmax and cross-entropy. Releases the interpreter lock while it runs.
    """
    rates = {name: rates[name] if p.requires_grad else 0.0 for name, p in net.named_parameters()}
    done, _, values = call(TRAINING, net, X, order, T, rates)
    for name, value in values.items():
        getattr(net, name).data.copy_(value)
    if done == len(order) and not all(v.isfinite().all() for v in values.values()):
        done -= 1                       # the last change was not followed by a pattern that would have shown it
    return max(done, 0)


def outputs(net, X):
    """Outputs (n, 10) of net for X (n, 1, 16, 16)."""
    return call(OUTPUTS, net, X, range(len(X)))[1]


def curvature(net, X, T):
    """repro.curvature: {parameter's name: d2E/dw2, averaged over X}; that of a squared error is the same for any T."""
    return call(CURVATURE, net, X, range(len(X)), rates={name: -1 / len(X) for name, _ in net.named_parameters()})[2]


def gradient(net, X, T):
    """{parameter's name: dE/dw, averaged over the patterns X (n, 1, 16, 16) with targets T (n, 10)}."""
    return call(GRADIENT, net, X, range(len(X)), T, {name: -1 / len(X) for name, _ in net.named_parameters()})[2]
