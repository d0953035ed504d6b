"""
Put the numbers of results/*.csv into README.md and results/README.md.

    python -m experiments.report            # writes between <!-- name --> marks
    python -m experiments.report --check    # status 1 if a page would change

Each block below, from <!-- name --> to <!-- /name -->, is a function of the
CSV files; a test holds both pages to them.
"""
import functools
import os
import re
import statistics

import modern
import repro
from experiments import claim_runs, claims, compare, ladder_tables, pictures, uncertainty
from experiments.compare import DECIMALS, LABELS, NARROW, SCALE, VARIANTS
from experiments.markdown import Missing, interval, pm, probability, prose, table
from experiments.posterior import answer
from repro import KARPATHY2022, PAPER, PAPER_FC40, RESULTS
from support import cli, files, runs
from support.cli import fail

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = ('README.md', os.path.join('results', 'README.md'))


# ---------------------------------------------------------------------------------------------------------------------
# the rows

@functools.cache
def compared():
    return compare.read(os.path.join(ROOT, 'results', 'compare.csv'))


@functools.cache
def bench():
    """({what: microseconds}, the machine)."""
    rows = runs.read_rows(os.path.join(ROOT, 'results', 'bench.csv'), ('what', 'seconds', 'machine'), (),
                          ('what', 'machine'), 'run: python -m experiments.bench --out results/bench.csv')
    return {row['what']: row['seconds'] * 1e6 for row in rows}, rows[0]['machine']


def stats_of(recipe, dataset='usps'):
    """(runs, diverged, {result: (mean, sd)}) of a recipe."""
    n, diverged, results = compare.summary(compared(), [recipe], dataset).get(recipe, (0, 0, {}))
    if n - diverged < 2:
        raise Missing(f'two runs of {recipe} on {dataset}')
    return n, diverged, results


def by_seed(recipe, result, dataset='usps'):
    """{seed: value} of a result."""
    stats_of(recipe, dataset)           # raises Missing
    return {row['seed']: row[result] for row in compared() if (row['recipe'], row['dataset']) == (recipe, dataset)}


def mean_sd_of(recipe, result, dataset='usps'):
    """A result as 'mean ± sd'."""
    return pm([v * SCALE[result] for v in stats_of(recipe, dataset)[2][result]], DECIMALS[result])


# ---------------------------------------------------------------------------------------------------------------------
# the paper's table

def head(keys=RESULTS):
    return ['', 'n', *(LABELS[key] for key in keys)]


def measured(label, recipe, dataset='usps', keys=RESULTS):
    n, diverged, results = stats_of(recipe, dataset)
    return [label, compare.label_n(n, diverged), *compare.cells(results, keys, ' ± ')]


def published(label, results, keys=RESULTS):
    return [label, '', *(cell if cell != '-' else '' for cell in compare.cells(results, keys))]


def front():
    """The errors, the paper's and ours."""
    keys = ('train_error', 'test_error', 'rejection')
    link = '[the 2022 reproduction](https://github.com/karpathy/lecun1989-repro)'
    return table(
        ['', 'training digits wrong, %', 'test digits wrong, %', 'rejected for 1% error, %'],
        [['the paper, 1989', *compare.cells(PAPER, keys)],
         [f'**here, on USPS** (`paper`, n={stats_of("paper")[0]})',
          *(f'**{mean_sd_of("paper", key)}**' for key in keys)],
         [f'{link}, one run on MNIST', *published('', KARPATHY2022, keys)[2:]],
         [f'here, its settings on MNIST (`reference`, n={stats_of("reference", "mnist")[0]})',
          *(mean_sd_of('reference', key, 'mnist') for key in keys)]]) + f'\n\n{one_run_says()}\n\n{whats_new()}'


