"""modern.py: its net is that of 1989, a rung does what it says, nothing is chosen or measured on the wrong digits."""
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import call, random_patterns, write_digits
from torch.optim.optimizer import register_optimizer_step_pre_hook

import modern
import repro
from support import files, runs

RELU = modern.RUNGS[4]['net']
ON_THIS_MACHINE = runs.on_this_machine
TINY = ('--dataset', 'mnist-seed7', '--jobs', '1')


@pytest.fixture
def ladder(tmp_path, monkeypatch):
    """A folder with a tiny data set, rungs of two passes, and runs one after the other in this process."""
    write_digits(tmp_path, 'mnist-seed7', 50, 20)
    for recipe in modern.RUNGS:
        monkeypatch.setitem(recipe, 'passes', 2)
    monkeypatch.setattr(runs, 'on_this_machine', lambda workers, threads: ON_THIS_MACHINE(1, threads=True))
    modern.load.cache_clear()
    yield tmp_path
    modern.load.cache_clear()


def rows(path):
    return runs.read_rows(str(path), modern.KEY, modern.VALUES, modern.WORDS)


def untimed(rows):
    return sorted(str({**row, 'seconds': None}) for row in rows)


# the net

def test_parameters_and_cost_are_those_of_1989():
    shapes = {name: p.shape for name, p in repro.Net().named_parameters()}
    for recipe in modern.RUNGS[:7]:
        net = modern.made(recipe['net'], 0)
        assert {name: p.shape for name, p in net.named_parameters()} == shapes
        assert sum(p.numel() for p in net.parameters()) == 9760
        assert modern.macs(net) == 64_660 - 1_000                        # a connection each for 1,000 biases


def test_its_layers_are_those_of_1989_and_its_outputs_logits():
    X, _ = random_patterns(7)
    *hidden, logits = modern.Net(3).layers(X)
    for found, expected in zip((*hidden, torch.tanh(logits)), repro.Net(3, out_bias=0.0).layers(X), strict=True):
        assert found.shape == expected.shape and torch.allclose(found, expected, atol=1e-6)


def test_another_unit_and_border_in_the_same_connections():
    net = modern.made(RELU, 3)
    X, _ = random_patterns(7)
    with torch.no_grad():
        net.H2b.uniform_(-0.2, 0.2)
        x = F.relu(F.conv2d(F.pad(X, (2, 2, 2, 2), value=-1.0), net.H1w, stride=2) + net.H1b)
        x = F.conv2d(F.pad(x, (2, 2, 2, 2))[:, sum(net.table, [])], net.H2w, stride=2, groups=12)
        x = F.relu(F.relu(x + net.H2b).flatten(1) @ net.H3w + net.H3b)
        assert torch.allclose(net(X), x @ net.outw + net.outb, atol=1e-5)


def test_he_weights_have_their_variance():
    net = modern.made(RELU, 0)
    for w, fan_in in (net.H1w, 25), (net.H2w, 200), (net.H3w, 192), (net.outw, 30):
        assert w.std().item() == pytest.approx((2 / fan_in)**0.5, rel=0.15)
        assert w.min() < -2 * w.std()           # normal, not uniform: that ends at 1.73


def test_multiply_adds_of_the_net_for_scale():
    net, seen = modern.made(modern.RUNGS[7]['net'], 0), []
    for module in net:
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(lambda m, _, out: seen.append(m.weight[0].numel() * out[0].numel()))
    net(random_patterns(2)[0])
    assert modern.macs(net) == sum(seen)


# the rungs

def test_the_first_rung_is_repro_py():
    X, Y = random_patterns(30)
    net, training = repro.build(repro.RECIPES['reference'] | {'passes': 2}, 5)
    list(repro.train(net, X, Y, **training))
    found, _ = modern.train({**modern.RUNGS[0], 'passes': 2}, X, Y, 5)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), found.parameters()))


def test_compiled_softmax_is_autograds_cross_entropy():
    backprop = pytest.importorskip('support.backprop')
    X, Y = random_patterns(40)
    net, plain = modern.Net(4), modern.Net(4)
    for name, p in net.named_parameters():      # biases that are 0 would hide one that is not read
        if name.endswith('b'):
            p.data.uniform_(-0.3, 0.3)
    plain.load_state_dict(net.state_dict())
    for engine, trained in (backprop, net), (repro, plain):
        assert engine.train_pass(trained, X, Y, dict.fromkeys(net.state_dict(), 0.05), range(40)) == 40
    for name, p in net.named_parameters():
        assert torch.allclose(p, plain.get_parameter(name), atol=2e-6), name
    assert not torch.allclose(net.outw, modern.Net(4).outw, atol=1e-3)
    net.outb.data[:] = 300 * torch.arange(10)   # exp of such sums is infinite
    assert backprop.train_pass(net, X, Y, dict.fromkeys(net.state_dict(), 0.01), range(5)) == 5


