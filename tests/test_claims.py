"""experiments/claims: nets by connections, LeNet-1, the true gradient, templates, rules, runs."""
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import REPO, TINY, call, random_patterns

import repro
from experiments import claims
from experiments.claims import CLAIMS, __main__ as script, claim, gradient, kernels, lenet1, nets, newton, units
from experiments.claims.claim import HOLDS, NOT, OPEN, PAPER, PART, changed, scheme
from experiments.markdown import Missing

X, Y = random_patterns(6)


# ---------------------------------------------------------------------------------------------------------------------
# nets by their connections

def like(net, other):
    """Of {name: tensor} of the shapes of repro.Net's parameters, the numbers in the order of a nets.Net's w."""
    def value(layer, key):
        if key[0] == 'bias':
            b = other[f'{layer}b']
            return b[key[1:]] if b.dim() > 1 else b[key[1]]
        if layer in ('H1', 'H2'):
            m, a, i, j = key[:4]
            return other[f'{layer}w'][m, a if layer == 'H1' else repro.TABLE[m].index(a), i, j]
        return other[f'{layer}w'][key]
    return torch.stack([value(*where) for where in net.numbers]).detach()


@pytest.fixture
def net():
    """The paper's, with biases that are not 0."""
    net = repro.Net(3, level=0.8)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(p)))
    return net


@pytest.mark.parametrize('shared', [True, False])
def test_the_papers_net_by_its_connections_computes_the_same(net, shared):
    twin = nets.Net(nets.paper(shared), 0, level=0.8)
    twin.w.data = like(twin, dict(net.named_parameters()))
    with torch.no_grad():
        torch.testing.assert_close(twin(X), net(X))
    assert repro.measure(twin, X, Y) == pytest.approx(repro.measure(net, X, Y, 'autograd'), rel=1e-5)
    assert twin.counts['H1'] == (768, 19_968, 1_068 if shared else 19_968)
    if shared:
        assert twin.counts == net.counts()
        torch.testing.assert_close(nets.curvature(twin, X)['w'], like(twin, repro.curvature(net, X)), rtol=1e-3,
                                   atol=1e-7)
        for one, engine in ((net, 'autograd'), (twin, 'compiled')):
            list(repro.train(one, X, Y, passes=1, rate=0.05, optimizer='newton', damping=0.03, engine=engine))
        torch.testing.assert_close(twin.w.detach(), like(twin, net.state_dict()), rtol=1e-3, atol=1e-5)


def test_initial_weights_are_within_the_fan_ins_range():
    net, largest = lenet1.lenet1(0), {}
    for (layer, key), w in zip(net.numbers, net.w.tolist()):
        seen = len(lenet1.TABLE[key[0]]) if layer == 'H3' and key[0] != 'bias' else 1
        where = 'bias' if key[0] == 'bias' else (layer, seen)
        largest[where] = max(largest.get(where, 0), abs(w))
    assert largest.pop('bias') == 0
    fan_ins = {('H1', 1): 25, ('H2', 1): 4, ('H3', 1): 25, ('H3', 2): 50, ('H4', 1): 4, ('out', 1): 192}
    for where, fan_in in fan_ins.items():
        assert 0.3 * 2.4 / fan_in < largest[where] <= 2.4 / fan_in


def test_lenet1_is_windows_and_averages():
    net = lenet1.lenet1(2, sqrt_fan_in=True)
    with torch.no_grad():
        net.w += 0.01 * torch.randn(len(net.w), generator=torch.Generator().manual_seed(0))     # biases too
        w = {layer: {key: v for (name, key), v in zip(net.numbers, net.w) if name == layer}
             for layer in ('H1', 'H2', 'H3', 'H4', 'out')}

        def kernel(layer, m, a):
            return torch.stack([w[layer][m, a, i, j] for i in range(5) for j in range(5)]).view(1, 1, 5, 5)

        def average(x, layer):
            return torch.cat([torch.tanh(4 * w[layer][m,] * F.avg_pool2d(x[:, m:m + 1], 2) + w[layer]['bias', m])
                              for m in range(x.shape[1])], 1)
        x = torch.full((6, 1, 28, 28), -1.0)
        x[..., 6:22, 6:22] = X
        H1 = torch.cat([torch.tanh(F.conv2d(x, kernel('H1', m, 0)) + w['H1']['bias', m]) for m in range(4)], 1)
        H2 = average(H1, 'H2')
        H3 = torch.cat([torch.tanh(sum(F.conv2d(H2[:, a:a + 1], kernel('H3', m, a)) for a in seen) + w['H3']['bias', m])
                        for m, seen in enumerate(lenet1.TABLE)], 1)
        y = average(H3, 'H4').flatten(1)
        out = torch.stack([torch.tanh(sum(w['out'][i, u] * y[:, i] for i in range(192)) + w['out']['bias', u])
                           for u in range(10)], 1)
    torch.testing.assert_close(net(X), out, rtol=1e-4, atol=1e-5)


