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

from experiments import compare
from experiments.markdown import Missing, pm, results, table
from experiments.posterior import draws, fit, inference
from experiments.posterior.draws import HALF, PRIOR
from experiments.posterior.inference import ALL, DISTANCES, GIVEN, NAMES, PAPERS, TOLERANCES, columns, compared, size
from experiments.style import BLACK, BLUE, GRAY, ORANGE, PALE, SKY, canvas, png
from prepro import N_TEST, N_TRAIN
from repro import PAPER, PASSES
from support import files

HERE = os.path.dirname(os.path.abspath(__file__))
LABELS = {          # {result: (in words, its factor in a table, decimals)}
    'train_loss': ('train MSE, 1e-3', 1e3, 2), 'train_misses': ('train misses', 1, 1),
    'test_loss': ('test MSE, 1e-3', 1e3, 1), 'test_misses': ('test misses', 1, 1),
    'rejection': ('rejected, %', 1, 1), 'fc_train_misses': ('fully connected: train error, %', 100 / N_TRAIN, 2),
    'fc_test_misses': ('fully connected: test error, %', 100 / N_TEST, 2),
    'fc_rejection': ('fully connected: rejected, %', 1, 1)}
TITLES = {'unit': 'unit', 'share': "targets / unit's range", 'damping': 'damping', 'step': 'rate / (damping + 0.001)',
          'patterns': 'patterns for curvature', 'scheme': 'connection scheme', 'sqrt_fan_in': 'initial range',
          'drawn_biases': 'initial biases', 'shuffled': 'constant order', 'fc_passes': 'passes, fully connected',
          'half': 'MSE reported', 'rate': 'learning rate', 'own_step': 'rate / (damping + typical curvature)',
          'newton': '% of weights, curvature > damping'}
OPTIONS = {'unit': ('tanh', "LeCun's"), 'sqrt_fan_in': ('2.4/F', '2.4/√F'), 'drawn_biases': ('0', 'drawn'),
           'shuffled': ('as stored', 'shuffled'), 'half': ('as it is', 'halved')}
HYPOTHESES = {f'{words}, MSE {half}': (unit, h) for unit, words in zip(PRIOR['unit'][1:], ('tanh', "LeCun's unit"))
              for h, half in zip(HALF[1:], OPTIONS['half'])}
KINDS = PRIOR | {'half': HALF}


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
    at = np.searchsorted(w[order].cumsum() / w.sum(), (0.05, 0.5, 0.95)).clip(max=len(w) - 1)
    return '{1:.2g} [{0:.2g}, {2:.2g}]'.format(*values[order][at])


def same_passes(p):
    """The weights given all results, and that the fully connected net had as many passes as the other."""
    w = p.weights() * (p.c['fc_passes'] == PASSES)
    return w / w.sum()


def split(p, w):
    """{hypothesis: the weights of its points}."""
    return {name: w * ((p.c['unit'] == unit) & (p.c['half'] == half)) for name, (unit, half) in HYPOTHESES.items()}


# ---------------------------------------------------------------------------------------------------------------------
# the tables and the sentence, each a function of the posterior

def counts(p):
    near = p.emulator.draws['draw']
    return (f'Of {len(p.rows):,} draws, in {len(near):,} both nets learned. The emulator does not rule out '
            f'{percent(len(p.c["half"]) / p.size)} of the prior.')


def cases_of(p):
    """{what is given, and the tolerance: the weights}."""
    return ({given: p.weights(given) for given in GIVEN} | {f'{ALL}, and 23 passes of both nets': same_passes(p)}
            | {f'{ALL}, tolerance {t:g}': p.weights(ALL, t) for t in TOLERANCES[1:]})


def hypotheses(p):
    """The unit and the factor 1/2, by what is given, and by tolerance given all eight results."""
    cases = cases_of(p)
    parts, rows = {case: split(p, w) for case, w in cases.items()}, []
    for name in HYPOTHESES:
        shares = [percent(part[name].sum()) for part in parts.values()]
        rows.append([name, *shares, *(span(p.c[what], parts[ALL][name]) for what in ('level', 'fc_passes'))])
    return table(['given', *cases, f'targets ±, given {ALL}', f'passes, fully connected, given {ALL}'],
                 rows + [['effective sample size', *(f'{size(w):.0f}' for w in cases.values()), '', '']])


