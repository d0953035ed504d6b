"""README.md says what results/ say."""
import re

import compare
import prepro
import readme
import repro


def test_numbers_are_those_of_results():
    with open(readme.README, encoding='utf-8') as f:
        text = f.read()
    assert readme.render(text) == text, 'run: python tests/readme.py'


def test_a_changed_number_is_noticed(monkeypatch):
    with open(readme.README, encoding='utf-8') as f:
        text = f.read()
    row = next(row for row in readme.RUNS if row['recipe'] == 'paper' and row['dataset'] == 'usps')
    monkeypatch.setitem(row, 'test_misses', row['test_misses'] + 50)
    assert readme.render(text) != text


def test_every_recipe_of_the_tables_has_ten_seeds_or_says_how_many():
    for name in ('paper', 'reference', 'fc40', *compare.VARIANTS):
        assert readme.runs(name)[0] >= 10, name


def test_fit_measured_no_test_digit():
    rows = compare.read_rows(f'{readme.ROOT}/results/fit.csv')
    assert {row['recipe'] for row in rows} == set(compare.FIT)
    assert all(row[key] is None for row in rows for key in ('test_loss', 'test_error', 'test_misses', 'rejection'))


def test_paper_is_the_best_point_of_the_fit():
    rows = compare.read_rows(f'{readme.ROOT}/results/fit.csv')
    best = min(compare.FIT, key=lambda name: compare.distance([row for row in rows if row['recipe'] == name]))
    assert compare.FIT[best][1] == compare.PAPER_SETTINGS


def test_files_that_the_readme_names_are_there():
    with open(readme.README, encoding='utf-8') as f:
        text = f.read()
    import os
    for path in re.findall(r'\]\(((?!http)[^)#]+)\)', text):
        assert os.path.exists(os.path.join(readme.ROOT, path)), path
    assert repro.DAYS == 3 and prepro.N_TRAIN == 7291
