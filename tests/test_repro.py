"""repro.py: the net of 1989, its training, its measurements, its files, and bad input."""
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

import prepro
import repro
from conftest import REPO, call, files, random_patterns, shell

ENGINES = ('compiled', 'autograd')
EVAL = re.compile(r'eval: split (train|test )\. loss (\d\.\d{6}e[+-]\d\d)\. error (\d+\.\d\d)%\. misses: (\d+)')


def metrics(folder):
    with open(folder / 'metrics.csv', newline='') as f:
        return list(csv.DictReader(f))


# ---------------------------------------------------------------------------------------------------------------------
# section 3: the architecture

def layers(net, x):
    """What the squashing function gives for H1, H2, H3 and the output, on the way to net(x)."""
    seen = []
    squash = net.squash
    net.squash = lambda s: seen.append(squash(s)) or seen[-1]
    net(x)
    del net.squash
    return seen


def seen_by(unit, inputs):
    """Which of the inputs influence a unit: a mask of their shape."""
    return torch.autograd.grad(unit, inputs, retain_graph=True)[0] != 0


def test_counts_are_the_papers():
    net = repro.Net()
    assert net.counts() == {'H1': (768, 19_968, 1_068), 'H2': (192, 38_592, 2_592), 'H3': (30, 5_790, 5_790),
                            'output': (10, 310, 310), 'all': (1_256, 64_660, 9_760)}
    assert sum(p.numel() for p in net.parameters()) == 9_760
    H1, H2, H3, out = layers(net, torch.zeros(1, 1, 16, 16))
    assert (H1.shape, H2.shape, H3.shape, out.shape) == ((1, 12, 8, 8), (1, 12, 4, 4), (1, 30), (1, 10))


def test_each_unit_sees_as_many_inputs_as_the_paper_says():
    x = random_patterns(1)[0].requires_grad_()
    net = repro.Net()
    H1, H2, H3, out = layers(net, x)
    reach = [range(max(2*i - 2, 0), 2*i + 3) for i in range(8)]          # 5 wide, stride 2, centred on its pixel
    for m, r, c in ((0, 3, 3), (5, 0, 0), (11, 7, 2)):
        seen = seen_by(H1[0, m, r, c], x)[0, 0]
        rows, columns = [i for i in reach[r] if i < 16], [i for i in reach[c] if i < 16]
        assert seen.sum() == len(rows) * len(columns) and seen[rows][:, columns].all()
    for m in range(12):
        seen = seen_by(H2[0, m, 1, 2], H1)[0]                            # a unit that sees no border: 5x5 in 8 maps
        assert seen.sum() == 8*5*5 and seen[:, 0:5, 2:7].sum() == 8*5*5
        assert seen.any(2).any(1).nonzero().flatten().tolist() == repro.BLOCKS[m]
    assert all(seen_by(unit, H2).sum() == 192 for unit in H3[0])
    assert all(seen_by(unit, H3).sum() == 30 for unit in out[0])


def test_connection_table_gives_each_map_of_h2_eight_of_twelve():
    assert len(repro.BLOCKS) == 12
    assert all(len(set(row)) == 8 and set(row) <= set(range(12)) for row in repro.BLOCKS)
    assert all(sum(a in row for row in repro.BLOCKS) == 8 for a in range(12))
    assert repro.BLOCKS[0] == repro.BLOCKS[3] == list(range(8))
    assert repro.BLOCKS[4] == repro.BLOCKS[7] == list(range(4, 12))
    assert repro.BLOCKS[8] == repro.BLOCKS[11] == [0, 1, 2, 3, 8, 9, 10, 11]


def test_another_table_is_followed():
    table = [[(m + k) % 12 for k in range(8)] for m in range(12)]
    H1, H2, _, _ = layers(repro.Net(table=table), random_patterns(1)[0])
    for m in range(12):
        assert set(seen_by(H2[0, m, 1, 1], H1)[0].any(2).any(1).nonzero().flatten().tolist()) == set(table[m])


