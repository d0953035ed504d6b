"""predict.py: from any picture to what the net sees, the answer or a rejection, and bad input."""
import io
import json
import struct

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import prepro
import repro
from conftest import call, files, random_patterns, refused, shell
from experiments import predict
from support import files as support_files

IMAGES, LABELS = prepro.embedded()['test']
DATASETS = pytest.mark.parametrize('dataset', ['mnist', 'usps'])


def save_run(folder, recipe='reference', net=None, dataset='mnist', **changes):
    """A run in folder, of a net that may be trained. Returns its model.pt."""
    settings = repro.RECIPES[recipe] | changes
    plain, _ = repro.build(settings, seed=0)
    if net:
        plain.load_state_dict(net.state_dict())
    support_files.save_run(folder, {'recipe': recipe, 'dataset': dataset, 'settings': settings}, [{'pass': 1}], plain)
    return folder / 'model.pt'


@pytest.fixture(scope='module')
def trained(prepared):
    """(folder, net, test digits): the embedded digits and, in run/, the reference's net after two passes over them."""
    cwd, _ = prepared
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        splits = support_files.load_digits('mnist')
        net, training = repro.build(repro.RECIPES['reference'] | {'passes': 2}, seed=0)
        for _ in repro.train(net, *splits['train'], **training):
            pass
        save_run(cwd / 'run', net=net)
    return cwd, net, splits['test']


@pytest.fixture
def model(tmp_path):
    """The model.pt of a run in tmp_path, of a net as it is drawn, where there are no digits to set a threshold by."""
    drawn().save(tmp_path / 'a.png')
    return save_run(tmp_path / 'run')


