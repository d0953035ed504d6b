"""
Read pictures of handwritten digits, one digit each, with a trained net.

    python -m experiments.predict out/reference-mnist mine.png

RUN is a folder that repro.py wrote, or its model.pt. The args.json in it says
how the net was made, and which data set it was trained on. A picture may have
any size, dark on light or light on dark, in color or gray, with transparency or
without. It holds one digit, anywhere. Shadows, lines, specks, a box, or the
table's edge are left out, as far as they do not touch it. The digit is brought
to 16x16 as the digits of the net's data set were:

mnist, mnist60k, mnist-seedN    scaled to fit a 20x20 box, its center of mass
                                moved to the middle of 28x28 pixels, and these
                                resized to 16x16
usps                            sheared until upright, scaled to fit 16x16, and
                                centered

The ten outputs are shown as bars over the range of the squashing function; |
marks the target of the right class. As in section 5 of the paper, a digit is
rejected if the margin, the difference between the two most active outputs, is
too small. The least margin accepted is the one that leaves 1% error on those
test digits of the net's data set that have it.
"""
import io
import math
import os
import re
import sys
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps
from scipy import ndimage

import prepro
import repro
from support import cli, files
from support.cli import fail

WORK = 256              # pixels: larger pictures are shrunk until their longer side has this many
CONTRAST = 0.05         # of the range from black to white: a picture with less contrast is blank
PALE = 0.3              # of the darkest ink: anything paler is taken for the blur at the edge of a stroke
THICK = 0.4             # of the picture's longer side: nothing that is as thick in both directions is ink
NEAR = 0.25             # of the digit's size: what is farther from its largest part does not belong to it
BAR = 40                # characters: the longest bar of the chart
TILE = 160              # pixels: the side of a digit on the sheet that --save writes
REPRODUCTION = repro.RECIPES['reference']               # the 2022 reproduction's settings

# How digits are brought to 16x16, in pixels: box, which the longer side fills; step, of which both sides are multiples;
# page, the side of the square in which the box is placed. experiments/page.html uses WORK, CONTRAST, PALE and WAYS too.
WAYS = {'mnist': {'box': 20, 'step': 1, 'page': 28},
        'usps': {'box': 16, 'step': 2, 'page': 16}}


class Unreadable(Exception):
    """A picture that no digit can be read from. Its message says why."""


# ---------------------------------------------------------------------------------------------------------------------
# from a file to ink: (h, w) in [0, 1], 0 the background

def gray(image):
    """
    A Pillow image of any mode as float32 (h, w), 0 black to 1 white, its longer side at most WORK. What is transparent
    is laid on white paper, or on black where nothing would show on white, as with white ink.
    """
    if image.mode in ('I', 'F') or image.mode.startswith('I;'):          # more than 8 bits, which convert() would clip
        return np.asarray(shrunk(Image.fromarray(stretched(np.asarray(image)))))
    transparent = image.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in image.info
    image = shrunk(image.convert('RGBA' if transparent else 'RGB'))
    for color in ('white', 'black'):
        paper = Image.new('RGB', image.size, color)
        paper.paste(image, mask=image.getchannel('A') if transparent else None)
        v = np.asarray(paper.convert('L'), np.float32) / 255
        if not transparent or np.ptp(v) > CONTRAST:
            break
    return v


def stretched(v):
    """
    Pixels v (h, w) as float32, the darkest 0 and the lightest 1, as no file says how many of its bits are in use. A
    blank page stays blank. Raises Unreadable.
    """
    v = v.astype(np.float32)
    if not np.isfinite(v).all():
        raise Unreadable('it has pixels that are not finite')
    v = v / (np.abs(v).max() or 1)      # CONTRAST is of the whole range from 0 to the lightest
    v = v - v.min()
    return v / v.max() if v.max() > CONTRAST else v


def shrunk(image):
    """The image with its longer side at most WORK pixels; each new pixel is the mean of those it replaces."""
    scale = WORK / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(n * scale)) for n in image.size], Image.Resampling.BOX)