def one_run_says():
    """How far one run, and 2007 test digits, can be trusted."""
    run = uncertainty.single_run(PAPER['test_error'], list(by_seed('paper', 'test_error').values()))
    low, high = uncertainty.sampling(PAPER['test_misses'], 2007)
    fc40 = pm([v * SCALE['train_error'] for v in stats_of('fc40')[2]['train_error'][:1]])
    return prose('Mean ± standard deviation over n random initializations. The paper reports one run; 95% of single '
                 f'runs of ours should miss {run["low"]:.1f} to {run["high"]:.1f}% of the test digits, and its '
                 f'{PAPER["test_misses"]} misses in 2007 are consistent with {low:.1f} to {high:.1f}%. Errors and '
                 f'rejection agree. The test MSE does not: {mean_sd_of("paper", "test_loss")}e-3, the paper\'s '
                 f'{PAPER["test_loss"] * 1000:.0f}e-3, which other settings reach. Nor does the fully connected net\'s '
                 f'training error: {fc40}%, the paper\'s {PAPER_FC40["train_error"]}%.')


def whats_new():
    """What is new here, a line each."""
    us, machine = bench()
    step = us['engine compiled']
    mnist, usps = (ladder_tables.summary(dataset)[str(modern.TOP)]['error'][0] for dataset in ('mnist', 'usps'))
    return 'New here:\n' + '\n'.join(prose(f'- {text}', '  ') for text in (
        "the paper's digits, deslanted: `torchvision.datasets.USPS`, 9298 of 16x16, split 7291 / 2007 as in the paper;",
        f'its 23 passes in {repro.PASSES * 7291 * step / 1e6:.1f} s on one core ({machine}), one pattern at a time: '
        f"{us['autograd, 1 thread'] / step:.0f} times as fast as PyTorch's eager loop, and "
        f"{step / us['arithmetic limit']:.1f} times as long as its multiply-adds alone ([how](results/engine.md));",
        '[its claims in words](#what-it-claims), put to the test;',
        '[the settings of 1989](#what-we-found), inferred from its results;',
        f'[later ideas](#what-later-ideas-buy): a net of the same size misses {mnist:.2f}% on MNIST, {usps:.2f}% on '
        'USPS.'))


def papers_table():
    return table(head(), [
        published('the paper, 1989', PAPER), measured('**here, on USPS** (`paper`)', 'paper'),
        published('its fully connected net', PAPER_FC40), measured('here, on USPS (`fc40`)', 'fc40'),
        published('the 2022 reproduction, on MNIST', KARPATHY2022),
        measured('its settings, our seeds, on its digits of MNIST (`reference`)', 'reference', 'mnist'),
        measured('its settings, on USPS (`reference`)', 'reference')])


def single():
    """The published single runs beside our distributions."""
    rows = []
    for label, results, recipe, dataset in (('the paper, `paper` on USPS', PAPER, 'paper', 'usps'),
                                            ('its fully connected net, `fc40` on USPS', PAPER_FC40, 'fc40', 'usps'),
                                            ('2022, `reference` on MNIST', KARPATHY2022, 'reference', 'mnist')):
        for key in RESULTS:
            if results.get(key) is None or key.endswith('misses'):
                continue
            run = uncertainty.single_run(results[key], list(by_seed(recipe, key, dataset).values()))
            digits = ''
            if key.endswith('error'):
                n = 2007 if key == 'test_error' else 7291
                misses = results.get(key.replace('error', 'misses')) or round(results[key] * n / 100)
                digits = '{:.2f} to {:.2f}'.format(*uncertainty.sampling(misses, n))
            low, high = (f'{run[end] * SCALE[key]:.{DECIMALS[key]}f}' for end in ('low', 'high'))
            rows.append([label, LABELS[key], *compare.cells(results, [key]), f'{low} to {high}', f'{run["z"]:+.1f}',
                         digits])
    return table(['published', 'result', 'value', '95% of our single runs', 'z', 'sampling error of the digits, 95%'],
                 rows)


