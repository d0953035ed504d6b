"""figures.py: each picture is drawn whole, twice the same, and shows its numbers; and what cannot be drawn."""
import csv
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import modern
import repro
from conftest import REPO, call, files, refused, write_digits
from experiments import architecture, compare, figures
from support import runs

BENCH = {'autograd, 1 thread': 0.002, 'engine autograd': 0.0022, 'engine compiled': 1.2e-5, 'arithmetic limit': 4e-6}


def write_csv(path, rows):
    path.parent.mkdir(exist_ok=True)
    with open(path, 'w', newline='') as f:
        writer = csv.DictWriter(f, rows[0], lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def runs_of(dataset, rung, parameters=9760, off=0.0):
    """Three rows of modern.csv."""
    return [dict.fromkeys(modern.KEY + modern.VALUES, 1) | {
        'dataset': dataset, 'rung': rung, 'settings': modern.fingerprint(modern.RUNGS[rung]),
        'seed': seed, 'parameters': parameters, 'error': f'{5 - 0.8 * rung + seed / 10 + off:.6g}'}
            for seed in range(3)]


def draws_of(seeds=2):
    """Rows of compare.csv."""
    return [dict.fromkeys(compare.KEY + compare.VALUES, 1) | {
        'recipe': name, 'settings': runs.fingerprint(compare.RECIPES[name][1]), 'dataset': 'mnist60k', 'seed': seed,
        'test_error': 4 + n / 20 + seed / 10} for n, name in enumerate(compare.TWENTY) for seed in range(seeds)]


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder to draw in: two tiny data sets, and results/ of modern.py and bench.py."""
    cwd = tmp_path_factory.mktemp('figures')
    for dataset in ('mnist', 'usps'):
        write_digits(cwd, dataset, 40, 30)
    write_csv(cwd / 'results' / 'modern.csv', [
        *(row for rung in range(5) for row in runs_of('mnist', rung)),
        *(row for rung in range(5) for row in runs_of('usps', rung, off=1.0)),
        *runs_of('mnist', 5, parameters=24_000)])
    write_csv(cwd / 'results' / 'compare.csv', draws_of())
    write_csv(cwd / 'results' / 'bench.csv', [
        {'what': what, 'seconds': seconds, 'machine': 'A Processor of Some Length, 12th generation @ 3.10GHz, 8 cores'}
        for what, seconds in BENCH.items()])
    return cwd


@pytest.fixture(autouse=True)
def here(place, monkeypatch, any_digits):
    """In that folder, with two seeds and three passes."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(figures, 'SEEDS', range(2))
    for recipe in ('paper', 'reference', 'fc40'):
        monkeypatch.setitem(repro.RECIPES, recipe, repro.RECIPES[recipe] | {'passes': 3})
    yield
    plt.close('all')


@pytest.fixture
def canvases(monkeypatch):
    """The matplotlib figures of what is drawn, in a list."""
    kept, png = [], figures.png
    for module in figures, architecture:
        monkeypatch.setattr(module, 'png', lambda fig: kept.append(fig) or png(fig))
    return kept


def texts(fig):
    return [t.get_text() for t in fig.findobj(plt.Text) if t.get_text() and t.get_visible()]


@pytest.mark.parametrize('name', figures.FIGURES)
def test_no_text_of_a_picture_is_cut_off(name, canvases):
    with Image.open(io.BytesIO(figures.FIGURES[name]())) as image:
        width, height = image.size
    fig, = canvases
    renderer = FigureCanvasAgg(fig).get_renderer()
    hidden = set()                      # the labels of ticks beyond the ends of an axis, and of axes that are not drawn
    for ax in fig.findobj(plt.Axes):
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            hidden |= {tick.label1 for tick in axis.get_major_ticks()
                       if not (ax.axison and low <= tick.get_loc() <= high)}
    for text in fig.findobj(plt.Text):
        if text.get_text().strip() and text.get_visible() and text not in hidden:
            box = text.get_window_extent(renderer)
            assert -1 <= box.x0 and box.x1 <= width + 1 and -1 <= box.y0 and box.y1 <= height + 1, text


@pytest.mark.slow
def test_twice_gives_the_same_bytes(place):
    for out in ('a', 'b'):
        figures.trained.cache_clear()
        run = call(figures, '--out', out, cwd=place)
        assert (run.status, run.err) == (0, [])
    assert files('a') == files('b') == sorted(f'{name}.png' for name in figures.FIGURES)
    for name in files('a'):
        assert (place / 'a' / name).read_bytes() == (place / 'b' / name).read_bytes(), name


# ---------------------------------------------------------------------------------------------------------------------
# what is in them

def test_a_net_is_trained_as_repro_trains_it():
    net, training = repro.build(repro.RECIPES['paper'], 1)
    splits = figures.digits('usps')
    for _ in repro.train(net, *splits['train'], **training):
        pass
    measured = figures.trained('paper', 'usps', 1)[1]
    for split, (X, Y) in splits.items():
        assert {key: values[-1] for key, values in measured[split].items()} == repro.measure(net, X, Y)


@pytest.mark.parametrize('recipe, dataset, label, published', [
    ('paper', 'usps', "USPS, the paper's settings: test", repro.PAPER),
    ('reference', 'mnist', 'MNIST, the settings of 2022: test', repro.REFERENCE)])
def test_curves_are_the_mean_of_the_seeds_and_end_at_what_was_published(recipe, dataset, label, published, canvases):
    figures.draw_curves()
    expected = np.mean([figures.trained(recipe, dataset, s)[1]['test']['loss'] for s in figures.SEEDS], 0)
    line, = [line for line in canvases[0].axes[0].lines if line.get_label() == label]
    assert line.get_ydata() == pytest.approx(expected)
    for ax, key in zip(canvases[0].axes, ('loss', 'error')):
        points = [tuple(line.get_xydata()[0]) for line in ax.lines
                  if len(line.get_xydata()) == 1 and line.get_color() == figures.COLOR[dataset]]
        assert points == [(repro.PASSES, published[f'{split}_{key}']) for split in ('train', 'test')]


def test_wrong_has_each_digit_that_is_wrong_once_most_confident_first(canvases):
    figures.draw_wrong()
    out, labels = figures.tested('paper', 'usps', 0)
    (first, second), answers = out.topk(2).values.T, out.argmax(1)
    shown = [t for t in texts(canvases[0]) if '→' in t and len(t) < 20]
    assert sorted(shown) == sorted(f'{y}→{a}  {g:.1f}' for y, a, g in zip(labels, answers, first - second) if y != a)
    assert [float(t.split()[1]) for t in shown] == sorted((float(t.split()[1]) for t in shown), reverse=True)


def test_confusion_is_the_mean_of_the_seeds(canvases):
    matrix, error = figures.confusion('usps')
    expected = torch.zeros(10, 10)
    for seed in figures.SEEDS:
        out, labels = figures.tested('paper', 'usps', seed)
        for label, answer in zip(labels, out.argmax(1)):
            expected[label, answer] += 1 / len(figures.SEEDS)
    assert matrix == pytest.approx(expected.numpy())
    sizes = labels.bincount(minlength=10)
    assert matrix.sum(1) == pytest.approx(sizes.numpy())
    whole = np.mean([figures.trained('paper', 'usps', seed)[1]['test']['error'][-1] for seed in figures.SEEDS])
    assert (error * sizes.numpy()).sum() / sizes.sum() == pytest.approx(whole)
    figures.draw_confusion()
    off = {f'{matrix[c, a]:.1f}' for c in range(10) for a in range(10) if matrix[c, a]}
    assert off | {f'{e:.1f}' for e in error} <= set(texts(canvases[0]))


def test_architecture_has_the_counts(canvases):
    figures.draw_architecture()
    for numbers in repro.Net().counts().values():
        assert {f'{n:,}' for n in numbers} <= set(texts(canvases[0]))


def test_ladder_has_means_of_test_runs_of_the_1989_net(canvases):
    figures.draw_ladder()
    shown = [t for t in texts(canvases[0]) if t.count('.') == 1 and len(t) == 4]
    assert sorted(shown) == sorted(f'{5.1 - 0.8 * rung + off:.2f}' for rung in range(5) for off in (0, 1))


def test_ladder_with_one_data_set_and_two_files_joined_by_cat(place, canvases, monkeypatch):
    monkeypatch.setattr(figures, 'MODERN', 'half.csv')
    monkeypatch.setitem(figures.COMMAND, 'half.csv', 'python that.py')
    write_csv(place / 'half.csv', runs_of('mnist', 0))
    (place / 'half.csv').write_text(2 * (place / 'half.csv').read_text())
    figures.draw_ladder()
    assert '5.10' in texts(canvases[0])


def test_speed_is_relative_to_three_days(canvases):
    figures.draw_speed()
    seconds = BENCH['engine compiled'] * 7291 * 23
    assert {'3 days', f'{seconds:.2g} s, {figures.significant(3 * 86400 / seconds)} times as fast'} \
        <= set(texts(canvases[0]))
    assert figures.significant(128_816) == '130,000'
    spans = [figures.span(s) for s in (259200, 7200, 300, 90, 0.517)]
    assert spans == ['3 days', '2 hours', '5 minutes', '90 s', '0.52 s']


@pytest.mark.parametrize('name', ['ladder', 'speed'])
def test_a_committed_picture_has_the_numbers_of_the_committed_csv(name, monkeypatch):
    monkeypatch.chdir(REPO)
    with Image.open(f'results/{name}.png') as committed, Image.open(io.BytesIO(figures.FIGURES[name]())) as drawn:
        assert committed.info['Description'] == drawn.info['Description'] != ''


# ---------------------------------------------------------------------------------------------------------------------
# the shell

def test_some_pictures_only(place):
    run = call(figures, 'architecture', 'speed', 'speed', '--out', 'some', cwd=place)
    assert run.status == 0 and files('some') == ['architecture.png', 'speed.png']


def test_without_its_csv_a_picture_is_left_out_or_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, 'FIGURES', {'speed': figures.draw_speed, 'architecture': lambda: b'picture'})
    run = call(figures, '--out', 'out', cwd=tmp_path)
    assert run.status == 0 and files(tmp_path) == ['out/architecture.png']
    assert len(run.err) == 1 and 'experiments.bench' in run.err[0]
    refused(call(figures, 'speed', '--out', 'out', cwd=tmp_path), 'figures.py', 'bench.csv', 'experiments.bench')


