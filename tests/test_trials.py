"""experiments/trials.py: a trial is measured on a fold that it is not trained on, logged with its settings, once."""
import json

import pytest
import torch
from conftest import call, random_patterns, write_digits

import modern
from experiments import trials
from support import runs

TINY = ('--dataset', 'mnist-seed7', '--jobs', '1')


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a tiny data set, trials of two passes, and runs one after the other in this process."""
    write_digits(tmp_path, 'mnist-seed7', 50, 20)
    known = {name: {**recipe, 'passes': 2, 'distill': None} for name, recipe in trials.trials().items()}
    monkeypatch.setattr(trials, 'trials', lambda: known)
    on_this_machine = runs.on_this_machine
    monkeypatch.setattr(runs, 'on_this_machine', lambda workers, threads: on_this_machine(1, threads=True))
    modern.load.cache_clear()
    yield tmp_path
    modern.load.cache_clear()


def test_a_fold_never_meets_training(monkeypatch):
    train = torch.arange(23.).view(23, 1, 1, 1), random_patterns(23)[1]
    monkeypatch.setattr(modern, 'load', lambda dataset: {'train': train})        # there are no test digits to touch
    measured = []
    for fold in range(trials.FOLDS):
        (X, _), (left_out, _) = trials.digits('mnist', fold)
        X, left_out = X.flatten().tolist(), left_out.flatten().tolist()
        assert sorted(X + left_out) == list(range(23))
        assert left_out == list(range(int(left_out[0]), int(left_out[-1]) + 1))  # a block: writers stay together
        measured += left_out
    assert measured == list(range(23))


def test_a_trial_is_measured_on_ten_distorted_copies_of_its_fold(monkeypatch):
    digits, seen, measure = random_patterns(30, 1), [], modern.measure
    monkeypatch.setattr(modern, 'load', lambda dataset: {'train': digits})
    monkeypatch.setattr(modern, 'train', lambda recipe, X, Y, seed: (modern.Net(0), 1.0, 2.0))
    monkeypatch.setattr(modern, 'measure', lambda net, X, Y: seen.append(X) or measure(net, X, Y))
    row = trials.one_run('mnist', 'rung 3', '', 1)
    X, Y = (values[6:12] for values in digits)
    assert torch.equal(seen[1], X)
    copies = [modern.distorted_copy(X, trials.DISTORTED, c) for c in range(10)]
    assert all(torch.equal(x, copy) for x, copy in zip(seen[2:], copies, strict=True))
    assert row['distorted_error'] == pytest.approx(100 * sum(measure(modern.Net(0), x, Y)[0] for x in copies) / 60)


def test_every_trial_is_a_recipe():
    for recipe in trials.trials().values():
        modern.check(recipe)
    settings = [modern.fingerprint(recipe) for recipe in trials.trials().values()]
    assert len(set(settings)) == len(settings)


def test_trials_are_logged_once_with_all_settings(place, monkeypatch):
    used, train = [], modern.train
    monkeypatch.setattr(modern, 'train', lambda recipe, X, Y, seed: used.append(X) or train(recipe, X, Y, seed))
    argv = *TINY, 'silu', 'rung 2', '--folds', '0,3', '--out', 'trials.csv'
    first = call(trials, *argv, cwd=place)
    assert (first.status, first.err) == (0, [])
    found = runs.read_rows(str(place / 'trials.csv'), trials.KEY, trials.VALUES, trials.WORDS)
    assert [(row['trial'], row['fold']) for row in found] == [
        (name, fold) for name in ('rung 2', 'silu') for fold in (0, 3)]
    assert json.loads(found[2]['recipe'])['net']['unit'] == 'silu' and json.loads(found[2]['recipe'])['passes'] == 2
    assert all(row['n'] == 10 and row['error'] == 10 * row['misses'] and row['loss'] > 0 for row in found)
    X = modern.load('mnist-seed7')['train'][0]
    for row, x in zip(found, used, strict=True):                         # trained on the other four folds
        fold = slice(10 * row['fold'], 10 * row['fold'] + 10)
        assert torch.equal(x, torch.cat([X[:fold.start], X[fold.stop:]]))
    monkeypatch.setattr(modern, 'train', None)
    assert call(trials, *argv, cwd=place).out == first.out
    assert max(map(len, first.out.splitlines())) <= 80


def test_the_table_has_means_over_folds():
    row = {'dataset': 'usps', 'trial': 'rung 7', 'n': 10, 'distorted_error': 3.0, 'seconds': 5.0}
    text = trials.table([{**row, 'error': 1.0, 'loss': 0.1}, {**row, 'error': 2.0, 'loss': 0.3}])
    assert text.splitlines()[1].split() == ['usps', 'rung', '7', '2', '1.50', '0.71', '0.2000', '3.00', '5']


def test_the_list_and_bad_arguments(place):
    assert call(trials, '--list', cwd=place).out.splitlines() == list(trials.trials())
    for argv, word in (['rung 99'], 'rung 99'), ([], '--list'), (['rung 2', '--folds', '5'], '0 to 4'):
        done = call(trials, *argv, cwd=place)
        assert done.status == 2 and word in done.err[-1] and not (place / 'results').exists()
