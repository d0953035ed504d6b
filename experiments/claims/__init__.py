"""
Every claim of the paper, measured.

    python -m experiments.claims            # all
    python -m experiments.claims 5 6        # some, by number

Besides its table of results the paper makes 14 claims in words. Each is a class
here, with its words; the experiment, where there can be one; and the rule for
the verdict, written down before the runs. Some rules were amended after first
runs; the class then says why, and what had been seen.

    answers.py      1, 7, 10, 15   what needs no runs; sheets.py: what 10 was judged by
    units.py        2, 3, 4        the unit, the targets, the initial weights
    gradient.py     5, 8           the stochastic gradient, and its speed
    newton.py       6              Newton's method
    kernels.py      9              what H1's kernels look like
    constraints.py  11, 12, 13     fewer maps, no constraints, the net after it
    speed.py        14             digits a second

Each run is a row of a CSV file, so that the command may be interrupted and
repeated. Nothing is chosen on test digits: where a claim compares two ways of
learning, each has the rate of a grid that gives the lowest training MSE (in
claim 2 the fastest), on seeds of their own. A difference counts if Welch's
t-test gives p < 0.01: then at most one in twenty claims with five comparisons
finds one by chance. (First it was two standard errors, of which chance gives 8%
with five seeds each, 6% with ten.)
"""
import functools
import re
import textwrap

from experiments import markdown
from experiments.claims import answers, constraints, gradient, kernels, newton, speed, units
from experiments.claims.claim import TO_RUN, found_in, text
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


def jobs_of(number, rows, dataset, seeds):
    """The jobs of a claim that are known so far."""
    claim, own = CLAIMS[number], range(100 * number, 100 * number + CLAIMS[number].seeds)
    return [{'claim': number, 'setting': text(key), 'settings': runs.fingerprint(claim.settings[key]),
             'dataset': dataset, 'seed': seed}
            for key, seed in dict.fromkeys(claim.jobs(found_in(rows, claim), seeds or own))]


def one_run(claim, setting, settings, dataset, seed):
    """Measure one setting of one claim: the values of its row."""
    [chosen] = [one for key, one in CLAIMS[claim].settings.items() if text(key) == setting]
    assert settings == runs.fingerprint(chosen)
    row, curves = CLAIMS[claim].measure(chosen, files.load_digits(dataset), seed)
    return row | {'curves': ';'.join(f'{name}=' + ' '.join(f'{v:.5g}' for v in numbers)
                                     for name, numbers in curves.items())}


# ---------------------------------------------------------------------------------------------------------------------
# tables and pictures

def judgments(rows, numbers=CLAIMS):
    """{claim: (what was measured, verdict, verdict with its parts)}, from the rows of one data set."""
    return {CLAIMS[number]: CLAIMS[number].judge(found_in(rows, CLAIMS[number])) for number in sorted(numbers)}


def read(path):
    """The rows of a file of runs."""
    return runs.read_rows(path, KEY, VALUES, WORDS)


@functools.cache
def committed():
    return read(markdown.results('claims.csv'))


def tables():
    """{mark: what a page has there}."""
    judged = judgments(committed())
    lines = [[claim.number, f'{claim.words} ({claim.section})', measured, words]
             for claim, (measured, _, words) in judged.items()]
    front = [f'- {claim.front[verdict]}' for claim, (_, verdict, _) in judged.items() if verdict in claim.front]
    return {'claims': markdown.table(['', 'claim (section)', 'measured', 'verdict'], lines, '---'),
            'claims_front': '\n'.join(front)}


def pictures():
    """{name of a file in results/: a function that gives its bytes}, of the claims that have their runs."""
    return {f'claim_{claim.number}.png': functools.partial(claim.picture, found_in(committed(), claim))
            for claim, (_, verdict, _) in judgments(committed()).items() if claim.picture and verdict != TO_RUN}


def shown(judged):
    """The table as text for a shell."""
    lines = []
    for claim, (measured, _, words) in judged.items():
        lines += textwrap.wrap(f'{claim.number:>2}  {claim.words} ({claim.section}): {words or "-"}', 79,
                               subsequent_indent='    ')
        measured = re.sub(r'\[(.*?)\]\((.*?)\)', r'\1 (results/README.md\2)', measured.replace('±', '+-'))
        lines += textwrap.wrap(measured, 79, initial_indent='    ', subsequent_indent='    ')
    return '\n'.join(lines)
