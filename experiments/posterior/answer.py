"""
The answer to "what was done in 1989?": its tables and its sentence in the READMEs, and its pictures, from the draws in
results/posterior.csv.
"""
import functools
import hashlib
import json
import os

import numpy as np
from scipy import stats

from experiments.markdown import Missing, results, table
from experiments.posterior import draws, fit, inference
from experiments.posterior.draws import PRIOR, SETTINGS
from experiments.posterior.inference import (
    ALL, DISTANCES, GIVEN, HALVED, NAMES, PAPERS, TOLERANCES, columns, compared, mass)
from experiments.style import BLACK, BLUE, GRAY, ORANGE, PALE, SKY, canvas, png
from prepro import N_TEST, N_TRAIN
from repro import PASSES
from support import files

LABELS = {         # {result: (in words, its factor in a table, decimals)}
    'train_loss': ('train MSE, 1e-3', 1e3, 2), 'train_misses': ('train misses', 1, 1),
    'test_loss': ('test MSE, 1e-3', 1e3, 1), 'test_misses': ('test misses', 1, 1),
    'rejection': ('rejected, %', 1, 1), 'fc_train_misses': ('fully connected: train error, %', 100 / N_TRAIN, 2),
    'fc_test_misses': ('fully connected: test error, %', 100 / N_TEST, 2),
    'fc_rejection': ('fully connected: rejected, %', 1, 1)}
WORDS = {           # {setting, or what follows from settings: (in words, its options in words)}
    'unit': ('unit', 'tanh', "LeCun's"), 'share': ("targets / unit's range",), 'damping': ('damping',),
    'step': ('rate / (damping + 0.001)',), 'patterns': ('patterns for curvature', *PRIOR['patterns'][1:]),
    'scheme': ('connection scheme', *PRIOR['scheme'][1:]), 'sqrt_fan_in': ('initial range', '2.4/F', '2.4/√F'),
    'drawn_biases': ('initial biases', '0', 'drawn'), 'shuffled': ('constant order', 'as stored', 'shuffled'),
    'fc_passes': ('passes, fully connected',), 'half': ('MSE reported', 'as it is', 'halved'),
    'rate': ('learning rate',), 'own_step': ('rate / (damping + typical curvature)',),
    'newton': ('% of weights, curvature > damping',)}
HYPOTHESES = {      # {in words: (unit, half, color)}
    'tanh, MSE as it is': ('tanh', 0, BLUE), 'tanh, MSE halved': ('tanh', 1, SKY),
    "LeCun's unit, MSE as it is": ('lecun', 0, GRAY), "LeCun's unit, MSE halved": ('lecun', 1, ORANGE)}
TRAINING, SAME = list(GIVEN)[1], f'{ALL}, and 23 passes of both nets'


@functools.cache
def posterior():
    rows = draws.read(results('posterior.csv'))
    if len(rows) < inference.FIRST:     # an answer from part of the first wave would be looked at too early
        raise Missing(f'{inference.FIRST:,} draws of experiments.posterior')
    return inference.Posterior(rows)


# ---------------------------------------------------------------------------------------------------------------------
# numbers in words

def percent(share):
    return f'{100 * share:.0f}%' if 0.01 <= share <= 0.99 else '< 1%' if share < 0.5 else '> 99%'


def span(values, w):
    """'0.7 [0.6, 0.8]': the median of weighted values and the 90% interval."""
    order = np.argsort(values)
    below = w.sum(0)[order].cumsum()
    at = np.searchsorted(below / w.sum(), (0.05, 0.5, 0.95)).clip(max=len(order) - 1)
    return '{1:.2g} [{0:.2g}, {2:.2g}]'.format(*values[order][at])


def cases(p):
    """{what is given, and the tolerance: {hypothesis: the weights of its points}}."""
    same = p.weights() * (p.c['fc_passes'] == PASSES)
    weights = ({given: p.weights(given) for given in GIVEN} | {SAME: same / same.sum()}
               | {f'{ALL}, tolerance {t:g}': p.weights(ALL, t) for t in TOLERANCES[1:]})
    return {case: {name: w * ((p.c['unit'] == unit) & (p.c['half'] == half))
                   for name, (unit, half, _) in HYPOTHESES.items()} for case, w in weights.items()}


# ---------------------------------------------------------------------------------------------------------------------
# the tables and the sentence, each a function of the posterior

def counts(p):
    return (f'Of {len(p.rows):,} draws, in {len(p.emulator.draws["draw"]):,} both nets learned. The emulator does not '
            f'rule out {percent(p.prior_left)} of the prior.')


