"""
Back-propagation by hand: the 1989 net's forward pass, deltas and weight changes, one pattern at a time, compiled by
numba. repro.py trains with it by default; what it computes is what repro.py's Net and autograd compute.

The notation, for a unit with inputs x, weights w and bias b:

    s = w.x + b                 its weighted sum
    y = A tanh(S s)             its output, "squashed"
    delta = dE/ds               at the output 2/10 (y - t) times the slope of the squashing function there; further
                                down, the slope times the sum of the deltas of the units above over their weights
    w -= rate * delta * x       its weights' change; for shared weights the sum over the units that share them

Why it is fast. A step is about 184,000 multiply-adds and must be done before the next can start, so all that counts
is how many of them a core does at once. A vector register holds 8 or 16 numbers; a 5x5 window is no multiple of that,
and neither is a stride of 2. So the windows of a map are gathered twice, once a pattern:

    taps (25, n*n)     what tap k of the kernel sees, for each of the n*n units: the inner loops of the weighted sums
                       and of the deltas run over the 16 or 64 units of a map, weight by weight
    rows (n*n, 32)     the same, transposed: the inner loops of the weight changes run over the 25 weights of a kernel

Kernels are padded from 25 to 32 weights, in place: the net's own tensors become views of the padded memory (share), so
that PyTorch and this file work on the same numbers. The 7 extra weights have a rate of 0. Sums of 25 or 16 terms are
written out, so that the partial sums stay in registers. results/engine.md says what each of these gave.
"""
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from math import factorial, log

import numpy as np
import torch


def cache_dir():
    """Where compiled code is kept between runs: here, else in the user's cache, else in the temporary directory."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), '__pycache__')
    user = os.path.join(os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'lecun1989')
    for folder in (here, user, os.path.join(tempfile.gettempdir(), 'lecun1989')):
        try:
            os.makedirs(folder, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
            return folder
        except OSError:
            pass
    return ''


os.environ.setdefault('NUMBA_CACHE_DIR', cache_dir())
import numba                                                             # noqa: E402 (it reads the setting above)
import llvmlite.binding as llvm                                          # noqa: E402

# LLVM stays with 8 numbers a register where the core has 16 unless it is told otherwise.
if llvm.get_host_cpu_features().get('avx512f') and not numba.config.CPU_FEATURES:
    numba.config.CPU_FEATURES = llvm.get_host_cpu_features().flatten() + ',-prefer-256-bit'

f32 = np.float32
# 'contract' allows a fused multiply-add; nothing else may be reordered, or a value that is not finite be assumed away.
inlined = numba.njit(fastmath={'contract'}, error_model='numpy', forceinline=True)
# 'reassoc' as well, for dot products: their sums may be taken in any order, which is fixed once compiled.
inlined_dot = numba.njit(fastmath={'contract', 'reassoc'}, error_model='numpy', forceinline=True)
compiled = numba.njit(fastmath={'contract'}, error_model='numpy', nogil=True, cache=bool(numba.config.CACHE_DIR))

# ---------------------------------------------------------------------------------------------------------------------
# the squashing function

# 2**f = sum over k of (f ln 2)**k / k!, for |f| <= 1/2; the terms left out are below (ln 2 / 2)**7 / 7! = 1.2e-7.
T1, T2, T3, T4, T5, T6 = (f32(log(2)**k / factorial(k)) for k in range(1, 7))


@inlined
def tanh(x):
    """
    1 - 2 / (e**2x + 1), to 2.5e-7 (the largest error, tested): a call to the C library would not be vectorised.

    Not a number where x is not finite, so that a weight that has overflowed is seen at once.
    """
    z = min(max(x, f32(-9.5)), f32(9.5)) * f32(2 / log(2))               # e**2x = 2**z; at 9.5 tanh rounds to 1
    n = np.rint(z)
    f = z - n
    power = f32(1) + f * (T1 + f * (T2 + f * (T3 + f * (T4 + f * (T5 + f * T6)))))            # 2**f
    exp = power * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)    # times 2**n, its bits
    return f32(1) - f32(2) / (exp + f32(1)) + f32(0) * x


@inlined
def squash(s, y, A, S):
    """y = A tanh(S s), elementwise."""
    for i in range(len(s)):
        y[i] = A * tanh(S * s[i])


@inlined
def times_slope(delta, y, A, S, power):
    """delta *= (dy/ds)**power; dy/ds is A S (1 - tanh(S s)**2) = S/A (A - y)(A + y)."""
    for _ in range(power):
        for i in range(len(delta)):
            delta[i] *= S / A * (A - y[i]) * (A + y[i])


# ---------------------------------------------------------------------------------------------------------------------
# gathering the windows of a map

@inlined
def move4(a, i, b, j):
    """b[j:j+4] = a[i:i+4], as one vector: read before any of it is written."""
    p, q, r, s = a[i], a[i + 1], a[i + 2], a[i + 3]
    b[j], b[j + 1], b[j + 2], b[j + 3] = p, q, r, s


@inlined
def move8(a, i, b, j):
    """b[j:j+8] = a[i:i+8], as one vector."""
    p, q, r, s, t, u, v, w = a[i], a[i + 1], a[i + 2], a[i + 3], a[i + 4], a[i + 5], a[i + 6], a[i + 7]
    b[j], b[j + 1], b[j + 2], b[j + 3], b[j + 4], b[j + 5], b[j + 6], b[j + 7] = p, q, r, s, t, u, v, w


@inlined
def gather_taps(even, odd, taps, n, pitch):
    """
    taps[k, p] for k = 5i+j and p = n*r+c is the padded map at row 2r+i, column 2c+j.

    even, odd: the map's even and odd columns, flat, pitch numbers a row, so that a stride of 2 becomes one of 1.
    """
    for i in range(5):
        for j in range(5):
            columns = odd if j % 2 else even
            for r in range(n):
                for c in range(0, n, 4):
                    move4(columns, (2*r + i) * pitch + j // 2 + c, taps, (5*i + j) * n*n + n*r + c)


@inlined
def gather_rows(padded, rows, n, pitch):
    """rows[p, k], the transpose of taps, from the padded map (flat, pitch numbers a row)."""
    for r in range(n):
        for c in range(n):
            for i in range(5):          # 8 numbers are moved where 5 are meant: the next row overwrites the other 3
                move8(padded, (2*r + i) * pitch + 2*c, rows, (n*r + c) * 32 + 5*i)


@inlined
def split_columns(padded, even, odd, n):
    """The n even and n odd columns' numbers of a map whose rows have an even number of columns, flat."""
    for i in range(n):
        p, q = padded[2*i], padded[2*i + 1]
        even[i], odd[i] = p, q


