"""
What a trained net makes of pictures of digits: yours, on paper or screen, one
digit each.

    python -m experiments.predict out/reference-mnist/model.pt mine.png

MODEL is a model.pt that repro.py wrote; the args.json beside it says how the
net was made, and on which digits it was trained. A picture may be of any size,
dark on light or light on dark, in color or gray, with transparency or without,
the digit anywhere in it, but nothing else. It is brought to 16x16 as those
digits were: cropped, its aspect kept, and placed

mnist, mnist60k, mnist-seedN    in a 20x20 box, that with its center of mass in
                                the middle of 28x28, and this resized to 16x16
usps                            upright, as large as 16x16 allows, in the middle

and the ten outputs are shown over the range of the squashing function; | marks
the target of the digit's class. As in section 5 of the paper, a digit is
rejected if its two most active outputs are too close. The threshold is that
which gives 1% error on the test digits kept, of the net's own data set.
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

WORK = 256              # pixels: a longer side is brought to this before anything is measured
CONTRAST = 0.05         # of the whole range from black to white: with less, a page is blank
PALE = 0.3              # of the darkest ink: paler ink is taken for the blur at the edge of a stroke
BAR = 40                # letters: the longest in the bar chart

# How digits are brought to 16x16: the box that the longer side fills, what both sides are multiples of, and the side of
# the page. experiments/page.html uses them too.
WAYS = {'mnist': {'box': 20, 'step': 1, 'page': 28},
        'usps': {'box': 16, 'step': 2, 'page': 16}}


class Unreadable(Exception):
    """A picture that no digit can be read from; says why."""


# ---------------------------------------------------------------------------------------------------------------------
# from a file to ink: (h, w) in [0, 1], 0 the background

def gray(image):
    """A Pillow image of any mode as float32 (h, w), 0 black to 1 white; what is transparent shows the paper."""
    if image.mode in ('I', 'F') or image.mode.startswith('I;'):          # more than 8 bits, which convert() would clip
        return np.asarray(shrunk(Image.fromarray(stretched(np.asarray(image)))))
    transparent = image.mode in ('RGBA', 'RGBa', 'LA', 'La', 'PA') or 'transparency' in image.info
    image = shrunk(image.convert('RGBA' if transparent else 'RGB'))
    for paper in ('white', 'black'):    # on black where white shows nothing: white ink
        sheet = Image.new('RGB', image.size, paper)
        sheet.paste(image, mask=image.getchannel('A') if transparent else None)
        v = np.asarray(sheet.convert('L'), np.float32) / 255
        if not transparent or np.ptp(v) > CONTRAST:
            break
    return v


def stretched(v):
    """Pixels v (h, w) as float32 from 0, the darkest, to 1: no file says how many of its bits its pixels use."""
    v = v.astype(np.float32)
    if not np.isfinite(v).all():
        raise Unreadable('it has pixels that are not finite')
    v = v / (np.abs(v).max() or 1)
    v = v - v.min()
    return v / v.max() if v.max() > CONTRAST else v                      # a blank page stays blank


def shrunk(image):
    """The image with its longer side at most WORK pixels; each new pixel is the mean of those it replaces."""
    scale = WORK / max(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(n * scale)) for n in image.size], Image.Resampling.BOX)


def background(v):
    """
    The light on an empty page, for each pixel of v (h, w): a plane, as photographs are seldom lit evenly. It starts as
    the light at the edge, and is fitted to the third of the pixels that are nearest to it; the others may be ink.
    """
    y, x = np.indices(v.shape) / WORK
    A = np.stack([np.ones_like(x), x, y], -1).reshape(-1, 3)
    v = v.ravel()
    plane = np.full(v.size, np.median(v.reshape(x.shape)[edge(x.shape)]))
    for _ in range(10):
        far = np.abs(v - plane)
        near = far <= np.quantile(far, 1 / 3)
        if not far[near].any():         # a drawing, whose background is one gray
            break
        plane = A @ np.linalg.lstsq(A[near], v[near], rcond=None)[0]
    return plane.reshape(x.shape)


def edge(shape):
    """True for the pixels at the edge of a picture."""
    mask = np.ones(shape, bool)
    mask[1:-1, 1:-1] = False
    return mask


def ink(v):
    """How far each pixel of v (h, w) is from the background, 1 for the farthest. Whichever side differs more is ink."""
    v = v - background(v)
    v = v if v.max() > -v.min() else -v
    # At least a quarter of the pixels are background, and a quarter of Gaussian noise is within 0.32 of its standard
    # deviation. What is within three is not ink. A drawing has no noise.
    noise = 3 * np.quantile(np.abs(v), 0.25) / 0.32
    if not v.max() - noise > CONTRAST:              # true for NaN as well
        raise Unreadable('the picture is blank')
    return np.clip((v - noise) / (v.max() - noise), 0, 1).astype(np.float32)


def opened(path):
    """The picture in a file, as ink (h, w)."""
    if os.path.exists(path) and not os.path.isfile(path):                # a pipe would be waited for
        raise Unreadable('it is not a file')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            with Image.open(path) as image:
                turned = ImageOps.exif_transpose(image)                  # phones turn a photograph by a note in it
                if turned.mode == 'I' and image.format == 'TIFF' and image.tag_v2.get(339, (1,)) == (1,):
                    # unsigned integers of 32 bits (339 is SampleFormat), which Pillow takes for signed
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
    """The part of the picture that has ink in it."""
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
    slant = np.clip((x * y * ink).sum() / max((y * y * ink).sum(), 1), -1, 1)    # how far right a row is, for each down
    room = int(np.ceil(abs(slant) * h))
    page = Image.fromarray(np.pad(ink, ((0, 0), (room, room))))
    # Pillow asks where a new pixel comes from: (x + slant (y - the middle), y), counted from pixels' corners
    return np.asarray(page.transform(page.size, Image.Transform.AFFINE, (1, slant, slant * (y[0, 0] - .5), 0, 1, 0),
                                     Image.Resampling.BILINEAR))


def way(dataset):
    """Which of WAYS a data set's digits were brought to 16x16."""
    return 'usps' if dataset == 'usps' else 'mnist'


