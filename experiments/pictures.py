"""
How well predict.py reads pictures, with data/mnist and data/usps as prepro.py
makes them.

    python -m experiments.pictures [--seeds 0-4] [--out results/predict.csv]

Nets of the recipe `reference`, as `python repro.py --dataset mnist` and usps
train them, shown pictures of

own         the test digits of the data set that they were trained on
other       the test digits of the other data set: MNIST's at 28x28, USPS's at
            16x16 with a margin
photograph  500 of the other's, enlarged to 300x300, dark on light, lit from
            one side, with noise
fonts       digits of 20 fonts that come with matplotlib, in three sizes, dark
            on light and light on dark, off-center

and the percentages that are wrong, that are rejected, and that are wrong among
those that are not.
"""
import csv
import io
import os
import statistics

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import prepro
import repro
from experiments import predict
from support import cli, files

FONTS = [f'DejaVu{family}{style}' for family, italic in (('Sans', 'Oblique'), ('SansMono', 'Oblique'),
                                                         ('Serif', 'Italic'))
         for style in ('', '-Bold', f'-{italic}', f'-Bold{italic}')]
FONTS += ['STIXGeneral', 'STIXGeneralBol', 'STIXGeneralItalic', 'STIXGeneralBolIta']
FONTS += ['cmr10', 'cmb10', 'cmss10', 'cmtt10']
SIZES = (24, 80, 300)
COLUMNS = ('dataset', 'pictures', 'seed', 'n', 'error', 'rejected', 'error_kept')


def test_digits(dataset, splits):
    """[(picture, label)] of a data set's test digits, light on dark as they are."""
    if dataset == 'mnist':
        images, labels = prepro.embedded()['test']
    else:
        X, Y = splits['test']
        images, labels = np.round((X[:, 0].numpy() + 1) * 127.5).astype(np.uint8), Y.argmax(1).numpy()
        images = np.pad(images, ((0, 0), (4, 4), (4, 4)))
    return [(Image.fromarray(image), int(label)) for image, label in zip(images, labels)]


def photograph(picture, rng):
    """The picture, enlarged, dark on light, with a light that falls off by up to a third, and noise."""
    v = np.asarray(picture.resize((300, 300), Image.Resampling.BICUBIC), np.float32) / 255
    y, x = np.indices(v.shape) / 300
    a, b = rng.uniform(-0.25, 0.25, 2)
    page = 0.75 + a * (x - .5) + b * (y - .5)
    v = page * (1 - 0.75 * v) + rng.normal(0, 0.02, v.shape)
    return Image.fromarray(np.round(255 * np.clip(v, 0, 1)).astype(np.uint8))


def fonts(rng):
    """[(picture, label)] of every digit in every font, size and polarity, somewhere on its page."""
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


def seen(pictures, dataset):
    """(X, labels) of pictures as predict.py shows them to a net trained on dataset."""
    X = [predict.normalized(predict.ink(predict.gray(picture)), dataset)
         for picture, _ in cli.progress(pictures, dataset, unit='picture', leave=False)]
    return torch.cat(X), torch.tensor([label for _, label in pictures])


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--seeds', type=cli.seeds, default='0-4', metavar='A-B', help='default: 0-4')
    parser.add_argument('--out', type=cli.path, metavar='CSV',
                        help='write a row for each net and kind of picture there')
    args = parser.parse_args()
    torch.set_num_threads(1)
    digits = {dataset: files.load_digits(dataset) for dataset in ('mnist', 'usps')}
    tests = {dataset: test_digits(dataset, splits) for dataset, splits in digits.items()}
    rows = []
    print(f'{"trained on":12}{"pictures":12}{"n":>6}{"wrong":>16}{"rejected":>16}{"wrong, of kept":>18}')
    for dataset, other in (('mnist', 'usps'), ('usps', 'mnist')):
        rng = np.random.RandomState(0)
        kinds = {'own': tests[dataset], 'other': tests[other],
                 'photograph': [(photograph(picture, rng), label) for picture, label in tests[other][:500]],
                 'fonts': fonts(rng)}
        kinds = {kind: seen(pictures, dataset) for kind, pictures in kinds.items()}
        nets = []
        for seed in args.seeds:
            net, training = repro.build(repro.RECIPES['reference'], seed)
            for _ in repro.train(net, *digits[dataset]['train'], **training):
                pass
            nets.append((seed, net, predict.threshold(net, *digits[dataset]['test'])))
        for kind, (X, labels) in kinds.items():
            for seed, net, least in nets:
                out = repro.outputs(net, X)
                top = out.topk(2).values
                kept = top[:, 0] - top[:, 1] >= least
                wrong = out.argmax(1) != labels
                rows.append((dataset, kind, seed, len(X), 100 * float(wrong.float().mean()),
                             100 * float((~kept).float().mean()), 100 * float(wrong[kept].float().mean())))
            columns = zip(*(row[4:] for row in rows[-len(nets):]))
            cells = [f'{statistics.fmean(c):.1f} +- {statistics.stdev(c) if len(nets) > 1 else 0:.1f}%'
                     for c in columns]
            print(f'{dataset:12}{kind:12}{len(X):>6}{cells[0]:>16}{cells[1]:>16}{cells[2]:>18}', flush=True)
    if args.out:
        f = io.StringIO()
        writer = csv.writer(f, lineterminator='\n')
        writer.writerow(COLUMNS)
        writer.writerows([f'{value:.3f}' if isinstance(value, float) else value for value in row] for row in rows)
        files.write_file(args.out, f.getvalue().encode())


if __name__ == '__main__':
    cli.run(main)
