"""
The claims about learning, sections 4 and 5: the unit, the targets, the initial weights, the stochastic gradient,
Newton's method, and the speed of convergence. Each has its words, its experiment, and the rule for its verdict, written
down before the runs. python -m experiments.claims runs them.
"""
import math
import statistics

from experiments.claim_runs import (BASE, FEW, SETTINGS, SIXTEENTH, best, chosen, claim, curve, differ,
                                    first_passes, grid, missing, of, pm, rate_of, verdict)
from repro import PASSES

PASS_BY_PASS = tuple(range(1, PASSES + 1))

# ---------------------------------------------------------------------------------------------------------------------
# Claim 2

ERROR = 2.0             # % of the training digits

UNIT = {'tanh': {}, 'logistic': {'net': 'paper', 'logistic': True}}
DRAWN = {'F': {}, 'root': {'root': True}}
RATES_2 = {'sgd tanh F': (0.02, 0.05, 0.1, 0.2), 'sgd tanh root': (0.02, 0.05, 0.1, 0.2),
           'sgd logistic F': (0.5, 1.0, 2.0, 5.0), 'sgd logistic root': (0.5, 1.0, 2.0, 5.0),
           'newton tanh F': (0.002, 0.005, 0.01, 0.02), 'newton tanh root': (0.002, 0.005, 0.01, 0.02),
           'newton logistic F': (0.02, 0.05, 0.1, 0.2, 0.5), 'newton logistic root': (0.02, 0.05, 0.1, 0.2)}
SETTINGS[2] = {f'{how} {rate}': BASE | UNIT[how.split()[1]] | DRAWN[how.split()[2]] | {
    'optimizer': how.split()[0], 'rate': rate, 'at': PASS_BY_PASS, 'watch': ['train']}
    for how, rates in RATES_2.items() for rate in rates}


def grid_2(method, unit):
    """All settings of a method and a unit."""
    return [name for name in SETTINGS[2] if name.startswith(f'{method} {unit} ')]


def jobs_2(rows, seeds):
    return [job for method in ('sgd', 'newton') for unit in UNIT for job in chosen(rows, grid_2(method, unit), seeds)]


@claim(2, 'symmetric functions "are believed to yield faster convergence"', '4', jobs_2)
def verdict_2(rows):
    """
    The paper's unit, tanh, against the logistic unit, 1 / (1 + e**-s), with outputs from 0 to 1 and targets scaled to
    match; with plain gradient descent and with Newton's method. Each unit has its own best rate, and the better of two
    initial ranges, 2.4/F and 2.4 over F's square root.

    Measured: passes until 2% of the training digits are wrong, 24 if that takes more than 23.
    Rule: for how many of the two methods tanh needs fewer passes.
    """
    faster, words = [], []
    for method in ('sgd', 'newton'):
        names = {unit: best(rows, grid_2(method, unit)) for unit in UNIT}
        passes = {unit: [first_passes(row, 'train_error', ERROR) for row in of(rows, name)]
                  for unit, name in names.items() if name}
        if len(passes) < 2:
            return missing(rows)
        faster.append(differ(passes['tanh'], passes['logistic']) < 0)
        words.append(f'{method}: ' + ', '.join(f'{unit} {pm(p, 1)} ({" ".join(names[unit].split()[2:])})'
                                               for unit, p in passes.items()))
    return (f'passes to {ERROR:g}% training error (from which range, at which rate): ' + '; '.join(words),
            verdict(*faster))


# ---------------------------------------------------------------------------------------------------------------------
# Claim 3

LEVELS = (0.6, 0.7, 0.8, 0.9, 1.0)
AT_3 = (0, 1, 2, 5, 10, 23, 50, 100)
SETTINGS[3] = {f'level {level}': BASE | {'level': level, 'passes': 100, 'at': AT_3, 'watch': ['weights', 'loss']}
               for level in LEVELS}


def jobs_3(rows, seeds):
    return [(name, seed) for name in SETTINGS[3] for seed in seeds]


