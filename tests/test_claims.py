"""experiments/claims.py and its parts: nets by connections, LeNet-1, the true gradient, templates, rules, runs."""
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, call, files, random_patterns

import repro
from experiments import (claim_pictures, claim_runs, claims, claims_of_learning as learning, claims_of_nets, compare,
                         lenet1, nets)
from experiments.claim_runs import CLAIMS, HOLDS, NOT, OPEN, PART, SETTINGS, scheme

X, Y = random_patterns(6)
PAPER = repro.RECIPES['paper']


# ---------------------------------------------------------------------------------------------------------------------
# nets by their connections

def like(net, other):
    """The parameters of a repro.Net, or any {name: tensor} of their shapes, in the order of a nets.Net's w."""
    def value(layer, key):
        name = {'output': 'out'}.get(layer, layer)
        if key[0] == 'bias':
            b = other[f'{name}b']
            return b[key[1:]] if b.dim() > 1 else b[key[1]]
        if layer in ('H1', 'H2'):
            m, a, i, j = key
            return other[f'{name}w'][m, a if layer == 'H1' else repro.TABLE[m].index(a), i, j]
        return other[f'{name}w'][key]
    return torch.stack([value(*where) for where in net.numbers])


@pytest.fixture(scope='module')
def twins():
    """The paper's net, with biases that are not 0, and the same net by its connections."""
    net = repro.Net(3, level=0.8, root=True)
    compare.draw_biases(net, 3, True)
    twin = nets.Net(claim_runs.layers_of('paper'), 0, level=0.8)
    twin.w.data = like(twin, dict(net.named_parameters())).detach()
    return net, twin


def test_the_papers_net_by_its_connections_computes_the_same(twins):
    net, twin = twins
    assert {name: twin.counts[name] for name in net.counts()} == net.counts()
    with torch.no_grad():
        torch.testing.assert_close(twin(X), net(X))
    torch.testing.assert_close(nets.outputs(twin, X), net(X).detach())
    torch.testing.assert_close(nets.curvature(twin, X)['w'], like(twin, repro.curvature(net, X)), rtol=1e-3, atol=1e-7)
    measured = [repro.measure(net, X, Y, 'autograd'), repro.measure(twin, X, Y, nets)]
    assert measured[0] == pytest.approx(measured[1], rel=1e-5)


