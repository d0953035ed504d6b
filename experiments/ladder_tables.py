"""modern.py's ladder in README.md and results/README.md: blocks of report.py, made from results/modern*.csv."""
import functools
import os
import statistics

import modern
import prepro
from experiments import trials, uncertainty
from experiments.markdown import Missing, interval, pm, probability, prose, table
from support import runs

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# what a table has beside its test digits
BESIDE = {'mnist': 'on the 7,993 others, %', 'mnist60k': "on the sample's 2007, %"}
# {data set: {whose: error, %}}: nets of at most 10,000 parameters; mostly one run, at its best pass on the test digits
PUBLISHED = {
    'mnist': {**{f'karpathy/lecun1989-repro, 2022: {idea}': error for idea, error in modern.MODERN_2022.items()},
              'buzzillio, 2025: modern tricks, 80 passes': 1.30},
    'mnist60k': {
        'LeNet-1, 2,578 parameters, 28x28 pixels (Mystique1337/lecun-1989-mnist-reproduction; five runs)': 1.69,
        '8,640 parameters, 28x28 pixels (aknakshay/MNIST-Challenge)': 0.80,
        '7,070 parameters, 28x28 pixels (nitin-vig/ERAv4S6)': 0.6,
        '8,900 parameters, 28x28 pixels (The-School-of-AI/era-s7-ram)': 0.5}}
FRONT = (0,), (1, 2, 3), (4,), (5,), tuple(range(6, modern.TOP + 1))     # rungs that share a row of the front page


@functools.cache
def rows(dataset):
    return [row for row in modern.read(os.path.join(ROOT, 'results', 'modern.csv')) if row['dataset'] == dataset]


def summary(dataset):
    found = modern.summary(rows(dataset))
    for n in range(modern.TOP + 1):
        if str(n) not in found:
            raise Missing(f'rung {n} on {dataset}')
    return found


def front():
    """The ladder in five rows."""
    found = {dataset: summary(dataset) for dataset in ('mnist', 'usps')}
    lines = []
    for rungs in FRONT:
        label = ('+ ' + '; '.join(modern.RUNGS[n]['idea'] for n in rungs) if rungs[0] else
                 "the 2022 reproduction's settings")
        lines.append([label, *(pm(f[str(rungs[-1])]['error'][:2]) for f in found.values())])
    top, bottom = (found['mnist'][str(n)] for n in (modern.TOP, 0))
    assert top['parameters'] == bottom['parameters'] and top['macs'] == bottom['macs']
    n = {f['n'] for rungs in found.values() for name, f in rungs.items() if name.isdigit()}
    return prose(f'The net, its {top["parameters"]:,.0f} parameters and its {top["macs"]:,.0f} multiply-adds a digit '
                 f'stay those of 1989. Test digits wrong, %, n={" to ".join(map(str, sorted({min(n), max(n)})))}. The '
                 "settings were chosen on folds of MNIST's training digits, mostly for an earlier ladder, whose test "
                 'results we saw:'
                 ) + '\n\n' + table(['', 'MNIST, 2007 digits', 'USPS'], lines)


def ladder(dataset):
    """modern.py's table of a data set, with the sources of its ideas, and what others published."""
    lines, wide = [], dataset in BESIDE
    for name, f in summary(dataset).items():
        source = modern.recipes()[name]['source']
        label = f['label'] if name.startswith('without') else f'{f["label"]} ({source})'
        if name in modern.OFF_LADDER:
            label += f', {f["parameters"]:,.0f} parameters, {f["macs"]:,.0f} multiply-adds'
        seconds = f'{f["seconds"][0]:.0f}' + (f' + {f["teacher_seconds"][0]:.0f}' if f['teacher_seconds'][0] else '')
        lines.append([label, f['n'], f'{f["passes"]:.0f}', seconds, pm(f['train_error'][:2]), pm(f['error'][:2]),
                      *([beside(dataset, name)] if wide else []), pm(f['misses'][:2], 1), *change(dataset, name)])
    lines += [[f'published: {whose}', '', '', '', '', f'{error:.2f}', *([''] if wide else []), '', '', '']
              for whose, error in PUBLISHED.get(dataset, {}).items()]
    return table(['', 'n', 'passes', 'seconds', 'train error, %', 'test error, %',
                     *([BESIDE[dataset]] if wide else []), 'misses', 'change [95%]', 'p'], lines)


def beside(dataset, name):
    """The error on MNIST's test digits outside the draw or, of nets measured on all of them, inside it."""
    errors = []
    for row in rows(dataset):
        if row['rung'] == name and row['others'] is not None:
            inside = row['misses'] - row['others'] / 100 * (row['n'] - prepro.N_TEST)
            errors.append(row['others'] if dataset == 'mnist' else 100 * inside / prepro.N_TEST)
    return pm(runs.mean_sd(errors)[:2]) if errors else ''


def change(dataset, name):
    """A rung's test error less the one's below, of others less rung ABLATED's: ['mean [interval]', 'p']."""
    below = str(int(name) - 1 if name.isdigit() else modern.ABLATED)
    errors = [{row['seed']: row['error'] for row in rows(dataset) if row['rung'] == rung} for rung in (name, below)]
    if not errors[1]:
        return ['', '']
    d = uncertainty.difference(*errors)
    return [interval(d), probability(d['p'])]


def rung_of(trial):
    """The trial with which a trial is compared; a rung's own trial is under itself."""
    return trial[:6] if trial.startswith('rung') else 'rung 8' if trial.startswith('distill') else 'rung 7'


def tried(dataset):
    """The trials of modern.py's settings on all folds: rungs against those below, other settings under their rung."""
    found, lines = {}, []
    for row in runs.read_rows(os.path.join(ROOT, trials.OUT), trials.KEY, trials.VALUES, trials.WORDS):
        if row['dataset'] == dataset:
            found.setdefault(row['trial'], {})[row['fold']] = row
    found = {name: [of[fold] for fold in sorted(of)] for name, of in found.items() if len(of) == trials.FOLDS}
    if not found:
        raise Missing(f'trials on {dataset}')
    for name, folds in sorted(found.items(), key=lambda item: (rung_of(item[0]), item[0] != rung_of(item[0]), item[0])):
        misses, loss, distorted = ([row[key] for row in folds] for key in ('misses', 'loss', 'distorted_error'))
        is_rung = name == rung_of(name)
        base = found.get(f'rung {int(name[5]) - 1}' if is_rung else rung_of(name))
        d = [m - row['misses'] for m, row in zip(misses, base)] if base else []
        lines.append([f'**{name}**' if is_rung else name, f'{sum(misses):.0f}',
                      f'{statistics.fmean(d):+.1f} ± {statistics.stdev(d) / len(d)**0.5:.1f}' if d else '',
                      f'{statistics.fmean(loss):.4f}', f'{statistics.fmean(distorted):.2f}'])
    return table(['', 'misses', 'a fold, change ± standard error', 'cross-entropy', 'wrong of distorted, %'], lines)


BLOCKS = {'ladder': front,
          **{f'ladder_{dataset}': functools.partial(ladder, dataset) for dataset in ('mnist', 'usps', 'mnist60k')},
          **{f'tried_{dataset}': functools.partial(tried, dataset) for dataset in ('mnist', 'usps')}}
