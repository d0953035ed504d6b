"""support/backprop.py against slow loops, autograd and finite differences; its bits; its compiled code on disk."""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import prepro
import repro
from conftest import random_patterns
from support import backprop

REPO = Path(backprop.__file__).resolve().parent.parent


class Reference(torch.nn.Module):
    """The net of any size, as PyTorch computes it. n1, n2 maps in H1, H2, each of H2's sees k; or none: 256-h-10."""

    factor = 0.5

    def __init__(self, n1, n2, k, h, table='random', A=1.7159, S=2 / 3, softmax=False):
        super().__init__()
        self.A, self.S, self.softmax = A, S, softmax
        g = torch.Generator().manual_seed(n1 + h)
        self.hidden = 'H3' if n1 else 'hidden'
        shapes = {f'{self.hidden}w': (16*n2 or 256, h), f'{self.hidden}b': (h,), 'outw': (h, 10), 'outb': (10,)}
        if n1:
            shapes |= {'H1w': (n1, 1, 5, 5), 'H1b': (n1, 8, 8), 'H2w': (n2, k, 5, 5), 'H2b': (n2, 4, 4)}
            self.table = {'random': [torch.randperm(n1, generator=g)[:k].tolist() for _ in range(n2)],
                          'cyclic': [[(m + i) % n1 for i in range(k)] for m in range(n2)],
                          'blocks': [[(k // 2 * (3 * m // n2) + i) % n1 for i in range(k)] for m in range(n2)]}[table]
        for name, shape in shapes.items():
            size = 1.2 / (25 if name == 'H1w' else 25*k if name == 'H2w' else shape[0] if name[-1] == 'w' else 9)**0.5
            setattr(self, name, torch.nn.Parameter((torch.rand(shape, generator=g) * 2 - 1) * size))

    def squash(self, s):
        return self.A * torch.tanh(self.S * s)

    def sums2(self, y1, w):
        y = F.pad(y1, (2, 2, 2, 2), value=-1.0)
        return torch.cat([F.conv2d(y[:, row], w[m:m + 1], stride=2) for m, row in enumerate(self.table)], 1)

    def forward(self, x):
        if hasattr(self, 'table'):
            x = self.squash(F.conv2d(F.pad(x, (2, 2, 2, 2), value=-1.0), self.H1w, stride=2) + self.H1b)
            x = self.squash(self.sums2(x, self.H2w) + self.H2b)
        w, b = getattr(self, f'{self.hidden}w'), getattr(self, f'{self.hidden}b')
        x = self.squash(x.flatten(1) @ w + b) @ self.outw + self.outb
        return x if self.softmax else self.squash(x)

    def cost(self, x, t):
        return F.cross_entropy(self(x), t.argmax(1)) if self.softmax else self.factor * (t - self(x)).square().mean()


NETS = [(12, 12, 8, 30, 'blocks'), (12, 12, 8, 30, 'cyclic', 1.0, 1.0), (12, 12, 8, 10), (2, 2, 1, 30), (5, 5, 3, 40),
        (16, 7, 16, 33), (24, 24, 8, 30), (0, 0, 0, 40), (0, 0, 0, 7), (5, 12, 4, 20, 'cyclic', 1.0, 1.0, True)]


def digits(n, seed=0, level=1.0):
    """n patterns of noise with targets at +-level."""
    X, Y = random_patterns(n, seed)
    return X, Y * level


def rates_of(net, rate):
    return dict.fromkeys(dict(net.named_parameters()), rate)


def gradients(net, X, T):
    """{name: dE/dw} for one pattern, by a step of rate 1: w - (w - g). Changes net."""
    before = {name: p.detach().double().clone() for name, p in net.named_parameters()}
    assert backprop.train_pass(net, X, T, rates_of(net, 1.0), [0]) == 1
    return {name: before[name] - p.detach().double() for name, p in net.named_parameters()}


@pytest.mark.parametrize('size', NETS)
def test_gradients_are_autograds_and_finite_differences(size):
    net, exact = Reference(*size), Reference(*size).double()
    X, T = digits(1)
    exact.cost(X.double(), T.double()).backward()
    found = gradients(net, X, T)
    g = torch.Generator().manual_seed(0)
    for name, p in exact.named_parameters():
        assert p.grad.abs().max() > 0
        assert (found[name] - p.grad).abs().max() <= 2e-5 * p.grad.abs().max() + 2.4e-7, name
        index = tuple(int(torch.randint(n, (1,), generator=g)) for n in p.shape)
        with torch.no_grad():
            costs = []
            for h in (1e-5, -2e-5):
                p[index] += h
                costs.append(float(exact.cost(X.double(), T.double())))
            p[index] += 1e-5
        assert float(found[name][index]) == pytest.approx((costs[0] - costs[1]) / 2e-5, rel=1e-3, abs=5e-7), name


def test_a_step_is_what_slow_loops_make_it():
    """The paper's equations, unit by unit."""
    net = Reference(3, 2, 2, 4)
    A, S, rate = net.A, net.S, 0.1
    p = {name: q.detach().double().numpy().copy() for name, q in net.named_parameters()}
    X, T = digits(1)
    image, y1 = -np.ones((20, 20)), -np.ones((3, 12, 12))
    image[2:18, 2:18] = X[0, 0]
    y2, d1, d2 = np.zeros((2, 4, 4)), np.zeros((3, 12, 12)), np.zeros((2, 4, 4))
    for m, r, c in np.ndindex(3, 8, 8):
        s = p['H1b'][m, r, c] + (p['H1w'][m, 0] * image[2*r:2*r + 5, 2*c:2*c + 5]).sum()
        y1[m, r + 2, c + 2] = A * np.tanh(S * s)
    for m, r, c in np.ndindex(2, 4, 4):
        s = p['H2b'][m, r, c]
        for k, a in enumerate(net.table[m]):
            s += (p['H2w'][m, k] * y1[a, 2*r:2*r + 5, 2*c:2*c + 5]).sum()
        y2[m, r, c] = A * np.tanh(S * s)
    y3 = A * np.tanh(S * (y2.ravel() @ p['H3w'] + p['H3b']))
    y4 = A * np.tanh(S * (y3 @ p['outw'] + p['outb']))

    def slope(y):
        return S / A * (A - y) * (A + y)

    d4 = slope(y4) * net.factor * 2 / 10 * (y4 - T[0].numpy())
    d3 = slope(y3) * (p['outw'] @ d4)
    d2 = slope(y2) * (p['H3w'] @ d3).reshape(2, 4, 4)
    changes = {'outw': np.outer(y3, d4), 'outb': d4, 'H3w': np.outer(y2.ravel(), d3), 'H3b': d3, 'H2b': d2,
               'H2w': np.zeros((2, 2, 5, 5)), 'H1w': np.zeros((3, 1, 5, 5))}
    for m, r, c in np.ndindex(2, 4, 4):
        for k, a in enumerate(net.table[m]):
            d1[a, 2*r:2*r + 5, 2*c:2*c + 5] += d2[m, r, c] * p['H2w'][m, k]
            changes['H2w'][m, k] += d2[m, r, c] * y1[a, 2*r:2*r + 5, 2*c:2*c + 5]
    changes['H1b'] = (slope(y1) * d1)[:, 2:10, 2:10]
    for m, r, c in np.ndindex(3, 8, 8):
        changes['H1w'][m, 0] += changes['H1b'][m, r, c] * image[2*r:2*r + 5, 2*c:2*c + 5]
    backprop.train_pass(net, X, T, rates_of(net, rate), [0])
    for name, q in net.named_parameters():
        assert np.abs(q.detach().numpy() - (p[name] - rate * changes[name])).max() < 2e-7, name


@pytest.mark.parametrize('size', NETS)
def test_sixty_steps_end_with_autograds_weights(size):
    X, T = digits(60, level=0.8)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3)).tolist()
    net, plain = Reference(*size), Reference(*size)
    g = torch.Generator().manual_seed(9)
    rates = {name: 0.03 * torch.rand(p.shape, generator=g) for name, p in net.named_parameters()}
    rates['outb'] = 0.01                # a number or a tensor
    backprop.train_pass(net, X, T, rates, order)
    for i in order:
        plain.zero_grad()
        plain.cost(X[i:i + 1], T[i:i + 1]).backward()
        with torch.no_grad():
            for name, p in plain.named_parameters():
                p -= rates[name] * p.grad
    for (name, a), b in zip(net.named_parameters(), plain.parameters()):
        assert not torch.equal(a, getattr(Reference(*size), name))
        assert (a - b).abs().max() < 2e-5, name
    with torch.no_grad():
        expected = net(X).softmax(1) if net.softmax else net(X)
    assert (backprop.outputs(net, X) - expected).abs().max() < 1e-5


@pytest.mark.parametrize('n', [500, pytest.param(prepro.N_TRAIN, marks=pytest.mark.slow)])
def test_a_pass_ends_with_autograds_weights(n):
    X, Y = prepro.tensors(*prepro.embedded()['train'])
    nets = repro.Net(), repro.Net()
    for net, engine in zip(nets, (backprop, repro)):
        assert engine.train_pass(net, X, Y, rates_of(net, 0.03), range(n)) == n
    for a, b in zip(nets[0].parameters(), nets[1].parameters()):
        assert (a - b).abs().max() < 1e-4


def test_the_same_bits_twice_and_beside_other_seeds():
    X, Y = digits(1500)

    def train(seed):
        net = repro.Net(seed)
        backprop.train_pass(net, X, Y, rates_of(net, 0.05), range(len(X)))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(4)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together))
    assert not torch.equal(alone[0], alone[1])


