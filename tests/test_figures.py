"""figures.py: each picture is drawn whole, twice the same, from what is there; and what is not."""
import csv
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import compare
import figures
import repro
from conftest import call, files, random_patterns

BENCH = {'autograd, 1 thread': 0.002, 'engine autograd': 0.0022, 'engine compiled': 1.2e-5, 'arithmetic limit': 4e-6}


def write_csv(path, rows):
    path.parent.mkdir(exist_ok=True)
    with open(path, 'w', newline='') as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A directory to draw in: two tiny data sets, and results/ of modern.py and bench.py."""
    cwd = tmp_path_factory.mktemp('figures')
    for k, dataset in enumerate(('mnist', 'usps')):
        folder = cwd / 'data' / dataset
        folder.mkdir(parents=True)
        for split, n in (('train', 40), ('test', 30)):
            torch.save(random_patterns(n, 10 * k + n), folder / f'{split}1989.pt')
    write_csv(cwd / 'results' / 'modern.csv', [
        {'dataset': dataset, 'split': split, 'rung': rung, 'idea': f'an idea of some length, the {rung}th',
         'seed': seed, 'error': f'{6 - (dataset == "mnist") - rung + seed / 10:.3f}'}
        for dataset in ('mnist', 'usps') for split in ('test', 'validation') for rung in range(5) for seed in range(3)])
    write_csv(cwd / 'results' / 'bench.csv', [
        {'what': what, 'seconds': seconds, 'machine': 'A Processor of Some Length, 12th generation @ 3.10GHz, 8 cores'}
        for what, seconds in BENCH.items()])
    return cwd


@pytest.fixture(autouse=True)
def here(place, monkeypatch):
    """In that directory, with two seeds and three passes, and nothing kept from another test."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(figures, 'SEEDS', range(2))
    for recipe in ('paper', 'fc40'):
        note, settings = compare.RECIPES[recipe]
        monkeypatch.setitem(compare.RECIPES, recipe, (note, settings | {'passes': 3}))
    figures.digits.cache_clear()
    figures.trained.cache_clear()
    yield
    plt.close('all')


@pytest.fixture
def canvases(monkeypatch):
    """The matplotlib figures of what is drawn, in a list."""
    kept, png = [], figures.png

    def keep(fig):
        kept.append(fig)
        return png(fig)
    monkeypatch.setattr(figures, 'png', keep)
    return kept


def texts(fig):
    return [t.get_text() for t in fig.findobj(plt.Text) if t.get_text() and t.get_visible()]


def test_there_are_eight():
    assert list(figures.FIGURES) == ['digits', 'architecture', 'curves', 'kernels', 'wrong', 'rejection', 'ladder',
                                     'speed']


@pytest.mark.parametrize('name', figures.FIGURES)
def test_a_figure_is_whole_and_of_the_common_width(name, canvases):
    content = figures.FIGURES[name]()
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.width == int(figures.WIDTH * figures.DPI) and 300 < image.height < 1500
        assert 'Software' not in image.info and len(np.unique(np.asarray(image))) > 2
    assert len(content) < 375_000       # eight of them are under 3 MB
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
            assert -1 <= box.x0 and box.x1 <= image.width + 1, text
            assert -1 <= box.y0 and box.y1 <= image.height + 1, text


def test_twice_gives_the_same_bytes(place):
    for out in ('a', 'b'):
        figures.trained.cache_clear()
        run = call(figures, '--out', out, cwd=place)
        assert run.status == 0 and run.err == []
        assert len(run.out.splitlines()) == len(figures.FIGURES)
    assert files('a') == files('b') == sorted(f'{name}.png' for name in figures.FIGURES)
    for name in files('a'):
        assert (place / 'a' / name).read_bytes() == (place / 'b' / name).read_bytes(), name


# ---------------------------------------------------------------------------------------------------------------------
# what is in them

def test_curves_end_at_the_papers_figures(canvases):
    figures.draw_curves()
    for ax, key in zip(canvases[0].axes, ('loss', 'error')):
        black = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_color() == figures.BLACK]
        assert black == [(repro.PASSES, repro.PAPER[f'{split}_{key}']) for split in ('train', 'test')]


def test_curves_are_the_mean_of_the_seeds(canvases):
    figures.draw_curves()
    expected = np.mean([figures.trained('paper', 'usps', s)[2]['test']['loss'] for s in range(2)], 0)
    line, = [line for line in canvases[0].axes[0].lines if line.get_label() == 'USPS, test']
    assert line.get_ydata() == pytest.approx(expected)


def test_trained_is_what_compare_trains():
    splits = {split: repro.load('usps', split) for split in ('train', 'test')}
    for recipe in ('paper', 'fc40'):
        history = figures.trained(recipe, 'usps', 1)[2]
        row = compare.one_run(recipe, 1, splits)
        for split in splits:
            for key in ('loss', 'error', 'misses'):
                assert history[split][key][-1] == row[f'{split}_{key}']


