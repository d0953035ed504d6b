"""Claim 6: Newton's method."""
import math
import statistics

from experiments.claims.claim import PAPER, PART, Claim, changed, curves, first, losses, pm, verdict
from experiments.markdown import Missing
from repro import PASSES

TREMENDOUS = 3          # times
WIDER = 0.5             # decades
FACTOR = 2              # of the best training MSE
DECADES = {'newton': (-5, -1), 'sgd': (-3, 1)}          # powers of ten, from and to: four decades
RATES = {method: [float(f'{digit}e{power}') for power in range(low, high) for digit in (1, 2, 5)] + [10.0**high]
         for method, (low, high) in DECADES.items()}


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


class Newton(Claim):
    """
    Newton's method and plain gradient descent at rates over four decades, 23 passes, 5 seeds.

    Measured: training MSE at each rate; for how many decades of rate it is within a factor 2 of the best.
    Rule: (a) "no tremendous increase": Newton's method needs more than a third of the 23 passes to reach the lowest
    training MSE of plain descent; (b) "reliably": its range is wider by half a decade or more.
    """
    number, section = 6, '4'
    words = 'Newton: no tremendous increase in speed, but reliable without extensive adjustments'
    front = PART, "Newton's method brings no tremendous speed, nor is it more reliable"
    seeds = range(5)
    settings = {(method, rate): changed(PAPER, {}, {'optimizer': method, 'rate': rate}, at=[*range(1, PASSES + 1)])
                for method, rates in RATES.items() for rate in rates}

    def look(self, net, splits):
        return losses(net, splits, 'train')

    def losses(self, found, method):
        """{rate: the geometric mean of the training MSE after 23 passes}, for rates at which no run diverged."""
        ends = {rate: [row['train_loss'] for row in found[method, rate]] for rate in RATES[method]}
        means = {rate: math.exp(statistics.fmean(map(math.log, end)))
                 for rate, end in ends.items() if end and all(map(math.isfinite, end))}
        if len(means) < 3:
            raise Missing('runs')
        return means

    def verdict(self, found):
        mse = {method: self.losses(found, method) for method in RATES}
        rate = {method: min(means, key=means.get) for method, means in mse.items()}
        passes = [first(curve, mse['sgd'][rate['sgd']])
                  for curve in curves(found['newton', rate['newton']], 'train_loss')]
        never = sum(n > PASSES for n in passes)
        wide = {method: width(means) for method, means in mse.items()}
        return (f'lowest training MSE: Newton {mse["newton"][rate["newton"]]:.1e} (rate {rate["newton"]:g}), plain '
                f'{mse["sgd"][rate["sgd"]]:.1e} (rate {rate["sgd"]:g}), to which Newton takes {pm(passes, 1)} of 23 '
                f'passes ({never} of {len(passes)} runs do not reach it, and count as {PASSES + 1}); within a factor '
                f'{FACTOR} of it for {wide["newton"]:.1f} and {wide["sgd"]:.1f} decades of rate',
                verdict(statistics.fmean(passes) > PASSES / TREMENDOUS, wide['newton'] >= wide['sgd'] + WIDER))

    def picture(self, found):
        """Training MSE after 23 passes against the rate."""
        from experiments.style import BLUE, ORANGE, canvas, png
        fig, ax = canvas(3.4)
        for method, color, style, label in (('newton', ORANGE, 's--', "Newton's method"),
                                            ('sgd', BLUE, 'o-', 'a single rate for all weights')):
            means = self.losses(found, method)
            ax.plot(list(means), list(means.values()), style, color=color, markersize=4, label=label)
            ax.axhline(FACTOR * min(means.values()), color=color, linewidth=0.8, linestyle=':')
        ax.set(xscale='log', yscale='log', xlabel='learning rate',
               title=f'training MSE after {PASSES} passes, geometric mean over seeds; '
                     f'dotted: {FACTOR} times the lowest')
        ax.legend()
        return png(fig, 'claims.csv')
