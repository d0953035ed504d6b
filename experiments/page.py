"""
Make a web page to draw a digit on, and to watch a net learn: one file that
opens from disk, runs and trains the nets in its own script, and shows the
activation of every unit.

    python -m experiments.page                         # the committed page
    python -m experiments.page out/karpathy2022-mnist --out mine.html
    python -m experiments.page --dataset usps          # to learn the paper's

RUN is a folder that repro.py wrote. The digits that its net was trained on must
be in data/, as prepro.py makes them. Without a RUN, two nets are trained first,
as repro.py trains them: `karpathy2022` on MNIST and, if there is a data/usps,
`paper` on USPS.

The template is experiments/page.html; the net and its training, in JavaScript,
are experiments/learn.js, and what shows them experiments/watch.js. The digits
that the page's own net learns are the embedded ones of MNIST, or USPS's, which
are not ours to pass on. The same inputs give the same bytes.
"""
import base64
import json
import math
import os
import re
import zlib

import numpy as np
import torch

import prepro
import repro
from experiments import compare, predict
from support import cli, files

OUT = os.path.join('results', 'page.html')
OUT_USPS = os.path.join('out', 'page-usps.html')
HERE = os.path.dirname(os.path.abspath(__file__))
PLACE = '"put here by page.py"'         # in the template: what the data replaces
DEFAULT = ('karpathy2022', 'mnist'), ('paper', 'usps')
SEED = 1337                             # repro.py's default
MISREAD = 4                             # how many of the digits to click are ones that the first net misreads
SOURCES = {'karpathy2022': "The 2022 reproduction's settings",
           'paper': "The paper's settings, with LeCun's constants of that year"}


def trained(recipe, dataset):
    """(net, data set's name, what its args.json would hold) of a net, trained as `python repro.py` trains it."""
    print(f'training {recipe} on {dataset}', flush=True)
    settings = repro.RECIPES[recipe]
    try:
        net, _ = compare.trained(settings, *files.load_digits(dataset)['train'], SEED)
    except repro.Diverged:
        cli.fail(f'recipe {recipe} diverged on {dataset}; there is no net to show')
    return net, dataset, {'recipe': recipe, 'seed': SEED, 'settings': settings}


def read(run):
    """The same three of a run, a folder or its model.pt."""
    net, dataset, args = predict.load(run)
    if not isinstance(net, repro.Net) or 'rung' in args:
        cli.fail(f'{run} is of modern.py, or fully connected; the page shows nets of repro.py that have H1 and H2')
    return net, dataset, args


def described(net, dataset, args):
    """What the page holds of a net, as plain Python objects."""
    X, Y = files.load_digits(dataset)['test']
    least, settings = predict.threshold(net, X, Y), args['settings']['net'] | args['settings']['training']
    known = args['recipe'] in SOURCES and args['settings'] == repro.RECIPES[args['recipe']]
    source = SOURCES[args['recipe']] if known else f'Recipe {args["recipe"]}'
    parts = ['tanh' if net.A == net.S == 1 else f'{net.A:.5g} tanh({net.S:.3g} s)', f'targets ±{net.level:g}',
             *[f'MSE times {net.factor:g}'] * (net.factor != 1),
             'initial range ±2.4/' + ('√fan-in' if settings['sqrt_fan_in'] else 'fan-in'),
             'gradient descent' if settings['optimizer'] == 'sgd' else "Newton's method", f'rate {settings["rate"]}',
             *([f'damping {settings["damping"]}'] if 'damping' in settings else []), f'{settings["passes"]} passes']
    return {
        'recipe': args['recipe'], 'dataset': dataset.upper(), 'way': predict.way(dataset),
        'seed': str(args['seed']), 'settings': f'{source}: {", ".join(parts)}',
        'table': net.table, 'A': net.A, 'S': net.S, 'level': net.level,
        'least': least if least < math.inf else None,
        'test': {'n': len(X)} | {key: repro.measure(net, X, Y)[key] for key in ('error', 'misses', 'rejection')},
        'weights': {name: packed(t.numpy().astype('<f4').tobytes()) for name, t in net.state_dict().items()},
    }


def packed(content):
    return base64.b64encode(content).decode()


