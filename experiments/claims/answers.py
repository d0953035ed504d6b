"""Claims 1, 7, 10 and 15: what needs no runs of its own."""
from experiments.claims.claim import Claim


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


class Time(Claim):
    """On a SUN-4/260. repro.py says how long a run took; results/README.md has the comparison."""
    number, section = 15, '5'
    words = 'trained in 3 days'

    def verdict(self, found):
        return 'seconds; see [the speed](#the-speed)', {}