def normalized(ink, dataset):
    """Ink (h, w) as one of the data set's digits: X (1, 1, 16, 16) in [-1, 1]."""
    ink = cropped(ink)
    if dataset == 'usps':
        ink = cropped(deslanted(ink))
    box, step, side = WAYS[way(dataset)].values()
    scale = box / max(ink.shape)
    size = [step * max(1, round(n * scale / step)) for n in ink.shape]
    ink = np.asarray(Image.fromarray(ink).resize(size[::-1], Image.Resampling.BILINEAR))
    ink = ink / ink.max()               # thin lines turn pale where many pixels become one
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
    """(net, data set) of the run whose model.pt is at path."""
    state, args = files.load_model(path)
    try:
        net, _ = repro.build(args['settings'], seed=0)
        net.load_state_dict(state)
        shown = repro.outputs(net, torch.zeros(1, 1, 16, 16))
        finite = all(0 < v < math.inf for v in (net.A, net.S, net.level))
        if shown.shape != (1, 10) or not shown.isfinite().all() or not finite:
            raise ValueError
        return net, files.dataset(args['dataset'])
    except Exception:                   # settings may be missing, unknown, of another type, or another net's
        fail(f'{path} does not hold the net that args.json beside it describes, or that is damaged; '
             'to train a net: python repro.py')


def threshold(net, X, Y):
    """The least difference between the two most active outputs to keep, for 1% error on those kept, or infinity."""
    _, error, gap = repro.rejection_curve(repro.outputs(net, X), Y.argmax(1))
    return float(gap[error <= 1].min(initial=math.inf))


def answer(net, out, least):
    """The net's ten outputs as a bar chart and a verdict, in lines of text. least: the threshold, or None."""
    def letters(y):
        return min(max(0, round((y / net.A + 1) / 2 * BAR)), BAR)
    (first, second), (a, b) = (t.tolist() for t in out.topk(2))
    bars = [f'{"#" * letters(y):{BAR}}' for y in out.tolist()]
    target = letters(net.level)
    chart = [f'  {c}  {bar[:target]}|{bar[target:]} {y:+.2f}' for c, (bar, y) in enumerate(zip(bars, out.tolist()))]
    gap = f'{first - second:.2f} ahead of {b}'
    if least is None:
        return [*chart, f'  answer: {a} ({gap})']
    needed = f'for 1% error it takes {least:.2f}' if least < math.inf else 'nothing is enough for 1% error'
    if first - second < least:
        return [*chart, f'  rejected: {a}, but only {gap}; {needed}']
    return [*chart, f'  answer: {a} ({gap}; {needed})']


def sheet(X):
    """What the net saw, X (n, 1, 16, 16), side by side, each pixel 8x8, dark on light, as the bytes of a PNG file."""
    side = np.concatenate([np.pad(x[0], 1, constant_values=-1) for x in X.numpy()], 1)
    f = io.BytesIO()
    Image.fromarray(np.round(127.5 * (1 - side)).astype(np.uint8).repeat(8, 0).repeat(8, 1)).save(f, 'PNG')
    return f.getvalue()


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('model', metavar='MODEL', type=cli.path, help='a model.pt that repro.py wrote')
    parser.add_argument('images', nargs='+', metavar='IMAGE', type=cli.path, help='pictures, one digit each')
    parser.add_argument('--save', metavar='FILE.png', type=cli.path,
                        help='write what the net saw, the pictures side by side')
    args = parser.parse_args()

    torch.set_num_threads(1)
    net, dataset = load(args.model)
    folder = files.digits_path(dataset, '')
    least = None
    if os.path.exists(folder):
        least = threshold(net, *files.load_digits(dataset)['test'])
    else:
        cli.warn(f'nothing is rejected: the threshold takes the test digits in {folder}, which prepro.py makes')
    seen = []
    for path in args.images:
        try:
            X = normalized(opened(path), dataset)
        except Unreadable as e:
            sys.stdout.flush()
            print(f'{os.path.basename(sys.argv[0])}: {path}: {e}', file=sys.stderr)
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
