"""predict.py: from any picture to what the net sees, the answer or a rejection, and bad input."""
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import predict
import prepro
import repro
from conftest import call, files, random_patterns, shell

IMAGES, LABELS = prepro.embedded()['test']


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """A directory with the embedded digits and, in run/, the net after a pass over them."""
    cwd = tmp_path_factory.mktemp('trained')
    assert call(prepro, cwd=cwd).status == 0
    assert call(repro, '--passes', 1, '-o', 'run', cwd=cwd).status == 0
    return cwd


@pytest.fixture
def model(trained, tmp_path):
    """The path of that net; the test runs in tmp_path, where there are no tensors."""
    return trained / 'run' / 'model.pt'


def drawn(i=0, size=240):
    """A digit of the embedded ones as a large picture: dark on light, a wide margin."""
    page = Image.fromarray(IMAGES[i]).resize((size, size), Image.Resampling.BICUBIC)
    return Image.fromarray(255 - np.pad(np.asarray(page), size // 4))


def read(image, dataset='mnist'):
    return predict.normalised(predict.ink(predict.grey(image)), dataset)


def distance(a, b):
    return float((a - b).square().mean())


# ---------------------------------------------------------------------------------------------------------------------
# from a picture to what the net sees

def test_an_mnist_digit_comes_back_as_its_tensor():
    X, _ = prepro.tensors(IMAGES[:300], LABELS[:300])
    seen = torch.cat([read(Image.fromarray(image)) for image in IMAGES[:300]])
    assert ((seen - X).square().mean((1, 2, 3)) < 1e-3).float().mean() > 0.9


def test_a_large_picture_of_a_digit_comes_back_close_to_its_tensor():
    X, _ = prepro.tensors(IMAGES[:40], LABELS[:40])
    seen = torch.cat([read(drawn(i)) for i in range(40)])
    distances = (seen[:, None] - X[None]).square().mean((2, 3, 4))
    assert distances.argmin(1).tolist() == list(range(40))               # to its own, of all of them
    assert distances.diag().median() < 0.03


def with_alpha(colour):
    """The digit in one colour on a transparent page."""
    def change(image):
        page = Image.new('RGBA', image.size, (*colour, 255))
        page.putalpha(Image.eval(image, lambda v: 255 - v))
        return page
    return change


def off_centre(image):
    page = Image.new('L', (image.width * 2, image.height * 3), 255)
    page.paste(image, (image.width - 20, 30))
    return page


CHANGES = {
    'light on dark': lambda image: Image.eval(image, lambda v: 255 - v),
    'pale': lambda image: Image.eval(image, lambda v: 120 + v // 5),
    'colour': lambda image: Image.merge('RGB', [Image.eval(image, lambda v: 200 * v // 255), image, image]),
    'palette': lambda image: image.convert('P'),
    'grey and alpha': lambda image: image.convert('LA'),
    'black on nothing': with_alpha((0, 0, 0)),
    'white on nothing': with_alpha((255, 255, 255)),
    'CMYK': lambda image: image.convert('CMYK'),
    '16 bits': lambda image: Image.fromarray(np.asarray(image).astype(np.uint16) * 257),
    '32 bits': lambda image: Image.fromarray(np.asarray(image).astype(np.int32) * 257),
    'floats': lambda image: Image.fromarray(np.asarray(image).astype(np.float32) / 255),
    'black and white': lambda image: image.convert('1', dither=Image.Dither.NONE),
    'off-centre': off_centre,
    'small': lambda image: image.resize((90, 90), Image.Resampling.BOX),
    'large': lambda image: image.resize((2000, 2000), Image.Resampling.BICUBIC),
}


@pytest.mark.parametrize('dataset', ['mnist', 'usps'])
@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_how_a_digit_is_drawn_makes_no_difference(change, dataset):
    for i in (0, 4, 7):
        plain = read(drawn(i), dataset)
        others = [distance(read(drawn(j), dataset), plain) for j in range(10) if LABELS[j] != LABELS[i]]
        # not the same, for a width that falls between two may round to either
        assert distance(read(change(drawn(i)), dataset), plain) < min(0.16, 0.5 * min(others))


@pytest.mark.parametrize('dataset', ['mnist', 'usps'])
def test_a_photograph_in_uneven_light_is_read_as_a_drawing(dataset):
    rng = np.random.RandomState(0)
    for i in (0, 4, 7):
        v = np.asarray(drawn(i), np.float32) / 255
        light = np.linspace(0.5, 0.9, v.shape[1])
        v = v * light - 0.4 * (1 - v) * light.min() + 0.1 + rng.normal(0, 0.02, v.shape)
        photograph = Image.fromarray(np.round(255 * np.clip(v, 0, 1)).astype(np.uint8))
        assert distance(read(photograph, dataset), read(drawn(i), dataset)) < 0.1


def bar(width, height, slant=0.0, page=200):
    """A bar, upright or sheared, black on white."""
    image = Image.new('L', (page, page), 255)
    x, y, d = page / 2, page / 2, slant * height / 2
    ImageDraw.Draw(image).polygon([(x - width / 2 - d, y - height / 2), (x + width / 2 - d, y - height / 2),
                                   (x + width / 2 + d, y + height / 2), (x - width / 2 + d, y + height / 2)], fill=0)
    return image


def extent(X):
    """(top, bottom, left, right) of what is in it."""
    ys, xs = np.nonzero(X[0, 0].numpy() > 0)
    return ys.min(), ys.max(), xs.min(), xs.max()


@pytest.mark.parametrize('width, height, expected', [(40, 160, (0, 15, 6, 9)), (160, 40, (6, 9, 0, 15)),
                                                     (100, 100, (0, 15, 0, 15))])
def test_usps_fills_the_image_and_keeps_the_aspect(width, height, expected):
    assert np.abs(np.subtract(extent(read(bar(width, height), 'usps')), expected)).max() <= 1


@pytest.mark.parametrize('width, height', [(20, 80), (80, 20), (80, 80)])
def test_mnist_has_a_box_of_20_of_28_and_the_mass_in_the_middle(width, height):
    top, bottom, left, right = extent(read(bar(width, height), 'mnist'))
    scale = 20 / 28 * 16 / max(width, height)
    assert bottom - top + 1 == pytest.approx(height * scale, abs=1.01)
    assert right - left + 1 == pytest.approx(width * scale, abs=1.01)
    assert (top + bottom) / 2 == pytest.approx(7.5, abs=0.51)
    assert (left + right) / 2 == pytest.approx(7.5, abs=0.51)


def test_mnist_is_centred_by_its_mass():
    image = Image.new('L', (200, 200), 255)
    ImageDraw.Draw(image).rectangle((60, 40, 90, 160), fill=0)
    ImageDraw.Draw(image).rectangle((60, 150, 140, 160), fill=0)         # an L: more of it is on the left and below
    ink = read(image)[0, 0].numpy() + 1
    at = np.arange(16)
    assert ink.sum(0) @ at / ink.sum() == pytest.approx(7.79, abs=0.35)  # where the training digits have it
    assert ink.sum(1) @ at / ink.sum() == pytest.approx(7.79, abs=0.35)


@pytest.mark.parametrize('slant', [-0.5, 0.3, 0.6])
def test_usps_stands_upright(slant):
    upright, slanted = read(bar(30, 160), 'usps'), read(bar(30, 160, slant), 'usps')
    assert distance(upright, slanted) < 0.05
    assert distance(read(bar(30, 160), 'mnist'), read(bar(30, 160, slant), 'mnist')) > 0.1


def test_a_photograph_that_lies_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                    # "turn it by 90 degrees clockwise to see it"
    drawn(0).transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'side.jpg', quality=95, exif=exif)
    seen = predict.normalised(predict.opened(tmp_path / 'side.jpg'), 'mnist')
    assert distance(seen, read(drawn(0))) < 0.01


@pytest.mark.parametrize('shape', [(1, 2), (1, 300), (300, 1), (2, 2), (3, 3), (5000, 3)])
@pytest.mark.parametrize('dataset', ['mnist', 'usps'])
def test_any_picture_that_is_not_blank_gives_an_image(shape, dataset):
    rng = np.random.RandomState(0)
    noise = rng.randint(0, 256, shape).astype(np.uint8)
    dot = np.zeros(shape, np.uint8)
    dot[0, -1] = 255
    for v in (noise, dot):
        try:
            X = read(Image.fromarray(v), dataset)
        except predict.Unreadable:
            continue
        assert X.shape == (1, 1, 16, 16) and X.abs().max() <= 1


# ---------------------------------------------------------------------------------------------------------------------
# the answer

def answers(out):
    """The verdicts in what predict.py printed."""
    return [line.split()[1].strip(',') for line in out.splitlines() if line.startswith(('  answer', '  rejected'))]


def test_pictures_are_answered_as_the_net_answers_their_tensors(trained):
    X, _ = prepro.tensors(IMAGES[:20], LABELS[:20])
    net, dataset = predict.load(str(trained / 'run' / 'model.pt'), None)
    paths = []
    for i in range(20):
        paths.append(trained / f'{i}.png')
        drawn(i).save(paths[-1])
    run = call(predict, 'run/model.pt', *paths, '--save', 'saw.png', cwd=trained)
    assert run.status == 0 and run.err == [] and dataset == 'mnist'
    expected = repro.outputs(net, X).argmax(1).tolist()
    assert sum(a == str(b) for a, b in zip(answers(run.out), expected, strict=True)) >= 18
    assert all(len(line) <= 80 for line in run.out.splitlines() if not line.startswith('/'))
    with Image.open(trained / 'saw.png') as saw:
        assert saw.size == (20 * 18 * 8, 18 * 8)


def test_too_close_is_rejected():
    out = torch.full((10,), -1.0)
    out[3], out[5] = 0.5, 0.25
    assert predict.answer(out, 0.26)[-1] == '  rejected: 3, but only 0.25 ahead of 5; for 1% error it takes 0.26'
    assert predict.answer(out, 0.25)[-1] == '  answer: 3 (0.25 ahead of 5; for 1% error it takes 0.25)'
    assert predict.answer(out, None)[-1] == '  answer: 3 (0.25 ahead of 5)'
    chart = predict.answer(out, None)[:-1]
    assert [line.count('#') for line in chart] == [0, 0, 0, 30, 0, 25, 0, 0, 0, 0]


def test_the_threshold_rejects_what_measure_says(trained, monkeypatch):
    monkeypatch.chdir(trained)
    net, _ = predict.load('run/model.pt', None)
    X, Y = repro.load('mnist', 'test')
    top = repro.outputs(net, X).topk(2).values
    rejected = (top[:, 0] - top[:, 1] < predict.threshold(net, 'mnist')).double().mean() * 100
    assert rejected == pytest.approx(repro.measure(net, X, Y)['rejection'], abs=0.1)


def test_without_test_digits_nothing_is_rejected_and_it_says_so(model, tmp_path):
    drawn().save(tmp_path / 'a.png')
    run = call(predict, model, 'a.png', cwd=tmp_path)
    assert run.status == 0 and len(answers(run.out)) == 1 and '1% error' not in run.out
    assert len(run.err) == 1 and 'python prepro.py --dataset mnist' in run.err[0]
    assert files(tmp_path) == ['a.png']


# ---------------------------------------------------------------------------------------------------------------------
# bad input

def png(image):
    f = io.BytesIO()
    image.save(f, 'PNG')
    return f.getvalue()


BAD_IMAGES = {
    'no such file': (None, 'there is no such file'),
    'text': (b'hello\n', 'no picture'),
    'empty': (b'', 'no picture'),
    'cut off': (png(drawn())[:-3000], 'damaged'),
    'white': (png(Image.new('L', (50, 50), 255)), 'blank'),
    'black': (png(Image.new('RGB', (50, 50))), 'blank'),
    'one pixel': (png(Image.new('L', (1, 1), 7)), 'blank'),
    'transparent': (png(Image.new('RGBA', (50, 50), (9, 9, 9, 0))), 'blank'),
    'a trace': (png(Image.eval(drawn(), lambda v: 250 + v // 60)), 'blank'),
    'huge': (png(Image.new('1', (20000, 20000))), 'too large'),
    'large': (png(Image.new('1', (10000, 10000))), 'too large'),
}


@pytest.mark.parametrize('bad', BAD_IMAGES)
def test_a_picture_that_cannot_be_read_is_one_line_and_the_others_go_on(bad, model, tmp_path):
    content, says = BAD_IMAGES[bad]
    if content is not None:
        (tmp_path / 'bad.png').write_bytes(content)
    drawn().save(tmp_path / 'good.png')
    run = call(predict, model, '--dataset', 'mnist', 'bad.png', 'good.png', cwd=tmp_path)
    assert run.status == 1 and len(answers(run.out)) == 1
    lines = [line for line in run.err if not line.startswith('nothing is rejected')]
    assert len(lines) == 1 and lines[0].startswith('predict.py: bad.png: ') and says in lines[0]


def test_a_folder_is_no_picture(model, tmp_path):
    run = call(predict, model, '.', cwd=tmp_path)
    assert run.status == 1 and 'directory' in run.err[-1]


def save(content):
    return lambda path: torch.save(content, path)


def poisoned(path):
    state = repro.Net().state_dict()
    state['outb'][0] = torch.nan
    torch.save(state, path)


BAD_MODELS = {
    'no such file': (lambda path: None, 'python repro.py'),
    'text': (lambda path: path.write_text('hello'), 'not a model'),
    'empty': (lambda path: path.write_bytes(b''), 'not a model'),
    'a folder': (lambda path: path.mkdir(), 'cannot read'),
    'tensors': (save(random_patterns(3)), 'not a model'),
    'a list': (save([1, 2]), 'not a model'),
    'another net': (save(repro.FullNet().state_dict()), 'not of the net of 1989'),
    'a whole net': (save(repro.Net()), 'not a model'),                   # not weights only
    'not finite': (poisoned, 'not finite'),
}


@pytest.mark.parametrize('bad', BAD_MODELS)
def test_a_model_that_is_none(bad, tmp_path):
    make, says = BAD_MODELS[bad]
    make(tmp_path / 'model.pt')
    drawn().save(tmp_path / 'a.png')
    run = call(predict, 'model.pt', 'a.png', '--dataset', 'mnist', cwd=tmp_path)
    assert run.status == 1 and run.out == ''
    assert len(run.err) == 1 and run.err[0].startswith('predict.py: ') and says in run.err[0]


@pytest.mark.parametrize('args', [None, '', '[]', '{}', '{"dataset": "letters"}', '{"dataset": 3}', '{"dataset": []}'])
def test_a_run_that_does_not_say_which_digits(args, model, tmp_path):
    (tmp_path / 'model.pt').write_bytes(model.read_bytes())
    if args is not None:
        (tmp_path / 'args.json').write_text(args)
    drawn().save(tmp_path / 'a.png')
    run = call(predict, 'model.pt', 'a.png', cwd=tmp_path)
    assert run.status == 1 and run.out == '' and len(run.err) == 1 and '--dataset' in run.err[0]
    assert call(predict, 'model.pt', 'a.png', '--dataset', 'usps', cwd=tmp_path).status == 0


def test_args_json_decides_how_the_digit_is_placed(model, tmp_path):
    for dataset in ('mnist', 'usps'):
        (tmp_path / dataset).mkdir()
        (tmp_path / dataset / 'model.pt').write_bytes(model.read_bytes())
        (tmp_path / dataset / 'args.json').write_text(json.dumps({'dataset': dataset}))
        bar(40, 160).save(tmp_path / 'a.png')
        assert call(predict, f'{dataset}/model.pt', 'a.png', '--save', f'{dataset}.png', cwd=tmp_path).status == 0
    with Image.open(tmp_path / 'mnist.png') as a, Image.open(tmp_path / 'usps.png') as b:
        rows = [int((np.asarray(image) < 128).any(1).sum()) // 8 for image in (a, b)]
    assert rows[0] in (11, 12) and rows[1] == 16


def test_save_that_cannot_be_written(model, tmp_path):
    drawn().save(tmp_path / 'a.png')
    (tmp_path / 'file').write_text('')
    run = call(predict, model, 'a.png', '--save', 'file/saw.png', cwd=tmp_path)
    assert run.status == 1 and 'cannot write' in run.err[-1]


def test_as_the_shell_sees_it(model, tmp_path):
    assert call(predict, cwd=tmp_path).status == call(predict, model, cwd=tmp_path).status == 2
    (tmp_path / 'bad.png').write_text('hello')
    run = shell('predict.py', model, 'bad.png', cwd=tmp_path)
    assert run.status == 1 and run.out == '' and 'Traceback' not in '\n'.join(run.err)