def nets():
    """Pairs of recipes on the same test digits."""
    rows = []
    for a, b in ('paper', 'fc40'), ('paper', 'reference'), ('paper', 'sgd'):
        d = uncertainty.difference(by_seed(b, 'test_error'), by_seed(a, 'test_error'))
        missed = [{row['seed']: set(row['missed'].split()) for row in compared()
                   if (row['recipe'], row['dataset']) == (name, 'usps')} for name in (a, b)]
        tests = [uncertainty.mcnemar(*([str(i) in m[seed] for i in range(2007)] for m in missed))
                 for seed in missed[0] if seed in missed[1]]
        only_a, only_b = (sum(t[k] for t in tests) / len(tests) for k in (0, 1))
        below = sum(t[2] < 0.05 for t in tests)
        rows.append([f'`{b}` - `{a}`', d['n'], interval(d), probability(d['p']), f'{only_b:.1f}', f'{only_a:.1f}',
                     f'{below} of {len(tests)}'])
    return table(['', 'n', 'test error, % [95%]', 'p over seeds', 'missed by the first alone', 'by the second alone',
                  'McNemar p < 0.05'], rows)


# ---------------------------------------------------------------------------------------------------------------------
# what the paper leaves open


def open_questions():
    rows = [[*measured('`paper`', 'paper', keys=NARROW), '', '']]
    for name, (what, _) in VARIANTS.items():
        d = uncertainty.difference(by_seed(name, 'test_error'), by_seed('paper', 'test_error'))
        rows.append([*measured(f'`{name}`: {what}'.replace('+-', '±'), name, keys=NARROW), interval(d),
                     probability(d['p'])])
    return table(['one change to `paper`', *head(NARROW)[1:], 'test error - `paper` [95%]', 'p'], rows)


def posterior_best():
    n, diverged, results = stats_of('posterior_best')
    half = results | {key: tuple(v / 2 for v in results[key]) for key in ('train_loss', 'test_loss')}
    return table(head(), [published('the paper, 1989', PAPER),
                          ['`posterior_best`, its MSE halved', compare.label_n(n, diverged),
                           *compare.cells(half, pm=' ± ')],
                          measured('`paper`', 'paper')])


# ---------------------------------------------------------------------------------------------------------------------
# the draw of MNIST

def draws_table():
    return table(head(NARROW), [
        measured('drawn test first (`test_first`)', 'test_first', 'mnist60k', NARROW),
        measured('drawn train first (`train_first`)', 'train_first', 'mnist60k', NARROW),
        measured('all of MNIST, 23 passes (`reference`)', 'reference', 'mnist60k', NARROW),
        measured('all of MNIST, 100 passes (`passes_100`)', 'passes_100', 'mnist60k', NARROW),
        published('the 2022 blog post: 50,000 digits, 100 passes', compare.BLOG, NARROW)])


def twenty(result):
    """{(draw, seed): value} of twenty_draws' runs."""
    found = {(row['recipe'], row['seed']): row[result] for row in compared() if row['recipe'] in compare.TWENTY}
    if len(found) != len(compare.TWENTY) * len({seed for _, seed in found}) or not found:
        raise Missing('as many seeds of each of twenty_draws')
    return found


def variance():
    rows = []
    for key in ('train_error', 'test_error'):
        values = twenty(key)
        split = uncertainty.variance_split(values)
        rows.append([LABELS[key], len(values), f'{statistics.fmean(values.values()):.2f}',
                     f'{split["between"]**0.5:.2f}', f'{split["within"]**0.5:.2f}',
                     f'{split["share"]:.0%} [{100 * split["low"]:.0f}, {100 * split["high"]:.0f}]'])
    return table(['', 'runs', 'mean', 'sd between samples', 'sd over seeds, within a sample',
                  'share between samples [95%]'], rows)


def lottery():
    """What the draw does, in a sentence."""
    values = twenty('test_error')
    split = uncertainty.variance_split(values)
    below = sum(v <= KARPATHY2022['test_error'] for v in values.values())
    draws, seeds = (len({name[i] for name in values}) for i in (0, 1))
    return (f'Over {draws} samples, {seeds} seeds each, {100 * split["share"]:.0f}% [{100 * split["low"]:.0f}, '
            f'{100 * split["high"]:.0f}] of the variance of the test error lies between samples; {below} of '
            f'{len(values)} runs are at or below the published {KARPATHY2022["test_error"]}%.')


