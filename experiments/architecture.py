"""
Two pictures of the net. One has every unit, to scale, the counts, and which
maps of H1 each map of H2 sees; the other what H1 learned to see, and what one
digit does to every layer.

    python -m experiments.report architecture kernels
"""
import numpy as np
import torch
from matplotlib.patches import Polygon, Rectangle

import prepro
import repro
from experiments.paper import SEEDS, load, tested, trained
from experiments.style import BLACK, BLUE, GRAY, ORANGE, PALE, WIDTH, bare, canvas, mosaic, plt, png

SEEN_BY = 5                             # the map of H2 whose windows are shown
# where things stand, in cells: the left edges of the image, H1, H2, H3 and output, and the height of their middle; y
# grows downwards
IMAGE, H1, H2, H3, OUTPUT, MIDDLE = 0, 26, 65, 92, 106, 18


def box(ax, x, y, width, height, **look):
    ax.add_patch(Rectangle((x, y), width, height, **{'facecolor': 'none', 'edgecolor': 'none'} | look))


def grid(ax, x, y, rows, columns, color, size=1.0):
    """rows x columns units, the first at the top left of (x, y)."""
    box(ax, x, y, columns * size, rows * size, facecolor='white', edgecolor=color, linewidth=0.9)
    for i in range(1, rows):
        ax.plot((x, x + columns * size), (y + i * size,) * 2, color=color, linewidth=0.25)
    for i in range(1, columns):
        ax.plot((x + i * size,) * 2, (y, y + rows * size), color=color, linewidth=0.25)


