"""
Read pictures of handwritten digits, one digit each, with a trained net.

    python -m experiments.predict out/karpathy2022-mnist mine.png

RUN is a folder that repro.py or modern.py wrote, or its model.pt. A picture may
have any size, dark on light or light on dark. It holds one digit, anywhere;
shadows, lines, specks, a box, or the table's edge are left out, as far as they
do not touch it. It is brought to 16x16 as the digits of the net's data set were:

mnist, mnist60k, mnist-seedN    scaled to fit a 20x20 box, its center of mass
                                moved to the middle of 28x28 pixels, and these
                                resized to 16x16
usps                            sheared until upright, scaled to fit 16x16, and
                                centered

The ten outputs are shown as bars; | marks the target of the right class. A
digit is rejected if the margin between the two most active outputs is too
small: below the least that leaves 1% error on the net's test digits.
"""
import io
import math
import os
import re
import sys

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage

if not __package__:                     # python experiments/predict.py, without -m
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
import modern
import prepro
import repro
from support import cli, files
from support.cli import fail

WORK = 256              # pixels: the longer side of a picture; of larger ones each pixel is the mean of several
CONTRAST = 0.05         # of the range from black to white: a picture with less contrast is blank
PALE = 0.3              # of the darkest ink: anything paler is taken for the blur at the edge of a stroke
THICK = 0.4             # of the picture's longer side: nothing that is as thick in both directions is ink
NEAR = 0.2              # of the digit's size: what is farther from its largest part does not belong to it
BAR = 40                # characters: the longest bar of the chart
TILE = 160              # pixels: the side of a digit on the sheet that --save writes

# How digits are brought to 16x16, in pixels: box, which the longer side fills; step, of which both sides are multiples;
# page, the side of the square in which the box is placed. experiments/page.html uses WORK, CONTRAST, PALE and WAYS too.
WAYS = {'mnist': {'box': 20, 'step': 1, 'page': 28},
        'usps': {'box': 16, 'step': 2, 'page': 16}}


class Unreadable(Exception):
    """A picture that no digit can be read from. Its message says why."""


# ---------------------------------------------------------------------------------------------------------------------
# from a file to brightness (h, w), 0 black to 1 white

def gray(image):
    """
    A Pillow image of any mode as float32 (h, w), its longer side at most WORK. What is transparent is laid on white
    paper, or on black where nothing would show on white, as with white ink.
    """
    scale = min(1, WORK / max(image.size))
    size = [max(1, round(n * scale)) for n in image.size]
    if image.mode in ('I', 'F') or image.mode.startswith('I;'):          # more than 8 bits, which convert() would clip
        v = np.asarray(image).astype(np.float32)
        v = v / (np.abs(v).max() or 1)  # no file says how many of its bits are in use
        v = v - v.min()
        v = v / v.max() if v.max() > CONTRAST else v
        return np.asarray(Image.fromarray(v).resize(size, Image.Resampling.BOX))
    transparent = image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info
    image = image.convert('RGBA' if transparent else 'RGB').convert('RGBA').resize(size, Image.Resampling.BOX)
    on_white, on_black = (np.asarray(Image.alpha_composite(Image.new('RGBA', size, paper), image).convert('L'),
                                     np.float32) / 255 for paper in ('white', 'black'))
    return on_white if np.ptp(on_white) > CONTRAST else on_black


def opened(path):
    """The picture in a file, as brightness (h, w). Raises Unreadable."""
    try:
        with open(path, 'rb') as f:
            heic = re.match(b'....ftyp(hei|hev|mif1|msf1)', f.read(12), re.DOTALL)
        with Image.open(path) as image:
            return gray(ImageOps.exif_transpose(image))                  # phones leave turning to whoever shows it
    except Exception as e:              # Pillow's readers each have their own errors for a file that is not theirs
        reason = e.strerror if isinstance(e, OSError) and e.strerror else (
            'it is HEIC, as phones write; save it as JPEG or PNG' if heic else 'it is no picture, or a damaged one')
    raise Unreadable(f'cannot be read: {reason}')