# ---------------------------------------------------------------------------------------------------------------------
# a kernel of 5x5 weights: its units' weighted sums, its change, and the deltas that it passes down

@inlined
def five(w, i, taps, p, n2):
    """Row i of a kernel, at position p."""
    k = 5*i
    return (w[k] * taps[k*n2 + p] + w[k + 1] * taps[(k + 1)*n2 + p] + w[k + 2] * taps[(k + 2)*n2 + p]
            + w[k + 3] * taps[(k + 3)*n2 + p] + w[k + 4] * taps[(k + 4)*n2 + p])


@inlined
def add_sums(w, taps, s, n2):
    """s += w . taps for the n2 units of a map: w (25), taps (25, n2) flat, s (n2)."""
    for p in range(n2):
        s[p] += (five(w, 0, taps, p, n2) + five(w, 1, taps, p, n2)) + (five(w, 2, taps, p, n2)
                                                                   + five(w, 3, taps, p, n2)) + five(w, 4, taps, p, n2)


@inlined
def four(delta, p, rows, k):
    """delta * x at four positions from p on, for weight k."""
    return (delta[p] * rows[32*p + k] + delta[p + 1] * rows[32*p + 32 + k]
            + delta[p + 2] * rows[32*p + 64 + k] + delta[p + 3] * rows[32*p + 96 + k])


@inlined
def sixteen(delta, p, rows, k):
    return (four(delta, p, rows, k) + four(delta, p + 4, rows, k)) + (four(delta, p + 8, rows, k)
                                                                      + four(delta, p + 12, rows, k))


@inlined
def kernel_gradient(delta, rows, n2, gradient):
    """gradient (32) = the sum over a map's n2 units of delta * x: delta (n2), rows (n2, 32) flat."""
    for k in range(32):
        gradient[k] = sixteen(delta, 0, rows, k)
    for p in range(16, n2, 16):
        for k in range(32):
            gradient[k] += sixteen(delta, p, rows, k)


