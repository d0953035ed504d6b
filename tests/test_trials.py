"""experiments/trials.py: a trial is measured on a fold that it is not trained on, logged with its settings."""
import json

import torch
from conftest import TINY, call, random_patterns

import modern
from experiments import trials
from support import files, runs


def test_a_fold_never_meets_training(monkeypatch):
    train = torch.arange(23.).view(23, 1, 1, 1), random_patterns(23)[1]
    monkeypatch.setattr(files, 'load_digits', lambda dataset: {'train': train})  # there are no test digits to touch
    measured = []
    for fold in range(trials.FOLDS):
        (X, _), (left_out, _) = trials.digits('mnist', fold)
        X, left_out = X.flatten().tolist(), left_out.flatten().tolist()
        assert sorted(X + left_out) == list(range(23))
        assert left_out == list(range(int(left_out[0]), int(left_out[-1]) + 1))  # a block: writers stay together
        measured += left_out
    assert measured == list(range(23))


def test_all_trials_see_the_same_distorted_copies_of_the_fold(monkeypatch):
    digits, used, seen, measure = random_patterns(30, 1), [], [], modern.measure
    monkeypatch.setattr(files, 'load_digits', lambda dataset: {'train': digits})
    monkeypatch.setattr(modern, 'train', lambda r, X, Y, seed: used.append(X) or [(1, 1.0, modern.Net(0))])
    monkeypatch.setattr(modern, 'measure', lambda net, X, Y: seen.append(X) or measure(net, X, Y))
    first, second = (trials.one_run('mnist', name, '', 1) for name in ('rung 3', 'distill rate .02'))
    assert first['distorted_error'] == second['distorted_error']
    assert len(seen) == 24 and torch.equal(seen[1], digits[0][6:12]) and len({str(x) for x in seen[2:12]}) == 10
    assert torch.equal(used[0], torch.cat([digits[0][:6], digits[0][12:]]))      # trained on the other four folds


def test_trials_are_logged_with_all_settings(tiny, short):
    done = call(trials, '--dataset', TINY, 'rung 7 rate 0.02', 'rung 2', '--folds', '0,3', '--out', 'trials.csv',
                cwd=tiny)
    assert (done.status, done.err) == (0, [])
    rows = sorted(runs.read_rows(str(tiny / 'trials.csv'), trials.KEY, trials.VALUES, trials.WORDS),
                  key=lambda row: (row['trial'], row['fold']))
    assert [(row['trial'], row['fold']) for row in rows] == [
        (name, fold) for name in ('rung 2', 'rung 7 rate 0.02') for fold in (0, 3)]
    assert json.loads(rows[2]['recipe'])['rate'] == 0.02
    assert all(row['n'] == 8 and row['error'] == 12.5 * row['misses'] and row['loss'] > 0 for row in rows)