def ink(v):
    """
    Dark ink on a lighter page of brightness v (h, w): the share of the page's light that it takes, 1 for the most.

    The page is a closing of v: what is too narrow for a square of THICK is filled up with what surrounds it, and all
    else, gradients of light and a shadow's edge too, stays as it is. Raises Unreadable if the picture is blank.
    """
    page = ndimage.grey_closing(ndimage.median_filter(v, 3), [max(3, round(THICK * max(v.shape)))] * 2)
    dark = page - v
    low, middle = np.quantile(dark, (0.05, 0.25))       # the camera's noise, as most pixels are page
    dark = np.maximum(dark - (middle + 4 * (middle - low)), 0)
    if not dark.max() > CONTRAST:                       # true for NaN as well
        raise Unreadable('the picture is blank')
    share = dark / np.maximum(page, CONTRAST)
    return (share / share.max()).astype(np.float32)


def taken(ink, least):
    """
    Which of the connected parts of ink above `least` are the digit, by size, place and distance: (a mask (h, w); of its
    largest part, the mass and the box (top, bottom, left, right); whether that touches the edge; whether a large part
    is left out).
    """
    labels, n = ndimage.label(ink > least, np.ones((3, 3)))
    top, bottom, left, right = boxes = np.array([[y.start, y.stop, x.start, x.stop]
                                                 for y, x in ndimage.find_objects(labels)]).T
    mass, size = ndimage.sum_labels(ink, labels, range(1, n + 1)), np.maximum(bottom - top, right - left)
    contact = np.max([np.bincount(side, minlength=n + 1)[1:] / side.size     # the largest share of a side it touches
                      for side in (labels[0], labels[-1], labels[:, 0], labels[:, -1])], 0)
    line = right - left > 5 * (bottom - top)
    frame = ((top[:, None] < top) & (bottom[:, None] > bottom) & (left[:, None] < left) & (right[:, None] > right)
             & (size > size[:, None] / 3) & (mass > mass[:, None] / 20)).any(1)      # around what may be a digit
    main = np.argmax(mass / np.where(contact > 0, 3, 1) / np.where(contact > 0.5, 50, 1) / np.where(line, 4, 1)
                     / np.where(frame, 20, 1))
    gap = np.max([top - bottom[main], top[main] - bottom, left - right[main], left[main] - right], 0)
    digit = ((gap < NEAR * size[main]) & (mass > mass[main] / 50) & ~frame & ~(line & (top >= bottom[main]))
             & (contact <= (0.5 if contact[main] else 0)))
    digit[main] = True
    return (np.isin(labels, 1 + np.flatnonzero(digit)), mass[main], boxes[:, main], bool(contact[main] > 0),
            bool((mass[~digit] > mass[main] / 4).any()))


def digit(v):
    """
    The digit in a picture of brightness v (h, w): (its ink (h, w), what there is to say about it). Of dark ink and of
    light, it is what is larger, the more so the more the picture's extremes are on that side. Raises Unreadable.
    """
    local = v - ndimage.uniform_filter(v, max(3, max(v.shape) // 2))
    skewness = (local**3).mean() / max(local.std(), 1e-6)**3
    found = []
    for page, skew in (v, -skewness), (1 - v, skewness):
        try:
            all_ink = ink(page)
        except Unreadable:
            continue
        part = first = taken(all_ink, PALE)
        if part[3]:                     # paler lines or a shadow may connect it to the edge
            for least in 0.5, 0.7:
                part = taken(all_ink, least)
                top, bottom, left, right = part[2]
                inner = min(top, left, v.shape[0] - bottom, v.shape[1] - right) > 0.05 * max(v.shape)
                if inner and part[1] > first[1] / 3:
                    break
            else:
                part = first
        mask, _, (top, bottom, left, right), touches, left_out = part
        others = ndimage.binary_dilation((all_ink > PALE) & ~mask, np.ones((3, 3))) & ~mask
        near = ndimage.binary_dilation(mask, np.ones((3, 3)), 2) & ~others
        remarks = (['the digit touches the edge of the picture'] * touches
                   + ['something large beside the digit was left out'] * left_out)
        found.append((max(bottom - top, right - left) * math.exp(skew), np.where(near, all_ink, 0), remarks))
    if not found:
        raise Unreadable('the picture is blank')
    return max(found, key=lambda each: each[0])[1:]


def opened(path):
    """The picture in a file, as brightness (h, w). Raises Unreadable."""
    if os.path.exists(path) and not os.path.isfile(path):                # a pipe would be waited for
        raise Unreadable('it is not a file')
    try:
        with open(path, 'rb') as f:
            if re.match(b'....ftyp(hei|hev|mif1|msf1)', f.read(12), re.DOTALL):
                raise Unreadable('it is HEIC, as phones write; save it as JPEG or PNG')
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path) as image:
                turned = ImageOps.exif_transpose(image)                  # phones leave turning to whoever shows it
                if turned.mode == 'I' and image.format == 'TIFF' and image.tag_v2.get(339, (1,)) == (1,):
                    # tag 339, SampleFormat, is 1: unsigned integers, which Pillow takes for signed
                    turned = Image.fromarray(np.asarray(turned).view(np.uint32).astype(np.float32))
                return gray(turned)
    except Unreadable:
        raise
    except FileNotFoundError:
        raise Unreadable('there is no such file') from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, MemoryError):
        raise Unreadable(f'the picture is too large: {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels are the most; '
                         'make it smaller') from None
    except Exception as e:              # Pillow's readers each have their own errors for a file that is not theirs
        reason = e.strerror if isinstance(e, OSError) and e.strerror else 'it is no picture, or a damaged one'
        raise Unreadable(f'cannot be read: {reason}') from None


