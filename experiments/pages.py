"""What claims, predict.py and the ladder have on the pages. It goes to their rooms."""
import functools

from experiments import claim_runs, claims, pictures
from experiments.markdown import Missing, pm, prose, results, table
from support import runs
from support.cli import fail

IN_SHORT = {            # the claims on the front page, by verdict; 7 and 15, results and time, are there anyway
    claim_runs.HOLDS: {
        1: 'its counts of units, connections and parameters',
        4: 'initial weights within 2.4/F, F the fan-in, keep the total inputs in the operating range (near 0 in H3)',
        8: 'convergence is quick, as the data is redundant',
        9: 'some kernels are like derivatives, though hardly any like center and surround',
        13: 'the net of 2,600 free parameters, later called LeNet-1, rejects 9%',
        14: 'more than 30 digits a second'},
    claim_runs.PART: {
        3: 'targets inside the range keep outputs out of the flat spot, but do not stop the weights from growing',
        5: 'the stochastic gradient is much faster, but its solutions are not more robust',
        6: "Newton's method brings no tremendous speed, nor is it more reliable",
        11: '2, 4 or 6 maps are worse, but 8 or 10 cannot be told from 12',
        12: 'unconstrained nets generalize worse, but were not found to need twice the data'},
    claim_runs.NOT: {2: 'symmetric units converge faster: no difference was found'},
    claim_runs.OPEN: {10: 'most mistakes are due to segmentation'}}
ELSEWHERE = {           # where this page has what a claim refers to
    'table of results': 'the-papers-table', 'what was done in 1989': 'what-was-done-in-1989', 'the speed': 'the-speed'}


@functools.cache
def claim_lines():
    lines = claims.table(claims.read(results('claims.csv')))
    for number, *_, text, outcome in lines:
        if text in (claim_runs.NOT_RUN, claim_runs.SOME_RUN):
            raise Missing(f'runs of claim {number}')
        if outcome and int(number) not in IN_SHORT[outcome]:
            fail(f'claim {number} now {outcome}: report.IN_SHORT says otherwise')
    return lines


def claim_table():
    rows = []
    for number, words, section, text, outcome in claim_lines():
        for what, anchor in ELSEWHERE.items():
            text = text.replace(what, f'[{what}](#{anchor})')
        rows.append([number, f'{words} ({section})', text.replace('+-', '±'), outcome])
    return table(['', 'claim (section)', 'measured', 'verdict'], rows, '---')


def claims_front():
    claim_lines()                       # raises Missing, or says that a verdict is another
    return '\n'.join(prose(f'- **{verdict}**: '
                           + '; '.join(f'{what} ({number})' for number, what in claims_so.items()), '  ')
                     for verdict, claims_so in IN_SHORT.items())


def pictures_table():
    """How well predict.py reads, from results/predict.csv."""
    what = {'own': 'its own test digits', 'other': "the other set's test digits", 'photograph': 'those, as photographs',
            'fonts': 'digits of 20 fonts'}
    read, rows = pictures.read(results('predict.csv')), []
    for dataset in ('mnist', 'usps'):
        for kind, label in what.items():
            found = [row for row in read if (row['dataset'], row['pictures']) == (dataset, kind)]
            if not found:
                raise Missing(f'{kind} pictures of {dataset}')
            rows.append([dataset, label, found[0]['n']] + [pm(runs.mean_sd([row[key] for row in found])[:2], 1)
                                                           for key in ('error', 'rejected', 'error_kept')])
    return table(['trained on', 'pictures', 'n', 'wrong, %', 'rejected, %', 'wrong of those accepted, %'], rows)


BLOCKS = {'claims': claim_table, 'claims_front': claims_front, 'pictures': pictures_table}