@inlined
def change(w, rate, gradient):
    """w -= rate * gradient. A bias is a weight whose input is 1: its gradient is its unit's delta."""
    for i in range(len(gradient)):
        w[i] -= rate[i] * gradient[i]


@inlined
def gather_deltas(delta, padded, windows):
    """
    windows[u, v, 4r+c] = delta[r+1-u, c+1-v], 0 outside: the units of H2 (4x4) that see, through taps 2u and 2u+1 down
    and 2v and 2v+1 across, the H1 units of rows 2r, 2r+1 and columns 2c, 2c+1. padded (6, 8) flat, 0 at its borders.
    """
    for r in range(4):
        move4(delta, 4*r, padded, 8*(r + 1) + 1)
    for u in range(3):
        for v in range(3):
            for r in range(4):
                move4(padded, 8*(r + 2 - u) + 2 - v, windows, 16*(3*u + v) + 4*r)


@inlined
def add_deltas(w, d, even, odd):
    """
    Add what a kernel w (25) of H2 passes down to its map of H1: to the units of the map's even columns, even (2, 16),
    first of the even rows and then of the odd, and to those of the odd columns. d is gather_deltas' windows, flat.
    """
    for p in range(16):
        even[p] += ((w[0] * d[p] + w[2] * d[16 + p] + w[4] * d[32 + p])
                    + (w[10] * d[48 + p] + w[12] * d[64 + p] + w[14] * d[80 + p])
                    + (w[20] * d[96 + p] + w[22] * d[112 + p] + w[24] * d[128 + p]))
    for p in range(16):
        odd[p] += ((w[1] * d[p] + w[3] * d[16 + p]) + (w[11] * d[48 + p] + w[13] * d[64 + p])
                   + (w[21] * d[96 + p] + w[23] * d[112 + p]))
    for p in range(16):
        even[16 + p] += ((w[5] * d[p] + w[7] * d[16 + p] + w[9] * d[32 + p])
                         + (w[15] * d[48 + p] + w[17] * d[64 + p] + w[19] * d[80 + p]))
    for p in range(16):
        odd[16 + p] += (w[6] * d[p] + w[8] * d[16 + p]) + (w[16] * d[48 + p] + w[18] * d[64 + p])


@inlined
def merge_columns(even, odd, rows4, delta):
    """delta (8, 8) of a map of H1 from add_deltas' even and odd columns. rows4: room for 64 numbers."""
    for r in range(4):
        for parity in range(2):
            move4(even, 16*parity + 4*r, rows4, 8*r + 4*parity)
            move4(odd, 16*parity + 4*r, rows4, 32 + 8*r + 4*parity)
    for i in range(32):
        p, q = rows4[i], rows4[32 + i]
        delta[2*i], delta[2*i + 1] = p, q


# ---------------------------------------------------------------------------------------------------------------------
# a fully connected layer

@inlined_dot
def full_sums(w, b, x, s):
    """s = w x + b: w (units, inputs)."""
    for j in range(0, len(b), 5):       # five units at a time: x is read once for them
        s0, s1, s2, s3, s4 = b[j], b[j + 1], b[j + 2], b[j + 3], b[j + 4]
        w0, w1, w2, w3, w4 = w[j], w[j + 1], w[j + 2], w[j + 3], w[j + 4]
        for i in range(len(x)):
            s0 += w0[i] * x[i]
            s1 += w1[i] * x[i]
            s2 += w2[i] * x[i]
            s3 += w3[i] * x[i]
            s4 += w4[i] * x[i]
        s[j], s[j + 1], s[j + 2], s[j + 3], s[j + 4] = s0, s1, s2, s3, s4


@inlined
def full_deltas(w, delta, below):
    """below = w' delta: the sum over the units, five at a time, of their deltas over their weights."""
    for i in range(len(below)):
        below[i] = 0
    for j in range(0, len(w), 5):
        d0, d1, d2, d3, d4 = delta[j], delta[j + 1], delta[j + 2], delta[j + 3], delta[j + 4]
        w0, w1, w2, w3, w4 = w[j], w[j + 1], w[j + 2], w[j + 3], w[j + 4]
        for i in range(len(below)):
            below[i] += (d0 * w0[i] + d1 * w1[i]) + (d2 * w2[i] + d3 * w3[i]) + d4 * w4[i]


