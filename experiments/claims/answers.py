"""Claims 1, 7, 10 and 15: what needs no runs of its own."""
import csv
import statistics

from scipy import stats
from sklearn.metrics import cohen_kappa_score

from experiments.claims.claim import Claim
from experiments.markdown import results


class Counts(Claim):
    """repro.py asserts the paper's counts, layer by layer, from the structure that computes."""
    number, section = 1, '3'
    words = '1,256 units, 64,660 connections, 9,760 free parameters'

    def verdict(self, found):
        return 'repro.py asserts every count of section 3', {'each count': True}


class Results(Claim):
    """
    experiments/compare.py measures the table of results; experiments/posterior.py infers which test results follow from
    the training results.
    """
    number, section = 7, '5'
    words = 'train 0.14%, test 5.0%, 12.1% rejected for 1%; MSE 2.5e-3 and 1.8e-2'

    def verdict(self, found):
        return ('see the [table of results](#the-papers-table), and '
                '[what was done in 1989](#what-was-done-in-1989)', {})


CUT = 'cut off', 'joined', 'two parts'  # what wrong segmentation leaves
WHOLE = 'noise', 'clear'
MODERATE = 0.4          # Cohen's kappa


def share(words, group):
    """(share of the words that are in the group, its 95% interval's low and high end)."""
    test = stats.binomtest(sum(word in group for word in words), len(words))
    return test.statistic, *test.proportion_ci(method='wilson')


class Segmentation(Claim):
    """
    102 test digits that `paper`, seed 0, misses (of those it misses, a random 102), and as many that it does not, each
    judged by its picture alone, 36 on a sheet, in a random order, without label, answer or hint (sheets.py); twice, in
    two orders. One word for each, the first of these that is true of it:

        joined       ink that belongs to a neighbor, or to no digit, touches it or stands beside it
        cut off      a part of it is missing, as if cut away
        two parts    it is in pieces with a gap between them
        noise        specks, blots or blur, but a whole digit that can be read
        ambiguous    whole and clean, but another digit is as likely, or none is
        clear        none of these

    The first three are what wrong segmentation leaves. Rule, for the mistakes, where the passes agree on those three at
    least moderately (Cohen's kappa 0.4): it holds if in both passes surely more than half are one of the three; it does
    not hold if in both surely more than half are clear or noise. Surely: the 95% interval of the share is above a half.
    Otherwise it cannot be told, as a digit that was cut wrongly and then scaled to the frame may look whole.

    Both passes were by the same vision-language model, in one sitting: that they agree says that the words are used
    alike, not that other eyes would see the same. The first answer was "cannot be told", without a look: the zip codes
    that the digits were cut from are lost.
    """
    number, section = 10, '5'
    words = 'most of the mistakes are due to erroneous segmentation'

    def verdict(self, found):
        with open(results('segmentation.csv'), encoding='utf-8') as f:
            rows = list(csv.DictReader(f))
        passes = [[row[name] for row in rows] for name in ('first', 'second')]
        same = statistics.fmean(a == b for a, b in zip(*passes))
        kappa = cohen_kappa_score(*([word in CUT for word in words] for words in passes))
        missed, others = ([[row[name] for row in rows if row['missed'] == flag] for name in ('first', 'second')]
                          for flag in '10')

        def both(words_of, group):
            return ' and '.join('{:.0f}% [{:.0f}, {:.0f}]'.format(*(100 * v for v in share(words, group)))
                                for words in words_of)
        cut, whole = (all(share(words, group)[1] > 0.5 for words in missed) for group in (CUT, WHOLE))
        holds = None if kappa < MODERATE else True if cut else False if whole else None
        return (f'looked at twice by one vision-language model, not by people, which gave the same word to '
                f'{100 * same:.0f}% (kappa of cut wrongly or not {kappa:.2f}): of {len(missed[0])} mistakes '
                f'{both(missed, CUT)} are cut off, joined or in two parts, {both(missed, ["ambiguous"])} ambiguous, '
                f'{both(missed, WHOLE)} clear or noisy; of {len(others[0])} other digits {both(others, CUT)} are cut '
                'off, joined or in two parts', {'more than half of the mistakes': holds})


class Time(Claim):
    """On a SUN-4/260. repro.py says how long a run took; results/README.md has the comparison."""
    number, section = 15, '5'
    words = 'trained in 3 days'

    def verdict(self, found):
        return 'seconds; see [the speed](#the-speed)', {}
