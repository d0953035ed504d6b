"""modern.py: its net is the 1989 net, each rung does what it says, nothing is chosen or measured on the wrong digits."""
import csv

import pytest
import torch
import torch.nn.functional as F
from conftest import call, random_patterns

import backprop
import modern
import repro

RELU = modern.RUNGS[4]['arguments']


def tiny_digits(folder, name, n_train, n_test):
    (folder / 'data' / name).mkdir(parents=True)
    for split, n, seed in (('train', n_train, 1), ('test', n_test, 2)):
        torch.save(random_patterns(n, seed), folder / 'data' / name / f'{split}1989.pt')


@pytest.fixture
def ladder(tmp_path, monkeypatch):
    """A directory with tiny data sets `mnist` and `usps`, and rungs of two passes."""
    tiny_digits(tmp_path, 'mnist', 50, 20)
    tiny_digits(tmp_path, 'usps', 50, 20)
    for recipe in modern.RUNGS:
        monkeypatch.setitem(recipe, 'passes', 2)
    return tmp_path


def rows(path):
    with open(path, newline='') as f:
        return list(csv.DictReader(f))


# the net

@pytest.mark.parametrize('rung', range(7))
def test_parameters_and_cost_are_those_of_1989(rung):
    recipe = modern.RUNGS[rung]
    net = recipe['net'](0, **recipe['arguments'])
    assert sum(p.numel() for p in net.parameters()) == 9760
    assert {name: p.shape for name, p in net.named_parameters()} == {
        name: p.shape for name, p in repro.Net().named_parameters()}
    assert modern.macs(net) == modern.macs(repro.Net()) == 64_660 - 1_000        # a connection each for 1,000 biases


def test_logits_are_what_the_1989_net_squashes():
    net, plain = modern.Net(3), repro.Net(3, out_bias=0.0)
    X, _ = random_patterns(7)
    assert torch.allclose(torch.tanh(net(X)), plain(X), atol=1e-6)


def test_another_unit_and_border_in_the_same_connections():
    net = modern.Net(3, **RELU)
    with torch.no_grad():
        net.H2b.uniform_(-0.2, 0.2)
        X, _ = random_patterns(7)
        x = F.relu(F.conv2d(F.pad(X, (2, 2, 2, 2), value=-1.0), net.H1w, stride=2) + net.H1b)
        x = F.conv2d(F.pad(x, (2, 2, 2, 2))[:, sum(net.table, [])], net.H2w, stride=2, groups=12)
        x = F.relu(F.relu(x + net.H2b).flatten(1) @ net.H3w + net.H3b)
        assert torch.allclose(net(X), x @ net.outw + net.outb, atol=1e-5)


def test_he_weights_have_their_variance():
    net = modern.Net(0, **RELU)
    for w, fan_in in (net.H1w, 25), (net.H2w, 200), (net.H3w, 192), (net.outw, 30):
        assert w.std().item() == pytest.approx((2 / fan_in)**0.5, rel=0.15)
        assert w.min() < -2 * w.std()           # normal, not uniform: that ends at 1.73


def test_multiply_adds_of_the_net_for_scale():
    seen = 0

    def count(module, inputs, out):
        nonlocal seen
        seen += module.weight[0].numel() * out[0].numel()
    recipe = modern.RUNGS[7]
    net = recipe['net'](0, **recipe['arguments'])
    for module in net:
        if hasattr(module, 'weight') and not isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(count)
    net(random_patterns(2)[0])
    assert modern.macs(net) == seen


# the rungs

def test_the_first_rung_is_repro_py():
    X, Y = random_patterns(30)
    net = repro.Net(5)
    list(repro.train(net, X, Y, 2, repro.RATE['sgd']))
    found = modern.train({**modern.RUNGS[0], 'passes': 2}, X, Y, 5)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), found.parameters()))


