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

RELU = modern.RUNGS[5]['net']
AFFINE = modern.RUNGS[4]['distortions']
DISTILL = dict(width=2, teachers=2, teacher_passes=1, copies=3, temperature=2.0, weight=0.7)
ON_THIS_MACHINE = runs.on_this_machine
TINY = ('--dataset', 'mnist-seed7', '--jobs', '1')


@pytest.fixture
def ladder(tmp_path, monkeypatch):
    """A folder with a tiny data set, rungs of two passes, and runs one after the other in this process."""
    write_digits(tmp_path, 'mnist-seed7', 50, 20)
    for recipe in *modern.RUNGS, *modern.OFF_LADDER.values():
        monkeypatch.setitem(recipe, 'passes', 2)
    monkeypatch.setitem(modern.RUNGS[8], 'distill', DISTILL)
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
    for recipe in modern.RUNGS:
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
    net, seen = modern.Free(0, 9), []
    for module in net:
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(lambda m, _, out: seen.append(m.weight[0].numel() * out[0].numel()))
    net(random_patterns(2)[0])
    assert modern.macs(net) == sum(seen)


def test_the_smaller_net_for_scale_is_as_large_as_the_papers_parameters_allow():
    small, large = (sum(p.numel() for p in modern.Free(0, width).parameters()) for width in (9, 10))
    assert small <= repro.Net().counts()['all'][2] < large


def test_a_teachers_settings_are_part_of_what_was_run(monkeypatch):
    before = modern.fingerprint(modern.RUNGS[8])
    assert modern.fingerprint(modern.RUNGS[8] | {'source': 'a friend'}) == before
    monkeypatch.setitem(modern.OFF_LADDER['3x3 windows, width 16'], 'rate', 0.5)
    assert modern.fingerprint(modern.RUNGS[8]) != before


# the rungs

def test_the_first_rung_is_repro_py():
    X, Y = random_patterns(30)
    net, training = repro.build(repro.RECIPES['reference'] | {'passes': 2}, 5)
    list(repro.train(net, X, Y, **training))
    found, *_ = modern.train({**modern.RUNGS[0], 'passes': 2}, X, Y, 5)
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


@pytest.mark.parametrize('n', range(2, 8))
def test_a_minibatch_rungs_loss_images_and_rates(n, monkeypatch):
    """Two passes by modern.train, and by hand with the same random numbers."""
    recipe, (X, Y) = {**modern.RUNGS[n], 'passes': 2, 'batch': 16, 'rate': 0.01}, random_patterns(40)
    distorted, rates, distort = [], [], modern.distort
    monkeypatch.setattr(modern, 'distort', lambda X, **a: distorted.append(sorted(a)) or distort(X, **a))
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]['lr']))
    found, *_ = modern.train(recipe, X, Y, 3)
    hook.remove()
    affine = ['rotation', 'scale', 'shear', 'shift']
    assert distorted == ([] if n < 4 else [affine if n < 6 else ['elastic', *affine]] * 2)       # anew for each pass
    assert rates == [0.01 if n < 3 else 0.01 * modern.one_cycle(step / 6, 0.15) for step in range(6)]

    torch.manual_seed(3)
    net = modern.made(recipe['net'], 3)
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    for n_pass in range(2):
        images = distort(X, **recipe['distortions']) if recipe['distortions'] else X
        for step, batch in enumerate(torch.randperm(40).split(16), 3 * n_pass):
            optimizer.param_groups[0]['lr'] = rates[step]
            log_p = net(images[batch]).log_softmax(1)
            optimizer.zero_grad()
            (-log_p[Y[batch] > 0].sum() / len(batch)).backward()
            optimizer.step()
    for p, q in zip(found.parameters(), net.parameters()):
        assert torch.allclose(p, q, atol=1e-4)


