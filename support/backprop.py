"""
Back-propagation written out by hand and compiled by numba: what repro.py's nets and autograd compute, one pattern at a
time, a hundred times as fast. For a layer with inputs x, weights w, biases b, and the layer's unit p of map m:

    s[m,p] = sum over k of w[m,k] x[p,k] + b[m,p]       its weighted sum
    y[m,p] = A tanh(S s[m,p])                           its output, "squashed"
    delta[m,p] = slope[m,p] e[m,p], slope = dy/ds       dE/ds; at the output e = 2/10 (y - t), and below it
    e[p,k] = sum over m of delta[m,p] w[m,k]            what the layer passes down to its input k
    w[m,k] -= rate[m,k] sum over p of delta[m,p] x[p,k]
    b[m,p] -= rate[m,p] delta[m,p]

A map's units share its weights; in a fully connected layer each map is one unit. Curvature, the second derivatives,
goes down the same way with weights, inputs and slopes squared.

The layout. All inner loops must run over numbers that lie side by side. H1's outputs lie by row, column, map; so do its
deltas and biases. Each column of H2's units has a copy of the five columns it sees, a strip of 12 rows, with the border:

    columns  0 1 2 3 4 5 6 7 8 9 10 11      12 maps a column: a row of a window is 5*12 = 60 numbers, filled up to K = 64
    strip 0  = = = = =                      row 0   |60 numbers|0000|  |
    strip 1      = = = = =                  row 1   |60 numbers|0000|  |  the window of H2's unit in row 0, column 0;
    strip 2          = = = = =              row 2   |60 numbers|0000|  |  2K further on, the window of row 1
    strip 3              = = = = =          ...                       |

A window of H2 is then one run of 5K numbers in all maps of H1, and so is a map's kernel. Where the connection table
has no connection, weight and rate are 0: the table is known to layout() alone. H1's loops run over 16 maps at a time;
where there are 12, the last 4 are the next unit's and do not count. results/engine.md has the rest.
"""
import sys
import threading
from math import factorial, log

import numpy as np
import torch

try:
    import llvmlite.binding as llvm
    import numba
except Exception as e:                  # numba has errors of its own for a Python or a NumPy that it does not know
    raise ImportError(f'numba cannot be imported: {str(e).split(chr(10))[0]}') from None
if numba.config.DISABLE_JIT or numba.version_info[:2] < (0, 58):
    raise ImportError(f'NUMBA_DISABLE_JIT is set, or numba {numba.__version__} is older than 0.58')
from support import cache                                                # noqa: E402

# LLVM stays with 8 numbers a register where the core has 16 unless it is told otherwise.
if llvm.get_host_cpu_features().get('avx512f') and not (numba.config.CPU_FEATURES or numba.config.CPU_NAME):
    numba.config.CPU_FEATURES = llvm.get_host_cpu_features().flatten() + ',-prefer-256-bit'

# Nothing is allocated, so nothing need be counted: half of the compiling. An x / 0 is what it is in NumPy.
lean = {'error_model': 'numpy', '_nrt': False, 'no_cfunc_wrapper': True}
# 'contract' allows a fused multiply-add; nothing else may be reordered, or a value that is not finite be assumed away.
part = numba.njit(fastmath={'contract'}, no_cpython_wrapper=True, **lean)
inlined = numba.njit(fastmath={'contract'}, no_cpython_wrapper=True, forceinline=True, **lean)
# 'reassoc' as well, for dot products: their sums may be taken in any order, which is fixed once compiled.
inlined_dot = numba.njit(fastmath={'contract', 'reassoc'}, no_cpython_wrapper=True, forceinline=True, **lean)

f32, index = np.float32, np.uint64
zero, BACKGROUND = f32(0), f32(-1)      # connections over the border of the image, or of a map of H1, see BACKGROUND
OUTPUTS, TRAINING, CURVATURE = 0, 1, 2
# 2**f = sum over k of (f ln 2)**k / k!, for |f| <= 1/2; the terms left out are below (ln 2 / 2)**7 / 7! = 1.2e-7.
T1, T2, T3, T4, T5, T6 = (f32(log(2)**k / factorial(k)) for k in range(1, 7))


