"""Claims 5 and 8: the stochastic gradient, and why it converges so fast."""
import itertools
import math
import statistics

from experiments.claims.claim import (HOLDS, PAPER, PART, SIXTEENTH, Claim, best, changed, crossing, curves, differ,
                                      grid, pm, verdict)
from experiments.markdown import Missing
from repro import PASSES

LONG = 2000             # passes of the true gradient
SHORT = 300             # passes of its tuning
FASTER = 10             # times: "much"
AT = {'true': [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000],
      'stochastic': [*range(1, 33), *range(34, 65, 2), *range(72, 129, 8), *range(144, 16 * PASSES + 1, 16)]}
XS = {'true': AT['true'], 'stochastic': [n / SIXTEENTH for n in AT['stochastic']]}      # passes over the data
RATES = {('stochastic', 'sgd'): (0.02, 0.05, 0.1, 0.2, 0.5),
         ('stochastic', 'newton'): (0.001, 0.002, 0.005, 0.01, 0.02),
         ('true', 'sgd'): (0.1, 0.2, 0.5, 1.0, 2.0, 5.0), ('true', 'newton'): (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)}
HOW = {'stochastic': ({}, {'chunks': SIXTEENTH, 'at': AT['stochastic']}),
       'true': ({'batch': True, 'passes': LONG}, {'at': AT['true']}),
       'true, short': ({'batch': True, 'passes': SHORT}, {'at': AT['true']})}


class Stochastic(Claim):
    """
    An update after each pattern, by the stochastic gradient, against an update after each pass, by the gradient of all
    patterns, each at its own best rate; with one rate for all weights, and with Newton's rates. The stochastic gradient
    has 23 passes, the true gradient 2,000 (its rate is tuned over 300) and 5 seeds. "Robust" is taken to be the test
    error at the same training MSE, the lowest that every run of both reaches.

    Rule, for one rate and for Newton's: (a) the stochastic gradient needs at most a tenth of the passes to reach that
    training MSE; (b) its test error there is lower. All four: holds; none: does not hold.
    """
    number, section = 5, '4'
    words = 'the stochastic gradient converges much faster than the true gradient, to more robust solutions'
    front = PART, 'the stochastic gradient is much faster, but its solutions are not more robust'
    settings = {(how, method, rate): changed(PAPER, {}, {'optimizer': method, 'rate': rate, **training}, **own)
                for how, (training, own) in HOW.items()
                for method in ('sgd', 'newton') for rate in RATES[how.removesuffix(', short'), method]}

    def best(self, found, gradient, method):
        """The key with the best rate."""
        tuned = 'true, short' if gradient == 'true' else gradient
        *_, rate = best(found, [(tuned, method, rate) for rate in RATES[gradient, method]])
        return gradient, method, rate

    def jobs(self, found, seeds):
        jobs = [job for key in self.settings if key[0] != 'true' for job in grid([key], seeds)]
        for gradient, method in RATES:
            try:
                key = self.best(found, gradient, method)
            except Missing:
                continue
            jobs += [(key, seed) for seed in (seeds[:5] if gradient == 'true' else seeds)]
        return jobs

    def verdict(self, found):
        parts, words = [], []
        for method in ('sgd', 'newton'):
            keys = {gradient: self.best(found, gradient, method) for gradient in XS}
            mse, error = ({gradient: curves(found[key], name) for gradient, key in keys.items()}
                          for name in ('train_loss', 'test_error'))
            level = max(min(curve) for both in mse.values() for curve in both)
            passes = {gradient: [crossing(XS[gradient], m, level) for m in mse[gradient]] for gradient in XS}
            errors = {gradient: [*map(crossing, error[gradient], mse[gradient], itertools.repeat(level))]
                      for gradient in XS}
            parts += [statistics.fmean(passes['stochastic']) * FASTER <= statistics.fmean(passes['true']),
                      differ(errors['stochastic'], errors['true']) < 0]
            ends = ', '.join(f'{end:.1e}' for end in sorted(curve[-1] for curve in mse['true']))
            words.append(
                f'{"Newton" if method == "newton" else "one rate"}: to a training MSE of {level:.1e} stochastic '
                f'{pm(passes["stochastic"], 1)} passes, true {pm(passes["true"], 0)}; test error there '
                f'{pm(errors["stochastic"])}% and {pm(errors["true"])}% (rates {keys["stochastic"][2]}, '
                f'{keys["true"][2]}; the runs of the true gradient end at {ends}, and the highest sets the MSE)')
        return '; '.join(words), verdict(*parts)

    def picture(self, found):
        """Training MSE and test error against passes: each run of either gradient, and the medians."""
        import numpy as np

        from experiments.style import BLUE, ORANGE, canvas, png, ticks
        fig, axes = canvas(3.8, 1, 2)
        for gradient, method in RATES:
            key = self.best(found, gradient, method)
            xs, n = XS[gradient], len(curves(found[key], 'train_loss'))
            color, style = ORANGE if method == 'newton' else BLUE, '--' if gradient == 'true' else '-'
            kind = f'{"Newton, rate" if method == "newton" else "single rate,"} {key[2]}'
            for ax, name in zip(axes, ('train_loss', 'test_error')):
                for curve in curves(found[key], name):
                    ax.plot(xs, curve, color=color, linewidth=0.6, alpha=0.5)
                ax.plot(xs, np.median(curves(found[key], name), 0), style, color=color, linewidth=2.2,
                        label=f'{gradient} gradient, {kind}: {n} runs')
        for ax, title in zip(axes, ('training MSE', 'test error, %')):
            ax.set(xscale='log', yscale='log', xlabel='passes over the data', title=title)
            ticks(ax.xaxis, 0.1, 1, 10, 100, 1000)
        ticks(axes[0].yaxis, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
        ticks(axes[1].yaxis, 5, 10, 20, 50, 100)
        fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=2, alignment='left',
                   title='thin lines: single runs; bold: their median')
        return png(fig, 'claims.csv')