# ---------------------------------------------------------------------------------------------------------------------
# from brightness to the digit's ink: (h, w) in [0, 1], 0 where there is none

def ink(v):
    """
    Dark ink on a lighter page of brightness v (h, w): the share of the page's light that it takes, 1 for the most; or
    None if there is none. The page is a closing of v: what is too narrow for a square of THICK is filled with what
    surrounds it, and all else, gradients of light and a shadow's edge too, stays as it is.
    """
    page = ndimage.grey_closing(ndimage.median_filter(v, 3), [max(3, round(THICK * max(v.shape)))] * 2)
    dark = page - v
    low, middle = np.quantile(dark, (0.05, 0.25))                        # the camera's noise, as most pixels are page
    dark = np.maximum(dark - (middle + 4 * (middle - low)), 0)
    if not dark.max() > CONTRAST:                                        # true for NaN as well
        return None
    share = dark / np.maximum(page, CONTRAST)
    return (share / share.max()).astype(np.float32)


def taken(ink, least):
    """
    Which of the connected parts of ink above `least` are the digit: (a mask (h, w); the mass and the size of the main
    part; how far it is from the edge of the picture; whether something large is left out).
    """
    labels, n = ndimage.label(ink > least, np.ones((3, 3)))
    top, bottom, left, right = np.array([[y.start, y.stop, x.start, x.stop] for y, x in ndimage.find_objects(labels)]).T
    mass, size = ndimage.sum_labels(ink, labels, range(1, n + 1)), np.maximum(bottom - top, right - left)
    room = np.min([top, left, ink.shape[0] - bottom, ink.shape[1] - right], 0)
    side = np.max([np.bincount(row, minlength=n + 1)[1:] / row.size      # the share of a side along which it lies
                   for row in (labels[0], labels[-1], labels[:, 0], labels[:, -1])], 0)
    line = right - left > 5 * (bottom - top)
    box = ((top[:, None] < top) & (bottom[:, None] > bottom) & (left[:, None] < left) & (right[:, None] > right)
           & (size > size[:, None] / 3) & (mass > mass[:, None] / 20)).any(1)        # around what may be a digit
    main = np.argmax(mass * (1/3)**(room == 0) * (1/50)**(side > 0.5) * (1/4)**line * (1/20)**box)
    gap = np.max([top - bottom[main], top[main] - bottom, left - right[main], left[main] - right], 0)
    digit = ((gap < NEAR * size[main]) & (mass > mass[main] / 50) & ~box & ~(line & (top >= bottom[main]))
             & ((room > 0) | (room[main] == 0) & (side <= 0.5)))
    digit[main] = True
    left_out = ~digit & ((size > size[main] / 2) | (mass > mass[main] / 4))
    return np.isin(labels, 1 + np.flatnonzero(digit)), mass[main], size[main], room[main], left_out.any()


