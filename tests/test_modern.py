"""modern.py: its net is that of 1989, a rung does what it says, and the script prints and writes what it should."""
import json
import math
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY, call, files, random_patterns
from torch.optim.optimizer import register_optimizer_step_pre_hook

import modern
import repro


def last_net(r, X, Y, seed):
    return list(modern.train(r, X, Y, seed))[-1][-1]


# the net

@pytest.mark.parametrize('relu', [False, True])
def test_its_connections_are_those_of_1989_and_its_outputs_logits(relu):
    net, (X, _) = modern.Net(3, relu), random_patterns(7)
    assert {name: p.shape for name, p in net.named_parameters()} == {
        name: p.shape for name, p in repro.Net().named_parameters()}
    f, background = (F.relu, 0.0) if relu else (torch.tanh, -1.0)
    with torch.no_grad():
        for b in net.H1b, net.H2b, net.H3b:
            b.uniform_(-0.2, 0.2)
        x = f(F.conv2d(F.pad(X, (2, 2, 2, 2), value=-1.0), net.H1w, stride=2) + net.H1b)
        x = F.pad(x, (2, 2, 2, 2), value=background)[:, sum(net.table, [])]
        x = f(F.conv2d(x, net.H2w, stride=2, groups=12) + net.H2b)
        x = f(x.flatten(1) @ net.H3w + net.H3b)
        assert torch.allclose(net(X), x @ net.outw + net.outb, atol=1e-5)


def test_he_weights_have_their_variance():
    net = modern.Net(0, relu=True)
    for w, fan_in in (net.H1w, 25), (net.H2w, 200), (net.H3w, 192), (net.outw, 30):
        assert w.std().item() == pytest.approx((2 / fan_in)**0.5, rel=0.15)
        assert w.min() < -2 * w.std()           # normal, not uniform: that ends at 1.73


# the rungs

def test_rung_0_is_the_default_of_repro_py(short):
    X, Y = random_patterns(30)
    settings = repro.RECIPES['karpathy2022']
    net = repro.build(settings, 5)
    list(repro.train(net, X, Y, **settings['training'] | {'passes': 1}))
    found = last_net(modern.rung(0), X, Y, 5)
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), found.parameters(), strict=True))


def test_each_idea_is_what_its_rung_changes():
    changes = [{name for name, value in asdict(modern.rung(n)).items() if value != asdict(modern.rung(n - 1))[name]}
               for n in range(1, 9)]
    assert [names - {'rate', 'passes'} for names in changes] == [
        {'softmax'}, {'batch', 'adamw'}, {'decay'}, {'distortions'}, {'relu'}, {'distortions'}, set(),
        {'teachers', 'teacher', 'temperature', 'weight'}]


@pytest.mark.parametrize('n', range(2, 9))
def test_a_minibatch_rungs_loss_images_and_rates(n, short, monkeypatch):
    """Two passes by modern.train, and by hand with the same random numbers."""
    r, (X, Y) = replace(modern.rung(n), batch=16, rate=0.01, passes=2), random_patterns(40)
    teachers = [last_net(replace(r, teachers=0, **r.teacher), X, Y, 3 + 1000 * k).eval()
                for k in range(1, r.teachers + 1)]
    distort, distorted, rates = modern.distort, [], []
    monkeypatch.setattr(modern, 'distort', lambda X, **a: distorted.append(set(a)) or distort(X, **a))
    hook = register_optimizer_step_pre_hook(lambda optimizer, *_: rates.append(optimizer.param_groups[0]['lr']))
    found = last_net(r, X, Y, 3)
    hook.remove()
    assert distorted[-2:] == ([] if n < 4 else 2 * [set(modern.AFFINE) | ({'elastic'} if n > 5 else set())])
    t = [step / 6 for step in range(6)]         # up along a line to 15%, then down along half a cosine
    assert rates[-6:] == [0.01 if n == 2 else pytest.approx(
        0.01 * (s / 0.15 if s < 0.15 else (1 + math.cos(math.pi * (s - 0.15) / 0.85)) / 2)) for s in t]

    torch.manual_seed(3)
    net = modern.build(r, 3)
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    for n_pass in range(2):
        x = distort(X, **r.distortions) if r.distortions else X
        for step, i in enumerate(torch.randperm(40).split(16), 3 * n_pass):
            optimizer.param_groups[0]['lr'] = rates[-6:][step]
            p = net(x[i]).log_softmax(1)
            loss = -p[Y[i] > 0].mean()
            if n == 8:
                with torch.no_grad():
                    answers = (torch.stack([teacher(x[i]) for teacher in teachers]).mean(0) / 2).softmax(1)
                soft = -(answers * (net(x[i]) / 2).log_softmax(1)).sum(1).mean()
                loss = 0.3 * loss + 0.7 * 4 * soft
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for p, q in zip(found.parameters(), net.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-4)


def test_passes_are_fewer_over_all_of_mnist():
    r = [replace(modern.rung(0), passes=n) for n in (23, 40, 250)]
    assert [[modern.passes_over(range(n), each) for each in r] for n in (7291, 60000)] == [[23, 40, 250], [23, 23, 62]]