def drawn(i=0, size=240):
    """A digit of the embedded ones as a large picture: dark on light, a wide margin."""
    page = Image.fromarray(IMAGES[i]).resize((size, size), Image.Resampling.BICUBIC)
    return Image.fromarray(255 - np.pad(np.asarray(page), size // 4))


def encoded(image, kind='PNG'):
    f = io.BytesIO()
    image.save(f, kind)
    return f.getvalue()


def read(image, dataset='mnist'):
    return predict.normalized(predict.ink(predict.gray(image)), dataset)


def distance(a, b):
    return float((a - b).square().mean())


# ---------------------------------------------------------------------------------------------------------------------
# from a picture to what the net sees

def test_an_mnist_digit_comes_back_as_its_tensor():
    X, _ = prepro.tensors(IMAGES[:200], LABELS[:200])
    seen = torch.cat([read(Image.fromarray(image)) for image in IMAGES[:200]])
    assert ((seen - X).square().mean((1, 2, 3)) < 1e-3).float().mean() > 0.9


def test_a_large_picture_of_a_digit_comes_back_closest_to_its_tensor():
    X, _ = prepro.tensors(IMAGES[:20], LABELS[:20])
    seen = torch.cat([read(drawn(i)) for i in range(20)])
    distances = (seen[:, None] - X[None]).square().mean((2, 3, 4))
    assert distances.argmin(1).tolist() == list(range(20))
    assert distances.diag().median() < 0.03


def with_alpha(color):
    """The digit in one color on a transparent page."""
    def change(image):
        page = Image.new('RGBA', image.size, (*color, 255))
        page.putalpha(Image.eval(image, lambda v: 255 - v))
        return page
    return change


def off_center(image):
    page = Image.new('L', (image.width * 2, image.height * 3), 255)
    page.paste(image, (image.width - 20, 30))
    return page


def as_numbers(kind, scale):
    return lambda image: Image.fromarray((np.asarray(image) * np.float64(scale)).astype(kind))


CHANGES = {
    'light on dark': lambda image: Image.eval(image, lambda v: 255 - v),
    'pale': lambda image: Image.eval(image, lambda v: 120 + v // 5),
    'color': lambda image: Image.merge('RGB', [Image.eval(image, lambda v: 200 * v // 255), image, image]),
    'palette': lambda image: image.convert('P'),
    'black on nothing': lambda image: with_alpha((0, 0, 0))(image).convert('LA'),
    'white on nothing': with_alpha((255, 255, 255)),
    'CMYK': lambda image: image.convert('CMYK'),
    'black and white': lambda image: image.convert('1', dither=Image.Dither.NONE),
    'off-center': off_center,
    'small': lambda image: image.resize((90, 90), Image.Resampling.BOX),
    'large': lambda image: image.resize((2000, 2000), Image.Resampling.BICUBIC),
}
PLACED = 'off-center', 'small', 'large'         # what is left to normalized(), where the data sets differ


@pytest.mark.parametrize('change, dataset', [(change, 'mnist') for change in CHANGES]
                         + [(change, 'usps') for change in PLACED])
def test_how_a_digit_is_drawn_makes_no_difference(change, dataset):
    plain = read(drawn(4), dataset)
    others = [distance(read(drawn(j), dataset), plain) for j in range(6) if LABELS[j] != LABELS[4]]
    # not the same, as a width that falls between two may round to either
    assert distance(read(CHANGES[change](drawn(4)), dataset), plain) < min(0.16, 0.5 * min(others))


def unsigned(image):
    """A TIFF file of unsigned integers of 32 bits, which Pillow does not write: signed ones, called unsigned."""
    v = (np.asarray(image).astype(np.uint32) << 24).view(np.int32)
    signed, called = (struct.pack('<HHIHH', 339, 3, 1, n, 0) for n in (2, 1))        # the tag SampleFormat
    content = encoded(Image.fromarray(v), 'TIFF')
    assert content.count(signed) == 1
    return content.replace(signed, called)


@pytest.mark.parametrize('content', [
    encoded(as_numbers(np.uint16, 4)(drawn())), encoded(as_numbers(np.float32, 0.1)(drawn()), 'TIFF'),
    encoded(as_numbers(np.int32, 2**23)(drawn()), 'TIFF'), unsigned(drawn())],
    ids=['10 bits in a PNG of 16', 'floats', '32 bits', '32 bits, unsigned'])
def test_a_file_of_many_bits_is_read_as_one_of_8(content, tmp_path):
    (tmp_path / 'a').write_bytes(content)
    assert distance(predict.normalized(predict.opened(tmp_path / 'a'), 'mnist'), read(drawn())) < 0.01


@DATASETS
def test_a_photograph_in_uneven_light_is_read_as_a_drawing(dataset):
    rng = np.random.RandomState(0)
    for i in (0, 4, 7):
        v = np.asarray(drawn(i), np.float32) / 255
        light = np.linspace(0.5, 0.9, v.shape[1])
        v = v * light - 0.4 * (1 - v) * light.min() + 0.1 + rng.normal(0, 0.02, v.shape)
        photograph = Image.fromarray(np.round(255 * np.clip(v, 0, 1)).astype(np.uint8))
        assert distance(read(photograph, dataset), read(drawn(i), dataset)) < 0.1


def test_a_photograph_that_lies_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                    # "turn it by 90 degrees clockwise to see it"
    drawn().transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'side.jpg', quality=95, exif=exif)
    assert distance(predict.normalized(predict.opened(tmp_path / 'side.jpg'), 'mnist'), read(drawn())) < 0.01


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


@pytest.mark.parametrize('width, height, expected', [(40, 160, (0, 15, 6, 9)), (160, 40, (6, 9, 0, 15))])
def test_usps_fills_the_image_and_keeps_the_aspect(width, height, expected):
    assert np.abs(np.subtract(extent(read(bar(width, height), 'usps')), expected)).max() <= 1


@pytest.mark.parametrize('slant', [-0.5, 0.3])
def test_usps_stands_upright(slant):
    assert distance(read(bar(30, 160), 'usps'), read(bar(30, 160, slant), 'usps')) < 0.05
    assert distance(read(bar(30, 160), 'mnist'), read(bar(30, 160, slant), 'mnist')) > 0.1


@pytest.mark.parametrize('width, height', [(20, 80), (80, 20)])
def test_mnist_has_a_box_of_20_of_28_and_the_mass_in_the_middle(width, height):
    top, bottom, left, right = extent(read(bar(width, height), 'mnist'))
    scale = 20 / 28 * 16 / max(width, height)
    assert bottom - top + 1 == pytest.approx(height * scale, abs=1.01)
    assert right - left + 1 == pytest.approx(width * scale, abs=1.01)
    assert (top + bottom) / 2 == pytest.approx(7.5, abs=0.51)
    assert (left + right) / 2 == pytest.approx(7.5, abs=0.51)


def test_mnist_is_centered_by_its_mass():
    image = Image.new('L', (200, 200), 255)
    ImageDraw.Draw(image).rectangle((60, 40, 90, 160), fill=0)
    ImageDraw.Draw(image).rectangle((60, 150, 140, 160), fill=0)         # an L: more of it is on the left and below
    ink = read(image)[0, 0].numpy() + 1
    at = np.arange(16)
    assert ink.sum(0) @ at / ink.sum() == pytest.approx(7.79, abs=0.35)  # where the training digits have it
    assert ink.sum(1) @ at / ink.sum() == pytest.approx(7.79, abs=0.35)


@DATASETS
@pytest.mark.parametrize('shape', [(1, 2), (1, 300), (2, 2), (3, 3), (5000, 3)])
def test_any_picture_gives_an_image_or_is_blank(shape, dataset):
    dot = np.zeros(shape, np.uint8)
    dot[0, -1] = 255
    for v in (np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8), dot):
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


def test_pictures_are_answered_as_the_net_answers_their_tensors(trained, tmp_path):
    cwd, net, (X, _) = trained
    paths = [tmp_path / f'{i}.png' for i in range(20)]
    for i, path in enumerate(paths):
        drawn(i).save(path)
    run = call(predict, 'run/model.pt', *paths, '--save', tmp_path / 'saw.png', cwd=cwd)
    assert (run.status, run.err) == (0, [])
    expected = repro.outputs(net, X[:20]).argmax(1).tolist()
    assert sum(a == str(b) for a, b in zip(answers(run.out), expected, strict=True)) >= 18
    assert all(len(line) <= 80 for line in run.out.splitlines() if not line.startswith('/'))
    with Image.open(tmp_path / 'saw.png') as saw:
        assert saw.width == 20 * saw.height


def test_the_threshold_rejects_what_measure_says(trained):
    _, net, (X, Y) = trained
    top = repro.outputs(net, X).topk(2).values
    rejected = (top[:, 0] - top[:, 1] < predict.threshold(net, X, Y)).double().mean() * 100
    assert rejected == pytest.approx(repro.measure(net, X, Y)['rejection'], abs=0.1)


def test_too_close_is_rejected():
    out = torch.full((10,), -1.0)
    out[3], out[5] = 0.5, 0.25
    verdicts = [predict.answer(repro.Net(), out, least)[-1].split(':')[0].strip()
                for least in (None, 0.25, 0.26, predict.math.inf)]
    assert verdicts == ['answer', 'answer', 'rejected', 'rejected']


@pytest.mark.parametrize('A, level', [(1.0, 1.0), (1.0, 0.8), (1.7159, 1.0)])
def test_a_bar_reaches_the_mark_where_the_output_reaches_the_target(A, level):
    net = repro.Net(A=A, level=level)
    out = torch.full((10,), -A)
    out[7], out[8], out[9] = level, A, 0.8 * level
    chart = [line[5:].rpartition(' ')[0] for line in predict.answer(net, out, None)[:-1]]
    assert len({line.index('|') for line in chart}) == 1
    assert chart[0].strip() == '|'                                       # the least value there is: no bar
    assert '#|' in chart[7] and '|#' not in chart[7] and ' |' in chart[9]
    assert chart[8].count('#') == predict.BAR


@pytest.mark.parametrize('recipe', repro.RECIPES)
def test_a_net_of_any_recipe_is_itself_again(recipe, tmp_path):
    drawn_net, _ = repro.build(repro.RECIPES[recipe], seed=5)
    net, dataset = predict.load(str(save_run(tmp_path, recipe, drawn_net, 'mnist-seed3')))
    X, _ = random_patterns(3)
    assert dataset == 'mnist-seed3' and net.level == repro.RECIPES[recipe]['level']
    assert torch.equal(net(X), drawn_net(X))


def test_args_json_decides_how_the_digit_is_placed(tmp_path):
    bar(40, 160).save(tmp_path / 'a.png')
    rows = []
    for dataset in ('mnist', 'usps'):
        save_run(tmp_path / dataset, dataset=dataset)
        assert call(predict, f'{dataset}/model.pt', 'a.png', '--save', 'saw.png', cwd=tmp_path).status == 0
        rows.append(int((np.asarray(Image.open(tmp_path / 'saw.png')) < 128).any(1).sum()) // 8)
    assert rows[0] in (11, 12) and rows[1] == 16


def test_without_test_digits_nothing_is_rejected_and_it_says_so(model, tmp_path):
    before = files(tmp_path)
    run = call(predict, model, 'a.png', cwd=tmp_path)
    assert run.status == 0 and len(answers(run.out)) == 1 and '1% error' not in run.out
    assert len(run.err) == 1 and 'prepro.py' in run.err[0]
    assert files(tmp_path) == before


# ---------------------------------------------------------------------------------------------------------------------
# bad input

INFINITE = np.asarray(drawn()).astype(np.float32)
INFINITE[0, 0] = np.inf
BAD_IMAGES = {
    'no such file': (None, 'there is no such file'),
    'text': (b'hello\n', 'no picture'),
    'cut off': (encoded(drawn())[:-3000], 'damaged'),
    'white': (encoded(Image.new('L', (50, 50), 255)), 'blank'),
    'transparent': (encoded(Image.new('RGBA', (50, 50), (9, 9, 9, 0))), 'blank'),
    'a trace': (encoded(Image.eval(drawn(), lambda v: 250 + v // 60)), 'blank'),
    'a trace in 16 bits': (encoded(Image.fromarray(60000 + np.asarray(drawn()).astype(np.uint16))), 'blank'),
    'an infinite pixel': (encoded(Image.fromarray(INFINITE), 'TIFF'), 'not finite'),
    'too large': (encoded(Image.new('1', (10000, 10000))), 'too large'),
}


@pytest.mark.parametrize('content, says', BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_a_picture_that_cannot_be_read_is_one_line_and_the_others_go_on(content, says, model, tmp_path):
    if content is not None:
        (tmp_path / 'bad.png').write_bytes(content)
    run = call(predict, model, 'bad.png', 'a.png', cwd=tmp_path)
    assert run.status == 1 and len(answers(run.out)) == 1
    lines = [line for line in run.err if 'nothing is rejected' not in line]
    assert len(lines) == 1 and lines[0].startswith('predict.py: bad.png: ') and says in lines[0]


def test_a_folder_is_no_picture_and_no_model(model, tmp_path):
    run = call(predict, model, '.', cwd=tmp_path)
    assert run.status == 1 and 'not a file' in run.err[-1]
    refused(call(predict, '.', 'a.png', cwd=tmp_path), 'predict.py', 'cannot read')


BAD_MODELS = {                          # test_files.py has more
    'another net': repro.FullNet().state_dict(),
    'a whole net': repro.Net(),         # torch.load would run its code
}


@pytest.mark.parametrize('content', BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_model_that_is_none_is_one_line(content, model, tmp_path):
    torch.save(content, model)
    refused(call(predict, model, 'a.png', cwd=tmp_path), 'predict.py', 'model.pt', 'python repro.py')


GOOD = {'dataset': 'mnist', 'settings': repro.RECIPES['reference']}
BAD_ARGS = {                            # test_files.py has those that are missing or no JSON
    'no settings': {'dataset': 'mnist'},
    'an unknown setting': GOOD | {'settings': GOOD['settings'] | {'color': 1}},
    'a number that is not finite': GOOD | {'settings': GOOD['settings'] | {'level': predict.math.nan}},
    'the settings of another net': GOOD | {'settings': repro.RECIPES['fc40']},
    'a connection too few': GOOD | {'settings': GOOD['settings'] | {'table': [*repro.TABLE[:11], repro.TABLE[11][:7]]}},
    'unknown digits': GOOD | {'dataset': 'letters'},
}


@pytest.mark.parametrize('args', BAD_ARGS.values(), ids=BAD_ARGS)
def test_an_args_json_that_does_not_fit_is_one_line(args, model, tmp_path):
    model.with_name('args.json').write_text(json.dumps(args))
    refused(call(predict, model, 'a.png', cwd=tmp_path), 'predict.py', 'args.json', 'python repro.py')


def test_bad_arguments_and_a_file_that_cannot_be_written(model, tmp_path):
    for argv in ([], [model], [model, 'a.png', '--save', '']):
        assert call(predict, *argv, cwd=tmp_path).status == 2
    run = call(predict, model, 'a.png', '--save', 'a.png/saw.png', cwd=tmp_path)
    assert run.status == 1 and 'cannot write' in run.err[-1]


@pytest.mark.slow
def test_a_name_that_the_terminal_cannot_print(model, tmp_path):
    drawn().save(tmp_path / 'zéro.png')
    run = shell('experiments.predict', model, 'zéro.png', 'no file ü', cwd=tmp_path, PYTHONIOENCODING='ascii',
                LC_ALL='C')
    assert run.status == 1 and len(answers(run.out)) == 1 and len(run.err) == 2


def test_a_picture_to_read_is_not_written_over(tmp_path):
    (tmp_path / 'a.png').write_bytes(b'mine')
    said = call(predict, 'model.pt', 'a.png', '--save', 'a.png', cwd=tmp_path)
    assert said.status == 2 and 'a.png is one of the pictures to read' in said.err[-1]
    assert (tmp_path / 'a.png').read_bytes() == b'mine'
