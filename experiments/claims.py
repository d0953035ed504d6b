"""
Every claim of the paper, measured.

    python -m experiments.claims            # all
    python -m experiments.claims 5 6        # some, by number

Besides its table of results the paper makes 14 claims in words. Each has a
section in claims_of_learning.py or claims_of_nets.py: its words; the
experiment, where there can be one; and the rule for the verdict, written down
before the runs. A claim holds, holds in part, does not hold, or cannot be
told.

Each run is a row of a CSV file, so that the command may be interrupted and
repeated. Nothing is chosen on test digits: where a claim compares two ways of
learning, each has the rate of a grid that gives the lowest training MSE. A
difference counts if it is more than two standard errors.
"""
import math
import os
import textwrap

import repro
from experiments import claims_of_learning, claims_of_nets, lenet1      # noqa: F401 (which fill CLAIMS)
from experiments.claim_runs import CLAIMS, OPEN, SETTINGS, WATCH, build, learning
from repro import RESULTS
from support import cli, files, runs

# ---------------------------------------------------------------------------------------------------------------------
# runs. A row's settings are the fingerprint of its setting. Its curves are what was watched: 'name=v v v;...', one or
# more numbers for each moment in `at`

KEY = ('claim', 'setting', 'settings', 'dataset', 'seed')
VALUES = (*RESULTS, 'seconds', 'curves')
WORDS = ('setting', 'settings', 'dataset', 'curves')
SPEED = 14              # the claim whose runs are timed: one at a time, on this machine

load = files.load_digits


def one_run(claim, setting, settings, dataset, seed):
    """Measure one setting of one claim: the values of its row."""
    chosen = SETTINGS[claim][setting]
    assert settings == runs.fingerprint(chosen)
    if chosen.get('net') is None:
        return dict.fromkeys(RESULTS) | claims_of_nets.timing(chosen, load(dataset), seed)
    splits = load(dataset)
    if chosen['net'] == 'lenet1':
        splits = {split: (lenet1.framed(X), Y) for split, (X, Y) in splits.items()}
    X, Y = (t[seed % chosen.get('part', 1)::chosen.get('part', 1)] for t in splits['train'])
    net = build(chosen, seed)
    curves, seconds, at = {}, 0.0, chosen.get('at', ())

    def look(n):
        for name in chosen.get('watch', ()):
            for curve, numbers in WATCH[name](net, splits).items():
                curves.setdefault(curve, []).extend(numbers)
    if 0 in at:
        look(0)
    try:
        for n, (_, seconds) in enumerate(learning(net, X, Y, chosen), 1):
            if n in at:
                look(n)
    except repro.Diverged:
        return dict.fromkeys(RESULTS, math.nan) | {'seconds': seconds, 'curves': ''}
    train, test = (repro.measure(net, *splits[split]) for split in ('train', 'test'))
    packed = ';'.join(f'{name}=' + ' '.join(f'{v:.5g}' for v in numbers) for name, numbers in curves.items())
    return repro.results(train, test) | {'seconds': seconds, 'curves': packed}


# ---------------------------------------------------------------------------------------------------------------------
# the table

def jobs_of(number, rows, dataset, seeds):
    """The jobs of a claim that are known so far: which rate is best is known once the rows have its grid."""
    mine = [row for row in rows if row['claim'] == number]
    return [{'claim': number, 'setting': name, 'settings': runs.fingerprint(SETTINGS[number][name]), 'dataset': dataset,
             'seed': seed} for name, seed in dict.fromkeys(CLAIMS[number]['jobs'](mine, seeds))]


def read(path):
    """The rows of a CSV file of runs, of the settings as they are now."""
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS)
            if row['setting'] in SETTINGS.get(row['claim'], {})
            and row['settings'] == runs.fingerprint(SETTINGS[row['claim']][row['setting']])]


def table(rows, numbers=None):
    """Lines [number, claim, section, measured, verdict], from the rows of one data set."""
    lines = []
    for number, one in sorted(CLAIMS.items()):
        if numbers is None or number in numbers:
            mine = [row for row in rows if row['claim'] == number]
            lines.append([str(number), one['words'], one['section'], *one['verdict'](mine)])
    return lines


def shown(lines):
    """The table as text for a shell."""
    text = []
    for number, words, section, measured, outcome in lines:
        text.append('\n'.join(textwrap.wrap(f'{number:>2}  {words} ({section}): {outcome or "-"}', 79,
                                            subsequent_indent='    ')))
        text.append(textwrap.fill(measured, 79, initial_indent='    ', subsequent_indent='    '))
    return '\n'.join(text)


def main():
    parser = cli.parser(__doc__, epilog='claims:\n' + '\n'.join(
        textwrap.fill(f'{number:>4}  {one["words"]}', 79, subsequent_indent='      ')
        for number, one in sorted(CLAIMS.items())))
    parser.add_argument('claims', nargs='*', type=cli.checked(int, 1, max(CLAIMS), 'the number of a claim'),
                        metavar='N', help='claims (default: all)')
    parser.add_argument('--dataset', type=files.dataset, default='usps', metavar='D', help='default: usps')
    parser.add_argument('--seeds', type=cli.numbers, default=range(10), metavar='A-B', help='default: 0-9')
    runs.add_arguments(parser, os.path.join('out', 'claims.csv'))
    args = parser.parse_args()
    numbers, seeds = args.claims or sorted(CLAIMS), list(args.seeds)
    load(args.dataset)                  # ends here if it is not there
    where = {'workers': args.jobs, 'cluster': args.cluster}
    rows, jobs, before = [], [], None
    while jobs != before:               # the best rate, and what is run at it, is known once its grid has run
        rows, before = runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, threads=True, **where), jobs
        jobs = [job for number in numbers if CLAIMS[number]['jobs'] and number != SPEED
                for job in jobs_of(number, rows, args.dataset, seeds)]
    if SPEED in numbers:
        rows += runs.run_all(one_run, jobs_of(SPEED, [], args.dataset, seeds), args.out, KEY, VALUES, WORDS,
                             threads=True, workers=1)
    lines = table(rows, numbers)
    for line in lines if len(seeds) < 2 else ():
        if CLAIMS[int(line[0])]['jobs'] and int(line[0]) != SPEED:
            line[3:] = 'one seed has no standard error: a verdict takes two or more', OPEN
    print(shown(lines))


if __name__ == '__main__':
    cli.run(main)