@inlined
def full_change(w, rate, delta, x):
    """w -= rate * delta x', for each unit."""
    for j in range(len(w)):
        for i in range(len(x)):
            w[j, i] -= rate[j, i] * (delta[j] * x[i])


BACKGROUND = f32(-1)

# ---------------------------------------------------------------------------------------------------------------------
# the net of 1989: H1, H2, H3, output

@inlined
def zeros(n):
    """n zeros, the first on a 64-byte boundary, so that no register is filled from two cache lines."""
    a = np.zeros(n + 16, f32)
    skip = (-(np.int64(a.ctypes.data) // 4)) % 16
    return a[skip:skip + n]


@inlined
def room():
    """
    Memory for one pattern's way up and down. image: the 16x16 image and its border, 20 rows of 24. maps: the 12 maps of
    H1 and their borders, 12 rows of 16 each. Of H3's 32 places 2 stay 0; of a kernel's 32, 7 do not count.
    """
    image, maps = zeros(20*24), zeros(12 * 12*16)
    image[:] = BACKGROUND
    maps[:] = BACKGROUND
    y = zeros(12*64), zeros(12*16), zeros(32), zeros(10)                 # outputs of H1, H2, H3, output
    s = zeros(12*64), zeros(12*16), zeros(32), zeros(10)                 # weighted sums
    delta = zeros(12*64), zeros(12*16), zeros(32), zeros(10)
    gradient = zeros(12*32), zeros(12 * 8*32)                            # of the kernels of H1 and H2
    up = zeros(12*20), zeros(12*20), zeros(25*64)                        # even, odd, taps
    windows = zeros(12 * 9*16)
    down = zeros(16*32), zeros(64*32), zeros(6*8), zeros(32), zeros(32), zeros(64)    # rows, padded, even, odd, both
    # the same memory, map by map
    by_map = (maps.reshape(12, 192), s[0].reshape(12, 64), s[1].reshape(12, 16), delta[0].reshape(12, 64),
              delta[1].reshape(12, 16), gradient[0].reshape(12, 32), gradient[1].reshape(12, 8, 32),
              windows.reshape(12, 144))
    return image, maps, y, s, delta, gradient, up, down, by_map


@inlined
def forward(params, links, A, S, x, r):
    """What the net makes of the image x (256), left in room r."""
    H1w, H1b, H2w, H2b, H3w, H3b, outw, outb = params
    image, maps, (y1, y2, y3, out), (s1, s2, s3, s4), _, _, (even, odd, taps), _, by_map = r
    map_of, s1_of, s2_of, _, _, _, _, _ = by_map
    for i in range(16):
        move8(x, 16*i, image, 24*(i + 2) + 2)
        move8(x, 16*i + 8, image, 24*(i + 2) + 10)

    # H1: 12 maps of 8x8, each of which sees the image
    split_columns(image, even, odd, 20*12)
    gather_taps(even, odd, taps, 8, 12)
    s1[:] = H1b
    for m in range(12):
        add_sums(H1w[m, 0], taps, s1_of[m], 64)
    squash(s1, y1, A, S)
    for m in range(12):
        for i in range(8):
            move8(y1, 64*m + 8*i, maps, 192*m + 16*(i + 2) + 2)

    # H2: 12 maps of 4x4, each of which sees 8 maps of H1. Here: each map of H1 and the maps of H2 that see it
    s2[:] = H2b
    for a in range(12):
        split_columns(map_of[a], even, odd, 12*8)
        gather_taps(even, odd, taps, 4, 8)
        for link in range(links[a, 0]):
            m, k = links[a, 2*link + 1], links[a, 2*link + 2]
            add_sums(H2w[m, k], taps, s2_of[m], 16)
    squash(s2, y2, A, S)

    # H3, output: fully connected
    full_sums(H3w, H3b, y2, s3)
    squash(s3, y3, A, S)
    full_sums(outw, outb, y3, s4)
    squash(s4, out, A, S)


@inlined
def backward(params, changed, rates, links, A, S, x, power, r):
    """
    Deltas, from those at the output (r's delta[3]) down, and every weight's change.

    To train, weights `changed` = params, x the inputs that forward left in r, and power = 1. The second derivatives of
    curvature go the same way with everything squared: the weights, the inputs x and (power = 2) the slopes.
    """
    H1w, H1b, H2w, H2b, H3w, H3b, outw, outb = params
    H1w_new, H1b_new, H2w_new, H2b_new, H3w_new, H3b_new, outw_new, outb_new = changed
    H1w_rate, H1b_rate, H2w_rate, H2b_rate, H3w_rate, H3b_rate, outw_rate, outb_rate = rates
    image, map_of, x3, x4 = x           # what H1, H2, H3 and the output see
    _, _, (y1, y2, y3, _), _, (d1, d2, d3, d4), (g1, g2), _, down, by_map = r
    rows, image_rows, padded, even, odd, both = down
    _, _, _, d1_of, d2_of, g1_of, g2_of, windows_of = by_map

    # output
    full_deltas(outw, d4, d3)
    full_change(outw_new, outw_rate, d4, x4)
    change(outb_new, outb_rate, d4)

    # H3
    times_slope(d3, y3, A, S, power)
    full_deltas(H3w, d3, d2)
    full_change(H3w_new, H3w_rate, d3, x3)
    change(H3b_new, H3b_rate, d3[:30])

    # H2: again each map of H1 and the maps of H2 that see it
    times_slope(d2, y2, A, S, power)
    change(H2b_new, H2b_rate, d2)
    for m in range(12):
        gather_deltas(d2_of[m], padded, windows_of[m])
    for a in range(12):
        gather_rows(map_of[a], rows, 4, 16)
        even[:] = 0
        odd[:] = 0
        for link in range(links[a, 0]):
            m, k = links[a, 2*link + 1], links[a, 2*link + 2]
            add_deltas(H2w[m, k], windows_of[m], even, odd)
            kernel_gradient(d2_of[m], rows, 16, g2_of[m, k])
        merge_columns(even, odd, both, d1_of[a])
    change(H2w_new, H2w_rate, g2)

    # H1
    times_slope(d1, y1, A, S, power)
    change(H1b_new, H1b_rate, d1)
    gather_rows(image, image_rows, 8, 24)
    for m in range(12):
        kernel_gradient(d1_of[m], image_rows, 64, g1_of[m])
    change(H1w_new, H1w_rate, g1)


@inlined
def flattened(params):
    """params with the kernels' weights in one row."""
    H1w, H1b, H2w, H2b, H3w, H3b, outw, outb = params
    return H1w.reshape(12*32), H1b, H2w.reshape(12 * 8*32), H2b, H3w, H3b, outw, outb


@inlined
def mse_deltas(t, out, delta, A, S):
    """delta = dE/ds at the output, E the mean over the 10 outputs of (out - t)**2, out = A tanh(S s)."""
    for j in range(10):
        delta[j] = f32(2 / 10) * (out[j] - t[j])
    times_slope(delta, out, A, S, 1)


@inlined
def softmax_deltas(s, t, out, delta):
    """delta = dE/ds at the output, E the cross-entropy, out = softmax(s): out - 1 for the class, where t > 0, else out."""
    for j in range(10):
        out[j] = np.exp(s[j] - s.max())
    total = out.sum()
    for j in range(10):
        out[j] /= total
        delta[j] = out[j] - f32(t[j] > 0)


@compiled
def train_net(params, rates, links, A, S, softmax, X, T, order):
    """
    Train on X (n, 256), T (n, 10) in the order given. How many patterns were good: stops at one that is not finite.

    softmax: outputs and loss are softmax and cross-entropy, as in modern.py, and not the paper's.
    """
    r = room()
    x = r[0], r[8][0], r[2][1], r[2][2]                                  # the image, the maps of H1, H2, H3
    out, s4, d4 = r[2][3], r[3][3], r[4][3]
    flat, flat_rates = flattened(params), flattened(rates)
    for i in range(len(order)):
        n = order[i]
        forward(params, links, A, S, X[n], r)
        if softmax:
            softmax_deltas(s4, T[n], out, d4)
        else:
            mse_deltas(T[n], out, d4, A, S)
        backward(params, flat, flat_rates, links, A, S, x, 1, r)
        if not np.isfinite(d4.sum()):
            return i
    return len(order)


@compiled
def net_outputs(params, links, A, S, X, outputs):
    """outputs (n, 10) for X (n, 256)."""
    r = room()
    for n in range(len(X)):
        forward(params, links, A, S, X[n], r)
        outputs[n] = r[2][3]


@compiled
def net_curvature(params, squares, curvature, rates, links, A, S, X):
    """Add to curvature, for each pattern, -rates times the second derivatives. squares: params, squared."""
    r = room()
    x = zeros(20*24), zeros(12 * 12*16).reshape(12, 192), zeros(12*16), zeros(32)
    flat, flat_rates = flattened(curvature), flattened(rates)
    for n in range(len(X)):
        forward(params, links, A, S, X[n], r)
        x[0][:], x[1][:], x[2][:], x[3][:] = r[0]**2, r[8][0]**2, r[2][1]**2, r[2][2]**2
        r[4][3][:] = f32(2 / 10)
        times_slope(r[4][3], r[2][3], A, S, 2)
        backward(squares, flat, flat_rates, links, A, S, x, 2, r)


# ---------------------------------------------------------------------------------------------------------------------
# the fully connected net of section 5 (256-40-10), with the same layers

@compiled
def train_full(params, rates, A, S, X, T, order):
    """As train_net."""
    w1, b1, w2, b2 = params
    w1_rate, b1_rate, w2_rate, b2_rate = rates
    s1, y1, d1, s2, out, d2 = zeros(40), zeros(48), zeros(48), zeros(10), zeros(10), zeros(10)
    for i in range(len(order)):
        x, t = X[order[i]], T[order[i]]
        full_sums(w1, b1, x, s1)
        squash(s1, y1, A, S)
        full_sums(w2, b2, y1, s2)
        squash(s2, out, A, S)
        mse_deltas(t, out, d2, A, S)
        full_deltas(w2, d2, d1)
        full_change(w2, w2_rate, d2, y1)
        change(b2, b2_rate, d2)
        times_slope(d1, y1, A, S, 1)
        full_change(w1, w1_rate, d1, x)
        change(b1, b1_rate, d1[:40])
        if not np.isfinite(d2.sum()):
            return i
    return len(order)


@compiled
def full_curvature(params, squares, curvature, rates, A, S, X):
    """As net_curvature."""
    w1, b1, w2, b2 = params
    s1, y1, d1, s2, out, d2 = zeros(40), zeros(48), zeros(48), zeros(10), zeros(10), zeros(10)
    for n in range(len(X)):
        full_sums(w1, b1, X[n], s1)
        squash(s1, y1, A, S)
        full_sums(w2, b2, y1, s2)
        squash(s2, out, A, S)
        d2[:] = f32(2 / 10)
        times_slope(d2, out, A, S, 2)
        full_deltas(squares[2], d2, d1)
        full_change(curvature[2], rates[2], d2, y1**2)
        change(curvature[3], rates[3], d2)
        times_slope(d1, y1, A, S, 2)
        full_change(curvature[0], rates[0], d1, X[n]**2)
        change(curvature[1], rates[1], d1[:40])


# ---------------------------------------------------------------------------------------------------------------------
# the way in: repro.py's nets and PyTorch's tensors

NAMES = ('H1w', 'H1b', 'H2w', 'H2b', 'H3w', 'H3b', 'outw', 'outb')


def lay_out(t):
    """
    (array, view): a parameter's values as the functions above want them, and a tensor of t's shape on that memory.

    Kernels (maps, inputs, 5, 5) get 32 places each; full weights (inputs, units) lie unit by unit, each unit's inputs
    filled up to a multiple of 16; biases lie flat. What is filled up is 0.
    """
    if t.dim() == 4:
        base = torch.zeros(*t.shape[:2], 32)
        view = base[..., :25].unflatten(-1, (5, 5))
    elif t.dim() == 2:
        base = torch.zeros(t.shape[1], -(-t.shape[0] // 16) * 16)
        view = base[:, :t.shape[0]].T
    else:
        base = torch.zeros(t.numel())
        view = base.view(t.shape)
    view.copy_(t)
    return base.numpy(), view


def share(net):
    """The net's parameters as arrays that share their memory. The first call moves them to where they fit."""
    named = [(name, p) for name in NAMES for n, p in net.named_parameters() if n == name]
    arrays = getattr(net, 'arrays', None)
    if arrays is None or any(a.ctypes.data != p.data_ptr() for a, (_, p) in zip(arrays, named)):
        arrays = []
        for _, p in named:
            array, p.data = lay_out(p.data)
            arrays.append(array)
        net.arrays = tuple(arrays)
    return net.arrays


def links_of(table):
    """
    links (12, 25) from the connection table, the other way round: links[a, 0] is how many maps of H2 see map a of H1,
    and then, for each, come the map m and the k for which table[m][k] is a.
    """
    links = np.zeros((12, 1 + 2*12), np.uint64)
    for m, row in enumerate(table):
        for k, a in enumerate(row):
            n = int(links[a, 0])
            links[a, 1 + 2*n:3 + 2*n] = m, k
            links[a, 0] += 1
    return links


def patterns(X, T=None):
    """The arrays (n, 256) and (n, 10) of tensors X (n, 1, 16, 16) and T (n, 10)."""
    X = np.ascontiguousarray(X.reshape(len(X), 256).numpy())
    return (X,) if T is None else (X, np.ascontiguousarray(T.numpy()))


def unit(net):
    """How the compiled functions are told of a net's connections, if it has any, and its squashing function."""
    return ((links_of(net.table),) if hasattr(net, 'table') else ()) + (f32(net.A), f32(net.S))


def train_pass(net, X, T, rates, order):
    """
    One pass of net over X (n, 1, 16, 16), T (n, 10) in the order given, in place. net is repro.Net or repro.FullNet; or,
    with an attribute softmax that is true, a repro.Net whose outputs and cost are softmax and cross-entropy.

    rates: {parameter's name: learning rate, a number or a tensor of the parameter's shape}. Returns how many patterns
    were good: fewer than there are if a value was not finite. Releases the interpreter lock while it runs.
    """
    params = share(net)
    changes = []
    for name, p in ((name, getattr(net, name)) for name in NAMES if hasattr(net, name)):
        changes.append(lay_out(torch.as_tensor(rates[name], dtype=torch.float32).expand(p.shape))[0])
    train, loss = (train_net, (getattr(net, 'softmax', False),)) if hasattr(net, 'table') else (train_full, ())
    done = call(train, params, tuple(changes), *unit(net), *loss, *patterns(X, T), np.asarray(order, np.int64))
    if done == len(order) and not all(np.isfinite(p).all() for p in params):
        done -= 1                       # the last change was not followed by a pattern that would have shown it
    return done


def outputs(net, X):
    """Outputs (n, 10) of a repro.Net for X (n, 1, 16, 16), as a tensor."""
    params, (X,), out = share(net), patterns(X), np.empty((len(X), 10), f32)
    call(net_outputs, params, *unit(net), X[:0], out[:0])                # of no patterns: compiles, if need be
    cuts = np.linspace(0, len(X), os.cpu_count() + 1).astype(int)
    with ThreadPoolExecutor(os.cpu_count()) as pool:                     # patterns are independent here: a part a core
        list(pool.map(lambda a, b: net_outputs(params, *unit(net), X[a:b], out[a:b]), cuts[:-1], cuts[1:]))
    return torch.from_numpy(out)


def curvature(net, X):
    """
    {parameter's name: d2E/dw2, averaged over the patterns X}, of the parameter's shape, never negative.

    The diagonal approximation of LeCun 1987 and of Becker and LeCun 1988: second derivatives go down as deltas do,
    with weights, inputs and slopes squared, without the term in the squashing function's second derivative (which may
    be negative) and without the terms that mix units; shared weights get the sum over the units that share them.
    """
    params = share(net)
    views, arrays, rates = {}, [], []
    for name in NAMES:
        if not hasattr(net, name):
            continue
        p = getattr(net, name)
        array, views[name] = lay_out(torch.zeros(p.shape))
        arrays.append(array)
        rates.append(lay_out(torch.full(p.shape, -1 / len(X)))[0])
    call(net_curvature if hasattr(net, 'table') else full_curvature,
         params, tuple(p**2 for p in params), tuple(arrays), tuple(rates), *unit(net), *patterns(X))
    return views


def call(function, *args):
    """function(*args), after a line on stderr where numba has to compile it, which takes seconds, once."""
    if not function.signatures:
        late = threading.Timer(1, lambda: print('compiling backprop.py, which is done once ...', file=sys.stderr))
        late.daemon = True
        late.start()
        try:
            function.compile(tuple(numba.typeof(a) for a in args))        # or load it, which is quick
        finally:
            late.cancel()
    return function(*args)
