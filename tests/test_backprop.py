"""support/backprop.py against slow loops, autograd and finite differences; its bits; its compiled code on disk."""
import copy
import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from conftest import REPO, random_biases, random_patterns

import modern
import prepro
import repro
from support import backprop


class OtherH3(repro.Net):
    """The net with 33 units in H3, as one who edits it may have."""

    def __init__(self, seed):
        super().__init__(seed)
        uniform = repro.initial(seed, sqrt_fan_in=True)
        self.H3w, self.H3b, self.outw = uniform(192, 192, 33), torch.nn.Parameter(torch.zeros(33)), uniform(33, 33, 10)


NETS = {
    'the paper\'s': lambda: repro.Net(0, A=1.7159, S=2 / 3, factor=0.5),
    'one map seen': lambda: repro.Net(2, table=[[0], [1]]),
    'all maps seen': lambda: repro.Net(3, table=[list(range(16))] * 7),
    'unordered': lambda: repro.Net(4, table=[[4, 1, 2], [0, 3, 2], [2, 0, 4], [1, 4, 3], [3, 2, 1]]),
    'other H3': lambda: OtherH3(6),
    'softmax': lambda: modern.Net(7),
    'fully connected': lambda: repro.FullNet(8, A=1.7159, S=2 / 3),
    'narrow': lambda: repro.FullNet(9, hidden=7),
}


@pytest.fixture(params=NETS)
def net(request):
    return random_biases(NETS[request.param]())


def rates_of(net, rate):
    return dict.fromkeys(dict(net.named_parameters()), rate)


def test_gradients_are_finite_differences(net):
    X, T = random_patterns(1)
    exact = copy.deepcopy(net).double().requires_grad_(False)
    assert backprop.train_pass(net, X, T, rates_of(net, 1.0), [0]) == 1
    g = torch.Generator().manual_seed(0)
    for (name, p), q in zip(exact.named_parameters(), net.state_dict().values()):
        index = tuple(int(torch.randint(n, (1,), generator=g)) for n in p.shape)
        w, costs = float(p[index]), []
        for step in 1e-5, -1e-5:
            p[index] = w + step
            costs.append(float(exact.cost(exact(X.double()), T.double())))
        p[index] = w
        found = w - float(q[index])     # w - (w - gradient)
        assert found == pytest.approx((costs[0] - costs[1]) / 2e-5, rel=1e-3, abs=5e-7), name


def test_outputs_are_those_of_the_papers_equations_unit_by_unit():
    net = random_biases(repro.Net(table=[[0, 2], [1, 0]], A=1.7159, S=2 / 3))
    A, S = net.A, net.S
    p = {name: q.detach().double().numpy() for name, q in net.named_parameters()}
    X, _ = random_patterns(1)
    image, y1, y2 = -np.ones((20, 20)), -np.ones((3, 12, 12)), np.zeros((2, 4, 4))
    image[2:18, 2:18] = X[0, 0]
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
    for engine in backprop, repro:
        assert np.abs(engine.outputs(net, X)[0].numpy() - y4).max() < 1e-6


def test_sixty_steps_and_outputs_are_those_of_the_loop_one_reads(net):
    X, T = random_patterns(60)
    order = torch.randint(60, (60,), generator=torch.Generator().manual_seed(3)).tolist()    # some come twice
    plain, start = copy.deepcopy(net), copy.deepcopy(net)
    g = torch.Generator().manual_seed(9)
    rates = {name: 0.03 * torch.rand(p.shape, generator=g) for name, p in net.named_parameters()}
    rates['outb'] = 0.01                # a number or a tensor
    for engine, trained in (backprop, net), (repro, plain):
        assert engine.train_pass(trained, X, T, rates, order) == 60
    for (name, p), q, before in zip(net.named_parameters(), plain.parameters(), start.parameters()):
        assert not torch.equal(p, before)
        assert (p - q).abs().max() < 2e-5, name
    outputs = repro.outputs(net, X)
    assert (backprop.outputs(net, X) - (outputs.softmax(1) if hasattr(net, 'softmax') else outputs)).abs().max() < 1e-5


@pytest.mark.parametrize('name', dict(repro.Net().named_parameters()))
def test_stops_at_the_first_value_that_is_not_finite(name):
    net = repro.Net(0)
    getattr(net, name).data.view(-1)[0] = float('inf')
    assert backprop.train_pass(net, *random_patterns(5), rates_of(net, 0.03), range(5)) == 0


