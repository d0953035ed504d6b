"""prepro.py: the embedded digits, what becomes of them, the originals, and bad input."""
import bz2
import hashlib
import os
import re
import socket
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import prepro
from conftest import REPO, call, files, shell

SPLITS = ('train', 'test')
TRAIN_BY_CLASS = [724, 826, 756, 765, 708, 632, 701, 744, 720, 715]
TEST_BY_CLASS = [217, 231, 216, 177, 195, 172, 191, 206, 200, 202]


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError('the network is blocked')
    monkeypatch.setattr(socket, 'getaddrinfo', refuse)
    monkeypatch.setattr(socket.socket, 'connect', refuse)


def load(path):
    return torch.load(path, weights_only=True)


def classes(Y):
    return (Y == 1).sum(0).tolist()


# ---------------------------------------------------------------------------------------------------------------------
# the embedded draw

def test_embedded_digits_are_the_draw_of_seed_1337_test_first():
    with np.load(prepro.EMBEDDED) as z:
        arrays = dict(z)
    assert {name: (a.dtype, a.shape) for name, a in arrays.items()} == {
        'train_images': (np.uint8, (7291, 28, 28)), 'train_labels': (np.uint8, (7291,)),
        'train_indices': (np.uint16, (7291,)),
        'test_images': (np.uint8, (2007, 28, 28)), 'test_labels': (np.uint8, (2007,)),
        'test_indices': (np.uint16, (2007,))}
    np.random.seed(1337)                # written out as the 2022 reproduction draws
    assert np.array_equal(arrays['test_indices'], np.random.permutation(10000)[:2007])
    assert np.array_equal(arrays['train_indices'], np.random.permutation(60000)[:7291])
    assert np.bincount(arrays['train_labels']).tolist() == TRAIN_BY_CLASS
    assert np.bincount(arrays['test_labels']).tolist() == TEST_BY_CLASS


def test_draw_order_decides_what_is_drawn():
    digits = {split: (None, range(n)) for split, n in (('train', 60000), ('test', 10000))}
    test_first, train_first = prepro.draw(digits), prepro.draw(digits, order=('train', 'test'))
    with np.load(prepro.EMBEDDED) as z:
        for split in SPLITS:
            assert np.array_equal(test_first[split], z[f'{split}_indices'])
            assert not np.array_equal(train_first[split], z[f'{split}_indices'])
    assert np.array_equal(train_first['train'], np.random.RandomState(1337).permutation(60000)[:7291])


def test_another_seed_is_another_draw_of_the_same_size():
    digits = {split: (None, range(n)) for split, n in (('train', 60000), ('test', 10000))}
    a, b = prepro.draw(digits, 1337), prepro.draw(digits, 3)
    for split, n in (('train', 7291), ('test', 2007)):
        assert len(set(b[split].tolist())) == n
        assert set(a[split].tolist()) != set(b[split].tolist())


def test_readme_and_prepro_name_the_file_that_is_there():
    with open(prepro.EMBEDDED, 'rb') as f:
        content = f.read()
    assert hashlib.sha256(content).hexdigest() == prepro.EMBEDDED_SHA256
    assert len(content) < 2_000_000
    readme = (REPO / 'data' / 'README.md').read_text()
    for checksum in (prepro.EMBEDDED_SHA256, *prepro.MNIST_MD5.values()):
        assert checksum in readme


# ---------------------------------------------------------------------------------------------------------------------
# the tensors

def test_tensors_are_what_interpolate_makes_of_the_embedded_digits(prepared):
    cwd, said = prepared
    assert (said.status, said.err) == (0, [])
    assert files(cwd) == ['data/mnist/test1989.pt', 'data/mnist/train1989.pt']
    with np.load(prepro.EMBEDDED) as z:
        for split, n, by_class in (('train', 7291, TRAIN_BY_CLASS), ('test', 2007, TEST_BY_CLASS)):
            X, Y = load(cwd / 'data' / 'mnist' / f'{split}1989.pt')
            x = torch.tensor(z[f'{split}_images'], dtype=torch.float32)[:, None]
            assert torch.equal(X, F.interpolate(x / 127.5 - 1, (16, 16), mode='bilinear'))
            assert (X.dtype, X.shape, Y.dtype, Y.shape) == (torch.float32, (n, 1, 16, 16), torch.float32, (n, 10))
            assert -1 <= X.min() < X.max() <= 1
            assert set(Y.unique().tolist()) == {-1, 1} and ((Y == 1).sum(1) == 1).all()
            assert torch.equal(Y.argmax(1), torch.tensor(z[f'{split}_labels']).long())
            assert f'data/mnist/{split}1989.pt: {n} digits, 16x16; by class {" ".join(map(str, by_class))}' in said.out


