"""
Turn today's copies of the digits into the tensors of 1989: 16x16, gray, in
[-1, 1], 7291 to train on and 2007 to test on (LeCun et al. 1989, section 2).

    python prepro.py                   # the MNIST draw of this repository
    python prepro.py --dataset usps    # the paper's own digits
    python prepro.py --dataset mnist60k

writes data/<dataset>/train1989.pt and test1989.pt: a tuple (X, Y); X is
float32 (n, 1, 16, 16) in [-1, 1]; Y is float32 (n, 10), +1 for the class and
-1 elsewhere. digits.json, which says what they are, is written last.

mnist     7291 + 2007 digits drawn at random from MNIST, test digits first,
          each resized from 28x28. The draw of seed 1337 is embedded in
          data/mnist1989.npz; --seed N draws others from the originals under
          --root, as the data set mnist-seedN.
usps      the paper's 9298 zip code digits, deslanted, as
          torchvision.datasets.USPS reads them: 16x16 as they are.
mnist60k  all of MNIST, 60,000 + 10,000, resized in the same way.
"""
import hashlib
import io
import os

import numpy as np
import torch
import torch.nn.functional as F

from support import cli, files
from support.cli import fail

N_TRAIN, N_TEST = 7291, 2007           # section 2: 9298 digits in all
SEED = 1337                            # the 2022 reproduction's draw of MNIST

EMBEDDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'mnist1989.npz')
EMBEDDED_SHA256 = 'fa7ef9b67d8f46ab78182060f3cee94998183392e691b0ff27bf7a5db9f7ec75'

# The four files of MNIST, unpacked, as torchvision keeps them in ROOT/MNIST/raw.
MNIST_MD5 = {
    'train-images-idx3-ubyte': '6bbc9ace898e44ae57da46a324031adb',
    'train-labels-idx1-ubyte': 'a25bea736e30d166cdddb491f175f624',
    't10k-images-idx3-ubyte': '2646ac647ad5339dbf082846283269ea',
    't10k-labels-idx1-ubyte': '27ae3e4e09519cfbb04c329615203637',
}
# The digits of USPS as torchvision decodes them (pixels, then labels, one byte each). They are checked instead of the
# archive, as copies of it write the same numbers in different ways.
USPS_SHA256 = {
    'train': 'fb9d5298563b3e2e3acc4f25a0645e225c6740b5ad1dd2d44143118a0d79d7f2',
    'test': 'cc72fc5ff67bb244706aba3bcf5373f29093a0e37bc203c0d8bb476cd8ffb142',
}


# ---------------------------------------------------------------------------------------------------------------------
# where the digits come from: images uint8 (n, 28, 28) or (n, 16, 16), labels (n,)

def embedded():
    """{split: (images, labels)}: the 7291 + 2007 digits of MNIST in data/mnist1989.npz, in drawing order."""
    content = files.read_file(EMBEDDED, '`git checkout data` brings it back')
    if hashlib.sha256(content).hexdigest() != EMBEDDED_SHA256:
        fail(f'{EMBEDDED} is damaged: its SHA-256 is not {EMBEDDED_SHA256[:12]}...; `git checkout data` brings it back')
    with np.load(io.BytesIO(content)) as z:
        return {split: (z[f'{split}_images'], z[f'{split}_labels']) for split in ('train', 'test')}


def mnist(root):
    """{split: (images, labels)}: all of MNIST, from root/MNIST/raw, downloaded if it is not there."""
    raw = os.path.join(root, 'MNIST', 'raw')
    from torchvision import datasets    # here: the embedded digits do without it, and it costs a second
    sets = originals(raw, MNIST_MD5, lambda train: datasets.MNIST(root, train=train, download=True))
    remedy = 'delete it, and it is downloaded again'
    for name, md5 in MNIST_MD5.items():
        path = os.path.join(raw, name)
        if hashlib.md5(files.read_file(path, remedy)).hexdigest() != md5:
            fail(f'{path} is damaged: its MD5 is not {md5}; {remedy}')
    return {split: (d.data.numpy(), d.targets.numpy()) for split, d in sets.items()}


def usps(root):
    """{split: (images, labels)}: the paper's digits, from root/USPS, downloaded if they are not there."""
    from torchvision import datasets
    folder = os.path.join(root, 'USPS')
    names = {split: name for split, (_, name, _) in datasets.USPS.split_list.items()}
    sets = originals(folder, names.values(), lambda train: datasets.USPS(folder, train=train, download=True))
    digits = {split: (d.data, np.array(d.targets)) for split, d in sets.items()}
    for split, (images, labels) in digits.items():
        if hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest() != USPS_SHA256[split]:
            fail(f'{os.path.join(folder, names[split])} does not hold the {split} digits of USPS; '
                 'delete it, and it is downloaded again')
    return digits