def settings(p):
    """Prior and posterior of each setting."""
    weights, rows = [p.weights(given) for given in list(GIVEN)[1::2]], []
    for name in (*KINDS, 'rate', 'own_step', 'newton'):
        kind, *values = KINDS.get(name, ('derived',))
        if kind == 'one of':
            rows += [[f'{TITLES[name]}: {words}', percent(1 / len(values)),
                      *(percent(w[p.c[name] == value].sum()) for w in weights)]
                     for value, words in zip(values, OPTIONS.get(name, values))]
        else:
            rows.append([TITLES[name], f'{values[0]:g} to {values[1]:g}' if values else '',
                         *(span(p.c[name], w) for w in weights)])
    return table(['setting', 'prior', *(f'given {given}' for given in list(GIVEN)[1::2])], rows)


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
    recipes = {name: recipe for name, (_, recipe) in compare.RECIPES.items()}
    seen = inference.against_recipes(p.emulator, recipes, compare.read(results('compare.csv')))
    gaps = np.array([measured - emulated for measured, emulated in seen.values()])
    cells = [*(f'{gap:.2f}' for gap in np.sqrt((gaps**2).mean(0))), '', '', '']
    return table(['typical error, in sds over initial weights', 'single draws', f'the means of {len(seen)} recipes'],
                 [[label, f'{error:.2f}', cell] for (label, *_), error, cell in zip(
                     LABELS.values(), np.sqrt((p.emulator.errors**2).mean(0)), cells)])


def calibration(p):
    """How well draws that play the paper are inferred."""
    rows = []
    for name, ranks in p.calibration().items():
        if KINDS[name][0] == 'one of':
            (true, expected), error = ranks.mean(0), stats.sem(ranks[:, 0] - ranks[:, 1])
            fails = ', fails' if abs(true - expected) > 2.5 * error else ''
            rows.append([TITLES[name], '', '', f'{true:.3f}, should have {expected:.3f} ± {error:.4f}{fails}'])
        else:
            inside, p_value = ((0.05 <= ranks) & (ranks <= 0.95)).mean(), stats.kstest(ranks, 'uniform').pvalue
            rows.append([TITLES[name], percent(inside), f'{p_value:.2g}' + (', fails' if p_value <= 0.01 else ''), ''])
    return table(['', 'in the 90% interval', 'ranks uniform, p', 'probability of the true option'], rows)


def abc(p):
    """The draws near the paper in all eight results, without an emulator."""
    c = columns(p.rows)
    far, rows = np.stack([abs(compared(c, half)).max(1) for half in HALF[1:]]), []
    for distance in DISTANCES:
        found = [int(((far[half] <= distance) & (c['unit'] == unit)).sum()) for unit, half in HYPOTHESES.values()]
        rows.append([f'{distance:g} sds', sum(found), *found])
    return table(['every result within', 'draws', *HYPOTHESES], rows)


def fitted(_):
    """The fit of `paper`: the best points of each method."""
    points = fit.points(fit.read(results('fit.csv')))
    rows = [['the paper', '', '', f'{PAPER["train_loss"] * 1000:g}', PAPER['train_misses'], '']]
    for method in 'newton', 'sgd':
        rows += [[optimizer, f'{damping:g}' if damping else '', f'{rate:g}',
                  pm([v * 1000 for v in found['train_loss']]), pm(found['train_misses'], 1), f'{far:.3f}']
                 for far, optimizer, damping, rate, found in [one for one in points if one[1] == method][:4]]
    return table(['', 'damping', 'rate', 'train MSE, 1e-3', 'train misses', 'distance'], rows)


def finding(p):
    """The answer in short, for the front page."""
    def best(w):
        return sorted(((part.sum(), name) for name, part in split(p, w).items()), reverse=True)[:2]
    same, free = same_passes(p), p.weights()
    (a, first), _ = best(same)
    (b, second), (c, third) = best(free)
    return (
        '**[What was done in 1989?](results/README.md#what-was-done-in-1989)** If the paper\'s nets both had 23 '
        f'passes, its eight results give {first} {percent(a)} (targets ±{span(p.c["level"], split(p, same)[first])}). '
        f'Of the fully connected net it does not say so. With that left open, {second} has {percent(b)} and {third} '
        f'{percent(c)}. The initial range was 2.4/F, as printed; the learning rate is known only together with the '
        'damping, and the connection scheme not at all.')


BLOCKS = {'posterior_finding': finding, 'posterior_counts': counts, 'posterior_hypotheses': hypotheses,
          'posterior_settings': settings, 'posterior_predictions': predictions, 'posterior_emulator': emulation,
          'posterior_abc': abc, 'posterior_calibration': calibration, 'posterior_fit': fitted}