# ---------------------------------------------------------------------------------------------------------------------
# the claims

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
    lines = claims.table(claims.read(os.path.join(ROOT, 'results', 'claims.csv')))
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


# ---------------------------------------------------------------------------------------------------------------------
# the speed, predict.py

def speed():
    us, machine = bench()
    steps = [what for what in us if what.startswith(('autograd', 'engine', 'arithmetic'))]
    whole = [what for what in us if what not in steps and not what.startswith('evaluation')]
    return (f'{machine}:\n\n' + table(
        ['', 'microseconds', '/ compiled', '/ limit'],
        [[f'a training step, {what}', *(f'{us[what] / by:.3g}' for by in (1, us['engine compiled'],
                                                                         us['arithmetic limit']))] for what in steps]
        + [[what, f'{us[what]:.3g}', '', ''] for what in us if what.startswith('evaluation')])
        + '\n\n' + table(['whole runs', 'seconds'], [[what, f'{us[what] / 1e6:.1f}'] for what in whole]))


def pictures_table():
    """How well predict.py reads, from results/predict.csv."""
    what = {'own': 'its own test digits', 'other': "the other set's test digits", 'photograph': 'those, as photographs',
            'fonts': 'digits of 20 fonts'}
    read, rows = pictures.read(os.path.join(ROOT, 'results', 'predict.csv')), []
    for dataset in ('mnist', 'usps'):
        for kind, label in what.items():
            found = [row for row in read if (row['dataset'], row['pictures']) == (dataset, kind)]
            if not found:
                raise Missing(f'{kind} pictures of {dataset}')
            rows.append([dataset, label, found[0]['n']] + [pm(runs.mean_sd([row[key] for row in found])[:2], 1)
                                                           for key in ('error', 'rejected', 'error_kept')])
    return table(['trained on', 'pictures', 'n', 'wrong, %', 'rejected, %', 'wrong of those accepted, %'], rows)


# ---------------------------------------------------------------------------------------------------------------------
# the findings, a sentence each

def findings():
    first, other = (mean_sd_of(name, 'test_error', 'mnist60k') for name in ('test_first', 'train_first'))
    return '\n'.join(prose(f'- {text}', '  ') for text in (
        answer.tables()['posterior_finding'],
        "**The digits that the 2022 reproduction takes from MNIST are not fixed by its seed**: it loops over a Python "
        f'*set*. Drawn test first, its settings give {first}% wrong; drawn train first, {other}%.',
        f'**The sample of MNIST matters as well as the seed.** {lottery()}'))


BLOCKS = {'front': front, 'findings': findings, 'table': papers_table, 'single': single, 'nets': nets,
          'open': open_questions, 'posterior_best': posterior_best, 'draws': draws_table, 'variance': variance,
          'claims': claim_table, 'claims_front': claims_front, 'speed_table': speed, 'pictures': pictures_table,
          **ladder_tables.BLOCKS}
BLOCKS |= {mark: functools.partial(lambda mark: answer.tables()[mark], mark) for mark in answer.BLOCKS}


def render(text):
    """A page's text with each block's numbers made anew."""
    for name in re.findall(r'<!-- (\w+) -->', text):
        if name not in BLOCKS:
            fail(f'there is no block <!-- {name} -->; there are {", ".join(BLOCKS)}')
        text = re.sub(rf'(<!-- {name} -->\n).*?(<!-- /{name} -->)', lambda m: m[1] + BLOCKS[name]() + '\n' + m[2], text,
                      flags=re.S)
    return text


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing; status 1 if a page would change')
    args = parser.parse_args()
    old = {page: files.read_file(os.path.join(ROOT, page), '`git checkout` brings it back').decode() for page in PAGES}
    try:
        new = {page: render(text) for page, text in old.items()}
    except Missing as e:
        fail(f'results/*.csv lack {e}; results/README.md has the commands that make them')
    for page in PAGES:
        if new[page] != old[page]:
            if args.check:
                fail(f'{page} differs from results/*.csv; run: python -m experiments.report')
            files.write_file(os.path.join(ROOT, page), new[page].encode())


if __name__ == '__main__':
    cli.run(main)