def originals(folder, names, read):
    """{split: torchvision dataset}. read(train) reads the files `names` in `folder`, or downloads them first."""
    missing = [name for name in names if not os.path.isfile(os.path.join(folder, name))]
    if missing:
        print(f'downloading {", ".join(missing)} to {folder}', flush=True)
    try:
        return {'train': read(True), 'test': read(False)}
    except BaseException as e:
        for name in missing:            # a download that was cut off must not be taken for the file
            if os.path.isfile(os.path.join(folder, name)):
                os.remove(os.path.join(folder, name))
        if not isinstance(e, Exception):
            raise
        # torchvision raises whatever the network, gzip, bz2 or NumPy raised
        reason = str(e).splitlines()[-1] if str(e) else type(e).__name__
        if missing:
            fail(f'cannot download the originals ({reason}); put {", ".join(names)} into {folder} by hand, '
                 'or name the directory that has them with --root')
        fail(f'cannot read the originals in {folder} ({reason}); delete {", ".join(names)} there, '
             'and they are downloaded again')


# ---------------------------------------------------------------------------------------------------------------------
# from digits to tensors

def draw(digits, seed=SEED, order=('test', 'train')):
    """
    {split: indices}: which digits of MNIST to use, 7291 and 2007 of them at random.

    The 2022 reproduction drew while looping over the *set* {'train', 'test'}, whose order changes from process to
    process, so that its seed leaves two draws possible. Test first gives its published numbers.
    """
    rng = np.random.RandomState(seed)
    size = {'train': N_TRAIN, 'test': N_TEST}
    return {split: rng.permutation(len(digits[split][1]))[:size[split]] for split in order}


def drawn(digits, indices):
    """The digits of one draw: {split: (images, labels)}."""
    return {split: (digits[split][0][i], digits[split][1][i]) for split, i in indices.items()}


def tensors(images, labels):
    """(X, Y) from uint8 images (n, h, w) and their labels (n,): X (n, 1, 16, 16) in [-1, 1], Y (n, 10) of -1 and +1."""
    X = torch.from_numpy(images).float()[:, None] / 127.5 - 1                  # X is now (n, 1, h, w)
    if X.shape[-1] != 16:
        X = F.interpolate(X, (16, 16), mode='bilinear')                        # X is now (n, 1, 16, 16)
    Y = torch.full((len(labels), 10), -1.0)
    Y[torch.arange(len(labels)), torch.from_numpy(labels).long()] = 1.0
    return X, Y


def rebuild(root):
    """Make data/mnist1989.npz again from a copy of MNIST under root: images, labels, and indices in MNIST."""
    digits = mnist(root)
    indices = draw(digits)
    arrays = {}
    for split, (images, labels) in drawn(digits, indices).items():
        arrays[f'{split}_images'] = images                                     # uint8 (n, 28, 28)
        arrays[f'{split}_labels'] = labels.astype(np.uint8)                    # (n,)
        arrays[f'{split}_indices'] = indices[split].astype(np.uint16)          # (n,)
    f = io.BytesIO()
    np.savez_compressed(f, **arrays)
    sha256 = hashlib.sha256(f.getvalue()).hexdigest()
    print(f'{EMBEDDED}: SHA-256 {sha256}')
    if sha256 != EMBEDDED_SHA256:       # MNIST was checked, so the arrays are right; zlib's versions differ
        fail('nothing is written: the arrays are the embedded ones, but this version of zlib packs them differently')
    files.write_file(EMBEDDED, f.getvalue())


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--dataset', choices=('mnist', 'usps', 'mnist60k'), default='mnist', help='which digits '
                        '(default: mnist)')
    parser.add_argument('--root', metavar='DIR', type=cli.path, default='data',
                        help='where the originals are, or are downloaded to, as torchvision keeps them: MNIST in '
                             'DIR/MNIST/raw, USPS in DIR/USPS (default: data)')
    seed = cli.checked(int, 0, files.MAX_SEED, f'a whole number from 0 to {files.MAX_SEED}')
    parser.add_argument('--seed', type=seed, default=SEED, metavar='N',
                        help=f'draw other digits of MNIST, as the data set mnist-seedN (default: {SEED}, the embedded '
                             'draw, called mnist)')
    parser.add_argument('--rebuild', action='store_true',
                        help='make data/mnist1989.npz, the embedded draw, again from the originals under --root')
    args = parser.parse_args()
    if args.seed != SEED and (args.dataset != 'mnist' or args.rebuild):
        parser.error('--seed draws digits for --dataset mnist; nothing else is drawn')
    if args.rebuild and args.dataset != 'mnist':
        parser.error('--rebuild makes the embedded draw of MNIST; it goes with no other --dataset')
    if os.path.exists(args.root) and not os.path.isdir(args.root):
        fail(f'--root {args.root} is not a directory; name the one that holds MNIST/raw or USPS')

    if args.rebuild:
        rebuild(args.root)
        return
    name = args.dataset
    if name == 'usps':
        digits = usps(args.root)
    elif name == 'mnist60k':
        digits = mnist(args.root)
    elif args.seed == SEED:
        digits = embedded()
    else:
        name = f'mnist-seed{args.seed}'
        digits = mnist(args.root)
        digits = drawn(digits, draw(digits, args.seed))
    splits = {split: tensors(*digits[split]) for split in ('train', 'test')}
    files.save_digits(name, splits)
    for split, (X, Y) in splits.items():
        print(f'{files.digits_path(name, f"{split}1989.pt")}: {len(X)} digits, 16x16; by class '
              f'{" ".join(str(int(n)) for n in (Y > 0).sum(0))}')


if __name__ == '__main__':
    cli.run(main)
