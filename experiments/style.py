"""
The style of the pictures. A README's column is about 830 pixels wide, so a
picture is 8.3 inches, and a point 1.4 pixels.
"""
import hashlib
import io

import matplotlib
import numpy as np

from experiments.markdown import results

matplotlib.use('Agg')                   # draws to memory: no screen is needed
import matplotlib.pyplot as plt                                          # noqa: E402

WIDTH, DPI = 8.3, 150
# Okabe and Ito's colors, which the color-blind can tell apart; in gray the first two differ in lightness.
BLUE, ORANGE, GREEN, BLACK, PINK, RED, SKY = '#0072B2', '#E69F00', '#009E73', '#000000', '#CC79A7', '#D55E00', '#56B4E9'
GRAY, PALE = '#777777', '#DDDDDD'
COLORS = BLUE, ORANGE, GREEN, BLACK, GRAY, PINK, RED, SKY

plt.rcdefaults()
plt.rcParams.update({
    'figure.dpi': DPI, 'savefig.dpi': DPI, 'font.size': 9.5, 'axes.titlesize': 10, 'axes.titlelocation': 'left',
    'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'axes.axisbelow': True,
    'grid.color': '#E4E4E4', 'grid.linewidth': 0.7, 'lines.linewidth': 1.8, 'legend.frameon': False,
    'legend.fontsize': 9, 'image.cmap': 'gray_r', 'image.interpolation': 'nearest'})


def canvas(height, *args, **kwargs):
    """A figure of the common width, and its axes."""
    return plt.subplots(*args, figsize=(WIDTH, height), layout='constrained', **kwargs)


def png(fig, *sources):
    """The figure as a PNG file's bytes, with the SHA-256 of the CSV files of results/ that it was drawn from."""
    f = io.BytesIO()
    fig.savefig(f, format='png', metadata={'Software': None, 'Source': '\n'.join(map(signed, sources)) or None})
    plt.close(fig)
    return f.getvalue()


def signed(name):
    """A file of results/ and its SHA-256, by which report.py finds a picture that is older than its numbers."""
    with open(results(name), 'rb') as f:
        return f'{name} {hashlib.sha256(f.read()).hexdigest()}'


def bare(ax):
    """The axes without axis lines, grid or ticks."""
    ax.set_axis_off()
    return ax


def ticks(axis, *numbers):
    """Label a logarithmic axis at these numbers, written out, and nowhere else."""
    axis.set_ticks(numbers, [f'{n:,}' for n in numbers])
    axis.set_ticks([], minor=True)


def name_ends(ax, ends, gap=0.06):
    """Write names at the right of the axes, {name: ((x, y) where its line ends, color)}, at least the gap apart."""
    ax.autoscale_view()                 # to the limits that it is drawn with
    to_axes, at = ax.transData + ax.transAxes.inverted(), -np.inf
    for name, (end, color) in sorted(ends.items(), key=lambda item: item[1][0][1]):
        x, y = to_axes.transform(end)
        at = max(y, at + gap)
        ax.plot((x, 1.01, 1.03), (y, at, at), color=color, linewidth=0.8, transform=ax.transAxes, clip_on=False)
        ax.text(1.04, at, name, va='center', fontsize=9, transform=ax.transAxes)


def mosaic(images, columns, gap, empty):
    """Images (n, h, w) laid out row by row on a sheet, with `gap` pixels of value `empty` around each."""
    n, h, w = images.shape
    tiles = np.pad(np.float32(images), ((0, -n % columns), (gap, 0), (gap, 0)), constant_values=empty)
    sheet = tiles.reshape(-1, columns, h + gap, w + gap).swapaxes(1, 2).reshape(-1, columns * (w + gap))
    return np.pad(sheet, ((0, gap), (0, gap)), constant_values=empty)


def maps(ax, images, columns, most):
    """Images (n, h, w) side by side: -most is black, most is white."""
    bare(ax).imshow(mosaic(images, columns, 1, np.nan), vmin=-most, vmax=most,
                    cmap=plt.colormaps['gray'].with_extremes(bad='#BCD3E5'))