def test_logistic_units_learn_as_autograd_does():
    net = nets.Net({'H1': nets.full(256, 7), 'out': nets.full(7, 10)}, 4, sqrt_fan_in=True, logistic=True)
    w = net.w.detach().clone().requires_grad_()
    H1 = torch.sigmoid(X.flatten(1) @ w[:7 * 257].view(7, 257)[:, :256].T + w[:7 * 257].view(7, 257)[:, 256])
    V = w[7 * 257:].view(10, 8)
    y = 2 * torch.sigmoid(H1 @ V[:, :7].T + V[:, 7]) - 1
    torch.testing.assert_close(net(X), y.detach(), rtol=1e-4, atol=1e-5)
    (y[0] - Y[0]).square().mean().backward()
    assert nets.train_pass(net, X, Y, {'w': 0.1}, [0]) == 1
    torch.testing.assert_close(net.w.detach(), w.detach() - 0.1 * w.grad, rtol=1e-4, atol=1e-5)
    assert nets.train_pass(net, X, Y, {'w': math.inf}, [0, 1, 2]) < 3    # stops at a value that is not finite


# ---------------------------------------------------------------------------------------------------------------------
# tables, the true gradient, templates

@pytest.mark.parametrize('n', [2, 4, 6, 8, 10, 12, 16, 24])
def test_tables_take_two_thirds_of_the_maps(n):
    table = scheme(n)
    assert len(table) == n and {len(set(row)) for row in table} == {math.ceil(2 * n / 3)}
    assert {sum(a in row for row in table) for a in range(n)} == {math.ceil(2 * n / 3)}  # every map of H1 feeds as many


@pytest.mark.parametrize('n', [2, 4, 16])
def test_other_numbers_of_maps_learn_as_autograd_does(n):
    pair = [repro.Net(5, table=scheme(n)) for _ in range(2)]
    for one, engine in zip(pair, ('compiled', 'autograd')):
        list(repro.train(one, X, Y, passes=1, rate=0.05, engine=engine))
    for a, b in zip(*(one.state_dict().values() for one in pair)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_descent_by_the_true_gradient(net):
    mean = {name: torch.zeros_like(p) for name, p in net.named_parameters()}
    for x, y in zip(X.split(1), Y.split(1)):
        net.zero_grad()
        net.cost(net(x), 0.8 * y).backward()
        for name, p in net.named_parameters():
            mean[name] += p.grad / len(X)
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    h = repro.curvature(net, X)
    training = {'rate': 0.1, 'damping': 0.5, 'patterns': 6}
    list(claim.batch_learning(net, X, Y, 1, optimizer='newton', **training))
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), start[name] - 0.1 / (h[name] + 0.5) * mean[name], rtol=1e-3, atol=1e-6)
    errors = [repro.measure(net, X, Y)['loss']
              for _ in claim.batch_learning(net, X, Y, 20, optimizer='sgd', **training)]
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(repro.Diverged):
        list(claim.batch_learning(net, X, Y, 5, optimizer='sgd', **training | {'rate': math.inf}))