@pytest.mark.parametrize('value, alike', [(-1.0, True), (0.0, False), (1.0, False)])
def test_windows_over_the_border_see_minus_one(value, alike):
    """A map whose input is -1 throughout cannot tell where the border is; with any other value it can."""
    net = repro.Net()
    H1 = layers(net, torch.full((1, 1, 16, 16), value))[0]
    assert all(torch.allclose(m, m[4, 4].expand(8, 8), atol=1e-6) for m in H1[0]) == alike
    with torch.no_grad():               # all of H1 at this value, whatever it sees
        net.H1w.zero_()
        net.H1b.fill_(100 * value)
    H1, H2, _, _ = layers(net, torch.zeros(1, 1, 16, 16))
    assert (H1 == value).all()
    assert all(torch.allclose(m, m[1, 1].expand(4, 4), atol=1e-6) for m in H2[0]) == alike


@pytest.mark.parametrize('weights, biases, level', [('H1w', 'H1b', 0), ('H2w', 'H2b', 1)])
def test_in_a_map_weights_are_shared_and_biases_are_not(weights, biases, level):
    x = random_patterns(1)[0]

    def changed_by(name, place):
        net = repro.Net()
        before = layers(net, x)[level]
        with torch.no_grad():
            getattr(net, name)[place] += 0.5
        return (layers(net, x)[level] != before)[0]
    units = changed_by(weights, (3, 0, 2, 2))
    assert units[3].all() and units.sum() == units[3].numel()
    units = changed_by(biases, (3, 2, 1))
    assert units[3, 2, 1] and units.sum() == 1


def test_initial_weights_are_the_documented_recipe():
    net = repro.Net(seed=1337)
    torch.manual_seed(1337)
    for name, shape, fan_in in (('H1w', (12, 1, 5, 5), 25), ('H2w', (12, 8, 5, 5), 200), ('H3w', (192, 30), 192),
                                ('outw', (30, 10), 30)):
        w = (torch.rand(*shape) - 0.5) * 2 * 2.4 / fan_in**0.5
        assert torch.equal(getattr(net, name), w), name
    for name, value in (('H1b', 0), ('H2b', 0), ('H3b', 0), ('outb', -1)):
        assert set(getattr(net, name).flatten().tolist()) == {value}, name
    assert not torch.equal(repro.Net(seed=1).H1w, net.H1w)
    assert torch.allclose(repro.Net(root=False).H2w * 200**0.5, net.H2w)


# ---------------------------------------------------------------------------------------------------------------------
# section 4: learning

@pytest.mark.parametrize('engine', ENGINES)
def test_weights_change_after_each_pattern_in_the_order_given(engine):
    X, T = random_patterns(6)
    order = [4, 0, 0, 5, 2]
    net, expected = repro.Net(), repro.Net()
    rates = {name: 0.01 * (i + 1) for i, (name, _) in enumerate(net.named_parameters())}
    repro.train_pass(net, X, T, rates, order, engine)
    for i in order:
        E = sum((t - y)**2 for t, y in zip(T[i], expected(X[i:i+1])[0])) / 10
        for (name, p), g in zip(expected.named_parameters(), torch.autograd.grad(E, list(expected.parameters()))):
            p.data -= rates[name] * g
    for (name, p), q in zip(net.named_parameters(), expected.parameters()):
        assert torch.allclose(p, q, atol=1e-6), name
        assert not torch.allclose(p, dict(repro.Net().named_parameters())[name], atol=1e-6), name


@pytest.mark.parametrize('engine', ENGINES)
def test_order_is_constant_unless_it_is_shuffled(engine):
    X, T = random_patterns(30)

    def trained(**options):
        net = repro.Net()
        for _ in repro.train(net, X, T, 2, 0.03, engine=engine, **options):
            pass
        return net.H1w.detach().clone()
    net = repro.Net()
    rates = dict.fromkeys(dict(net.named_parameters()), 0.03)
    for _ in range(2):
        repro.train_pass(net, X, T, rates, range(30), engine)
    assert torch.equal(trained(), net.H1w)
    assert torch.equal(trained(shuffle=1), trained(shuffle=1))
    assert not torch.equal(trained(shuffle=1), trained(shuffle=2))
    assert not torch.equal(trained(shuffle=1), trained())


class Terminal:
    """A stderr that keeps what it is told, and says whether it is a terminal."""
    def __init__(self, tty):
        self.text, self.tty = '', tty

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return self.tty


@pytest.mark.parametrize('tty', [True, False])
def test_progress_is_shown_on_a_terminal_only(tty, monkeypatch):
    X, T = random_patterns(3)
    monkeypatch.setattr(sys, 'stderr', Terminal(tty))
    for _ in repro.train(repro.Net(), X, T, 1, 0.03, engine='autograd'):
        pass
    assert ('pass 1' in sys.stderr.text) == tty
    assert tty or sys.stderr.text == ''