@claim(3, 'targets inside the range keep the weights from growing, and the outputs from the flat spot', '4', jobs_3)
def verdict_3(rows):
    """
    "Target values ... within the quasilinear range of the sigmoid ... prevents the weights from growing indefinitely
    and prevents the output units from operating in the flat spot." The paper's net with targets at 0.6 to 1.0 of
    tanh's range, for 100 passes.

    Measured: how much the norm of the output's weights grows from pass 50 to pass 100; how many outputs are in the flat
    spot at the end (|y| > 0.95, where the slope is less than a tenth of its largest).
    Rule: (a) at 0.8, the level of `paper`, the growth is less than half that at 1.0; (b) at 0.8 less than 5% of the
    outputs are in the flat spot, and at 1.0 more than half.
    """
    grown, flat = {}, {}
    for level in LEVELS:
        found = of(rows, f'level {level}')
        if not found:
            return missing(rows)
        grown[level] = [100 * (curve(row, 'output_norm')[-1] / curve(row, 'output_norm')[-2] - 1) for row in found]
        flat[level] = [curve(row, 'flat')[-1] for row in found]
    half = differ(grown[0.8], [g / 2 for g in grown[1.0]]) < 0
    spot = statistics.fmean(flat[0.8]) < 5 and statistics.fmean(flat[1.0]) > 50
    return ('at targets of ' + ', '.join(map(str, LEVELS)) + ": the output's weights grow in passes 50 to 100 by "
            + ', '.join(f'{pm(grown[level], 1)}%' for level in LEVELS) + '; outputs in the flat spot '
            + ', '.join(f'{statistics.fmean(flat[level]):.1f}%' for level in LEVELS)), verdict(half, spot)


# ---------------------------------------------------------------------------------------------------------------------
# Claim 4

LAYERS = ('H1', 'H2', 'H3', 'output')
SETTINGS[4] = {f'{reading} {method}': BASE | {'root': reading == 'root'} | rate
               | {'passes': 5, 'at': tuple(range(6)), 'watch': ['sums', 'train']}
               for reading in ('F', 'root')
               for method, rate in {'newton': {}, 'sgd': {'optimizer': 'sgd', 'rate': 0.06}}.items()}


def jobs_4(rows, seeds):
    return [(name, seed) for name in SETTINGS[4] for seed in seeds]


@claim(4, '2.4/F "tends to keep the total inputs within the operating range of the sigmoid"', '4', jobs_4)
def verdict_4(rows):
    """
    The weighted sums of the untrained net over 1,000 training digits, with initial weights within 2.4/F, or 2.4 over
    F's square root, as many read it; and the first five passes from either, by Newton's method and by plain gradient
    descent.

    Rule: for 2.4/F as printed, in how many of the four layers at least 95% of the sums are within +-1, where tanh's
    slope is at least 0.42 of its largest.
    """
    def mean_error(name, n):
        return statistics.fmean(curve(row, 'train_error')[n] for row in of(rows, name))
    words, inside = [], None
    for reading in ('F', 'root'):
        found = of(rows, f'{reading} newton')
        if not found:
            return missing(rows)
        within, spread = ([statistics.fmean(curve(row, name)[i] for row in found) for i in range(len(LAYERS))]
                          for name in ('within', 'spread'))
        inside = inside or [w >= 95 for w in within]
        words.append(f'{"F" if reading == "F" else "its root"}: sums within +-1 in ' + ', '.join(LAYERS) + ' '
                     + ', '.join(f'{w:.0f}%' for w in within) + ' (sd ' + ', '.join(f'{s:.2f}' for s in spread)
                     + '), training error after 1 and 5 passes ' + ' and '.join(', '.join(
                         f'{mean_error(f"{reading} {method}", n):.1f}%' for n in (1, 5)) + f' ({method})'
                         for method in ('newton', 'sgd') if of(rows, f'{reading} {method}')))
    return '; '.join(words), verdict(*inside)


# ---------------------------------------------------------------------------------------------------------------------
# Claim 5

LONG = 2000             # passes of the true gradient
SHORT = 300             # passes of its tuning
FASTER = 10             # times: "much"
AT_LONG = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000)
AT_CHUNKS = (*range(1, 33), *range(34, 65, 2), *range(72, 129, 8), *range(144, 16 * PASSES + 1, 16))
RATES_5 = {'stochastic': (0.02, 0.05, 0.1, 0.2, 0.5), 'stochastic newton': (0.001, 0.002, 0.005, 0.01, 0.02),
           'true': (0.1, 0.2, 0.5, 1.0, 2.0, 5.0), 'true newton': (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)}
OPTIMIZER_5 = dict(zip(RATES_5, ('sgd', 'newton', 'batch', 'batch newton')))
ONES_5 = {f'{how} {rate}': BASE | {'rate': rate, 'optimizer': OPTIMIZER_5[how]}
          for how, rates in RATES_5.items() for rate in rates}
WHEN_5 = {True: {'passes': LONG, 'at': AT_LONG}, False: {'chunks': SIXTEENTH, 'at': AT_CHUNKS}}
SETTINGS[5] = {name: one | {'watch': ['loss']} | WHEN_5[name.startswith('true')] for name, one in ONES_5.items()}
SETTINGS[5] |= {f'short {name}': one | {'passes': SHORT} for name, one in ONES_5.items() if name.startswith('true')}


