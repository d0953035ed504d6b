"""report.py: the pages have the numbers of results/*.csv, computed again by hand; no picture is older than they are."""
import csv
import functools
import re
import shutil
import statistics

import pytest
from conftest import REPO, call
from PIL import Image

import repro
from experiments import compare, markdown, report

PAGES = {page: (REPO / page).read_text(encoding='utf-8') for page in report.PAGES}
TRAINED = {'curves.png', 'rejection.png', 'wrong.png', 'confusion.png', 'kernels.png', 'digits.png', 'architecture.png'}


@pytest.fixture(scope='module')
def tables():
    return report.complete()[0]


def numbers(name, result, **where):
    """{seed: number} of a column of results/<name>.csv."""
    with open(REPO / 'results' / f'{name}.csv', newline='') as f:
        return {int(row['seed']): float(row[result]) for row in csv.DictReader(f)
                if all(row[key] == value for key, value in where.items())}


def cells(text, label):
    """The cells of the one line of a table that begins with the label."""
    line, = [line for line in text.splitlines() if line.startswith(f'| {label}')]
    return [cell.strip() for cell in line.split('|')[1:-1]]


def mean_change(a, b):
    return statistics.fmean(a[seed] - b[seed] for seed in a if seed in b)


# ---------------------------------------------------------------------------------------------------------------------
# the formulas, by hand

def test_a_result_is_mean_and_sd_over_the_seeds(tables):
    errors = numbers('compare', 'test_error', recipe='paper', dataset='usps').values()
    assert f'**{statistics.fmean(errors):.2f} ± {statistics.stdev(errors):.2f}**' in cells(tables['front'], '**here')
    losses = numbers('compare', 'test_loss', recipe='paper', dataset='usps').values()
    assert f'{1000 * statistics.fmean(losses):.1f} ± {1000 * statistics.stdev(losses):.1f}' in cells(
        tables['table'], '**here')


def test_differences_have_the_sign_that_their_heads_say(tables):
    errors = {name: numbers('compare', 'test_error', recipe=name, dataset='usps')
              for name in ('paper', 'fc40', 'karpathy2022', *compare.VARIANTS)}
    for name in 'fc40', 'karpathy2022', 'sgd':
        row = cells(tables['nets'], f'`{name}` - `paper`')
        assert row[2].startswith(f'{mean_change(errors[name], errors["paper"]):+.2f} [')
        assert float(row[4]) - float(row[5]) == pytest.approx(      # missed by it alone, by `paper` alone
            mean_change(errors[name], errors['paper']) * 20.07, abs=0.11)
    for name in compare.VARIANTS:
        change = mean_change(errors[name], errors['paper'])
        assert cells(tables['open'], f'`{name}`: ')[7].startswith(f'{change:+.2f} [')


def test_z_is_the_papers_misses_less_ours(tables):
    misses = {name: numbers('compare', 'test_misses', recipe=name, dataset='usps') for name in ('paper', 'fc40')}
    apart = {seed: misses['fc40'][seed] - misses['paper'][seed] for seed in misses['paper']}
    for label, value, ours in (('the paper, `paper` on USPS | test misses', 102, misses['paper']),
                               ('the two, `fc40` - `paper`', 163 - 102, apart)):
        ours = ours.values()
        z = (value - statistics.fmean(ours)) / (statistics.stdev(ours) * (1 + 1 / len(ours))**0.5)
        assert (cells(tables['single'], label)[2], cells(tables['single'], label)[4]) == (str(value), f'{z:+.1f}')


def test_ratios_of_times(tables):
    with open(REPO / 'results' / 'speed.csv', newline='') as f:
        times = {row['what']: float(row['seconds']) for row in csv.DictReader(f)}
    eager, compiled = times['autograd, 1 thread'], times['engine compiled']
    row = cells(tables['speed'], 'a training step, autograd, 1 thread')
    assert row[1:] == [f'{t:.3g}' for t in (1e6 * eager, eager / compiled, eager / times['arithmetic limit'])]
    assert f'{eager / compiled:.0f} times as fast' in tables['speed_front']
    assert f' {repro.PASSES * 7291 * compiled:.1f} s ' in tables['speed_front']


# ---------------------------------------------------------------------------------------------------------------------
# pages and pictures

@pytest.mark.parametrize('page', PAGES)
def test_numbers_are_those_of_results(page, tables):
    assert report.filled(PAGES[page], tables) == PAGES[page], 'run: python -m experiments.report'
    assert set(re.findall(r'<!-- (\w+) -->', PAGES[page])) <= set(tables)


def test_text_is_put_between_marks_in_lines_of_the_page():
    line = 28 * 'yes ' + 'yes'
    page = '<!-- a -->\nold\n<!-- /a -->\n\n- <!-- b -->\n  old\n  <!-- /b -->\n'
    assert report.filled(page, {'a': f'| {line} {line} |', 'b': f'{line} {line}'}) == (
        f'<!-- a -->\n| {line} {line} |\n<!-- /a -->\n\n- <!-- b -->\n  {line}\n  {line}\n  <!-- /b -->\n')


@pytest.mark.parametrize('page', ['<!-- a -->\nold\n', '<!-- a -->\n<!-- b -->\n<!-- /b -->\n<!-- /a -->\n'])
def test_a_mark_without_its_end_is_one_line_and_nothing_is_written(page, tmp_path, monkeypatch):
    monkeypatch.setattr(report, 'ROOT', str(tmp_path))
    (tmp_path / 'results').mkdir()
    for name in report.PAGES:
        (tmp_path / name).write_text('<!-- speed_front -->\nold\n<!-- /speed_front -->\n')
    (tmp_path / report.PAGES[-1]).write_text(page)
    with pytest.raises(SystemExit, match='README.md: <!-- a --> is not followed by <!-- /a -->; nothing is written'):
        report.write_pages({'speed_front': 'new', 'a': 'new'}, False)
    assert 'old' in (tmp_path / 'README.md').read_text()


def test_runs_that_are_missing_are_named_and_what_is_made_of_them_stays(monkeypatch):
    monkeypatch.setattr(compare, 'committed', functools.cache(lambda path: []))
    said = call(report, '--check', cwd=REPO)
    assert said.status == 0 and len(said.err) == 1 and 'two runs of paper on usps' in said.err[0]
    assert all((REPO / page).read_text(encoding='utf-8') == text for page, text in PAGES.items())


def test_no_picture_is_older_than_its_csv_files():
    for name in report.complete()[1]:
        assert not report.old(name), 'run: python -m experiments.report'
        with Image.open(REPO / 'results' / name) as image:
            assert ('Source' in image.info) == (name not in TRAINED), name


def test_a_picture_is_old_once_its_csv_file_changes(tmp_path, monkeypatch):
    for name in 'speed.csv', 'speed.png':
        (tmp_path / 'results').mkdir(exist_ok=True)
        shutil.copy(REPO / 'results' / name, tmp_path / 'results')
    monkeypatch.setattr(markdown, 'ROOT', str(tmp_path))
    assert not report.old('speed.png') and report.old('curves.png')      # which is not there
    with open(tmp_path / 'results' / 'speed.csv', 'a') as f:
        f.write('"import numpy",1,"another"\n')
    assert report.old('speed.png')