# ---------------------------------------------------------------------------------------------------------------------
# section 5: the results, on the digits

@pytest.fixture(scope='session', params=ENGINES)
def first_pass(request, prepared):
    """The first pass over the embedded digits, as `repro.py --passes 1` does it: engine, folder, what it said."""
    cwd = prepared[0]
    folder = f'out/{request.param}'
    return request.param, cwd / folder, call(repro, '--passes', 1, '--engine', request.param, '-o', folder, cwd=cwd)


def test_first_pass_gives_the_published_numbers_to_the_letter(first_pass):
    _, _, said = first_pass
    assert (said.status, said.err) == (0, [])
    lines = said.out.splitlines()
    assert lines[0] == '1'
    train, test = (EVAL.fullmatch(line) for line in lines[1:3])
    assert train and test
    assert [float(m[2]) for m in (train, test)] == pytest.approx([6.3033e-02, 6.8776e-02], abs=0.5e-6)
    assert [m.group(1, 3, 4) for m in (train, test)] == [('train', '9.00', '656'), ('test ', '10.26', '206')]


def test_closing_table_has_the_paper_the_reference_and_this_run(first_pass):
    _, _, said = first_pass
    rows = [line.split() for line in said.out.splitlines()[3:]]
    assert ['paper,', '1989', '2.5e-03', '0.14%', '10', '1.8e-02', '5.00%', '102', '12.1%'] in rows
    assert ['reproduction,', '2022', '4.1e-03', '0.62%', '45', '2.8e-02', '4.09%', '82', '-'] in rows
    this, = (row for row in rows if row[:2] == ['this', 'run'])
    assert this[2:8] == ['6.3e-02', '9.00%', '656', '6.9e-02', '10.26%', '206']
    assert 0 < float(this[8].rstrip('%')) < 100
    m = re.fullmatch(r'trained for 1 passes in ([\d.]+) s: ([\d,]+) times faster than in 1989 \(3 days for 23 passes\)',
                     said.out.splitlines()[-1])
    if float(m[1]) >= 1:                # less is shown to one digit
        assert int(m[2].replace(',', '')) == pytest.approx(3 * 86400 / 23 / float(m[1]), rel=0.1)


def test_files_of_a_run(first_pass):
    engine, folder, _ = first_pass
    assert files(folder) == ['args.json', 'metrics.csv', 'model.pt']
    args = json.loads((folder / 'args.json').read_text())
    assert args == {'dataset': 'mnist', 'optimizer': 'sgd', 'learning_rate': 0.03, 'passes': 1, 'seed': 1337,
                    'engine': engine, 'output': f'out/{engine}'}
    rows = metrics(folder)
    assert list(rows[0]) == ['pass', 'split', 'loss', 'error', 'misses', 'rejection', 'seconds']
    assert [(row['pass'], row['split'], row['misses']) for row in rows] == [('1', 'train', '656'), ('1', 'test', '206')]
    assert float(rows[1]['loss']) == pytest.approx(6.8776e-02, abs=0.5e-6)
    assert float(rows[1]['error']) == pytest.approx(100 * 206 / 2007)
    assert 0 < float(rows[1]['rejection']) < 100 and float(rows[1]['seconds']) > 0


def test_model_loads_as_weights_only_and_gives_the_same_misses(first_pass, prepared):
    _, folder, _ = first_pass
    net = repro.Net(seed=0)
    net.load_state_dict(torch.load(folder / 'model.pt', weights_only=True))
    for split, misses in (('train', 656), ('test', 206)):
        X, Y = torch.load(prepared[0] / 'data' / 'mnist' / f'{split}1989.pt', weights_only=True)
        with torch.no_grad():
            assert (net(X).argmax(1) != Y.argmax(1)).sum() == misses


def test_all_23_passes_end_near_the_published_numbers(prepared):
    cwd = prepared[0]
    said = call(repro, '--engine', 'compiled', '-o', 'out/all', cwd=cwd)
    assert said.status == 0
    evals = EVAL.findall(said.out)
    assert len(evals) == 2 * 23
    # rounding sends each machine its own way: our runs ended at 43 and 44 misses, and 83 and 84
    assert abs(int(evals[-2][3]) - 44) <= 6 and abs(int(evals[-1][3]) - 84) <= 8
    rows = metrics(cwd / 'out' / 'all')
    assert [(row['pass'], row['split']) for row in rows] == [(str(n), split) for n in range(1, 24)
                                                            for split in ('train', 'test')]
    assert [row['misses'] for row in rows] == [m[3] for m in evals]
    assert [f'{float(row["loss"]):e}' for row in rows] == [m[1] for m in evals]