# ---------------------------------------------------------------------------------------------------------------------
# from ink to what the net sees

def cropped(ink):
    """The part of ink (h, w) that has a digit in it."""
    ys, xs = np.nonzero(ink > PALE * ink.max())
    return ink[ys.min():ys.max() + 1, xs.min():xs.max() + 1]


def deslanted(ink):
    """
    Ink (h, w) sheared until it stands upright: until x and y, weighted by the ink, are uncorrelated. They are in each
    digit of USPS, though the paper does not say so.
    """
    h, w = ink.shape
    y, x = np.indices(ink.shape)
    mass = ink.sum()
    y, x = y - (y * ink).sum() / mass, x - (x * ink).sum() / mass
    slant = np.clip((x * y * ink).sum() / max((y * y * ink).sum(), 1), -1, 1)    # how far each row is right of the last
    room = int(np.ceil(abs(slant) * h))
    page = Image.fromarray(np.pad(ink, ((0, 0), (room, room))))
    # Pillow wants to know where a new pixel (x, y) comes from: (x + slant (y - middle), y), in coordinates whose whole
    # numbers are the pixels' corners
    return np.asarray(page.transform(page.size, Image.Transform.AFFINE, (1, slant, slant * (y[0, 0] - .5), 0, 1, 0),
                                     Image.Resampling.BILINEAR))


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
    if dataset == 'usps':
        center = [n / 2 for n in size]
    else:
        mass = ink.sum()
        center = (ink.sum(1) @ np.arange(size[0]) / mass, ink.sum(0) @ np.arange(size[1]) / mass)
    top, left = (min(max(round(side / 2 - c), 0), side - n) for c, n in zip(center, size))
    page = np.zeros((side, side), np.float32)
    page[top:top + size[0], left:left + size[1]] = ink
    return prepro.tensors(np.round(255 * page).astype(np.uint8)[None], np.zeros(1))[0]


# ---------------------------------------------------------------------------------------------------------------------
# the net and its answer

def load(path):
    """
    (net, data set's name) of a run: its folder, or its model.pt. Ends the script if its files do not fit together. The
    2022 reproduction's repro.py writes the same weights, and its modern.py those of another net; its args.json has no
    settings.
    """
    path = os.path.join(path, 'model.pt') if os.path.isdir(path) else path
    state, args = files.load_model(path)
    if args.keys() == {'learning_rate', 'output_dir'}:
        if args['learning_rate'] != REPRODUCTION['rate']:
            fail(f'{path} was trained at a rate other than {REPRODUCTION["rate"]}, so perhaps by the modern.py of 2022, '
                 'whose net is another; to train a net: python repro.py')
        args = {'settings': REPRODUCTION, 'dataset': 'mnist'}
    try:
        net, _ = repro.build(args['settings'], seed=0)
        net.load_state_dict(state)
        usable = all(0 < v < math.inf for v in (net.A, net.S, net.level))
        if not usable or not repro.outputs(net, torch.zeros(1, 1, 16, 16)).isfinite().all():
            raise ValueError
        return net, files.dataset(args['dataset'])
    except Exception:                   # settings may be missing, unknown, of another type, or another net's
        fail(f'{path} does not hold the net that the args.json beside it describes, or one of the two is damaged; '
             'to train a net: python repro.py')


