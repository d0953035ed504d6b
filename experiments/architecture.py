"""
Two pictures of the net: every unit, to scale, and which maps of H1 each map of
H2 sees; and what H1 learned to see, and what one digit does to every layer.

    python -m experiments.report architecture kernels
"""
import numpy as np
import torch
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

import prepro
import repro
from experiments.paper import SEEDS, load, tested, trained
from experiments.style import BLUE, GRAY, ORANGE, PALE, WIDTH, bare, canvas, maps, plt, png

SEEN_BY = 5                             # the map of H2 whose windows are shown
# where things stand, in units of H1: the left edges of the image, H1, H2, H3, the output and the table, and the height
# of the middle; y grows downwards
IMAGE, H1, H2, H3, OUTPUT, TABLE, MIDDLE = 0, 24, 60, 84, 96, 115, 18


def grid(ax, x, y, colors, edge, size=1.0):
    """Squares of 0, white, or other colors (rows, columns), the first at the top left of (x, y)."""
    rows, columns = (size * np.arange(n + 1) for n in colors.shape)
    ax.pcolormesh(x + columns, y + rows, colors, vmin=0, vmax=2,
                  cmap=ListedColormap(['white', BLUE, ORANGE]), edgecolors=edge, linewidth=0.4)


def window(ax, left, top, x, y):
    """A 5x5 window, and lines from it to the unit at (x, y) that sees it."""
    ax.add_patch(Rectangle((left, top), 5, 5, color=ORANGE, alpha=0.35, linewidth=0, zorder=3))
    for dy in (0, 5):
        ax.plot((left + 5, x), (top + dy, y + (dy > 0)), color=ORANGE, linewidth=0.8, zorder=4)
    ax.add_patch(Rectangle((x, y), 1, 1, color=ORANGE, linewidth=0, zorder=4))