@pytest.mark.parametrize('engine', ENGINES)
def test_a_seed_gives_the_same_run_to_the_bit(engine, tiny):
    """Other seeds, other runs."""
    runs = []
    for name, seed in (('a', 5), ('b', 5), ('c', 6)):
        assert call(repro, '--passes', 3, '--engine', engine, '--seed', seed, '-o', name, cwd=tiny).status == 0
        state = torch.load(tiny / name / 'model.pt', weights_only=True)
        runs.append(([{**row, 'seconds': None} for row in metrics(tiny / name)],
                     [(key, t.numpy().tobytes()) for key, t in state.items()]))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0] and runs[0][1] != runs[2][1]


def test_rate_and_optimizer_make_a_difference_and_are_recorded(tiny):
    losses = []
    for argv, rate, optimizer in (((), 0.03, 'sgd'), (('-l', 0.1), 0.1, 'sgd'),
                                  (('--optimizer', 'newton'), repro.RATE['newton'], 'newton')):
        assert call(repro, '--passes', 2, *argv, cwd=tiny).status == 0
        args = json.loads((tiny / 'out' / 'base' / 'args.json').read_text())
        assert (args['learning_rate'], args['optimizer']) == (rate, optimizer)
        losses.append(metrics(tiny / 'out' / 'base')[-2]['loss'])
    assert len(set(losses)) == 3


# ---------------------------------------------------------------------------------------------------------------------
# measuring

def of(gaps, right):
    """Outputs and targets of patterns whose two most active outputs differ by gaps, classified right or not."""
    out = torch.full((len(gaps), 10), -1.0)
    out[:, 3], out[:, 5] = torch.tensor(gaps) - 0.5, -0.5                # gaps > 0: says 3
    T = torch.full((len(gaps), 10), -1.0)
    T[torch.arange(len(gaps)), torch.where(torch.tensor(right), 3, 7)] = 1.0
    return out, T


def measured(out, T):
    return repro.measure(lambda x: x, out, T)


@pytest.mark.parametrize('gaps, right, rejection', [
    ([0.5, 0.25, 0.75], [True, True, True], 0),                          # perfect
    ([0.5, 0.25, 0.75, 1], [True, False, True, True], 25),               # the least certain is wrong
    ([0.25, 0.5, 0.75, 1], [True, False, True, True], 50),               # a right one goes with it
    ([0.5, 0.25, 0.75], [False, False, False], 100),                     # no threshold reaches 1%
    ([0.5, 0.25, 0.75], [True, True, False], 100),                       # nor here: the most certain is wrong
    ([0.25, 0.25, 0.75, 0.75], [True, False, True, True], 50),           # ties are rejected together,
    ([0.25, 0.25, 0.75, 0.75], [False, True, True, True], 50),           # whichever comes first
    ([0.5] * 4, [True, True, True, False], 100),                         # all tied
    ([0.5] * 4, [True] * 4, 0),
    ([0.5] * 100, [False] + [True] * 99, 0),                             # 1% is good enough
    ([0.5] * 99, [False] + [True] * 98, 100),                            # 1.01% is not
    ([1] + [0.5] * 150, [False] + [True] * 150, 0),                      # the first threshold is not the one
    ([1] + [0.5] * 99 + [0.25], [False] + [True] * 99 + [False], 100 / 101),
])
def test_rejection_for_one_percent_error(gaps, right, rejection):
    assert measured(*of(gaps, right))['rejection'] == pytest.approx(rejection, abs=1e-4)


def some_outputs(seed):
    """300 patterns with outputs in coarse steps, so that many gaps are tied, and the more certain more often right."""
    g = torch.Generator().manual_seed(seed)
    gaps = torch.randint(1, 40, (300,), generator=g) / 32
    right = torch.rand(300, generator=g) < 0.7 + gaps / 3
    return of(gaps.tolist(), right.tolist())


