"""backprop.py's loops, compiled by numba: its docstring has the equations, and where the numbers lie."""
from math import factorial, log

import numpy as np

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
zero = f32(0)
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
def squash(s, b, A, S):
    """From s, in its place, y = A tanh(S (s + b))."""
    for m in range(len(s)):
        for p in range(s.shape[1]):
            s[m, p] = A * tanh(S * (s[m, p] + b[m, p]))


@inlined
def slope(y, A, S, squared):
    """dy/ds = A S (1 - tanh(S s)**2) = S/A (A - y)(A + y), or that squared."""
    dy = S / A * (A - y) * (A + y)
    return dy * dy if squared else dy


@part
def times_slope(e, y, A, S, squared):
    """From e, in its place, delta = slope * e. If squared, y is then squared as well: it is what the weights see."""
    for m in range(len(e)):
        for p in range(e.shape[1]):
            e[m, p] *= slope(y[m, p], A, S, squared)
    if squared:
        square(y)


@part
def clear(a):
    for i in range(len(a)):
        for j in range(a.shape[1]):
            a[i, j] = zero


@part
def square(a):
    for i in range(len(a)):
        for j in range(a.shape[1]):
            a[i, j] *= a[i, j]


@inlined_dot
def dot5(v, x, half, first):
    """v . the 5 taps of a row"""
    last = first + 64
    a, b, c = x[0, half, first:last], x[1, half, first:last], x[2, half, first:last]
    d, e = x[3, half, first:last], x[4, half, first:last]
    va, vb, vc, vd, ve = zero, zero, zero, zero, zero
    for k in range(len(v)):
        va += v[k] * a[k]
        vb += v[k] * b[k]
        vc += v[k] * c[k]
        vd += v[k] * d[k]
        ve += v[k] * e[k]
    return va, vb, vc, vd, ve


@inlined_dot
def dot4(v, a, b, c, d):
    """v . a, v . b, v . c, v . d: v is read once for four."""
    va, vb, vc, vd = zero, zero, zero, zero
    for k in range(len(v)):
        va += v[k] * a[k]
        vb += v[k] * b[k]
        vc += v[k] * c[k]
        vd += v[k] * d[k]
    return va, vb, vc, vd


@inlined_dot
def dot8(v, w, a, b, c, d):
    """v . a, v . b, v . c, v . d, and the same of w."""
    va, vb, vc, vd, wa, wb, wc, wd = zero, zero, zero, zero, zero, zero, zero, zero
    for k in range(len(v)):
        va += v[k] * a[k]
        vb += v[k] * b[k]
        vc += v[k] * c[k]
        vd += v[k] * d[k]
        wa += w[k] * a[k]
        wb += w[k] * b[k]
        wc += w[k] * c[k]
        wd += w[k] * d[k]
    return va, vb, vc, vd, wa, wb, wc, wd


@part
def dots(a, x, s):
    """s[j,i] = the sum over k of a[i,k] x[j,k], for every row of a and of x."""
    for j in range(len(x)):
        for i in range(0, len(a), 4):
            s[j, i], s[j, i + 1], s[j, i + 2], s[j, i + 3] = dot4(x[j], a[i], a[i + 1], a[i + 2], a[i + 3])


@part
def pass_down(w, delta, e):
    """e[k] = the sum over m of delta[m] w[m,k], four units at a time."""
    for k in range(len(e)):
        e[k] = zero
    for m in range(0, len(w), 4):
        w0, w1, w2, w3 = w[m], w[m + 1], w[m + 2], w[m + 3]
        d0, d1, d2, d3 = delta[m], delta[m + 1], delta[m + 2], delta[m + 3]
        for k in range(len(e)):
            e[k] = e[k] + d0 * w0[k] + d1 * w1[k] + d2 * w2[k] + d3 * w3[k]


@part
def change(w, rate, row, delta, x):
    """w[m,k] -= rate[m,k] delta[m] x[k]."""
    for m in range(len(w)):
        wm, rm, d = w[m], rate[row[m]], delta[m]
        for k in range(len(x)):
            wm[k] -= rm[k] * (d * x[k])


