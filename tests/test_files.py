"""support/files.py: files written whole or not at all, the digits and runs on disk, and files that are not what they
are said to be. A script that meets one ends with one line, which names the file and the remedy."""
import os

import pytest
import torch

import repro
import support.files
from conftest import TINY, call, files, refused, write_digits

REMEDY = 'run: python prepro.py --seed 7'


def train_on(dataset, folder):
    return call(repro, '--dataset', dataset, '--passes', 1, cwd=folder)


# ---------------------------------------------------------------------------------------------------------------------
# any file

@pytest.mark.parametrize('end', [KeyboardInterrupt, OSError(28, 'No space left on device')],
                         ids=['Ctrl-C', 'disk full'])
def test_a_file_that_cannot_be_finished_leaves_the_old_one(end, tmp_path, monkeypatch):
    path = str(tmp_path / 'new' / 'file')
    support.files.write_file(path, b'old')

    def replace(*args):
        raise end
    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises((KeyboardInterrupt, SystemExit)) as ended:
        support.files.write_file(path, b'new')
    assert isinstance(end, type) or f'cannot write {path}: No space left on device' in str(ended.value)
    assert files(tmp_path) == ['new/file'] and (tmp_path / 'new' / 'file').read_bytes() == b'old'


# ---------------------------------------------------------------------------------------------------------------------
# the digits

def test_digits_come_back_as_they_were_saved_and_are_read_once(tmp_path, monkeypatch):
    saved = write_digits(tmp_path, TINY, 4, 3)
    assert files(tmp_path / 'data' / TINY) == ['digits.json', 'test1989.pt', 'train1989.pt']
    monkeypatch.chdir(tmp_path)
    digits = support.files.load_digits(TINY)
    assert list(digits) == ['train', 'test']
    assert all(torch.equal(a, b) for split in digits for a, b in zip(digits[split], saved[split]))
    assert support.files.load_digits(TINY) is digits
    write_digits(tmp_path, TINY, 5, 3)                                   # others, written by this process
    assert len(support.files.load_digits(TINY)['train'][0]) == 5


@pytest.mark.parametrize('damage, says', [
    (lambda path: path.unlink(), 'is not there'),
    (lambda path: path.write_bytes(path.read_bytes()[:-20]), 'is damaged'),
    (lambda path: path.write_bytes(b'cos\nsystem\n(S"touch out"\ntR.'), 'is damaged')],    # code
    ids=['not there', 'cut off', 'of something else'])
@pytest.mark.parametrize('name', ['test1989.pt', 'digits.json'])
def test_files_that_are_not_digits(damage, says, name, tiny):
    path = tiny / 'data' / TINY / name
    damage(path)
    refused(train_on(TINY, tiny), 'repro.py', f'data/{TINY}/{name}', says, REMEDY)
    assert not (tiny / 'out').exists()


@pytest.mark.parametrize('other', [lambda X, Y: (-X, Y), lambda X, Y: {'H1w': X, 'H1b': X, 'outb': Y}],
                         ids=['inverted', 'a model'])
def test_other_digits_than_prepro_wrote(other, tiny):
    path = tiny / 'data' / TINY / 'train1989.pt'
    torch.save(other(*torch.load(path, weights_only=True)), path)
    refused(train_on(TINY, tiny), 'repro.py', f'data/{TINY} holds other digits', REMEDY)
    assert not (tiny / 'out').exists()


@pytest.mark.parametrize('dataset', ['mnist', 'usps'])
def test_a_name_promises_known_digits(dataset, tmp_path, monkeypatch):
    """Whatever digits.json says; and others are not written under it."""
    splits = write_digits(tmp_path, dataset, 40, 20)
    refused(train_on(dataset, tmp_path), 'repro.py', f'data/{dataset} holds other digits than its name',
            f'run: python prepro.py --dataset {dataset}')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'not the digits of {dataset} to the last bit'):
        support.files.save_digits(dataset, splits)


@pytest.mark.parametrize('written', [0, 1, 2])
def test_digits_that_were_not_saved_to_the_end_are_not_read(written, tiny, monkeypatch):
    """Ctrl-C after so many of the three files, in a folder that has an earlier draw."""
    write, done = support.files.write_file, []

    def interrupted(*args):
        if len(done) == written:
            raise KeyboardInterrupt
        done.append(write(*args))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(support.files, 'write_file', interrupted)
        write_digits(tiny, TINY, 41, 21)
    refused(train_on(TINY, tiny), 'repro.py', f'data/{TINY}/digits.json is not there', REMEDY)


# ---------------------------------------------------------------------------------------------------------------------
# runs

ROWS = [{'pass': 1, 'split': 'train', 'loss': 0.5}, {'pass': 1, 'split': 'test', 'loss': 0.6}]


def test_a_finished_net_is_replaced_only_by_a_finished_net(tmp_path):
    run = tmp_path / 'run'
    support.files.save_run(run, {'seed': 1}, ROWS)
    assert files(tmp_path) == ['run/args.json', 'run/metrics.csv']
    support.files.save_run(run, {'seed': 1}, ROWS, repro.Net(1))
    support.files.save_run(run, {'seed': 2}, ROWS)
    assert support.files.load_model(run / 'model.pt')[1] == {'seed': 1}
    assert files(tmp_path / 'run-unfinished') == ['args.json', 'metrics.csv']
    support.files.save_run(run, {'seed': 2}, ROWS, repro.Net(2))
    assert support.files.load_model(run / 'model.pt')[1] == {'seed': 2}
    assert files(tmp_path) == [f'run/{name}' for name in ('args.json', 'metrics.csv', 'model.pt')]
