/*
 * The net of 1989 and its training, one pattern at a time: repro.py's Net, train_pass and measure, and prepro.py's
 * tensors, under the same names. Flat arrays, and nothing is allocated while it learns: all numbers of a layer lie in
 * one Float32Array, unit (m, r, c) of maps of n x n at (m*n + r)*n + c.
 *
 * page.py puts this script into the page, which runs it twice: to read what is drawn, and in a worker, to learn.
 */
'use strict';
const BACKGROUND = -1;          // what windows see beyond the border of the image, or of a map of H1

// --------------------------------------------------------------------------------------------------------------------
// Section 2, the data

/** A digit's n x n bytes as an image of 16x16 in [-1, 1]; from 28x28, each pixel from the four around its center. */
function tensor(bytes, n) {
    if (n === 16)
        return Float32Array.from(bytes, v => v / 127.5 - 1);
    return Float32Array.from({length: 256}, (_, p) => {
        const y = ((p >> 4) + .5) * n / 16 - .5, x = ((p & 15) + .5) * n / 16 - .5, dy = y % 1, dx = x % 1;
        const i = n * Math.floor(y) + Math.floor(x);
        return ((1 - dy) * ((1 - dx) * bytes[i] + dx * bytes[i + 1])
            + dy * ((1 - dx) * bytes[i + n] + dx * bytes[i + n + 1])) / 127.5 - 1;
    });
}

// --------------------------------------------------------------------------------------------------------------------
// Section 3, network design

/** PyTorch's random numbers, uniform in [0, 1): the Mersenne Twister, of whose 32 bits 24 are used. */
function generator(seed) {
    const state = new Uint32Array(624);
    state[0] = seed;
    for (let i = 1; i < 624; i++)
        state[i] = Math.imul(1812433253, state[i - 1] ^ state[i - 1] >>> 30) + i;
    let next = 624;
    return () => {
        for (let i = 0; next === 624 && i < 624; i++) {
            const y = state[i] & 0x80000000 | state[(i + 1) % 624] & 0x7fffffff;
            state[i] = state[(i + 397) % 624] ^ y >>> 1 ^ (y & 1 ? 0x9908b0df : 0);
        }
        let y = state[next %= 624];
        next++;
        y ^= y >>> 11;
        y ^= y << 7 & 0x9d2c5680;
        y ^= y << 15 & 0xefc60000;
        return ((y ^ y >>> 18) & 0xffffff) / 2**24;
    };
}

/** 16x16 image -> H1: 12 maps of 8x8 -> H2: 12 maps of 4x4 -> H3: 30 units -> 10 outputs. */
class Net {
    constructor({table, A, S, level}) {
        Object.assign(this, {table, A, S, level});
        const maps1 = Math.max(...table.flat()) + 1, maps2 = table.length, seen = table[0].length;
        const sizes = {H1w: maps1 * 25, H2w: maps2 * seen * 25, H3w: maps2 * 16 * 30, outw: 30 * 10,
                       H1b: maps1 * 64, H2b: maps2 * 16, H3b: 30, outb: 10};
        this.parameters = new Float32Array(Object.values(sizes).reduce((a, b) => a + b));   // one after the other
        this.gradients = new Float32Array(this.parameters.length);   // dE/dw of each
        this.gradient = {};
        let start = 0;
        for (const [name, size] of Object.entries(sizes)) {          // views by name: net.H1w, net.gradient.H1w
            this[name] = this.parameters.subarray(start, start + size);
            this.gradient[name] = this.gradients.subarray(start, start += size);
        }
        this.image = new Float32Array(20 * 20).fill(BACKGROUND);     // with the border that windows see
        this.seen1 = new Float32Array(maps1 * 12 * 12).fill(BACKGROUND);                    // H1, likewise
        this.e1 = new Float32Array(this.seen1.length);               // dE/dy of H1's outputs y, likewise
        this.H1 = new Float32Array(sizes.H1b);
        this.H2 = new Float32Array(sizes.H2b);
        this.H3 = new Float32Array(30);
        this.out = new Float32Array(10);
        this.imageOnly = Array.from({length: maps1}, () => [0]);     // the table of H1, whose maps see the image
    }

