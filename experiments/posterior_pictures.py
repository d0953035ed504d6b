"""
The pictures of posterior.py: prior against posterior for each setting, and the
test results that the paper's training results predict, against the paper's.

    python -m experiments.posterior_pictures [DRAWS.csv] [DIR]

The same draws give the same bytes.
"""
import os

import numpy as np

from experiments import posterior
from experiments.style import BLACK, BLUE, GRAY, ORANGE, PALE, canvas, png
from repro import PAPER
from support import cli, files

COLORS = {'training': BLUE, 'all': ORANGE}


def kept(rows):
    """The draws as columns, and those kept given the training results and given all, with the middle tolerance."""
    c = posterior.columns(rows)
    return c, {given: posterior.kept(posterior.distance(c, PAPER, names), tolerances[1])
               for given, (names, tolerances) in posterior.GIVEN.items()}


def draw_posterior(rows, bins=8):
    """Prior and posterior of each setting, as shares of the draws: bars for a choice, steps for a number."""
    c, which = kept(rows)
    fig, axes = canvas(4.6, 2, 5, sharey=True)
    for ax, (name, (kind, *values)) in zip(axes.flat, posterior.SETTINGS.items()):
        choice = kind == 'one of'
        at = np.arange(len(values) if choice else bins)
        ax.bar(at, 1 / len(at), 0.9 if choice else 1.0, color=PALE, label='prior')
        edges = None if choice else (np.geomspace if kind == 'log-uniform' else np.linspace)(*values, bins + 1)
        for side, (given, i) in zip((-1, 1), which.items()):
            what = {'training': 'the two training results', 'all': 'all results'}[given]
            look = {'color': COLORS[given], 'label': f'given {what}: {len(i)} draws'}
            if choice:
                ax.bar(at + 0.18 * side, [(c[name][i] == value).mean() for value in values], 0.3, **look)
            else:
                ax.stairs(np.histogram(c[name][i], edges)[0] / len(i), np.arange(bins + 1) - 0.5, baseline=None,
                          linewidth=1.8, **look)
        if choice:
            names = posterior.OPTIONS.get(name, [str(value) for value in values])
            ax.set_xticks(at, names, rotation=0 if len(values) == 2 else 45, fontsize=8)
        else:
            few = np.array([0, bins // 2, bins])
            ax.set_xticks(few - 0.5, [f'{edges[j]:.1g}' for j in few], fontsize=8)
        ax.set_title(posterior.TITLES[name], fontsize=8.5)
        ax.tick_params(axis='y', labelsize=8)
        ax.grid(axis='x', visible=False)
    fig.legend(*axes.flat[0].get_legend_handles_labels(), loc='outside lower center', ncols=3)
    fig.supylabel('share of draws', fontsize=9)
    return png(fig)


def draw_predictive(rows, bins=14):
    """The test results of the draws kept for their training results, and the paper's."""
    c, which = kept(rows)
    i = which['training']
    fig, axes = canvas(3.0, 1, 3, sharey=True)
    for ax, name, scale, title in zip(axes, ('test_loss', 'test_error', 'rejection'), (1000, 1, 1),
                                      ('test MSE, 1e-3', 'test error, %', 'rejected for 1% error, %')):
        values, half = scale * c[name][i], c['half'][i] == 1
        ax.hist([values[~half], values[half]], bins, stacked=True, color=(BLUE, ORANGE),
                label=('MSE as it is', 'MSE halved (stacked on the former)'))
        ax.axvline(scale * posterior.EXACT[name], color=BLACK, label='the paper')
        low, high = posterior.interval(values)
        ax.axvspan(low, high, color=GRAY, alpha=0.15, linewidth=0, zorder=0, label='their 90% interval')
        ax.set(title=title)
    axes[0].set_ylabel('draws')
    axes[0].yaxis.get_major_locator().set_params(integer=True)
    fig.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4)
    return png(fig)


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('draws', nargs='?', type=cli.path, default=os.path.join('results', 'posterior.csv'),
                        metavar='DRAWS.csv', help='what posterior.py wrote (default: results/posterior.csv)')
    parser.add_argument('folder', nargs='?', type=cli.path, default='results', metavar='DIR',
                        help='where posterior.png and predictive.png go (default: results)')
    args = parser.parse_args()
    rows = posterior.read(args.draws)
    if posterior.too_few(rows):
        cli.fail(f'{args.draws} has {posterior.too_few(rows)}')
    files.writable(args.folder)
    for name, draw in (('posterior', draw_posterior), ('predictive', draw_predictive)):
        path = os.path.join(args.folder, f'{name}.png')
        files.write_file(path, draw(rows))
        print(path)


if __name__ == '__main__':
    cli.run(main)
