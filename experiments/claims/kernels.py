"""Claim 9: what H1's kernels look like."""
import numpy as np
import torch
from scipy import ndimage, optimize, stats

from experiments.claims.claim import HOLDS, PAPER, PART, SURE, Claim, curves, pm
from experiments.compare import changed, trained
from experiments.style import BLACK, BLUE, ORANGE, bare, canvas, mosaic, png
from repro import PASSES
from support import files

MAPS = 12


def templates():
    """
    {kind: orthonormal kernels (n, 25)}, each less its mean: the first derivatives of a Gaussian on 5x5, its sd 1 pixel
    (across, down); the second (across, down, mixed); and center and surround, the sum of the two pure second
    derivatives, which lies in the space of the second.
    """
    y, x = torch.meshgrid(torch.arange(-2., 3), torch.arange(-2., 3), indexing='ij')
    G = torch.exp(-(x**2 + y**2) / 2)
    xx, yy, xy = (x**2 - 1) * G, (y**2 - 1) * G, x * y * G

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


def neighbors(kernels):
    """(n,): how smooth each kernel (n, 1, 5, 5), less its mean, is: the correlation of neighboring weights."""
    k = (kernels - kernels.mean((2, 3), keepdim=True))[:, 0].double()
    pairs = (k[:, 1:] * k[:, :-1]).mean((1, 2)) + (k[:, :, 1:] * k[:, :, :-1]).mean((1, 2))
    return pairs / 2 / k.square().mean((1, 2)).clamp_min(1e-12)


def noise(smooth, n=5000):
    """Kernels (n, 1, 5, 5) of Gaussian noise, blurred so that the mean of neighbors is smooth."""
    white = np.random.default_rng(0).standard_normal((n, 13, 13))

    def blurred(sigma):
        blur = ndimage.gaussian_filter(white, (0, sigma, sigma))
        return torch.from_numpy(np.ascontiguousarray(blur[:, None, 4:9, 4:9]))
    sigma = optimize.brentq(lambda sigma: float(neighbors(blurred(sigma)).mean()) - smooth, 0.01, 3, xtol=0.01)
    return blurred(sigma)


class Kernels(Claim):
    """
    How much of each of H1's twelve kernels the first and second derivatives of a Gaussian explain, before training and
    after (center and surround is the sum of two second derivatives). The null is noise that is as smooth: blurred until
    neighboring weights have the mean correlation of the trained kernels. "Some kernels" are more than chance gives.

    Rule: more of the kernels than 5% are explained better than 95% of the noise is (t-test over nets, p < 0.01), (a) by
    the derivatives, (b) by center and surround with a negative center.

    The first rule asked for a mean share that rises and is half or more. It was 60 +- 4%, from 22, but noise blurred by
    1 pixel comes to 54; and 0.1 of 12 kernels are half or more off-center, which the verdict did not say.
    """
    number, section = 9, '5'
    words = 'some kernels are like spatial derivatives or off-center on-surround detectors'
    before = HOLDS
    front = {PART: "Of H1's 12 kernels one or two look like off-center on-surround detectors more than smooth noise "
                   'does; that others are like derivatives cannot be told.'}
    settings = {'H1': changed(PAPER, at=[0, PASSES])}

    def look(self, net, splits):
        """For each kernel, the share (0 to 1) that the templates explain, and how smooth it is."""
        kernels = net.H1w.detach()
        return {name: v.tolist() for name, v in {**explained(kernels), 'neighbors': neighbors(kernels)}.items()}

    def verdict(self, found):
        nets = {kind: np.array(curves(found['H1'], kind)) for kind in ('all', 'first', 'second', 'on', 'neighbors')}
        after = {kind: curve[:, MAPS:] for kind, curve in nets.items()}
        smooth = after['neighbors'].mean()
        null = {kind: share.numpy() for kind, share in explained(noise(smooth)).items()}
        beyond = {'like derivatives': (after['all'] > np.quantile(null['all'], 0.95)).mean(1),
                  'off-center on-surround': (-after['on'] > np.quantile(-null['on'], 0.95)).mean(1)}
        parts = {}
        for kind, shares in beyond.items():
            test = stats.ttest_1samp(shares, 0.05)
            parts[f'more kernels {kind} than chance gives'] = bool(test.statistic > 0) if test.pvalue < SURE else None
        words = ', '.join(f'{MAPS * shares.mean():.1f} of {MAPS} {kind}' for kind, shares in beyond.items())
        return (f'explained {pm(100 * after["all"].mean(1), 0)}%, at the start '
                f'{pm(100 * nets["all"][:, :MAPS].mean(1), 0)}%, of noise as smooth (correlation of neighbors '
                f'{smooth:.2f}) {100 * null["all"].mean():.0f}%; by first derivatives '
                f'{100 * after["first"].mean():.0f}%, second {100 * after["second"].mean():.0f}%; beyond 95% of the '
                f'noise, where chance gives {0.05 * MAPS:.1f}: {words}', parts)

    def picture(self, found):
        """H1's kernels of one net, their fit by the templates, and how much that explains before and after training."""
        nets = curves(found['H1'], 'all')
        net, _ = trained(PAPER, *files.load_digits('usps')['train'], seed=0)
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
        null = explained(noise(np.mean([curve[MAPS:] for curve in curves(found['H1'], 'neighbors')])))['all']
        axes[1].hist(100 * null.numpy(), bins=range(0, 101, 5), color=BLACK, histtype='step', label='noise as smooth',
                     weights=np.full(len(null), MAPS * len(nets) / len(null)))
        axes[1].set(xlabel='% of a kernel that they explain', title=f'number of kernels, in {len(nets)} nets')
        axes[1].legend()
        return png(fig, 'claims.csv')
