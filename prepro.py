"""
Turn today's copies of the digits into the tensors of 1989: 16x16, gray, in
[-1, 1], 7291 to train on and 2007 to test on (LeCun et al. 1989, section 2).

    python prepro.py                   # the MNIST draw of this repository
    python prepro.py --dataset usps    # the paper's own digits
    python prepro.py --dataset mnist60k

writes data/<dataset>/train1989.pt and test1989.pt: a tuple (X, Y); X is
float32 (n, 1, 16, 16) in [-1, 1]; Y is float32 (n, 10), +1 for the class and
-1 elsewhere. digits.json, which has their SHA-256, is written last.

mnist     7291 + 2007 digits drawn at random from MNIST, test digits first,
          each resized from 28x28. The draw of seed 1337 is embedded in
          data/mnist1989.npz; --seed N draws others from the originals under
          --root, as the data set mnist-seedN.
usps      the paper's 9298 zip code digits, deslanted, as
          torchvision.datasets.USPS reads them: 16x16 as they are.
mnist60k  all of MNIST, 60,000 + 10,000, resized in the same way.
"""
import contextlib
import hashlib
import io
import os

from support import cli, files          # first: it says what is not installed

import numpy as np
import torch
import torch.nn.functional as F

from support.cli import fail

N_TRAIN, N_TEST = 7291, 2007           # section 2: 9298 digits in all
SEED = 1337                            # the 2022 reproduction's draw of MNIST


# ---------------------------------------------------------------------------------------------------------------------
# Section 2: from digits to tensors

def tensors(images, labels):
    """(X, Y) from uint8 images (n, h, w) and their labels (n,): X (n, 1, 16, 16) in [-1, 1], Y (n, 10) of -1 and +1."""
    X = torch.from_numpy(images).float()[:, None] / 127.5 - 1                  # (n, 1, h, w)
    if X.shape[-1] != 16:
        X = F.interpolate(X, (16, 16), mode='bilinear')                        # (n, 1, 16, 16), not antialiased: 2022's
    Y = torch.full((len(labels), 10), -1.0)
    Y[torch.arange(len(labels)), torch.from_numpy(labels).long()] = 1.0
    return X, Y


def draw(digits, seed=SEED, order=('test', 'train')):
    """
    {split: indices}: which digits of MNIST to use, 7291 and 2007 of them at random.

    The 2022 reproduction drew while looping over the *set* {'train', 'test'}, whose order changes from process to
    process, so that its seed leaves two draws possible. Test first gives its published numbers.
    """
    rng = np.random.RandomState(seed)
    size = {'train': N_TRAIN, 'test': N_TEST}
    return {split: rng.permutation(len(digits[split][1]))[:size[split]] for split in order}


def chosen(digits, indices):
    """The digits of one draw: {split: (images, labels)}."""
    return {split: (digits[split][0][i], digits[split][1][i]) for split, i in indices.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Where the digits come from. Each source gives {split: (images, labels)}, images uint8 (n, 28, 28) or (n, 16, 16)

EMBEDDED = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'data', 'mnist1989.npz')
SHA256 = {
    'embedded': 'fa7ef9b67d8f46ab78182060f3cee94998183392e691b0ff27bf7a5db9f7ec75',    # the file
    # of each split's pixels and then its labels, a byte each, as archives differ from mirror to mirror
    'mnist': {'train': 'edc0d1098aa497be14ace79ddd5171e5a3dcf9c4d196c015389203eb3ba1f59b',
              'test': 'c3f9adf9c66efb572b1f9326c3a511b45910c7173b97be66ceceeeeaef6b802b'},
    'usps': {'train': 'fb9d5298563b3e2e3acc4f25a0645e225c6740b5ad1dd2d44143118a0d79d7f2',
             'test': 'cc72fc5ff67bb244706aba3bcf5373f29093a0e37bc203c0d8bb476cd8ffb142'},
}
# {name: (the folder below --root, as torchvision keeps it; its files; where they are to be had)}
ORIGINALS = {
    'mnist': (os.path.join('MNIST', 'raw'), ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte',
                                             't10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte'),
              'https://ossci-datasets.s3.amazonaws.com/mnist'),
    'usps': ('USPS', ('usps.bz2', 'usps.t.bz2'), 'https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass'),
}


