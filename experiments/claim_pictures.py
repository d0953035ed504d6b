"""
The pictures of the claims whose curve says more than a verdict: 5 (the true
gradient), 6 (rates), 8 (redundancy), 9 (kernels), 11 (maps), 12 (constraints).

    python -m experiments.claim_pictures         # all, from results/claims.csv
    python -m experiments.claim_pictures 5 12    # some of them

They are results/claim_N.png. A picture is skipped if its runs are missing; 9
trains a net on the spot.
"""
import os
import statistics
import sys

import numpy as np
import torch

import repro
from experiments import claims, claims_of_learning as learning, claims_of_nets as nets, compare
from experiments.claim_runs import curve, of
from experiments.style import (BLACK, BLUE, GRAY, GREEN, ORANGE, PINK, RED, SKY, bare, canvas, mosaic, name_ends, png,
                               ticks)
from support import cli, files

COLORS = (BLUE, ORANGE, GREEN, BLACK, GRAY, PINK, RED, SKY)


def mean_curve(curves):
    """The geometric mean, point by point, of curves of one length."""
    return np.exp(np.log(np.maximum(np.array(curves), 1e-9)).mean(0))


def bars(values):
    """(mean, sd) of values."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def draw_5(rows):
    """Training MSE and test error against passes: each run of the stochastic and the true gradient, and the medians."""
    fig, axes = canvas(3.8, 1, 2)
    for how in learning.RATES_5:
        name = learning.best_5(rows, how)
        found = [learning.curve_5(row) for row in of(rows, name)]
        if not found:
            return None
        gradient, newton = how.split()[0], how.endswith('newton')
        color, style = ORANGE if newton else BLUE, '-' if gradient == 'stochastic' else '--'
        kind = ('Newton, rate ' if newton else 'single rate, ') + name.split()[-1]
        for ax, part in zip(axes, (1, 2)):
            for one in found:
                ax.plot(one[0], one[part], color=color, linewidth=0.6, alpha=0.5)
            ax.plot(found[0][0], np.median([one[part] for one in found], 0), style, color=color, linewidth=2.2,
                    label=f'{gradient} gradient, {kind}: {len(found)} runs')
    for ax, title in zip(axes, ('training MSE', 'test error, %')):
        ax.set(xscale='log', yscale='log', xlabel='passes over the data', title=title)
        ticks(ax.xaxis, 0.1, 1, 10, 100, 1000)
    ticks(axes[0].yaxis, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
    ticks(axes[1].yaxis, 5, 10, 20, 50, 100)
    fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=2, alignment='left',
               title='thin lines: single runs; bold: their median')
    return png(fig)


def draw_6(rows):
    """Training MSE after 23 passes against the rate."""
    fig, ax = canvas(3.4)
    for how, color, style, label in (('newton', ORANGE, 's--', "Newton's method"),
                                     ('sgd', BLUE, 'o-', 'a single rate for all weights')):
        losses = learning.losses_6(rows, how)
        if not losses:
            return None
        ax.plot(list(losses), list(losses.values()), style, color=color, markersize=4, label=label)
        ax.axhline(learning.FACTOR * min(losses.values()), color=color, linewidth=0.8, linestyle=':')
    ax.set(xscale='log', yscale='log', xlabel='learning rate',
           title=f'training MSE after {repro.PASSES} passes, geometric mean over seeds; '
                 f'dotted: {learning.FACTOR} times the lowest')
    ax.legend()
    return png(fig)


def draw_8(rows):
    """Test error against presentations, for parts of the digits."""
    fig, ax = canvas(3.4)
    presentations, ends = [7291 * n / learning.SIXTEENTH for n in learning.AT_8], {}
    for name, color, style in zip(learning.SETTINGS[8], COLORS, ('-', '--', '-.', ':', '-')):
        found = of(rows, name)
        if not found:
            return None
        mean = mean_curve([curve(row, 'test_error') for row in found])
        ax.plot(presentations, mean, style, color=color)
        ends['all digits' if name == '1/1' else f'{name} of them'] = (presentations[-1], mean[-1]), color
    for level in learning.TO:
        ax.axhline(level, color=GRAY, linewidth=0.8, linestyle=':')
    ax.set(xscale='log', yscale='log', xlabel='presentations: of all digits, or of a part of them again and again',
           title=f'test error, %, geometric mean over seeds; dotted: {" and ".join(f"{n:g}" for n in learning.TO)}%')
    ticks(ax.xaxis, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
    ticks(ax.yaxis, 5, 10, 20, 50, 100)
    name_ends(ax, ends)
    return png(fig)


def draw_9(rows):
    """H1's kernels of one net, their fit by the templates, and how much that explains before and after training."""
    found = of(rows, 'paper')
    if not found:
        return None
    net, _ = compare.trained(compare.BASE['paper'], *files.load_digits('usps')['train'], 0)
    k = net.H1w.detach().flatten(1).double()
    t = nets.templates()['all']
    fitted = k.mean(1, keepdim=True) + k @ t.T @ t
    share = nets.explained(net.H1w.detach())['all']
    order = share.argsort(descending=True)
    fig, axes = canvas(3.9, 2, 1, height_ratios=(1.3, 1))
    most = float(k.abs().max())
    both = torch.cat([k[order], fitted[order]]).reshape(-1, 5, 5).numpy()
    bare(axes[0]).imshow(mosaic(both, len(k), 1, np.nan), vmin=-most, vmax=most, cmap='gray')
    for i, n in enumerate(order.tolist()):
        axes[0].text(6*i + 3, 12.6, f'{100 * share[n]:.0f}%', ha='center', va='top', fontsize=8)
    axes[0].set_title("H1's kernels (seed 0), and their projections onto five derivatives of a Gaussian")
    maps = len(curve(found[0], 'all')) // 2
    for part, color, label in ((slice(maps), ORANGE, 'before training'), (slice(maps, None), BLUE, 'after training')):
        axes[1].hist([100 * v for row in found for v in curve(row, 'all')[part]], bins=range(0, 101, 5), color=color,
                     alpha=0.6, label=label)
    axes[1].set(xlabel='% of a kernel that they explain', title=f'number of kernels, in {len(found)} nets')
    axes[1].legend()
    return png(fig)