@pytest.mark.parametrize('seed', range(5))
def test_rejection_is_the_least_over_all_thresholds(seed):
    out, T = some_outputs(seed)
    top = out.numpy().copy()
    top.sort(axis=1)
    gap, wrong = top[:, -1] - top[:, -2], (out.argmax(1) != T.argmax(1)).numpy()
    tried = [(100 * (gap < t).mean(), 100 * wrong[gap >= t].mean()) for t in set(gap)]
    assert measured(out, T)['rejection'] == pytest.approx(min([r for r, e in tried if e <= 1] + [100]), abs=1e-4)
    rejected, error, _ = repro.rejection_curve(out, T.argmax(1))
    assert np.allclose(sorted(zip(rejected, error)), sorted(tried), atol=1e-4)


@pytest.mark.parametrize('seed', range(5))
def test_rejection_curve_goes_from_strict_to_lenient(seed):
    out, T = some_outputs(seed)
    rejected, error, threshold = repro.rejection_curve(out, T.argmax(1))
    assert len(rejected) == len(error) == len(threshold) == len(set(threshold))
    assert (np.diff(rejected) < 0).all() and (np.diff(threshold) < 0).all()
    m = measured(out, T)
    assert rejected[-1] == 0 and error[-1] == pytest.approx(m['error'], abs=1e-4)
    assert ((0 <= rejected) & (rejected < 100) & (0 <= error) & (error <= 100)).all()

    # with one more pattern right, never more to reject
    wrong = (out.argmax(1) != T.argmax(1)).nonzero()[0]
    better = T.clone()
    better[wrong] = -1.0
    better[wrong, out[wrong].argmax(1)] = 1.0
    assert measured(out, better)['rejection'] <= m['rejection']


def test_measure_counts_misses_and_averages_over_patterns_and_outputs():
    out, T = torch.zeros(4, 10), torch.full((4, 10), -1.0)
    T[:, 2] = 1.0
    out[:3, 2] = 0.5
    out[3, 9] = 0.5                     # one of four wrong
    m = measured(out, T)
    assert (m['misses'], m['error']) == (1, 25)
    assert m['loss'] == pytest.approx((3 * (0.25 + 9) + (8 + 1 + 2.25)) / 40)


@pytest.mark.parametrize('engine', ENGINES)
def test_outputs_are_the_nets(engine):
    net, X = repro.Net(), random_patterns(50)[0]
    assert torch.allclose(repro.outputs(net, X, engine), net(X), atol=2e-6)


# ---------------------------------------------------------------------------------------------------------------------
# bad input: arguments

@pytest.mark.parametrize('argv', [
    *(('-l', rate) for rate in ('0', '-1', 'nan', 'inf', '-inf', '1e999', 'abc', '')),
    *(('--passes', n) for n in ('0', '-1', '1.5', 'nan', 'abc')), *(('--seed', n) for n in ('-1', 'abc')),
    ('--dataset', 'cifar'), ('--engine', 'steam'), ('--optimizer', 'adam'), ('pass',)], ids=' '.join)
def test_bad_arguments(argv, tiny):
    before = files(tiny)
    said = call(repro, *argv, cwd=tiny)
    assert (said.status, said.out) == (2, '')
    assert 'repro.py: error: ' in said.err[-1]
    assert argv[-1] in said.err[-1] or 'expected one argument' in said.err[-1]
    assert files(tiny) == before and not (tiny / 'out').exists()


# ---------------------------------------------------------------------------------------------------------------------
# bad input: the tensors

def refused(said, *parts):
    """It ended with status 1 and one line on stderr that has these parts; nothing was done before."""
    assert (said.status, said.out) == (1, '')
    assert len(said.err) == 1, said.err
    assert said.err[0].startswith('repro.py: ')
    for part in parts:
        assert part in said.err[0]


def changed(name, change):
    """What becomes of (X, Y) if X or Y is changed, in place or to what change returns."""
    def both(X, Y):
        t = change(X if name == 'X' else Y)
        return ((X, Y) if t is None else (t, Y) if name == 'X' else (X, t))
    return both


def put(value, *place):
    def change(t):
        t[place] = value
    return change