@inlined
def tanh(x):
    """1 - 2 / (e**2x + 1), to 2.5e-7; not a number where x is not finite. The C library's would not be a vector's."""
    z = min(max(x, f32(-9.5)), f32(9.5)) * f32(2 / log(2))               # e**2x = 2**z; at 9.5 tanh rounds to 1
    n = np.rint(z)
    f = z - n
    power = f32(1) + f * (T1 + f * (T2 + f * (T3 + f * (T4 + f * (T5 + f * T6)))))            # 2**f
    exp = power * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)    # times 2**n, its bits
    return f32(1) - f32(2) / (exp + f32(1)) + zero * x


@part
def squash(s, b, A, S, slope):
    """From s, in its place, y = A tanh(S (s + b)); slope = dy/ds = A S (1 - tanh(S s)**2) = S/A (A - y)(A + y)."""
    for m in range(len(s)):
        for p in range(s.shape[1]):
            y = A * tanh(S * (s[m, p] + b[m, p]))
            s[m, p] = y
            slope[m, p] = S / A * (A - y) * (A + y)


@part
def fill(a, value):
    for m in range(len(a)):
        for p in range(a.shape[1]):
            a[m, p] = value


@part
def times(a, b):
    """a *= b."""
    for m in range(len(a)):
        for p in range(a.shape[1]):
            a[m, p] *= b[m, p]


@part
def step(w, rate, g):
    """w -= rate g. A bias is a weight whose input is 1: its gradient is its unit's delta."""
    for m in range(len(w)):
        for p in range(w.shape[1]):
            w[m, p] -= rate[m, p] * g[m, p]


@inlined_dot
def dots(w, m, a, b):
    """w[m] . a, w[m] . b, and the same of the next three rows: what is read is used two times, or four."""
    w0, w1, w2, w3 = w[m], w[m + 1], w[m + 2], w[m + 3]
    a0, a1, a2, a3, b0, b1, b2, b3 = zero, zero, zero, zero, zero, zero, zero, zero
    for k in range(len(a)):
        a0 += w0[k] * a[k]
        a1 += w1[k] * a[k]
        a2 += w2[k] * a[k]
        a3 += w3[k] * a[k]
        b0 += w0[k] * b[k]
        b1 += w1[k] * b[k]
        b2 += w2[k] * b[k]
        b3 += w3[k] * b[k]
    return a0, b0, a1, b1, a2, b2, a3, b3


@part
def full_sums(w, x, s):
    """A fully connected layer's s[m] = the sum over k of w[m,k] x[k]."""
    for m in range(0, len(w), 4):
        s[m], _, s[m + 1], _, s[m + 2], _, s[m + 3], _ = dots(w, m, x, x)


@part
def full_down(w, delta, e):
    """Its e[k] = the sum over m of delta[m] w[m,k], four units at a time."""
    for k in range(len(e)):
        e[k] = zero
    for m in range(0, len(w), 4):
        w0, w1, w2, w3 = w[m], w[m + 1], w[m + 2], w[m + 3]
        d0, d1, d2, d3 = delta[m], delta[m + 1], delta[m + 2], delta[m + 3]
        for k in range(len(e)):
            e[k] = e[k] + d0 * w0[k] + d1 * w1[k] + d2 * w2[k] + d3 * w3[k]


@part
def full_change(w, rate, delta, x):
    """Its w[m,k] -= rate[m,k] delta[m] x[k]."""
    for m in range(len(w)):
        wm, rm, d = w[m], rate[m], delta[m]
        for k in range(len(x)):
            wm[k] -= rm[k] * (d * x[k])


@inlined
def move(a, i, b, j, n, add):
    """b[j:j+n] = a[i:i+n], or += that."""
    i, j, n = index(i), index(j), index(n)          # unsigned: a negative index would count from the end
    for k in range(n):
        b[j + k] = a[i + k] + (b[j + k] if add else zero)