def test_wrong_has_each_digit_that_is_wrong_once_the_surest_first(canvases):
    figures.draw_wrong()
    net = figures.trained('paper', 'usps', 0)[0]
    X, Y = repro.load('usps', 'test')
    out = repro.outputs(net, X)
    top = out.topk(2)
    gap = top.values[:, 0] - top.values[:, 1]
    labels = [t for t in texts(canvases[0]) if '→' in t and len(t) < 20]
    answers = zip(Y.argmax(1), top.indices[:, 0], gap)
    assert sorted(labels) == sorted(f'{int(y)}→{int(a)}  {g:.1f}' for y, a, g in answers if y != a)
    assert [float(t.split()[1]) for t in labels] == sorted((float(t.split()[1]) for t in labels), reverse=True)


def test_activations_end_in_the_nets_outputs():
    net = repro.Net()
    X, _ = random_patterns(1)
    layers = figures.activations(net, X)
    assert [y.shape for y in layers.values()] == [(1, 16, 16), (12, 8, 8), (12, 4, 4), (30, 1, 1), (10, 1, 1)]
    assert layers['output'].ravel() == pytest.approx(net(X).detach().numpy().ravel())
    assert 'squash' not in vars(net)    # it is as it was


def test_architecture_has_the_counts(canvases):
    figures.draw_architecture()
    for numbers in repro.Net().counts().values():
        assert {f'{n:,}' for n in numbers} <= set(texts(canvases[0]))


def test_ladder_has_means_of_test_runs_only(canvases):
    figures.draw_ladder()
    assert {'4.10', '5.10'} <= set(texts(canvases[0]))                   # rung 1: 4.0, 4.1, 4.2 and one more for USPS


def test_ladder_with_one_data_set_so_far(place, canvases, monkeypatch):
    monkeypatch.setattr(figures, 'MODERN', 'half.csv')
    write_csv(place / 'half.csv',
              [{'dataset': 'mnist', 'split': 'test', 'rung': 0, 'idea': 'a', 'seed': 0, 'error': 4}])
    figures.draw_ladder()
    assert '4.00' in texts(canvases[0])


def test_speed_is_relative_to_three_days(canvases):
    figures.draw_speed()
    said = texts(canvases[0])
    seconds = BENCH['engine compiled'] * 7291 * 23
    assert '3 days' in said
    assert f'{seconds:.2g} s, {figures.significant(3 * 86400 / seconds)} times faster' in said
    assert figures.significant(128_816) == '130,000'
    spans = [figures.span(s) for s in (259200, 7200, 300, 90, 0.517)]
    assert spans == ['3 days', '2 hours', '5 minutes', '90 s', '0.52 s']


# ---------------------------------------------------------------------------------------------------------------------
# the shell

def test_some_figures_only(place):
    run = call(figures, 'architecture', 'speed', 'speed', '--out', 'some', cwd=place)
    assert run.status == 0 and files('some') == ['architecture.png', 'speed.png']


@pytest.mark.parametrize('name, path', [('ladder', 'MODERN'), ('speed', 'BENCH')])
def test_without_its_csv_a_figure_is_left_out_or_refused(name, path, place, monkeypatch):
    monkeypatch.setattr(figures, 'FROM', {name: ('results/none.csv', 'python that.py')})
    monkeypatch.setattr(figures, 'FIGURES', {name: figures.FIGURES[name], 'architecture': lambda: b'picture'})
    run = call(figures, '--out', f'without-{name}', cwd=place)
    assert run.status == 0 and files(f'without-{name}') == ['architecture.png']
    assert len(run.err) == 1 and name in run.err[0] and 'python that.py' in run.err[0]
    run = call(figures, name, '--out', f'without-{name}', cwd=place)
    assert run.status == 1 and len(run.err) == 1 and 'python that.py' in run.err[0]


@pytest.mark.parametrize('content', ['', 'what\n', 'a,b\n1,2\n', '\xff\xfe\x00'])
@pytest.mark.parametrize('name, path', [('ladder', 'MODERN'), ('speed', 'BENCH')])
def test_a_csv_that_is_none(name, path, content, place, monkeypatch):
    (place / 'bad.csv').write_bytes(content.encode('latin-1'))
    monkeypatch.setattr(figures, path, 'bad.csv')
    run = call(figures, name, '--out', 'bad', cwd=place)
    assert run.status == 1 and len(run.err) == 1 and 'bad.csv' in run.err[0]


def test_bad_arguments(place):
    assert call(figures, 'nonsense', cwd=place).status == 2
    (place / 'file').write_text('')
    run = call(figures, 'architecture', '--out', 'file', cwd=place)
    assert run.status == 1 and len(run.err) == 1 and 'cannot write' in run.err[0]


def test_data_not_prepared(tmp_path):
    run = call(figures, 'curves', '--out', 'out', cwd=tmp_path)
    assert run.status == 1 and len(run.err) == 1 and 'python prepro.py --dataset usps' in run.err[0]


def test_divergence_is_one_line(place, monkeypatch):
    note, settings = compare.RECIPES['paper']
    monkeypatch.setitem(compare.RECIPES, 'paper', (note, settings | {'optimizer': 'sgd', 'rate': 1e300}))
    run = call(figures, 'curves', '--out', 'out', cwd=place)
    assert run.status == 1 and len(run.err) == 1 and 'diverged' in run.err[0]
