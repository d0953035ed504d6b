"""backprop.py against autograd, finite differences and brute force; and that a run depends on nothing but its seed."""
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import backprop
import compare
import prepro
import repro

TABLES = {'blocks': repro.BLOCKS, 'cyclic': compare.CYCLIC, 'random': compare.random_table(7)}
SETTINGS = [
    dict(seed=1),
    dict(seed=2, A=1.7159, S=2 / 3, table=TABLES['cyclic']),
    dict(seed=3, A=0.5, S=1.9, table=TABLES['random'], root=False, out_bias=0.2),
]


def digits(n, seed=0, level=1.0):
    """n patterns of noise with targets at +-level."""
    g = torch.Generator().manual_seed(seed)
    Y = -torch.ones(n, 10)
    Y[torch.arange(n), torch.randint(10, (n,), generator=g)] = 1
    return torch.rand(n, 1, 16, 16, generator=g) * 2 - 1, Y * level


def rates_of(net, rate):
    return dict.fromkeys(dict(net.named_parameters()), rate)


def random_biases(net, seed=5):
    """Biases of the size of the weights: zeros would hide one that is never read."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in net.named_parameters():
            if name.endswith('b'):
                p.copy_(torch.rand(p.shape, generator=g) * 0.4 - 0.2)
    return net


def gradients(net, X, T):
    """{name: dE/dw} for one pattern, by a step of rate 1: w - (w - g). Changes net."""
    before = {name: p.detach().double().clone() for name, p in net.named_parameters()}
    assert backprop.train_pass(net, X, T, rates_of(net, 1.0), [0]) == 1
    return {name: before[name] - p.detach().double() for name, p in net.named_parameters()}


@pytest.mark.parametrize('settings', SETTINGS)
@pytest.mark.parametrize('level', [1.0, 0.8])
def test_gradient_of_every_parameter_is_autograds(settings, level):
    net = random_biases(repro.Net(**settings))
    X, T = digits(1, level=level)
    (T - net(X)).square().mean().backward()
    expected = {name: p.grad.clone() for name, p in net.named_parameters()}
    found = gradients(net, X, T)
    for name, g in expected.items():
        assert g.abs().max() > 0
        # a step of 1 rounds the weights to 6e-8 of their size; beyond that the gradients agree to 1e-5 of the largest
        assert (found[name] - g).abs().max() <= 1e-5 * g.abs().max() + 1.2e-7, name


def test_gradient_agrees_with_finite_differences():
    net = random_biases(repro.Net(4, A=1.7159, S=2 / 3, table=TABLES['random']))
    X, T = digits(1)
    exact = repro.Net(4, A=1.7159, S=2 / 3, table=TABLES['random']).double()
    exact.load_state_dict(net.state_dict())
    found = gradients(net, X, T)
    g = torch.Generator().manual_seed(0)
    for name, p in exact.named_parameters():
        for _ in range(12):
            index = tuple(int(torch.randint(n, (1,), generator=g)) for n in p.shape)
            with torch.no_grad():
                costs = []
                for h in (1e-5, -2e-5):
                    p[index] += h
                    costs.append(float((T.double() - exact(X.double())).square().mean()))
                p[index] += 1e-5
            assert float(found[name][index]) == pytest.approx((costs[0] - costs[1]) / 2e-5, rel=1e-3, abs=3e-7), name


@pytest.mark.parametrize('settings', SETTINGS)
def test_compiled_and_autograd_engines_end_with_the_same_weights(settings):
    X, T = digits(60, level=0.8)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3)).tolist()
    nets = [random_biases(repro.Net(**settings)) for _ in range(2)]
    g = torch.Generator().manual_seed(9)
    rates = {name: 0.02 * torch.rand(p.shape, generator=g) for name, p in nets[0].named_parameters()}
    start = nets[0].outb.detach().clone()
    for net, engine in zip(nets, ('compiled', 'autograd')):
        repro.train_pass(net, X, T, rates, order, engine)
    assert (nets[0].outb - start).abs().max() > 1e-3     # it moved, in the order and at the rates given
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters()):
        assert (a - b).abs().max() < 1e-5, name


def test_fully_connected_net_agrees_with_autograd():
    X, T = digits(60, level=0.8)
    nets = [random_biases(repro.FullNet(1)) for _ in range(2)]
    for net, engine in zip(nets, ('compiled', 'autograd')):
        repro.train_pass(net, X, T, rates_of(net, 0.1), range(60), engine)
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters()):
        assert (a - b).abs().max() < 1e-5, name


@pytest.fixture(scope='module')
def real():
    """The embedded digits: {split: (X, Y)}."""
    return {split: prepro.tensors(*d) for split, d in prepro.embedded().items()}


def test_a_whole_pass_on_the_real_digits(real):
    X, Y = real['train']
    nets = repro.Net(), repro.Net()
    torch.set_num_threads(1)
    for net, engine in zip(nets, ('compiled', 'autograd')):
        repro.train_pass(net, X, Y, rates_of(net, 0.03), range(len(X)), engine)
    for (name, a), b in zip(nets[0].named_parameters(), nets[1].parameters()):
        assert (a - b).abs().max() < 1e-4, name
    train, test = (repro.measure(nets[0], *real[split]) for split in ('train', 'test'))
    assert (f'{train["loss"]:.3e}', train['misses']) == ('6.303e-02', 656)       # as published, to 4 digits
    assert (f'{test["loss"]:.3e}', test['misses']) == ('6.878e-02', 206)


def test_outputs_are_the_nets_own(real):
    X = real['test'][0][:300]
    for settings in SETTINGS:
        net = random_biases(repro.Net(**settings))
        with torch.no_grad():
            assert (backprop.outputs(net, X) - net(X)).abs().max() < 1e-5


def test_the_same_bits_twice_and_beside_other_seeds(real):
    X, Y = (t[:1500] for t in real['train'])

    def train(seed):
        net = repro.Net(seed)
        repro.train_pass(net, X, Y, rates_of(net, 0.05), range(len(X)))
        return torch.cat([p.detach().flatten() for p in net.parameters()])

    alone = [train(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(train, range(4)))
    for a, b in zip(alone, together):
        assert torch.equal(a, b)
    assert not torch.equal(alone[0], alone[1])


@backprop.compiled
def squash_all(s, y):
    backprop.squash(s, y, np.float32(1), np.float32(1))


def test_tanh_to_its_stated_error():
    x = np.concatenate([np.linspace(-12, 12, 400_001), np.geomspace(1e-30, 1, 1000)]).astype(np.float32)
    y = np.empty_like(x)
    squash_all(x, y)
    assert np.abs(y - np.tanh(x.astype(np.float64))).max() < 2.5e-7
    assert np.abs(y).max() <= 1
    squash_all(np.array([np.nan, np.inf, -np.inf], np.float32), y[:3])
    assert np.isnan(y[:3]).all()


def test_net_and_engine_share_their_memory():
    net = repro.Net(0)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    arrays = backprop.share(net)
    assert all(torch.equal(p, before[name]) for name, p in net.named_parameters())
    for array in arrays:
        array[...] = np.where(array != 0, 3.0, array)
    assert all((p[before[name] != 0] == 3).all() for name, p in net.named_parameters())
    again = backprop.share(net)
    assert all(a is b for a, b in zip(arrays, again))                    # no copies back and forth
    net.load_state_dict(repro.Net(1).state_dict())
    assert np.array_equal(arrays[0][:, 0, :25], repro.Net(1).H1w.detach().reshape(12, 25).numpy())


@pytest.mark.parametrize('name', ['H1w', 'H1b', 'H2w', 'H2b', 'H3w', 'H3b', 'outw', 'outb'])
@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_stops_at_the_first_value_that_is_not_finite(name, bad):
    net = repro.Net(0)
    X, T = digits(50)
    with torch.no_grad():
        getattr(net, name)[(0,) * getattr(net, name).dim()] = bad
    assert backprop.train_pass(net, X, T, rates_of(net, 0.03), range(50)) == 0


def test_a_last_change_that_is_not_finite_is_seen_too():
    net = repro.Net(0)
    X, T = digits(5, level=1e3)
    assert backprop.train_pass(net, X, T, rates_of(net, 3e38), [0]) == 0


def test_a_pass_of_no_patterns_changes_nothing():
    net = repro.Net(0)
    X, T = digits(5)
    assert backprop.train_pass(net, X, T, rates_of(net, 0.03), []) == 0
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), repro.Net(0).parameters()))


# ---------------------------------------------------------------------------------------------------------------------
# second derivatives

def squared_jacobians(net, x):
    """
    The same approximation by brute force: h of each layer's sums from the layer above by autograd's Jacobians, squared,
    with nothing but the net's definition; then h of the weights that enter those sums. {name: tensor}, one pattern.
    """
    jacobian = torch.autograd.functional.jacobian
    p = {name: q.detach() for name, q in net.named_parameters()}

    def s2_of(s1):
        y = torch.nn.functional.pad(net.squash(s1), (2, 2, 2, 2), value=-1.0)[:, sum(net.table, [])]
        return torch.nn.functional.conv2d(y, p['H2w'], stride=2, groups=12) + p['H2b']

    def s1_of(w, b):
        return torch.nn.functional.conv2d(torch.nn.functional.pad(x, (2, 2, 2, 2), value=-1.0), w, stride=2) + b

    s1 = s1_of(p['H1w'], p['H1b'])
    s2 = s2_of(s1)
    s3 = net.squash(s2).flatten(1) @ p['H3w'] + p['H3b']
    s4 = net.squash(s3) @ p['outw'] + p['outb']
    h4 = 2 / 10 * jacobian(net.squash, s4).reshape(10, 10).square().sum(0)
    h3 = h4 @ jacobian(lambda s: net.squash(s) @ p['outw'] + p['outb'], s3).reshape(10, 30).square()
    h2 = h3 @ jacobian(lambda s: net.squash(s).flatten(1) @ p['H3w'] + p['H3b'], s2).reshape(30, 192).square()
    h1 = h2 @ jacobian(s2_of, s1).reshape(192, 768).square()

    def s2_of_weights(w):
        y = torch.nn.functional.pad(net.squash(s1), (2, 2, 2, 2), value=-1.0)[:, sum(net.table, [])]
        return torch.nn.functional.conv2d(y, w, stride=2, groups=12)

    return {
        'outb': h4, 'H3b': h3, 'H2b': h2.view(12, 4, 4), 'H1b': h1.view(12, 8, 8),
        'outw': net.squash(s3)[0].square()[:, None] * h4, 'H3w': net.squash(s2).flatten().square()[:, None] * h3,
        'H2w': (h2 @ jacobian(s2_of_weights, p['H2w']).reshape(192, -1).square()).view(12, 8, 5, 5),
        'H1w': (h1 @ jacobian(lambda w: s1_of(w, p['H1b']), p['H1w']).reshape(768, -1).square()).view(12, 1, 5, 5),
    }


@pytest.mark.parametrize('settings', SETTINGS)
def test_curvature_is_that_of_brute_force(settings):
    net = random_biases(repro.Net(**settings))
    X, _ = digits(3)
    found = backprop.curvature(net, X)
    each = [squared_jacobians(net, x[None]) for x in X]
    for name, h in found.items():
        expected = sum(e[name] for e in each) / len(each)
        assert h.shape == getattr(net, name).shape
        assert (h >= 0).all()
        assert (h - expected).abs().max() < 1e-4 * expected.max(), name


@pytest.mark.parametrize('make', [lambda: repro.Net(3), lambda: repro.FullNet(3)])
def test_curvature_of_the_upper_layers_is_gauss_newtons_exactly(make):
    """No unit above H3 mixes two paths from one weight of H3 or the output: there nothing is left out."""
    net = random_biases(make())
    X, _ = digits(3)
    found = backprop.curvature(net, X)
    expected = {name: 0 for name in ('H3w', 'H3b', 'outw', 'outb')}
    for x in X:
        for j in range(10):
            net.zero_grad()
            net(x[None])[0, j].backward()
            for name in expected:
                expected[name] = expected[name] + 2 / 10 * getattr(net, name).grad.square() / len(X)
    for name, h in expected.items():
        assert (found[name] - h).abs().max() < 1e-4 * h.max(), name


# ---------------------------------------------------------------------------------------------------------------------
# where compiled code is kept

def test_cache_goes_where_it_can_be_written(tmp_path, monkeypatch):
    nowhere = tmp_path / 'file'
    nowhere.write_text('')
    monkeypatch.setattr(backprop, '__file__', str(nowhere / 'backprop.py'))      # nobody can write under a file
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    assert backprop.cache_dir() == str(tmp_path / 'cache' / 'lecun1989')
    monkeypatch.setenv('XDG_CACHE_HOME', str(nowhere))
    monkeypatch.setattr(backprop.tempfile, 'gettempdir', lambda: str(tmp_path / 'tmp'))
    assert backprop.cache_dir() == str(tmp_path / 'tmp' / 'lecun1989')
    monkeypatch.setattr(backprop.tempfile, 'gettempdir', lambda: str(nowhere))
    assert backprop.cache_dir() == ''
