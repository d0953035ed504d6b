"""repro.py in the paper's order: the nets' structure and counts, learning, results, and the recipes; then runs, and how
they end: repeatable to the bit, interrupted, killed, diverged, refused."""
import csv
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import repro
from conftest import REPO, TINY, call, files, random_biases, random_patterns, refused, shell, uncompiled
from support import backprop

ENGINES = {'compiled': backprop, 'autograd': repro}
CYCLIC = [[(m + k) % 12 for k in range(8)] for m in range(12)]
EVAL = re.compile(r'eval: split (train|test )\. loss (\d\.\d{6}e[+-]\d\d)\. error (\d+\.\d\d)%\. misses: (\d+)')


def metrics(folder):
    with open(folder / 'metrics.csv', newline='') as f:
        return list(csv.DictReader(f))


def trained(net, X, Y, passes=1, rate=0.03, **options):
    for _ in repro.train(net, X, Y, passes, rate, **options):
        pass
    return net


def assert_same(net, other, atol):
    for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=0, atol=atol), name


# ---------------------------------------------------------------------------------------------------------------------
# section 3: network design; test_backprop.py has its equations, unit by unit

def seen_by(unit, inputs):
    """Which of the inputs influence a unit: a mask of their shape."""
    return torch.autograd.grad(unit, inputs, retain_graph=True)[0] != 0


def test_nets_are_as_large_as_counted():
    """repro.py itself asserts that its counts are the paper's."""
    for net in repro.Net(), repro.FullNet():
        layers = net.layers(torch.zeros(1, 1, 16, 16))
        assert sum(p.numel() for p in net.parameters()) == net.counts()['all'][2]
        assert [y[0].numel() for y in layers] == [net.counts()[layer][0] for layer in net.LAYERS]


def test_each_unit_sees_as_many_inputs_as_the_paper_says():
    x = random_patterns(1)[0].requires_grad_()
    H1, H2, H3, out = repro.Net().layers(x)
    reach = [range(max(2*i - 2, 0), min(2*i + 3, 16)) for i in range(8)]         # 5 wide, two apart, around its pixel
    for m, r, c in ((0, 3, 3), (5, 0, 0), (11, 7, 2)):
        seen = seen_by(H1[0, m, r, c], x)[0, 0]
        assert seen.sum() == len(reach[r]) * len(reach[c]) and seen[reach[r]][:, reach[c]].all()
    seen = seen_by(H2[0, 6, 1, 2], H1)[0]                                        # sees no border: 5x5 in 8 maps
    assert seen.sum() == seen[:, 0:5, 2:7].sum() == 8*5*5
    assert all(seen_by(unit, H2).sum() == 192 for unit in H3[0])
    assert all(seen_by(unit, H3).sum() == 30 for unit in out[0])


@pytest.mark.parametrize('table', [repro.TABLE, CYCLIC])
def test_each_map_of_h2_sees_the_eight_maps_of_its_row_and_each_map_of_h1_feeds_eight(table):
    H1, H2, _, _ = repro.Net(table=table).layers(random_patterns(1)[0])
    seen = [seen_by(unit, H1)[0].any(2).any(1).nonzero().flatten().tolist() for unit in H2[0, :, 1, 1]]
    assert seen == [sorted(row) for row in table]
    assert all(sum(a in maps for maps in seen) == 8 for a in range(12))


# ---------------------------------------------------------------------------------------------------------------------
# section 4: initial weights and learning

@pytest.mark.parametrize('sqrt', [True, False])
def test_initial_weights_are_uniform_within_the_range_of_the_fan_in(sqrt):
    net = repro.Net(seed=1337, sqrt_fan_in=sqrt)
    torch.manual_seed(1337)
    for name, shape, fan_in in (('H1w', (12, 1, 5, 5), 25), ('H2w', (12, 8, 5, 5), 200), ('H3w', (192, 30), 192),
                                ('outw', (30, 10), 30)):
        w = (torch.rand(*shape) - 0.5) * 2 * 2.4 / (fan_in**0.5 if sqrt else fan_in)
        assert torch.equal(getattr(net, name), w), name
    for name, value in (('H1b', 0), ('H2b', 0), ('H3b', 0), ('outb', -1)):
        assert set(getattr(net, name).flatten().tolist()) == {value}, name
    assert not torch.equal(repro.Net(seed=1, sqrt_fan_in=sqrt).H1w, net.H1w)