def test_tanh_to_its_stated_error():
    squash_all = backprop.numba.njit(lambda s, b: backprop.squash(s, b, np.float32(1), np.float32(1), np.empty_like(s)))
    x = np.concatenate([np.linspace(-12, 12, 400_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)[None]
    y = x.copy()
    squash_all(y, np.zeros_like(x))
    assert np.abs(y - np.tanh(x.astype(np.float64))).max() < 2.5e-7
    assert np.abs(y).max() <= 1
    y = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    squash_all(y, np.zeros_like(y))
    assert np.isnan(y).all()


def test_the_net_is_an_ordinary_module_afterwards():
    net, X, T = repro.Net(0), *digits(5)
    places = [p.data_ptr() for p in net.parameters()]
    before = {**net.__dict__}
    backprop.train_pass(net, X, T, rates_of(net, 0.03), range(5))
    backprop.outputs(net, X), backprop.curvature(net, X)
    assert places == [p.data_ptr() for p in net.parameters()] and before.keys() == net.__dict__.keys()
    assert all(p.is_contiguous() and p.grad is None for p in net.parameters())
    net.H2w.view(-1)


@pytest.mark.parametrize('name', ['H1w', 'H1b', 'H2w', 'H2b', 'H3w', 'H3b', 'outw', 'outb'])
def test_stops_at_the_first_value_that_is_not_finite(name):
    X, T = digits(50)
    for bad in (float('nan'), float('inf')):
        net = repro.Net(0)
        with torch.no_grad():
            getattr(net, name)[(0,) * getattr(net, name).dim()] = bad
        assert backprop.train_pass(net, X, T, rates_of(net, 0.03), range(50)) == 0


def test_not_finite_last_changes_and_outputs_and_no_patterns():
    net = repro.Net(0)
    X, T = digits(5, level=1e3)
    assert backprop.train_pass(net, X, T, rates_of(net, 0.03), []) == 0
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), repro.Net(0).parameters()))
    expected = backprop.outputs(net, X)
    X[1] = float('nan')
    found = backprop.outputs(net, X)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2, 3, 4]], expected[[0, 2, 3, 4]])      # no pattern leaves anything behind
    assert backprop.train_pass(net, *digits(5, level=1e3), rates_of(net, 3e38), [0]) == 0
    net = Reference(5, 5, 3, 10, softmax=True)
    net.outb.data[:] = 300 * torch.arange(10)
    assert backprop.train_pass(net, *digits(5), rates_of(net, 0.01), range(5)) == 5


