"""
An animation of the 1989 net while it learns: the kernels of H1, and the error.

    python -m experiments.learning        # results/learning.gif, in seconds

The net is `karpathy2022` on MNIST, seed 1337, as the page trains it (page.py). The
first pass, in which most happens, is shown in smaller steps than the others.
"""
import io
import os
from itertools import pairwise

import numpy as np
import torch
from PIL import Image

import repro
from experiments.style import BLUE, GRAY, RED, canvas, maps, plt, ticks
from support import cli, files

OUT = os.path.join('results', 'learning.gif')
PARTS = [0, 50, 100, 200, 400, 800, 1600, 3200]          # presentations in the first pass that have a frame
SECONDS, LAST = 0.25, 4                 # a frame, and the last one


def history(splits):
    """Yields (presentations, kernels (12, 5, 5), {split: [error before training and after each pass]}) a frame."""
    recipe = repro.RECIPES['karpathy2022']
    net, (X, Y) = repro.build(recipe, 1337), splits['train']
    errors = {split: [] for split in splits}
    moments = [*PARTS, *(len(X) * n for n in range(1, recipe['training']['passes'] + 1))]
    for start, end in pairwise([0, *moments]):
        part = slice(start % len(X), start % len(X) + end - start)
        if end > start:
            list(repro.train(net, X[part], Y[part], **recipe['training'] | {'passes': 1}))
        if end % len(X) == 0:
            for split, values in errors.items():
                values.append(repro.measure(net, *splits[split])['error'])
        yield end, net.H1w.detach()[:, 0].numpy().copy(), errors


def frame(presentations, kernels, errors, hours):
    """A picture of the net at one moment."""
    fig, (left, right) = canvas(2.9, 1, 2, width_ratios=(1, 1.25))
    maps(left, kernels, 4, np.abs(kernels).max())
    left.set_title(f'{presentations:,} presentations: the kernels of H1')
    for split, color, name in (('train', BLUE, 'training'), ('test', RED, 'test')):
        right.plot(errors[split], color=color, label=f'{name} {errors[split][-1]:.2f}')
        for published, marker in ((repro.PAPER, 'o'), (repro.KARPATHY2022, '^')):
            right.plot(repro.PASSES, published[f'{split}_error'], marker, color=color, fillstyle='none', clip_on=False)
    right.plot([], [], 'o', color=GRAY, fillstyle='none', label='the paper')
    right.plot([], [], '^', color=GRAY, fillstyle='none', label='the 2022 reproduction')
    right.set(yscale='log', ylim=(0.1, 100), xlim=(0, repro.PASSES), xlabel='passes',
              title=f'error, %; in 1989, after {hours:.0f} of {24 * repro.DAYS} hours')
    ticks(right.yaxis, 0.1, 1, 10, 100)
    right.legend(loc='upper right', ncols=2, fontsize=8.5)
    f = io.BytesIO()
    fig.savefig(f, format='png', dpi=100)
    plt.close(fig)
    return Image.open(f).convert('RGB')


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('--out', metavar='FILE.gif', type=cli.path, default=OUT, help=f'(default: {OUT})')
    args = parser.parse_args()
    torch.set_num_threads(1)
    splits = files.load_digits('mnist')
    files.writable(os.path.dirname(args.out) or '.')
    total = repro.PASSES * len(splits['train'][0])
    frames = [frame(n, kernels, errors, 24 * repro.DAYS * n / total) for n, kernels, errors in history(splits)]
    colors = frames[-1].quantize(64)    # few, and the same for all: a smaller file
    first, *others = (image.quantize(palette=colors, dither=Image.Dither.NONE) for image in frames)
    f = io.BytesIO()
    first.save(f, format='GIF', save_all=True, append_images=others, loop=0, optimize=True,
               duration=[int(1000 * SECONDS)] * len(others) + [1000 * LAST])
    files.write_file(args.out, f.getvalue())
    print(f'{args.out}: {len(frames)} frames, {len(f.getvalue()) / 1000:.0f} kB')


if __name__ == '__main__':
    cli.run(main)
