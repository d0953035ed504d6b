"""
How well predict.py reads pictures. Needs data/mnist and data/usps, as prepro.py
makes them.

    python -m experiments.reading [--seeds 0-4]

Nets of the recipe `karpathy2022`, trained on MNIST and on USPS, are shown pictures
of

own      the test digits of the data set that they were trained on
other    the test digits of the other data set: MNIST's at 28x28, USPS's at
         16x16 with a margin
fonts    digits of 20 fonts that come with matplotlib, in three sizes, dark on
         light and light on dark, off-center

and synthetic photographs of 200 of MNIST's test digits, 800x600 with noise, of
each kind in SCENES: in uneven light, with shadows, lines, specks, and so on.

It prints the percentages that are wrong, that are rejected, and that are wrong
and not rejected.
"""
import functools
import itertools
import os

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import prepro
import repro
from experiments import compare, predict
from experiments.markdown import Missing, pm, results, table
from support import cli, files, runs

FONTS = [f'DejaVu{family}{style}' for family, italic in (('Sans', 'Oblique'), ('SansMono', 'Oblique'),
                                                         ('Serif', 'Italic'))
         for style in ('', '-Bold', f'-{italic}', f'-Bold{italic}')]
FONTS += ['STIXGeneral', 'STIXGeneralBol', 'STIXGeneralItalic', 'STIXGeneralBolIta', 'cmr10', 'cmb10', 'cmss10',
          'cmtt10']
SIZES = (24, 80, 300)
RECIPE = repro.RECIPES['karpathy2022']
PHOTOGRAPHS = 200                       # of each kind

KEY = ('dataset', 'settings', 'pictures', 'seed')
VALUES = ('n', 'error', 'rejected', 'error_kept')
WORDS = KEY[:-1]


def fonts(rng):
    """[(picture, label)] of every digit in every font, size and polarity, somewhere on its page."""
    import matplotlib                   # here: report.py, which reads the rows, draws nothing
    folder = os.path.join(matplotlib.get_data_path(), 'fonts', 'ttf')
    pictures = []
    for name, size, c, (ink, paper) in itertools.product(FONTS, SIZES, range(10), ((0, 255), (255, 0))):
        page = Image.new('L', (2 * size, 2 * size), paper)
        font = ImageFont.truetype(os.path.join(folder, f'{name}.ttf'), size)
        ImageDraw.Draw(page).text(tuple(rng.uniform(0.1, 0.9, 2) * size), str(c), ink, font)
        pictures.append((page, c))
    return pictures


# ---------------------------------------------------------------------------------------------------------------------
# synthetic photographs

HEIGHT, WIDTH = 600, 800
ROW, COLUMN = np.indices((HEIGHT, WIDTH), dtype=np.float32)
SCENES = {              # {kind: in words}
    'clean': 'clean', 'gradient': 'light from one side', 'vignette': 'vignette', 'noise': 'noise',
    'ruled': 'ruled paper', 'squared': 'squared paper', 'fold': 'a fold', 'chalk': 'chalk on a board',
    'small': 'small', 'off': 'off center', 'speck': 'a speck of 3x3', 'specks': '12 specks',
    'shadow80': 'soft shadow, x 0.8', 'shadow75': 'soft shadow, x 0.75', 'pencil': 'pencil',
    'pencil90': 'pencil, soft shadow, x 0.9', 'hard': 'a shadow with an edge', 'table': "the table's edge",
    'strip': 'a dark strip along one side', 'finger': 'a finger', 'box': 'a box around the digit',
    'underline': 'underlined'}
DIGITS = {'own': 'its own test digits', 'other': "the other set's test digits", 'fonts': 'digits of 20 fonts'}
KINDS = (*DIGITS, *SCENES)