def threshold(net, X, Y):
    """
    The least margin accepted: of the digits X (n, 1, 16, 16), Y (n, 10) with at least this margin, at most 1% are
    misread. Infinity if there is no such margin.
    """
    _, error, margin = repro.rejection_curve(repro.outputs(net, X), Y.argmax(1))
    return float(margin[error <= 1].min(initial=math.inf))


def answer(net, out, least):
    """
    The net's outputs out (10,) as a bar chart and a verdict: lines of text. least is the least margin accepted, or None
    if it is not known; then nothing is rejected.
    """
    def length(y):
        return min(max(0, round((y / net.A + 1) / 2 * BAR)), BAR)
    target = length(net.level)
    bars = [f'{"#" * length(y):{BAR}}' for y in out.tolist()]
    chart = [f'  {c}  {bar[:target]}|{bar[target:]} {y:+.2f}' for c, (bar, y) in enumerate(zip(bars, out.tolist()))]
    (first, second), (a, b) = (t.tolist() for t in out.topk(2))
    margin = f'margin over {b}: {first - second:.2f}'
    if least is None:
        return [*chart, f'  answer: {a} ({margin})']
    verdict = 'rejected' if first - second < least else 'answer'
    limit = f'rejected below {least:.2f}' if least < math.inf else 'no margin leaves 1% error'
    return [*chart, f'  {verdict}: {a} ({margin}; {limit})']


def column(v, ink, X):
    """A picture (h, w), what was taken for the digit in red, above what the net saw, X (1, 1, 16, 16): uint8."""
    picture = np.stack([np.maximum(v, ink), v * (1 - ink), v * (1 - ink)], -1)
    tiles = [Image.new('RGB', (TILE, TILE), 'lightgray') for _ in range(2)]
    for tile, a in zip(tiles, (picture, ((1 - X[0, 0].numpy()) / 2)[..., None].repeat(3, 2))):
        tile.paste(ImageOps.contain(Image.fromarray(np.round(255 * a).astype(np.uint8)), (TILE - 2, TILE - 2),
                                    Image.Resampling.NEAREST))
    return np.concatenate([np.asarray(tile) for tile in tiles])


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('model', metavar='RUN', type=cli.path, help='a folder that repro.py wrote, or its model.pt')
    parser.add_argument('images', nargs='+', metavar='IMAGE', type=cli.path, help='pictures, one digit each')
    parser.add_argument('--save', metavar='FILE.png', type=cli.path, help='write the pictures side by side, what was '
                        'taken for the digit in red, and below them what the net saw')
    args = parser.parse_args()
    if args.save and os.path.realpath(args.save) in map(os.path.realpath, args.images):
        parser.error(f'--save: {args.save} is one of the pictures to read')

    torch.set_num_threads(1)
    net, dataset = load(args.model)
    folder = files.digits_path(dataset, '')
    least = None
    if os.path.exists(folder):
        least = threshold(net, *files.load_digits(dataset)['test'])
    else:
        cli.warn(f'nothing is rejected, as the threshold needs the test digits in {folder}, which prepro.py makes')
    columns = []
    for path in args.images:
        try:
            v = opened(path)
            ink, remarks = digit(v)
        except Unreadable as e:
            cli.warn(f'{path}: {e}')
            continue
        X = normalized(ink, dataset)
        columns.append(column(v, ink, X))
        print('\n'.join([path, *answer(net, repro.outputs(net, X)[0], least), *(f'  note: {r}' for r in remarks), '']),
              flush=True)
    if args.save and columns:
        f = io.BytesIO()
        Image.fromarray(np.concatenate(columns, 1)).save(f, 'PNG')
        files.write_file(args.save, f.getvalue())
        print(f'{args.save}: what was taken for the digit, and what the net saw')
    if len(columns) < len(args.images):
        sys.exit(1)


if __name__ == '__main__':
    cli.run(main)