def maps(ax, x, biases, chosen):
    """A layer's maps, three a row, those chosen in blue. Returns their corners."""
    n, h, w = biases.shape
    corners = [(x + k % 3 * (w + 1), MIDDLE + (k // 3 - 2) * (h + 1) + 0.5) for k in range(n)]
    for k, (left, top) in enumerate(corners):
        grid(ax, left, top, h, w, BLUE if k in chosen else '#AAAAAA')
    return corners


def window(ax, left, top, x, y):
    """A 5x5 window, and lines from it to the unit at (x, y) that sees it."""
    box(ax, left, top, 5, 5, facecolor=ORANGE, alpha=0.35, zorder=3)
    for dy in (0, 5):
        ax.plot((left + 5, x), (top + dy, y + (dy > 0)), color=ORANGE, linewidth=0.8, zorder=4)
    box(ax, x, y, 1, 1, facecolor=ORANGE, zorder=4)


def draw_layers(ax, net):
    image, label = (part[:1] for part in prepro.embedded()['train'])
    X, _ = prepro.tensors(image, label)
    size, hidden, outputs = X.shape[-1], len(net.H3b), len(net.outb)
    ax.imshow(X[0, 0].numpy(), extent=(IMAGE, IMAGE + size, MIDDLE + size/2, MIDDLE - size/2), vmin=-1, vmax=1)
    box(ax, IMAGE, MIDDLE - size/2, size, size, edgecolor=BLACK, linewidth=0.9)
    seen = net.table[SEEN_BY]
    h1, h2 = maps(ax, H1, net.H1b, seen), maps(ax, H2, net.H2b, [SEEN_BY])
    left, top = h1[seen[0]]
    window(ax, IMAGE + 6, MIDDLE - size/2 + 4, left + 4, top + 3)        # unit (3, 4): rows 2*3-2 on, columns 2*4-2 on
    for k in seen:
        window(ax, h1[k][0] + 2, h1[k][1], h2[SEEN_BY][0] + 2, h2[SEEN_BY][1] + 1)       # unit (1, 2) likewise
    edge = H2 + 3 * (net.H2b.shape[2] + 1) - 1
    for left, above, below, right, tall in ((edge, -9.5, 9.5, H3, hidden / 2),
                                            (H3 + 1, -hidden / 2, hidden / 2, OUTPUT, outputs)):
        ax.add_patch(Polygon([(left, MIDDLE + above), (right, MIDDLE - tall), (right, MIDDLE + tall),
                              (left, MIDDLE + below)], facecolor=PALE, edgecolor='none', alpha=0.6, zorder=0))
        ax.text((left + right) / 2, MIDDLE, 'fully\nconnected', ha='center', va='center', fontsize=8.5, color='#555555')
    grid(ax, H3, MIDDLE - hidden / 2, hidden, 1, BLUE)
    grid(ax, OUTPUT, MIDDLE - outputs, outputs, 1, BLUE, 2)
    for c in range(outputs):
        ax.text(OUTPUT + 3.2, MIDDLE - outputs + 2 * c + 1, str(c), va='center', fontsize=9)
    for x, y in ((21, 31), (58.5, 33)):
        ax.text(x, y, '5x5\nwindows,\n2 apart', ha='center', va='center', fontsize=8.5, color='#555555')
    (n1, s1, _), (n2, s2, _) = net.H1b.shape, net.H2b.shape
    for x, name, text in ((IMAGE + 8, 'image', f'{size}x{size}'), (H1 + 13, 'H1', f'{n1} maps of {s1}x{s1}'),
                          (H2 + 7, 'H2', f'{n2} maps of {s2}x{s2}'), (H3 + .5, 'H3', f'{hidden} units'),
                          (OUTPUT + 1, 'output', f'{outputs} units')):
        ax.text(x, -6.5, name, ha='center', weight='bold')
        ax.text(x, -3, text, ha='center')


def write_counts(ax, net, y):
    columns = 22, 38, 56
    for x, title in zip(columns, ('units', 'connections', 'free parameters')):
        ax.text(x, y, title, ha='right', fontsize=9, color=GRAY)
    for layer, numbers in net.counts().items():
        y += 4
        weight = 'bold' if layer == 'all' else 'normal'
        ax.text(0, y, layer.replace('out', 'output'), weight=weight)
        for x, number in zip(columns, numbers):
            ax.text(x, y, f'{number:,}', ha='right', weight=weight)
    ax.text(0, y + 4.5, '"all" counts the 256 units of the image', fontsize=8.5, color=GRAY)


def draw_table(ax, net, left, top, cell=2.3):
    n1, n2 = len(net.H1b), len(net.H2b)
    ax.text(left + cell * n1 / 2, top - 4.2, 'map of H1', ha='center', fontsize=9, color=GRAY)
    ax.text(left - 5, top + cell * n2 / 2, 'is seen by\nmap of H2', ha='right', va='center', fontsize=9, color=GRAY)
    for k in range(n1):
        ax.text(left + cell * (k + .5), top - .8, str(k), ha='center', va='bottom', fontsize=7)
    for m, seen in enumerate(net.table):
        ax.text(left - 1, top + cell * (m + .5), str(m), ha='right', va='center', fontsize=7)
        for k in range(n1):
            color = (ORANGE if m == SEEN_BY else BLUE) if k in seen else 'white'
            box(ax, left + cell * k, top + cell * m, cell, cell, facecolor=color, edgecolor=GRAY, linewidth=0.5)
    ax.set_ylim(top + cell * n2 + 1, -10)


def draw_architecture():
    """Units and their connections."""
    net = repro.Net()
    fig, ax = canvas(5.7)
    bare(ax).set_aspect('equal')
    draw_layers(ax, net)
    write_counts(ax, net, 45)
    draw_table(ax, net, 79, 43.5)
    ax.set_xlim(-1, 112)
    return png(fig)


def draw_kernels():
    """What H1 learned to see, and what one test digit does to each layer."""
    net, _ = trained('paper', 'usps', SEEDS[0])
    X, _ = load('usps')['test']
    out, labels = tested('paper', 'usps', SEEDS[0])
    # a digit of which every layer shows something: the first 3 that is right
    i = int(((labels == 3) & (out.argmax(1) == 3)).int().argmax())
    x = X[i:i + 1]
    with torch.no_grad():
        H1, H2, H3, out = (y[0].numpy() for y in net.layers(x))
    layers = {'image': x[0].numpy(), 'H1': H1, 'H2': H2, 'H3': H3.reshape(-1, 1, 1), 'output': out}
    fig = plt.figure(figsize=(WIDTH, 3.9), layout='constrained')
    top, bottom = fig.subfigures(2, 1, height_ratios=(1, 2.1))

    ax = bare(top.subplots())
    kernels = net.H1w.detach()[:, 0].numpy()
    most = np.abs(kernels).max()
    n = len(kernels)
    ax.imshow(mosaic(kernels, n, 1, np.nan), vmin=-most, vmax=most, cmap='gray')
    for k in range(n):
        ax.add_patch(Rectangle((6 * k + .5, .5), 5, 5, facecolor='none', edgecolor=GRAY, linewidth=0.6))
        ax.text(6 * k + 3, 6.1, str(k), ha='center', va='top', fontsize=8, color=GRAY)
    ax.set_title(f'The {n} kernels of H1, seed {SEEDS[0]} (black: {-most:.1f}, mid-gray: 0, white: {most:.1f})')

    parts = dict(zip(layers, bottom.subplots(1, len(layers), width_ratios=(1.6, 3.0, 1.6, 0.7, 1.7))))
    for name, y in layers.items():
        ax = parts[name]
        bare(ax).set_anchor('N')
        ax.set_title(name, fontsize=9)
        if name == 'output':
            continue
        size = y.shape[-1]
        columns = {'image': 1, 'H1': 4, 'H2': 3, 'H3': 3}[name]
        gap = 0 if name == 'image' else 1
        ax.imshow(mosaic(y, columns, gap, np.nan), vmin=-1, vmax=1, cmap='gray')
        for k in range(len(y)):
            corner = gap - .5 + k % columns * (size + gap), gap - .5 + k // columns * (size + gap)
            ax.add_patch(Rectangle(corner, size, size, facecolor='none', edgecolor=GRAY, linewidth=0.6))
    ax = parts['output']
    ax.set_axis_on()
    ax.barh(range(10), out + 1, left=-1, color=[BLUE if k == out.argmax() else '#AAAAAA' for k in range(10)],
            edgecolor=BLACK, linewidth=0.6)
    ax.set(yticks=range(10), xticks=(-1, 0, 1), xlim=(-1, 1), ylim=(9.6, -.6))
    ax.grid(False)
    ax.tick_params(length=0)
    ax.set_box_aspect(1.28)
    bottom.suptitle('The activations for a test digit of USPS (black: -1, white: +1)', x=0.005, ha='left', fontsize=10)
    return png(fig)


def pictures():
    return {'architecture.png': draw_architecture, 'kernels.png': draw_kernels}
