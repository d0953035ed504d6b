"""paper.py, samples.py, speed.py, architecture.py: each picture is drawn whole, and shows its numbers."""
import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import call, refused, write_digits
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import repro
from experiments import architecture, compare, paper, report, samples, speed, style

PICTURES = {name: draw for room in (paper, samples, speed, architecture) for name, draw in room.pictures().items()}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, any_digits):
    """In a folder with two tiny data sets; two seeds and three passes."""
    for dataset in 'mnist', 'usps':
        write_digits(tmp_path, dataset, 40, 30)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(paper, 'SEEDS', range(2))
    for recipe, settings in repro.RECIPES.items():
        monkeypatch.setitem(repro.RECIPES, recipe, compare.changed(settings, training={'passes': 3}))
    yield
    plt.close('all')


def drawing(draw, monkeypatch):
    """(the matplotlib figure of a picture, the size of its PNG file)."""
    figures = []
    monkeypatch.setattr(style.plt, 'close', figures.append)
    with Image.open(io.BytesIO(draw())) as image:
        return figures[0], image.size


def texts(fig):
    return [t.get_text() for t in fig.findobj(plt.Text) if t.get_text() and t.get_visible()]


@pytest.mark.parametrize('name', PICTURES)
def test_no_text_of_a_picture_is_cut_off(name, monkeypatch):
    fig, (width, height) = drawing(PICTURES[name], monkeypatch)
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


def test_curves_are_the_mean_of_the_seeds_and_end_at_what_was_published(monkeypatch):
    fig, _ = drawing(paper.draw_curves, monkeypatch)
    mean = np.mean([paper.trained('paper', 'usps', seed)[1]['test']['loss'] for seed in paper.SEEDS], 0)
    line, = [line for line in fig.axes[0].lines if line.get_label() == "USPS, the paper's settings: test"]
    assert line.get_ydata() == pytest.approx(mean)
    for ax, key in zip(fig.axes, ('loss', 'error')):
        points = [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xydata()) == 1]
        assert points == [(repro.PASSES, single[f'{split}_{key}']) for single in (repro.PAPER, repro.KARPATHY2022)
                          for split in ('train', 'test')]


def test_wrong_has_each_digit_that_is_wrong_once_most_confident_first(monkeypatch):
    fig, _ = drawing(paper.draw_wrong, monkeypatch)
    out, labels = paper.tested('paper', 'usps', 0)
    (first, second), answers = out.topk(2).values.T, out.argmax(1)
    shown = [t for t in texts(fig) if '→' in t and len(t) < 20]
    assert sorted(shown) == sorted(f'{y}→{a}  {g:.1f}' for y, a, g in zip(labels, answers, first - second) if y != a)
    assert [float(t.split()[1]) for t in shown] == sorted((float(t.split()[1]) for t in shown), reverse=True)


def test_confusion_is_the_mean_of_the_seeds(monkeypatch):
    matrix = paper.confusion()
    counts = [zip(*(t.tolist() for t in (labels, out.argmax(1))))
              for out, labels in (paper.tested('paper', 'usps', seed) for seed in paper.SEEDS)]
    pairs = [pair for seed in counts for pair in seed]
    assert all(matrix[pair] == pytest.approx(pairs.count(pair) / 2) for pair in np.ndindex(10, 10))
    fig, _ = drawing(paper.draw_confusion, monkeypatch)
    error = 100 * (1 - matrix.diagonal() / matrix.sum(1).clip(1e-9))
    assert {f'{error[c]:.1f}' for c in range(10) if matrix[c].sum()} <= set(texts(fig))


def test_what_a_user_gets_wrong(tmp_path, monkeypatch):
    assert call(report, 'nonsense', cwd=tmp_path).status == 2
    paper.trained.cache_clear()
    monkeypatch.setattr(report, 'results', lambda name: str(tmp_path / name))
    monkeypatch.setitem(repro.RECIPES, 'paper', compare.changed(repro.RECIPES['paper'], training={'rate': 1e300}))
    refused(call(report, 'curves', cwd=tmp_path), 'report.py', 'diverged')
    compare.load.cache_clear()
    (tmp_path / 'data' / 'usps' / 'train1989.pt').unlink()
    refused(call(report, 'curves', cwd=tmp_path), 'report.py', 'python prepro.py --dataset usps')