def test_not_finite_last_changes_and_outputs_and_no_patterns():
    net = repro.Net(0)
    X, Y = random_patterns(5)
    assert backprop.train_pass(net, X, 1e3 * Y, rates_of(net, 0.03), []) == 0
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), repro.Net(0).parameters()))
    expected = backprop.outputs(net, X)
    X[1] = float('nan')
    found = backprop.outputs(net, X)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2, 3, 4]], expected[[0, 2, 3, 4]])      # no pattern leaves anything behind
    assert backprop.train_pass(net, X, 1e3 * Y, rates_of(net, 3e38), [0]) == 0
    net = modern.Net(0)
    net.outb.data[:] = 300 * torch.arange(10)                            # exp of such sums is infinite
    assert backprop.train_pass(net, *random_patterns(5), rates_of(net, 0.01), range(5)) == 5


# ---------------------------------------------------------------------------------------------------------------------
# the bits, and compiled code on disk

SHA256 = [      # of the weights after a pass of each recipe, on every processor
    '1e854b6ca4485aa17b9d25a6b8fab3e890009722e531ad1eb6ebeddec76556c7',
    '4c18f62f91bf6ad648f71d4f26060c82504a170edfecce11c4d4104fe863ddb7']


def sums():
    """SHA256, as it comes out here."""
    digits = prepro.tensors(*prepro.embedded()['train'])
    for recipe in 'karpathy2022', 'paper':
        net = repro.build(repro.RECIPES[recipe], 1337)
        list(repro.train(net, *digits, **repro.RECIPES[recipe]['training'] | {'passes': 1}))
        yield hashlib.sha256(b''.join(p.detach().numpy().tobytes() for p in net.parameters())).hexdigest()


def process(cwd, **env):
    """(the sums; how often the engine was compiled and how often read from disk; lines on stderr) of a new process."""
    code = ('import test_backprop as t; print(*t.sums(), len(t.backprop.run.signatures), '
            'sum(t.backprop.run.stats.cache_hits.values()))')
    p = subprocess.run([sys.executable, '-c', code], cwd=cwd, capture_output=True, text=True, timeout=300,
                       env={**os.environ, 'PYTHONPATH': f'{cwd}:{REPO}:{REPO}/tests', **env})
    assert p.returncode == 0, p.stderr
    *found, signatures, hits = p.stdout.split()
    return found, (int(signatures), int(hits)), p.stderr.splitlines()


def test_weights_after_a_pass_are_the_committed_ones_to_the_bit():
    assert list(sums()) == SHA256


def test_the_same_bits_twice_and_beside_other_seeds():
    X, Y = random_patterns(1500)

    def train(seed):
        net = repro.Net(seed)
        backprop.train_pass(net, X, Y, rates_of(net, 0.05), range(len(X)))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(4)))
    assert all(torch.equal(a, b) for a, b in zip(alone, together))
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.slow
def test_code_for_avx2_gives_the_same_bits(tmp_path):
    features = backprop.llvm.get_host_cpu_features()
    if not features.get('avx2'):
        pytest.skip('needs an x86-64 processor with AVX2')
    features = ','.join(('+' if on and not name.startswith(('avx512', 'avx10', 'amx')) else '-') + name
                        for name, on in features.items())
    found, _, _ = process(tmp_path, NUMBA_CPU_NAME='haswell', NUMBA_CPU_FEATURES=features,
                          NUMBA_CACHE_DIR=str(tmp_path))
    assert found == SHA256


@pytest.mark.slow
def test_the_engine_is_compiled_once_and_says_so(tmp_path):
    for hits in 0, 1:
        _, counts, err = process(tmp_path, NUMBA_CACHE_DIR=str(tmp_path))
        assert counts == (1, hits)
        assert [line for line in err if 'compiling support/backprop.py' in line] == err and len(err) == 1 - hits


@pytest.mark.slow
def test_where_compiled_code_cannot_be_kept_it_runs_all_the_same(tmp_path):
    (tmp_path / 'file').write_text('')
    nowhere = str(tmp_path / 'file' / 'x')                               # nobody can write under a file, root neither
    found, counts, _ = process(tmp_path, NUMBA_CACHE_DIR=nowhere, HOME=nowhere, XDG_CACHE_HOME=nowhere,
                               NUMBA_CACHE_LOCATOR_CLASSES='UserProvidedCacheLocator')
    assert (found, counts) == (SHA256, (1, 0))
