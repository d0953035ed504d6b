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
from conftest import REPO, call, refused, save_run
from experiments import learning, page, predict
from support import files as support_files

PAGE = REPO / page.OUT
DIGITS = prepro.embedded()


def data_of(html):
    """What page.py put into a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*)</script>', html)[1])


def unpacked(net):
    """A net of a page as repro.Net, from its weights."""
    plain = repro.Net(table=net['table'], A=net['A'], S=net['S'], level=net['level'])
    plain.load_state_dict({name: torch.tensor(np.frombuffer(base64.b64decode(net['weights'][name]), '<f4'))
                           .reshape(t.shape) for name, t in plain.state_dict().items()})
    return plain


def inflated(text):
    return zlib.decompress(base64.b64decode(text))


HTML = PAGE.read_text(encoding='utf-8')
DATA = data_of(HTML)
NETS = pytest.mark.parametrize('n', [0, pytest.param(1, marks=pytest.mark.slow)], ids=['karpathy2022', 'paper'])


def digits_of(n, request):
    """(X, Y): the test digits of the data set that net n of the page was trained on."""
    return prepro.tensors(*(prepro.originals('usps', request.getfixturevalue('usps_root')) if n else DIGITS)['test'])


# ---------------------------------------------------------------------------------------------------------------------
# the committed page

def test_the_page_is_the_template_with_its_data_in_it():
    assert page.page(DATA) == HTML, 'run: python -m experiments.page'
    assert [(net['recipe'], net['dataset'].lower()) for net in DATA['nets']] == list(page.DEFAULT)


def test_its_constants_and_the_digits_to_learn_are_those_of_the_scripts(monkeypatch):
    assert DATA['constants'] == {name: getattr(predict, name) for name in ('WORK', 'CONTRAST', 'PALE', 'WAYS')}
    for split, arrays in DIGITS.items():
        for name, array in zip(('images', 'labels'), arrays):
            assert inflated(DATA['learning']['digits'][split][name]) == array.tobytes()
    monkeypatch.setattr(zlib, 'compress', lambda *args: b'')             # which takes a second
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

@pytest.fixture
def place(tiny, short, monkeypatch):
    """A folder to build in; few digits to learn and to click."""
    few = {split: (images[:100], labels[:100]) for split, (images, labels) in DIGITS.items()}
    monkeypatch.setattr(prepro, 'embedded', lambda: few)
    return tiny


def same(found, net):
    """Whether a net of a page has this one's weights."""
    return all(torch.equal(t, net.state_dict()[name]) for name, t in unpacked(found).state_dict().items())


def test_a_page_of_a_run_has_its_weights(place):
    net = save_run(place / 'run', recipe='paper')
    done = call(page, 'run', '--out', 'mine/page.html', cwd=place)
    assert (done.status, done.err) == (0, [])
    found, = data_of((place / 'mine/page.html').read_text(encoding='utf-8'))['nets']
    assert found['level'] == net.level and found['test']['n'] == 20 and same(found, net)
    (place / 'run' / 'args.json').write_text('{"learning_rate": 0.03, "output_dir": "out/base"}')   # as in 2022
    assert call(page, 'run', '--out', 'page.html', cwd=place).status == 0


def test_without_a_run_the_recipes_are_trained_as_repro_does(place):
    assert call(page, cwd=place).status == 0
    html = (place / page.OUT).read_bytes()
    for found, (recipe, dataset) in zip(data_of(html.decode())['nets'], page.DEFAULT, strict=True):
        net = repro.build(repro.RECIPES[recipe], page.SEED)
        list(repro.train(net, *support_files.load_digits(dataset)['train'], **repro.RECIPES[recipe]['training']))
        assert same(found, net)
    (place / 'data' / 'usps').rename(place / 'elsewhere')
    done = call(page, cwd=place)
    assert done.status == 0 and 'prepro.py --dataset usps' in done.err[0]
    assert len(data_of((place / page.OUT).read_text(encoding='utf-8'))['nets']) == 1


def test_a_page_may_learn_the_paper_s_digits(place):
    save_run(place / 'run', dataset='usps')
    assert call(page, 'run', '--dataset', 'usps', cwd=place).status == 0
    learning = data_of((place / page.OUT_USPS).read_text(encoding='utf-8'))['learning']
    assert (learning['dataset'], learning['n'], learning['digits']['side']) == ('USPS', 40, 16)
    images = np.frombuffer(inflated(learning['digits']['train']['images']), np.uint8)
    X, _ = torch.load(place / 'data' / 'usps' / 'train1989.pt', weights_only=True)
    assert np.abs(images / 127.5 - 1 - X.flatten().numpy()).max() <= 1 / 255


def test_what_cannot_be_built_is_refused_in_a_line(place):
    save_run(place / 'full', recipe='fc40')
    save_run(place / 'other', dataset='mnist-seed9')
    for run, parts in ('nowhere', ['nowhere', 'python repro.py']), ('full', ['H1']), ('other', ['prepro.py --seed 9']):
        refused(call(page, run, '--out', 'page.html', cwd=place), 'page.py', *parts)
        assert not (place / 'page.html').exists()


def test_an_animation_has_a_frame_for_each_moment(place, monkeypatch):
    monkeypatch.setattr(learning, 'PARTS', [0, 20])
    assert call(learning, cwd=place).status == 0
    with Image.open(place / learning.OUT) as animation:
        assert animation.n_frames == 4                                   # after 0, 20, 40 and 80 presentations