def draw_architecture():
    """Units and their connections."""
    net = repro.Net()
    fig, ax = canvas(2.9)
    bare(ax).set_aspect('equal')
    X, _ = prepro.tensors(*(part[:1] for part in prepro.embedded()['train']))
    ax.imshow(X[0, 0].numpy(), extent=(IMAGE, IMAGE + 16, MIDDLE + 8, MIDDLE - 8), vmin=-1, vmax=1)
    ax.add_patch(Rectangle((IMAGE, MIDDLE - 8), 16, 16, facecolor='none', edgecolor=GRAY))
    seen, corners = net.table[SEEN_BY], {}
    for layer, x, biases, chosen in ('H1', H1, net.H1b, seen), ('H2', H2, net.H2b, [SEEN_BY]):
        maps_of_layer, side, _ = biases.shape
        for m in range(maps_of_layer):
            corners[layer, m] = x + m % 3 * (side + 1), MIDDLE + (m // 3 - 2) * (side + 1) + 0.5
            grid(ax, *corners[layer, m], np.zeros((side, side)), BLUE if m in chosen else '#BBBBBB')
    left, top = corners['H1', seen[0]]
    window(ax, IMAGE + 6, MIDDLE - 4, left + 4, top + 3)     # unit (3, 4) sees rows from 2*3-2 on, columns from 2*4-2
    for m in seen:                      # unit (1, 2) likewise
        left, top = corners['H1', m]
        window(ax, left + 2, top, corners['H2', SEEN_BY][0] + 2, corners['H2', SEEN_BY][1] + 1)
    for left, low, right, high in ((H2 + 14, 9.5, H3, 15), (H3 + 1, 15, OUTPUT, 10)):
        ax.fill((left, right, right, left), (MIDDLE - low, MIDDLE - high, MIDDLE + high, MIDDLE + low), color=PALE,
                alpha=0.6, linewidth=0)
        ax.text((left + right) / 2, MIDDLE, 'all', ha='center', va='center', fontsize=9, color=GRAY)
    grid(ax, H3, MIDDLE - 15, np.zeros((30, 1)), BLUE)
    grid(ax, OUTPUT, MIDDLE - 10, np.zeros((10, 1)), BLUE, 2)
    for c in range(10):
        ax.text(OUTPUT + 3.2, MIDDLE - 9 + 2 * c, str(c), va='center', fontsize=7)
    colors = np.zeros((12, 12))
    for m, row in enumerate(net.table):
        colors[m, row] = 2 if m == SEEN_BY else 1
        for x, y in ((TABLE - 1.5, MIDDLE - 13 + 2.4 * m), (TABLE + 1.2 + 2.4 * m, MIDDLE - 15.8)):
            ax.text(x, y, str(m), ha='center', va='center', fontsize=6)
    grid(ax, TABLE, MIDDLE - 14.4, colors, GRAY, 2.4)
    for x, name, text in ((IMAGE + 8, 'image', '16x16'), (H1 + 13, 'H1', '12 maps of 8x8'),
                          (H2 + 7, 'H2', '12 maps of 4x4'), (H3 + .5, 'H3', '30 units'),
                          (OUTPUT + 1, 'output', '10 units'), (TABLE + 14, 'which maps of H1', 'each map of H2 sees')):
        ax.text(x, -7, name, ha='center', weight='bold')
        ax.text(x, -3, text, ha='center', fontsize=9)
    ax.text(IMAGE + 8, MIDDLE + 13, '5x5 windows,\nstride 2', ha='center', va='center', fontsize=9, color=GRAY)
    ax.set(xlim=(-1, TABLE + 30), ylim=(MIDDLE + 19, -10))
    return png(fig)


def draw_kernels():
    """What H1 learned to see, and what one test digit does to each layer."""
    net, _ = trained('paper', 'usps', SEEDS[0])
    X, _ = load('usps')['test']
    out, labels = tested('paper', 'usps', SEEDS[0])
    # a digit of which every layer shows something: the first 3 that is right
    i = int(((labels == 3) & (out.argmax(1) == 3)).int().argmax())
    with torch.no_grad():
        H1, H2, H3, out = (y[0].numpy() for y in net.layers(X[i:i + 1]))
    fig = plt.figure(figsize=(WIDTH, 3.9), layout='constrained')
    top, bottom = fig.subfigures(2, 1, height_ratios=(1, 2.1))
    kernels, ax = net.H1w.detach()[:, 0].numpy(), top.subplots()
    most = np.abs(kernels).max()
    maps(ax, kernels, 12, most)
    for m in range(len(kernels)):
        ax.text(6 * m + 3, 6.7, str(m), ha='center', va='top', fontsize=8, color=GRAY)
    ax.set_title(f'The {len(kernels)} kernels of H1, seed {SEEDS[0]} (black: {-most:.1f}, mid-gray: 0, white: '
                 f'{most:.1f})')
    *axes, last = bottom.subplots(1, 5, width_ratios=(1.6, 3.0, 1.6, 0.7, 1.7))
    layers = {'image': (X[i].numpy(), 1, 1), 'H1': (H1, 4, net.A), 'H2': (H2, 3, net.A),
              'H3': (H3.reshape(-1, 1, 1), 3, net.A)}
    for ax, (name, shown) in zip(axes, layers.items()):
        maps(ax, *shown)
        ax.set_anchor('N')
        ax.set_title(name, fontsize=9)
    last.set_title('output', fontsize=9)
    last.barh(range(10), out + net.A, left=-net.A, color=[BLUE if k == out.argmax() else '#AAAAAA' for k in range(10)])
    last.set(yticks=range(10), xticks=(-1, 0, 1), xlim=(-net.A, net.A), ylim=(9.6, -.6))
    last.grid(False)
    last.tick_params(length=0)
    last.set_box_aspect(1.28)
    bottom.suptitle(f'The activations for a test digit of USPS (black: {-net.A:.3g}, white: {net.A:.3g}; of the image '
                    '-1 and 1)', x=0.005, ha='left', fontsize=10)
    return png(fig)


def pictures():
    return {'architecture.png': draw_architecture, 'kernels.png': draw_kernels}