@pytest.mark.parametrize('shuffle', [None, 1])
def test_order_is_constant_unless_it_is_shuffled(shuffle):
    net, (X, Y), g = repro.FullNet(), random_patterns(10), torch.Generator().manual_seed(1)
    for _ in range(2):                  # each pass has an order of its own
        order = range(10) if shuffle is None else torch.randperm(10, generator=g).tolist()
        repro.train_pass(net, X, Y, dict.fromkeys(dict(net.named_parameters()), 0.03), order)
    assert_same(trained(repro.FullNet(), X, Y, 2, shuffle=shuffle, engine='autograd'), net, atol=0)


def test_targets_are_at_the_nets_level():
    X, Y = random_patterns(20)
    assert_same(trained(repro.Net(level=0.8), X, Y), trained(repro.Net(), X, 0.8 * Y), atol=0)


def test_a_trained_net_is_an_ordinary_module():
    """Nothing of the engine stays with it: no attribute, no odd memory layout."""
    net, other = trained(repro.Net(), *random_patterns(5), optimizer='newton', damping=0.03), repro.Net()
    assert vars(net).keys() == vars(other).keys()
    for p, q in zip(net.parameters(), other.parameters()):
        assert type(p) is torch.nn.Parameter and p.is_contiguous() and p.requires_grad and p.grad is None
        assert p.untyped_storage().nbytes() == 4 * q.numel()


# What one reads is what trains

class Hinge(repro.Net):
    """The same cost, as long as outputs are not beyond the targets."""
    def cost(self, y, t):
        return torch.relu(1 - t * y).square().mean()


class Lenient(repro.Net):
    """The same cost, as long as errors are not small."""
    def cost(self, y, t):
        return (t - y).square().where((t - y).abs() > 0.1, 0).mean()


class OtherUnit(repro.Net):
    def squash(self, s):
        return torch.atan(s)


class OtherBorder(repro.Net):
    def sums(self, layer, x, w, background=0.0):
        return super().sums(layer, x, w, background)


class Unconnected(repro.Net):
    def kernels(self, w):
        return super().kernels(w) * (torch.arange(12) != 3).view(1, 12, 1, 1)


EDITED = Hinge, Lenient, OtherUnit, OtherBorder, Unconnected


@pytest.mark.parametrize('make', [*EDITED, lambda: repro.Net(level=0.8)])
@pytest.mark.parametrize('optimizer', ['sgd', 'newton'])
def test_a_net_that_is_changed_trains_as_it_reads(make, optimizer, capsys):
    nets = {engine: trained(make(), *random_patterns(10), 2, 0.003, optimizer=optimizer, damping=0.03, engine=engine)
            for engine in ENGINES}
    assert_same(*nets.values(), atol=1e-6)
    warned = [line for line in capsys.readouterr().err.splitlines() if 'not what support/backprop.py computes' in line]
    assert all('over 100 times slower' in line for line in warned) and bool(warned) == (make in EDITED)


def test_an_update_that_is_changed_takes_effect(monkeypatch):
    """A little weight decay, written into train_pass."""
    def train_pass(net, X, T, rates, order, read=repro.train_pass):
        for i in order:
            for p in net.parameters():
                p.data *= 1 - 0.03 * 1e-4
            read(net, X, T, rates, [i])
        return len(order)
    plain = trained(repro.Net(), *random_patterns(10))
    monkeypatch.setattr(repro, 'train_pass', train_pass)
    nets = [trained(repro.Net(), *random_patterns(10), engine=engine) for engine in ENGINES]
    assert_same(*nets, atol=0)
    assert not torch.equal(nets[0].H1w, plain.H1w)


