"""
The sheets by which claim 10 was judged: half of their digits are mistakes of one net, and they do not say which.

    python -m experiments.claims.sheets             # out/segmentation/pass_1_from_1.png and so on

results/segmentation.csv has the judgments, by the number of the test digit; answers.py has the rule.
"""
import os

import torch

import repro
from experiments.compare import trained
from experiments.style import bare, plt
from support import cli, files
from support.engine import faster


def sample():
    """([number of a test digit], [whether it is a mistake]): as many mistakes as the paper had, and as many others."""
    splits, recipe = files.load_digits('usps'), repro.RECIPES['paper']
    X, Y = splits['test']
    net, _ = trained(recipe, *splits['train'], seed=0)
    wrong = faster('outputs', repro.outputs, net, X[:3])(net, X).argmax(1) != Y.argmax(1)
    g = torch.Generator().manual_seed(0)
    numbers = [which.nonzero().flatten() for which in (wrong, ~wrong)]
    numbers = torch.cat([all_of[torch.randperm(len(all_of), generator=g)[:repro.PAPER['test_misses']]]
                         for all_of in numbers]).tolist()
    return numbers, wrong[numbers].tolist()


def order(n, which):
    """The order in which pass 1 or 2 sees n digits."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(which)).tolist()


def main():
    cli.parser(__doc__).parse_args()
    X, _ = files.load_digits('usps')['test']
    numbers, _ = sample()
    folder = os.path.join('out', 'segmentation')
    os.makedirs(folder, exist_ok=True)
    for which in 1, 2:
        places = [numbers[i] for i in order(len(numbers), which)]
        for first in range(0, len(places), 36):
            fig, axes = plt.subplots(6, 6, figsize=(9, 10), layout='constrained')
            for ax in axes.flat:
                bare(ax)
            for place, ax in zip(range(first, len(places)), axes.flat):
                ax.imshow(X[places[place], 0], vmin=-1, vmax=1, interpolation='bicubic')
                ax.set_title(f'{place + 1}', loc='center')
            fig.savefig(os.path.join(folder, f'pass_{which}_from_{first + 1}.png'))
            plt.close(fig)


if __name__ == '__main__':
    cli.run(main)