def best_5(rows, how):
    """The name of the setting with the best rate."""
    short = 'short ' * how.startswith('true')
    name = best(rows, [f'{short}{how} {rate}' for rate in RATES_5[how]])
    return name and name.removeprefix('short ')


def jobs_5(rows, seeds):
    jobs = []
    for how, rates in RATES_5.items():
        short, name = 'short ' * how.startswith('true'), best_5(rows, how)
        jobs += grid([f'{short}{how} {rate}' for rate in rates], seeds)
        jobs += [(name, seed) for seed in (seeds[:FEW] if short else seeds) if name]
    return jobs


def curve_5(row):
    """(passes over the data, training MSE, test error) of a run, as lists."""
    true = row['setting'].startswith('true')
    passes = AT_LONG if true else [n / SIXTEENTH for n in AT_CHUNKS]
    return list(passes), curve(row, 'train_loss'), curve(row, 'test_error')


def where(xs, ys, level):
    """The x at which ys first comes down to level, interpolated on a log scale; inf if it never does."""
    for n, y in enumerate(ys):
        if y <= level:
            if n == 0 or y == ys[n - 1]:
                return xs[n]
            share = math.log(ys[n - 1] / level) / math.log(ys[n - 1] / y)
            return xs[n - 1] + share * (xs[n] - xs[n - 1])
    return math.inf


@claim(5, 'the stochastic gradient converges much faster than the true gradient, to more robust solutions', '4', jobs_5)
def verdict_5(rows):
    """
    An update after each pattern, by the stochastic gradient, against an update after each pass, by the gradient of all
    patterns, each at its own best rate; with one rate for all weights, and with Newton's rates. The stochastic gradient
    has 23 passes, the true gradient 2,000 (its rate is tuned over 300) and 5 seeds. "Robust" is taken to be the test
    error at the same training MSE, the lowest that every run of both reaches.

    Rule, for one rate and for Newton's: (a) the stochastic gradient needs at most a tenth of the passes to reach that
    training MSE; (b) its test error there is lower. All four: holds; none: does not hold.
    """
    parts, words = [], []
    for how in ('', ' newton'):
        names = [best_5(rows, f'{kind}{how}') for kind in ('stochastic', 'true')]
        curves = [[curve_5(row) for row in of(rows, name)] if name else [] for name in names]
        if not all(curves):
            return missing(rows)
        level = max(min(losses) for both in curves for _, losses, _ in both)
        passes, errors = ([[where(one[what], one[1], level) for one in both] for both in curves] for what in (0, 2))
        parts += [statistics.fmean(passes[0]) * FASTER <= statistics.fmean(passes[1]), differ(*errors) < 0]
        ends = sorted(losses[-1] for _, losses, _ in curves[1])      # a single run that gets stuck raises the level
        words.append(f'{"Newton" if how else "one rate"}: to a training MSE of {level:.1e} stochastic '
                     f'{pm(passes[0], 1)} passes, true {pm(passes[1], 0)}; test error there {pm(errors[0])}% and '
                     f'{pm(errors[1])}% (rates {rate_of(names[0])}, {rate_of(names[1])}; the runs of the true '
                     f'gradient end at {", ".join(f"{end:.1e}" for end in ends)}, and the highest sets the MSE)')
    return '; '.join(words), verdict(*parts)


# ---------------------------------------------------------------------------------------------------------------------
# Claim 6

TREMENDOUS = 3          # times
WIDER = 0.5             # decades
FACTOR = 2              # of the best training MSE
DECADES = {'sgd': (-3, 1), 'newton': (-5, -1)}          # powers of ten, from and to: four decades
RATES_6 = {how: [float(f'{digit}e{power}') for power in range(low, high) for digit in (1, 2, 5)] + [10.0**high]
           for how, (low, high) in DECADES.items()}
SETTINGS[6] = {f'{how} {rate}': BASE | {'optimizer': how, 'rate': rate, 'at': PASS_BY_PASS, 'watch': ['train']}
               for how, rates in RATES_6.items() for rate in rates}


def jobs_6(rows, seeds):
    return [(name, seed) for name in SETTINGS[6] for seed in seeds[:FEW]]


def losses_6(rows, how):
    """{rate: the geometric mean of the training MSE after 23 passes}, for rates at which no run diverged."""
    found = {rate: [row['train_loss'] for row in rows if row['setting'] == f'{how} {rate}'] for rate in RATES_6[how]}
    return {rate: math.exp(statistics.fmean(map(math.log, losses)))
            for rate, losses in found.items() if losses and all(map(math.isfinite, losses))}