@pytest.mark.parametrize('engine', ENGINES)
def test_what_is_frozen_stays(engine):
    nets = repro.Net(), repro.Net()
    for net in nets:
        net.H1w.requires_grad_(False), net.outb.requires_grad_(False)
    trained(nets[0], *random_patterns(10), engine=engine)
    trained(nets[1], *random_patterns(10), engine='autograd')
    assert_same(*nets, atol=1e-6)
    assert torch.equal(nets[0].H1w, repro.Net().H1w) and not torch.equal(nets[0].H2w, repro.Net().H2w)


@pytest.mark.parametrize('make', [OtherUnit, lambda: repro.Net(level=0.8), lambda: repro.FullNet(level=0.8),
                                  pytest.param(lambda: torch.compile(repro.Net(), backend='eager'),
                                               marks=pytest.mark.slow)])
def test_measured_as_it_reads_at_the_nets_level(make):
    net, (X, Y) = make(), random_patterns(50)
    for engine in ENGINES:
        m = repro.measure(net, X, Y, engine)
        assert m['loss'] == pytest.approx((net.level * Y - net(X)).square().mean().item(), rel=1e-5)
        assert m['misses'] == (net(X).argmax(1) != Y.argmax(1)).sum()


# Newton's method

def test_curvature_of_another_cost_is_its_own():
    """Of the cross-entropy of the outputs' softmax p it begins with p (1 - p)."""
    class CrossEntropy(repro.FullNet):
        def cost(self, y, t):
            return torch.nn.functional.cross_entropy(y, t.argmax(1))
    net, (X, Y) = CrossEntropy(), random_patterns(5)
    y = repro.outputs(net, X)
    p = y.softmax(1)
    torch.testing.assert_close(repro.curvature(net, X, Y)['outb'], (net.slope(y)**2 * p * (1 - p)).mean(0))


def squared_jacobians(net, x):
    """
    {parameter's name: curvature} for one pattern, by brute force: d2E/ds2 of each layer's weighted sums from those of
    the layer above, by autograd's Jacobians, squared; then d2E/dw2 of the weights that enter those sums.
    """
    def jacobian(f, at):
        return torch.autograd.functional.jacobian(f, at).reshape(-1, at.numel()).square()         # (outputs, inputs)

    def sums(layer, below, w):
        return net.sums(layer, below, w) + p[f'{layer}b']
    p = {name: q.detach() for name, q in net.named_parameters()}
    below = dict(zip(net.LAYERS, (x, *(y.detach() for y in net.layers(x)))))
    s = {layer: sums(layer, below[layer], p[f'{layer}w']) for layer in net.LAYERS}
    found, h = {}, 2/10 * jacobian(net.squash, s['out']).sum(0)
    for layer, next_down in zip(net.LAYERS[::-1], (*net.LAYERS[-2::-1], None)):
        w = p[f'{layer}w']
        found[f'{layer}b'] = h.view(p[f'{layer}b'].shape)
        found[f'{layer}w'] = (h @ jacobian(lambda w: sums(layer, below[layer], w), w)).view(w.shape)
        if next_down:
            h = h @ jacobian(lambda s: sums(layer, net.squash(s), w), s[next_down])
    return found


NETS = {
    'cyclic': lambda: repro.Net(2, A=1.7159, S=2/3, table=CYCLIC),
    'other maps': lambda: repro.Net(3, A=0.5, S=1.9, table=[[4, 1], [0, 3], [2, 0]], sqrt_fan_in=False, out_bias=0.2),
    'full': lambda: repro.FullNet(3, A=1.7159, S=2/3),
}


@pytest.mark.parametrize('kind', NETS)
@pytest.mark.parametrize('engine', ENGINES)
def test_curvature_is_that_of_brute_force(engine, kind):
    net, (X, Y) = random_biases(NETS[kind]()), random_patterns(2)
    net(X).sum().backward()             # a gradient that is left over must not count
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    found = ENGINES[engine].curvature(net, X, Y)
    each = [squared_jacobians(net, x[None]) for x in X]
    for name, p in net.named_parameters():
        expected = sum(h[name] for h in each) / len(each)
        assert found[name].shape == p.shape and (found[name] >= 0).all()
        assert (found[name] - expected).abs().max() < 1e-5 * expected.max(), name
        assert torch.equal(p, before[name])