@cache.cached
@numba.njit(fastmath={'contract'}, nogil=True, **lean)
def run(task, net, above, changed, rates, A, S, softmax, X, T, order, outputs, room):
    """
    What is asked for (task), for each pattern of X (n, 256), T (n, 10) in the order given. How many were good: stops at
    one that is not finite. deltas go down through the weights `above`, and `changed` is changed: both are net, or for
    the second derivatives net squared and their sum.
    """
    w1, b1, w2, b2, w3, b3, w4, b4 = net
    image, y1, slope1, delta1, g1, x2, e2, x3, slope2, delta2, x4, slope3, delta3, y4, slope4, delta4 = room
    n2, K, second = len(w2), w2.shape[1] // 5, task == CURVATURE
    n1 = (y1.shape[1] - 16) // 8 if n2 else 0
    y, flat3, e3 = y4[0], x3.reshape(x3.size), delta2.reshape(delta2.size)
    wide, flatw, flatg, pixels = y1.shape[1], w1.reshape(w1.size), g1.reshape(g1.size), image.reshape(image.size)
    flat1, e1 = y1.reshape(y1.size), delta1.reshape(delta1.size)
    for n in range(len(order)):
        x, t = X[order[n]], T[order[n]]
        if second:                      # the pattern before has squared the border
            fill(image, BACKGROUND)
            fill(x2, BACKGROUND)
        if n2:
            # H1, 16 maps at a time. What is written beyond the last map is overwritten by the next column's
            for r in range(16):
                for c in range(16):
                    image[r + 2, c + 2] = x[16*r + c]
            for r in range(8):
                for c in range(8):
                    for m in range(0, n1, 16):
                        for k in range(16):
                            s = zero
                            for i in range(5):
                                u = zero
                                for j in range(5):
                                    u += flatw[index(25*m + 80*i + 16*j + k)] * pixels[index(40*r + 20*i + 2*c + j)]
                                s += u
                            flat1[index(wide*r + n1*c + m + k)] = s
            squash(y1, b1, A, S, slope1)
            # H2: strips, sums, outputs
            for c in range(4):
                left, right = max(2*c - 2, 0), min(2*c + 3, 8)           # the columns it sees that are not the border's
                for r in range(8):
                    move(y1[r], n1*left, x2[c], K*(r + 2) + n1*(left - 2*c + 2), n1*(right - left), False)
                for r in range(0, 4, 2):
                    a, b, p, q = x2[c, 2*K*r:2*K*r + 5*K], x2[c, 2*K*r + 2*K:2*K*r + 7*K], 4*r + c, 4*r + 4 + c
                    for m in range(0, n2, 4):
                        (x3[m, p], x3[m, q], x3[m + 1, p], x3[m + 1, q], x3[m + 2, p], x3[m + 2, q],
                         x3[m + 3, p], x3[m + 3, q]) = dots(w2, m, a, b)
            squash(x3, b2, A, S, slope2)
        else:                           # 256-h-10: H3 sees the image
            for k in range(256):
                flat3[k] = x[k]
        # H3, output
        full_sums(w3, flat3, x4[0])
        squash(x4, b3, A, S, slope3)
        full_sums(w4, x4[0], y)
        if softmax:
            total, top = zero, y[0] + b4[0, 0]
            for j in range(10):
                top = max(top, y[j] + b4[0, j])
            for j in range(10):
                y[j] = np.exp(y[j] + b4[0, j] - top)
                total += y[j]
            for j in range(10):
                y[j] /= total
        else:
            squash(y4, b4, A, S, slope4)
        if task == OUTPUTS:
            for j in range(10):
                outputs[n, j] = y[j]
            continue

        # down: in each layer what it passes on, then its changes
        if second:
            for a in (image, x2, x3, x4, slope1, slope2, slope3, slope4):
                times(a, a)
        total = zero
        for j in range(10):
            e = f32(2 / 10) * (f32(1) if second else y[j] - t[j])
            delta4[0, j] = y[j] - f32(t[j] > 0) if softmax else e * slope4[0, j]
            total += delta4[0, j]
        if not np.isfinite(total):
            return n
        full_down(above[6], delta4[0], delta3[0])
        times(delta3, slope3)
        full_change(changed[6], rates[6], delta4[0], x4[0])
        step(changed[7], rates[7], delta4)
        if n2:
            full_down(above[4], delta3[0], e3)
        full_change(changed[4], rates[4], delta3[0], flat3)
        step(changed[5], rates[5], delta3)
        if n2 == 0:
            continue

        # H2: four maps, two units at a time
        times(delta2, slope2)
        fill(e2, zero)
        fill(delta1, zero)
        for m in range(0, n2, 4):
            v0, v1, v2, v3 = above[2][m], above[2][m + 1], above[2][m + 2], above[2][m + 3]
            for p in range(0, 16, 2):
                d0, d1, d2, d3 = delta2[m, p], delta2[m + 1, p], delta2[m + 2, p], delta2[m + 3, p]
                f0, f1, f2, f3 = delta2[m, p + 1], delta2[m + 1, p + 1], delta2[m + 2, p + 1], delta2[m + 3, p + 1]
                first = p // 4 * 2*K
                ea, eb = e2[p % 4, first:first + 5*K], e2[p % 4 + 1, first:first + 5*K]
                for k in range(index(2*K if p < 4 else 0), index(4*K if p >= 12 else 5*K)):        # the border learns nothing
                    ea[k] = ea[k] + d0 * v0[k] + d1 * v1[k] + d2 * v2[k] + d3 * v3[k]
                    eb[k] = eb[k] + f0 * v0[k] + f1 * v1[k] + f2 * v2[k] + f3 * v3[k]
            for c in range(0, 4, 2):
                a0, a1, a2, a3 = x2[c, :5*K], x2[c, 2*K:7*K], x2[c, 4*K:9*K], x2[c, 6*K:11*K]
                c0, c1, c2, c3 = x2[c + 1, :5*K], x2[c + 1, 2*K:7*K], x2[c + 1, 4*K:9*K], x2[c + 1, 6*K:11*K]
                for j in range(m, m + 4):
                    d0, d1, d2, d3 = delta2[j, c], delta2[j, 4 + c], delta2[j, 8 + c], delta2[j, 12 + c]
                    f0, f1, f2, f3 = delta2[j, c + 1], delta2[j, 5 + c], delta2[j, 9 + c], delta2[j, 13 + c]
                    w, rate = changed[2][j], rates[2][j]
                    for k in range(len(w)):
                        w[k] -= rate[k] * ((d0 * a0[k] + d1 * a1[k] + d2 * a2[k] + d3 * a3[k])
                                           + (f0 * c0[k] + f1 * c1[k] + f2 * c2[k] + f3 * c3[k]))
        step(changed[3], rates[3], delta2)

        # H1: the strips' columns, added
        for c in range(4):
            left, right = max(2*c - 2, 0), min(2*c + 3, 8)
            for r in range(8):
                move(e2[c], K*(r + 2) + n1*(left - 2*c + 2), delta1[r], n1*left, n1*(right - left), True)
        times(delta1, slope1)
        fill(g1, zero)
        for m in range(0, n1, 16):
            for r in range(8):
                for i in range(5):
                    for k in range(16):
                        u0, u1, u2, u3, u4 = zero, zero, zero, zero, zero
                        for c in range(8):
                            d, q = e1[index(wide*r + n1*c + m + k)], 40*r + 20*i + 2*c
                            u0 += pixels[index(q)] * d
                            u1 += pixels[index(q + 1)] * d
                            u2 += pixels[index(q + 2)] * d
                            u3 += pixels[index(q + 3)] * d
                            u4 += pixels[index(q + 4)] * d
                        q = 25*m + 80*i + k
                        flatg[index(q)] += u0
                        flatg[index(q + 16)] += u1
                        flatg[index(q + 32)] += u2
                        flatg[index(q + 48)] += u3
                        flatg[index(q + 64)] += u4
        step(changed[0], rates[0], g1)
        step(changed[1], rates[1], delta1)
    return len(order)


