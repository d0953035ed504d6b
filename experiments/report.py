"""
Put the numbers of results/ into README.md.

    python tests/readme.py          # rewrites what stands between <!-- name --> and <!-- /name --> in README.md
    python tests/readme.py --check  # exit status 1 if that would change anything

Each block below is a function of results/*.csv; test_readme.py holds README.md to them.
"""
import csv
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
sys.path.insert(0, ROOT)
import compare                                                           # noqa: E402
import modern                                                            # noqa: E402
import prepro                                                            # noqa: E402
from repro import PAPER, REFERENCE                                       # noqa: E402

README = os.path.join(ROOT, 'README.md')
RUNS = compare.read_rows(os.path.join(ROOT, 'results', 'compare.csv'))
MODERN = modern.read_rows(os.path.join(ROOT, 'results', 'modern.csv'))


def results(name):
    """The rows of results/<name>.csv as dicts."""
    with open(os.path.join(ROOT, 'results', f'{name}.csv'), newline='') as f:
        return list(csv.DictReader(f))


def runs(recipe, dataset='usps'):
    """n, {figure: (mean, sd)} of a recipe."""
    return compare.summary(RUNS, [recipe], dataset)[recipe]


def pm(recipe, figure, dataset='usps', digits=2, scale=1):
    """'mean ± sd' of a recipe's figure."""
    mean, sd = runs(recipe, dataset)[1][figure]
    return f'{mean * scale:.{digits}f} ± {sd * scale:.{digits}f}'


def markdown(lines):
    """A table; all columns but the first to the right."""
    head, *body = lines
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |' for line in [
        head, ['---'] + ['---:'] * (len(head) - 1), *body])


HEAD = ['', 'n', 'train MSE, 1e-3', 'error, %', 'misses', 'test MSE, 1e-3', 'error, %', 'misses', 'rejected, %']


def line(label, recipe, dataset='usps'):
    n, figures = runs(recipe, dataset)
    return [label, *(cell.replace('+-', ' ± ') for cell in compare.cells(figures, n))]


def published(label, figures):
    return [label, *(cell if cell != '-' else '' for cell in compare.cells(figures))]


def table():
    return markdown([HEAD,
                     published('the paper, 1989', PAPER),
                     line('**ours, on its digits** (`paper`)', 'paper'),
                     published('its fully connected net', compare.PAPER_FC40),
                     line('ours, on its digits (`fc40`)', 'fc40'),
                     published('the 2022 reproduction, on MNIST', REFERENCE),
                     line('its settings, our seeds, on its draw of MNIST (`reference`)', 'reference', 'mnist'),
                     line('its settings, on the paper\'s digits (`reference`)', 'reference')])


def open_questions():
    return markdown([[f'one change to `paper`: {HEAD[0]}'.rstrip(': '), *HEAD[1:]],
                     line('`paper`', 'paper')]
                    + [line(f'`{name}`: {note}', name) for name, (note, _) in compare.VARIANTS.items()])


def draws():
    return markdown([HEAD,
                     line('drawn test first (`test_first`)', 'test_first', 'mnist60k'),
                     line('drawn train first (`train_first`)', 'train_first', 'mnist60k'),
                     line('all of MNIST, 23 passes (`reference`)', 'reference', 'mnist60k'),
                     line('all of MNIST, 100 passes (`passes_100`)', 'passes_100', 'mnist60k'),
                     published('the 2022 blog post: 50,000 digits, 100 passes', compare.BLOG_60K)])


def deviations():
    """How far each of the paper's figures lies from ours, in the seeds' own standard deviations."""
    _, figures = runs('paper')
    return {key: (PAPER[key] - figures[key][0]) / figures[key][1] for key in compare.FIGURES}


def findings():
    d = deviations()
    words = {'train_loss': 'train MSE', 'train_error': 'train error', 'test_loss': 'test MSE',
             'test_error': 'test error', 'rejection': 'rejection'}
    near = [f'{words[key]} ({d[key]:+.1f})' for key in words if abs(d[key]) <= 2]
    far = [f'{words[key]} ({d[key]:+.1f})' for key in words if abs(d[key]) > 2]
    text = f'The paper lies within two standard deviations of our seeds in {", ".join(near)}'
    return text + (f'; it does not in {", ".join(far)}.' if far else '.')