def test_compiled_softmax_is_autograds_cross_entropy():
    X, Y = random_patterns(40)
    net, plain = modern.Net(4), modern.Net(4)
    for name, p in net.named_parameters():      # biases that are 0 would hide one that is not read
        if name.endswith('b'):
            p.data.uniform_(-0.3, 0.3)
    plain.load_state_dict(net.state_dict())
    assert backprop.train_pass(net, X, Y, dict.fromkeys(backprop.NAMES, 0.05), range(40)) == 40
    optimiser = torch.optim.SGD(plain.parameters(), 0.05)
    for x, y in zip(X.split(1), Y.split(1)):
        optimiser.zero_grad()
        F.cross_entropy(plain(x), y.argmax(1)).backward()
        optimiser.step()
    for name, p in net.named_parameters():
        assert torch.allclose(p, plain.get_parameter(name), atol=2e-6), name
    assert not torch.allclose(net.outw, modern.Net(4).outw, atol=1e-3)


def test_compiled_softmax_of_large_sums_is_finite():
    X, Y = random_patterns(5)
    net = modern.Net(4)
    net.outb.data[:] = 300 * torch.arange(10)
    assert backprop.train_pass(net, X, Y, dict.fromkeys(backprop.NAMES, 0.01), range(5)) == 5


@pytest.mark.parametrize('n', range(2, 8))
def test_a_minibatch_rungs_loss_images_and_rates(n, monkeypatch):
    recipe = {**modern.RUNGS[n], 'passes': 2, 'batch': 16}
    X, Y = random_patterns(40)
    losses, distorted, rates = [], [], []
    cross_entropy, distort, adamw = F.cross_entropy, modern.distort, modern.adamw

    def spy_loss(out, labels, label_smoothing):
        assert out.shape == (len(labels), 10) and labels.dtype == torch.int64
        losses.append(label_smoothing)
        return cross_entropy(out, labels, label_smoothing=label_smoothing)

    def spy_adamw(parameters, rate):
        optimiser = adamw(parameters, rate)
        optimiser.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]['lr']))
        return optimiser
    monkeypatch.setattr(F, 'cross_entropy', spy_loss)
    monkeypatch.setattr(modern, 'distort', lambda X, **a: distorted.append(a) or distort(X, **a))
    modern.train({**recipe, 'optimiser': spy_adamw}, X, Y, 0)
    assert losses == [0.0 if n < 5 else 0.05] * 6
    assert [sorted(a) for a in distorted] == (                            # all the digits at once, anew for each pass
        [] if n == 2 else [['scale', 'shear', 'shift', 'turn']] * 2 if n < 5
        else [['bend', 'scale', 'shear', 'shift', 'turn']] * 2)
    assert rates == [recipe['rate'] * modern.one_cycle(step / 6) for step in range(6)]


def test_each_idea_is_one_change():
    keys = [{key for key in above if above[key] != below.get(key)} - {'idea', 'source', 'rate', 'passes'}
            for below, above in zip(modern.RUNGS, modern.RUNGS[1:])]
    assert keys == [{'net'}, {'optimiser', 'schedule', 'batch'}, {'distort'}, {'arguments'}, {'distort', 'smoothing'},
                    {'data'}, {'net', 'arguments'}]
    for changes in modern.WITHOUT.values():
        assert any(modern.RUNGS[modern.TOP][key] != value for key, value in changes.items() if key != 'rate')


def test_one_cycle_goes_up_and_down_to_nothing():
    rates = [modern.one_cycle(i / 100) for i in range(101)]
    assert rates[0] == 0 and max(rates) == rates[15] == 1 and rates[100] == pytest.approx(0)
    assert rates[:16] == sorted(rates[:16]) and rates[15:] == sorted(rates[15:], reverse=True)


# distortions

def test_a_distortion_of_nothing_changes_nothing():
    X, _ = random_patterns(5)
    assert torch.allclose(modern.distort(X, shift=0), X, atol=1e-5)


def test_a_shift_moves_and_fills_with_background(monkeypatch):
    X = torch.full((3, 1, 16, 16), -1.0)
    X[:, :, 5:9, 6:10] = 1.0
    monkeypatch.setattr(torch, 'rand', lambda n: torch.ones(n))          # as far as it goes
    moved = modern.distort(X, shift=2)
    assert torch.allclose(moved[:, :, 3:7, 4:8], torch.ones(3, 1, 4, 4), atol=1e-4)
    assert moved.sum().item() == pytest.approx(X.sum().item(), abs=1e-2)


def test_every_digit_is_distorted_anew_and_stays_in_range():
    X = random_patterns(1)[0].expand(20, 1, 16, 16)
    torch.manual_seed(0)
    Z = modern.distort(X, **modern.RUNGS[5]['distort'])
    assert Z.shape == X.shape and Z.abs().max() <= 1
    assert len({tuple(z.flatten().tolist()) for z in Z}) == 20