def photograph(picture, kind, rng):
    """A digit's picture, light on dark, as a photograph of a kind in SCENES."""
    low, high = {'small': (90, 130), 'off': (220, 300)}.get(kind, (360, 480))
    size, around = rng.randint(low, high), 1 if kind in ('small', 'off') else 0.25
    top, left = (int((n - size) * (0.5 + around * rng.uniform(-0.5, 0.5))) for n in (HEIGHT, WIDTH))
    # ink is from 0 to 1; depth is what it takes of the light of the page, here pen, pencil or chalk
    ink, page = np.zeros((HEIGHT, WIDTH)), np.full((HEIGHT, WIDTH), 0.2 if kind == 'chalk' else 0.85)
    depth = {'chalk': -3, 'pencil': 0.3, 'pencil90': 0.3}.get(kind, 0.75)
    ink[top:top + size, left:left + size] = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)) / 255
    ys, xs = np.nonzero(ink > 0.3)
    top, bottom, left, right = ys.min(), ys.max(), xs.min(), xs.max()    # of the digit

    def across(angle):
        """How far each point of the page is along a direction."""
        return np.cos(angle) * (COLUMN - WIDTH / 2) + np.sin(angle) * (ROW - HEIGHT / 2)

    def side(low, high):
        """A mask of the page beyond a straight edge in any direction, between the shares low and high of the page."""
        along = across(rng.uniform(0, 2 * np.pi))
        return along < along.min() + rng.uniform(low, high) * np.ptp(along)

    def stroke(points, width):
        """Add a pen's line through points (x, y)."""
        image = Image.new('L', (WIDTH, HEIGHT))
        ImageDraw.Draw(image).line(points, fill=255, width=int(width))
        np.maximum(ink, np.asarray(image) / 255, out=ink)

    match kind:
        case 'gradient':
            a, b = rng.uniform(-0.4, 0.4, 2)
            page *= 0.8 + a * (COLUMN / WIDTH - 0.5) + b * (ROW / HEIGHT - 0.5)
        case 'vignette':
            page *= 1 - 0.8 * ((COLUMN / WIDTH - 0.5)**2 + (ROW / HEIGHT - 0.5)**2)
        case 'noise':
            page += rng.normal(0, 0.05, page.shape)
        case 'ruled':
            page[ROW % rng.randint(30, 60) < 2] *= 0.8
        case 'squared':
            step = rng.randint(40, 80)
            page[(ROW % step < 2) | (COLUMN % step < 2)] *= 0.75
        case 'fold':
            d = across(rng.uniform(0, np.pi)) - rng.uniform(-150, 150)
            page *= np.where(d > 0, 0.93, 1) * (1 - 0.3 * np.exp(-(d / 3)**2))
        case 'speck':
            y, x = rng.randint(HEIGHT - 3), rng.randint(WIDTH - 3)
            ink[y:y + 3, x:x + 3] = 1
        case 'specks':
            for size in rng.randint(2, 8, 12):
                y, x = rng.randint(HEIGHT - size), rng.randint(WIDTH - size)
                ink[y:y + size, x:x + size] = 1
        case 'shadow80' | 'shadow75' | 'pencil90':                       # over a corner
            far = np.hypot(COLUMN - rng.choice([0, WIDTH]), ROW - rng.choice([0, HEIGHT]))
            light = {'shadow80': 0.8, 'shadow75': 0.75, 'pencil90': 0.9}[kind]
            page *= 1 - (1 - light) / (1 + np.exp((far - rng.uniform(250, 500)) / rng.uniform(15, 50)))
        case 'hard':
            page[side(0.15, 0.6)] *= 0.6
        case 'table':
            beyond = side(0.08, 0.22)
            page[beyond], ink[beyond] = rng.uniform(0.2, 0.5), 0
        case 'strip':                   # 2% of the picture
            edge = (page, page.T)[rng.randint(2)][::rng.choice([-1, 1])]
            edge[:round(0.02 * len(edge))] *= 0.25
        case 'finger':                  # from below, not as far as the digit
            x, half = rng.uniform(0, WIDTH), rng.uniform(35, 70)
            length = min(rng.uniform(60, 130), HEIGHT - bottom - half - 10)
            below = np.hypot(COLUMN - x, np.minimum(ROW - (HEIGHT - length), 0)) < half
            page[below], ink[below] = rng.uniform(0.3, 0.6), 0
        case 'box':
            gap = rng.uniform(25, 60)
            left, right = max(left - gap, 8), min(right + gap, WIDTH - 8)
            top, bottom = max(top - gap, 8), min(bottom + gap, HEIGHT - 8)
            stroke([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)], rng.uniform(3, 9))
        case 'underline':
            y, slope = min(bottom + rng.uniform(15, 60), HEIGHT - 20), rng.uniform(-10, 10)
            stroke([(left - 40, y - slope), (right + 40, y + slope)], rng.uniform(4, 12))
    v = page * (1 - depth * ink) + rng.normal(0, 0.015, page.shape)
    return Image.fromarray(np.round(255 * np.clip(v, 0, 1)).astype(np.uint8))


