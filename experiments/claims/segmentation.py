"""
Claim 10: whether mistakes are due to segmentation, judged by looking.

    python -m experiments.claims.segmentation       # draws the sheets of both passes into out/segmentation/

Half of the digits are mistakes of one net; the sheets do not say which.
"""
import csv
import os
import statistics

import torch
from scipy import stats
from sklearn.metrics import cohen_kappa_score

import repro
from experiments.claims.claim import PAPER, Claim
from experiments.markdown import Missing, results
from support import cli, files
from support.engine import faster

MISTAKES = repro.PAPER['test_misses']
CUT = 'cut off', 'joined', 'two parts'  # what wrong segmentation leaves
WHOLE = 'clear', 'noise'
WORDS = *CUT, 'noise', 'ambiguous', 'clear'
AGREE = 0.4             # Cohen's kappa from which two passes are called moderately agreed
SHEET = 36              # digits on a sheet


def sample():
    """([number of a test digit], whether it is a mistake): as many mistakes as the paper had, as many others."""
    splits = files.load_digits('usps')
    X, Y = splits['test']
    net = repro.build(PAPER, seed=0)
    for _ in repro.train(net, *splits['train'], **PAPER['training']):
        pass
    wrong = faster('outputs', repro.outputs, net, X[:3])(net, X).argmax(1) != Y.argmax(1)
    g = torch.Generator().manual_seed(0)
    numbers = [which.nonzero().flatten() for which in (wrong, ~wrong)]
    numbers = torch.cat([which[torch.randperm(len(which), generator=g)[:MISTAKES]] for which in numbers]).tolist()
    return numbers, wrong[numbers].tolist()


def order(n, number):
    """The order in which pass 1 or 2 sees the n digits."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(number)).tolist()


def main():
    cli.parser(__doc__).parse_args()
    from experiments.style import bare, plt
    numbers, _ = sample()
    X, _ = files.load_digits('usps')['test']
    os.makedirs(os.path.join('out', 'segmentation'), exist_ok=True)
    for which in 1, 2:
        places = order(len(numbers), which)
        for first in range(0, len(places), SHEET):
            fig, axes = plt.subplots(6, 6, figsize=(9, 10), layout='constrained')
            for place, ax in enumerate(axes.flat, first):
                bare(ax)
                if place < len(places):
                    ax.imshow(X[numbers[places[place]], 0], vmin=-1, vmax=1, interpolation='bicubic')
                    ax.set_title(f'{place + 1}', fontsize=11, loc='center')
            fig.savefig(os.path.join('out', 'segmentation', f'pass_{which}_from_{first + 1}.png'))
            plt.close(fig)


class Segmentation(Claim):
    """
    102 test digits that `paper`, seed 0, misses (a random 102 of them), and as many random ones that it does not, each
    judged by its picture alone, 36 on a sheet, in a random order, without label, answer or hint; twice, in two orders.
    One word for each, the first of these that is true of it:

        joined       ink that belongs to a neighbor, or to no digit, touches it or stands beside it
        cut off      a part of it is missing, as if cut away
        two parts    it is in pieces with a gap between them
        noise        specks, blots or blur, but a whole digit that can be read
        ambiguous    whole and clean, but another digit is as likely, or none is
        clear        none of these

    The first three are what wrong segmentation leaves. Rule, for the mistakes, where the passes agree at least
    moderately (Cohen's kappa 0.4): it holds if in both passes surely more than half are one of the three; it does not
    hold if in both surely more than half are clear or noise. Surely: the 95% interval of the share is above a half.
    Otherwise it cannot be told, as a digit that was cut wrongly and then scaled to the frame may look whole.

    The first answer was "cannot be told" without a look: the zip codes that the digits were cut from are lost.
    """
    number, section = 10, '5'
    words = 'most of the mistakes are due to erroneous segmentation'

    def verdict(self, found):
        path = results('segmentation.csv')
        if not os.path.exists(path):
            raise Missing('judgments of claim 10')
        with open(path, encoding='utf-8') as f:
            rows = list(csv.DictReader(f))
        passes = [[row[name] for row in rows] for name in ('first', 'second')]
        same = statistics.fmean(a == b for a, b in zip(*passes))
        kappa = cohen_kappa_score(*([word in CUT for word in words] for words in passes))
        missed = [[row[name] for row in rows if row['missed'] == '1'] for name in ('first', 'second')]
        others = [[row[name] for row in rows if row['missed'] == '0'] for name in ('first', 'second')]

        def surely(group):
            """Whether in both passes more than half of the mistakes have one of these words."""
            return all(share(words, group)[1] > 0.5 for words in missed)
        holds = None if kappa < AGREE else True if surely(CUT) else False if surely(WHOLE) else None
        text = [', '.join(f'{word} {first.count(word)} and {second.count(word)}' for word in WORDS)
                + '; cut off, joined or in two parts '
                + ' and '.join('{:.0f}% [{:.0f}, {:.0f}]'.format(*(100 * v for v in share(words, CUT)))
                               for words in (first, second)) for first, second in (missed, others)]
        return (f'two passes by a vision-language model, not by people, over {len(missed[0])} mistakes and '
                f'{len(others[0])} other digits; the same word for {100 * same:.0f}%, kappa of cut wrongly or not '
                f'{kappa:.2f}; of the mistakes {text[0]}; of the others {text[1]}', {'more than half': holds})


def share(words, group):
    """(share of the words that are in the group, its 95% interval's low and high end)."""
    test = stats.binomtest(sum(word in group for word in words), len(words))
    return test.statistic, *test.proportion_ci(method='wilson')


if __name__ == '__main__':
    cli.run(main)