# what is measured on what

def test_validation_digits_never_meet_training(monkeypatch):
    X = torch.arange(23.).view(23, 1, 1, 1)
    Y = random_patterns(23)[1]
    loaded = []
    monkeypatch.setattr(repro, 'load', lambda dataset, split: loaded.append(split) or (X, Y))
    measured = []
    for block in range(modern.BLOCKS):
        (train, _), (held_out, _) = modern.digits('mnist', None, True, block)
        train, held_out = train.flatten().tolist(), held_out.flatten().tolist()
        assert sorted(train + held_out) == list(range(23))
        assert held_out == list(range(int(held_out[0]), int(held_out[-1]) + 1))      # a block: writers stay together
        measured += held_out
    assert measured == list(range(23))
    assert set(loaded) == {'train'}                                      # no test digit is even read


def test_a_run_trains_and_measures_on_what_digits_says(monkeypatch):
    data = random_patterns(30, 1), random_patterns(12, 2)
    monkeypatch.setattr(modern, 'digits', lambda *args: data)
    trained, measured = [], []
    monkeypatch.setattr(modern, 'train', lambda recipe, X, Y, seed: trained.append(X) or modern.Net(0))
    misses = modern.misses
    monkeypatch.setattr(modern, 'misses', lambda net, X, Y: measured.append(X) or misses(net, X, Y))
    row = modern.one_run('mnist', '3', modern.RUNGS[3], 0, False)
    assert trained[0] is data[0][0] and [X is d[0] for X, d in zip(measured, data)] == [True, True]
    assert row['n'] == 12 and row['error'] == round(100 * row['misses'] / 12, 3)


def test_evaluation_neither_distorts_nor_depends_on_the_batch(monkeypatch):
    X, Y = random_patterns(40)
    net = modern.train({**modern.RUNGS[7], 'passes': 1}, X, Y, 0)        # with batch normalisation
    monkeypatch.setattr(modern, 'distort', None)
    state = {name: t.clone() for name, t in net.state_dict().items()}
    assert modern.misses(net, X, Y) == sum(modern.misses(net, x, y) for x, y in zip(X.split(1), Y.split(1)))
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in state.items())


def test_misses_counts():
    _, Y = random_patterns(10)
    assert modern.misses(torch.nn.Flatten(), Y, Y) == 0
    assert modern.misses(torch.nn.Flatten(), Y.roll(1, 1), Y) == 10


# the script

def test_all_rungs_and_ablations_run_and_are_not_run_twice(ladder):
    first = call(modern, '--without', '--seeds', '0', cwd=ladder)
    assert (first.status, first.err) == (0, [])
    found = rows(ladder / 'out' / 'modern.csv')
    assert [row['rung'] for row in found] == [*map(str, range(6)), *(f'without {idea}' for idea in modern.WITHOUT)]
    assert all(row['parameters'] == '9760' and row['n'] == '20' and row['split'] == 'test' for row in found)
    again = call(modern, '--without', '--seeds', '0', cwd=ladder)
    assert rows(ladder / 'out' / 'modern.csv') == found
    assert 'missed' in first.out and 'missed' not in again.out
    assert again.out == '\n'.join(line for line in first.out.splitlines() if 'missed' not in line) + '\n'
    assert max(map(len, again.out.splitlines())) <= 80


def test_the_same_seed_gives_the_same_run(ladder):
    for out in 'one.csv', 'two.csv':
        assert call(modern, '--rungs', '1,5', '--seeds', '3-4', '--out', out, cwd=ladder).status == 0
    one, two = ([{**row, 'seconds': ''} for row in rows(ladder / out)] for out in ('one.csv', 'two.csv'))
    assert one == two
    X, Y = random_patterns(30)
    a, b, c = (modern.train({**modern.RUNGS[5], 'passes': 1}, X, Y, seed) for seed in (3, 3, 4))
    assert torch.equal(a.H2w, b.H2w) and not torch.equal(a.H2w, c.H2w)