def embedded():
    """The 7291 + 2007 digits of MNIST in data/mnist1989.npz, in drawing order."""
    content = files.read_file(EMBEDDED, '`git checkout data` brings it back')
    if hashlib.sha256(content).hexdigest() != SHA256['embedded']:
        fail(f'{EMBEDDED} is damaged: its SHA-256 is another; `git checkout data` brings it back')
    with np.load(io.BytesIO(content)) as z:
        return {split: (z[f'{split}_images'], z[f'{split}_labels']) for split in ('train', 'test')}


def originals(name, root):
    """All of MNIST, or USPS, by torchvision from root, downloaded if it is not there."""
    from torchvision import datasets    # here: the embedded digits do without it, and it costs a second
    folder, names, site = ORIGINALS[name]
    folder = os.path.join(root, folder)
    by_hand = f'put {", ".join(names)} into {folder} by hand (from {site}), or name their directory with --root'
    missing = [file for file in names if not os.path.isfile(os.path.join(folder, file))]
    if missing:
        print(f'downloading {", ".join(missing)} to {folder}', flush=True)
    read = {'mnist': lambda train: datasets.MNIST(root, train=train, download=True),
            'usps': lambda train: datasets.USPS(folder, train=train, download=True)}[name]
    try:
        sets = {split: read(split == 'train') for split in ('train', 'test')}
    except BaseException as e:
        for file in missing:            # a download that was cut off must not be taken for the file
            with contextlib.suppress(OSError):
                os.remove(os.path.join(folder, file))
        with contextlib.suppress(OSError):
            os.removedirs(folder)       # if there is nothing in it
        if not isinstance(e, Exception):
            raise
        # torchvision raises whatever the network, gzip, bz2 or NumPy raised
        reason = str(e).splitlines()[-1] if str(e) else type(e).__name__
        if missing:
            fail(f'cannot download the originals ({reason}); {by_hand}')
        fail(f'cannot read the originals in {folder} ({reason}); delete {", ".join(names)} there, and they are '
             'downloaded again')
    digits = {split: (np.asarray(d.data), np.asarray(d.targets)) for split, d in sets.items()}
    for split, (images, labels) in digits.items():
        if hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest() != SHA256[name][split]:
            fail(f'{folder} does not hold the {split} digits of {name.upper()}; delete {", ".join(names)} there, and '
                 'they are downloaded again')
    return digits


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--dataset', choices=('mnist', 'usps', 'mnist60k'), default='mnist', help='which digits '
                        '(default: mnist)')
    parser.add_argument('--root', metavar='DIR', type=cli.path, default='data',
                        help='where the originals are, or are downloaded to, as torchvision keeps them: MNIST in '
                             'DIR/MNIST/raw, USPS in DIR/USPS (default: data)')
    seed = cli.checked(int, 0, 2**32 - 1, 'a whole number from 0 to 2**32 - 1')      # what RandomState takes
    parser.add_argument('--seed', type=seed, default=SEED, metavar='N',
                        help=f'draw other digits of MNIST, as the data set mnist-seedN (default: {SEED}, the embedded '
                             'draw, called mnist)')
    args = parser.parse_args()
    if args.seed != SEED and args.dataset != 'mnist':
        parser.error('--seed draws digits for --dataset mnist; nothing else is drawn')
    if os.path.exists(args.root) and not os.path.isdir(args.root):
        fail(f'--root {args.root} is not a directory; name the one that holds MNIST/raw or USPS')

    name = args.dataset
    if name == 'usps':
        digits = originals('usps', args.root)
    elif name == 'mnist60k':
        digits = originals('mnist', args.root)
    elif args.seed == SEED:
        digits = embedded()
    else:
        name = f'mnist-seed{args.seed}'
        digits = originals('mnist', args.root)
        digits = chosen(digits, draw(digits, args.seed))
    splits = {split: tensors(*digits[split]) for split in ('train', 'test')}
    files.save_digits(name, splits)
    for split, (X, Y) in splits.items():
        print(f'{files.digits_path(name, f"{split}1989.pt")}: {len(X)} digits, 16x16; by class '
              f'{" ".join(str(int(n)) for n in (Y > 0).sum(0))}')


if __name__ == '__main__':
    cli.run(main)