BAD_TENSORS = {
    'not a tuple': (lambda X, Y: {'X': X, 'Y': Y}, 'tuple (X, Y)'),
    'a list': (lambda X, Y: [X, Y], 'tuple (X, Y)'),
    'three tensors': (lambda X, Y: (X, Y, Y), 'tuple (X, Y)'),
    'one tensor': (lambda X, Y: X, 'tuple (X, Y)'),
    'lists in it': (lambda X, Y: (X.tolist(), Y), 'tuple (X, Y)'),
    'X float64': (changed('X', lambda X: X.double()), 'X is torch.float64'),
    'X uint8': (changed('X', lambda X: X.byte()), 'X is torch.uint8'),
    'Y int64': (changed('Y', lambda Y: Y.long()), 'Y is torch.int64'),
    'X 28x28': (changed('X', lambda X: torch.zeros(len(X), 1, 28, 28)), 'X is torch.float32 (40, 1, 28, 28)'),
    'X flat': (changed('X', lambda X: X.flatten(1)), 'X is torch.float32 (40, 256)'),
    'X a number': (changed('X', lambda X: torch.tensor(1.0)), 'X is torch.float32 ()'),
    'Y labels': (changed('Y', lambda Y: Y.argmax(1).float()), 'Y is torch.float32 (40,)'),
    'Y of 9 classes': (changed('Y', lambda Y: Y[:, :9]), 'Y is torch.float32 (40, 9)'),
    'fewer Y': (changed('Y', lambda Y: Y[:-1]), 'Y is torch.float32 (39, 10)'),
    'no patterns': (lambda X, Y: (X[:0], Y[:0]), 'X is torch.float32 (0, 1, 16, 16)'),
    'X above 1': (changed('X', put(1.001, 39, 0, 15, 15)), 'X has values outside [-1, 1]'),
    'X in 0..255': (changed('X', lambda X: X * 127.5 + 127.5), 'X has values outside [-1, 1]'),
    'X NaN': (changed('X', put(float('nan'), 20, 0, 3, 3)), 'X has values outside [-1, 1] or not a number'),
    'X infinite': (changed('X', put(-float('inf'), 0, 0, 0, 0)), 'X has values outside [-1, 1]'),
    'Y NaN': (changed('Y', put(float('nan'), 20, 3)), 'Y is not +1 for one class'),
    'Y of 0 and 1': (changed('Y', lambda Y: (Y + 1) / 2), 'Y is not +1 for one class'),
    'Y without a class': (changed('Y', put(-1.0, 7)), 'Y is not +1 for one class'),
    'Y with two classes': (changed('Y', put(1.0, 7, slice(2))), 'Y is not +1 for one class'),
}


@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('bad', BAD_TENSORS)
def test_tensors_that_are_not_what_they_should_be(bad, split, tiny):
    make, says = BAD_TENSORS[bad]
    torch.save(make(*random_patterns(40)), tiny / 'data' / 'mnist' / f'{split}1989.pt')
    refused(call(repro, cwd=tiny), f'data/mnist/{split}1989.pt', says, 'run: python prepro.py --dataset mnist')
    assert not (tiny / 'out').exists()