def width(losses, factor=FACTOR):
    """
    The width, in decades of rate, of the range around the lowest loss in which the loss is within a factor of it.
    losses, {rate: loss}, are interpolated on log scales. The range ends where the next rate diverged, or there is none.
    """
    xs = [math.log10(rate) for rate in sorted(losses)]
    ys = [math.log(losses[rate]) for rate in sorted(losses)]
    low, limit, total = ys.index(min(ys)), min(ys) + math.log(factor), 0.0
    for step in (-1, 1):
        n = low
        while 0 <= n + step < len(xs) and abs(xs[n + step] - xs[n]) < 0.5:           # the neighbor in the grid
            inside = min(1.0, (limit - ys[n]) / (ys[n + step] - ys[n])) if ys[n + step] > limit else 1.0
            total += inside * abs(xs[n + step] - xs[n])
            if inside < 1:
                break
            n += step
    return total


@claim(6, 'Newton: no tremendous increase in speed, but reliable without extensive adjustments', '4', jobs_6)
def verdict_6(rows):
    """
    Newton's method and plain gradient descent at rates over four decades, 23 passes, 5 seeds.

    Measured: training MSE at each rate; for how many decades of rate it is within a factor 2 of the best.
    Rule: (a) "no tremendous increase": Newton's method needs more than a third of the 23 passes to reach the lowest
    training MSE of plain descent; (b) "reliably": its range is wider by half a decade or more.
    """
    losses = {how: losses_6(rows, how) for how in RATES_6}
    if not all(len(found) > 2 for found in losses.values()):
        return missing(rows)
    rate = {how: min(found, key=found.get) for how, found in losses.items()}
    passes = [first_passes(row, 'train_loss', losses['sgd'][rate['sgd']])
              for row in of(rows, f'newton {rate["newton"]}')]
    never = sum(n > PASSES for n in passes)
    wide = {how: width(found) for how, found in losses.items()}
    return (f'lowest training MSE: Newton {losses["newton"][rate["newton"]]:.1e} (rate {rate["newton"]:g}), plain '
            f'{losses["sgd"][rate["sgd"]]:.1e} (rate {rate["sgd"]:g}), to which Newton takes {pm(passes, 1)} of 23 '
            f'passes ({never} of {len(passes)} runs do not reach it, and count as {PASSES + 1}); within a factor '
            f'{FACTOR} of it for {wide["newton"]:.1f} and {wide["sgd"]:.1f} decades of rate',
            verdict(statistics.fmean(passes) > PASSES / TREMENDOUS, wide['newton'] >= wide['sgd'] + WIDER))


# ---------------------------------------------------------------------------------------------------------------------
# Claim 8

TO = (20.0, 10.0)       # % of the test digits wrong
AT_8 = (*range(1, 33), *range(36, 129, 4))
SETTINGS[8] = {f'1/{SIXTEENTH // chunks}': BASE | {'chunks': chunks, 'passes': 8, 'at': AT_8, 'watch': ['loss']}
               for chunks in (16, 8, 4, 2, 1)}


def jobs_8(rows, seeds):
    return [(name, seed) for name in SETTINGS[8] for seed in seeds]


@claim(8, 'convergence is extremely quick, in part by the "high redundancy of real data"', '5', jobs_8)
def verdict_8(rows):
    """
    The same number of presentations of all the digits, and of 1/2, 1/4, 1/8 and 1/16 of them again and again. If the
    data is redundant, the first presentations teach as much from an eighth as from all. Newton's rates are estimated
    again for each sixteenth of a pass.

    Measured: presentations until 20% and 10% of the test digits are wrong.
    Rule: (a) with all the digits, 10% takes at most one pass; (b) with an eighth of them, 20% takes at most a quarter
    more presentations than with all.
    """
    needed, xs = {}, [n / SIXTEENTH for n in AT_8]
    for name in SETTINGS[8]:
        found = of(rows, name)
        if not found:
            return missing(rows)
        needed[name] = [statistics.fmean(where(xs, curve(row, 'test_error'), level) for row in found) for level in TO]
    words = [f'{name} ' + ' and '.join(f'{n:.2f}' if math.isfinite(n) else 'not in every run' for n in found)
             for name, found in needed.items()]
    soon = needed['1/8'][0] < math.inf and needed['1/8'][0] <= 1.25 * needed['1/1'][0]
    return ('passes over all the digits, or as many presentations of a part, to ' + ' and '.join(f'{n:g}%' for n in TO)
            + ' test error: ' + ', '.join(words), verdict(needed['1/1'][1] <= 1, soon))