    /** Section 4: weights uniform in [-2.4/F, 2.4/F], F a unit's fan-in, or with sqrt_fan_in over its square root. */
    initialize({seed, sqrt_fan_in, out_bias}) {
        const random = generator(seed), seen = this.table[0].length;
        const fan_in = {H1w: 25, H2w: 25 * seen, H3w: this.H2.length, outw: 30};
        this.parameters.fill(0);
        for (const [name, F] of Object.entries(fan_in))              // fround: as PyTorch does, step by step
            this[name].forEach((_, i, w) => {
                w[i] = Math.fround((random() - .5) * 2 * Math.fround(2.4)) / Math.fround(sqrt_fan_in ? F ** .5 : F);
            });
        this.outb.fill(out_bias);
    }

    /** Section 4: a scaled hyperbolic tangent of the weighted sum s. */
    squash(s) {
        return this.A * Math.tanh(this.S * s);
    }

    /** The squashing function's slope where its value is y. */
    slope(y) {
        return this.S / this.A * (this.A - y) * (this.A + y);
    }

    /** Compute the activations of H1, H2, H3 and the output for an image x of 16x16. */
    layers(x) {
        pad(x, 16, this.image);
        this.windows(this.image, 20, this.imageOnly, this.H1w, this.H1b, this.H1);
        pad(this.H1, 8, this.seen1);
        this.windows(this.seen1, 12, this.table, this.H2w, this.H2b, this.H2);
        this.full(this.H2, this.H3w, this.H3b, this.H3);
        this.full(this.H3, this.outw, this.outb, this.out);
        return this;
    }

    /**
     * Outputs y of units with windows of 5x5, two units apart, over maps x of side x side; map m sees table[m]. One row
     * of a kernel at a time, for all units of the map.
     */
    windows(x, side, table, w, b, y) {
        const n = (side - 4) / 2;
        y.set(b);
        for (let m = 0, k = 0; m < table.length; m++)
            for (let t = 0, maps = table[m]; t < maps.length; t++)
                for (let i = 0; i < 5; i++, k += 5) {
                    const w0 = w[k], w1 = w[k+1], w2 = w[k+2], w3 = w[k+3], w4 = w[k+4];
                    for (let r = 0, unit = m*n*n; r < n; r++)
                        for (let c = 0, p = (maps[t] * side + 2*r + i) * side; c < n; c++, unit++, p += 2)
                            y[unit] += w0 * x[p] + w1 * x[p+1] + w2 * x[p+2] + w3 * x[p+3] + w4 * x[p+4];
                }
        for (let unit = 0; unit < y.length; unit++)
            y[unit] = this.squash(y[unit]);
    }

    /** Outputs y of units that see all units x below. */
    full(x, w, b, y) {
        for (let m = 0; m < y.length; m++) {
            let s = b[m];
            for (let k = 0; k < x.length; k++)
                s += x[k] * w[k * y.length + m];
            y[m] = this.squash(s);
        }
    }

    // ----------------------------------------------------------------------------------------------------------------
    // Section 4, learning

    /**
     * One presentation: update the weights by w -= rate dE/dw, E the cost of this pattern: the mean squared error of
     * the outputs for image x, where the targets are t. Returns E.
     */
    learn(x, t, rate) {
        const E = this.layers(x).backward(t), {parameters, gradients} = this;
        for (let i = 0; i < parameters.length; i++)
            parameters[i] -= rate * gradients[i];
        return E;
    }

