"""Digits and runs on disk: checked when they are read, written whole or not at all."""
import argparse
import contextlib
import csv
import functools
import hashlib
import io
import json
import os
import re
import shutil
import tempfile

import torch

from support.cli import fail

# What a name promises: the SHA-256 of each split's tensors, the bytes of X and then of Y.
SHA256 = {
    'mnist': {'train': '5f1ba0a3534a35d627d7f37465e1d4fb820010f0ec46b213e6f73c982a9204bf',
              'test': 'ba1740093a63affb6d25a0aa472b320e7707c8b477f7a7032fc71536459a8dce'},
    'usps': {'train': 'baca6aa33ba43289b057f3513fd2e445d8c59e5cb7e51db9924d7b8b9e5e8d05',
             'test': '243185351efb43d357745703844db915d31e7176246e5b5383015674f0e3110f'},
    'mnist60k': {'train': '26c36d2d2b00cadece299b8a54826ccf25c0db9fa163f5b0d4f11f6c808a6f26',
                 'test': '8e3c2ebd571133d00231be101fbf80eb0b1ae6c54436223d0ee47696939ed507'},
}


# ---------------------------------------------------------------------------------------------------------------------
# any file

def read_file(path, remedy):
    """The bytes of a file. Ends the script with a line that gives the remedy if they cannot be read."""
    try:
        with open(path, 'rb') as f:
            return f.read()
    except FileNotFoundError:
        fail(f'{os.path.abspath(path)} is not there; {remedy}')
    except OSError as e:
        fail(f'cannot read {path}: {e.strerror}; {remedy}')


def write_file(path, content):
    """Write bytes to path, whole or not at all: under a temporary name, then renamed. Makes the folder."""
    part = f'{path}.{os.getpid()}.part'
    try:
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(part, 'wb') as f:
            f.write(content)
        os.replace(part, path)
    except OSError as e:
        fail(f'cannot write {path}: {e.strerror}; name a folder that can be written to and has room')
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)


def writable(folder):
    """End the script, before there is anything to lose, if no file can be written to the folder, which is made."""
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as e:
        fail(f'cannot write to {folder}: {e.strerror}; name another folder')


def load(path, remedy):
    """What save wrote. Of a .pt file tensors and containers only: no code is run."""
    content = read_file(path, remedy)
    try:
        if str(path).endswith('.json'):
            return json.loads(content)
        return torch.load(io.BytesIO(content), weights_only=True)
    except Exception:                   # json, zip, pickle and torch each have errors for a file that is not theirs
        fail(f'{path} is damaged, or not of this project; {remedy}')


def save(path, content):
    """Write tensors to a .pt file, or a dict to a .json file, a key on each line."""
    f = io.BytesIO()
    if path.endswith('.json'):
        lines = ',\n'.join(f' {json.dumps(key)}: {json.dumps(value)}' for key, value in content.items())
        f.write(f'{{\n{lines}\n}}\n'.encode())
    else:
        torch.save(content, f)
    write_file(path, f.getvalue())


# ---------------------------------------------------------------------------------------------------------------------
# digits: data/<dataset>/train1989.pt and test1989.pt, tuples (X, Y), and digits.json, which has their sums

def dataset(text):
    """An argparse type: a data set's name, as prepro.py gives them. Its draw of seed 1337 is called mnist."""
    if text not in SHA256 and not re.fullmatch('mnist-seed(?!1337$)(0|[1-9][0-9]*)', text):
        raise argparse.ArgumentTypeError(f'{text!r} is none of {", ".join(SHA256)}, or mnist-seedN as '
                                         'prepro.py --seed N makes it (N=1337 makes mnist)')
    return text


def digits_path(dataset, name):
    return os.path.join('data', dataset, name)


def sums(splits):
    """{split: the SHA-256 of its (X, Y)}."""
    return {split: hashlib.sha256(X.numpy().tobytes() + Y.numpy().tobytes()).hexdigest()
            for split, (X, Y) in splits.items()}


def save_digits(dataset, splits):
    """
    Write {split: (X, Y)} as prepro.py's data set. digits.json is removed first and written last: tensors without it,
    or with one that describes other digits, are not read.
    """
    found = sums(splits)
    if SHA256.get(dataset, found) != found:
        fail(f'these are not the digits of {dataset} to the last bit: PyTorch {torch.__version__} resizes them '
             'otherwise on this processor; one with AVX2, or of 64-bit ARM, gives the known bits')
    about = digits_path(dataset, 'digits.json')
    with contextlib.suppress(OSError):
        os.remove(about)
    for split, XY in splits.items():
        save(digits_path(dataset, f'{split}1989.pt'), XY)
    save(about, {'dataset': dataset} | found)
    load_digits.cache_clear()


@functools.cache
def load_digits(dataset):
    """
    {split: (X, Y)} of a data set, read once: X float32 (n, 1, 16, 16) in [-1, 1]; Y float32 (n, 10), +1 for the class,
    else -1. Ends the script with a line if the files are not those that prepro.py wrote, or not what the name promises.
    """
    seed = dataset.removeprefix('mnist-seed')
    remedy = 'run: python prepro.py ' + (f'--dataset {dataset}' if seed == dataset else f'--seed {seed}')
    about = load(digits_path(dataset, 'digits.json'), remedy)
    splits = {split: load(digits_path(dataset, f'{split}1989.pt'), remedy) for split in ('train', 'test')}
    try:
        found = sums(splits)
    except (AttributeError, RuntimeError, TypeError, ValueError):        # no tuple of two tensors
        found = {}
    if about != {'dataset': dataset} | found or SHA256.get(dataset, found) != found:
        fail(f'data/{dataset} holds other digits than its name and digits.json say; {remedy}')
    return splits


# ---------------------------------------------------------------------------------------------------------------------
# a run: a folder with args.json, metrics.csv and, once it has ended, model.pt

def save_run(folder, args, rows, net=None):
    """
    Write what a run has so far: args, how it was started; rows, a dict for each pass and split, all with the same keys.
    A run that has ended gives its net too. Until then a run that ended before in this folder stays there, and this one
    is in folder-unfinished. Returns the folder.
    """
    unfinished = f'{folder}-unfinished'
    if net is None and os.path.exists(os.path.join(folder, 'model.pt')):
        folder = unfinished
    f = io.StringIO()
    metrics = csv.DictWriter(f, rows[0], lineterminator='\n')
    metrics.writeheader()
    metrics.writerows(rows)
    save(os.path.join(folder, 'args.json'), args)
    write_file(os.path.join(folder, 'metrics.csv'), f.getvalue().encode())
    if net is not None:
        save(os.path.join(folder, 'model.pt'), net.state_dict())
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def load_model(path):
    """(state_dict, args) of a run that has ended: path is its model.pt, and args.json lies beside it."""
    remedy = 'to train a net: python repro.py'
    return load(path, remedy), load(os.path.join(os.path.dirname(path), 'args.json'), remedy)