def hypotheses(p):
    """The unit and the factor 1/2, by what is given, and by tolerance given all eight results."""
    parts = cases(p)
    rows = [[name, *(percent(part[name].sum()) for part in parts.values()),
             *(span(p.c[what], parts[ALL][name]) for what in ('level', 'fc_passes'))] for name in HYPOTHESES]
    sizes = [f'{1 / (sum(part.values())**2).sum():.0f}' for part in parts.values()]
    return table(['given', *parts, f'targets ±, given {ALL}', f'passes, fully connected, given {ALL}'],
                 [*rows, ['effective sample size', *sizes, '', '']])


def settings(p):
    """Prior and posterior of each setting."""
    weights, rows = {f'given {given}': p.weights(given) for given in (TRAINING, ALL)}, []
    for name, (title, *options) in WORDS.items():
        _, *values = SETTINGS.get(name, ('derived',))
        for value, words in zip(values, options):
            rows.append([f'{title}: {words}', percent(1 / len(values)),
                         *(percent(mass(w, p.c[name] == value)) for w in weights.values())])
        if not options:
            rows.append([title, ' to '.join(f'{value:g}' for value in values),
                         *(span(p.c[name], w) for w in weights.values())])
    return table(['setting', 'prior', *weights], rows)


def predictions(p):
    """What follows for the other results from the training results alone."""
    givens = {given: p.predictive(given) for given in list(GIVEN)[:2]}

    def cell(values, paper, factor, decimals):
        low, middle, high = (f'{v * factor:.{decimals}f}' for v in np.quantile(values, (0.05, 0.5, 0.95)))
        return f'{middle} [{low}, {high}], quantile {(values < paper).mean():.2f}'
    rows = [[label, f'{paper * factor:.{decimals}f}',
             *(cell(given[name], paper, factor, decimals) if name in given else 'given' for given in givens.values())]
            for (name, (label, factor, decimals)), paper in zip(LABELS.items(), PAPERS)]
    return table(['', 'the paper', *(f'given {given}' for given in givens)], rows)


def emulation(p):
    """How far the emulator is from draws that it was not trained on, and from recipes of compare.csv."""
    def typical(gaps):
        return [f'{gap:.2f}' for gap in np.sqrt(np.mean(np.square(gaps), 0))]
    recipes = inference.against_recipes(p.emulator)
    return table(['typical error, in sds over initial weights', 'single draws', f'the means of {len(recipes)} recipes'],
                 zip((label for label, *_ in LABELS.values()), typical(p.emulator.errors),
                     typical(recipes) + 3 * ['']))


def calibration(p):
    """How well draws that stand in for the paper are inferred."""
    rows = []
    for name, ranks in p.calibration().items():
        if SETTINGS[name][0] == 'one of':
            (true, expected), error = ranks.mean(0), stats.sem(ranks[:, 0] - ranks[:, 1])
            fails = ', fails' if abs(true - expected) > 2.5 * error else ''
            cells = '', '', f'{true:.3f}, should have {expected:.3f} ± {error:.4f}{fails}'
        else:
            inside, p_value = ((0.05 <= ranks) & (ranks <= 0.95)).mean(), stats.kstest(ranks, 'uniform').pvalue
            cells = percent(inside), f'{p_value:.2g}' + (', fails' if p_value <= 0.01 else ''), ''
        rows.append([WORDS[name][0], *cells])
    return table(['', 'in the 90% interval', 'ranks uniform, p', 'probability of the true option'], rows)


def abc(p):
    """The draws near the paper in all eight results, without an emulator."""
    c, rows = columns(p.rows), []
    far = abs(compared(c) - HALVED).max(2)
    for distance in DISTANCES:
        found = [((c['unit'] == unit) & (far[half] <= distance)).sum() for unit, half, _ in HYPOTHESES.values()]
        rows.append([f'{distance:g} sds', sum(found), *found])
    return table(['every result within', 'draws', *HYPOTHESES], rows)


def finding(p):
    """The answer in short, for the front page."""
    w, lecun = p.weights(), p.c['unit'] == 'lecun'
    same = w * (p.c['fc_passes'] == PASSES)
    return (
        '**[What was done in 1989?](results/README.md#what-was-done-in-1989)** The paper\'s eight results do not '
        f'settle which unit it had: LeCun\'s 1.7159 tanh(2/3 s) has {percent(mass(w, lecun))}, tanh '
        f'{percent(mass(w, ~lecun))}. If its fully connected net had 23 passes too, LeCun\'s has '
        f'{percent(mass(same, lecun) / same.sum())}. They favor the initial range as printed, 2.4/F, over the usual '
        f'reading, 2.4/√F ({percent(mass(w, p.c["sqrt_fan_in"] == 0))}). They tell the learning rate only together '
        'with the damping, and of the connection scheme nothing.')