def digit(v):
    """
    The digit in a picture of brightness v (h, w): (its ink (h, w), remarks). Of dark ink and of light it is what is
    larger, the more so the more the picture's extremes lie on that side. Raises Unreadable.
    """
    local = v - ndimage.uniform_filter(v, max(3, max(v.shape) // 2))
    skewness = (local**3).mean() / max(local.std(), 1e-6)**3
    choices = []
    for all_ink, skew in (ink(v), -skewness), (ink(1 - v), skewness):
        if all_ink is None:
            continue
        first, *others = [taken(all_ink, least) for least in (PALE, 0.5, 0.7)]
        # what touches the edge may be connected with it by paler lines or a shadow
        mask, _, size, room, left_out = next((part for part in others if first[3] == 0 and part[1] > first[1] / 3
                                              and part[3] > 0.05 * max(v.shape)), first)
        other = ndimage.binary_dilation((all_ink > PALE) & ~mask, np.ones((3, 3))) & ~mask
        near = ndimage.binary_dilation(mask, np.ones((3, 3)), 2) & ~other            # the blur at the edge of a stroke
        remarks = (['  the digit touches the edge of the picture'] if room == 0 else []) + (
            ['  something large beside the digit was left out'] if left_out else [])
        choices.append((size * math.exp(skew), np.where(near, all_ink, 0), remarks))
    if not choices:
        raise Unreadable('the picture is blank')
    return max(choices, key=lambda choice: choice[0])[1:]


# ---------------------------------------------------------------------------------------------------------------------
# from ink to what the net sees

def cropped(ink):
    """The part of ink (h, w) that has a digit in it."""
    ys, xs = np.nonzero(ink > PALE * ink.max())
    return ink[ys.min():ys.max() + 1, xs.min():xs.max() + 1]


def deslanted(ink):
    """Ink (h, w) sheared until x and y, weighted by it, are uncorrelated, as they are in each digit of USPS."""
    center = ndimage.center_of_mass(ink)
    y, x = (i - c for i, c in zip(np.indices(ink.shape), center))
    slant = np.clip((x * y * ink).sum() / max((y * y * ink).sum(), 1), -1, 1)    # how far each row is right of the last
    room = int(np.ceil(abs(slant) * len(ink)))
    return ndimage.affine_transform(np.pad(ink, ((0, 0), (room, room))), [[1, 0], [slant, 1]], [0, -slant * center[0]],
                                    order=1)


def way(dataset):
    """The key in WAYS of how a data set's digits were brought to 16x16."""
    return 'usps' if dataset == 'usps' else 'mnist'


def normalized(ink, dataset):
    """Ink (h, w) as a digit of the data set: X (1, 1, 16, 16) in [-1, 1], as prepro.py would make it."""
    ink = cropped(ink)
    if dataset == 'usps':
        ink = cropped(deslanted(ink))
    box, step, side = (WAYS[way(dataset)][name] for name in ('box', 'step', 'page'))
    scale = box / max(ink.shape)
    size = [step * max(1, round(n * scale / step)) for n in ink.shape]
    ink = np.asarray(Image.fromarray(ink).resize(size[::-1], Image.Resampling.BILINEAR))
    ink = ink / ink.max()               # shrinking makes thin lines pale
    center = [n / 2 for n in size] if dataset == 'usps' else ndimage.center_of_mass(ink)
    top, left = (min(max(round(side / 2 - c), 0), side - n) for c, n in zip(center, size))
    page = np.zeros((side, side), np.float32)
    page[top:top + size[0], left:left + size[1]] = ink
    return prepro.tensors(np.round(255 * page).astype(np.uint8)[None], np.zeros(1))[0]


# ---------------------------------------------------------------------------------------------------------------------
# the net and its answer

def load(path):
    """(net, data set's name, args.json) of a run, a folder or model.pt. Ends the script if its files do not fit."""
    path = os.path.join(path, 'model.pt') if os.path.isdir(path) else path
    state, args = files.load_model(path)
    try:
        if args.keys() == {'learning_rate', 'output_dir'}:               # as in 2022, modern.py's 3e-4
            if args['learning_rate'] < 0.001:
                fail(f'{path} is the net of the modern.py of 2022, which is not here; to train a net: python repro.py')
            args = dict(recipe='karpathy2022', dataset='mnist', seed=1337, settings=repro.RECIPES['karpathy2022'])
        net = (modern.build(modern.Settings(**args['settings']), seed=0) if 'rung' in args else
               repro.build(args['settings'], seed=0))
        net.load_state_dict(state)
        return net, files.dataset(args['dataset']), args
    except Exception:                   # settings may be missing, unknown, of another type, or another net's
        fail(f'{path} does not hold the net that the args.json beside it describes, or one of the two is damaged; '
             'to train a net: python repro.py')


def outputs(net, X):
    """A net's outputs (n, 10), where they are logits as probabilities."""
    out = repro.outputs(net, X)
    return out.softmax(1) if isinstance(net, modern.Net) else out


def threshold(net, X, Y):
    """The least margin with which at most 1% of the digits X (n, 1, 16, 16), Y (n, 10) that have it are misread."""
    _, error, margin = repro.rejection_curve(outputs(net, X), Y.argmax(1))
    return float(margin[error <= 1].min(initial=math.inf))


def answer(net, out, least):
    """A bar chart of the outputs out (10,), and a verdict: lines of text. With least None, nothing is rejected."""
    low, high, level = (0, 1, 1) if isinstance(net, modern.Net) else (-net.A, net.A, net.level)

    *lengths, target = (round((min(max(y, low), high) - low) / (high - low) * BAR) for y in (*out.tolist(), level))
    bars = [f'{"#" * length:{BAR}}' for length in lengths]
    chart = [f'  {c}  {bars[c][:target]}|{bars[c][target:]} {out[c]:+.2f}' for c in range(10)]
    (first, second), (a, b) = (t.tolist() for t in out.topk(2))
    verdict, limit = 'answer', ''
    if least is not None:
        verdict = 'rejected' if first - second < least else 'answer'
        limit = f'; rejected below {least:.2f}' if least < math.inf else '; no margin leaves 1% error'
    return [*chart, f'  {verdict}: {a} (margin over {b}: {first - second:.2f}{limit})']


def column(v, ink, X):
    """A picture (h, w), what was taken for the digit in red, above what the net saw, X (1, 1, 16, 16): uint8."""
    picture = np.stack([np.maximum(v, ink), v * (1 - ink), v * (1 - ink)], -1)
    tiles = [ImageOps.pad(Image.fromarray(np.round(255 * a).astype(np.uint8)), (TILE, TILE), 0, 'lightgray')
             for a in (picture, ((1 - X[0, 0].numpy()) / 2)[..., None].repeat(3, 2))]
    return np.concatenate([np.pad(tile, ((1, 1), (1, 1), (0, 0)), constant_values=128) for tile in tiles])


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('model', metavar='RUN', type=cli.path, help='the folder of a run, or its model.pt')
    parser.add_argument('images', nargs='+', metavar='IMAGE', type=cli.path, help='pictures, one digit each')
    parser.add_argument('--save', metavar='FILE.png', type=cli.path, help='write the pictures side by side, what was '
                        'taken for the digit in red, and below them what the net saw')
    args = parser.parse_args()
    if args.save and os.path.realpath(args.save) in map(os.path.realpath, args.images):
        parser.error(f'--save: {args.save} is one of the pictures to read')

    torch.set_num_threads(1)
    Image.MAX_IMAGE_PIXELS = None       # a phone's panorama is large
    net, dataset, _ = load(args.model)
    folder = files.digits_path(dataset, '')
    least = threshold(net, *files.load_digits(dataset)['test']) if os.path.exists(folder) else None
    if least is None:
        cli.warn(f'nothing is rejected, as the threshold needs the test digits in {folder}, which prepro.py makes')
    columns = []
    for path in args.images:
        try:
            ink, remarks = digit(v := opened(path))
        except Unreadable as e:
            cli.warn(f'{path}: {e}')
            continue
        X = normalized(ink, dataset)
        print('\n'.join([path, *answer(net, outputs(net, X)[0], least), *remarks, '']), flush=True)
        columns.append(column(v, ink, X))
    if args.save and columns:
        f = io.BytesIO()
        Image.fromarray(np.concatenate(columns, 1)).save(f, 'PNG')
        files.write_file(args.save, f.getvalue())
        print(f'{args.save}: what was taken for the digit, and what the net saw')
    if len(columns) < len(args.images):
        sys.exit(1)


if __name__ == '__main__':
    cli.run(main)