# ---------------------------------------------------------------------------------------------------------------------
# the bits, and compiled code on disk

BITS = """
import hashlib
import prepro, repro
from support import backprop
digits = prepro.tensors(*prepro.embedded()['train'])
for recipe in 'karpathy2022', 'paper':
    net = repro.build(repro.RECIPES[recipe], 1337)
    training = repro.RECIPES[recipe]['training'] | {'passes': 1}
    list(repro.train(net, *digits, **training))
    print(hashlib.sha256(b''.join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest())
print(len(backprop.run.signatures), sum(backprop.run.stats.cache_hits.values()))
"""
SHA256 = [      # of the weights after a pass of each recipe, on every processor
    '1e854b6ca4485aa17b9d25a6b8fab3e890009722e531ad1eb6ebeddec76556c7',
    '4c18f62f91bf6ad648f71d4f26060c82504a170edfecce11c4d4104fe863ddb7']


def process(cwd, **env):
    """(lines, lines on stderr) of a process that prints the sums."""
    p = subprocess.run([sys.executable, '-c', BITS], cwd=cwd, capture_output=True, text=True, timeout=300,
                       env={**os.environ, 'PYTHONPATH': str(REPO), **env})
    assert p.returncode == 0, p.stderr
    return p.stdout.splitlines(), p.stderr.splitlines()