BLOCKS = {
    'posterior_finding': finding, 'posterior_counts': counts, 'posterior_hypotheses': hypotheses,
    'posterior_settings': settings, 'posterior_predictions': predictions, 'posterior_emulator': emulation,
    'posterior_abc': abc, 'posterior_calibration': calibration, 'posterior_fit': lambda _: fit.best(
        fit.read(results('fit.csv')), 4)}


@functools.cache
def tables():
    """
    {mark in a README: its text}. They take two minutes, so they are kept in results/posterior.json with a hash of what
    they are made of, and made anew when that has changed.
    """
    path = results('posterior.json')
    sources = [module.__file__ for module in (draws, inference, fit)] + [__file__]
    sources += [results(name) for name in ('posterior.csv', 'fit.csv', 'compare.csv')]
    digest = hashlib.sha256(b''.join(files.read_file(name, draws.REMEDY) for name in sources)).hexdigest()
    found = json.loads(files.read_file(path, draws.REMEDY)) if os.path.exists(path) else {}
    if found.get('sources') != digest:
        found = {'sources': digest, 'tables': {mark: block(posterior()) for mark, block in BLOCKS.items()}}
        files.write_file(path, json.dumps(found, indent=1, ensure_ascii=False).encode())
    return found['tables']


# ---------------------------------------------------------------------------------------------------------------------
# the pictures, {file in results/: a function that gives its bytes}

def picture(fig, ax, ncols):
    """The bytes of a picture: the figure, and below it a legend of what is in ax."""
    fig.legend(*ax.get_legend_handles_labels(), loc='outside lower center', ncols=ncols)
    return png(fig, 'posterior.csv')


def draw_odds():
    """The unit and the factor 1/2, by what is given and by tolerance."""
    parts, left = cases(posterior()), 0.0
    fig, ax = canvas(2.8)
    for name, (*_, color) in HYPOTHESES.items():
        shares = np.array([part[name].sum() for part in parts.values()])
        ax.barh(list(parts), shares, left=left, color=color, label=name)
        left = left + shares
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel='probability, given')
    return picture(fig, ax, 4)


def draw_posterior():
    """Prior and posterior of each setting: a bar for each option of a choice, and for each interval of a number."""
    p, n = posterior(), 4096
    prior = draws.sample(n, 1989) | {'half': p.c['half']}
    series = [('prior', prior, np.full((2, n), 0.5 / n), PALE, 0, 0.9),
              (f'given {TRAINING}', p.c, p.weights(TRAINING), BLUE, -0.18, 0.3),
              (f'given {ALL}', p.c, p.weights(), ORANGE, 0.18, 0.3)]
    fig, axes = canvas(6.4, 3, 4, sharey=True)
    for ax, name in zip(axes.flat, (*SETTINGS, 'newton')):
        title, *options = WORDS[name]
        kind, *values = SETTINGS.get(name, ('uniform', 0, 100))
        if options:
            ax.set_xticks(range(len(options)), options, rotation=0 if len(options) == 2 else 45, fontsize=8)
        else:
            edges = (np.geomspace if 'log' in kind else np.linspace)(*values, 8 + 1)
            ax.set_xticks((-0.5, 3.5, 7.5), [f'{float(f"{x:.2g}"):g}' for x in edges[::4]], fontsize=8)
        for label, c, w, color, offset, width in series:
            if name in c:               # what follows from settings has no prior
                shares = ([mass(w, c[name] == value) for value in values] if options else
                          np.histogram(c[name], edges, weights=w.sum(0))[0])
                ax.bar(np.arange(len(shares)) + offset, shares, width, color=color, label=label)
        ax.set_title(title, fontsize=8, wrap=True)
        ax.tick_params(axis='y', labelsize=8)
        ax.grid(axis='x', visible=False)
    fig.supylabel('probability', fontsize=9)
    return picture(fig, axes.flat[0], 3)


def draw_predictive():
    """The results that follow from both nets' training results, and the paper's."""
    values = posterior().predictive(TRAINING)
    fig, axes = canvas(2.6, 1, len(values), sharey=True)
    for ax, (name, x) in zip(axes, values.items()):
        label, factor, _ = LABELS[name]
        ax.hist(factor * x, np.linspace(*factor * np.quantile(x, (0.002, 0.998)), 30), color=BLUE)
        ax.axvspan(*factor * np.quantile(x, (0.05, 0.95)), color=GRAY, alpha=0.15, linewidth=0, zorder=0,
                   label='90% interval')
        ax.axvline(factor * PAPERS[NAMES.index(name)], color=BLACK, label='the paper')
        ax.set_title(label.replace(': ', ':\n'), fontsize=8.5)
        ax.set_yticks([])
    return picture(fig, axes[0], 2)


def pictures():
    return {'odds.png': draw_odds, 'posterior.png': draw_posterior, 'predictive.png': draw_predictive}
