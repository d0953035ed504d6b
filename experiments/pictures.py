"""
How well predict.py reads pictures. Needs data/mnist and data/usps, as prepro.py
makes them.

    python -m experiments.pictures [--seeds 0-4]

Nets of the recipe karpathy2022, trained on MNIST and on USPS, are shown
pictures of

own         the test digits of the data set that they were trained on
other       the test digits of the other data set: MNIST's at 28x28, USPS's at
            16x16 with a margin
photograph  500 of the other's, enlarged to 300x300, dark on light, lit from
            one side, with noise
fonts       digits of 20 fonts that come with matplotlib, in three sizes, dark
            on light and light on dark, off-center

It prints the percentages that are wrong, that are rejected, and that are wrong
among those not rejected.
"""
import functools
import os

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import prepro
import repro
from experiments import compare, predict
from support import cli, files, runs

FONTS = [f'DejaVu{family}{style}' for family, italic in (('Sans', 'Oblique'), ('SansMono', 'Oblique'),
                                                         ('Serif', 'Italic'))
         for style in ('', '-Bold', f'-{italic}', f'-Bold{italic}')]
FONTS += ['STIXGeneral', 'STIXGeneralBol', 'STIXGeneralItalic', 'STIXGeneralBolIta']
FONTS += ['cmr10', 'cmb10', 'cmss10', 'cmtt10']
SIZES = (24, 80, 300)
KINDS = ('own', 'other', 'photograph', 'fonts')
RECIPE = compare.BASE['karpathy2022']

KEY = ('dataset', 'settings', 'pictures', 'seed')
VALUES = ('n', 'error', 'rejected', 'error_kept')
WORDS = KEY[:-1]

load = files.load_digits


def test_digits(dataset):
    """[(picture, label)] of a data set's test digits, light on dark as they are."""
    if dataset == 'mnist':
        images, labels = prepro.embedded()['test']
    else:
        X, Y = load(dataset)['test']
        images, labels = np.round((X[:, 0].numpy() + 1) * 127.5).astype(np.uint8), Y.argmax(1).numpy()
        images = np.pad(images, ((0, 0), (4, 4), (4, 4)))
    return [(Image.fromarray(image), int(label)) for image, label in zip(images, labels)]


def photograph(picture, rng):
    """The picture enlarged, dark on light, with noise and light that falls off by up to a third."""
    v = np.asarray(picture.resize((300, 300), Image.Resampling.BICUBIC), np.float32) / 255
    y, x = np.indices(v.shape) / 300
    a, b = rng.uniform(-0.25, 0.25, 2)
    page = 0.75 + a * (x - .5) + b * (y - .5)
    v = page * (1 - 0.75 * v) + rng.normal(0, 0.02, v.shape)
    return Image.fromarray(np.round(255 * np.clip(v, 0, 1)).astype(np.uint8))


def fonts(rng):
    """[(picture, label)] of every digit in every font, size and polarity, somewhere on its page."""
    import matplotlib                   # here: report.py, which reads the rows, draws nothing
    folder = os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf')
    pictures = []
    for name in FONTS:
        for size in SIZES:
            font = ImageFont.truetype(os.path.join(folder, f'{name}.ttf'), size)
            for c in range(10):
                for ink, paper in ((0, 255), (255, 0)):
                    page = Image.new('L', (2 * size, 2 * size), paper)
                    x, y = rng.uniform(0.1, 0.9, 2) * size
                    ImageDraw.Draw(page).text((x, y), str(c), ink, font)
                    pictures.append((page, c))
    return pictures


@functools.cache
def shown(dataset):
    """{kind: (X, labels)}: the pictures as a net trained on dataset sees them through predict.py."""
    rng = np.random.RandomState(0)
    own, other = test_digits(dataset), test_digits('usps' if dataset == 'mnist' else 'mnist')
    pictures = dict(zip(KINDS, (own, other, [(photograph(picture, rng), label) for picture, label in other[:500]],
                                fonts(rng))))
    return {kind: (torch.cat([predict.normalized(predict.ink(predict.gray(picture)), dataset) for picture, _ in found]),
                   torch.tensor([label for _, label in found])) for kind, found in pictures.items()}


@functools.cache
def trained(dataset, seed):
    """(a net, the threshold below which it rejects)."""
    net, _ = compare.trained(RECIPE, *load(dataset)['train'], seed)
    return net, predict.threshold(net, *load(dataset)['test'])


def one_run(dataset, settings, pictures, seed):
    """How a net reads a kind of picture: the values of its row, shares in percent."""
    (X, labels), (net, least) = shown(dataset)[pictures], trained(dataset, seed)
    out = repro.outputs(net, X)
    top = out.topk(2).values
    kept = top[:, 0] - top[:, 1] >= least
    wrong = out.argmax(1) != labels
    return {'n': len(X), 'error': 100 * float(wrong.float().mean()), 'rejected': 100 * float((~kept).float().mean()),
            'error_kept': 100 * float(wrong[kept].float().mean())}


def read(path):
    """The rows of a CSV file of these runs, of the recipe as it is now."""
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS, 'run: python -m experiments.pictures --out '
                                          'results/predict.csv') if row['settings'] == runs.fingerprint(RECIPE)]


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--seeds', type=cli.numbers, default='0-4', metavar='A-B', help='default: 0-4')
    runs.add_arguments(parser, os.path.join('out', 'predict.csv'))
    args = parser.parse_args()
    for dataset in 'mnist', 'usps':
        load(dataset)                   # ends here if it is not there
    jobs = [dict(zip(KEY, (dataset, runs.fingerprint(RECIPE), kind, seed)))
            for dataset in ('mnist', 'usps') for seed in args.seeds for kind in KINDS]
    rows = runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, workers=args.jobs, cluster=args.cluster)
    print(f'{"trained on":12}{"pictures":12}{"n":>6}{"wrong":>16}{"rejected":>16}{"wrong, of kept":>18}')
    for dataset in 'mnist', 'usps':
        for kind in KINDS:
            found = [row for row in rows if (row['dataset'], row['pictures']) == (dataset, kind)]
            stats = [runs.mean_sd([row[key] for row in found]) for key in VALUES[1:]]
            cells = [f'{mean:.1f}' + (f' +- {sd:.1f}' if sd is not None else '') + '%' for mean, sd, _, _ in stats]
            print(f'{dataset:12}{kind:12}{found[0]["n"]:>6}{cells[0]:>16}{cells[1]:>16}{cells[2]:>18}')


if __name__ == '__main__':
    cli.run(main)
