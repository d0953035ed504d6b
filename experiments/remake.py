"""
Make the results again and compare them with those committed: takes hours.

    make results        # python -m experiments.remake

The commands are those of results/README.md, in order, but for the times and
the trials, run in out/remade as if it were a fresh clone with data/. It may be
interrupted and repeated: runs that are there are not done again. At the end
each CSV file is compared with the one in results/, row by row. All but the
times should be the same (claim 14 is all times). On another machine last
digits may differ, as sums are taken in another order.
"""
import csv
import os
import re
import shlex
import subprocess
import sys

from support import cli, files, runs

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COMMITTED = os.path.join(ROOT, 'results')
SEPARATE = ('--cluster', 'mine.png', 'experiments.report', 'experiments.bench', 'prepro.py', 'figures speed', '--list')
KEPT = ('bench.csv', 'modern_before.csv', 'modern_trials.csv', 'modern_trials_before.csv')  # times, and past choices


def commands():
    """[[module, argument, ...]] of results/README.md, without the commands that make no results, or only times."""
    text = files.read_file(os.path.join(COMMITTED, 'README.md'), '`git checkout` brings it back').decode()
    lines = re.findall(r'^    python (?:-m )?(\S.*?)\s*(?:#.*)?$', text, re.M)
    return [shlex.split(line) for line in lines if not any(word in line for word in SEPARATE)]


def remade():
    """The CSV files of results/ that the commands make."""
    return sorted(name for name in os.listdir(COMMITTED) if name.endswith('.csv') and name not in KEPT)


def rows(path):
    """The rows of a CSV file without their times, as a set."""
    with open(path, newline='', encoding='utf-8') as f:
        return {tuple((name, value) for name, value in row.items() if not name.endswith('seconds'))
                for row in csv.DictReader(f)}


def compared(name, remade):
    """A line that says how many rows of a CSV file are the same in results/ and in the folder remade."""
    path = os.path.join(remade, name)
    if not os.path.exists(path):
        return f'{name:24} not made'
    old, new = rows(os.path.join(COMMITTED, name)), rows(path)
    return (f'{name:24}{len(old & new):6} rows are the same,{len(old - new):5} only in results/,{len(new - old):5} '
            'only here')


def hours():
    """How long the committed runs took, in hours on one core."""
    total = 0.0
    for name in remade():
        with open(os.path.join(COMMITTED, name), newline='', encoding='utf-8') as f:
            total += sum(float(row.get('seconds') or 0) for row in csv.DictReader(f))
    return total / 3600


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--plan', action='store_true', help='print what would be done, and do nothing')
    args = parser.parse_args()
    folder, todo = os.path.join(ROOT, 'out', 'remade'), commands()
    print(f'{len(todo)} commands, in {folder}; the runs committed took {hours():.1f} hours on one core, and here are '
          f'{runs.cores()}:')
    print('\n'.join(f'    {shlex.join(command)}' for command in todo), flush=True)
    if args.plan:
        return
    for dataset in 'mnist', 'usps', 'mnist60k':
        if not os.path.exists(os.path.join(ROOT, files.digits_path(dataset, 'digits.json'))):
            cli.fail(f'there is no data/{dataset}; to make it: python prepro.py --dataset {dataset}')
    os.makedirs(os.path.join(folder, 'results'), exist_ok=True)
    if not os.path.lexists(os.path.join(folder, 'data')):
        os.symlink(os.path.join(ROOT, 'data'), os.path.join(folder, 'data'))
    failed = []
    for i, (name, *arguments) in enumerate(todo, 1):
        print(f'\n{i}/{len(todo)}: {shlex.join([name, *arguments])}', flush=True)
        script = [os.path.join(ROOT, name)] if name.endswith('.py') else ['-m', name]
        status = subprocess.run([sys.executable, *script, *arguments], cwd=folder,
                                env=os.environ | {'PYTHONPATH': ROOT}).returncode
        if status in (130, -2):
            raise KeyboardInterrupt
        failed += [name] if status else []
    print('\ncompared with results/:')
    print('\n'.join(compared(name, os.path.join(folder, 'results')) for name in remade()))
    if failed:
        cli.fail(f'these ended with an error, shown above: {", ".join(failed)}')


if __name__ == '__main__':
    cli.run(main)