@part
def step(w, rate, row, g):
    """w[m,p] -= rate[m,p] g[m,p]. A bias is a weight whose input is 1: its gradient is its unit's delta."""
    for m in range(len(w)):
        wm, rm, gm = w[m], rate[row[m]], g[m]
        for p in range(len(wm)):
            wm[p] -= rm[p] * gm[p]


@inlined
def move(a, i, b, j, n, add):
    """b[j:j+n] = a[i:i+n], or += that."""
    i, j, n = index(i), index(j), index(n)          # unsigned: a negative index would count from the end
    for k in range(n):
        b[j + k] = a[i + k] + (b[j + k] if add else zero)


@inlined
def windows(strip, K):
    """What the four units of a column of H2 see of its strip."""
    return strip[:5*K], strip[2*K:7*K], strip[4*K:9*K], strip[6*K:11*K]


@cache.cached
@numba.njit(fastmath={'contract'}, nogil=True, **lean)
def run(task, net, above, changed, rates, A, S, softmax, X, T, order, outputs, R):
    """
    What is asked for (task), for each pattern of X (n, 256), T (n, 10) in the order given. How many were good: stops at
    one that is not finite. deltas go down through the weights `above`, and `changed` is changed: both are net, or for
    the second derivatives net squared and their sum.
    """
    H1, H2, H3, out = net
    n1, n2, K, second = len(H1.w), len(H2.w), H2.w.shape[1] // 5, task == CURVATURE
    image, x1, y1, maps, x2, x3, x4, e2, e1, g1 = R.image, R.x1, R.y1, R.maps, R.x2, R.x3, R.x4, R.e2, R.e1, R.g1
    delta1, delta2, delta3, delta4, y = R.delta1, R.delta2, R.delta3, R.delta4[0], R.y4[0]
    flat3, e3 = x3.reshape(x3.size), delta2.reshape(delta2.size)
    for n in range(len(order)):
        x, t = X[order[n]], T[order[n]]

        # H1: taps, sums, outputs; then by row, column, map. (256-h-10 has no H1 and H2: its H3 sees the image)
        if n1 == 0:
            for k in range(256):
                flat3[k] = x[k]
        else:
            for r in range(16):
                for c in range(16):
                    image[r + 2, c + 2] = x[16*r + c]
            for j in range(5):          # unit r, c sees through tap i, j: x1[j, i % 2, 8(r + i//2) + c]
                for r in range(10):
                    for c in range(8):
                        x1[j, 0, 8*r + c], x1[j, 1, 8*r + c] = image[2*r, 2*c + j], image[2*r + 1, 2*c + j]
            for m in range(n1):
                for p in range(64):
                    s = zero
                    for i in range(5):
                        row = zero
                        for j in range(5):
                            row += H1.w[m, 5*i + j] * x1[j, i % 2, i // 2 * 8 + p]
                        s += row
                    y1[m, p] = s
            squash(y1, H1.b, A, S)
            for m in range(n1):
                for r in range(8):
                    for c in range(8):
                        maps[r + 2, n1*(c + 2) + m] = y1[m, 8*r + c]
            # H2: strips, sums, outputs
            for c in range(4):
                for r in range(0 if second else 2, 12 if second else 10):
                    move(maps[r], 2*n1*c, x2[c], K*r, 5*n1, False)
                a0, a1, a2, a3 = windows(x2[c], K)
                for m in range(0, n2, 2):
                    (x3[m, c], x3[m, 4 + c], x3[m, 8 + c], x3[m, 12 + c], x3[m + 1, c], x3[m + 1, 4 + c],
                     x3[m + 1, 8 + c], x3[m + 1, 12 + c]) = dot8(H2.w[m], H2.w[m + 1], a0, a1, a2, a3)
            squash(x3, H2.b, A, S)

        # H3, output
        dots(H3.w, x3.reshape(1, x3.size), x4)
        squash(x4, H3.b, A, S)
        dots(out.w, x4, R.y4)
        if softmax:
            total, top = zero, y[0] + out.b[0, 0]
            for j in range(10):
                top = max(top, y[j] + out.b[0, j])
            for j in range(10):
                y[j] = np.exp(y[j] + out.b[0, j] - top)
                total += y[j]
            for j in range(10):
                y[j] /= total
        else:
            squash(R.y4, out.b, A, S)
        if task == OUTPUTS:
            for j in range(10):
                outputs[n, j] = y[j]
            continue

        # down: in each layer what it passes on, then its changes
        total = zero
        for j in range(10):
            error = f32(1) if second else y[j] - t[j]
            delta4[j] = (y[j] - f32(t[j] > 0)) if softmax else f32(2 / 10) * error * slope(y[j], A, S, second)
            total += delta4[j]
        if not np.isfinite(total):
            return n
        pass_down(above.out.w, delta4, delta3[0])
        times_slope(delta3, x4, A, S, second)
        change(changed.out.w, rates.out.w, rates.out.row_w, delta4, x4[0])
        step(changed.out.b, rates.out.b, rates.out.row_b, R.delta4)
        if n1:
            pass_down(above.H3.w, delta3[0], e3)
            times_slope(delta2, x3, A, S, second)
        elif second:
            square(x3)
        change(changed.H3.w, rates.H3.w, rates.H3.row_w, delta3[0], flat3)
        step(changed.H3.b, rates.H3.b, rates.H3.row_b, delta3)
        if n1 == 0:
            continue

        # H2: four maps at a time
        if second:
            square(x2)
            square(x1.reshape(10, 80))
        clear(e2)
        clear(e1)
        for m in range(0, n2, 4):
            w0, w1, w2, w3 = above.H2.w[m], above.H2.w[m + 1], above.H2.w[m + 2], above.H2.w[m + 3]
            for p in range(0, 16, 2):
                d0, d1, d2, d3 = delta2[m, p], delta2[m + 1, p], delta2[m + 2, p], delta2[m + 3, p]
                f0, f1, f2, f3 = delta2[m, p + 1], delta2[m + 1, p + 1], delta2[m + 2, p + 1], delta2[m + 3, p + 1]
                first = p // 4 * 2*K
                ea, eb = e2[p % 4, first:first + 5*K], e2[p % 4 + 1, first:first + 5*K]
                for k in range(len(w0)):
                    ea[k] = ea[k] + d0 * w0[k] + d1 * w1[k] + d2 * w2[k] + d3 * w3[k]
                    eb[k] = eb[k] + f0 * w0[k] + f1 * w1[k] + f2 * w2[k] + f3 * w3[k]
            for c in range(0, 4, 2):
                a0, a1, a2, a3 = windows(x2[c], K)
                b0, b1, b2, b3 = windows(x2[c + 1], K)
                for j in range(m, m + 4):
                    d0, d1, d2, d3 = delta2[j, c], delta2[j, 4 + c], delta2[j, 8 + c], delta2[j, 12 + c]
                    f0, f1, f2, f3 = delta2[j, c + 1], delta2[j, 5 + c], delta2[j, 9 + c], delta2[j, 13 + c]
                    w, rate = changed.H2.w[j], rates.H2.w[rates.H2.row_w[j]]
                    for k in range(len(w)):
                        w[k] -= rate[k] * ((d0 * a0[k] + d1 * a1[k] + d2 * a2[k] + d3 * a3[k])
                                           + (f0 * b0[k] + f1 * b1[k] + f2 * b2[k] + f3 * b3[k]))
        step(changed.H2.b, rates.H2.b, rates.H2.row_b, delta2)

        # H1: the strips' columns, added, and map by map again
        for c in range(4):
            for r in range(2, 10):
                move(e2[c], K*r, e1[r], 2*n1*c, 5*n1, True)
        for m in range(n1):
            for r in range(8):
                for c in range(8):
                    delta1[m, 8*r + c] = e1[r + 2, n1*(c + 2) + m]
        times_slope(delta1, y1, A, S, second)
        for i in range(5):
            for m in range(n1):
                (g1[m, 5*i], g1[m, 5*i + 1], g1[m, 5*i + 2], g1[m, 5*i + 3],
                 g1[m, 5*i + 4]) = dot5(delta1[m], x1, i % 2, i // 2 * 8)
        step(changed.H1.w, rates.H1.w, rates.H1.row_w, g1)
        step(changed.H1.b, rates.H1.b, rates.H1.row_b, delta1)
    return len(order)