# ---------------------------------------------------------------------------------------------------------------------
# the runs, and their tables

@functools.cache
def digits_in(kind):
    """([ink of the digit that predict.py finds], labels) in each picture of a kind, or of a data set's test digits."""
    rng = np.random.RandomState(KINDS.index(kind) if kind in KINDS else 0)
    if kind == 'fonts':
        pictures, labels = zip(*fonts(rng))
    elif kind == 'usps':
        X, Y = files.load_digits('usps')['test']
        images, labels = np.round((X[:, 0].numpy() + 1) * 127.5).astype(np.uint8), Y.argmax(1)
        pictures = [Image.fromarray(np.pad(image, 4)) for image in images]
    else:
        images, labels = prepro.embedded()['test']
        chosen = rng.permutation(len(images))[:PHOTOGRAPHS] if kind in SCENES else range(len(images))
        pictures, labels = [Image.fromarray(images[i]) for i in chosen], labels[chosen]
        if kind in SCENES:
            pictures = [photograph(picture, kind, rng) for picture in pictures]
    return [predict.digit(predict.gray(picture))[0] for picture in pictures], torch.as_tensor(labels)


@functools.cache
def trained(dataset, seed):
    """(a net, the threshold below which it rejects)."""
    train, test = files.load_digits(dataset).values()
    net, _ = compare.trained(RECIPE, *train, seed)
    return net, predict.threshold(net, *test)


def one_run(dataset, settings, pictures, seed):
    """How a net reads a kind of picture: the values of its row, shares in percent."""
    kind = {'own': dataset, 'other': 'usps' if dataset == 'mnist' else 'mnist'}.get(pictures, pictures)
    (inks, labels), (net, least) = digits_in(kind), trained(dataset, seed)
    out = repro.outputs(net, torch.cat([predict.normalized(ink, dataset) for ink in inks]))
    kept, wrong = -out.topk(2).values.diff()[:, 0] >= least, out.argmax(1) != labels
    return {'n': len(out), 'error': 100 * float(wrong.float().mean()), 'rejected': 100 * float((~kept).float().mean()),
            'error_kept': 100 * float(wrong[kept].float().mean())}


def read(path):
    """The rows of a CSV file of these runs, of the recipe as it is now."""
    return [row for row in runs.read_rows(path, KEY, VALUES, WORDS) if row['settings'] == runs.fingerprint(RECIPE)]


def tables():
    return {'pictures': shares_tables(read(results('predict.csv')))}


def shares_tables(rows):
    """The tables of digits and of photographs: for each kind of picture, MNIST's nets and USPS's."""
    head = ['n', *(f'{dataset}: {what}' for dataset in ('MNIST', 'USPS')
                   for what in ('wrong, %', 'rejected, %', 'wrong and accepted, %'))]
    n, tables = {row['pictures']: row['n'] for row in rows}, []
    for title, kinds in ('pictures', DIGITS), ('photographs', SCENES):
        lines = []
        for kind, words in kinds.items():
            line = [words, n.get(kind)]
            for dataset in 'mnist', 'usps':
                found = [row for row in rows if (row['dataset'], row['pictures']) == (dataset, kind)]
                if not found:
                    raise Missing(f'{kind} pictures of {dataset}')
                shares = [(row['error'], row['rejected'], row['error_kept'] * (1 - row['rejected'] / 100))
                          for row in found]
                line += [pm(runs.mean_sd(column)[:2], 1) for column in zip(*shares)]
            lines.append(line)
        tables.append(table([title, *head], lines))
    return '\n\n'.join(tables)


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--seeds', type=cli.numbers, default='0-4', metavar='A-B', help='default: 0-4')
    runs.add_arguments(parser, os.path.join('out', 'predict.csv'))
    args = parser.parse_args()
    for dataset in 'mnist', 'usps':
        files.load_digits(dataset)      # ends here if it is not there
    jobs = [dict(zip(KEY, (dataset, runs.fingerprint(RECIPE), kind, seed)))
            for kind in KINDS for dataset in ('mnist', 'usps') for seed in args.seeds]
    print(shares_tables(runs.run_all(one_run, jobs, args.out, KEY, VALUES, WORDS, workers=args.jobs,
                                     cluster=args.cluster)))


if __name__ == '__main__':
    cli.run(main)
