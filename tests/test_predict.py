"""predict.py: from any picture to what the net sees, the answer or a rejection, and bad input."""
import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

import modern
import prepro
import repro
from conftest import TINY, call, random_patterns, refused, save_run, shell
from experiments import predict, reading
from support import files as support_files

IMAGES, LABELS = prepro.embedded()['test']


@pytest.fixture(scope='module')
def trained(prepared):
    """(folder, net, test digits): the embedded digits and, in run/, the net of 2022 after two passes over them."""
    cwd, _ = prepared
    assert call(repro, '--passes', 2, '-o', 'run', cwd=cwd).status == 0
    net, _, _ = predict.load(str(cwd / 'run'))
    return cwd, net, prepro.tensors(IMAGES, LABELS)


@pytest.fixture
def model(tmp_path):
    """The model.pt of a run in tmp_path, of a net as it is drawn, where there are no digits to set a threshold by."""
    drawn().save(tmp_path / 'a.png')
    save_run(tmp_path / 'run', 'karpathy2022', 'mnist')
    return tmp_path / 'run' / 'model.pt'


def drawn(i=0, size=240):
    """A digit of the embedded ones as a large picture: dark on light, a wide margin."""
    page = Image.fromarray(IMAGES[i]).resize((size, size), Image.Resampling.BICUBIC)
    return Image.fromarray(255 - np.pad(np.asarray(page), size // 4))


def read(image, dataset='mnist'):
    return predict.normalized(predict.digit(predict.gray(image))[0], dataset)


def distance(a, b):
    return float((a - b).square().mean())


# ---------------------------------------------------------------------------------------------------------------------
# from a picture to what the net sees

def test_an_mnist_digit_comes_back_as_its_tensor():
    X, _ = prepro.tensors(IMAGES[:200], LABELS[:200])
    seen = torch.cat([read(Image.fromarray(image)) for image in IMAGES[:200]])
    assert ((seen - X).square().mean((1, 2, 3)) < 1e-3).float().mean() > 0.9


CHANGES = {
    'light on dark': ImageOps.invert,
    'color': lambda image: Image.merge('RGB', [Image.eval(image, lambda v: 200 * v // 255), image, image]),
    'white on nothing': lambda image: Image.merge('LA', [Image.eval(image, lambda v: 255), ImageOps.invert(image)]),
    '10 bits in a picture of 16': lambda image: Image.fromarray(4 * np.asarray(image).astype(np.uint16)),
}


@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_how_a_digit_is_drawn_makes_no_difference(change):
    assert distance(read(change(drawn(4))), read(drawn(4))) < 0.02


def test_a_photograph_that_lies_on_its_side_is_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6                    # "turn it by 90 degrees clockwise to see it"
    drawn().transpose(Image.Transpose.ROTATE_90).save(tmp_path / 'side.jpg', quality=95, exif=exif)
    seen, _ = predict.digit(predict.opened(tmp_path / 'side.jpg'))
    assert distance(predict.normalized(seen, 'mnist'), read(drawn())) < 0.01


@pytest.mark.parametrize('kind', [pytest.param(kind, marks=[pytest.mark.slow] if n % 6 else [])
                                  for n, kind in enumerate(reading.SCENES)])
def test_the_digit_of_a_photograph_is_found(kind):
    digits = [Image.fromarray(image) for image in IMAGES[:8]]
    plain = torch.cat([read(digit) for digit in digits])
    seen = torch.cat([read(reading.photograph(digit, kind, np.random.RandomState(i)))
                      for i, digit in enumerate(digits)])
    distances = (seen[:, None] - plain[None]).square().mean((2, 3, 4))
    assert (distances.argmin(1) == torch.arange(8)).sum() >= 7


@pytest.mark.parametrize('image, says', [
    (drawn(), []), (ImageOps.expand(ImageOps.expand(drawn(), 4, 0), 40, 255), ['left out']),
    (drawn().crop((0, 0, 360, 230)), ['touches the edge'])], ids=['nothing', 'a box', 'the edge'])
def test_what_was_left_out_or_cut_off_is_said(image, says):
    _, remarks = predict.digit(predict.gray(image))
    assert len(remarks) == len(says) and all(part in remark for part, remark in zip(says, remarks))


@pytest.mark.parametrize('slant', [-0.5, 0.3])
def test_usps_stands_upright(slant):
    bar = ImageOps.expand(Image.new('L', (30, 160)), (85, 20), 255)
    sheared = bar.transform(bar.size, Image.Transform.AFFINE, (1, slant, -100 * slant, 0, 1, 0), fillcolor=255)
    assert distance(read(bar, 'usps'), read(sheared, 'usps')) < 0.05
    assert distance(read(bar, 'mnist'), read(sheared, 'mnist')) > 0.1


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
    with Image.open(tmp_path / 'saw.png') as sheet:
        assert len(np.unique(np.asarray(sheet))) > 10                    # it shows something


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


@pytest.mark.parametrize('recipe', repro.RECIPES)
def test_a_net_of_any_recipe_is_itself_again(recipe, tmp_path):
    saved = save_run(tmp_path, recipe, 'mnist-seed3')
    net, dataset, _ = predict.load(str(tmp_path))
    X, _ = random_patterns(3)
    assert dataset == 'mnist-seed3' and net.level == saved.level and torch.equal(net(X), saved(X))


@pytest.mark.parametrize('rung', [0, 3, 5])
def test_a_net_of_modern_is_read_its_logits_as_probabilities(rung, tiny):
    assert call(modern, '--rung', rung, '--dataset', TINY, '-o', 'run', cwd=tiny).status == 0
    net, dataset, _ = predict.load(str(tiny / 'run'))
    X, _ = random_patterns(3)
    out = predict.outputs(net, X)
    assert dataset == TINY and torch.equal(out, net(X).softmax(1) if rung else net(X))
    chart = predict.answer(net, out[0], None)[:-1]
    longest = max(chart, key=lambda line: line.count('#'))
    assert longest.split()[0] == str(int(out[0].argmax()))
    assert longest.count('#') == round((out[0].max().item() if rung else (out[0].max().item() + 1) / 2) * predict.BAR)


def test_it_runs_without_m_too(tmp_path):
    said = shell('experiments/predict.py', 'run', 'a.png', cwd=tmp_path, PYTHONPATH='')
    refused(said, 'predict.py', 'run', 'is not there', 'python repro.py')


def test_a_net_of_the_2022_reproduction_is_read(model):
    state, _ = support_files.load_model(model)
    model.with_name('args.json').write_text('{"learning_rate": 0.03, "output_dir": "out/base"}')
    net, dataset, _ = predict.load(model)
    assert dataset == 'mnist' and all(torch.equal(p, state[name]) for name, p in net.state_dict().items())
    model.with_name('args.json').write_text('{"learning_rate": 0.0003, "output_dir": "out/modern"}')
    refused(call(predict, model, 'a.png', cwd=model.parent.parent), 'predict.py', 'modern.py')


def test_without_test_digits_nothing_is_rejected_and_it_says_so(model, tmp_path):
    run = call(predict, model, 'a.png', cwd=tmp_path)
    assert run.status == 0 and len(answers(run.out)) == 1 and '1% error' not in run.out
    assert len(run.err) == 1 and 'prepro.py' in run.err[0]


# ---------------------------------------------------------------------------------------------------------------------
# bad input

def test_pictures_that_cannot_be_read_are_a_line_each_and_the_others_go_on(model, tmp_path):
    (tmp_path / 'cut off').write_bytes((tmp_path / 'a.png').read_bytes()[:-3000])
    (tmp_path / 'heic').write_bytes(b'\0\0\0\x18ftypheic\0\0\0\0mif1heic')
    Image.new('RGBA', (50, 50), (9, 9, 9, 0)).save(tmp_path / 'transparent', 'PNG')
    run = call(predict, model, 'nowhere', 'cut off', 'heic', 'transparent', 'a.png', cwd=tmp_path)
    assert run.status == 1 and len(answers(run.out)) == 1
    for line, name, says in zip(run.err[1:], ('nowhere', 'cut off', 'heic', 'transparent'),
                                ('No such file', 'damaged', 'HEIC', 'blank'), strict=True):
        assert line.startswith(f'predict.py: {name}: ') and says in line


def test_an_args_json_that_does_not_fit_is_one_line(model, tmp_path):
    for args in {'dataset': 'mnist'}, {'dataset': 'letters', 'settings': repro.RECIPES['karpathy2022']}:
        model.with_name('args.json').write_text(json.dumps(args))
        refused(call(predict, model, 'a.png', cwd=tmp_path), 'predict.py', 'args.json', 'python repro.py')
