"""Which code trains: a function as one reads it in repro.py, or support/backprop.py's, if the two do the same."""
import copy
import itertools
import weakref

import torch

from support import cli

try:
    from support import backprop
except ImportError as e:
    backprop, missing = None, e

chosen = weakref.WeakKeyDictionary()    # {net: {name: function}}


def faster(name, read, net, *arguments):
    """
    support/backprop.py's function of this name (train_pass, curvature or outputs), if on copies of the net and with
    these arguments, a few patterns, it does what `read` does, but for rounding. Otherwise read itself, and a line on
    stderr says so. What a net's curvature and outputs are left to is decided once a net. A net may also bring an engine
    of its own, as those of experiments/claims/nets.py do.
    """
    if hasattr(net, 'engine'):
        return getattr(net.engine, name)
    if backprop is None:
        cli.warn(f'PyTorch alone trains, over 100 times slower: {missing}')
        return read
    functions = chosen.setdefault(net, {})
    if name in functions and name != 'train_pass':                       # its rates, and what is frozen, may be others
        return functions[name]
    start = [p.detach() for p in net.parameters()] if name == 'train_pass' else itertools.repeat(0.0)

    def trial(function):
        twin = copy.deepcopy(net)
        with torch.random.fork_rng(devices=[]):
            value = function(twin, *arguments)
        if name == 'train_pass':
            return [p.detach() for p in twin.parameters()]
        return [value[p] for p, _ in net.named_parameters()] if name == 'curvature' else [value]

    def same(a, b, start):
        """Whether results differ by 1e-4 of the change, or some units in the last place, at most; or are not finite."""
        return (a - b).norm() <= 1e-4 * (a - start).norm() + 3e-7 * a.norm() or not (a.norm() + b.norm()).isfinite()
    functions[name], expected, reason = read, trial(read), ''
    try:
        if all(map(same, expected, trial(getattr(backprop, name)), start)):
            functions[name] = getattr(backprop, name)
    except Exception as e:              # a net with other layers, say
        reason = f' ({type(e).__name__}: {e})'
    if functions[name] is read:
        cli.warn(f'{name} of this {type(net).__name__} is not what support/backprop.py computes{reason}: PyTorch '
                 'computes it, over 100 times slower')
    return functions[name]