@pytest.mark.parametrize('make', [repro.Net, repro.FullNet])
@pytest.mark.parametrize('engine', ENGINES)
def test_newton_divides_the_rate_by_curvature_plus_damping(engine, make):
    X, Y = random_patterns(20)
    net = trained(make(), X, Y, 2, 0.002, optimizer='newton', damping=0.03, patterns=7, engine=engine)
    by_hand, sample = make(), [0, 2, 5, 8, 11, 14, 17]                   # seven, evenly spread
    for _ in range(2):                  # the curvature is estimated anew before each pass
        rates = {name: 0.002 / (h + 0.03) for name, h in repro.curvature(by_hand, X[sample], Y[sample]).items()}
        repro.train_pass(by_hand, X, Y, rates, range(20))
    assert_same(net, by_hand, atol=0 if engine == 'autograd' else 1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# section 5: results, on the digits

@pytest.fixture(scope='module', params=['compiled', pytest.param('autograd', marks=pytest.mark.slow)])
def first_pass(request, prepared):
    """The first pass over the embedded digits, as `repro.py --passes 1` does it: folder, what it said."""
    cwd, _ = prepared
    said = call(repro, '--passes', 1, '--engine', request.param, '-o', f'out/{request.param}', cwd=cwd)
    return cwd / 'out' / request.param, said


def test_first_pass_gives_the_published_numbers_to_the_letter(first_pass):
    _, said = first_pass
    assert (said.status, said.err) == (0, [])
    lines = said.out.splitlines()
    train, test = (EVAL.fullmatch(line) for line in lines[lines.index('1') + 1:][:2])
    assert train and test
    assert [float(m[2]) for m in (train, test)] == pytest.approx([6.3033e-02, 6.8776e-02], abs=0.5e-6)
    assert [m.group(1, 3, 4) for m in (train, test)] == [('train', '9.00', '656'), ('test ', '10.26', '206')]


def test_a_run_ends_with_a_table_and_leaves_its_measurements(first_pass):
    folder, said = first_pass
    this, = (line for line in said.out.splitlines() if line.startswith('this run, on mnist '))
    assert this.split()[4:10] == ['6.3e-02', '9.00%', '656', '6.9e-02', '10.26%', '206']
    rows = metrics(folder)
    assert list(rows[0]) == ['pass', 'split', 'loss', 'error', 'misses', 'rejection', 'seconds']
    assert [(row['pass'], row['split'], row['misses']) for row in rows] == [('1', 'train', '656'), ('1', 'test', '206')]


@pytest.mark.slow
def test_all_23_passes_end_near_the_published_numbers(prepared):
    cwd, _ = prepared
    assert call(repro, cwd=cwd).status == 0
    rows = metrics(cwd / 'out' / 'karpathy2022-mnist')
    assert len(rows) == 2 * 23
    assert [row['misses'] for row in rows[-2:]] == ['45', '90']          # on every machine


# ---------------------------------------------------------------------------------------------------------------------
# section 5: measuring

class Given(repro.Units):
    """A net whose outputs are its inputs."""
    def forward(self, x):
        return x


def of(gaps, right):
    """Outputs and targets of patterns whose two most active outputs differ by gaps, classified right or not."""
    out, Y = torch.full((len(gaps), 10), -1.0), torch.full((len(gaps), 10), -1.0)
    out[:, 3], out[:, 5] = torch.tensor(gaps) - 0.5, -0.5                # gaps > 0: says 3
    Y[torch.arange(len(gaps)), torch.where(torch.tensor(right), 3, 7)] = 1.0
    return out, Y


@pytest.mark.parametrize('gaps, right, rejection', [
    ([0.5, 0.25, 0.75], [True, True, True], 0),                          # perfect
    ([0.25, 0.5, 0.75, 1], [True, False, True, True], 50),               # the wrong one, and a less certain right one
    ([0.5, 0.25, 0.75], [True, True, False], 100),                       # no threshold reaches 1%
    ([0.25, 0.25, 0.75, 0.75], [True, False, True, True], 50),           # ties are rejected together
    ([0.5] * 100, [False] + [True] * 99, 0),                             # 1% is good enough
    ([0.5] * 99, [False] + [True] * 98, 100),                            # 1.01% is not
    ([1] + [0.5] * 150, [False] + [True] * 150, 0),                      # the strictest threshold is not the one
])
def test_rejection_for_one_percent_error(gaps, right, rejection):
    measured = repro.measure(Given(A=1, S=1, level=1, factor=1), *of(gaps, right), 'autograd')
    assert measured['rejection'] == pytest.approx(rejection, abs=1e-4)


def test_rejection_curve_is_that_of_all_thresholds():
    g = torch.Generator().manual_seed(0)
    gaps = torch.randint(1, 40, (300,), generator=g) / 32                # coarse, so that many are tied
    out, Y = of(gaps.tolist(), (torch.rand(300, generator=g) < 0.7 + gaps / 3).tolist())
    top = np.sort(out.numpy(), axis=1)
    gap, wrong = top[:, -1] - top[:, -2], (out.argmax(1) != Y.argmax(1)).numpy()
    tried = [(100 * (gap < t).mean(), 100 * wrong[gap >= t].mean()) for t in sorted(set(gap), reverse=True)]
    rejected, error, threshold = repro.rejection_curve(out, Y.argmax(1))         # from strict to lenient
    assert np.allclose(list(zip(rejected, error)), tried, atol=1e-4)
    assert np.allclose(threshold, sorted(set(gap), reverse=True))


# ---------------------------------------------------------------------------------------------------------------------
# recipes and runs

@pytest.mark.parametrize('recipe', repro.RECIPES)
def test_each_recipe_trains_and_leaves_all_of_its_settings(recipe, tiny):
    said = call(repro, '--recipe', recipe, '--dataset', TINY, '--passes', 2, '-l', 0.001, '--seed', 5, cwd=tiny)
    assert (said.status, said.err) == (0, [])
    folder = tiny / 'out' / f'{recipe}-{TINY}-passes2-rate0.001-seed5'
    assert files(tiny / 'out') == [f'{folder.name}/{name}' for name in ('args.json', 'metrics.csv', 'model.pt')]
    args = json.loads((folder / 'args.json').read_text())
    assert args == {'recipe': recipe, 'dataset': TINY, 'seed': 5, 'engine': 'compiled',
                    'settings': {'net': repro.RECIPES[recipe]['net'],
                                 'training': repro.RECIPES[recipe]['training'] | {'passes': 2, 'rate': 0.001}}}
    net = repro.build(args['settings'], args['seed'])                    # what was run can be made again
    trained(net, *torch.load(tiny / 'data' / TINY / 'train1989.pt', weights_only=True), **args['settings']['training'])
    state = torch.load(folder / 'model.pt', weights_only=True)
    assert all(torch.equal(state[name], p) for name, p in net.named_parameters())


def test_the_paper_recipe_is_what_the_paper_says():
    net, training = repro.build(repro.RECIPES['paper'], 1), repro.RECIPES['paper']['training']
    assert (training['optimizer'], training['passes'], training.get('shuffle')) == ('newton', 23, None)
    assert net.H2w.abs().max() <= 2.4 / 200
    assert 0 < net.level < net.A                                         # "within the quasilinear range"
    assert repro.build(repro.RECIPES['fc40'], 1).hiddenw.shape == (256, 40)
    assert repro.RECIPES['fc40']['training'] == training


def test_without_numba_and_tqdm_pytorch_trains_and_says_so(tiny):
    script = tiny / 'hidden.py'
    script.write_text(f'''\
import runpy, sys
sys.modules.update(numba=None, llvmlite=None, tqdm=None)
runpy.run_path({str(REPO / 'repro.py')!r}, run_name='__main__')
''')
    argv = '--dataset', TINY, '--recipe', 'paper', '--passes', 2
    said = shell(script, *argv, '-o', 'a', cwd=tiny)
    assert (said.status, len(said.err)) == (0, 1)
    assert said.err[0].startswith('repro.py: PyTorch alone trains') and 'pip install -U numba' in said.err[0]
    assert call(repro, *argv, '--engine', 'autograd', '-o', 'b', cwd=tiny).err == []
    a, b = ([row | {'seconds': None} for row in metrics(tiny / folder)] for folder in 'ab')
    assert a == b


# ---------------------------------------------------------------------------------------------------------------------
# runs that end early

@pytest.mark.parametrize('signum, status, err', [
    pytest.param(signal.SIGINT, 130, ['interrupted'], id='Ctrl-C'),
    pytest.param(signal.SIGKILL, -9, [], id='killed', marks=pytest.mark.slow)])
def test_a_run_cut_short_keeps_its_measurements_and_has_no_model(signum, status, err, tiny):
    folder = tiny / 'out' / 'run'
    p = subprocess.Popen([sys.executable, REPO / 'repro.py', '--dataset', TINY, '--passes', '1000000', '-o', folder],
                         cwd=tiny, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))      # a `&` before ignores it
    try:
        deadline = time.monotonic() + 200
        while not (folder / 'metrics.csv').exists() or len(metrics(folder)) < 6:
            assert p.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        p.send_signal(signum)
        _, said = p.communicate(timeout=60)
    finally:
        p.kill()
    assert (p.returncode, uncompiled(said)) == (status, err)
    rows = metrics(folder)
    assert [(int(row['pass']), row['split']) for row in rows] == [(n, split) for n in range(1, len(rows) // 2 + 1)
                                                                 for split in ('train', 'test')]
    assert {name for name in files(folder) if not name.endswith('.part')} == {'args.json', 'metrics.csv'}


@pytest.mark.parametrize('engine', ENGINES)
def test_divergence_in_the_first_pass(engine, tiny):
    said = call(repro, '--dataset', TINY, '-l', '1e300', '--engine', engine, cwd=tiny)
    refused(said, 'repro.py', 'training diverged in pass 1: a value is no longer finite', 'nothing is written',
            'try a lower learning rate')
    assert files(tiny / 'out') == []


def test_divergence_keeps_the_passes_measured_and_no_model(tiny, monkeypatch):
    passes, train_pass = [], repro.train_pass

    def third_overflows(net, X, T, rates, order):
        passes.append(1)
        return train_pass(net, X, T, dict.fromkeys(rates, 1e300) if len(passes) == 3 else rates, order)
    monkeypatch.setattr(repro, 'train_pass', third_overflows)
    said = call(repro, '--dataset', TINY, '--passes', 5, '--engine', 'autograd', '-o', 'run', cwd=tiny)
    assert (said.status, len(said.err)) == (1, 1)
    assert 'training diverged in pass 3' in said.err[0] and 'the passes before it are in run;' in said.err[0]
    assert [m[0] for m in EVAL.findall(said.out)] == ['train', 'test '] * 2
    assert files(tiny / 'run') == ['args.json', 'metrics.csv']
    assert [row['pass'] for row in metrics(tiny / 'run')] == ['1', '1', '2', '2']


@pytest.mark.parametrize('folder', ['a file', 'a file/run', '/proc/run'])
def test_output_not_writable_is_refused_before_work_starts(folder, tiny, monkeypatch):
    (tiny / 'a file').write_text('')    # nobody can write under these, root neither
    monkeypatch.setattr(repro, 'train', lambda *args, **kwargs: pytest.fail('it trains'))
    before = files(tiny)
    refused(call(repro, '--dataset', TINY, '-o', folder, cwd=tiny), 'repro.py', f'cannot write to {folder}: ',
            'name another folder')
    assert files(tiny) == before