def test_each_idea_is_one_change():
    keys = [{key for key in above if above[key] != below[key]} - {'idea', 'source', 'rate', 'passes'}
            for below, above in zip(modern.RUNGS, modern.RUNGS[1:])]
    assert keys == [{'net'}, {'optimizer', 'batch'}, {'schedule'}, {'distortions'}, {'net'}, {'distortions'}, set(),
                    {'distill'}]
    assert modern.RUNGS[7]['passes'] > modern.RUNGS[6]['passes']
    for changes in modern.WITHOUT.values():
        assert any(modern.RUNGS[modern.ABLATED][key] != value for key, value in changes.items() if key != 'rate')


def test_passes_are_fewer_over_many_more_digits():
    counts = [[modern.passes({'passes': n}, size) for n in (10, 23, 40, 250)] for size in (5833, 7291, 60000)]
    assert counts == [[10, 23, 40, 250]] * 2 + [[10, 23, 23, 62]]


def test_one_cycle_goes_up_and_down_to_nothing():
    rates = [modern.one_cycle(i / 100, 0.15) for i in range(101)]
    assert rates[0] == 0 and max(rates) == rates[15] == 1 and rates[100] == pytest.approx(0)
    assert rates[:16] == sorted(rates[:16]) and rates[15:] == sorted(rates[15:], reverse=True)


@pytest.mark.parametrize('n, changes', [
    (0, {'optimizer': modern.RUNGS[2]['optimizer']}), (1, {'distortions': {'shift': 1}}), (1, {'distill': DISTILL}),
    (1, {'schedule': modern.RUNGS[3]['schedule']}), (0, {'batch': 128}), (5, {'net': {'name': 'repro.Net'}}),
    (5, {'optimiser': None})])
def test_a_recipe_of_which_training_would_ignore_a_part_is_refused(n, changes):
    with pytest.raises(ValueError):
        modern.train({**modern.RUNGS[n], 'passes': 1, **changes}, *random_patterns(10), 0)


def test_the_compiled_engine_refuses_a_net_that_it_does_not_compute():
    pytest.importorskip('support.backprop')
    with pytest.raises(ValueError):
        modern.train({**modern.RUNGS[1], 'passes': 1, 'net': RELU}, *random_patterns(10), 0)


# ideas that take more than a setting

def test_cost_is_the_cross_entropy_and_the_teachers_softened():
    g = torch.Generator().manual_seed(0)
    logits, said, t = torch.randn(6, 10, generator=g), torch.randn(6, 10, generator=g), torch.eye(10)[:6]
    hard = -(t * logits.log_softmax(1)).sum(1).mean()
    assert modern.cost(logits, t).item() == pytest.approx(hard.item(), rel=1e-5)
    p, q = (said / 3).softmax(1), (logits / 3).softmax(1)
    soft = -(p * q.log()).sum(1).mean() * 9
    assert modern.cost(logits, t, said, 0.25, 3.0).item() == pytest.approx((0.75 * hard + 0.25 * soft).item(), rel=1e-5)


@pytest.fixture
def taught(tmp_path, monkeypatch):
    """A recipe with small teachers, whose answers are kept in a folder of the test's."""
    monkeypatch.chdir(tmp_path)
    return {**modern.RUNGS[8], 'passes': 4, 'distill': DISTILL}


def test_teachers_are_trained_on_the_students_digits_and_no_others(taught, monkeypatch):
    X, Y = random_patterns(30)
    seen, train = [], modern.train
    monkeypatch.setattr(modern, 'train', lambda recipe, *args: seen.append((recipe, *args)) or train(recipe, *args))
    modern.train(taught, X, Y, 5)
    (recipe, *_), *teachers = seen
    assert recipe is taught and [seed for *_, seed in teachers] == [0, 1]
    for recipe, x, y, _ in teachers:
        assert x is X and y is Y and recipe['net'] == {'name': 'Free', 'width': 2} and recipe['distill'] is None
        assert (recipe['passes'], recipe['distortions']) == (1, taught['distortions'])
    modern.train(taught, X, Y, 6)                                        # another seed: the same teachers
    assert len(seen) == 4
    x = X.clone()
    x[0, 0, 0, 0] = 0.5                                                  # other digits: other teachers
    modern.train(taught, x, Y, 5)
    assert len(seen) == 7
    modern.train({**taught, 'distortions': AFFINE}, X, Y, 5)
    assert len(seen) == 10