def test_default_needs_neither_torchvision_nor_network(tmp_path):
    script = (
        'import runpy, socket, sys\n'
        'def refuse(*args, **kwargs): sys.exit("it asks for the network")\n'
        'socket.getaddrinfo = socket.socket.connect = refuse\n'
        'class Block:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.split(".")[0] == "torchvision": sys.exit("it imports torchvision")\n'
        'sys.meta_path.insert(0, Block())\n'
        f'sys.argv = [{str(REPO / "prepro.py")!r}]\n'
        'runpy.run_path(sys.argv[0], run_name="__main__")\n')
    p = subprocess.run([sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (p.returncode, p.stderr) == (0, '')
    assert files(tmp_path) == ['data/mnist/test1989.pt', 'data/mnist/train1989.pt']


def test_what_is_written_is_the_same_to_the_byte_each_time(prepared):
    cwd, _ = prepared
    before = {name: (cwd / name).read_bytes() for name in files(cwd)}
    assert call(prepro, cwd=cwd).status == 0
    assert {name: (cwd / name).read_bytes() for name in files(cwd)} == before


# ---------------------------------------------------------------------------------------------------------------------
# the originals

def test_rebuild_gives_the_embedded_file_array_for_array(mnist_root, tmp_path, monkeypatch):
    committed = prepro.EMBEDDED
    monkeypatch.setattr(prepro, 'EMBEDDED', str(tmp_path / 'mnist1989.npz'))
    said = call(prepro, '--rebuild', '--root', mnist_root, cwd=tmp_path)
    with np.load(committed) as a, np.load(tmp_path / 'mnist1989.npz') as b:
        assert a.files == b.files
        for name in a:
            assert a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]), name
    same = (tmp_path / 'mnist1989.npz').read_bytes() == open(committed, 'rb').read()
    assert said.status == (0 if same else 1)         # another zlib packs the same arrays into other bytes
    assert f'SHA-256 {hashlib.sha256((tmp_path / "mnist1989.npz").read_bytes()).hexdigest()}' in said.out


def test_same_draw_from_the_originals_gives_identical_tensors(mnist_root, prepared):
    digits = prepro.mnist(mnist_root)
    digits = prepro.drawn(digits, prepro.draw(digits))
    for split in SPLITS:
        X, Y = prepro.tensors(*digits[split])
        a, b = load(prepared[0] / 'data' / 'mnist' / f'{split}1989.pt')
        assert torch.equal(X, a) and torch.equal(Y, b)


def test_another_seed_draws_from_the_originals(mnist_root, tmp_path, prepared):
    assert call(prepro, '--seed', 3, '--root', mnist_root, cwd=tmp_path).status == 0
    assert files(tmp_path) == ['data/mnist/test1989.pt', 'data/mnist/train1989.pt']
    digits = prepro.mnist(mnist_root)
    indices = prepro.draw(digits, 3)
    for split, n in (('train', 7291), ('test', 2007)):
        X, Y = load(tmp_path / 'data' / 'mnist' / f'{split}1989.pt')
        assert len(X) == len(Y) == n
        assert torch.equal(Y.argmax(1), torch.tensor(digits[split][1][indices[split]]))
        assert not torch.equal(X, load(prepared[0] / 'data' / 'mnist' / f'{split}1989.pt')[0])