def test_it_learns_the_same(twins):
    net, twin = twins
    for _ in repro.train(net, X, Y, passes=1, rate=0.05, optimizer='newton', damping=0.03, engine='autograd'):
        pass
    for _ in repro.train(twin, X, Y, passes=1, rate=0.05, optimizer='newton', damping=0.03, engine=nets):
        pass
    torch.testing.assert_close(twin.w.detach(), like(twin, net.state_dict()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('net', [
    nets.Net(claim_runs.layers_of('unshared'), 1), nets.Net(claim_runs.layers_of('two hidden'), 1, A=1.7159, S=2 / 3),
    nets.Net(claim_runs.layers_of('paper'), 1, logistic=True, width=2.0), lenet1.lenet1(1, root=True)],
    ids=['unshared', 'two hidden', 'logistic', 'lenet1'])
def test_a_step_is_autograds(net):
    images = lenet1.framed(X) if net.inputs == 784 else X
    before = net.w.detach().clone()
    net.zero_grad()
    E = (net(images[:1]) - Y[:1]).square().mean()
    E.backward()
    rate = 1e-2 / net.w.grad.abs().max()
    assert nets.train_pass(net, images, Y, {'w': rate}, [0]) == 1
    torch.testing.assert_close((before - net.w.detach()) / rate, net.w.grad, rtol=1e-2, atol=1e-5)
    assert nets.train_pass(net, images, Y, {'w': math.inf}, [0, 1, 2]) < 3       # stops at a value that is not finite


def test_counts_of_other_nets():
    counts = nets.Net(claim_runs.layers_of('unshared'), 0).counts
    assert counts['all'] == (1_256, 64_660, 64_660) and counts['H1'] == (768, 19_968, 19_968)
    assert nets.Net(claim_runs.layers_of('two hidden'), 0).counts['all'][2] == 257*60 + 61*30 + 31*10
    assert lenet1.COUNTS['all'][1:] == (98_442, 2_578)


def test_initial_weights_are_within_the_fan_ins_range():
    net, largest = lenet1.lenet1(0), {}
    for (layer, key), w in zip(net.numbers, net.w.tolist()):
        seen = len(lenet1.TABLE[key[0]]) if layer == 'H3' and key[0] != 'bias' else 1
        where = 'bias' if key[0] == 'bias' else (layer, seen)
        largest[where] = max(largest.get(where, 0), abs(w))
    assert largest.pop('bias') == 0
    fan_ins = {('H1', 1): 25, ('H2', 1): 4, ('H3', 1): 25, ('H3', 2): 50, ('H4', 1): 4, ('output', 1): 192}
    for where, F_in in fan_ins.items():
        assert 0.3 * 2.4 / F_in < largest[where] <= 2.4 / F_in


def test_lenet1_is_windows_and_averages():
    net = lenet1.lenet1(2, root=True)
    with torch.no_grad():
        net.w += 0.01 * torch.randn(len(net.w), generator=torch.Generator().manual_seed(0))     # biases too
        w = {layer: {key: v for (name, key), v in zip(net.numbers, net.w) if name == layer}
             for layer in ('H1', 'H2', 'H3', 'H4', 'output')}

        def kernel(layer, m, a):
            return torch.stack([w[layer][m, a, i, j] for i in range(5) for j in range(5)]).view(1, 1, 5, 5)

        def average(x, layer):
            return torch.cat([torch.tanh(4 * w[layer][m,] * F.avg_pool2d(x[:, m:m + 1], 2) + w[layer]['bias', m])
                              for m in range(x.shape[1])], 1)
        x = lenet1.framed(X)
        assert x.shape == (6, 1, 28, 28) and torch.equal(x[..., 6:22, 6:22], X) and x[..., :6, :].unique() == -1
        H1 = torch.cat([torch.tanh(F.conv2d(x, kernel('H1', m, 0)) + w['H1']['bias', m]) for m in range(4)], 1)
        H2 = average(H1, 'H2')
        H3 = torch.cat([torch.tanh(sum(F.conv2d(H2[:, a:a + 1], kernel('H3', m, a)) for a in seen) + w['H3']['bias', m])
                        for m, seen in enumerate(lenet1.TABLE)], 1)
        y = average(H3, 'H4').flatten(1)
        out = torch.stack([torch.tanh(sum(w['output'][i, u] * y[:, i] for i in range(192)) + w['output']['bias', u])
                           for u in range(10)], 1)
    torch.testing.assert_close(nets.outputs(net, x), out, rtol=1e-4, atol=1e-5)


def test_logistic_units_are_logistic():
    net = nets.Net({'H1': nets.full(256, 7), 'output': nets.full(7, 10)}, 4, root=True, logistic=True)
    W = [net.w.detach()[257 * u:257 * u + 257] for u in range(7)]
    H1 = torch.sigmoid(torch.stack([X.flatten(1) @ w[:256] + w[256] for w in W], 1))
    V = net.w.detach()[7 * 257:].view(10, 8)
    y = torch.sigmoid(H1 @ V[:, :7].T + V[:, 7])
    torch.testing.assert_close(nets.outputs(net, X), 2 * y - 1, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# tables, the true gradient

@pytest.mark.parametrize('n', claims_of_nets.MAPS)
def test_tables_take_two_thirds_of_the_maps(n):
    table = scheme(n)
    assert len(table) == n and {len(set(row)) for row in table} == {math.ceil(2 * n / 3)}
    used = [sum(a in row for row in table) for a in range(n)]
    assert set(used) == {math.ceil(2 * n / 3)}                           # every map of H1 feeds as many


@pytest.mark.parametrize('n', [4, 12])
def test_the_true_gradient_is_the_mean_over_patterns(n):
    net = repro.Net(1, table=scheme(n), root=True)
    compare.draw_biases(net, 1, True)
    torch.testing.assert_close(claim_runs.whole(net, X), net(X))
    whole = {name: g.clone() for name, g in claim_runs.gradient(net, X, Y).items()}
    net.zero_grad()
    for x, y in zip(X.split(1), Y.split(1)):
        ((net(x) - y).square().mean() / len(X)).backward()
    for name, p in net.named_parameters():
        torch.testing.assert_close(whole[name], p.grad, rtol=1e-4, atol=1e-7)


def test_descent_by_the_true_gradient():
    net = repro.Net(1)
    first = {name: p.detach().clone() for name, p in net.named_parameters()}
    g = {name: v.clone() for name, v in claim_runs.gradient(net, X, Y).items()}
    h = repro.curvature(net, X)
    losses = []
    for _ in claim_runs.batch_learning(net, X, Y, 1, 0.1, 'batch newton', damping=0.5):
        for name, p in net.named_parameters():
            torch.testing.assert_close(p.detach(), first[name] - 0.1 / (h[name] + 0.5) * g[name], rtol=1e-3, atol=1e-6)
    for _ in claim_runs.batch_learning(net, X, Y, 20, 0.1, 'batch'):
        losses.append((net(X) - Y).square().mean().item())
    assert losses == sorted(losses, reverse=True)
    with pytest.raises(repro.Diverged):
        list(claim_runs.batch_learning(net, X, Y, 5, math.inf, 'batch'))


@pytest.mark.parametrize('n', [2, 4, 16])
def test_other_numbers_of_maps_learn_as_autograd_does(n):
    pair = [repro.Net(5, table=scheme(n)) for _ in range(2)]
    for net, engine in zip(pair, ('compiled', 'autograd')):
        for _ in repro.train(net, X, Y, passes=1, rate=0.05, engine=engine):
            pass
    for a, b in zip(*(net.state_dict().values() for net in pair)):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# templates

def test_templates_explain_derivatives_and_of_noise_five_parts_in_twenty_four():
    y, x = torch.meshgrid(torch.arange(-2., 3), torch.arange(-2., 3), indexing='ij')
    G = torch.exp(-(x**2 + y**2) / 2)
    kernels = torch.stack([3 * x * G + 0.5 * y * G + 7, x * y * G, (x**2 + y**2 - 2) * G]).unsqueeze(1)
    share = claims_of_nets.explained(kernels)
    assert share['all'] == pytest.approx([1, 1, 1], abs=1e-6)
    assert share['first'] == pytest.approx([1, 0, 0], abs=1e-6)
    assert share['second'] == pytest.approx([0, 1, 1], abs=1e-6)
    assert share['center'] == pytest.approx([0, 0, 1], abs=1e-6)
    assert float(share['on'][2]) == pytest.approx(-1, abs=1e-6)          # its center is negative: off-center
    assert float(claims_of_nets.explained(-kernels)['on'][2]) == pytest.approx(1, abs=1e-6)
    noise = torch.randn(20_000, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    assert float(claims_of_nets.explained(noise)['all'].mean()) == pytest.approx(5 / 24, abs=0.005)


# ---------------------------------------------------------------------------------------------------------------------
# the rules, on rows made up

def rows_of(setting, seeds=range(5), **values):
    """Rows of one setting: values are numbers, or functions of the seed; lists are curves."""
    rows = []
    for seed in seeds:
        row = dict.fromkeys(repro.RESULTS, 0.01) | {'setting': setting, 'seed': seed, 'seconds': 1.0}
        given = {name: v(seed) if callable(v) else v for name, v in values.items()}
        row['curves'] = ';'.join(f'{name}=' + ' '.join(map(str, v)) for name, v in given.items() if isinstance(v, list))
        rows.append(row | {name: v for name, v in given.items() if not isinstance(v, list)})
    return rows


def judged(number, rows):
    return CLAIMS[number]['verdict'](rows)[1]


def rows_2(sgd, newton):
    """tanh takes 10 passes; the logistic unit so many."""
    rows = []
    for name in SETTINGS[2]:
        method, unit, _, _ = name.split()
        takes = 10 if unit == 'tanh' else {'sgd': sgd, 'newton': newton}[method]
        rows += rows_of(name, train_error=lambda seed, n=takes: [9.0] * (n - 1) + [1.0] * (24 - n))
    return rows


def rows_3(grown, flat):
    return sum((rows_of(f'level {level}', output_norm=[1.0] * 7 + [1 + g / 100], flat=[0.0] * 7 + [f])
                for level, g, f in zip(learning.LEVELS, grown, flat)), [])


def rows_4(within):
    return sum((rows_of(name, within=within * 6, spread=[0.1] * 24, train_error=[50, 9, 5, 4, 3, 2])
                for name in SETTINGS[4]), [])


def rows_5(fall, error, true=1e-2):
    """The stochastic gradient's MSE falls by so much a pass, to that test error; the true one's from true to 0.01."""
    rows = []
    for how, rates in learning.RATES_5.items():
        for rate in rates:
            if how.startswith('true'):
                rows += rows_of(f'short {how} {rate}')
                rows += rows_of(f'{how} {rate}', train_loss=[true] * 19 + [0.01], test_error=[9.0] * 20)
            else:
                xs = [n / 16 for n in learning.AT_CHUNKS]
                rows += rows_of(f'{how} {rate}', train_loss=[0.1 * fall**x for x in xs], test_error=[error] * len(xs))
    return rows


def rows_6(wide, takes):
    rows = []
    for how, rates in learning.RATES_6.items():
        for i, rate in enumerate(rates):
            reach = wide if how == 'newton' else 1
            rows += rows_of(f'{how} {rate}', train_loss=0.01 if abs(i - 6) <= reach else 1.0)
            rows[-5:] = [row | {'curves': 'train_loss=' + ' '.join(['0.1'] * (takes - 1) + ['0.01'] * (24 - takes))}
                         for row in rows[-5:]]
    return rows


def rows_8(everything, eighth):
    """All are at 5% test error after so many passes, but an eighth only after others."""
    errors = {name: [5.0 if n / 16 >= (eighth if name == '1/8' else everything) else 50.0 for n in learning.AT_8]
              for name in SETTINGS[8]}
    return sum((rows_of(name, test_error=curve) for name, curve in errors.items()), [])


def rows_9(before, after):
    shares = {kind: lambda seed: [before + seed / 100] * 12 + [after + seed / 100] * 12
              for kind in ('all', 'first', 'second', 'center', 'on')}
    return rows_of('paper', **shares)


def rows_11(worse):
    return sum((rows_of(f'{maps} maps', test_error=6.0 if maps < worse else 5.0) for maps in claims_of_nets.MAPS), [])


def rows_12(other, half):
    """The paper's net has 5% on all and so many on half; the others 5% plus so many."""
    rows = []
    for name in SETTINGS[12]:
        part = int(name.split(', ')[1].removeprefix('1/'))
        error = {1: 5.0, 2: half}.get(part, 20.0) if name.startswith('paper') else 5 + other
        rows += rows_of(name, test_error=error)
    return rows


def rows_13(rejection):
    return sum((rows_of(name, rejection=lambda seed: rejection + seed / 10) for name in SETTINGS[13]), [])


def rows_14(normalized, photograph):
    return [row for name, speed in (('normalized', normalized), ('photograph', photograph))
            for row in rows_of(name, a_second=[speed])]


@pytest.mark.parametrize('number, rows, verdict', [
    (2, rows_2(12, 15), HOLDS), (2, rows_2(12, 10), PART), (2, rows_2(8, 9), NOT),
    (3, rows_3((1, 1, 1, 5, 9), (0, 0, 1, 9, 90)), HOLDS), (3, rows_3((1, 1, 8, 8, 9), (0, 0, 1, 9, 90)), PART),
    (3, rows_3((9, 9, 9, 9, 9), (0, 0, 1, 9, 20)), NOT),
    (4, rows_4([99, 99, 99, 99]), HOLDS), (4, rows_4([99, 90, 99, 99]), PART), (4, rows_4([9, 9, 9, 9]), NOT),
    (5, rows_5(0.5, 7.0, 0.1), HOLDS), (5, rows_5(0.5, 9.0, 0.1), PART), (5, rows_5(0.5, 9.0), NOT),
    (6, rows_6(4, 20), HOLDS), (6, rows_6(1, 20), PART), (6, rows_6(1, 2), NOT),
    (8, rows_8(0.5, 0.5), HOLDS), (8, rows_8(0.5, 2), PART), (8, rows_8(2, 8), NOT), (8, rows_8(99, 99), NOT),
    (9, rows_9(0.2, 0.6), HOLDS), (9, rows_9(0.2, 0.4), PART), (9, rows_9(0.2, 0.2), NOT),
    (11, rows_11(12), HOLDS), (11, rows_11(6), PART), (11, rows_11(2), NOT),
    (12, rows_12(3, 6.0), HOLDS), (12, rows_12(3, 9.0), PART), (12, rows_12(-1, 9.0), NOT),
    (13, rows_13(8.5), HOLDS), (13, rows_13(11.0), PART), (13, rows_13(13.0), NOT),
    (14, rows_14(1000, 100), HOLDS), (14, rows_14(1000, 5), PART), (14, rows_14(3, 3), NOT),
    (1, [], HOLDS), (10, [], OPEN)])
def test_each_verdict_can_come_out(number, rows, verdict):
    assert judged(number, rows) == verdict


@pytest.mark.parametrize('number', [n for n, one in CLAIMS.items() if one['jobs']])
def test_nothing_is_said_of_runs_that_are_missing(number):
    measured, verdict = CLAIMS[number]['verdict']([])
    assert (measured, verdict) == ('not run yet', OPEN)
    assert judged(number, rows_of('no such setting')) == OPEN


def test_width_of_a_range_of_rates():
    losses = {10.0**k: 1.0 if 2 <= k <= 4 else 4.0 for k in (2, 3, 4)}
    assert learning.width({10.0**(k / 3): 1.0 for k in range(7)}) == pytest.approx(2)
    assert learning.width({10.0**(k / 3): 2.0 ** abs(k - 3) for k in range(7)}) == pytest.approx(2 / 3)
    assert learning.width(losses) == 0                                   # its neighbors in the grid are not there


def test_differences_smaller_than_two_standard_errors_do_not_count():
    assert claim_runs.differ([1, 2, 3], [1.5, 2.5, 3.5]) == 0
    assert claim_runs.differ([1, 1.1, 0.9], [2, 2.1, 1.9]) == -1
    assert claim_runs.differ([2, 2.1, 1.9], [1, 1.1, 0.9]) == 1


def test_the_best_rate_is_chosen_on_training_mse_and_few_seeds():
    rows = rows_of('a 0.1', train_loss=2.0, test_error=0.0) + rows_of('a 0.2', train_loss=1.0, test_error=50.0)
    assert claim_runs.best(rows, ['a 0.1', 'a 0.2']) == 'a 0.2'
    assert claim_runs.best(rows, ['a 0.1', 'a 0.3']) is None            # not run yet
    diverged = rows_of('a 0.2', train_loss=math.nan)
    assert claim_runs.best(rows[:5] + diverged, ['a 0.1', 'a 0.2']) == 'a 0.1'
    assert claim_runs.chosen(rows, ['a 0.1', 'a 0.2'], [0, 1, 2]) == [
        ('a 0.1', 0), ('a 0.1', 1), ('a 0.2', 0), ('a 0.2', 1), ('a 0.2', 0), ('a 0.2', 1), ('a 0.2', 2)]


# ---------------------------------------------------------------------------------------------------------------------
# the command

@pytest.fixture(autouse=True)
def nothing_kept():
    claims.load.cache_clear()
    yield
    claims.load.cache_clear()


def test_one_seed_gives_runs_and_no_verdict(tiny):
    said = call(claims, '1', '4', '--dataset', TINY, '--seeds', '0', '--out', 'claims.csv', cwd=tiny)
    assert said.status == 0 and ': holds' in said.out and ': cannot be told' in said.out
    assert len((tiny / 'claims.csv').read_text().splitlines()) == 1 + 4


def test_a_claim_is_run_once_and_its_table_remade(tiny, monkeypatch):
    argv = '1', '4', '10', '--dataset', TINY, '--seeds', '0-1', '--out', 'claims.csv'
    first = call(claims, *argv, cwd=tiny)
    assert first.status == 0 and first.err == [], first
    assert [line.split()[0] for line in first.out.splitlines() if line[:2].strip()] == ['1', '4', '10']
    written = (tiny / 'claims.csv').read_bytes()
    assert len(written.splitlines()) == 1 + 2 * len(SETTINGS[4])
    monkeypatch.setattr(claims, 'one_run', None)                         # nothing is run again
    again = call(claims, *argv, cwd=tiny)
    assert (again.status, again.out) == (0, first.out)
    assert (tiny / 'claims.csv').read_bytes() == written
    monkeypatch.chdir(tiny)
    rows = claims.read('claims.csv')
    assert len(rows) == 2 * len(SETTINGS[4]) and claims.table(rows, [4])[0][3].startswith('F: sums')
    monkeypatch.setitem(SETTINGS[4], 'F sgd', PAPER)                     # its settings are others now
    assert len(claims.read('claims.csv')) == 2 * (len(SETTINGS[4]) - 1)


def test_all_claims_go_through_their_stages(tiny, monkeypatch):
    def measured(claim, setting, settings, dataset, seed):
        ran.append((claim, setting, seed))
        last = setting.split()[-1]
        rate = float(last) if last[0].isdigit() and '/' not in last else 1.0
        return dict.fromkeys(repro.RESULTS, 0.01) | {'train_loss': 0.01 + rate, 'seconds': 1.0, 'curves': ''}
    ran = []
    monkeypatch.setattr(claims, 'one_run', measured)
    monkeypatch.setattr(claims, 'shown', lambda lines: '')
    monkeypatch.setattr(claims, 'table', lambda rows, numbers: ran.append(len(rows)))
    said = call(claims, '--dataset', TINY, '--out', 'claims.csv', cwd=tiny)
    assert said.status == 0 and said.err == [], said
    assert ran[-1] == len(ran) - 1 == len(set(ran[:-1]))                # none twice, and all in the table
    assert (2, 'sgd tanh F 0.02', 9) in ran and (2, 'sgd tanh F 0.05', 2) not in ran     # the best rate on all seeds
    assert (5, 'true 0.1', 4) in ran and (5, 'true 0.1', 5) not in ran and (5, 'true 0.2', 0) not in ran
    assert (12, 'unshared, 1/16, rate 0.001', 4) in ran and (12, 'unshared, 1/16, rate 0.002', 0) not in ran
    assert files(tiny / 'data') and (tiny / 'claims.csv').exists()


def test_a_wrong_number_is_refused(tiny):
    assert call(claims, '16', cwd=tiny).status == 2
    said = call(claims, '4', '--dataset', 'usps', cwd=tiny)
    assert said.status == 1 and 'prepro.py' in said.err[0]


@pytest.mark.parametrize('settings', [
    SETTINGS[2]['newton logistic root 0.1'], SETTINGS[3]['level 0.8'], SETTINGS[5]['stochastic newton 0.002'],
    SETTINGS[5]['true newton 0.1'], SETTINGS[8]['1/8'], SETTINGS[9]['paper'],
    SETTINGS[12]['256-40-10, 1/16, rate 0.002'], SETTINGS[12]['two hidden, 1/2, rate 0.002'],
    SETTINGS[13]['rate 0.002']])
def test_a_run_measures(settings, tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    monkeypatch.setitem(SETTINGS, 99, {'short': settings | {'passes': 1, 'at': (0, 1) if 'at' in settings else ()}})
    row = claims.one_run(99, 'short', claims.runs.fingerprint(SETTINGS[99]['short']), TINY, 0)
    assert tuple(row) == claims.VALUES and row['train_loss'] > 0
    for name in settings.get('watch', ()):
        first = row['curves'].split('=')[0]
        assert row['curves'].count('=') >= 2 and all(map(math.isfinite, claim_runs.curve(row, first)))


def test_pictures_are_drawn_where_their_runs_are(tiny):
    made_up = {5: rows_5(0.5, 7.0, 0.1), 6: rows_6(4, 20), 8: rows_8(0.5, 2), 11: rows_11(6), 12: rows_12(3, 6.0)}
    for number, rows in made_up.items():
        assert claim_pictures.PICTURES[number](rows)[:4] == b'\x89PNG'
        assert claim_pictures.PICTURES[number]([]) is None
    (tiny / 'rows.csv').write_text(','.join((*claims.KEY, *claims.VALUES)) + '\n')
    said = call(claim_pictures, '5', '--rows', 'rows.csv', cwd=tiny)
    assert said.status == 1 and 'skipped' in said.err[0] and not (tiny / 'results' / 'claim_5.png').exists()
