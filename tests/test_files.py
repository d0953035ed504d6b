"""support/files.py: files written whole or not at all, the digits and runs on disk, and files that are not what they
are said to be. A script that meets one ends with one line, which names the file and the remedy."""
import json
import os
import shutil

import pytest
import torch

import repro
import support.files
from conftest import TINY, call, files, random_patterns, refused, shell, write_digits

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


def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    with pytest.raises(SystemExit, match='pipe: it is there, and not a file'):
        support.files.write_file(str(tmp_path / 'pipe'), b'new')
    assert (tmp_path / 'pipe').is_fifo() and os.listdir(tmp_path) == ['pipe']


@pytest.mark.slow
def test_killed_while_writing(tmp_path):
    """Eight times a process that writes a file over and over is killed after some milliseconds: never half a file."""
    script = tmp_path / 'writer.py'
    script.write_text('''\
import os, signal, time
from support import files
whole = [bytes([i]) * 500_000 for i in range(2)]
found = 0
for i in range(8):
    started, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(told, b".")
        while True:
            for content in whole: files.write_file("file", content)
    os.read(started, 1)
    time.sleep(0.001 * i)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if os.path.exists("file"):
        found += 1
        assert open("file", "rb").read() in whole, "half a file"
assert found > 1, "it was never written"
''')
    said = shell(script, cwd=tmp_path)
    assert (said.status, said.err) == (0, [])


# ---------------------------------------------------------------------------------------------------------------------
# the digits

def test_digits_come_back_as_they_were_saved(tmp_path, monkeypatch):
    saved = write_digits(tmp_path, TINY, 4, 3)
    assert files(tmp_path / 'data' / TINY) == ['digits.json', 'test1989.pt', 'train1989.pt']
    monkeypatch.chdir(tmp_path)
    found = support.files.load_digits(TINY)
    assert list(found) == ['train', 'test']
    assert all(torch.equal(a, b) for split in found for a, b in zip(found[split], saved[split]))


def put(t, value, *place):
    t[place] = value
    return t


BAD_TENSORS = {
    'no tuple': (lambda X, Y: {'X': X, 'Y': Y}, 'tuple (X, Y)'),
    'lists': (lambda X, Y: (X.tolist(), Y), 'tuple (X, Y)'),
    'X float64': (lambda X, Y: (X.double(), Y), 'X is torch.float64'),
    'X complex': (lambda X, Y: (X + 0j, Y), 'X is torch.complex64'),
    'X 28x28': (lambda X, Y: (torch.zeros(40, 1, 28, 28), Y), 'X is torch.float32 (40, 1, 28, 28)'),
    'X a number': (lambda X, Y: (torch.tensor(1.0), Y), 'X is torch.float32 ()'),
    'X sparse': (lambda X, Y: (X.to_sparse(), Y), 'not stored plainly'),
    'X on meta': (lambda X, Y: (X.to('meta'), Y), 'not stored plainly'),
    'X with gradient': (lambda X, Y: (X.requires_grad_(), Y), 'not stored plainly'),
    '10**9 digits': (lambda X, Y: (X[:1].expand(10**9, 1, 16, 16), Y[:1].expand(10**9, 10)), '(1000000000, 1, 16, 16)'),
    'X in 0..255': (lambda X, Y: (X * 127.5 + 127.5, Y), 'X has values outside [-1, 1]'),
    'X NaN': (lambda X, Y: (put(X, float('nan'), 20, 0, 3, 3), Y), 'not a number'),
    'Y labels': (lambda X, Y: (X, Y.argmax(1).float()), 'Y is torch.float32 (40,)'),
    'fewer Y': (lambda X, Y: (X, Y[:-1]), 'Y is torch.float32 (39, 10)'),
    'X nested': (lambda X, Y: (torch.nested.nested_tensor(list(X), layout=torch.strided), Y), 'tuple (X, Y)'),
    'no patterns': (lambda X, Y: (X[:0], Y[:0]), 'X is torch.float32 (0, 1, 16, 16)'),
    'Y of 0 and 1': (lambda X, Y: (X, (Y + 1) / 2), 'Y is not +1 for one class'),
    'two classes': (lambda X, Y: (X, put(Y, 1.0, 7, slice(2))), 'Y is not +1 for one class'),
}


@pytest.mark.filterwarnings('ignore:The PyTorch API of nested')
@pytest.mark.parametrize('bad', BAD_TENSORS)
def test_tensors_that_are_not_digits(bad, tiny):
    make, says = BAD_TENSORS[bad]
    torch.save(make(*random_patterns(40)), tiny / 'data' / TINY / 'train1989.pt')
    refused(train_on(TINY, tiny), 'repro.py', f'data/{TINY}/train1989.pt', says, REMEDY)
    assert not (tiny / 'out').exists()


