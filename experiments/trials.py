"""
Settings of modern.py, tried on folds of the training digits. No test digit is
read.

    python -m experiments.trials --list
    python -m experiments.trials 'distill*' --folds 0-4 [--dataset usps]

A trial is a rung with some settings changed. It trains on four folds of the
training digits and is measured on the fifth: misses, the mean cross-entropy,
and the error on ten distorted copies, which separate settings where misses are
few. results/modern_trials.csv has a row for each trial and fold, with all of
its settings; a trial is not run twice. A difference counts if it is larger
than its standard error over the folds, which both trials share.

results/modern_trials.csv also has trials that are no longer in the list below:
sharpness-aware steps, mixup and averaged weights, with the code of commit
bbf16cc, and settings with 300 passes or other rates.
results/modern_trials_before.csv has those of the ladder before this one.
"""
import fnmatch
import json
import math
import os
import statistics

import torch

import modern
from support import cli, files, runs

OUT = os.path.join('results', 'modern_trials.csv')
KEY = ('dataset', 'trial', 'settings', 'fold')
VALUES = ('misses', 'error', 'n', 'loss', 'distorted_error', 'seconds', 'teacher_seconds', 'recipe')
WORDS = ('dataset', 'trial', 'settings', 'recipe')

FOLDS = 5
DISTORTED = modern.RUNGS[6]['distortions']          # of distorted_error, whatever the recipe
LONG = modern.RUNGS[7]
DISTILL = modern.RUNGS[8]['distill']


def trials():
    """{name: recipe}."""
    out = {f'rung {n}': recipe for n, recipe in enumerate(modern.RUNGS)} | modern.OFF_LADDER
    for n, rates in (1, (0.002, 0.01)), (2, (0.0005, 0.001, 0.002, 0.008)), (3, (0.0025, 0.01)), (4, (0.0025, 0.01)), \
            (5, (0.005, 0.02)), (7, (0.005, 0.02)):
        out |= {f'rung {n} rate {rate}': {**modern.RUNGS[n], 'rate': rate} for rate in rates}
    silu = dict(net=LONG['net'] | dict(unit='silu'))
    for name, changes in {
        'silu': silu,
        'distill weight 1 temperature 4': dict(distill=DISTILL | dict(weight=1.0, temperature=4.0)),
        'distill rate .02': dict(distill=DISTILL, rate=0.02),
        'distill silu': dict(distill=DISTILL, **silu),
        'distill 250 copies': dict(distill=DISTILL | dict(copies=250)),
        'distill 500 passes': dict(distill=DISTILL, passes=500),
    }.items():
        out[name] = {**LONG, **changes}
    return out


def digits(dataset, fold):
    """((X, Y) to train on, (X, Y) to measure on): the training digits of a data set without a fold, and that fold."""
    X, Y = modern.load(dataset)['train']
    left_out = torch.arange(len(X)) * FOLDS // len(X) == fold
    return (X[~left_out], Y[~left_out]), (X[left_out], Y[left_out])


def one_run(dataset, trial, settings, fold):
    """A row's VALUES."""
    recipe, (train, (X, Y)) = trials()[trial], digits(dataset, fold)
    net, row = modern.measured(recipe, train, (X, Y), fold)
    row['distorted_error'] = statistics.fmean(                          # on the same ten copies for every recipe
        100 * modern.measure(net, modern.distorted_copy(X, DISTORTED, c), Y)[0] / len(X) for c in range(10)
    ) if net else math.nan
    return {key: row[key] for key in VALUES[:-1]} | {'recipe': json.dumps(modern.settings_of(recipe), sort_keys=True)}


def table(rows):
    """Means over folds, and the sd of the error; errors in percent."""
    line = '{:12}{:31}{:>5}{:>7}{:>6}{:>7}{:>6}{:>5}'.format
    lines = [line('', '', 'folds', 'error', 'sd', 'loss', 'dist.', 's')]
    for dataset, trial in dict.fromkeys((row['dataset'], row['trial']) for row in rows):
        found = [row for row in rows if (row['dataset'], row['trial']) == (dataset, trial)]
        (error, sd, n, _), (loss, *_), (distorted, *_), (seconds, *_) = (
            runs.mean_sd([row[key] for row in found]) for key in ('error', 'loss', 'distorted_error', 'seconds'))
        values = zip(('{:.2f}', '{:.2f}', '{:.4f}', '{:.2f}', '{:.0f}'), (error, sd, loss, distorted, seconds))
        lines.append(line(dataset, trial, n, *('-' if v is None else form.format(v) for form, v in values)))
    return '\n'.join(lines)


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('trials', nargs='*', metavar='TRIAL', help="names, or patterns of names such as 'distill*'")
    parser.add_argument('--list', action='store_true', help='print the names, and do nothing else')
    parser.add_argument('--dataset', type=files.dataset, default='mnist', metavar='D', help='(default: mnist)')
    parser.add_argument('--folds', type=cli.numbers, default=f'0-{FOLDS - 1}', metavar='A-B',
                        help=f'also the seeds (default: 0-{FOLDS - 1})')
    runs.add_arguments(parser, OUT)
    args = parser.parse_args()
    known = trials()
    if args.list:
        print('\n'.join(known))
        return
    unknown = [name for name in args.trials if not fnmatch.filter(known, name)]
    if unknown or not args.trials:
        parser.error(f'no trial is called {", ".join(unknown)}; --list prints the names' if unknown else
                     'name trials; --list prints them')
    if max(args.folds) >= FOLDS:
        parser.error(f'--folds: there are 0 to {FOLDS - 1}')
    chosen = [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in args.trials)]
    modern.load(args.dataset)           # ends here if it is not there
    jobs = [dict(zip(KEY, (args.dataset, name, modern.fingerprint(known[name]), fold)))
            for name in chosen for fold in args.folds]
    print(table(runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, workers=args.jobs, cluster=args.cluster)))


if __name__ == '__main__':
    cli.run(main)