def test_weights_after_a_pass_are_the_committed_ones_to_the_bit(tmp_path):
    sums, _ = process(tmp_path)
    assert sums[:2] == SHA256


@pytest.mark.slow
def test_code_for_avx2_gives_the_same_bits(tmp_path):
    features = backprop.llvm.get_host_cpu_features()
    if not features.get('avx2'):
        pytest.skip('needs an x86-64 processor with AVX2')
    features = ','.join(('+' if on and not name.startswith(('avx512', 'avx10', 'amx')) else '-') + name
                        for name, on in features.items())
    sums, _ = process(tmp_path, NUMBA_CPU_NAME='haswell', NUMBA_CPU_FEATURES=features, NUMBA_CACHE_DIR=str(tmp_path))
    assert sums[:2] == SHA256


@pytest.mark.slow
def test_the_engine_is_compiled_once_and_says_so(tmp_path):
    for hits in 0, 1:
        sums, err = process(tmp_path, NUMBA_CACHE_DIR=str(tmp_path))
        assert sums[2] == f'1 {hits}'
        assert [line for line in err if 'compiling support/backprop.py' in line] == err and len(err) == 1 - hits


@pytest.mark.slow
@pytest.mark.parametrize('place', ['read-only', 'full'])
def test_where_compiled_code_cannot_be_kept_it_runs_all_the_same(place, tmp_path):
    """Nobody can write under a file; /dev/shm with a limit of its own is not to be had, so a full disk is simulated."""
    (tmp_path / 'file').write_text('')
    if place == 'full':
        (tmp_path / 'sitecustomize.py').write_text(FULL)
        sums, _ = process(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / 'cache'), PYTHONPATH=f'{tmp_path}:{REPO}')
    else:
        nowhere = str(tmp_path / 'file' / 'x')
        sums, _ = process(tmp_path, NUMBA_CACHE_DIR=nowhere, HOME=nowhere, XDG_CACHE_HOME=nowhere,
                          NUMBA_CACHE_LOCATOR_CLASSES='UserProvidedCacheLocator')
    assert sums == [*SHA256, '1 0']


FULL = """
import numba.core.caching as caching
def save(self, name, data):
    raise OSError(28, 'No space left on device')
caching.IndexDataCacheFile._save_data = save
"""


@pytest.mark.slow
def test_where_numba_is_switched_off_the_import_says_so_in_a_line():
    p = subprocess.run([sys.executable, '-c', 'from support import backprop'], cwd=REPO, capture_output=True, text=True,
                       env={**os.environ, 'NUMBA_DISABLE_JIT': '1'})
    assert p.stderr.splitlines()[-1].startswith('ImportError: NUMBA_DISABLE_JIT is set')
