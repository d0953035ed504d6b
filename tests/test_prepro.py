"""prepro.py: the embedded draw, the tensors, other draws and data sets from the originals, and originals that are
damaged or cannot be had."""
import bz2
import os
import socket
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import prepro
import support.files
from conftest import REPO, call, files, refused

SIZE = {'train': 7291, 'test': 2007}
BY_CLASS = {'train': [724, 826, 756, 765, 708, 632, 701, 744, 720, 715],
            'test': [217, 231, 216, 177, 195, 172, 191, 206, 200, 202]}
MNIST_FILES, USPS_FILES = (prepro.ORIGINALS[name][1] for name in ('mnist', 'usps'))
WRITTEN = ['digits.json', 'test1989.pt', 'train1989.pt']


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('the network is blocked')
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture(scope='module')
def archive():
    """The arrays of the embedded draw."""
    with np.load(prepro.EMBEDDED) as z:
        return dict(z)


def load(cwd, dataset):
    """{split: (X, Y)} as the scripts load them: checked, and the known digits where the name promises them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        return support.files.load_digits(dataset)


def resized(images):
    """What the tensors should hold of uint8 images (n, 28, 28)."""
    return F.interpolate(torch.tensor(images, dtype=torch.float32)[:, None] / 127.5 - 1, (16, 16), mode='bilinear')


# ---------------------------------------------------------------------------------------------------------------------
# the embedded draw

def test_embedded_digits_are_the_draw_of_seed_1337_test_first(archive):
    np.random.seed(1337)                # written out as the 2022 reproduction draws
    for split, n in (('test', 10_000), ('train', 60_000)):
        assert np.array_equal(archive[f'{split}_indices'], np.random.permutation(n)[:SIZE[split]])
        assert np.bincount(archive[f'{split}_labels']).tolist() == BY_CLASS[split]


def test_readme_names_the_file_that_is_there():
    assert prepro.SHA256['embedded'] in (REPO / 'data' / 'README.md').read_text()


# ---------------------------------------------------------------------------------------------------------------------
# the tensors

def test_tensors_are_what_interpolate_makes_of_the_embedded_digits(prepared, archive):
    cwd, said = prepared
    assert (said.status, said.err) == (0, [])
    assert files(cwd / 'data') == [f'mnist/{name}' for name in WRITTEN]
    for split, (X, Y) in load(cwd, 'mnist').items():
        assert torch.equal(X, resized(archive[f'{split}_images']))
        assert torch.equal(Y.argmax(1), torch.tensor(archive[f'{split}_labels']).long())
        assert (f'data/mnist/{split}1989.pt: {SIZE[split]} digits, 16x16; by class '
                f'{" ".join(map(str, BY_CLASS[split]))}') in said.out


def test_default_needs_neither_torchvision_nor_network(tmp_path, prepared, no_network, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)                # an import of it fails
    said = call(prepro, cwd=tmp_path)
    assert (said.status, said.out, said.err) == (0, prepared[1].out, [])
    for name in WRITTEN:                # the same to the byte
        assert (tmp_path / 'data/mnist' / name).read_bytes() == (prepared[0] / 'data/mnist' / name).read_bytes()


# ---------------------------------------------------------------------------------------------------------------------
# the originals

def test_another_seed_is_a_data_set_of_its_own(mnist_root, tmp_path):
    said = call(prepro, '--seed', 3, '--root', mnist_root, cwd=tmp_path)
    assert (said.status, said.err) == (0, [])
    assert files(tmp_path / 'data') == [f'mnist-seed3/{name}' for name in WRITTEN]
    digits = prepro.originals('mnist', mnist_root)
    indices = prepro.draw(digits, 3)
    for split, (X, Y) in load(tmp_path, 'mnist-seed3').items():
        assert len(X) == SIZE[split] and torch.equal(X[:50], resized(digits[split][0][indices[split][:50]]))
        assert torch.equal(Y.argmax(1), torch.tensor(digits[split][1][indices[split]]))


@pytest.mark.slow
def test_mnist60k_is_all_of_mnist_in_its_order_and_has_the_embedded_digits(mnist_root, tmp_path, archive):
    assert call(prepro, '--dataset', 'mnist60k', '--root', mnist_root, cwd=tmp_path).status == 0
    splits = load(tmp_path, 'mnist60k')
    for split, n in (('train', 60_000), ('test', 10_000)):
        X, Y = splits[split]
        at = torch.tensor(archive[f'{split}_indices'].astype(int))
        assert len(X) == n and torch.equal(X[at], resized(archive[f'{split}_images']))
        assert torch.equal(Y[at].argmax(1), torch.tensor(archive[f'{split}_labels']).long())


def test_usps_is_the_papers_digits(usps_root, tmp_path):
    said = call(prepro, '--dataset', 'usps', '--root', usps_root, cwd=tmp_path)
    assert (said.status, said.err) == (0, [])
    splits = load(tmp_path, 'usps')
    assert {split: len(X) for split, (X, _) in splits.items()} == SIZE
    from torchvision import datasets
    d = datasets.USPS(usps_root / 'USPS', train=False)
    assert torch.equal(splits['test'][0], torch.tensor(d.data, dtype=torch.float32)[:, None] / 127.5 - 1)
    assert splits['test'][1].argmax(1).tolist() == d.targets


# ---------------------------------------------------------------------------------------------------------------------
# what a user gets wrong, and originals that are damaged or not there

def test_root_is_no_folder(tmp_path):
    refused(call(prepro, '--root', '/dev/null', cwd=tmp_path), 'prepro.py', '--root /dev/null is not a directory')
    assert files(tmp_path) == []


@pytest.mark.parametrize('damage, says', [(lambda path: path.write_bytes(path.read_bytes()[:-1] + b'?'), 'is damaged'),
                                          (lambda path: path.unlink(), 'is not there')],
                         ids=['a byte altered', 'gone'])
def test_embedded_file_damaged_or_gone(damage, says, tmp_path, monkeypatch):
    path = tmp_path / 'mnist1989.npz'
    with open(prepro.EMBEDDED, 'rb') as f:
        path.write_bytes(f.read())
    damage(path)
    monkeypatch.setattr(prepro, 'EMBEDDED', str(path))
    refused(call(prepro, cwd=tmp_path), 'prepro.py', path, says, '`git checkout data` brings it back')
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize('argv, folder, names', [
    (('--dataset', 'usps'), 'data/USPS', USPS_FILES),
    (('--seed', 3, '--root', 'th\udcffre'), r'th\udcffre/MNIST/raw', MNIST_FILES)],        # a name that is not UTF-8
    ids=['usps', 'seed'])
def test_no_network_and_no_originals(argv, folder, names, tmp_path, no_network):
    said = call(prepro, *argv, cwd=tmp_path)
    refused(said, 'prepro.py', 'cannot download', 'by hand', '--root', folder, *names)
    assert f'downloading {", ".join(names)} to {folder}' in said.out
    assert files(tmp_path) == []


@pytest.mark.parametrize('end, status', [(EOFError(), 1), (KeyboardInterrupt(), 130)], ids=repr)
def test_download_that_is_cut_off_leaves_no_file(end, status, tmp_path, monkeypatch):
    from torchvision.datasets import usps

    def download(url, root, filename, md5=None):
        os.makedirs(root, exist_ok=True)
        with open(os.path.join(root, filename), 'wb') as f:
            f.write(b'half of it')
        raise end
    monkeypatch.setattr(usps, 'download_url', download)
    said = call(prepro, '--dataset', 'usps', cwd=tmp_path)
    if status == 130:
        assert (said.status, said.err) == (130, ['interrupted'])
    else:
        refused(said, 'prepro.py', 'cannot download', 'EOFError')
    assert files(tmp_path) == []


@pytest.mark.parametrize('content, says', [
    (bz2.compress(b'1 ' + b' '.join(b'%d:-1' % i for i in range(1, 257)) + b' \n'), 'does not hold the train digits'),
    (bz2.compress(bytes(10000))[:-9], 'cannot read')], ids=['other digits', 'cut off'])
def test_damaged_originals(content, says, tmp_path):
    folder = tmp_path / 'data' / 'USPS'
    folder.mkdir(parents=True)
    for name in USPS_FILES:
        (folder / name).write_bytes(content)
    refused(call(prepro, '--dataset', 'usps', cwd=tmp_path), 'prepro.py', says, 'data/USPS', 'usps.bz2', 'delete')
    assert files(folder) == sorted(USPS_FILES)                           # the user's, to delete
