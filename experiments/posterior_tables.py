"""posterior.py's answer in the two README.md: blocks of report.py, made from results/posterior.csv."""
import functools
import math
import os

from experiments import posterior
from experiments.compare import DIGITS, SCALE
from experiments.markdown import pm, prose, table
from experiments.posterior_pictures import OPTIONS, TITLES

RESULTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'results')
NAMES = {'test_loss': 'test MSE, 1e-3', 'test_error': 'test error, %', 'test_misses': 'misses',
         'rejection': 'rejected, %', 'train_loss': 'train MSE, 1e-3', 'train_error': 'train error, %',
         'train_misses': 'training misses'}
WHAT = {'training': 'given the two training results', 'all': 'given all'}
UNITS = dict(zip(posterior.PRIOR['unit'][1:], OPTIONS['unit']))


@functools.cache
def draws():
    return posterior.read(os.path.join(RESULTS, 'posterior.csv'))


@functools.cache
def summary(given, tolerance=None):
    return posterior.summary(draws(), given, tolerance, posterior.read(os.path.join(RESULTS, 'posterior_fc40.csv')))


def share(found, *_):
    """'39% [31, 48]' of (n, share, low, high)."""
    return posterior.percent(*found)


def span(name, p):
    """'22.1 ± 3.2 [17.5, 27.1]' of posterior's prediction of a result."""
    mean, sd, low, high = (v * SCALE.get(name, 1) for v in (p['mean'], p['sd'], *p['interval']))
    return f'{pm((mean, sd), DIGITS[name])} [{low:.{DIGITS[name]}f}, {high:.{DIGITS[name]}f}]'


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
                rows.append([f'{TITLES[name]}: {label}', f'{1 / len(values):.0%}', *(share(f[option]) for f in found)])
        else:
            rows.append([TITLES[name], f'{values[0]:g} to {values[1]:g}' + (', log-uniform' if 'log' in kind else ''),
                         *('{:.2g} [{:.2g}, {:.2g}]'.format(f['mean'], *f['interval']) for f in found)])
    return table(['setting', 'prior', *WHAT.values()], rows)


def predictions():
    """The test results that follow from the training results, for each tolerance."""
    rows = [['the paper', '', *(f'{posterior.EXACT[name] * SCALE[name]:.3g}' for name in posterior.TEST)]]
    for tolerance in posterior.GIVEN['training'][1]:
        s = summary('training', tolerance)
        rows.append([f'within {tolerance:g}', s['n'], *(span(name, p) for name, p in s['predicted'].items())])
        rows.append(["the paper's quantile", '', *(f'{p["quantile"]:.2f}' + ('' if p['inside'] else ', **outside**')
                                                   for p in s['predicted'].values())])
    return table(['tolerance', 'draws', *(NAMES[name] for name in posterior.TEST)], rows)


def hypotheses():
    """Unit and factor 1/2 together, for each tolerance."""
    rows = []
    for unit, half in posterior.HYPOTHESES:
        row = [f'{UNITS[unit]}, MSE {OPTIONS["half"][half]}']
        for given, (_, tolerances) in posterior.GIVEN.items():
            found = [summary(given, tolerance)['hypotheses'][unit, half] for tolerance in tolerances]
            level = found[1][-1]
            row += [share(f) for f in found] + [f'±{pm(level)}' if found[1][0] > 1 else '']
        rows.append(row)
    kept = [[f'{summary(given, tolerance)["n"]} draws' for tolerance in tolerances] + ['']
            for given, (_, tolerances) in posterior.GIVEN.items()]
    rows.append(['kept', *kept[0], *kept[1]])
    heads = [[f'{words}, within {t:g}' for t in posterior.GIVEN[given][1]] + ['its targets']
             for given, words in (('training', 'training results'), ('all', 'all'))]
    return table(['', *heads[0], *heads[1]], rows)


def fc40():
    """The fully connected net by the settings kept."""
    found = {given: summary(given) for given in posterior.GIVEN}
    rows = []
    for name, p in found['training']['fc40'].items():
        these = [f['fc40'][name] for f in found.values()]
        rows.append([NAMES[name], f'{p["paper"]:g}', *(f'{span(name, p)}, quantile {p["quantile"]:.2f}' for p in these)])
    return table(['', 'the paper', *(f'{WHAT[given]}: {f["n_fc40"]} draws' for given, f in found.items())], rows)


def calibration():
    """Draws taken for the paper, and inferred."""
    found = {given: posterior.calibration(posterior.columns(draws()), given) for given in posterior.GIVEN}
    rows = []
    for name in found['training']:
        row = [TITLES.get(name) or NAMES[name]]
        for f in found.values():
            if name not in f:
                row.append('')
            elif len(f[name]) == 3:
                row.append('{:.2f}, should have {:.2f} ± {:.2f}'.format(*f[name]))
            else:
                held, of, *interval = f[name]
                row.append(f'{held} of {of}: {posterior.percent(held, *interval)}')
        rows.append(row)
    return table(['', *WHAT.values()], rows)


def finding():
    """The answer in three sentences, for the front page."""
    s, all_six = summary('training'), summary('all')
    p = {name: s['predicted'][name] for name in ('test_loss', 'test_error', 'rejection')}
    said = {name: '[{:.{d}f}, {:.{d}f}]'.format(*(v * SCALE[name] for v in one['interval']), d=DIGITS[name] or 1)
            for name, one in p.items()}
    outside = [name for name, one in p.items() if not one['inside']]
    which = {'test_loss': '18e-3', 'test_error': '5.1%', 'rejection': '12.1%'}
    verdict = (f"the paper's {', '.join(which[name] for name in p if name not in outside)} lie inside"
               + (f', its {" and ".join(which[name] for name in outside)} outside' if outside else ''))
    likely = sorted(((*found[:4], key) for key, found in all_six['hypotheses'].items()), key=lambda one: -one[0])
    odds = '; '.join(f'{UNITS[unit]}{", halved MSE" if half else ""} '
                     f'{posterior.percent(*found)}' for *found, (unit, half) in likely)
    return (f'**[What was done in 1989?](results/README.md#what-was-done-in-1989)** Of {len(draws())} settings drawn from '
            f"what the paper leaves open, {s['n']} come near its two training results. Of their nets' test results, 90% lie "
            f'in: MSE {said["test_loss"]}e-3, {said["test_error"]}% wrong, {said["rejection"]}% rejected; {verdict}. Given all '
            f'its results, and that the MSE may have been reported with the customary factor 1/2: {odds}; and the initial '
            f'range is 2.4/F, as printed, not 2.4/√F: {share(all_six["settings"]["root"][0])}.')


BLOCKS = {'posterior_counts': counts, 'posterior_settings': settings, 'posterior_predictions': predictions,
          'posterior_hypotheses': hypotheses, 'posterior_fc40': fc40, 'posterior_calibration': calibration}
