"""paper.py, samples.py, speed.py, architecture.py: each picture is drawn, and shows its numbers."""
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import call, refused

import repro
from experiments import architecture, compare, paper, report, samples, speed, style
from experiments.markdown import Missing

PICTURES = {name: draw for room in (paper, samples, speed, architecture) for name, draw in room.pictures().items()}


@pytest.fixture(autouse=True)
def place(tiny, monkeypatch):
    """In the folder of tiny data sets; two seeds and three passes."""
    monkeypatch.chdir(tiny)
    monkeypatch.setattr(paper, 'SEEDS', range(2))
    for recipe, settings in repro.RECIPES.items():
        monkeypatch.setitem(repro.RECIPES, recipe, compare.changed(settings, training={'passes': 3}))
    yield
    plt.close('all')


@pytest.mark.parametrize('name', PICTURES)
def test_a_picture_is_drawn(name):
    try:
        assert PICTURES[name]().startswith(b'\x89PNG')
    except Missing as e:
        pytest.skip(f'still to come: {e}')


def test_curves_are_the_mean_of_the_seeds_and_end_at_what_was_published(monkeypatch):
    figures = []
    monkeypatch.setattr(style.plt, 'close', figures.append)
    paper.draw_curves()
    fig, = figures
    mean = np.mean([paper.trained('paper', 'usps', seed)[1]['test']['loss'] for seed in paper.SEEDS], 0)
    line, = [line for line in fig.axes[0].lines if line.get_label() == "USPS, the paper's settings: test"]
    assert line.get_ydata() == pytest.approx(mean)
    for ax, key in zip(fig.axes, ('loss', 'error')):
        points = [tuple(line.get_xydata()[0]) for line in ax.lines if len(line.get_xydata()) == 1]
        assert points == [(repro.PASSES, single[f'{split}_{key}']) for single in (repro.PAPER, repro.KARPATHY2022)
                          for split in ('train', 'test')]


def test_training_that_diverges_is_one_line(tiny, monkeypatch):
    monkeypatch.setattr(report, 'results', lambda name: str(tiny / name))
    monkeypatch.setitem(repro.RECIPES, 'paper', compare.changed(repro.RECIPES['paper'], training={'rate': 1e300}))
    refused(call(report, 'curves', cwd=tiny), 'report.py', 'diverged')