def test_templates_explain_derivatives_and_of_noise_five_parts_in_twenty_four():
    y, x = torch.meshgrid(torch.arange(-2., 3), torch.arange(-2., 3), indexing='ij')
    G = torch.exp(-(x**2 + y**2) / 2)
    share = kernels.explained(torch.stack([3*x*G + 0.5*y*G + 7, x*y*G, (x**2 + y**2 - 2) * G]).unsqueeze(1))
    for kind, shares in {'all': [1, 1, 1], 'first': [1, 0, 0], 'second': [0, 1, 1], 'center': [0, 0, 1]}.items():
        assert share[kind] == pytest.approx(shares, abs=1e-6)
    assert float(share['on'][2]) == pytest.approx(-1, abs=1e-6)          # its center is negative: off-center
    noise = torch.randn(20_000, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    assert float(kernels.explained(noise)['all'].mean()) == pytest.approx(5 / 24, abs=0.005)


# ---------------------------------------------------------------------------------------------------------------------
# the rules, on runs made up

def rows(n=5, curves=None, **values):
    """n runs alike."""
    return [dict.fromkeys(repro.RESULTS, 0.01) | {'seed': seed, 'curves': curves or {}, **values} for seed in range(n)]


def runs_2(sgd, newton):
    """tanh takes 10 passes; the logistic unit so many."""
    takes = {'sgd': sgd, 'newton': newton}
    return {key: rows(curves={'train_error': [9.0] * ((10 if key[1] == 'tanh' else takes[key[0]]) - 1) + [1.0] * 20})
            for key in CLAIMS[2].settings}


def runs_3(grown, flat):
    return {level: rows(curves={'output_norm': [1.0] * 7 + [1 + g / 100], 'flat': [0.0] * 7 + [f]})
            for level, g, f in zip(units.LEVELS, grown, flat)}


def runs_4(*within):
    return {key: rows(curves={'within': within * 6, 'spread': [0.1] * 24, 'train_error': [9.0] * 6})
            for key in CLAIMS[4].settings}


def runs_5(fall, error, true=1e-2):
    """The stochastic gradient's MSE falls by so much a pass, to that test error; the true one's from true to 0.01."""
    xs = gradient.XS['stochastic']
    return {key: rows(curves={'train_loss': [0.1 * fall**x for x in xs], 'test_error': [error] * len(xs)}
                      if key[0] == 'stochastic' else {'train_loss': [true] * 19 + [0.01], 'test_error': [9.0] * 20})
            for key in CLAIMS[5].settings}


def runs_6(wide, takes):
    curve = {'train_loss': [0.1] * (takes - 1) + [0.01] * (24 - takes)}
    return {(method, rate): rows(curves=curve,
                                 train_loss=0.01 if abs(i - 6) <= (wide if method == 'newton' else 1) else 1.0)
            for method, rates in newton.RATES.items() for i, rate in enumerate(rates)}


def runs_8(everything, eighth):
    """All are at 5% test error after so many passes, but an eighth only after others."""
    return {key: rows(curves={'test_error': [5.0 if x >= (eighth if key == '1/8' else everything) else 50.0
                                             for x in gradient.XS_8]}) for key in CLAIMS[8].settings}


def runs_9(before, after):
    kinds = 'all', 'first', 'second', 'center', 'on'
    return {'paper': rows(curves={kind: [before] * 12 + [after] * 12 for kind in kinds})}


def runs_11(worse):
    return {maps: rows(test_error=6.0 if maps < worse else 5.0) for maps in CLAIMS[11].settings}


def runs_12(other, half):
    """The paper's net has 5% on all and so many on half; the others 5% plus so many."""
    return {key: rows(test_error={1: 5.0, 2: half}.get(key[1], 20.0) if key[0] == 'paper' else 5 + other)
            for key in CLAIMS[12].settings}


def runs_13(rejection):
    return {rate: rows(rejection=rejection) for rate in CLAIMS[13].settings}


def runs_14(normalized, photograph):
    return {key: rows(curves={'a_second': [n]}) for key, n in zip(CLAIMS[14].settings, (normalized, photograph))}


@pytest.mark.parametrize('number, found, verdict', [
    (2, runs_2(12, 15), HOLDS), (2, runs_2(12, 10), PART), (2, runs_2(8, 9), NOT),
    (3, runs_3((1, 1, 1, 5, 9), (0, 0, 1, 9, 90)), HOLDS), (3, runs_3((1, 1, 8, 8, 9), (0, 0, 1, 9, 90)), PART),
    (3, runs_3((9, 9, 9, 9, 9), (0, 0, 1, 9, 20)), NOT),
    (4, runs_4(99, 99, 99, 99), HOLDS), (4, runs_4(99, 90, 99, 99), PART), (4, runs_4(9, 9, 9, 9), NOT),
    (5, runs_5(0.5, 7.0, 0.1), HOLDS), (5, runs_5(0.5, 9.0, 0.1), PART), (5, runs_5(0.5, 9.0), NOT),
    (6, runs_6(4, 20), HOLDS), (6, runs_6(1, 20), PART), (6, runs_6(1, 2), NOT),
    (8, runs_8(0.5, 0.5), HOLDS), (8, runs_8(0.5, 2), PART), (8, runs_8(2, 8), NOT), (8, runs_8(99, 99), NOT),
    (9, runs_9(0.2, 0.6), HOLDS), (9, runs_9(0.2, 0.4), PART), (9, runs_9(0.2, 0.2), NOT),
    (11, runs_11(12), HOLDS), (11, runs_11(6), PART), (11, runs_11(2), NOT),
    (12, runs_12(3, 6.0), HOLDS), (12, runs_12(3, 9.0), PART), (12, runs_12(-1, 9.0), NOT),
    (13, runs_13(8.5), HOLDS), (13, runs_13(11.0), PART), (13, runs_13(13.0), NOT),
    (14, runs_14(1000, 100), HOLDS), (14, runs_14(1000, 5), PART), (14, runs_14(3, 3), NOT),
    (1, {}, HOLDS), (10, {}, OPEN)])
def test_each_verdict_can_come_out(number, found, verdict):
    assert CLAIMS[number].judge(found)[1] == verdict


@pytest.mark.parametrize('number', [number for number, one in CLAIMS.items() if one.settings])
def test_nothing_is_said_of_runs_that_are_missing(number):
    none = {key: [] for key in CLAIMS[number].settings}
    assert CLAIMS[number].judge(none) == ('not run yet', OPEN)
    assert CLAIMS[number].judge(none | {next(iter(none)): rows(1, train_loss=math.nan)})[1] == OPEN


def test_width_of_a_range_of_rates():
    assert newton.width({10.0**(k / 3): 1.0 for k in range(7)}) == pytest.approx(2)
    assert newton.width({10.0**(k / 3): 2.0 ** abs(k - 3) for k in range(7)}) == pytest.approx(2 / 3)
    assert newton.width({10.0**k: 1.0 for k in (2, 3, 4)}) == 0          # its neighbors in the grid are not there


def test_differences_smaller_than_two_standard_errors_do_not_count():
    assert claim.differ([1, 2, 3], [1.5, 2.5, 3.5]) == 0
    assert claim.differ([1, 1.1, 0.9], [2, 2.1, 1.9]) == -1 == -claim.differ([2, 2.1, 1.9], [1, 1.1, 0.9])


def test_the_best_rate_is_chosen_on_training_mse_and_few_seeds():
    found = {0.1: rows(train_loss=2.0, test_error=0.0), 0.2: rows(train_loss=1.0, test_error=50.0), 0.3: []}
    assert claim.best(found, [0.1, 0.2]) == 0.2
    assert claim.best(found | {0.2: rows(train_loss=math.nan)}, [0.1, 0.2]) == 0.1
    assert claim.chosen(found, [0.1, 0.2], [0, 1, 2]) == [
        (0.1, 0), (0.1, 1), (0.2, 0), (0.2, 1), (0.2, 0), (0.2, 1), (0.2, 2)]
    assert claim.chosen(found, [0.1, 0.3], [0, 1, 2]) == [(0.1, 0), (0.1, 1), (0.3, 0), (0.3, 1)]   # not run yet


# ---------------------------------------------------------------------------------------------------------------------
# the command, tables and pictures

@pytest.fixture(autouse=True)
def no_digits_stay():
    claims.load.cache_clear()
    yield
    claims.load.cache_clear()


def test_a_claim_is_run_once_and_its_table_made_again(tiny, monkeypatch):
    argv = '1', '4', '10', '--dataset', TINY, '--seeds', '0-1', '--out', 'claims.csv'
    run = call(script, *argv, cwd=tiny)
    assert run.status == 0 and run.err == [], run
    assert [line.split()[0] for line in run.out.splitlines() if line[:2].strip()] == ['1', '4', '10']
    written = (tiny / 'claims.csv').read_bytes()
    assert len(written.splitlines()) == 1 + 2 * len(CLAIMS[4].settings)
    monkeypatch.setattr(claims, 'one_run', None)                         # nothing is run again
    again = call(script, *argv, cwd=tiny)
    assert (again.status, again.out) == (0, run.out)
    assert (tiny / 'claims.csv').read_bytes() == written
    one = call(script, '1', '4', *argv[3:5], '--seeds', '0', *argv[7:], cwd=tiny)
    assert ': holds' in one.out and ': cannot be told' in one.out        # one seed gives no verdict
    monkeypatch.setitem(CLAIMS[4].settings, ('F', 'sgd'), PAPER)         # these are others now
    table = claims.runs.read_rows(tiny / 'claims.csv', claims.KEY, claims.VALUES, claims.WORDS)
    assert [len(found) for found in claim.found_in(table, CLAIMS[4]).values()] == [2, 0, 2, 2]


def test_all_claims_go_through_their_stages(tiny, monkeypatch):
    def measure(claim, setting, settings, dataset, seed):
        runs.append((claim, setting, seed))
        words = setting.split()
        rate = next((float(word) for word in words[::-1] if word[0].isdigit() and '/' not in word), 1.0)
        return dict.fromkeys(repro.RESULTS, 0.01) | {'train_loss': 0.01 + rate, 'seconds': 1.0, 'curves': ''}
    runs = []
    monkeypatch.setattr(claims, 'one_run', measure)
    monkeypatch.setattr(claims, 'judgments', lambda table, numbers: runs.append(len(table)) or {})
    end = call(script, '--dataset', TINY, '--out', 'claims.csv', cwd=tiny)
    assert end.status == 0 and end.err == [], end
    assert runs[-1] == len(runs) - 1 == len(set(runs[:-1]))              # none twice, and all in the table
    assert (2, 'sgd tanh F 0.02', 9) in runs and (2, 'sgd tanh F 0.05', 2) not in runs   # the best rate on all seeds
    assert {(5, 'true sgd 0.1', 4), (5, 'true, short sgd 0.2', 1)} < {*runs[:-1]}
    assert not {(5, 'true sgd 0.1', 5), (5, 'true sgd 0.2', 0)} & {*runs[:-1]}
    assert (12, 'unshared 16 0.001', 4) in runs and (12, 'unshared 16 0.002', 0) not in runs


def test_a_wrong_number_is_refused(tiny):
    assert call(script, '16', cwd=tiny).status == 2
    end = call(script, '4', '--dataset', 'usps', cwd=tiny)
    assert end.status == 1 and 'prepro.py' in end.err[0]


@pytest.mark.parametrize('number, key', [
    (2, ('newton', 'logistic', 'root', 0.1)), (3, 0.8), (5, ('stochastic', 'newton', 0.002)),
    (5, ('true', 'newton', 0.1)), (8, '1/8'), (9, 'paper'), (12, ('256-40-10', 16, 0.002)),
    (12, ('two hidden', 2, 0.002)), (13, 0.002)])
def test_a_run_measures(number, key, tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    one = CLAIMS[number].settings[key]
    short = changed(one, {}, {'passes': 1}, **{name: one[name] for name in ('part', 'chunks') if name in one},
                    at=[0, 1] if 'at' in one else [])
    monkeypatch.setitem(CLAIMS[number].settings, key, short)
    row = claims.one_run(number, claim.text(key), claims.runs.fingerprint(short), TINY, 0)
    assert tuple(row) == claims.VALUES and row['train_loss'] > 0
    numbers = [float(v) for curve in row['curves'].split(';') if curve for v in curve.split('=')[1].split()]
    assert all(map(math.isfinite, numbers)) and ('at' in one) == (len(numbers) > 1)


def test_pictures_are_drawn_where_their_runs_are():
    for number, found in {5: runs_5(0.5, 7.0, 0.1), 6: runs_6(4, 20), 8: runs_8(0.5, 2), 11: runs_11(6),
                          12: runs_12(3, 6.0)}.items():
        assert CLAIMS[number].picture(found)[:4] == b'\x89PNG'
        with pytest.raises(Missing):
            CLAIMS[number].picture({key: [] for key in CLAIMS[number].settings})
    assert all((REPO / 'results' / name).exists() for name in claims.pictures())
