"""
Settings of modern.py, tried on folds of the training digits. No test digit is
read.

    python -m experiments.trials 'distill*' --folds 0-4 [--dataset usps]

A trial is a rung with some settings changed. It trains on four blocks of
consecutive training digits and is measured on the fifth: usps comes zip code by
zip code, so that a writer's digits mostly stay together. Misses are few; the
mean cross-entropy, and the error on ten distorted copies, separate settings
better. results/modern_trials.csv also has what is no longer in the list below:
sharpness-aware steps, mixup and averaged weights (code of commit bbf16cc), SiLU,
300 passes, other rates; modern_trials_before.csv has the trials of the ladder
before this one.
"""
import fnmatch
import json
import math
import os
import statistics
import textwrap
from dataclasses import asdict, replace

import torch
from scipy import stats

import modern
from experiments import ladder
from experiments.markdown import Missing, columns, results, table
from support import cli, files, runs

OUT = os.path.join('results', 'modern_trials.csv')
KEY = ('dataset', 'trial', 'settings', 'fold')
VALUES = ('misses', 'error', 'n', 'loss', 'distorted_error', 'seconds', 'teacher_seconds', 'recipe')
WORDS = ('dataset', 'trial', 'settings', 'recipe')
FOLDS = 5


def trials():
    """{name: Settings}."""
    out = {f'rung {n}': modern.rung(n) for n in range(len(modern.LADDER))}
    for n, rates in (1, (0.002, 0.01)), (2, (0.0005, 0.001, 0.002, 0.008)), (3, (0.0025, 0.01)), (4, (0.0025, 0.01)), \
            (5, (0.005, 0.02)), (7, (0.005, 0.02)):
        out |= {f'rung {n} rate {rate}': replace(modern.rung(n), rate=rate) for rate in rates}
    for name, changes in {'weight 1 temperature 4': dict(weight=1.0, temperature=4.0), 'rate .02': dict(rate=0.02),
                          '500 passes': dict(passes=500)}.items():
        out[f'distill {name}'] = replace(modern.rung(8), **changes)
    return out


def digits(dataset, fold):
    """((X, Y) to train on, (X, Y) to measure on): the training digits of a data set without a fold, and that fold."""
    X, Y = files.load_digits(dataset)['train']
    left_out = torch.arange(len(X)) * FOLDS // len(X) == fold
    return (X[~left_out], Y[~left_out]), (X[left_out], Y[left_out])


def one_run(dataset, trial, settings, fold):
    """A row's VALUES. The fold is the seed as well."""
    r, (train, (X, Y)) = trials()[trial], digits(dataset, fold)
    net, row = ladder.measured(r, train, (X, Y), fold)
    torch.manual_seed(0)                # the same ten copies for all trials
    errors = [modern.measure(net, modern.distort(X, **modern.rung(6).distortions), Y)['error'] if net else math.nan
              for _ in range(10)]
    row |= {'distorted_error': statistics.fmean(errors), 'teacher_seconds': None,
            'recipe': json.dumps(asdict(r), sort_keys=True)}
    return {key: row[key] for key in VALUES}


def tables():
    return {f'tried_{dataset}': tried(dataset) for dataset in ('mnist', 'usps')}


def tried(dataset):
    """The trials on all folds: rungs against those below, other settings under their rung."""
    by_fold, lines = {}, []
    for row in runs.read_rows(results('modern_trials.csv'), KEY, VALUES, WORDS):
        if row['dataset'] == dataset:
            by_fold.setdefault(row['trial'], {})[row['fold']] = row
    complete = {name: [of[fold] for fold in sorted(of)] for name, of in by_fold.items() if len(of) == FOLDS}
    if not complete:
        raise Missing(f'trials on {dataset}')
    rung = {name: name[:6] if name.startswith('rung') else 'rung 8' if name.startswith('distill') else 'rung 7'
            for name in complete}       # a rung's own trial is under itself
    for name, folds in sorted(complete.items(), key=lambda item: (rung[item[0]], item[0] != rung[item[0]], item[0])):
        is_rung = name == rung[name]
        base = complete.get(f'rung {int(name[5]) - 1}' if is_rung else rung[name])
        d = [row['misses'] - other['misses'] for row, other in zip(folds, base)] if base else []
        lines.append([f'**{name}**' if is_rung else name, f'{sum(row["misses"] for row in folds):.0f}',
                      f'{statistics.fmean(d):+.1f} ± {stats.sem(d):.1f}' if d else '',
                      f'{mean(folds, "loss"):.4f}', f'{mean(folds, "distorted_error"):.2f}'])
    return table(['', 'misses', 'a fold, change ± standard error', 'cross-entropy', 'wrong of distorted, %'], lines)


def mean(rows, key):
    return statistics.fmean(row[key] for row in rows)


def main():
    known = trials()
    parser = cli.parser(__doc__, epilog=textwrap.fill(f'trials: {", ".join(known)}', 79))
    parser.add_argument('trials', nargs='+', metavar='TRIAL', help="names, or patterns of names such as 'distill*'")
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D', help='(default: mnist)')
    parser.add_argument('--folds', type=cli.numbers, default=f'0-{FOLDS - 1}', metavar='A-B',
                        help=f'also the seeds (default: 0-{FOLDS - 1})')
    runs.add_arguments(parser, OUT)
    args = parser.parse_args()
    for name in args.trials:
        if not fnmatch.filter(known, name):
            parser.error(f'no trial is called {name}; there are {", ".join(known)}')
    if max(args.folds) >= FOLDS:
        parser.error(f'--folds: there are 0 to {FOLDS - 1}')
    names = [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in args.trials)]
    files.load_digits(args.dataset)     # ends here if it is not there
    jobs = [dict(zip(KEY, (args.dataset, name, ladder.fingerprint(known[name]), fold)))
            for name in names for fold in args.folds]
    rows = runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, workers=args.jobs, cluster=args.cluster)
    print(columns([['mean over the folds', 'error, %', 'cross-entropy', 'of distorted, %'],
                   *([name, *(f'{mean([row for row in rows if row["trial"] == name], key):.4f}'
                              for key in ('error', 'loss', 'distorted_error'))] for name in names)]))


if __name__ == '__main__':
    cli.run(main)