@pytest.mark.parametrize('n', [2, 5, 7, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 4, 6))])
def test_a_minibatch_rungs_loss_images_and_rates(n, monkeypatch):
    losses, distorted, rates = [], [], []
    cross_entropy, distort = F.cross_entropy, modern.distort

    def spy_loss(out, labels, label_smoothing):
        assert out.shape == (len(labels), 10) and labels.dtype == torch.int64
        losses.append(label_smoothing)
        return cross_entropy(out, labels, label_smoothing=label_smoothing)
    monkeypatch.setattr(F, 'cross_entropy', spy_loss)
    monkeypatch.setattr(modern, 'distort', lambda X, **a: distorted.append(sorted(a)) or distort(X, **a))
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]['lr']))
    modern.train({**modern.RUNGS[n], 'passes': 2, 'batch': 16}, *random_patterns(40), 0)
    hook.remove()
    assert losses == [0.0 if n < 5 else 0.05] * 6
    affine = ['rotation', 'scale', 'shear', 'shift']
    assert distorted == ([] if n == 2 else [affine if n < 5 else ['elastic', *affine]] * 2)      # anew for each pass
    assert rates == [modern.RUNGS[n]['rate'] * modern.one_cycle(step / 6, 0.15) for step in range(6)]


def test_each_idea_is_one_change():
    keys = [{key for key in above if above[key] != below[key]} - {'idea', 'source', 'rate', 'passes'}
            for below, above in zip(modern.RUNGS, modern.RUNGS[1:])]
    assert keys == [{'net'}, {'optimizer', 'schedule', 'batch'}, {'distortions'}, {'net'}, {'distortions', 'smoothing'},
                    {'data'}, {'net'}]
    for changes in modern.WITHOUT.values():
        assert any(modern.RUNGS[modern.TOP][key] != value for key, value in changes.items() if key != 'rate')


def test_one_cycle_goes_up_and_down_to_nothing():
    rates = [modern.one_cycle(i / 100, 0.15) for i in range(101)]
    assert rates[0] == 0 and max(rates) == rates[15] == 1 and rates[100] == pytest.approx(0)
    assert rates[:16] == sorted(rates[:16]) and rates[15:] == sorted(rates[15:], reverse=True)


@pytest.mark.parametrize('n, changes', [
    (0, {'optimizer': modern.RUNGS[2]['optimizer']}), (1, {'distortions': {'shift': 1}}), (1, {'smoothing': 0.1}),
    (1, {'schedule': modern.RUNGS[2]['schedule']}), (0, {'batch': 128}), (5, {'net': {'name': 'repro.Net'}}),
    (5, {'optimiser': None})])
def test_a_recipe_of_which_training_would_ignore_a_part_is_refused(n, changes):
    with pytest.raises(ValueError):
        modern.train({**modern.RUNGS[n], 'passes': 1, **changes}, *random_patterns(10), 0)


def test_the_compiled_engine_refuses_a_net_that_it_does_not_compute():
    pytest.importorskip('support.backprop')
    with pytest.raises(ValueError):
        modern.train({**modern.RUNGS[1], 'passes': 1, 'net': RELU}, *random_patterns(10), 0)


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


def test_a_rotation_turns_by_its_degrees(monkeypatch):
    X, _ = random_patterns(3)
    draws = iter([torch.ones(3), *[torch.full((3,), 0.5)] * 4])          # as far as it goes, then nothing
    monkeypatch.setattr(torch, 'rand', lambda n: next(draws))
    assert torch.allclose(modern.distort(X, shift=0, rotation=90), X.rot90(1, (2, 3)), atol=1e-4)


def test_every_digit_is_distorted_anew_and_stays_in_range():
    X = random_patterns(1)[0].expand(20, 1, 16, 16)
    torch.manual_seed(0)
    Z = modern.distort(X, **modern.RUNGS[5]['distortions'])
    assert Z.shape == X.shape and Z.abs().max() <= 1
    assert len({tuple(z.flatten().tolist()) for z in Z}) == 20