def test_what_is_measured_depends_neither_on_distortions_nor_on_the_batch(short, monkeypatch):
    X, Y = random_patterns(40)
    net = last_net(replace(modern.rung(6), width=16), X, Y, 0)                 # with batch normalization
    monkeypatch.setattr(modern, 'distort', None)
    m = modern.measure(net, X, Y)
    assert m['misses'] == sum(modern.measure(net, x, y)['misses'] for x, y in zip(X.split(1), Y.split(1)))
    assert m['error'] == 100 * m['misses'] / 40
    with torch.no_grad():
        assert m['loss'] == pytest.approx(-net(X).log_softmax(1)[Y > 0].mean().item(), rel=1e-5)


# distortions

@pytest.mark.parametrize('most, matrix', [
    (dict(), [[1, 0, 0], [0, 1, 0]]), (dict(shift=2), [[1, 0, 0.25], [0, 1, 0.25]]),
    (dict(rotation=90), [[0, -1, 0], [1, 0, 0]]), (dict(scale=0.5), [[1.5, 0, 0], [0, 1.5, 0]]),
    (dict(shear=0.5), [[1, 0.5, 0], [0, 1, 0]])])
def test_a_distortion_is_its_affine_map(most, matrix, monkeypatch):
    X, _ = random_patterns(3)
    monkeypatch.setattr(torch, 'rand', torch.ones)                       # as far as it goes
    grid = F.affine_grid(torch.tensor(matrix, dtype=torch.float32).expand(3, 2, 3), X.shape, align_corners=False)
    expected = (F.grid_sample(X + 1, grid, mode='bicubic', align_corners=False) - 1).clamp(-1, 1)
    assert torch.allclose(modern.distort(X, **most), expected, atol=1e-4)


def test_elastic_distortion_is_a_bicubic_surface_over_a_4x4_grid(monkeypatch):
    X, _ = random_patterns(3)
    grids, grid_sample, draws = [], F.grid_sample, torch.randn(3, 2, 16)
    monkeypatch.setattr(torch, 'randn', lambda *shape: draws.view(shape))
    monkeypatch.setattr(F, 'grid_sample', lambda x, grid, **a: grids.append(grid) or grid_sample(x, grid, **a))
    modern.distort(X, elastic=0.4)
    still = F.affine_grid(torch.eye(2, 3).expand(3, 2, 3), X.shape, align_corners=False)
    moved = F.interpolate(draws.view(3, 2, 4, 4) * 0.4 / 8, (16, 16), mode='bicubic', align_corners=True)
    assert torch.allclose(grids[0], still + moved.permute(0, 2, 3, 1), atol=1e-6)


def test_every_digit_is_distorted_anew_and_stays_in_range():
    X = random_patterns(1)[0].expand(20, 1, 16, 16)
    torch.manual_seed(0)
    Z = modern.distort(X, **modern.rung(6).distortions)
    assert Z.shape == X.shape and Z.abs().max() <= 1
    assert len({tuple(z.flatten().tolist()) for z in Z}) == 20


# the script

def test_a_climb_has_a_line_for_each_rung_and_writes_nothing(tiny, short):
    before = files(tiny)
    done = call(modern, '--dataset', TINY, cwd=tiny)
    assert (done.status, done.err) == (0, [])
    head, *lines = done.out.splitlines()
    assert [line[0] for line in lines] == list('01234567') and files(tiny) == before
    X, Y = random_patterns(20, 2)
    misses = modern.measure(last_net(modern.rung(3), *random_patterns(40, 1), 0), X, Y)['misses']
    assert lines[3].split()[-2:] == [f'{5 * misses:.2f}', str(misses)]


@pytest.mark.parametrize('n', [0, 5, 8])
def test_one_rung_prints_repro_pys_lines_and_its_files_give_the_net_again(n, tiny, short):
    done = call(modern, '--dataset', TINY, '--rung', n, '--seed', 4, '-o', 'mine', cwd=tiny)
    assert (done.status, done.err) == (0, [])
    args = json.loads((tiny / 'mine' / 'args.json').read_text())
    assert (args['rung'], args['dataset'], args['seed']) == (n, TINY, 4)
    net = modern.build(modern.Settings(**args['settings']), 0)
    net.load_state_dict(torch.load(tiny / 'mine' / 'model.pt', weights_only=True))
    m = modern.measure(net, *random_patterns(20, 2))
    assert done.out.splitlines()[-1] == (f'eval: split test . loss {m["loss"]:e}. error {m["error"]:.2f}%. '
                                         f'misses: {m["misses"]}')


@pytest.mark.parametrize('argv', [[], ['--rung', 3]])
def test_training_that_diverges_says_so(argv, tiny, short, monkeypatch):
    rung = modern.rung
    monkeypatch.setattr(modern, 'rung', lambda n: replace(rung(n), decay=False, rate=1e30, passes=3))
    done = call(modern, '--dataset', TINY, *argv, cwd=tiny)
    assert done.status == 1 and len(done.err) == 1 and 'diverged' in done.err[0]
    assert not list(tiny.glob('out/*/model.pt'))


def test_show_has_every_setting(tiny):
    lines = call(modern, '--show', 8, cwd=tiny).out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(asdict(modern.rung(8))) and '  weight       0.7' in lines