def speed():
    rows = {row['what']: float(row['seconds']) for row in results('bench')}
    us = {name: rows[name] * 1e6 for name in rows}
    machine = results('bench')[0]['machine']
    eager = next(name for name in us if name.startswith('autograd, default'))
    compiled = us['engine compiled']
    names = [eager, 'autograd, 1 thread', 'engine autograd', 'engine compiled', 'arithmetic limit']
    return markdown([['a training step', 'microseconds', '/ compiled', '/ limit']] + [
        [name, f'{us[name]:.2f}', f'{us[name] / compiled:.2f}', f'{us[name] / us["arithmetic limit"]:.1f}']
        for name in names]) + (
        f'\n\n({machine}.) The compiled engine takes 1/{us["autograd, 1 thread"] / compiled:.0f} of the time of the eager '
        f'loop, and {compiled / us["arithmetic limit"]:.1f} times what its multiply-adds would take in a large matrix '
        f'product. `python repro.py`, 23 passes and their measurements, takes {rows["python repro.py, 23 passes"]:.1f} s '
        f'from prompt to prompt, of which {rows["import torch"]:.1f} s are the import of PyTorch.')


def pm_cell(figure, digits=2):
    """(mean, sd) as it stands in a table."""
    return f'{figure[0]:.{digits}f} ± {figure[1]:.{digits}f}'


def ladder(dataset):
    """modern.py's table of a data set, with the sources of its ideas."""
    found = modern.summary([row for row in MODERN if (row['dataset'], row['split']) == (dataset, 'test')])
    lines = [['', 'n', 'passes', 'seconds', 'train error, %', 'test error, %', 'misses', 'change']]
    for name, f in found.items():
        label = f'{f["label"]} ({modern.RUNGS[int(name)]["source"]})' if name.isdigit() else f['label']
        lines.append([label, f['n'], f'{f["passes"]:.0f}', f'{f["seconds"][0]:.0f}', pm_cell(f['train_error']),
                      pm_cell(f['error']), pm_cell(f['misses'], 1),
                      '' if f['change'] is None else f'{f["change"]:+.2f}'])
    if dataset == 'mnist':
        lines += [[f'published in 2022: {idea}', '', '', '', '', f'{error}', '', '']
                  for idea, error in modern.REFERENCE.items()]
    return markdown(lines)


def ladder_words():
    """What the ladder comes to, in two sentences."""
    text = []
    for dataset, name in (('mnist', 'MNIST'), ('usps', 'the paper\'s digits')):
        found = modern.summary([row for row in MODERN if (row['dataset'], row['split']) == (dataset, 'test')])
        bottom, top = found['0'], found[str(modern.TOP)]
        text.append(f'on {name} from {pm_cell(bottom["error"])}% to {pm_cell(top["error"])}% wrong')
        if dataset == 'mnist':
            more, free = found['6'], found['7']
    assert top['parameters'] == bottom['parameters'] and top['macs'] == bottom['macs']
    return (f'With {top["parameters"]:,.0f} parameters and {top["macs"]:,.0f} multiply-adds a digit, as in 1989, later ideas '
            f'bring the net {text[0]}, and {text[1]}. With all of MNIST to learn from, it is {pm_cell(more["error"])}%. A net '
            f'of 3x3 windows with {free["parameters"]:,.0f} parameters and {free["macs"]:,.0f} multiply-adds, '
            f'{free["macs"] / top["macs"]:.0f} times as many, then comes to {pm_cell(free["error"])}%.')


def pictures():
    """How well predict.py reads, from results/predict.csv."""
    rows, lines = results('predict'), [['trained on', 'pictures', 'n', 'wrong, %', 'rejected, %', 'wrong of the others, %']]
    words = {'own': 'its own test digits', 'other': 'the other\'s test digits', 'photograph': 'those as photographs',
             'fonts': 'digits of 20 fonts'}
    for dataset in ('mnist', 'usps'):
        for kind, what in words.items():
            runs = [row for row in rows if (row['dataset'], row['pictures']) == (dataset, kind)]
            lines.append([dataset, what, runs[0]['n']] + [pm_cell(compare.mean_sd([float(row[key]) for row in runs]), 1)
                                                          for key in ('error', 'rejected', 'error_kept')])
    return markdown(lines)


BLOCKS = {'ladder_words': ladder_words, 'ladder_mnist': lambda: ladder('mnist'), 'ladder_usps': lambda: ladder('usps'),
          'pictures': pictures, 'table': table, 'open': open_questions, 'draws': draws, 'findings': findings, 'speed': speed}


def render(text):
    """README.md's text with each block's numbers made anew."""
    for name, block in BLOCKS.items():
        pattern = rf'(<!-- {name} -->\n).*?(<!-- /{name} -->)'
        if len(re.findall(pattern, text, re.S)) != 1:
            prepro.fail(f'README.md needs one <!-- {name} --> ... <!-- /{name} -->')
        text = re.sub(pattern, lambda m: m[1] + block() + '\n' + m[2], text, flags=re.S)
    return text


def main():
    with open(README, encoding='utf-8') as f:
        text = f.read()
    if '--check' in sys.argv[1:]:
        if render(text) != text:
            prepro.fail('README.md differs from results/; run: python tests/readme.py')
    else:
        prepro.write_file(README, render(text).encode())


if __name__ == '__main__':
    prepro.run(main)
