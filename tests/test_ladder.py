"""experiments/ladder.py: nothing is measured on the wrong digits, runs are done once, and its table compares rungs."""
import math
from dataclasses import replace

import pytest
import torch
from conftest import TINY, call, random_patterns

import modern
import prepro
from experiments import ladder
from experiments.markdown import Missing
from support import files, runs


def test_all_recipes_run_and_again_if_their_settings_change(tiny, short, monkeypatch):
    argv = '--dataset', TINY, '--without', '--off', '--seeds', '0', '--out', 'mine.csv'
    first = call(ladder, *argv, cwd=tiny)
    assert (first.status, first.err) == (0, [])
    rows = ladder.read(str(tiny / 'mine.csv'))
    assert {row['rung'] for row in rows} == {*'012345678', *ladder.WITHOUT, *ladder.OFF}
    assert all((row['n'], row['passes'], row['error']) == (20, 1, 5 * row['misses']) for row in rows)
    [error] = [row['error'] for row in rows if row['rung'] == '3']
    assert f'{error:.2f}' in first.out.splitlines()[4]
    monkeypatch.setitem(modern.LADDER[8][2], 'weight', 0.5)
    call(ladder, *argv, cwd=tiny)
    all_rows = runs.read_rows(str(tiny / 'mine.csv'), ladder.KEY, ladder.VALUES, ladder.WORDS)
    assert len(all_rows) == len(rows) + 1 and len(ladder.read(str(tiny / 'mine.csv'))) == len(rows)


def test_a_run_trains_on_the_training_digits_and_measures_on_the_others(monkeypatch):
    digits, test, used, measure = random_patterns(30, 1), random_patterns(12, 2), [], modern.measure
    monkeypatch.setattr(files, 'load_digits', lambda dataset: {'train': digits, 'test': test})
    monkeypatch.setattr(ladder, 'others', lambda: random_patterns(8, 3))
    monkeypatch.setattr(modern, 'train', lambda r, X, Y, seed: used.append(X) or [(40, 1.0, modern.Net(0))])
    monkeypatch.setattr(modern, 'measure', lambda net, X, Y: used.append(X) or measure(net, X, Y))
    row = ladder.one_run('mnist', '3', '', 0)
    assert [len(x) for x in used] == [30, 30, 12, 8]
    expected = {name: measure(modern.Net(0), *test)[name] for name in ('misses', 'error', 'loss')}
    assert row == expected | {'passes': 40, 'n': 12, 'seconds': 1.0, 'others': row['others'],
                              'train_error': measure(modern.Net(0), *digits)['error']}
    assert row['others'] == measure(modern.Net(0), *random_patterns(8, 3))['error']


def test_a_run_that_diverges_is_a_row(short):
    digits = random_patterns(30)
    net, row = ladder.measured(replace(modern.rung(2), rate=math.inf), digits, digits, 0)
    assert net is None and set(row) == set(ladder.VALUES[:-1]) and all(map(math.isnan, row.values()))


def test_others_are_the_test_digits_outside_the_sample(tiny, short, monkeypatch):
    monkeypatch.chdir(tiny)
    splits = files.load_digits('mnist60k')
    X, Y = splits['test']
    rest = [i for i in range(len(X)) if i not in prepro.draw(splits)['test']]
    found, labels = ladder.others()
    assert len(rest) == 50 and torch.equal(found, X[rest]) and torch.equal(labels, Y[rest])


def test_nets_for_scale_have_the_size_that_is_printed():
    recipes = ladder.recipes()
    assert ladder.size(recipes['0']) == ladder.size(recipes['8']) == (9760, 64_660 - 1_000)      # less a bias a unit
    width = 9                           # 3x3 windows over maps of 16x16, 8x8 and 4x4 units; 2x2 units below the output
    assert ladder.size(recipes['3x3 windows, width 9'])[1] == 9 * width * (
        16*16 + 2*width * 8*8 + 8*width * 4*4) + 4*width * 2*2 * 10
    assert ladder.size(recipes['3x3 windows, width 9'])[0] <= 9760 < ladder.size(
        replace(recipes['3x3 windows, width 9'], width=10))[0]           # as large as the paper's number allows


def rows_of(dataset, errors):
    """Rows of two seeds with these errors, {rung: (error, error)}."""
    return [dict.fromkeys(ladder.KEY + ladder.VALUES, 1) | {
        'dataset': dataset, 'rung': name, 'settings': ladder.fingerprint(ladder.recipes()[name]), 'seed': seed,
        'error': error, 'misses': 100 * error, 'n': 10_000, 'others': 2.0}
            for name, pair in errors.items() for seed, error in enumerate(pair)]


def test_a_rung_is_compared_with_the_one_below_and_an_ablation_with_rung_7(monkeypatch):
    errors = {str(n): (9.0 - n, 9.5 - 1.1 * n) for n in range(9)} | {'without ReLU': (8.0, 8.5)}
    monkeypatch.setattr(ladder, 'committed', lambda path: [
        row for dataset in ('mnist60k', 'usps') for row in rows_of(dataset, errors)])
    lines = {line.split(' | ')[0].strip('| '): line for line in ladder.ladder('mnist60k').splitlines()}
    assert '-1.05' in lines['1 softmax, cross-entropy (Bridle 1990)'] and '+6.35' in lines['without ReLU']
    inside = sum(100 * (100 * e - 2.0 / 100 * 7993) / 2007 for e in errors['8']) / 2
    assert f'{inside:.2f} ± ' in lines['8 distillation (Hinton et al. 2015)']
    del errors['4']
    with pytest.raises(Missing, match='rung 4 on usps'):
        ladder.ladder('usps')
