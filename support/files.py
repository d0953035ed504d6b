"""Digits and runs on disk: checked when they are read, written whole or not at all."""
import argparse
import csv
import hashlib
import io
import json
import os
import re
import stat
import tempfile
import warnings
import zipfile

import torch

from support.cli import fail

# What a name promises: the SHA-256 of the labels, one byte each, of the training digits and then the test digits.
LABELS_SHA256 = {
    'mnist': '29d34f1bf1b958871959275d0dc291c89fb28c6ef258e093a350b8803629ac18',
    'usps': '23d374427c9e1a0074b0b6f6d9ced2b877e9fe72adc27db773fba947c93ea3bd',
    'mnist60k': '671ff9d70b4811116d55c3dd479efa7a981e2e62753ef7a6d5c15fea81e63d27',
}


# ---------------------------------------------------------------------------------------------------------------------
# any file

def read_file(path, remedy):
    """The bytes of a file. Ends the script with a line that gives the remedy if they cannot be read."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):                      # reading a pipe would wait for its writer
            fail(f'{path} is not a file; {remedy}')
        with open(path, 'rb') as f:
            return f.read()
    except FileNotFoundError:
        fail(f'{path} is not there; {remedy}')
    except OSError as e:
        fail(f'cannot read {path}: {e.strerror}; {remedy}')


def write_file(path, content):
    """Write bytes to path, whole or not at all: under a temporary name, then renamed. Makes the folder."""
    part = f'{path}.{os.getpid()}.part'
    if os.path.exists(path) and not os.path.isfile(path):                # a pipe or a device would be replaced
        fail(f'cannot write {path}: it is there, and not a file; name another')
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(part, 'wb') as f:
            f.write(content)
        os.replace(part, path)
    except OSError as e:
        fail(f'cannot write {path}: {e.strerror}; name a folder that can be written to and has room')
    finally:
        if os.path.exists(part):
            os.remove(part)


def remove(path):
    """Remove a file, if it is there."""
    try:
        os.remove(path)
    except FileNotFoundError:
        pass
    except OSError as e:
        fail(f'cannot replace {path}: {e.strerror}; the folder must be one that can be written to')


def writable(folder, *names):
    """
    End the script, before there is anything to lose, if no file can be written to the folder, which is made, or one of
    these names in it is no file.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        fail(f'cannot write to {folder}: {e.strerror}; name another folder')
    for name in names:
        path = os.path.join(folder, name)
        if os.path.exists(path) and not os.path.isfile(path):
            fail(f'cannot write {path}: it is there, and not a file; name another')


def packed(obj):
    """The bytes that torch.save makes of obj."""
    f = io.BytesIO()
    torch.save(obj, f)
    return f.getvalue()


