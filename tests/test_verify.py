"""experiments/verify.py: rows run again."""
import pytest

from conftest import REPO, call, refused
from experiments import compare, verify


@pytest.fixture
def rows(tiny, short):
    """A folder with results/compare.csv, three rows of tiny runs."""
    assert call(compare, 'paper', 'fc40', 'sgd', '--seeds', 3, '--out', 'results/compare.csv', cwd=tiny).status == 0
    return tiny


def test_rows_run_again_are_equal_until_a_digit_is_changed(rows):
    path = rows / 'results' / 'compare.csv'
    said = call(verify, path, cwd=rows)
    assert said.status == 0 and said.out.splitlines()[-1] == '3 of 3 rows equal'
    header, first, *others = path.read_text().splitlines()
    fields = first.split(',')
    loss = header.split(',').index('test_loss')
    fields[loss] = fields[loss][:-1] + str((int(fields[loss][-1]) + 1) % 10)
    path.write_text('\n'.join([header, ','.join(fields), *others, '']))
    said = call(verify, path, cwd=rows)
    refused(said, 'verify.py', 'some rows are not what is run now')
    assert said.out.splitlines()[-1] == '2 of 3 rows equal'
    assert sum('test_loss is' in line for line in said.out.splitlines()) == 1


def test_rows_whose_digits_are_not_there_are_counted(rows):
    (rows / 'data' / 'usps' / 'digits.json').unlink()
    said = call(verify, rows / 'results' / 'compare.csv', cwd=rows)
    assert said.status == 0
    assert said.out.splitlines() == ['3 rows were left out, as data/usps is not there', '0 of 0 rows equal']


@pytest.mark.parametrize('name', verify.ROOMS)
def test_each_committed_table_has_rows_that_its_room_can_run_again(name):
    room = verify.ROOMS[name]
    rows = room.read(REPO / 'results' / name)
    assert rows and callable(room.one_run) and {*room.KEY, *room.VALUES} <= rows[0].keys()