def test_mnist60k_is_all_of_mnist(mnist_root, tmp_path):
    assert call(prepro, '--dataset', 'mnist60k', '--root', mnist_root, cwd=tmp_path).status == 0
    for split, n in (('train', 60000), ('test', 10000)):
        X, Y = load(tmp_path / 'data' / 'mnist60k' / f'{split}1989.pt')
        assert (X.shape, Y.shape) == ((n, 1, 16, 16), (n, 10))
        assert X.abs().max() <= 1 and min(classes(Y)) > 0
    with np.load(prepro.EMBEDDED) as z:              # in MNIST's order
        x = torch.tensor(z['test_images'][0], dtype=torch.float32)[None, None]
        assert torch.equal(X[int(z['test_indices'][0])],
                           F.interpolate(x / 127.5 - 1, (16, 16), mode='bilinear')[0])


def slant(X):
    """How many columns the ink of each image (n, 1, 16, 16) leans over for each row: its covariance over its variance."""
    ink, at = X[:, 0] + 1, torch.arange(16.)
    y = at[:, None] - (ink.sum(2) * at).sum(1)[:, None, None] / ink.sum((1, 2))[:, None, None]
    x = at - (ink.sum(1) * at).sum(1)[:, None, None] / ink.sum((1, 2))[:, None, None]
    return (ink * x * y).sum((1, 2)) / (ink * y * y).sum((1, 2))


def test_usps_is_deslanted_and_mnist_is_not(usps_root, prepared, tmp_path):
    call(prepro, '--dataset', 'usps', '--root', usps_root, cwd=tmp_path)
    for split in ('train', 'test'):
        found = slant(torch.load(tmp_path / 'data' / 'usps' / f'{split}1989.pt', weights_only=True)[0])
        assert abs(found.mean()) < 0.001 and found.std() < 0.01
        found = slant(torch.load(prepared[0] / 'data' / 'mnist' / f'{split}1989.pt', weights_only=True)[0])
        assert found.std() > 0.2