def unpacked(path, remedy):
    """What torch.save wrote to path: tensors and containers only, no code is run."""
    content = read_file(path, remedy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')                              # what is odd about it is said here
            if zipfile.ZipFile(io.BytesIO(content)).testzip():           # torch takes numbers whose checksum is wrong
                raise ValueError
            return torch.load(io.BytesIO(content), weights_only=True)
    except Exception:                   # zip, pickle and torch each have their own errors for a file that is not theirs
        fail(f'{path} is damaged, or not of this project; {remedy}')


def read_json(path, remedy):
    """The dict in a JSON file."""
    try:
        found = json.loads(read_file(path, remedy))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        fail(f'{path} is damaged; {remedy}')
    return found


def write_json(path, found):
    """Write a dict, a key on each line."""
    lines = ',\n'.join(f' {json.dumps(key)}: {json.dumps(value)}' for key, value in found.items())
    write_file(path, f'{{\n{lines}\n}}\n'.encode())


def read_table(path, remedy, **columns):
    """The rows of a CSV file as dicts of some of its columns. columns: {name: an argparse type, or str}."""
    content = read_file(path, remedy)
    if content and not content.endswith(b'\n'):
        fail(f'{path}: its last line is cut off; {remedy}')
    try:
        lines = csv.DictReader(io.StringIO(content.decode(), newline=''))
        if not set(columns) <= set(lines.fieldnames or ()):
            raise ValueError(f'it has no column {", ".join(sorted(set(columns) - set(lines.fieldnames or ())))}')
    except (ValueError, csv.Error) as e:
        fail(f'{path} is not such a table ({e}); {remedy}')
    rows = []
    try:
        for line in lines:
            if None in line or None in line.values():
                raise ValueError('it has not one value for each column')
            rows.append({name: kind(line[name]) for name, kind in columns.items()})
    except (ValueError, csv.Error, argparse.ArgumentTypeError) as e:
        fail(f'{path}, line {lines.line_num}: {e}; {remedy}')
    if not rows:
        fail(f'{path} has no rows; {remedy}')
    return rows


def plain(t):
    """Whether t is a tensor of float32 numbers that lie in memory one after the other."""
    return (isinstance(t, torch.Tensor) and t.layout == torch.strided and not t.is_nested and t.device.type == 'cpu'
            and t.dtype == torch.float32 and not t.requires_grad and t.is_contiguous())


# ---------------------------------------------------------------------------------------------------------------------
# digits: data/<dataset>/train1989.pt and test1989.pt, tuples (X, Y), and digits.json, which says what they are

MAX_SEED = 2**32 - 1                    # of a draw of MNIST: what NumPy's RandomState takes


def dataset(text):
    """An argparse type: a data set's name, as prepro.py gives them. Its draw of seed 1337 is called mnist."""
    drawn = re.fullmatch(r'mnist-seed(?!1337$)(0|[1-9][0-9]{0,9})', text)
    if text not in LABELS_SHA256 and not (drawn and int(drawn[1]) <= MAX_SEED):
        raise argparse.ArgumentTypeError(f'{text!r} is none of {", ".join(LABELS_SHA256)}, or mnist-seedN as '
                                         'prepro.py --seed N makes it (N=1337 makes mnist)')
    return text


def digits_path(dataset, name):
    return os.path.join('data', dataset, name)


def labels_sha256(splits):
    return hashlib.sha256(b''.join(splits[split][1].argmax(1).to(torch.uint8).numpy().tobytes()
                                   for split in ('train', 'test'))).hexdigest()


def save_digits(dataset, splits):
    """
    Write {split: (X, Y)} as prepro.py's data set. digits.json is removed first and written last: tensors without it,
    or with one that describes other digits, are not read.
    """
    about = digits_path(dataset, 'digits.json')
    remove(about)
    for split, XY in splits.items():
        write_file(digits_path(dataset, f'{split}1989.pt'), packed(XY))
    write_json(about, {'dataset': dataset, 'labels_sha256': labels_sha256(splits)})


def load_digits(dataset):
    """
    {split: (X, Y)} of a data set: X float32 (n, 1, 16, 16) in [-1, 1]; Y float32 (n, 10), +1 for the class, else -1.
    Ends the script with a line that says what is wrong with the files if they are anything else.
    """
    remedy = f'run: python prepro.py --dataset {dataset}'
    if dataset.startswith('mnist-seed'):
        remedy = f'run: python prepro.py --seed {dataset.removeprefix("mnist-seed")}'
    splits = {split: load_split(digits_path(dataset, f'{split}1989.pt'), remedy) for split in ('train', 'test')}
    about = digits_path(dataset, 'digits.json')
    said = read_json(about, f'without it nobody knows which digits these are; {remedy}')
    found = labels_sha256(splits)
    if said != {'dataset': dataset, 'labels_sha256': found} or LABELS_SHA256.get(dataset, found) != found:
        fail(f'data/{dataset} holds other digits than its name and {about} say; {remedy}')
    return splits


def load_split(path, remedy):
    """(X, Y) of one file."""
    XY = unpacked(path, remedy)
    if not (isinstance(XY, tuple) and len(XY) == 2
            and all(isinstance(t, torch.Tensor) and not t.is_nested for t in XY)):
        fail(f'{path} does not hold a tuple (X, Y) of tensors; {remedy}')
    X, Y = XY
    for name, t, shape in (('X', X, (1, 16, 16)), ('Y', Y, (10,))):
        if not plain(t) or t.shape[1:] != shape or len(t) != len(X) or len(t) == 0:
            fail(f'{path}: {name} is {t.dtype} {tuple(t.shape)}, or not stored plainly; it must be torch.float32 '
                 f'(n, {", ".join(map(str, shape))}); {remedy}')
    if not (X.abs() <= 1).all():        # false for NaN as well
        fail(f'{path}: X has values outside [-1, 1] or not a number; {remedy}')
    if not ((Y.abs() == 1).all() and ((Y == 1).sum(1) == 1).all()):
        fail(f'{path}: Y is not +1 for one class and -1 for the others; {remedy}')
    return X, Y


# ---------------------------------------------------------------------------------------------------------------------
# a run: a folder with args.json, metrics.csv and, once it has ended, model.pt

def save_run(folder, args, rows, net=None):
    """
    Write what a run has so far: args, how it was started; rows, a dict for each pass and split, all with the same keys.
    A run that has ended gives its net too; until then there is no model.pt, not even an earlier run's.
    """
    model = os.path.join(folder, 'model.pt')
    remove(model)
    f = io.StringIO()
    metrics = csv.DictWriter(f, rows[0], lineterminator='\n')
    metrics.writeheader()
    metrics.writerows(rows)
    write_json(os.path.join(folder, 'args.json'), args)
    write_file(os.path.join(folder, 'metrics.csv'), f.getvalue().encode())
    if net is not None:
        write_file(model, packed(net.state_dict()))


def load_model(path):
    """(state_dict, args) of a run that has ended: path is its model.pt, and args.json lies beside it."""
    remedy = 'to train a net: python repro.py'
    state = unpacked(path, remedy)
    if not isinstance(state, dict) or not all(map(plain, state.values())):
        fail(f'{path} is not a model that repro.py wrote; {remedy}')
    if not all(t.isfinite().all() for t in state.values()):
        fail(f'{path} has weights that are not finite; {remedy}')
    return state, read_json(os.path.join(os.path.dirname(path), 'args.json'), remedy)
