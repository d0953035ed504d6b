"""posterior.py's answer in README.md and results/README.md: blocks of report.py, made from results/posterior.csv."""
import functools
import math
import os

from experiments import posterior
from experiments.compare import DECIMALS, LABELS, SCALE
from experiments.markdown import Missing, pm, prose, table
from experiments.posterior import OPTIONS, TITLES

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'results')
WHAT = {'training': 'given the two training results', 'all': 'given all five'}
UNITS = dict(zip(posterior.PRIOR['unit'][1:], OPTIONS['unit']))


@functools.cache
def draws():
    rows = posterior.read(os.path.join(FOLDER, 'posterior.csv'))
    if posterior.too_few(rows):
        raise Missing('draws of posterior.py')
    return rows


@functools.cache
def summary(given, tolerance=None):
    fc40 = posterior.read(os.path.join(FOLDER, 'posterior_fc40.csv'), 'run: python -m experiments.posterior --fc40')
    return posterior.summary(draws(), given, tolerance, fc40)


def span(name, p):
    """'22.1 ± 3.2 [17.5, 27.1]' of posterior's prediction of a result."""
    mean, sd, low, high = (v * SCALE.get(name, 1) for v in (p['mean'], p['sd'], *p['interval']))
    return f'{pm((mean, sd), DECIMALS[name])} [{low:.{DECIMALS[name]}f}, {high:.{DECIMALS[name]}f}]'


# ---------------------------------------------------------------------------------------------------------------------

def counts():
    """How many draws there are, and how many are kept."""
    diverged = sum(math.isnan(row['train_loss']) for row in draws())
    kept = [f'{WHAT[given]}, {summary(given)["n"]} are kept, to a distance of {summary(given)["reach"]:.2f}'
            for given in posterior.GIVEN]
    return prose(f'Of {len(draws())} draws {diverged} diverged. Each counts twice, with its MSE as it is and halved; '
                 + '; '.join(kept) + '.')


def settings():
    """Prior and posterior of each setting."""
    rows = []
    for name, (kind, *values) in posterior.SETTINGS.items():
        found = [summary(given)['settings'][name] for given in posterior.GIVEN]
        if kind == 'one of':
            for option, label in zip(values, OPTIONS.get(name, values)):
                rows.append([f'{TITLES[name]}: {label}', f'{1 / len(values):.0%}',
                             *(posterior.percent(*f[option]) for f in found)])
        else:
            rows.append([TITLES[name], f'{values[0]:g} to {values[1]:g}' + (', log-uniform' if 'log' in kind else ''),
                         *('{:.2g} [{:.2g}, {:.2g}]'.format(f['mean'], *f['interval']) for f in found)])
    return table(['setting', 'prior', *WHAT.values()], rows)


def predictions():
    """The test results that follow from the training results, for each tolerance."""
    rows = [['the paper', '', *(f'{posterior.EXACT[name] * SCALE[name]:.3g}' for name in posterior.TEST)]]
    for tolerance in posterior.GIVEN['training'][1]:
        s = summary('training', tolerance)
        rows.append([f'{tolerance:g}, reached {s["reach"]:.2f}', s['n'],
                     *(span(name, p) for name, p in s['predicted'].items())])
        rows.append(["the paper's quantile", '', *(f'{p["quantile"]:.2f}' + ('' if p['inside'] else ', **outside**')
                                                   for p in s['predicted'].values())])
    return table(['tolerance', 'draws', *(LABELS[name] for name in posterior.TEST)], rows)


def hypotheses():
    """Unit and factor 1/2 together, for each tolerance."""
    rows = []
    for unit, half in posterior.HYPOTHESES:
        row = [f'{UNITS[unit]}, MSE {OPTIONS["half"][half]}']
        for given, (_, tolerances) in posterior.GIVEN.items():
            found = [summary(given, tolerance)['hypotheses'][unit, half] for tolerance in tolerances]
            level = found[1][-1]
            row += [posterior.percent(*f) for f in found] + [f'±{pm(level)}' if found[1][0] > 1 else '']
        rows.append(row)
    kept = [[f'{summary(given, tolerance)["n"]} draws' for tolerance in tolerances] + ['']
            for given, (_, tolerances) in posterior.GIVEN.items()]
    rows.append(['kept', *kept[0], *kept[1]])
    heads = [[f'{words}, tolerance {t:g}' for t in posterior.GIVEN[given][1]] + ['targets']
             for given, words in (('training', 'training results'), ('all', 'all five'))]
    return table(['', *heads[0], *heads[1]], rows)


def fc40():
    """The results of the fully connected net trained by the settings kept."""
    found = {given: summary(given) for given in posterior.GIVEN}
    if not found['training']['fc40']:
        raise Missing('draws of posterior.py --fc40')
    rows = []
    for name, p in found['training']['fc40'].items():
        these = [f['fc40'][name] for f in found.values()]
        rows.append([LABELS[name], f'{p["paper"]:g}',
                     *(f'{span(name, p)}, quantile {p["quantile"]:.2f}' for p in these)])
    return table(['', 'the paper', *(f'{WHAT[given]}: {f["n_fc40"]} draws' for given, f in found.items())], rows)


def calibration():
    """How well draws that play the paper are inferred."""
    found = {given: posterior.calibration(posterior.columns(draws()), given) for given in posterior.GIVEN}
    rows = []
    for name in found['training']:
        row = [TITLES.get(name) or LABELS[name]]
        for f in found.values():
            if name not in f:
                row.append('')
            elif len(f[name]) == 3:
                row.append('{:.2f}, expected {:.2f} ± {:.2f}'.format(*f[name]))
            else:
                held, of, *interval = f[name]
                row.append(f'{held} of {of}: {posterior.percent(held, *interval)}')
        rows.append(row)
    return table(['', *WHAT.values()], rows)


def finding():
    """The answer in three sentences, for the front page."""
    s, nearest, wide = summary('training'), summary('all'), summary('all', posterior.GIVEN['all'][1][2])
    p = {name: s['predicted'][name] for name in ('test_loss', 'test_error', 'rejection')}
    mse, error, rejected = ('{:.{d}f} to {:.{d}f}'.format(*(v * SCALE[name] for v in one['interval']), d=DECIMALS[name])
                            for name, one in p.items())
    quantiles = ', '.join(f'{one["quantile"]:.2f}' for one in p.values())
    (root, tanh), (root_wide, tanh_wide) = (
        [f'{100 * found[1]:.0f}' for found in (one['settings']['root'][0], one['hypotheses']['tanh', 0])]
        for one in (nearest, wide))
    level = pm(nearest['hypotheses']['tanh', 0][-1][:1])
    return ('**[What was done in 1989?](results/README.md#what-was-done-in-1989)** '
            f'Of {len(draws())} draws of what the paper leaves open, {s["n"]} come near its two training '
            f'results. They predict a test MSE of {mse}e-3, {error}% wrong and {rejected}% rejected (90% intervals); '
            f"the paper's 18e-3, 5.1% (102 misses) and 12.1% lie at the quantiles {quantiles}. Of the {nearest['n']} "
            f'nearest to all its results, {root}% have the initial range 2.4/F, as printed, and {tanh}% have tanh, '
            f'targets near ±{level} and the MSE without the customary factor 1/2 (of the nearest '
            f'{wide["n"]}: {root_wide}% and {tanh_wide}%).')


BLOCKS = {'posterior_counts': counts, 'posterior_settings': settings, 'posterior_predictions': predictions,
          'posterior_hypotheses': hypotheses, 'posterior_fc40': fc40, 'posterior_calibration': calibration}