def test_lessons_are_what_the_teachers_say_of_what_the_student_sees(taught, monkeypatch):
    X, Y = random_patterns(30)
    said, seconds = modern.lessons(taught['distill'], taught['distortions'], X, Y, 4)
    assert said.shape == (3, 30, 10) and seconds > 0
    recipe = {**modern.OFF_LADDER['3x3 windows, width 16'], 'net': {'name': 'Free', 'width': 2}, 'passes': 1,
              'distortions': taught['distortions']}
    nets = [modern.train(recipe, X, Y, seed)[0].eval() for seed in (0, 1)]
    seen, used, cost, forward = [], [], modern.cost, modern.Net.forward
    monkeypatch.setattr(modern, 'cost', lambda out, t, *lesson: used.append(lesson) or cost(out, t, *lesson))
    monkeypatch.setattr(modern.Net, 'forward', lambda net, x: seen.append(x) or forward(net, x))
    modern.train(taught, X, Y, 5)
    assert len(seen) == len(used) == 4
    for x, (logits, weight, temperature) in zip(seen, used):
        with torch.no_grad():
            assert torch.allclose(sum(net(x) for net in nets) / 2, logits, atol=5e-3)     # kept with half precision
        assert (weight, temperature) == (0.7, 2.0)
    assert torch.equal(seen[0].sort(0).values, seen[3].sort(0).values)   # of three copies, the first again
    assert not torch.equal(seen[0].sort(0).values, seen[1].sort(0).values)


def test_distillation_is_the_same_with_teachers_new_or_kept(taught):
    first, again = (modern.train(taught, *random_patterns(30), 5)[0] for _ in range(2))
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters()))


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


@pytest.mark.parametrize('most, matrix', [
    (dict(shift=2), [[1, 0, 0.25], [0, 1, 0.25]]), (dict(shift=0, rotation=90), [[0, -1, 0], [1, 0, 0]]),
    (dict(shift=0, scale=0.5), [[1.5, 0, 0], [0, 1.5, 0]]), (dict(shift=0, shear=0.5), [[1, 0.5, 0], [0, 1, 0]])])
def test_a_distortion_is_its_affine_map(most, matrix, monkeypatch):
    X, _ = random_patterns(3)
    monkeypatch.setattr(torch, 'rand', lambda n: torch.ones(n))          # as far as it goes
    grid = F.affine_grid(torch.tensor(matrix, dtype=torch.float32).expand(3, 2, 3), X.shape, align_corners=False)
    expected = (F.grid_sample(X + 1, grid, mode='bicubic', align_corners=False) - 1).clamp(-1, 1)
    assert torch.allclose(modern.distort(X, **most), expected, atol=1e-4)


def test_every_digit_is_distorted_anew_and_stays_in_range():
    X = random_patterns(1)[0].expand(20, 1, 16, 16)
    torch.manual_seed(0)
    Z = modern.distort(X, **modern.RUNGS[6]['distortions'])
    assert Z.shape == X.shape and Z.abs().max() <= 1
    assert len({tuple(z.flatten().tolist()) for z in Z}) == 20


def test_elastic_distortion_is_a_bicubic_surface_over_a_4x4_grid(monkeypatch):
    X, _ = random_patterns(3)
    grids, grid_sample, draws = [], F.grid_sample, torch.randn(3, 2, 16)
    monkeypatch.setattr(torch, 'randn', lambda *shape: draws.view(shape))
    monkeypatch.setattr(F, 'grid_sample', lambda x, grid, **a: grids.append(grid) or grid_sample(x, grid, **a))
    modern.distort(X, shift=0, elastic=0.4)
    still = F.affine_grid(torch.eye(2, 3).expand(3, 2, 3), X.shape, align_corners=False)
    moved = F.interpolate(draws.view(3, 2, 4, 4) * 0.4 / 8, (16, 16), mode='bicubic', align_corners=True)
    assert torch.allclose(grids[0], still + moved.permute(0, 2, 3, 1), atol=1e-6)


