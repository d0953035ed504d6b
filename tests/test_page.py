"""page.py: what is in the committed page, and what the builder makes. test_page_at_work.py has it in a browser."""
import base64
import json
import re
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import prepro
import repro
from conftest import REPO, TINY, call, files, refused, write_digits
from experiments import learning, page, predict
from support import files as support_files

PAGE = REPO / page.OUT
IMAGES, LABELS = prepro.embedded()['test']


def data_of(html):
    """What page.py put into a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*)</script>', html)[1])


def unpacked(net):
    """A net of a page as repro.Net, from its weights."""
    plain = repro.Net(table=net['table'], A=net['A'], S=net['S'], level=net['level'])
    plain.load_state_dict({name: torch.tensor(np.frombuffer(base64.b64decode(net['weights'][name]), '<f4'))
                           .reshape(t.shape) for name, t in plain.state_dict().items()})
    return plain


HTML = PAGE.read_text(encoding='utf-8')
DATA = data_of(HTML)
NETS = pytest.mark.parametrize('n', [0, pytest.param(1, marks=pytest.mark.slow)], ids=['karpathy2022', 'paper'])


def digits_of(n, request):
    """(X, Y): the test digits of the data set that net n of the page was trained on."""
    return prepro.tensors(*(prepro.originals('usps', request.getfixturevalue('usps_root'))['test'] if n
                            else (IMAGES, LABELS)))


# ---------------------------------------------------------------------------------------------------------------------
# the committed page

def test_the_page_is_the_template_with_its_data_in_it():
    assert page.page(DATA) == HTML, 'run: python -m experiments.page'
    assert [(net['recipe'], net['dataset'].lower()) for net in DATA['nets']] == list(page.DEFAULT)
    assert len(HTML.encode()) <= 2_500_000


def test_its_constants_and_the_digits_to_learn_are_those_of_the_scripts():
    assert DATA['constants'] == page.constants()
    for split, arrays in prepro.embedded().items():
        for name, array in zip(('images', 'labels'), arrays):
            assert zlib.decompress(base64.b64decode(DATA['learning']['digits'][split][name])) == array.tobytes()
    assert DATA['learning'] == page.to_learn('mnist') | {'digits': DATA['learning']['digits']}


@NETS
def test_what_it_says_of_a_net_is_what_the_weights_give(n, request):
    X, Y = digits_of(n, request)
    net = unpacked(DATA['nets'][n])
    one = 100 / len(X) + 1e-6           # a digit that is on the edge may fall on either side on another machine
    assert DATA['nets'][n]['test'] == pytest.approx({'n': len(X)} | {
        key: v for key, v in repro.measure(net, X, Y).items() if key != 'loss'}, abs=one)
    assert DATA['nets'][n]['least'] == pytest.approx(predict.threshold(net, X, Y), abs=1e-3)
    if n == 0:
        assert DATA['digits'] == page.to_click(net, 'mnist')


# ---------------------------------------------------------------------------------------------------------------------
# the builder

def save_run(folder, recipe='karpathy2022', dataset=TINY, **args):
    settings = repro.RECIPES[recipe]
    net = repro.build(settings, seed=0)
    support_files.save_run(folder, {'recipe': recipe, 'dataset': dataset, 'seed': 0, 'settings': settings} | args,
                           [{'pass': 1}], net)
    return net


def test_a_page_of_a_run_has_its_weights(tiny):
    net = save_run(tiny / 'run', recipe='paper')
    done = call(page, 'run', '--out', 'mine/page.html', cwd=tiny)
    assert (done.status, done.err) == (0, [])
    found, = data_of((tiny / 'mine/page.html').read_text(encoding='utf-8'))['nets']
    assert (found['level'], found['test']['n']) == (0.8, 20)
    assert found['settings'].endswith(": tanh, targets ±0.8, initial range ±2.4/fan-in, Newton's method, rate 0.002, "
                                      'damping 0.03, 23 passes')
    for name, t in unpacked(found).state_dict().items():
        assert torch.equal(t, net.state_dict()[name])


def test_without_a_run_the_recipes_are_trained_as_repro_does(tiny_mnist, monkeypatch):
    monkeypatch.setitem(repro.RECIPES['karpathy2022']['training'], 'passes', 1)
    assert call(repro, '-o', 'run', cwd=tiny_mnist).status == 0
    done = call(page, cwd=tiny_mnist)
    assert (done.status, len(done.err)) == (0, 1)                        # and there is no USPS
    assert 'prepro.py --dataset usps' in done.err[0]
    html = (tiny_mnist / page.OUT).read_bytes()
    found, = data_of(html.decode())['nets']
    state, _ = support_files.load_model(tiny_mnist / 'run' / 'model.pt')
    for name, t in unpacked(found).state_dict().items():
        assert torch.equal(t, state[name])
    call(page, cwd=tiny_mnist)
    assert (tiny_mnist / page.OUT).read_bytes() == html

    (tiny_mnist / 'run' / 'args.json').write_text('{"learning_rate": 0.03, "output_dir": "out/base"}')    # as in 2022
    assert call(page, 'run', '--out', 'page.html', cwd=tiny_mnist).status == 0
    assert data_of((tiny_mnist / 'page.html').read_text(encoding='utf-8'))['nets'] == [found]


def test_a_page_may_learn_the_paper_s_digits(tiny, any_digits):
    X, _ = write_digits(tiny, 'usps', 40, 20)['train']
    save_run(tiny / 'run', dataset='usps')
    assert call(page, 'run', '--dataset', 'usps', cwd=tiny).status == 0
    learning = data_of((tiny / page.OUT_USPS).read_text(encoding='utf-8'))['learning']
    assert (learning['dataset'], learning['n'], learning['digits']['side']) == ('USPS', 40, 16)
    images = np.frombuffer(zlib.decompress(base64.b64decode(learning['digits']['train']['images'])), np.uint8)
    assert np.abs(images / 127.5 - 1 - X.flatten().numpy()).max() <= 1 / 255


def test_what_cannot_be_built_is_refused_in_a_line(tiny):
    save_run(tiny / 'run')
    save_run(tiny / 'full', recipe='fc40')
    save_run(tiny / 'other', dataset='usps')
    (tiny / 'file').write_text('')
    for argv, parts in ((['nowhere'], ['nowhere', 'python repro.py']), (['full'], ['full', 'H1']),
                        (['other'], ['prepro.py --dataset usps']), (['run', '--out', 'file/page.html'], ['file']),
                        ([], ['prepro.py --dataset mnist'])):
        before = files(tiny)
        refused(call(page, *argv, *([] if '--out' in argv else ['--out', 'page.html']), cwd=tiny), 'page.py', *parts)
        assert files(tiny) == before


def test_an_animation_has_a_frame_for_each_moment(tiny_mnist, monkeypatch):
    monkeypatch.setitem(repro.RECIPES['karpathy2022']['training'], 'passes', 2)
    monkeypatch.setattr(learning, 'PARTS', [0, 20])
    assert call(learning, cwd=tiny_mnist).status == 0
    with Image.open(tiny_mnist / learning.OUT) as animation:
        assert animation.n_frames == 4                                   # after 0, 20, 40 and 80 presentations
