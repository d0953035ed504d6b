"""
The sheets by which claim 10 was judged: half of their digits are mistakes of one net, and they do not say which.

    python -m experiments.claims.sheets             # out/segmentation/pass_1_from_1.png and so on

results/segmentation.csv has the judgments, by the number of the test digit; answers.py has the rule.
"""
import os

import torch

import repro
from experiments.compare import runs_of
from experiments.style import bare, plt
from prepro import N_TEST
from support import cli, files


def sample():
    """The numbers of as many test digits that the net misses as the paper's missed, and of as many others."""
    missed = next({*map(int, row['missed'].split())} for row in runs_of('paper') if row['seed'] == 0)
    g = torch.Generator().manual_seed(0)
    return [group[i] for group in (sorted(missed), sorted({*range(N_TEST)} - missed))
            for i in torch.randperm(len(group), generator=g)[:repro.PAPER['test_misses']]]


def main():
    cli.parser(__doc__).parse_args()
    X, _ = files.load_digits('usps')['test']
    numbers, folder = sample(), os.path.join('out', 'segmentation')
    os.makedirs(folder, exist_ok=True)
    for which in 1, 2:                  # each pass sees them in an order of its own
        order = torch.randperm(len(numbers), generator=torch.Generator().manual_seed(which))
        for first in range(0, len(order), 36):
            fig, axes = plt.subplots(6, 6, figsize=(9, 10), layout='constrained')
            for ax in axes.flat:
                bare(ax)
            for place, ax in zip(range(first, len(order)), axes.flat):
                ax.imshow(X[numbers[order[place]], 0], vmin=-1, vmax=1, interpolation='bicubic')
                ax.set_title(f'{place + 1}', loc='center')
            fig.savefig(os.path.join(folder, f'pass_{which}_from_{first + 1}.png'))
            plt.close(fig)


if __name__ == '__main__':
    cli.run(main)