def flipped(content):
    """The bytes of a file with one bit wrong, in the middle."""
    content = bytearray(content)
    content[len(content) // 2] ^= 1
    return bytes(content)


BAD_FILES = {
    'empty': lambda path: path.write_bytes(b''),
    'cut off': lambda path: path.write_bytes(path.read_bytes()[:-1]),
    'a wrong bit': lambda path: path.write_bytes(flipped(path.read_bytes())),
    'text': lambda path: path.write_text('<html>404: not found</html>\n'),
    'a pickle': lambda path: path.write_bytes(b'cos\nsystem\n(S"touch out"\ntR.'),      # which would run a command
    'a pipe': lambda path: (path.unlink(), os.mkfifo(path)),
    'a folder': lambda path: (path.unlink(), path.mkdir()),
    'not there': lambda path: path.unlink(),
}


@pytest.mark.parametrize('bad', BAD_FILES)
@pytest.mark.parametrize('name', ['test1989.pt', 'digits.json'])
def test_files_that_are_not_digits(bad, name, tiny):
    path = tiny / 'data' / TINY / name
    BAD_FILES[bad](path)
    says = {'a pipe': 'is not a file', 'a folder': 'is not a file', 'not there': 'is not there'}.get(bad, 'is damaged')
    if name == 'digits.json' and bad == 'a wrong bit':
        says = ''
    if name == 'digits.json' and bad == 'cut off':                       # only the line feed is lost
        assert train_on(TINY, tiny).status == 0
        return
    refused(train_on(TINY, tiny), 'repro.py', f'data/{TINY}/{name} {says}', REMEDY)
    assert not (tiny / 'out').exists()


@pytest.mark.parametrize('content', ['[' * 10**5, '[]', '{"dataset": ' + '9' * 5000 + '}'],
                         ids=['10**5 brackets', 'a list', '5000 places'])
def test_digits_json_is_damaged(content, tiny):
    (tiny / 'data' / TINY / 'digits.json').write_text(content)
    refused(train_on(TINY, tiny), 'repro.py', 'digits.json is damaged', REMEDY)


@pytest.mark.parametrize('name', ['train1989.pt', 'test1989.pt', 'digits.json'])
def test_one_file_of_another_draw(name, tiny):
    write_digits(tiny, 'mnist-seed8', 41, 21)
    shutil.copy(tiny / 'data' / 'mnist-seed8' / name, tiny / 'data' / TINY / name)
    refused(train_on(TINY, tiny), 'repro.py', f'data/{TINY} holds other digits', REMEDY)


def test_a_folder_that_was_renamed(tiny):
    (tiny / 'data' / TINY).rename(tiny / 'data' / 'mnist-seed8')
    refused(train_on('mnist-seed8', tiny), 'repro.py', 'data/mnist-seed8 holds other digits')


@pytest.mark.parametrize('dataset', ['mnist', 'usps', 'mnist60k'])
def test_a_name_promises_known_digits(dataset, tmp_path):
    """Whatever digits.json says."""
    write_digits(tmp_path, dataset, 40, 20)
    refused(train_on(dataset, tmp_path), 'repro.py', f'data/{dataset} holds other digits than its name',
            f'run: python prepro.py --dataset {dataset}')


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


@pytest.mark.parametrize('name', ['cifar', '', 'mnist-seed', 'mnist-seed-1', 'mnist-seed07', 'mnist-seed1337',
                                  '../mnist'])
def test_no_data_set_has_this_name(name, tmp_path):
    said = train_on(name, tmp_path)
    assert said.status == 2 and 'repro.py: error: argument --dataset' in said.err[-1]


# ---------------------------------------------------------------------------------------------------------------------
# runs

ROWS = [{'pass': 1, 'split': 'train', 'loss': 0.5}, {'pass': 1, 'split': 'test', 'loss': 0.6}]


def test_a_run_and_its_model_come_back(tmp_path):
    net = repro.Net(3)
    support.files.save_run(tmp_path / 'run', {'recipe': 'reference', 'seed': 3}, ROWS, net)
    assert (tmp_path / 'run' / 'metrics.csv').read_text() == 'pass,split,loss\n1,train,0.5\n1,test,0.6\n'
    state, args = support.files.load_model(tmp_path / 'run' / 'model.pt')
    assert args == {'recipe': 'reference', 'seed': 3}
    assert all(torch.equal(state[name], p) for name, p in net.named_parameters())


def test_a_run_that_has_not_ended_has_no_model_not_even_an_older_one(tmp_path):
    support.files.save_run(tmp_path, {'seed': 1}, ROWS, repro.Net())
    support.files.save_run(tmp_path, {'seed': 2}, ROWS)
    assert files(tmp_path) == ['args.json', 'metrics.csv']


BAD_MODELS = {
    'a tensor': (lambda state: state['H1w'], 'is not a model'),
    'numbers': (lambda state: {name: 1.0 for name in state}, 'is not a model'),
    'complex': (lambda state: state | {'H1w': state['H1w'] + 0j}, 'is not a model'),
    'sparse': (lambda state: state | {'H1w': state['H1w'].to_sparse()}, 'is not a model'),
    'not finite': (lambda state: state | {'H1w': state['H1w'] * float('inf')}, 'not finite'),
}


@pytest.mark.parametrize('bad', BAD_MODELS)
def test_models_that_no_run_wrote(bad, tmp_path):
    make, says = BAD_MODELS[bad]
    torch.save(make(repro.Net().state_dict()), tmp_path / 'model.pt')
    with pytest.raises(SystemExit, match=says):
        support.files.load_model(tmp_path / 'model.pt')


@pytest.mark.parametrize('content, says', [(None, 'args.json is not there'), ('[' * 10**5, 'args.json is damaged')],
                         ids=['none', '10**5 brackets'])
def test_a_model_without_its_args(content, says, tmp_path):
    support.files.save_run(tmp_path, {}, ROWS, repro.Net())
    (tmp_path / 'args.json').unlink() if content is None else (tmp_path / 'args.json').write_text(content)
    with pytest.raises(SystemExit, match=says):
        support.files.load_model(tmp_path / 'model.pt')


def test_a_key_on_each_line_of_args_json(tmp_path):
    found = {'recipe': 'paper', 'settings': {'rate': 0.002, 'table': [[0, 1], [1, 2]]}}
    support.files.write_json(tmp_path / 'args.json', found)
    text = (tmp_path / 'args.json').read_text()
    assert json.loads(text) == found and len(text.splitlines()) == 2 + len(found)
