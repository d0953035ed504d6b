"""What claims, predict.py and the ladder have on the pages. It goes to their rooms."""
import functools
import textwrap

import numpy as np

import modern
import repro

from experiments import claim_runs, claims, pictures
from experiments.markdown import Missing, pm, prose, results, table
from experiments.style import BLACK, BLUE, ORANGE, canvas, png
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


def draw_ladder():
    """The error of modern.py's rungs on both data sets, and the steps that the 2022 reproduction published."""
    same_net = repro.Net().counts()['all'][2]
    rows = [row | {'rung': int(row['rung'])} for row in modern.read(results('modern.csv'))
            if row['rung'].isdecimal() and row['parameters'] == same_net]
    if not rows:
        raise Missing('a rung')
    ideas = {rung: modern.RUNGS[rung]['idea'] for rung in sorted({row['rung'] for row in rows})}
    fig, ax = canvas(4.4)
    for dataset, style, marker in (('usps', '-', 'o'), ('mnist', '--', 's')):
        stats = {r: runs.mean_sd([row['error'] for row in rows if (row['dataset'], row['rung']) == (dataset, r)])
                 for r in ideas}
        stats = {r: (mean, sd or 0, n) for r, (mean, sd, n, _) in stats.items() if n}
        if not stats:
            continue
        mean, sd, counts = zip(*stats.values())
        n = f'n={min(counts)}' if min(counts) == max(counts) else f'n={min(counts)} to {max(counts)}'
        ax.errorbar(list(stats), mean, sd, fmt=style, marker=marker, capsize=4, markersize=6,
                    color={'usps': BLUE, 'mnist': ORANGE}[dataset], label=f'{dataset.upper()}, mean and sd, {n}')
        for r, m, s in zip(stats, mean, sd):    # USPS's numbers above their bars, MNIST's below
            up = dataset == 'usps'
            ax.annotate(f'{m:.2f}', (r, m + max(s, 0.1) * (1 if up else -1)), (0, 4 if up else -4),
                        textcoords='offset points', ha='center', va='bottom' if up else 'top', fontsize=8.5)
    reference = [repro.KARPATHY2022['test_error'], *modern.MODERN_2022.values()]
    ax.plot(np.array([0, 1, 2, 4, 5]) + 0.28, reference, 'x', color=BLACK, markersize=7, markeredgewidth=1.6,
            label='published in 2022 (MNIST, one run each), drawn\nto the right of the rung most like the step')
    ax.set(xticks=list(ideas), title='test error, %')
    ax.set_xticklabels([f'{r}\n{textwrap.fill(idea, 13, break_on_hyphens=False)}' for r, idea in ideas.items()],
                       fontsize=8.5)
    ax.margins(x=0.07)
    ax.set_ylim(0, 1.1 * ax.get_ylim()[1])
    ax.legend()
    return png(fig, 'modern.csv')