@functools.cache
def tables():
    """
    {mark in a README: its text}. They take a minute, so they are kept in results/posterior.json with a hash of what
    they are made of, and made anew when that has changed.
    """
    path = results('posterior.json')
    sources = [os.path.join(HERE, name) for name in ('draws.py', 'inference.py', 'fit.py', 'answer.py')]
    sources += [results(name) for name in ('posterior.csv', 'fit.csv', 'compare.csv')]
    digest = hashlib.sha256(b''.join(files.read_file(name, draws.REMEDY) for name in sources)).hexdigest()
    found = json.loads(files.read_file(path, draws.REMEDY)) if os.path.exists(path) else {}
    if found.get('sources') != digest:
        found = {'sources': digest, 'tables': {mark: block(posterior()) for mark, block in BLOCKS.items()}}
        files.write_file(path, json.dumps(found, indent=1, ensure_ascii=False).encode())
    return found['tables']


# ---------------------------------------------------------------------------------------------------------------------
# the pictures, {file in results/: a function that gives its bytes}

COLORS = dict(zip(HYPOTHESES, (BLUE, SKY, GRAY, ORANGE)))


def draw_odds():
    """The unit and the factor 1/2, by what is given and by tolerance."""
    p, left = posterior(), 0.0
    cases = cases_of(p)
    fig, ax = canvas(2.8)
    for name in HYPOTHESES:
        shares = np.array([split(p, w)[name].sum() for w in cases.values()])
        ax.barh(range(len(cases)), shares, left=left, color=COLORS[name], label=name)
        left = left + shares
    ax.set_yticks(range(len(cases)), cases)
    ax.invert_yaxis()
    ax.set(xlim=(0, 1), xlabel='probability, given')
    fig.legend(*ax.get_legend_handles_labels(), loc='outside lower center', ncols=4)
    return png(fig, 'posterior.csv')


def draw_posterior(bins=8):
    """Prior and posterior of each setting: bars for a choice, steps for a number."""
    p, which = posterior(), dict(zip((list(GIVEN)[1], ALL), (BLUE, ORANGE)))
    prior = draws.sample(4096, 1989)
    fig, axes = canvas(6.4, 3, 4, sharey=True)
    for ax, name in zip(axes.flat, (*KINDS, 'newton')):
        kind, *values = KINDS.get(name, ('share', 0, 100))
        choice, log = kind == 'one of', 'log' in kind
        at = np.arange(len(values) if choice else bins)
        edges = None if choice else (np.geomspace if log else np.linspace)(*values, bins + 1)
        if name != 'newton':
            ax.bar(at, 1 / len(at) if choice else np.histogram(prior[name], edges)[0] / len(prior[name]),
                   0.9 if choice else 1.0, color=PALE, label='prior')
        for side, (given, color) in zip((-1, 1), which.items()):
            w, look = p.weights(given), {'color': color, 'label': f'given {given}'}
            if choice:
                ax.bar(at + 0.18 * side, [w[p.c[name] == value].sum() for value in values], 0.3, **look)
            else:
                shares = np.histogram(p.c[name].clip(*values), edges, weights=w)[0]
                ax.stairs(shares, np.arange(bins + 1) - 0.5, baseline=None, linewidth=1.8, **look)
        if choice:
            ax.set_xticks(at, OPTIONS.get(name, values), rotation=0 if len(values) == 2 else 45, fontsize=8)
        else:
            few = np.array([0, bins // 2, bins])
            ax.set_xticks(few - 0.5, [f'{float(f"{edges[j]:.2g}"):g}' for j in few], fontsize=8)
        ax.set_title(TITLES[name], fontsize=8)
        ax.tick_params(axis='y', labelsize=8)
        ax.grid(axis='x', visible=False)
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc='outside lower center', ncols=3)
    fig.supylabel('probability', fontsize=9)
    return png(fig, 'posterior.csv')


def draw_predictive(bins=30):
    """The results that follow from both nets' training results, and the paper's."""
    values = posterior().predictive(list(GIVEN)[1])
    fig, axes = canvas(2.6, 1, len(values), sharey=True)
    for ax, (name, x) in zip(axes, values.items()):
        label, factor, _ = LABELS[name]
        ax.hist(factor * x, np.linspace(*factor * np.quantile(x, (0.002, 0.998)), bins), color=BLUE)
        ax.axvspan(*factor * np.quantile(x, (0.05, 0.95)), color=GRAY, alpha=0.15, linewidth=0, zorder=0,
                   label='90% interval')
        ax.axvline(factor * PAPERS[NAMES.index(name)], color=BLACK, label='the paper')
        ax.set_title(label.replace(': ', ':\n'), fontsize=8.5)
        ax.set_yticks([])
    fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=2)
    return png(fig, 'posterior.csv')


def pictures():
    return {'odds.png': draw_odds, 'posterior.png': draw_posterior, 'predictive.png': draw_predictive}
