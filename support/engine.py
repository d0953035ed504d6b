"""Which code trains: a function as one reads it in repro.py, or support/backprop.py's, if the two do the same."""
import copy
import weakref

import torch

from support import cli

try:
    from support import backprop
except ImportError as e:
    backprop, missing = None, e

chosen = weakref.WeakKeyDictionary()    # {net: {name: function}}


def faster(name, read, net, X, *arguments):
    """
    support/backprop.py's function of this name (train_pass, curvature or outputs), if on copies of the net and with
    these arguments, a few patterns, it does what `read` does, but for rounding. Otherwise read itself, and a line on
    stderr says so. Updates are compared for large errors and for small ones, too. What a net's curvature and outputs
    are left to is decided once a net. A net may also bring an engine of its own, as those of experiments/claims/nets.py
    do.
    """
    if hasattr(net, 'engine'):
        return getattr(net.engine, name)
    if backprop is None:
        cli.warn(f'PyTorch alone trains, over 100 times slower: {missing}')
        return read
    functions = chosen.setdefault(net, {})
    if name in functions and name != 'train_pass':                       # its rates, and what is frozen, may be others
        return functions[name]
    cases = [arguments]
    if name == 'train_pass' and not getattr(net, 'softmax', False):      # to which only the sign of a target matters
        T, rates, _ = arguments
        with torch.no_grad():
            cases += [(targets, rates, [0]) for targets in (5 * T, net(X) + T / 50)]

    def results(function):
        """[(tensor, what it was before)] of what a function changes or returns, in every case."""
        pairs = []
        for case in cases:
            twin = copy.deepcopy(net)
            with torch.random.fork_rng(devices=[]):
                value = function(twin, X, *case)
            if name == 'train_pass':
                pairs += [(a.detach(), b.detach()) for a, b in zip(twin.parameters(), net.parameters())]
            else:
                pairs += [(a, 0.0) for a in ([value[p] for p, _ in net.named_parameters()] if name == 'curvature'
                                             else [value])]
        return pairs

    def same(one, other):
        """Whether results differ by 1e-4 of the change, or some units in the last place, at most; or are not finite."""
        (a, start), (b, _) = one, other
        return (a - b).norm() <= 1e-4 * (a - start).norm() + 3e-7 * a.norm() or not (a.norm() + b.norm()).isfinite()
    functions[name], expected, reason = read, results(read), ''
    try:
        if all(map(same, expected, results(getattr(backprop, name)))):
            functions[name] = getattr(backprop, name)
    except Exception as e:              # a net with other layers, say
        reason = f' ({type(e).__name__}: {e})'
    if functions[name] is read:
        cli.warn(f'{name} of this {type(net).__name__} is not what support/backprop.py computes{reason}: PyTorch '
                 'computes it, over 100 times slower')
    return functions[name]
