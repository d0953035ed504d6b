"""Claim 9: what H1's kernels look like."""
import statistics

import torch

import repro
from experiments.claims.claim import HOLDS, PAPER, Claim, changed, curves, differ, pm, verdict
from repro import PASSES
from support import files

SIGMA = 1.0             # pixels: of the Gaussian whose derivatives are the templates
MAPS = 12


def templates():
    """
    {kind: orthonormal kernels (n, 25)}, each less its mean: the first derivatives of a Gaussian on 5x5 (across, down);
    the second (across, down, mixed); and center and surround, the sum of the two pure second derivatives, which lies in
    the space of the second.
    """
    y, x = torch.meshgrid(torch.arange(-2., 3), torch.arange(-2., 3), indexing='ij')
    G, s2 = torch.exp(-(x**2 + y**2) / (2 * SIGMA**2)), SIGMA**2
    xx, yy, xy = (x**2 / s2 - 1) * G, (y**2 / s2 - 1) * G, x * y * G

    def orthonormal(*kernels):
        t = torch.stack([k.flatten() - k.mean() for k in kernels]).double()
        return torch.linalg.qr(t.T).Q.T
    return {'first': orthonormal(x * G, y * G), 'second': orthonormal(xx, yy, xy), 'center': orthonormal(-xx - yy),
            'all': orthonormal(x * G, y * G, xx, yy, xy)}


def explained(kernels):
    """
    {kind: (n,)}: how much of the sum of squares of each kernel (n, 1, 5, 5), less its mean, the templates of a kind
    explain; each explains 1/24 of a random kernel. `on` is center's share, negative where the surround is positive.
    """
    k = kernels.flatten(1).double()
    k = k - k.mean(1, keepdim=True)
    k = k / k.norm(dim=1, keepdim=True).clamp_min(1e-12)
    shares = {kind: (k @ t.T).square().sum(1) for kind, t in templates().items()}
    center = templates()['center'][0]   # QR leaves its sign open: that of its middle decides
    return shares | {'on': shares['center'] * torch.sign(k @ center * center[12])}


class Kernels(Claim):
    """
    How much of each of H1's twelve kernels the first and second derivatives of a Gaussian explain, before training and
    after (center and surround is the sum of two second derivatives). The five templates explain 5/24 = 21% of a random
    kernel. They also explain kernels that are merely smooth.

    Rule: (a) the mean share is higher after training than before; (b) it is half or more.
    """
    number, section = 9, '5'
    words = 'some kernels are like spatial derivatives or off-center on-surround detectors'
    front = HOLDS, 'some kernels are like derivatives, though hardly any like center and surround'
    settings = {'paper': changed(PAPER, at=[0, PASSES])}

    def look(self, net, splits):
        """For each kernel, the share (0 to 1) that the templates explain."""
        return {name: share.tolist() for name, share in explained(net.H1w.detach()).items()}

    def verdict(self, found):
        before, after = ([statistics.fmean(curve[part]) for curve in curves(found['paper'], 'all')]
                         for part in (slice(MAPS), slice(MAPS, None)))
        kinds = {kind: 100 * statistics.fmean(statistics.fmean(curve[MAPS:]) for curve in curves(found['paper'], kind))
                 for kind in ('first', 'second', 'center')}
        on, off = (statistics.fmean(sum(sign * v >= 0.5 for v in curve[MAPS:])
                                    for curve in curves(found['paper'], 'on')) for sign in (1, -1))
        return (f'explained {pm(after, 0, 100)}%, at the start {pm(before, 0, 100)}%; by first derivatives '
                f'{kinds["first"]:.0f}%, second {kinds["second"]:.0f}%, of these center and surround '
                f'{kinds["center"]:.0f}%; kernels that are half or more on-center {on:.1f}, off-center {off:.1f} of '
                f'{MAPS}', verdict(differ(after, before) > 0, statistics.fmean(after) >= 0.5))

    def picture(self, found):
        """H1's kernels of one net, their fit by the templates, and how much that explains before and after training."""
        import numpy as np

        from experiments.style import BLUE, ORANGE, bare, canvas, mosaic, png
        nets = curves(found['paper'], 'all')
        net = repro.build(PAPER, 0)
        for _ in repro.train(net, *files.load_digits('usps')['train'], **PAPER['training']):
            pass
        k, t = net.H1w.detach().flatten(1).double(), templates()['all']
        fitted, share = k.mean(1, keepdim=True) + k @ t.T @ t, explained(net.H1w.detach())['all']
        order = share.argsort(descending=True)
        fig, axes = canvas(3.9, 2, 1, height_ratios=(1.3, 1))
        most = float(k.abs().max())
        both = torch.cat([k[order], fitted[order]]).reshape(-1, 5, 5).numpy()
        bare(axes[0]).imshow(mosaic(both, MAPS, 1, np.nan), vmin=-most, vmax=most, cmap='gray')
        for i, n in enumerate(order.tolist()):
            axes[0].text(6*i + 3, 12.6, f'{100 * share[n]:.0f}%', ha='center', va='top', fontsize=8)
        axes[0].set_title("H1's kernels (seed 0), and their projections onto five derivatives of a Gaussian")
        for part, color, label in ((slice(MAPS), ORANGE, 'before'), (slice(MAPS, None), BLUE, 'after')):
            axes[1].hist([100 * v for curve in nets for v in curve[part]], bins=range(0, 101, 5), color=color,
                         alpha=0.6, label=f'{label} training')
        axes[1].set(xlabel='% of a kernel that they explain', title=f'number of kernels, in {len(nets)} nets')
        axes[1].legend()
        return png(fig, 'claims.csv')