def test_draws_without_one_of_the_draws_is_one_line(tmp_path):
    write_csv(tmp_path / 'results' / 'compare.csv', draws_of()[2:])
    refused(call(figures, 'draws', '--out', 'out', cwd=tmp_path), 'figures.py', 'draw_0', 'twenty_draws')


HEADER = 'what,seconds,machine\n'
BAD = {
    'empty': ('', 'bench.csv'),
    'no rows': (HEADER, 'bench.csv'),
    'other columns': ('a,b\n1,2\n', 'bench.csv'),
    'not text': ('\xff\xfe\x00', 'bench.csv'),
    'a row missing': (f'{HEADER}import torch,1,x\n', 'autograd'),
    'a word': (f'{HEADER}engine compiled,1,x\nautograd,long,x\n', 'line 3'),
    'NaN': (f'{HEADER}engine compiled,nan,x\n', 'line 2'),
    'a short row': (f'{HEADER}engine compiled,1\n', 'line 2'),
    'a long row': (f'{HEADER}engine compiled,1,x,y\n', 'line 2'),
}


@pytest.mark.parametrize('content, says', BAD.values(), ids=BAD)
def test_a_csv_that_is_damaged_is_one_line(content, says, tmp_path):
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results' / 'bench.csv').write_bytes(content.encode('latin-1'))
    refused(call(figures, 'speed', '--out', 'out', cwd=tmp_path), 'figures.py', says)


def test_nothing_that_a_user_can_cause_is_a_traceback(place, tmp_path, monkeypatch):
    for argv in (['nonsense'], ['digits', '--out', '']):
        assert call(figures, *argv, cwd=place).status == 2
    (tmp_path / 'file').write_text('')
    refused(call(figures, 'architecture', '--out', 'file', cwd=tmp_path), 'figures.py', 'cannot write')
    refused(call(figures, 'curves', '--out', 'out', cwd=tmp_path), 'figures.py', 'python prepro.py --dataset usps')
    monkeypatch.setitem(repro.RECIPES, 'paper', repro.RECIPES['paper'] | {'optimizer': 'sgd', 'rate': 1e300})
    refused(call(figures, 'curves', '--out', 'out', cwd=place), 'figures.py', 'diverged')