def test_a_distorted_copy_is_the_same_whatever_the_global_generator_and_leaves_it_alone():
    X, _ = random_patterns(4)
    torch.manual_seed(0)
    a, before = modern.distorted_copy(X, AFFINE, 3), torch.random.get_rng_state()
    torch.rand(5)
    assert torch.equal(a, modern.distorted_copy(X, AFFINE, 3))
    assert not torch.equal(a, modern.distorted_copy(X, AFFINE, 4))
    torch.manual_seed(0)
    assert torch.equal(torch.random.get_rng_state(), before)


# what is measured on what

def test_a_run_trains_on_the_training_digits_and_measures_on_the_others(monkeypatch):
    digits, test, used, measure = random_patterns(30, 1), random_patterns(12, 2), [], modern.measure
    monkeypatch.setattr(modern, 'load', lambda dataset: {'train': digits, 'test': test})
    monkeypatch.setattr(modern, 'others', lambda: None)
    monkeypatch.setattr(modern, 'train', lambda recipe, X, Y, seed: used.append(X) or (modern.Net(0), 1.0, 2.0))
    monkeypatch.setattr(modern, 'measure', lambda net, X, Y: used.append(X) or measure(net, X, Y))
    row = modern.one_run(modern.recipes(), 'mnist', '3', '', 0)
    assert [x is expected for x, expected in zip(used, (digits[0], digits[0], test[0]), strict=True)] == [True] * 3
    assert (row['n'], row['error'], row['seconds'], row['teacher_seconds']) == (12, 100 * row['misses'] / 12, 1.0, 2.0)
    loss = F.cross_entropy(modern.Net(0)(test[0]), test[1].argmax(1))
    assert row['loss'] == pytest.approx(loss.item(), rel=1e-5)


def test_evaluation_neither_distorts_nor_depends_on_the_batch(monkeypatch):
    X, Y = random_patterns(40)
    net, *_ = modern.train({**modern.OFF_LADDER['3x3 windows, width 16'], 'passes': 1}, X, Y, 0)
    monkeypatch.setattr(modern, 'distort', None)
    state = {name: t.clone() for name, t in net.state_dict().items()}    # of its batch normalization as well
    assert modern.measure(net, X, Y)[0] == sum(modern.measure(net, x, y)[0] for x, y in zip(X.split(1), Y.split(1)))
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in state.items())


def test_others_are_the_test_digits_outside_the_draw(tmp_path, monkeypatch, any_digits):
    monkeypatch.chdir(tmp_path)
    modern.others.cache_clear()
    assert modern.others() is None                                       # mnist60k is not there
    X, Y = random_patterns(30)
    X[7] = X[3]                                                          # there twice, drawn once
    everything = {'train': random_patterns(5), 'test': (X, Y)}
    files.save_digits('mnist60k', everything)
    drawn = [20, 3, 11]
    files.save_digits('mnist', {'train': random_patterns(5), 'test': (X[drawn], Y[drawn])})
    modern.others.cache_clear()
    left = [i for i in range(30) if i not in drawn]
    found, labels = modern.others()
    assert torch.equal(found, X[left]) and torch.equal(labels, Y[left])
    modern.load.cache_clear()
    modern.others.cache_clear()
    files.save_digits('mnist', {'train': random_patterns(5), 'test': random_patterns(3, 9)})
    assert modern.others() is None                                       # other digits
    modern.others.cache_clear()


def test_misses_counts():
    _, Y = random_patterns(10)
    assert modern.measure(torch.nn.Flatten(), Y, Y)[0] == 0
    assert modern.measure(torch.nn.Flatten(), Y.roll(1, 1), Y)[0] == 10


# the script