# what is measured on what

def test_validation_digits_never_meet_training(monkeypatch):
    train = torch.arange(23.).view(23, 1, 1, 1), random_patterns(23)[1]
    monkeypatch.setattr(modern, 'load', lambda dataset: {'train': train})         # there are no test digits to touch
    measured = []
    for fold in range(modern.FOLDS):
        (X, _), (held_out, _) = modern.digits('mnist', None, 'validation', fold)
        X, held_out = X.flatten().tolist(), held_out.flatten().tolist()
        assert sorted(X + held_out) == list(range(23))
        assert held_out == list(range(int(held_out[0]), int(held_out[-1]) + 1))   # a block: writers stay together
        measured += held_out
    assert measured == list(range(23))


def test_a_run_trains_and_measures_on_what_digits_says(monkeypatch):
    data, used, misses = (random_patterns(30, 1), random_patterns(12, 2)), [], modern.misses
    monkeypatch.setattr(modern, 'digits', lambda *args: data)
    monkeypatch.setattr(modern, 'train', lambda recipe, X, Y, seed: used.append(X) or (modern.Net(0), 1.0))
    monkeypatch.setattr(modern, 'misses', lambda net, X, Y: used.append(X) or misses(net, X, Y))
    row = modern.one_run(modern.recipes(), 'mnist', 'test', '3', '', 0)
    assert [X is expected for X, expected in zip(used, (data[0][0], data[0][0], data[1][0]), strict=True)] == [True] * 3
    assert (row['n'], row['error']) == (12, 100 * row['misses'] / 12)


def test_evaluation_neither_distorts_nor_depends_on_the_batch(monkeypatch):
    X, Y = random_patterns(40)
    net, _ = modern.train({**modern.RUNGS[7], 'passes': 1}, X, Y, 0)     # with batch normalization
    monkeypatch.setattr(modern, 'distort', None)
    state = {name: t.clone() for name, t in net.state_dict().items()}
    assert modern.misses(net, X, Y) == sum(modern.misses(net, x, y) for x, y in zip(X.split(1), Y.split(1)))
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in state.items())


def test_misses_counts():
    _, Y = random_patterns(10)
    assert modern.misses(torch.nn.Flatten(), Y, Y) == 0
    assert modern.misses(torch.nn.Flatten(), Y.roll(1, 1), Y) == 10


# the script

def test_all_rungs_and_ablations_run_and_are_not_run_twice(ladder, monkeypatch):
    first = call(modern, *TINY, '--without', '--seeds', '0', cwd=ladder)
    assert (first.status, first.err) == (0, [])
    found = rows(ladder / 'out' / 'modern.csv')
    assert [row['rung'] for row in found] == [*map(str, range(6)), *(f'without {idea}' for idea in modern.WITHOUT)]
    assert all((row['parameters'], row['n'], row['split']) == (9760, 20, 'test') for row in found)
    assert all((row['train_error'], row['error']) == (2 * row['train_misses'], 5 * row['misses']) for row in found)
    monkeypatch.setattr(modern, 'train', None)
    assert call(modern, *TINY, '--without', '--seeds', '0', cwd=ladder).out == first.out
    assert max(map(len, first.out.splitlines())) <= 80


@pytest.mark.slow
def test_the_rows_are_the_same_with_any_number_of_jobs(ladder, monkeypatch):
    argv = '--dataset', 'mnist-seed7', '--rungs', '1,5', '--seeds', '3-4'
    assert call(modern, *argv, '--out', 'one.csv', cwd=ladder).status == 0
    monkeypatch.setattr(runs, 'on_this_machine', ON_THIS_MACHINE)        # of two passes too: recipes go with the jobs
    assert call(modern, *argv, '--out', 'two.csv', '--jobs', '2', cwd=ladder).status == 0
    assert untimed(rows(ladder / 'one.csv')) == untimed(rows(ladder / 'two.csv'))


def test_the_seed_decides():
    recipe, (X, Y) = {**modern.RUNGS[5], 'passes': 1}, random_patterns(30)
    a, b, c = (modern.train(recipe, X, Y, seed)[0] for seed in (3, 3, 4))
    assert torch.equal(a.H2w, b.H2w) and not torch.equal(a.H2w, c.H2w)