TO = (20.0, 10.0)       # % of the test digits wrong
AT_8 = [*range(1, 33), *range(36, 129, 4)]
XS_8 = [n / SIXTEENTH for n in AT_8]


class Redundancy(Claim):
    """
    The same number of presentations of all the digits, and of 1/2, 1/4, 1/8 and 1/16 of them again and again. If the
    data is redundant, the first presentations teach as much from an eighth as from all. Newton's rates are estimated
    again for each sixteenth of a pass.

    Measured: presentations until 20% and 10% of the test digits are wrong.
    Rule: (a) with all the digits, 10% takes at most one pass; (b) with an eighth of them, 20% takes at most a quarter
    more presentations than with all.
    """
    number, section = 8, '5'
    words = 'convergence is extremely quick, in part by the "high redundancy of real data"'
    front = HOLDS, 'convergence is quick, as the data is redundant'
    settings = {f'1/{part}': changed(PAPER, {}, {'passes': 8}, chunks=SIXTEENTH // part, at=AT_8)
                for part in (1, 2, 4, 8, 16)}

    def verdict(self, found):
        needed = {key: [statistics.fmean(crossing(XS_8, curve, level) for curve in curves(found[key], 'test_error'))
                        for level in TO] for key in self.settings}
        words = [f'{key} ' + ' and '.join(f'{n:.2f}' if math.isfinite(n) else 'not in every run' for n in passes)
                 for key, passes in needed.items()]
        soon = needed['1/8'][0] < math.inf and needed['1/8'][0] <= 1.25 * needed['1/1'][0]
        return ('passes over all the digits, or as many presentations of a part, to '
                + ' and '.join(f'{n:g}%' for n in TO) + ' test error: ' + ', '.join(words),
                verdict(needed['1/1'][1] <= 1, soon))

    def picture(self, found):
        """Test error against presentations, for parts of the digits."""
        import numpy as np

        from experiments.style import COLORS, GRAY, canvas, name_ends, png, ticks
        fig, ax = canvas(3.4)
        presentations, ends = [7291 * x for x in XS_8], {}
        for key, color, style in zip(self.settings, COLORS, ('-', '--', '-.', ':', '-')):
            mean = np.exp(np.log(curves(found[key], 'test_error')).mean(0))
            ax.plot(presentations, mean, style, color=color)
            ends['all digits' if key == '1/1' else f'{key} of them'] = (presentations[-1], mean[-1]), color
        for level in TO:
            ax.axhline(level, color=GRAY, linewidth=0.8, linestyle=':')
        ax.set(xscale='log', yscale='log', xlabel='presentations: of all digits, or of a part of them again and again',
               title=f'test error, %, geometric mean over seeds; dotted: {" and ".join(f"{n:g}" for n in TO)}%')
        ticks(ax.xaxis, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
        ticks(ax.yaxis, 5, 10, 20, 50, 100)
        name_ends(ax, ends)
        return png(fig, 'claims.csv')
