"""
Run committed rows again, and compare every digit.

    python -m experiments.verify                       # 20 rows of all tables
    python -m experiments.verify results/compare.csv --sample 100
    python -m experiments.verify --all                 # every row: hours

Rows are picked at random, but for a seed, among those that took 10 seconds at
most. What support/backprop.py trains has the same bits on every machine, so
each value but the seconds must be the same to the last digit. What PyTorch
trains in minibatches (modern.py) differs from machine to machine: its test
error must lie within four standard deviations of the other seeds'.
"""
import collections
import os
import random

from experiments import claims, compare, ladder, reading
from experiments.posterior import draws, fit
from support import cli, files, runs

ROOMS = {'compare.csv': compare, 'fit.csv': fit, 'claims.csv': claims, 'posterior.csv': draws, 'modern.csv': ladder,
         'predict.csv': reading}
QUICK = 10.0            # seconds


def differences(room, row, rows):
    """[(name, in the table, now)] of the values that differ when the row's run is run again."""
    again = room.one_run(**{name: row[name] for name in room.KEY})
    if getattr(room, 'in_minibatches', lambda row: False)(row):
        run = {name: row[name] for name in room.KEY if name != 'seed'}
        mean, sd, n, _ = runs.mean_sd([other['error'] for other in rows if run.items() <= other.items()])
        return [('error', f'{mean:.2f} +- {sd:.2f}', again['error'])] if abs(again['error'] - mean) > 4 * sd else []
    return [(name, row[name], again[name]) for name in room.VALUES
            if not name.endswith('seconds') and again[name] is not None      # None: other digits than are at hand
            and runs.csv_line([row[name]]) != runs.csv_line([again[name]])]


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('tables', nargs='*', metavar='FILE', default=[os.path.join('results', name) for name in ROOMS],
                        help='tables of results/, by their names (default: all that are made of runs)')
    parser.add_argument('--sample', type=cli.count, default=20, metavar='N', help='how many rows (default: 20)')
    parser.add_argument('--all', action='store_true', help='all rows')
    parser.add_argument('--seed', type=cli.seed, default=0, metavar='N', help='of the sample (default: 0)')
    args = parser.parse_args()
    choice, left_out, equal = [], collections.Counter(), 0
    for path in args.tables:
        table = os.path.basename(path)
        if table not in ROOMS:
            parser.error(f'{path!r} is none of {", ".join(ROOMS)}')
        rows = ROOMS[table].read(path)
        for row in rows:
            dataset = row.get('dataset', 'usps')
            if not os.path.exists(files.digits_path(dataset, 'digits.json')):
                left_out[f'data/{dataset} is not there'] += 1
            elif not args.all and not (row.get('seconds') or 0) <= QUICK:
                left_out[f'they took over {QUICK:g} s'] += 1
            else:
                choice.append((table, row, rows))
    choice = random.Random(args.seed).sample(choice, len(choice) if args.all else min(args.sample, len(choice)))
    for table, row, rows in cli.progress(choice, unit='row'):
        different = differences(ROOMS[table], row, rows)
        equal += not different
        print(f'{table}: {" ".join(str(row[name]) for name in ROOMS[table].KEY)}: '
              + (', '.join(f'{name} is {new}, not {old}' for name, old, new in different) or 'equal'), flush=True)
    for reason, n in left_out.items():
        print(f'{n} rows were left out, as {reason}')
    print(f'{equal} of {len(choice)} rows equal')
    if equal < len(choice):
        cli.fail('some rows are not what is run now')


if __name__ == '__main__':
    cli.run(main)