def test_a_change_of_settings_is_another_run(ladder, monkeypatch):
    argv = *TINY, '--rungs', '2', '--seeds', '0'
    call(modern, *argv, cwd=ladder)
    monkeypatch.setitem(modern.RUNGS[2], 'rate', 0.001)
    done = call(modern, *argv, cwd=ladder)
    old, new = rows(ladder / 'out' / 'modern.csv')
    assert modern.read(str(ladder / 'out' / 'modern.csv')) == [new]
    assert old['settings'] != new['settings'] and done.out.splitlines()[1].split()[-4] == f'{new["error"]:.2f}'


def test_validation_rows_stay_apart_from_test_rows(ladder):
    for argv in (), ('--validate',):
        assert call(modern, *TINY, '--rungs', '1', '--seeds', '0', *argv, cwd=ladder).status == 0
    assert [(row['split'], row['n']) for row in rows(ladder / 'out' / 'modern.csv')] == [('test', 20),
                                                                                         ('validation', 10)]


def test_rungs_on_all_of_mnist(ladder, monkeypatch):
    done = call(modern, *TINY, '--rungs', '5-7', '--seeds', '0', cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and '--dataset mnist60k' in done.err[0]
    assert not (ladder / 'out').exists()
    splits = write_digits(ladder, 'mnist60k', 90, 30)
    monkeypatch.setitem(files.LABELS_SHA256, 'mnist60k', files.labels_sha256(splits))
    done = call(modern, *TINY, '--rungs', '5-7', '--seeds', '0', cwd=ladder)
    assert (done.status, done.err) == (0, [])
    found = rows(ladder / 'out' / 'modern.csv')
    assert [(row['rung'], row['n']) for row in found] == [('5', 20), ('6', 20), ('7', 20)]       # the same test digits
    assert [row['train_error'] for row in found] == [pytest.approx(100 * row['train_misses'] / n, rel=1e-5)
                                                     for row, n in zip(found, (50, 90, 90))]


def test_a_run_that_diverges_is_a_row(ladder, monkeypatch):
    for key, value in dict(optimizer={'name': 'SGD'}, rate=1e38, batch=10).items():
        monkeypatch.setitem(modern.RUNGS[2], key, value)
    done = call(modern, *TINY, '--rungs', '1-3', '--seeds', '0', cwd=ladder)
    assert (done.status, done.err) == (0, [])
    assert [math.isnan(row['error']) for row in rows(ladder / 'out' / 'modern.csv')] == [False, True, False]
    assert '1 diverged' in done.out and 'nan' not in done.out


def test_show_prints_every_setting_of_a_rung(ladder):
    done = call(modern, '--show', '5', cwd=ladder)
    assert [line.split()[0] for line in done.out.splitlines()] == list(modern.RUNGS[5])
    assert "'elastic': 0.4" in done.out and not (ladder / 'out').exists()


@pytest.mark.parametrize('argv, word', [
    (['--rungs', '8'], '0 to 7'), (['--rungs', 'two'], 'rungs'), (['--show', '8'], 'show'),
    (['--seeds', '4-2'], 'seeds'), (['--validate', '--seeds', '5'], 'folds 0 to 4'),
    (['--dataset', 'usps', '--rungs', '6'], 'usps'), (['--dataset', 'mnist60k'], 'dataset'),
    (['--dataset', 'mine'], 'dataset'), (['--jobs', '0'], 'jobs')])
def test_bad_arguments(ladder, argv, word):
    done = call(modern, *argv, cwd=ladder)
    assert done.status == 2 and word in done.err[-1] and not (ladder / 'out').exists()


def test_missing_digits_are_one_line(ladder):
    done = call(modern, cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and 'prepro.py' in done.err[0] and not (ladder / 'out').exists()


def test_change_is_from_the_rung_below_and_an_ablations_from_the_top():
    def row(name, seed, error):
        return dict.fromkeys(modern.VALUES, 1.0) | dict(rung=name, seed=seed, error=error)
    found = modern.summary([row('without ReLU', 0, 9.0), row('5', 0, 2.0), row('5', 1, 4.0), row('6', 0, 1.0),
                            row('4', 0, 7.0), row('4', 1, math.nan)])
    assert {name: (s['change'], s['error'], s['n'], s['diverged']) for name, s in found.items()} == {
        '4': (None, (7.0, None), 1, 1), '5': (-4.0, (3.0, pytest.approx(2**0.5)), 2, 0), '6': (-2.0, (1.0, None), 1, 0),
        'without ReLU': (6.0, (9.0, None), 1, 0)}