BAD_FILES = {
    'empty': lambda content: b'',
    'cut by a byte': lambda content: content[:-1],
    'cut in half': lambda content: content[:len(content) // 2],
    'first byte altered': lambda content: b'\0' + content[1:],
    'text': lambda content: b'<html>404: not found</html>\n',
    'a pickle': lambda content: b'cos\nsystem\n(S"touch out"\ntR.',     # and it is not run
    'NumPy': lambda content: b'\x93NUMPY\x01\x00' + bytes(100),
}


@pytest.mark.parametrize('split', ['train', 'test'])
@pytest.mark.parametrize('bad', BAD_FILES)
def test_files_that_are_not_tensors(bad, split, tiny):
    path = tiny / 'data' / 'mnist' / f'{split}1989.pt'
    path.write_bytes(BAD_FILES[bad](path.read_bytes()))
    refused(call(repro, cwd=tiny), f'data/mnist/{split}1989.pt is damaged', 'run: python prepro.py --dataset mnist')
    assert not (tiny / 'out').exists()


@pytest.mark.parametrize('dataset', prepro.DATASETS)
def test_data_not_prepared(dataset, tmp_path):
    refused(call(repro, '--dataset', dataset, cwd=tmp_path),
            f'data/{dataset}/train1989.pt is not there; run: python prepro.py --dataset {dataset}')
    assert files(tmp_path) == []


def test_test_tensors_gone(tiny):
    os.remove(tiny / 'data' / 'mnist' / 'test1989.pt')
    refused(call(repro, cwd=tiny), 'data/mnist/test1989.pt is not there; run: python prepro.py --dataset mnist')
    assert not (tiny / 'out').exists()


def test_as_the_shell_sees_it(tiny):
    """The end of a script that the tests above see from within: status, one line, nothing written."""
    path = tiny / 'data' / 'mnist' / 'train1989.pt'
    path.write_bytes(path.read_bytes()[:-100])
    said = shell('repro.py', cwd=tiny)
    assert (said.status, said.out) == (1, '')
    assert said.err == ['repro.py: data/mnist/train1989.pt is damaged, or not a file that prepro.py wrote; '
                        'run: python prepro.py --dataset mnist']
    assert not (tiny / 'out').exists()


# ---------------------------------------------------------------------------------------------------------------------
# bad input: where the run goes

@pytest.mark.parametrize('folder, says', [('a file', 'File exists'), ('a file/run', 'Not a directory'),
                                          ('/dev/null/run', 'Not a directory'), ('/proc/run', '')])
def test_output_not_writable_is_refused_before_work_starts(folder, says, tiny, monkeypatch):
    (tiny / 'a file').write_text('')    # nobody can write under these, root neither
    monkeypatch.setattr(repro, 'train', lambda *args, **kwargs: pytest.fail('it trains'))
    before = files(tiny)
    refused(call(repro, '-o', folder, cwd=tiny), f'cannot write to {folder}: ', says, 'name another directory')
    assert files(tiny) == before


@pytest.mark.parametrize('name', ['args.json', 'metrics.csv', 'model.pt'])
def test_disk_full_leaves_no_half_file(name, tiny, monkeypatch):
    replace = os.replace

    def full(a, b):
        if b.endswith(name):
            raise OSError(28, 'No space left on device')
        replace(a, b)
    monkeypatch.setattr(os, 'replace', full)
    said = call(repro, cwd=tiny)
    assert said.status == 1
    assert len(said.err) == 1 and f'repro.py: cannot write out/base/{name}: No space left on device' in said.err[0]
    assert name not in files(tiny / 'out' / 'base')


# ---------------------------------------------------------------------------------------------------------------------
# runs that end early

@pytest.mark.parametrize('engine', ENGINES)
def test_divergence_in_the_first_pass(engine, tiny):
    said = call(repro, '-l', '1e300', '--engine', engine, cwd=tiny)
    assert (said.status, said.out) == (1, '')
    assert len(said.err) == 1
    assert 'repro.py: training diverged in pass 1: a value is no longer finite' in said.err[0]
    assert 'try a learning rate smaller than 1e+300' in said.err[0]
    assert files(tiny / 'out') == []


@pytest.mark.parametrize('engine', ENGINES)
def test_divergence_keeps_the_passes_measured_and_no_model(engine, tiny, monkeypatch):
    train_pass, passes = repro.train_pass, []

    def third_overflows(net, X, T, rates, order, *args):
        if len(order):                  # a pass of no patterns may come first
            passes.append(1)
        if len(passes) == 3:
            rates = dict.fromkeys(rates, 1e300)
        train_pass(net, X, T, rates, order, *args)
    monkeypatch.setattr(repro, 'train_pass', third_overflows)
    said = call(repro, '--passes', 5, '--engine', engine, cwd=tiny)
    assert said.status == 1
    assert len(said.err) == 1 and 'training diverged in pass 3' in said.err[0]
    assert [m[0] for m in EVAL.findall(said.out)] == ['train', 'test '] * 2
    assert files(tiny / 'out' / 'base') == ['args.json', 'metrics.csv']
    assert [row['pass'] for row in metrics(tiny / 'out' / 'base')] == ['1', '1', '2', '2']


@pytest.mark.parametrize('engine', ENGINES)
def test_interrupted(engine, tiny):
    """Ctrl-C in the midst of training: status 130, and the passes that were finished are there."""
    folder = tiny / 'out' / 'base'
    p = subprocess.Popen([sys.executable, REPO / 'repro.py', '--passes', '1000000', '--engine', engine], cwd=tiny,
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (folder / 'metrics.csv').exists() or len(metrics(folder)) < 6:
            assert p.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=60)
    finally:
        p.kill()
    assert p.returncode == 130
    assert [line for line in err.splitlines() if not line.startswith('compiling')] == ['interrupted']
    rows = metrics(folder)
    assert len(rows) % 2 == 0 and rows[-1]['split'] == 'test'
    assert [int(row['pass']) for row in rows] == [i // 2 + 1 for i in range(len(rows))]
    repro.Net().load_state_dict(torch.load(folder / 'model.pt', weights_only=True))
