"""
Read pictures of handwritten digits, one digit each, with a trained net.

    python -m experiments.predict out/karpathy2022-mnist/model.pt mine.png

MODEL is a model.pt that repro.py wrote. The args.json beside it says how the
net was made, and which data set it was trained on. A picture may have any size,
dark on light or light on dark, in color or gray, with transparency or without.
It holds one digit, anywhere, and nothing else. The digit is cropped, and
brought to 16x16 as the digits of the net's data set were:

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
import sys
import warnings

import numpy as np
import torch
from PIL import Image, ImageOps

import prepro
import repro
from support import cli, files
from support.cli import fail

WORK = 256              # pixels: larger pictures are shrunk until their longer side has this many
CONTRAST = 0.05         # of the range from black to white: a picture with less contrast is blank
PALE = 0.3              # of the darkest ink: anything paler is taken for the blur at the edge of a stroke
BAR = 40                # characters: the longest bar of the chart

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


def background(v):
    """
    The brightness of the empty page at each pixel of v (h, w): a plane, as photographs are seldom lit evenly. It starts
    as the median at the edge; then the plane is fitted, again and again, to the third of the pixels that are nearest to
    it, as the others may be ink.
    """
    y, x = np.indices(v.shape) / WORK
    A = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    v = v.ravel()
    plane = np.full(v.size, np.median(v.reshape(x.shape)[edge(x.shape)]))
    for _ in range(10):
        far = np.abs(v - plane)
        near = far <= np.quantile(far, 1 / 3)
        if not far[near].any():         # a drawing, whose background is a single gray: nothing to fit
            break
        plane = A @ np.linalg.lstsq(A[near], v[near], rcond=None)[0]
    return plane.reshape(x.shape)


def edge(shape):
    """A mask of this shape (h, w), True at the edge."""
    mask = np.ones(shape, bool)
    mask[1:-1, 1:-1] = False
    return mask


def ink(v):
    """
    Ink (h, w), from brightness v (h, w): how far each pixel is from the background, 1 for the farthest. Ink is darker
    or lighter than the background, whichever goes farther. Raises Unreadable if the picture is blank.
    """
    v = v - background(v)
    v = v if v.max() > -v.min() else -v
    # The camera's noise, three standard deviations of it, is not ink. Most pixels are background, and a quarter of
    # Gaussian noise lies within 0.32 standard deviations. A drawing has no noise.
    noise = 3 * np.quantile(np.abs(v), 0.25) / 0.32
    if not v.max() - noise > CONTRAST:              # true for NaN as well
        raise Unreadable('the picture is blank')
    return np.clip((v - noise) / (v.max() - noise), 0, 1).astype(np.float32)


def opened(path):
    """The picture in a file, as ink (h, w). Raises Unreadable."""
    if os.path.exists(path) and not os.path.isfile(path):                # a pipe would be waited for
        raise Unreadable('it is not a file')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path) as image:
                turned = ImageOps.exif_transpose(image)                  # phones leave turning to whoever shows it
                if turned.mode == 'I' and image.format == 'TIFF' and image.tag_v2.get(339, (1,)) == (1,):
                    # tag 339, SampleFormat, is 1: unsigned integers, which Pillow takes for signed
                    turned = Image.fromarray(np.asarray(turned).view(np.uint32).astype(np.float32))
                return ink(gray(turned))
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
    """(net, data set's name) of the run whose model.pt is at path. Ends the script if its files do not fit together."""
    state, args = files.load_model(path)
    try:
        net = repro.build(args['settings'], seed=0)
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


def sheet(X):
    """X (n, 1, 16, 16) as the bytes of a PNG file: the digits side by side, dark on light, each pixel 8x8."""
    row = np.concatenate([np.pad(x[0], 1, constant_values=-1) for x in X.numpy()], 1)
    f = io.BytesIO()
    Image.fromarray(np.round(127.5 * (1 - row)).astype(np.uint8).repeat(8, 0).repeat(8, 1)).save(f, 'PNG')
    return f.getvalue()


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('model', metavar='MODEL', type=cli.path, help='a model.pt that repro.py wrote')
    parser.add_argument('images', nargs='+', metavar='IMAGE', type=cli.path, help='pictures, one digit each')
    parser.add_argument('--save', metavar='FILE.png', type=cli.path,
                        help='write what the net saw, the pictures side by side')
    args = parser.parse_args()
    if args.save in args.images:
        parser.error(f'--save: {args.save} is one of the pictures to read')

    torch.set_num_threads(1)
    net, dataset = load(args.model)
    folder = files.digits_path(dataset, '')
    least = None
    if os.path.exists(folder):
        least = threshold(net, *files.load_digits(dataset)['test'])
    else:
        cli.warn(f'nothing is rejected, as the threshold needs the test digits in {folder}, which prepro.py makes')
    seen = []
    for path in args.images:
        try:
            X = normalized(opened(path), dataset)
        except Unreadable as e:
            cli.warn(f'{path}: {e}')
            continue
        seen.append(X)
        print('\n'.join([path, *answer(net, repro.outputs(net, X)[0], least), '']), flush=True)
    if args.save and seen:
        files.write_file(args.save, sheet(torch.cat(seen)))
        print(f'{args.save}: what the net saw')
    if len(seen) < len(args.images):
        sys.exit(1)


if __name__ == '__main__':
    cli.run(main)