def draw_11(rows):
    """Test error against free parameters, for 2 to 24 maps."""
    fig, ax = canvas(3.2)
    for maps in nets.MAPS:
        errors = [row['test_error'] for row in of(rows, f'{maps} maps')]
        if not errors:
            return None
        mean, sd = bars(errors)
        ax.errorbar(nets.parameters(maps), mean, sd, fmt='o', color=BLUE if maps == 12 else BLACK, capsize=3)
        ax.annotate(f'{maps}', (nets.parameters(maps), mean + sd), (0, 5), textcoords='offset points', ha='center',
                    color=BLUE if maps == 12 else BLACK)
    ax.set(xscale='log', xlabel='free parameters', title='test error, %, mean and sd over seeds; above each: '
           "the number of maps in H1, and in H2 (blue: the paper's)")
    ticks(ax.xaxis, 2000, 5000, 10_000, 20_000)
    ax.margins(y=0.15)
    return png(fig)


def draw_12(rows):
    """Test error against the number of training digits, for the nets."""
    fig, ax = canvas(4.4)
    digits, ends = [7291 // part for part in nets.PARTS], {}
    for name, color, marker in zip(nets.NETS, COLORS, 'oDv^s<X>'):
        found = [nets.errors_12(rows, name, part) for part in nets.PARTS]
        if not all(found):
            return None
        mean, sd = zip(*map(bars, found))
        ax.errorbar(digits, mean, sd, color=color, marker=marker, markersize=5, capsize=3, elinewidth=0.8)
        ends[{'paper': "the paper's net", 'unshared': "the paper's windows, unshared",
              'two hidden': '256-60-30-10'}.get(name, name)] = (digits[-1], mean[-1]), color
    ax.set(xscale='log', yscale='log', xlabel='training digits', title='test error, %, mean and sd over seeds')
    ticks(ax.xaxis, *digits)
    ticks(ax.yaxis, 5, 6, 8, 10, 15, 20)
    name_ends(ax, ends)
    return png(fig)


PICTURES = {5: draw_5, 6: draw_6, 8: draw_8, 9: draw_9, 11: draw_11, 12: draw_12}


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('claims', nargs='*', type=cli.checked(int, 1, 15, f'one of {", ".join(map(str, PICTURES))}'),
                        metavar='N', help='claims (default: all)')
    parser.add_argument('--rows', type=cli.path, default=os.path.join('results', 'claims.csv'), metavar='CSV',
                        help='what python -m experiments.claims wrote (default: results/claims.csv)')
    parser.add_argument('--out', type=cli.path, default='results', metavar='DIR',
                        help='where claim_N.png goes (default: results)')
    args = parser.parse_args()
    other = [number for number in args.claims if number not in PICTURES]
    if other:
        parser.error(f'claim {other[0]} has no picture; {", ".join(map(str, PICTURES))} have one')
    rows, skipped = claims.read(args.rows), 0
    files.writable(args.out)
    for number in args.claims or PICTURES:
        path = os.path.join(args.out, f'claim_{number}.png')
        picture = PICTURES[number]([row for row in rows if row['claim'] == number])
        if picture is None:
            skipped += 1
            cli.warn(f'{path}: skipped, runs are missing; to make them: python -m experiments.claims {number} '
                     f'--out {args.rows}')
            continue
        files.write_file(path, picture)
        print(path, flush=True)
    sys.exit(1 if skipped and (args.claims or skipped == len(PICTURES)) else 0)


if __name__ == '__main__':
    cli.run(main)