def up(n, m):
    """n rounded up to a multiple of m."""
    return -(-n // m) * m


def layout(net):
    """(shapes of the arrays w1, b1, ..., w4, b4; {parameter's name: where its numbers lie in their memory})."""
    n1, n2 = (len(net.H1w), len(net.H2w)) if hasattr(net, 'table') else (0, 0)
    h, maps, K = len(net.H3b), up(n2, 4), up(5*n1, 16)
    shapes = ((up(n1, 16) // 16 * 25, 16), (8, 8*n1 + 16), (maps, 5*K), (maps, 16),
              (up(h, 16), 16*maps or 256), (1, up(h, 16)), (12, up(h, 16)), (1, 12))
    parts = torch.arange(sum(a * b for a, b in shapes)).split([a * b for a, b in shapes])
    w1, b1, w2, b2, w3, b3, w4, b4 = (part.view(shape) for part, shape in zip(parts, shapes))
    places = {'H3w': w3[:h, :len(net.H3w)].T, 'H3b': b3[0, :h], 'outw': w4[:10, :h].T, 'outb': b4[0, :10]}
    if n1:
        seen = torch.arange(n2)[:, None], torch.as_tensor(net.table)
        kernels = w2[:n2].view(n2, 5, K)[:, :, :5*n1].unflatten(2, (5, n1))                   # by row, column, map
        places |= {'H1w': w1.view(-1, 25, 16).transpose(1, 2).reshape(-1, 1, 5, 5)[:n1], 'H2w': kernels.permute(0, 3, 1, 2)[seen],
                   'H1b': b1[:, :8*n1].unflatten(1, (8, n1)).permute(2, 0, 1), 'H2b': b2[:n2].view(n2, 4, 4)}
    return shapes, places


def pack(net, values):
    """The memory of the arrays, filled up with 0, from {parameter's name: number or tensor}."""
    shapes, places = layout(net)
    memory = torch.zeros(sum(a * b for a, b in shapes))
    for name, place in places.items():
        memory[place] = torch.as_tensor(values[name], dtype=torch.float32)
    return memory


def call(task, net, params, X, T, order, above=None, changed=None, rates=None):
    """(how many patterns were good, outputs): runs the compiled code; a line on stderr if compiling it takes long."""
    shapes, _ = layout(net)
    (_, wide), (n2, K5), (h, ins) = shapes[1], shapes[2], shapes[4]

    def arrays(memory):
        parts = (params if memory is None else memory).split([a * b for a, b in shapes])
        return tuple(part.view(shape).numpy() for part, shape in zip(parts, shapes))

    def zeros(*shape):
        return torch.zeros(shape).numpy()
    room = (zeros(20, 20) + BACKGROUND, *(zeros(8, wide) for _ in range(3)), zeros(*shapes[0]),
            zeros(4, 12*K5 // 5) + BACKGROUND, zeros(4, 12*K5 // 5), *(zeros(ins // 16, 16) for _ in range(3)),
            *(zeros(1, h) for _ in range(3)), *(zeros(1, 12) for _ in range(3)))
    out = torch.zeros(len(order), 10)
    args = (task, arrays(params), arrays(above), arrays(changed), arrays(rates), f32(net.A), f32(net.S),
            bool(getattr(net, 'softmax', False)), np.ascontiguousarray(X.reshape(len(X), 256).numpy()),
            np.ascontiguousarray(T.numpy()), np.asarray(order, np.int64), out.numpy(), room)
    if not run.signatures:
        late = threading.Timer(1, lambda: print('compiling backprop.py, which is done once ...', file=sys.stderr))
        late.daemon = True
        late.start()
        try:
            run.compile(tuple(numba.typeof(a) for a in args))            # or load it, which is quick
        finally:
            late.cancel()
    return run(*args), out


def parameters(net, X):
    """pack of net's parameters. ValueError if net is not one that is computed here, by its output for a pattern."""
    if not all(hasattr(net, name) for name in ('H3w', 'H3b', 'outw', 'outb', 'A', 'S')):
        raise ValueError(f'{type(net).__name__} is not a net that support/backprop.py computes')
    params = pack(net, {name: p.detach() for name, p in net.named_parameters()})
    with torch.no_grad():
        y = net(X[:1])
    y = y.softmax(1) if getattr(net, 'softmax', False) else y
    found = call(OUTPUTS, net, params, X[:1], torch.zeros(len(X[:1]), 10), range(len(X[:1])))[1]
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
    done, _ = call(TRAINING, net, params, X, T, order, rates=pack(net, rates))
    with torch.no_grad():
        for name, place in layout(net)[1].items():
            getattr(net, name).copy_(params[place])
    if done == len(order) and not all(p.isfinite().all() for p in net.parameters()):
        done -= 1                       # the last change was not followed by a pattern that would have shown it
    return max(done, 0)


def outputs(net, X):
    """Outputs (n, 10) of net for X (n, 1, 16, 16)."""
    return call(OUTPUTS, net, parameters(net, X), X, torch.zeros(1, 10).expand(len(X), 10), range(len(X)))[1]


def curvature(net, X):
    """
    {parameter's name: d2E/dw2, averaged over the patterns X}, of the parameter's shape, never negative.

    The diagonal approximation of LeCun 1987 and of Becker and LeCun 1988: second derivatives go down as deltas do,
    with weights, inputs and slopes squared, without the term in the squashing function's second derivative (which may
    be negative) and without the terms that mix units; shared weights get the sum over the units that share them.
    """
    params = parameters(net, X)
    rates = pack(net, dict.fromkeys(dict(net.named_parameters()), -1 / len(X)))
    found = torch.zeros_like(params)
    call(CURVATURE, net, params, X, torch.zeros(1, 10).expand(len(X), 10), range(len(X)), params**2, found, rates)
    return {name: found[place] for name, place in layout(net)[1].items()}