def to_click(net, dataset):
    """
    Test digits of MNIST to click: of each class the first that the net reads right; then the MISREAD mistakes with the
    largest margins, no two of one class.
    """
    images, labels = prepro.embedded()['test']
    X, Y = prepro.tensors(images, labels)
    if predict.way(dataset) == 'usps':
        X = torch.cat([predict.normalized(image / np.float32(255), dataset) for image in images])
    out = repro.outputs(net, X)
    first, second = out.topk(2).values.T
    right = out.argmax(1) == Y.argmax(1)
    chosen = [i for c in range(10) for i in np.flatnonzero(right & (Y[:, c] > 0))[:1]]
    surest = {}
    for i in (second - first).argsort(stable=True).tolist():
        if not right[i]:
            surest.setdefault(int(labels[i]), i)
    chosen += [surest[c] for c in list(surest)[:MISREAD]]
    return [{'label': int(labels[i]), 'uint8': packed(images[i].tobytes())} for i in chosen]


def to_learn(dataset):
    """What the page's own net learns, and how: digits, compressed; the settings it starts with; what is published."""
    if dataset == 'mnist':
        splits = prepro.embedded()
    else:
        splits = {split: (((X[:, 0] + 1) * 127.5).round().byte().numpy(), Y.argmax(1).byte().numpy())
                  for split, (X, Y) in files.load_digits(dataset).items()}
    published = {'the paper': repro.PAPER, 'the 2022 reproduction': repro.KARPATHY2022}
    recipe = repro.RECIPES['karpathy2022']
    return {
        'dataset': dataset.upper(), 'way': predict.way(dataset), 'settings': recipe['net'] | recipe['training'],
        'seed': SEED, 'days': repro.DAYS, 'n': len(splits['train'][1]), 'n_test': len(splits['test'][1]),
        'published': {name: {split: row[f'{split}_error'] for split in splits} for name, row in published.items()},
        'digits': {'side': splits['test'][0].shape[-1]} | {
            split: {name: packed(zlib.compress(array.tobytes(), 9))
                    for name, array in zip(('images', 'labels'), arrays)}
            for split, arrays in splits.items()},
    }


def page(data):
    """The page: page.html, its scripts, and the data as JSON without `<`: HTML would take </script> for the end."""
    def source(name):
        return files.read_file(os.path.join(HERE, name), '`git checkout experiments` brings it back').decode()
    text = re.sub(r' src="(.*\.js)">', lambda script: f'>\n{source(script[1])}', source('page.html'))
    return text.replace(PLACE, json.dumps(data, separators=(',', ':'), allow_nan=False).replace('<', '\\u003c'))


def main():
    parser = cli.parser(__doc__)
    parser.add_argument('runs', nargs='*', metavar='RUN', type=cli.path, help='a folder that repro.py wrote, or its '
                        'model.pt (default: train `karpathy2022` on MNIST and, with data/usps, `paper` on USPS)')
    parser.add_argument('--dataset', choices=('mnist', 'usps'), default='mnist', help="the digits that the page's own "
                        'net learns; a page with those of usps is for your own use (default: mnist)')
    parser.add_argument('--out', metavar='FILE.html', type=cli.path,
                        help=f'(default: {OUT}; with --dataset usps {OUT_USPS})')
    args = parser.parse_args()
    out = args.out or (OUT if args.dataset == 'mnist' else OUT_USPS)

    torch.set_num_threads(1)
    files.writable(os.path.dirname(out) or '.')
    if args.runs:
        nets = [read(run) for run in args.runs]
    else:
        nets = [trained(recipe, dataset) for recipe, dataset in DEFAULT
                if dataset == 'mnist' or os.path.exists(files.digits_path(dataset, ''))]
        if len(nets) < len(DEFAULT):
            cli.warn('no data/usps, so no net of the paper\'s own digits; for it run: '
                     'python prepro.py --dataset usps')
    data = {'nets': [described(*net) for net in nets], 'digits': to_click(*nets[0][:2]),
            'learning': to_learn(args.dataset),
            'constants': {name: getattr(predict, name) for name in ('WORK', 'CONTRAST', 'PALE', 'WAYS')}}
    html = page(data).encode()
    files.write_file(out, html)
    print(f'{out}: {len(html) / 1000:.0f} kB')


if __name__ == '__main__':
    cli.run(main)
