"""
Every claim of the paper, measured.

Besides its table of results the paper makes 14 claims in words. Each is a class (claim.Claim) with its words; the
experiment, where there can be one; and the rule for the verdict, written down before the runs. A claim holds, holds in
part, does not hold, or cannot be told.

    answers.py      1, 7, 10, 15   what needs no runs of its own
    units.py        2, 3, 4        the unit, the targets, the initial weights
    gradient.py     5, 8           the stochastic gradient, and why it converges so fast
    newton.py       6              Newton's method
    kernels.py      9              what H1's kernels look like
    constraints.py  11, 12, 13     fewer maps, no constraints, and the net that came after it
    speed.py        14             digits a second
"""
import functools
import os
import re
import textwrap

from experiments import markdown
from experiments.claims import answers, constraints, gradient, kernels, newton, speed, units
from experiments.claims.claim import HOLDS, NOT, NOT_RUN, OPEN, PART, SOME_RUN, found_in, text
from repro import RESULTS
from support import files, runs

CLAIMS = {one.number: one for one in (
    answers.Counts(), units.Symmetry(), units.Targets(), units.InitialRange(), gradient.Stochastic(), newton.Newton(),
    answers.Results(), gradient.Redundancy(), kernels.Kernels(), answers.Segmentation(), constraints.FewerMaps(),
    constraints.Constraints(), constraints.LeNet1(), speed.Speed(), answers.Time())}

# ---------------------------------------------------------------------------------------------------------------------
# runs. A row's curves are 'name=v v v;...'

KEY = ('claim', 'setting', 'settings', 'dataset', 'seed')
VALUES = (*RESULTS, 'seconds', 'curves')
WORDS = ('setting', 'settings', 'dataset', 'curves')
COMMITTED = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(__file__))), 'results', 'claims.csv')

load = functools.cache(files.load_digits)


def jobs_of(number, rows, dataset, seeds):
    """The jobs of a claim that are known so far."""
    claim = CLAIMS[number]
    return [{'claim': number, 'setting': text(key), 'settings': runs.fingerprint(claim.settings[key]),
             'dataset': dataset, 'seed': seed}
            for key, seed in dict.fromkeys(claim.jobs(found_in(rows, claim), seeds or claim.seeds))]


def one_run(claim, setting, settings, dataset, seed):
    """Measure one setting of one claim: the values of its row."""
    [chosen] = [one for key, one in CLAIMS[claim].settings.items() if text(key) == setting]
    assert settings == runs.fingerprint(chosen)
    row, curves = CLAIMS[claim].measure(chosen, load(dataset), seed)
    return row | {'curves': ';'.join(f'{name}=' + ' '.join(f'{v:.5g}' for v in numbers)
                                     for name, numbers in curves.items())}


# ---------------------------------------------------------------------------------------------------------------------
# tables and pictures

def judgments(rows, numbers=CLAIMS):
    """{claim: (what was measured, verdict)}, from the rows of one data set."""
    return {CLAIMS[number]: CLAIMS[number].judge(found_in(rows, CLAIMS[number])) for number in sorted(numbers)}


@functools.cache
def committed():
    return runs.read_rows(COMMITTED, KEY, VALUES, WORDS)


def tables():
    """{mark: what a page has there}. Raises markdown.Missing."""
    judged = judgments(committed())
    for claim, (measured, verdict) in judged.items():
        if measured in (NOT_RUN, SOME_RUN):
            raise markdown.Missing(f'runs of claim {claim.number}')
        if claim.front and claim.front[0] != verdict:
            raise markdown.Missing(f'words for claim {claim.number}, which now {verdict},')
    table = [[claim.number, f'{claim.words} ({claim.section})', measured.replace('+-', '±'), verdict]
             for claim, (measured, verdict) in judged.items()]
    front = {verdict: '; '.join(f'{claim.front[1]} ({claim.number})' for claim in judged
                                if claim.front and claim.front[0] == verdict) for verdict in (HOLDS, PART, NOT, OPEN)}
    return {'claims': markdown.table(['', 'claim (section)', 'measured', 'verdict'], table, '---'),
            'claims_front': '\n'.join(f'- **{verdict}**: {words}' for verdict, words in front.items())}


def pictures():
    """{name of a file in results/: a function that gives its bytes}. The functions raise markdown.Missing."""
    return {f'claim_{number}.png': functools.partial(lambda claim: claim.picture(found_in(committed(), claim)), claim)
            for number, claim in CLAIMS.items() if claim.picture}


def shown(judged):
    """The table as text for a shell."""
    lines = []
    for claim, (measured, verdict) in judged.items():
        lines += textwrap.wrap(f'{claim.number:>2}  {claim.words} ({claim.section}): {verdict or "-"}', 79,
                               subsequent_indent='    ')
        lines += textwrap.wrap(re.sub(r'\[(.*?)\]\(.*?\)', r'\1', measured), 79, initial_indent='    ',
                               subsequent_indent='    ')                 # links are for pages
    return '\n'.join(lines)