def test_a_cut_off_row_is_done_again(ladder):
    out = ladder / 'm.csv'
    call(modern, '--rungs', '1', '--seeds', '0-1', '--out', 'm.csv', cwd=ladder)
    whole = out.read_text()
    out.write_text(whole[:-9])
    call(modern, '--rungs', '1', '--seeds', '0-1', '--out', 'm.csv', cwd=ladder)
    assert [row['seed'] for row in rows(out)] == ['0', '1']
    assert [row['misses'] for row in rows(out)] == [row.split(',')[-4] for row in whole.splitlines()[1:]]


def test_validation_rows_stay_apart_from_test_rows(ladder):
    call(modern, '--rungs', '1', '--seeds', '0', cwd=ladder)
    done = call(modern, '--rungs', '1', '--seeds', '0', '--validate', cwd=ladder)
    assert done.status == 0 and 'of 10 missed' in done.out
    assert [(row['split'], row['n']) for row in rows(ladder / 'out' / 'modern.csv')] == [('test', '20'),
                                                                                         ('validation', '10')]


def test_without_all_of_mnist_the_other_rungs_run(ladder):
    done = call(modern, '--rungs', '5-7', '--seeds', '0', cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and '--dataset mnist60k' in done.err[0]
    assert [row['rung'] for row in rows(ladder / 'out' / 'modern.csv')] == ['5']
    tiny_digits(ladder, 'mnist60k', 90, 30)
    done = call(modern, '--rungs', '5-7', '--seeds', '0', cwd=ladder)
    assert (done.status, done.err) == (0, [])
    found = rows(ladder / 'out' / 'modern.csv')
    assert [(row['rung'], row['n']) for row in found] == [('5', '20'), ('6', '20'), ('7', '20')]     # the same test digits
    assert [row['train_error'] for row in found] == [f'{round(100 * int(row["train_misses"]) / n, 3)}'
                                                     for row, n in zip(found, (50, 90, 90))]


@pytest.mark.parametrize('argv, word', [
    (['--rungs', '8'], '0 to 7'), (['--rungs', 'two'], 'rungs'), (['--rungs', '-1'], 'rungs'), (['--seeds', '4-2'], 'seeds'),
    (['--validate', '--seeds', '5'], 'blocks 0 to 4'), (['--dataset', 'usps', '--rungs', '6'], '--dataset mnist'),
    (['--dataset', 'mnist60k'], 'dataset')])
def test_bad_arguments(ladder, argv, word):
    done = call(modern, *argv, cwd=ladder)
    assert done.status == 2 and word in done.err[-1] and not (ladder / 'out').exists()


def test_missing_digits_and_a_table_that_is_not_ours(ladder):
    (ladder / 'mine.csv').write_text('a,b\n1,2\n')
    done = call(modern, '--out', 'mine.csv', cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and '--out' in done.err[0]
    assert (ladder / 'mine.csv').read_text() == 'a,b\n1,2\n'
    (ladder / 'data' / 'mnist' / 'test1989.pt').unlink()
    done = call(modern, cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and 'prepro.py' in done.err[0]


def test_divergence_stops_with_a_line_and_keeps_the_runs_before(ladder, monkeypatch):
    for key, value in dict(optimiser=torch.optim.SGD, rate=1e38, batch=10).items():
        monkeypatch.setitem(modern.RUNGS[2], key, value)
    done = call(modern, '--rungs', '1-2', '--seeds', '0', cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and 'diverged' in done.err[0]
    assert [row['rung'] for row in rows(ladder / 'out' / 'modern.csv')] == ['1']


def test_change_is_against_the_rung_below_and_an_ablations_against_the_top():
    def row(name, seed, error):
        return dict(dataset='mnist', split='test', rung=name, idea='i', seed=seed, passes=1.0, parameters=1.0, macs=1.0,
                    train_error=0.0, error=error, misses=1.0, seconds=1.0)
    found = modern.summary([row('without x', 0, 9.0), row('5', 0, 2.0), row('5', 1, 4.0), row('6', 0, 1.0),
                            row('4', 0, 7.0)])
    assert {name: (f['change'], f['error'], f['n']) for name, f in found.items()} == {
        '4': (None, (7.0, 0.0), 1), '5': (-4.0, (3.0, pytest.approx(2**0.5)), 2), '6': (-2.0, (1.0, 0.0), 1),
        'without x': (6.0, (9.0, 0.0), 1)}