def test_usps_is_the_papers_digits_as_they_are(usps_root, tmp_path):
    said = call(prepro, '--dataset', 'usps', '--root', usps_root, cwd=tmp_path)
    assert (said.status, said.err) == (0, [])
    from torchvision import datasets
    for split, by_class in (('train', [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]),
                            ('test', [359, 264, 198, 166, 200, 160, 170, 147, 166, 177])):
        X, Y = load(tmp_path / 'data' / 'usps' / f'{split}1989.pt')
        assert X.shape == (sum(by_class), 1, 16, 16) and classes(Y) == by_class
        images = datasets.USPS(usps_root / 'USPS', train=split == 'train').data
        assert torch.equal(X, torch.tensor(images, dtype=torch.float32)[:, None] / 127.5 - 1)
        assert (X.min(), X.max()) == (-1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# bad input

def refused(said, *parts):
    """It ended with status 1 and one line on stderr that has these parts."""
    assert said.status == 1
    assert len(said.err) == 1, said.err
    assert re.match(r'\w+\.py: ', said.err[0])
    for part in parts:
        assert str(part) in said.err[0]


@pytest.mark.parametrize('argv', [('--seed', '-1'), ('--seed', 2**32), ('--seed', 'abc'), ('--seed', '1.5'),
                                  ('--dataset', 'cifar'), ('--dataset', 'usps', '--seed', 3),
                                  ('--dataset', 'mnist60k', '--seed', 3), ('--rebuild', '--seed', 3), ('digits',)],
                         ids=lambda argv: ' '.join(map(str, argv)))
def test_bad_arguments(argv, tmp_path):
    said = call(prepro, *argv, cwd=tmp_path)
    assert said.status == 2
    assert 'prepro.py: error: ' in said.err[-1] and str(argv[-1] if argv[0] == '--seed' else '') in said.err[-1]
    assert files(tmp_path) == []


@pytest.mark.parametrize('position', [0, 1000, 800_000, -1])
def test_embedded_file_altered_by_one_byte(position, tmp_path, monkeypatch):
    content = bytearray(open(prepro.EMBEDDED, 'rb').read())
    content[position] ^= 1
    damaged = tmp_path / 'mnist1989.npz'
    damaged.write_bytes(content)
    monkeypatch.setattr(prepro, 'EMBEDDED', str(damaged))
    refused(call(prepro, cwd=tmp_path), damaged, 'is damaged', '`git checkout data` brings it back')
    assert files(tmp_path) == ['mnist1989.npz']


def test_embedded_file_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(prepro, 'EMBEDDED', str(tmp_path / 'mnist1989.npz'))
    refused(call(prepro, cwd=tmp_path), tmp_path / 'mnist1989.npz', 'No such file', '`git checkout data`')
    assert files(tmp_path) == []


MNIST_FILES = ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte', 't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte')
USPS_FILES = ('usps.bz2', 'usps.t.bz2')


@pytest.mark.parametrize('argv, folder, names', [
    (('--dataset', 'usps'), 'data/USPS', USPS_FILES), (('--dataset', 'mnist60k'), 'data/MNIST/raw', MNIST_FILES),
    (('--seed', 3), 'data/MNIST/raw', MNIST_FILES), (('--seed', 3, '--root', 'there'), 'there/MNIST/raw', MNIST_FILES),
    (('--dataset', 'usps', '--root', 'there'), 'there/USPS', USPS_FILES),
    (('--rebuild',), 'data/MNIST/raw', MNIST_FILES),
], ids=lambda v: ' '.join(map(str, v)) if isinstance(v, tuple) and v[0].startswith('-') else '')
def test_no_network_and_no_originals(argv, folder, names, tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(prepro, 'EMBEDDED', str(tmp_path / 'mnist1989.npz'))
    said = call(prepro, *argv, cwd=tmp_path)
    refused(said, 'cannot download', 'by hand', '--root', folder, *names)
    assert f'downloading {", ".join(names)} to {folder}' in said.out
    assert files(tmp_path) == []


@pytest.mark.parametrize('end, status', [
    (OSError('connection reset'), 1), (RuntimeError('File not found or corrupted.'), 1), (EOFError(), 1),
    (KeyboardInterrupt(), 130)], ids=repr)
def test_download_that_is_cut_off_leaves_no_file(end, status, tmp_path, monkeypatch):
    from torchvision.datasets import usps

    def download(url, root, filename, md5=None):
        os.makedirs(root, exist_ok=True)
        with open(os.path.join(root, filename), 'wb') as f:
            f.write(b'half of it')
        raise end
    monkeypatch.setattr(usps, 'download_url', download)
    said = call(prepro, '--dataset', 'usps', cwd=tmp_path)
    assert said.status == status
    if status == 1:
        refused(said, 'cannot download', str(end) or 'EOFError')
    else:
        assert said.err == ['interrupted']
    assert files(tmp_path) == []


def idx(*shape):
    """A file as MNIST's are, of zeros."""
    return struct.pack(f'>BBBB{len(shape)}i', 0, 0, 8, len(shape), *shape) + bytes(int(np.prod(shape)))


@pytest.mark.parametrize('alter, says', [
    (lambda content: content, 'MD5'),                # a file of MNIST's form that is not MNIST's
    (lambda content: content[:-1], 'cannot read'), (lambda content: b'', 'cannot read'),
    (lambda content: b'<html>404</html>', 'cannot read')], ids=['other digits', 'truncated', 'empty', 'not MNIST'])
def test_damaged_mnist(alter, says, tmp_path):
    raw = tmp_path / 'data' / 'MNIST' / 'raw'
    raw.mkdir(parents=True)
    for name, shape in zip(MNIST_FILES, ((20, 28, 28), (20,), (10, 28, 28), (10,))):
        (raw / name).write_bytes(alter(idx(*shape)))
    refused(call(prepro, '--dataset', 'mnist60k', cwd=tmp_path), says, 'data/MNIST/raw', MNIST_FILES[0], 'delete')
    assert files(tmp_path) == [f'data/MNIST/raw/{name}' for name in sorted(MNIST_FILES)]     # the user's, to delete


@pytest.mark.parametrize('content, says', [
    (bz2.compress(b'1 ' + b' '.join(b'%d:-1' % i for i in range(1, 257)) + b' \n'), 'does not hold the train digits'),
    (bz2.compress(b'1 1:-1 2:0.5\n'), 'cannot read'), (b'not bz2', 'cannot read'),
    (bz2.compress(bytes(10000))[:-9], 'cannot read')], ids=['other digits', 'other width', 'not bz2', 'truncated'])
def test_damaged_usps(content, says, tmp_path):
    folder = tmp_path / 'data' / 'USPS'
    folder.mkdir(parents=True)
    for name in USPS_FILES:
        (folder / name).write_bytes(content)
    refused(call(prepro, '--dataset', 'usps', cwd=tmp_path), says, 'data/USPS', 'usps.bz2', 'delete')
    assert files(tmp_path) == ['data/USPS/usps.bz2', 'data/USPS/usps.t.bz2']


@pytest.mark.parametrize('argv', [(), ('--seed', 3), ('--dataset', 'usps')], ids=lambda argv: ' '.join(map(str, argv)))
def test_root_is_a_file(argv, tmp_path):
    (tmp_path / 'a file').write_text('')
    refused(call(prepro, *argv, '--root', 'a file', cwd=tmp_path), '--root a file is not a directory')
    assert files(tmp_path) == ['a file']


@pytest.mark.parametrize('argv', [('--seed', 3), ('--dataset', 'usps')], ids=lambda argv: ' '.join(map(str, argv)))
def test_root_not_writable(argv, tmp_path):          # nobody can write there, root neither
    said = call(prepro, *argv, '--root', '/dev/null/here', cwd=tmp_path)
    refused(said, '/dev/null/here', 'Not a directory', '--root')
    assert files(tmp_path) == []


def test_data_not_writable(tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'mnist').write_text('')     # where the folder should be
    refused(call(prepro, cwd=tmp_path), 'cannot write data/mnist/train1989.pt')
    assert files(tmp_path) == ['data/mnist']


def test_as_the_shell_sees_it(tmp_path):
    """The end of a script that the tests above see from within: status, one line, nothing written."""
    said = shell('prepro.py', '--root', '/dev/null', cwd=tmp_path)
    assert (said.status, said.out) == (1, '')
    assert said.err == ['prepro.py: --root /dev/null is not a directory; name the one that holds MNIST/raw or USPS']
    assert files(tmp_path) == []


# ---------------------------------------------------------------------------------------------------------------------
# files are written whole or not at all

@pytest.mark.parametrize('end', [KeyboardInterrupt, MemoryError])
def test_write_file_that_ends_before_the_renaming_leaves_the_old_file(end, tmp_path, monkeypatch):
    path = str(tmp_path / 'new' / 'file')
    prepro.write_file(path, b'old')

    def replace(*args):
        raise end
    monkeypatch.setattr(os, 'replace', replace)
    with pytest.raises(end):
        prepro.write_file(path, b'new')
    assert open(path, 'rb').read() == b'old'


def test_killed_while_writing(tmp_path):
    """Thirty times a process that writes 2 MB over and over is killed after some milliseconds: never half a file."""
    script = (
        'import os, signal, sys, time\n'
        f'sys.path.insert(0, {str(REPO)!r})\n'
        'import prepro\n'
        'whole = [bytes([i]) * 2_000_000 for i in range(2)]\n'
        'writes = 0\n'
        'for i in range(30):\n'
        '    started, told = os.pipe()\n'
        '    child = os.fork()\n'
        '    if child == 0:\n'
        '        os.write(told, b".")\n'
        '        while True:\n'
        '            for content in whole: prepro.write_file("file", content)\n'
        '    os.read(started, 1)\n'
        '    time.sleep(0.001 * i)\n'
        '    os.kill(child, signal.SIGKILL)\n'
        '    os.waitpid(child, 0)\n'
        '    if os.path.exists("file"):\n'
        '        writes += 1\n'
        '        if open("file", "rb").read() not in whole: sys.exit("half a file")\n'
        'sys.exit(None if writes > 5 else "it was never written")\n')
    p = subprocess.run([sys.executable, '-c', script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (p.returncode, p.stderr) == (0, '')