    /** Compute the gradient of the cost E of the outputs, where the targets are t. Returns E. */
    backward(t) {
        const {out, gradient} = this;
        let E = 0;
        for (let j = 0; j < 10; j++) {  // delta, dE/ds of a unit's weighted sum s, is the gradient of its bias too
            E += (out[j] - t[j]) ** 2 / 10;
            gradient.outb[j] = this.slope(out[j]) * 2/10 * (out[j] - t[j]);
        }
        this.fullBack(this.H3, this.outw, gradient.outb, gradient.outw, gradient.H3b);
        this.fullBack(this.H2, this.H3w, gradient.H3b, gradient.H3w, gradient.H2b);
        windowsBack(this.seen1, 12, this.table, this.H2w, gradient.H2b, gradient.H2w, this.e1);
        for (let m = 0, unit = 0; unit < this.H1.length; m++)
            for (let r = 2; r < 10; r++)
                for (let c = 2; c < 10; c++, unit++)
                    gradient.H1b[unit] = this.slope(this.H1[unit]) * this.e1[(12*m + r) * 12 + c];
        windowsBack(this.image, 20, this.imageOnly, this.H1w, gradient.H1b, gradient.H1w, null);
        return E;
    }

    /** Back through a fully connected layer: from its units' deltas its gradient, and the deltas of units x below. */
    fullBack(x, w, delta, gradient, below) {
        for (let k = 0, i = 0; k < x.length; k++) {
            let e = 0;
            for (let m = 0; m < delta.length; m++, i++) {
                gradient[i] = delta[m] * x[k];
                e += delta[m] * w[i];
            }
            below[k] = this.slope(x[k]) * e;
        }
    }
}

/** Copy maps y of n x n into the middle of maps x with a border of two units. */
function pad(y, n, x) {
    for (let m = 0, unit = 0; unit < y.length; m++)
        for (let r = 2; r < n + 2; r++)
            for (let c = 2; c < n + 2; c++)
                x[(m * (n + 4) + r) * (n + 4) + c] = y[unit++];
}

/** Back through windows: from their units' deltas the gradient of the weights w, and e, dE/dx, unless e is null. */
function windowsBack(x, side, table, w, delta, gradient, e) {
    const n = (side - 4) / 2;
    e?.fill(0);
    for (let m = 0, k = 0; m < table.length; m++)
        for (let t = 0, maps = table[m]; t < maps.length; t++)
            for (let i = 0; i < 5; i++, k += 5) {
                let g0 = 0, g1 = 0, g2 = 0, g3 = 0, g4 = 0;
                const w0 = w[k], w1 = w[k+1], w2 = w[k+2], w3 = w[k+3], w4 = w[k+4];
                for (let r = 0, unit = m*n*n; r < n; r++)
                    for (let c = 0, p = (maps[t] * side + 2*r + i) * side; c < n; c++, unit++, p += 2) {
                        const d = delta[unit];
                        g0 += d * x[p];
                        g1 += d * x[p+1];
                        g2 += d * x[p+2];
                        g3 += d * x[p+3];
                        g4 += d * x[p+4];
                        if (e !== null) {
                            e[p] += d * w0;
                            e[p+1] += d * w1;
                            e[p+2] += d * w2;
                            e[p+3] += d * w3;
                            e[p+4] += d * w4;
                        }
                    }
                gradient[k] = g0;
                gradient[k+1] = g1;
                gradient[k+2] = g2;
                gradient[k+3] = g3;
                gradient[k+4] = g4;
            }
}

// --------------------------------------------------------------------------------------------------------------------
// Section 5, results

/** repro.py's measure and predict.py's threshold: loss, error, misses, rejection, and the least margin accepted. */
function measure(net, X, labels) {
    let loss = 0, misses = 0, least = null, rejection = 100, wrong = 0;
    const read = X.map((x, i) => {
        const {out} = net.layers(x), a = out.indexOf(Math.max(...out));
        out.forEach((y, j) => { loss += (net.level * (j === labels[i] ? 1 : -1) - y) ** 2 / 10 / X.length; });
        misses += a !== labels[i];
        return {wrong: a !== labels[i], margin: out[a] - Math.max(...out.filter((_, j) => j !== a))};
    });
    read.sort((a, b) => b.margin - a.margin).forEach((digit, n) => {
        wrong += digit.wrong;           // of the n + 1 digits accepted at this margin
        if (digit.margin !== read[n + 1]?.margin && 100 * wrong / (n + 1) <= 1)
            [least, rejection] = [digit.margin, 100 - 100 * (n + 1) / X.length];
    });
    return {loss, error: 100 * misses / X.length, misses, rejection, least};
}