def test_all_rungs_and_ablations_run_and_are_not_run_twice(ladder, monkeypatch):
    first = call(modern, *TINY, '--without', '--off', '--seeds', '0', cwd=ladder)
    assert (first.status, first.err) == (0, [])
    found = rows(ladder / 'out' / 'modern.csv')
    assert [row['rung'] for row in found] == [*map(str, range(9)), *(f'without {idea}' for idea in modern.WITHOUT),
                                              *modern.OFF_LADDER]
    assert all((row['parameters'], row['macs']) == (9760, 63_660) for row in found if row['rung'][0] != '3' or
               row['rung'] == '3')
    assert all(row['n'] == 20 for row in found)
    assert len(list((ladder / 'out' / 'teachers').iterdir())) == DISTILL['teachers']
    assert all((row['train_error'], row['error']) == (2 * row['train_misses'], 5 * row['misses']) for row in found)
    monkeypatch.setattr(modern, 'train', None)
    assert call(modern, *TINY, '--without', '--off', '--seeds', '0', cwd=ladder).out == first.out
    assert max(map(len, first.out.splitlines())) <= 80


@pytest.mark.slow
def test_the_rows_are_the_same_with_any_number_of_jobs(ladder, monkeypatch):
    argv = '--dataset', 'mnist-seed7', '--rungs', '1,7,8', '--seeds', '3-4'
    assert call(modern, *argv, '--out', 'one.csv', cwd=ladder).status == 0
    monkeypatch.setattr(runs, 'on_this_machine', ON_THIS_MACHINE)        # of two passes too: recipes go with the jobs
    assert call(modern, *argv, '--out', 'two.csv', '--jobs', '2', cwd=ladder).status == 0
    assert untimed(rows(ladder / 'one.csv')) == untimed(rows(ladder / 'two.csv'))


def test_the_seed_decides():
    recipe, (X, Y) = {**modern.RUNGS[7], 'passes': 1}, random_patterns(30)
    a, b, c = (modern.train(recipe, X, Y, seed)[0] for seed in (3, 3, 4))
    assert torch.equal(a.H2w, b.H2w) and not torch.equal(a.H2w, c.H2w)


def test_a_change_of_settings_is_another_run(ladder, monkeypatch):
    argv = *TINY, '--rungs', '2', '--seeds', '0'
    call(modern, *argv, cwd=ladder)
    monkeypatch.setitem(modern.RUNGS[2], 'rate', 0.002)
    done = call(modern, *argv, cwd=ladder)
    old, new = rows(ladder / 'out' / 'modern.csv')
    assert modern.read(str(ladder / 'out' / 'modern.csv')) == [new]
    assert old['settings'] != new['settings'] and f'{new["error"]:.2f}' in done.out.splitlines()[1].split()


@pytest.mark.parametrize('argv, word', [
    (['--rungs', '9'], '0 to 8'), (['--rungs', 'two'], 'rungs'), (['--show', '9'], 'show'),
    (['--seeds', '4-2'], 'seeds'), (['--dataset', 'mine'], 'dataset'), (['--jobs', '0'], 'jobs')])
def test_bad_arguments(ladder, argv, word):
    done = call(modern, *argv, cwd=ladder)
    assert done.status == 2 and word in done.err[-1] and not (ladder / 'out').exists()


def test_show_has_every_setting_and_the_teachers(ladder):
    said = call(modern, '--show', '8', cwd=ladder)
    assert [line.split()[0] for line in said.out.splitlines()] == [*modern.RUNGS[8], 'teacher']


def test_missing_digits_are_one_line(ladder):
    done = call(modern, cwd=ladder)
    assert done.status == 1 and len(done.err) == 1 and 'prepro.py' in done.err[0] and not (ladder / 'out').exists()


def test_change_is_from_the_rung_below_and_an_ablations_from_the_top():
    def row(name, seed, error):
        return dict.fromkeys(modern.VALUES, 1.0) | dict(rung=name, seed=seed, error=error)
    found = modern.summary([row('without ReLU', 0, 9.0), row('7', 0, 2.0), row('7', 1, 4.0), row('8', 0, 1.0),
                            row('6', 0, 7.0), row('6', 1, math.nan)])
    assert {name: (s['change'], s['error'], s['n'], s['diverged']) for name, s in found.items()} == {
        '6': (None, (7.0, None), 1, 1), '7': (-4.0, (3.0, pytest.approx(2**0.5)), 2, 0), '8': (-2.0, (1.0, None), 1, 0),
        'without ReLU': (6.0, (9.0, None), 1, 0)}
