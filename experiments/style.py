"""
The style of the pictures: their width, colors and fonts, and what several of
them are made of. A README's column is about 830 pixels wide, so a picture is
8.3 inches, and a point 1.4 pixels.
"""
import io

import matplotlib
import numpy as np

matplotlib.use('Agg')                   # draws to memory: no screen is needed
import matplotlib.pyplot as plt                                          # noqa: E402

WIDTH, DPI = 8.3, 150
# Okabe and Ito's colors, which the color-blind can tell apart; in gray the first two differ in lightness.
BLUE, ORANGE, GREEN, BLACK, GRAY, PALE = '#0072B2', '#E69F00', '#009E73', '#000000', '#777777', '#DDDDDD'

plt.rcdefaults()
plt.rcParams.update({
    'figure.dpi': DPI, 'savefig.dpi': DPI, 'font.size': 9.5, 'axes.titlesize': 10, 'axes.titlelocation': 'left',
    'axes.spines.top': False, 'axes.spines.right': False, 'axes.grid': True, 'axes.axisbelow': True,
    'grid.color': '#E4E4E4', 'grid.linewidth': 0.7, 'lines.linewidth': 1.8, 'legend.frameon': False,
    'legend.fontsize': 9, 'image.cmap': 'gray_r', 'image.interpolation': 'nearest'})


def canvas(height, *args, **kwargs):
    """A figure of the common width, and its axes."""
    return plt.subplots(*args, figsize=(WIDTH, height), layout='constrained', **kwargs)


def png(fig):
    """The figure as the bytes of a PNG file, without the date or version that would make them differ."""
    f = io.BytesIO()
    fig.savefig(f, format='png', metadata={'Software': None})
    plt.close(fig)
    return f.getvalue()


def bare(ax):
    """The axes without axis lines, grid or ticks."""
    ax.set_axis_off()
    return ax


def mosaic(images, columns, gap, empty):
    """Images (n, h, w) laid out row by row on a sheet, with `gap` pixels of value `empty` around each."""
    n, h, w = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap), empty, np.float32)
    for i, image in enumerate(images):
        y, x = gap + i // columns * (h + gap), gap + i % columns * (w + gap)
        sheet[y:y + h, x:x + w] = image
    return sheet
