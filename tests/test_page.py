"""page.py: the committed page, the builder, and the page at work in a browser, where there is one."""
import base64
import functools
import io
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import prepro
import repro
from conftest import REPO, TINY, call, files, refused
from experiments import page, predict
from support import files as support_files

PAGE = REPO / page.OUT
IMAGES, LABELS = prepro.embedded()['test']


def data_of(html):
    """What page.py put into a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*)</script>', html)[1])


def unpacked(net):
    """A net of a page as repro.Net, from its weights."""
    plain = repro.Net(table=net['table'], A=net['A'], S=net['S'], level=net['level'])
    plain.load_state_dict({name: torch.from_numpy(np.frombuffer(base64.b64decode(w['float32']), '<f4').copy())
                           .reshape(w['shape']) for name, w in net['weights'].items()})
    return plain


HTML = PAGE.read_text(encoding='utf-8')
DATA = data_of(HTML)
NETS = pytest.mark.parametrize('n', [0, pytest.param(1, marks=pytest.mark.slow)], ids=['reference', 'paper'])
usps = functools.cache(lambda root: prepro.originals('usps', root))


def digits_of(n, request):
    """(X, Y): the test digits of the data set that net n of the page was trained on."""
    return prepro.tensors(*(usps(request.getfixturevalue('usps_root'))['test'] if n else (IMAGES, LABELS)))


# ---------------------------------------------------------------------------------------------------------------------
# the committed page

def test_the_page_is_the_template_with_its_data_in_it():
    with open(page.TEMPLATE, encoding='utf-8') as f:
        assert page.filled(f.read(), DATA) == HTML, 'run: python -m experiments.page'
    assert [(net['recipe'], net['dataset'].lower()) for net in DATA['nets']] == list(page.DEFAULT)
    assert len(HTML.encode()) < 300_000


def test_its_constants_are_those_of_the_scripts():
    assert DATA['constants'] == page.constants()


@NETS
def test_what_it_says_of_a_net_is_what_the_weights_give(n, request):
    X, Y = digits_of(n, request)
    net = unpacked(DATA['nets'][n])
    found = repro.measure(net, X, Y)
    said = DATA['nets'][n]['test']
    assert said['n'] == len(X)
    one = 100 / len(X) + 1e-6           # a digit that is on the edge may fall on either side on another machine
    assert [said['error'], said['rejection']] == pytest.approx([found['error'], found['rejection']], abs=one)
    assert DATA['nets'][n]['least'] == pytest.approx(predict.threshold(net, X, Y), abs=1e-3)


def test_its_digits_are_mnist_s_and_some_are_misread():
    net = unpacked(DATA['nets'][0])
    right = []
    for digit in DATA['digits']:
        image = np.frombuffer(bytearray(base64.b64decode(digit['uint8'])), np.uint8).reshape(28, 28)
        found = (IMAGES == image).all((1, 2))
        assert LABELS[found].tolist() == [digit['label']]
        right.append(int(repro.outputs(net, prepro.tensors(image[None], LABELS[found])[0]).argmax()) == digit['label'])
    assert right == [True] * 10 + [False] * page.MISREAD
    assert [digit['label'] for digit in DATA['digits'][:10]] == list(range(10))


# ---------------------------------------------------------------------------------------------------------------------
# the builder

def save_run(folder, recipe='reference', dataset=TINY, **args):
    settings = repro.RECIPES[recipe]
    net, _ = repro.build(settings, seed=0)
    support_files.save_run(folder, {'recipe': recipe, 'dataset': dataset, 'seed': 0, 'settings': settings} | args,
                           [{'pass': 1}], net)
    return net


def test_a_page_of_a_run_has_its_weights(tiny):
    net = save_run(tiny / 'run', recipe='paper')
    done = call(page, 'run', '--out', 'mine/page.html', cwd=tiny)
    assert (done.status, done.err) == (0, [])
    found, = data_of((tiny / 'mine/page.html').read_text(encoding='utf-8'))['nets']
    assert (found['recipe'], found['level'], found['test']['n']) == ('paper', 0.8, 20)
    assert found['settings'].endswith(": tanh, targets ±0.8, initial range ±2.4/fan-in, Newton's method, rate 0.002, "
                                      'damping 0.03, 23 passes')
    for name, t in unpacked(found).state_dict().items():
        assert torch.equal(t, net.state_dict()[name])


def test_without_a_run_the_recipes_are_trained_as_repro_does(tiny_mnist, monkeypatch):
    monkeypatch.setitem(repro.RECIPES['reference'], 'passes', 1)
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


def test_a_name_cannot_end_the_script(tiny):
    save_run(tiny / 'run', recipe='paper')
    args = json.loads((tiny / 'run/args.json').read_text())
    (tiny / 'run/args.json').write_text(json.dumps(args | {'recipe': '</script><script>alert(1)</script>'}))
    assert call(page, 'run', '--out', 'page.html', cwd=tiny).status == 0
    html = (tiny / 'page.html').read_text(encoding='utf-8')
    assert html.count('</script>') == HTML.count('</script>')
    assert data_of(html)['nets'][0]['recipe'].startswith('</script>')


def test_what_cannot_be_built_is_refused_in_a_line(tiny):
    save_run(tiny / 'run')
    save_run(tiny / 'full', recipe='fc40')
    save_run(tiny / 'other', dataset='usps')
    (tiny / 'file').write_text('')
    for argv, parts in ((['nowhere'], ['nowhere/model.pt', 'python repro.py']), (['full'], ['full/model.pt', 'H1']),
                        (['other'], ['prepro.py --dataset usps']), (['run', '--out', 'file/page.html'], ['file']),
                        ([], ['prepro.py --dataset mnist'])):
        before = files(tiny)
        refused(call(page, *argv, *([] if '--out' in argv else ['--out', 'page.html']), cwd=tiny), 'page.py', *parts)
        assert files(tiny) == before


# ---------------------------------------------------------------------------------------------------------------------
# the page in a browser

@pytest.fixture(scope='module')
def chromium():
    """A headless chromium, the system's, driven by selenium: nothing is downloaded."""
    webdriver = pytest.importorskip('selenium.webdriver', reason='needs selenium: pip install -r requirements-dev.txt')
    paths = [next(filter(None, map(shutil.which, names)), None)
             for names in (('chromium', 'chromium-browser', 'google-chrome'), ('chromedriver',))]
    if None in paths:
        pytest.skip('needs a browser: apt-get install chromium chromium-driver')
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for option in 'headless=new', 'no-sandbox', 'disable-gpu', 'disable-dev-shm-usage', 'hide-scrollbars':
        options.add_argument(f'--{option}')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The committed page, opened from disk in a wide window. Its console stays empty, and nothing is fetched."""
    opened(chromium, 1200)
    yield chromium
    assert chromium.execute_script('return performance.getEntriesByType("resource").length') == 0
    assert chromium.get_log('browser') == []


def opened(browser, width, height=900, scheme='light', touch=False):
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', {'width': width, 'height': height, 'mobile': touch,
                                                                   'deviceScaleFactor': 1})
    browser.execute_cdp_cmd('Emulation.setTouchEmulationEnabled', {'enabled': touch})
    browser.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [{'name': 'prefers-color-scheme',
                                                                         'value': scheme}]})
    browser.get(PAGE.as_uri())
    settled(browser)


def settled(browser):
    """Wait until what was done is on the screen."""
    browser.execute_async_script('const f = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(f))')


def click(browser, selector):
    browser.execute_script('document.querySelector(arguments[0]).scrollIntoView({block: "center"})', selector)
    browser.find_element('css selector', selector).click()
    settled(browser)


def switch(browser, n):
    click(browser, f'fieldset label:nth-of-type({n + 1})')


def keys(browser, *pressed):
    from selenium.webdriver import ActionChains
    ActionChains(browser).send_keys(*pressed).perform()
    settled(browser)


def pointer(browser, selector, strokes, kind='mouse', press=True):
    """Move a mouse, or a finger, along strokes: points (x, y) from (0, 0) to (1, 1) over an element."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput
    left, top, w, h = browser.execute_script('''
        const e = document.querySelector(arguments[0]);
        e.scrollIntoView({block: "center"});
        const {left, top, width, height} = e.getBoundingClientRect();
        return [left, top, width, height];''', selector)
    actions = ActionBuilder(browser, mouse=PointerInput(kind, kind), duration=0)
    for (x, y), *rest in strokes:
        actions.pointer_action.move_to_location(int(left + x * w), int(top + y * h))
        if press:
            actions.pointer_action.pointer_down()
        for x, y in rest:
            actions.pointer_action.move_to_location(int(left + x * w), int(top + y * h))
        if press:
            actions.pointer_action.pointer_up()
    actions.perform()
    settled(browser)


def said(browser):
    return browser.find_element('id', 'class').text


def arc(x, y, rx, ry, start, end, n=12):
    angles = np.radians(np.linspace(start, end, n))
    return list(zip(x + rx * np.cos(angles), y + ry * np.sin(angles)))


STROKES = [
    [arc(.5, .5, .2, .32, -80, 280)],
    [[(.52, .18), (.49, .5), (.47, .83)]],
    [arc(.48, .35, .18, .17, 190, 370) + [(.6, .5), (.45, .66), (.3, .8), (.5, .79), (.72, .8)]],
    [arc(.47, .33, .17, .15, 200, 430) + arc(.47, .66, .2, .18, -80, 150)],
    [[(.36, .2), (.31, .4), (.3, .52), (.5, .53), (.7, .5)], [(.63, .2), (.6, .5), (.58, .85)]],
    [[(.66, .2), (.38, .21), (.35, .45)] + arc(.47, .62, .19, .19, -110, 140)],
    [[(.6, .17), (.45, .3), (.36, .5), (.34, .65)] + arc(.49, .67, .15, .15, 180, 540)],
    [[(.3, .24), (.5, .22), (.7, .22), (.58, .5), (.45, .84)]],
    [[(.5 + .16 * math.sin(2*t), .5 - .32 * math.cos(t)) for t in np.linspace(0, 2 * math.pi, 25)]],
    [arc(.5, .36, .15, .16, -20, -370) + [(.64, .4), (.62, .6), (.57, .85)]],
]
SCRIBBLE = [[(.2, .2), (.8, .3), (.2, .45), (.8, .6), (.2, .7), (.8, .85)],
            [(.3, .85), (.35, .2), (.6, .85), (.75, .15)]]


@NETS
def test_outputs_and_answers_are_pytorch_s(browser, n, request):
    net = DATA['nets'][n]
    X = digits_of(n, request)[0][:200]
    found = browser.execute_script('''
        return arguments[1].map(x => {
            const {out} = layers(nets[arguments[0]], x), {a, b, margin, rejected} = answer(nets[arguments[0]], out);
            return {out, a, margin, rejected};
        });''', n, X[:, 0].tolist())
    out = repro.outputs(unpacked(net), X)
    assert np.abs(np.array([f['out'] for f in found]) - out.numpy()).max() < 1e-5
    assert [f['a'] for f in found] == out.argmax(1).tolist()
    first, second = out.topk(2).values.T
    margin = first - second
    assert [f['margin'] for f in found] == pytest.approx(margin.tolist(), abs=2e-5)
    clear = ((margin - net['least']).abs() > 2e-5).tolist()              # of the digit that the threshold is taken from
    assert sum(clear) >= 199
    assert [f['rejected'] for f, c in zip(found, clear) if c] == (margin < net['least'])[clear].tolist()


def moved(strokes, size, x, y, slant=0.0):
    return [[(x + size * (a - slant * b), y + size * b) for a, b in stroke] for stroke in strokes]


@pytest.mark.parametrize('strokes', [
    STROKES[4], moved(STROKES[7], .4, .05, .5), moved(STROKES[5], .9, .4, .05, .6), moved(STROKES[1], .2, .3, .3),
    [[(.31, .62)]]], ids=['4', 'small 7', 'slanted 5', 'tiny 1', 'dot'])
def test_strokes_are_normalized_as_predict_does(browser, strokes):
    click(browser, '#clear')
    pointer(browser, '#pad', strokes)
    found = browser.execute_script('''
        return [document.getElementById("pad").toDataURL(), nets.map(other => { net = other; return seen(); })];''')
    picture = Image.open(io.BytesIO(base64.b64decode(found[0].partition(',')[2])))
    for net, seen in zip(DATA['nets'], found[1]):
        X = predict.normalized(predict.ink(predict.gray(picture)), net['dataset'].lower())[0, 0].numpy()
        assert X.max() > 0.5
        assert np.abs(np.array(seen) - X).max() <= 2 / 255 + 1e-6        # of a range of 2, from -1 to +1


def test_halves_are_rounded_as_python_does(browser):
    values = [-1.5, -0.5, 0.4, 0.5, 1.5, 2.5, 2.6, 13.5, 14.5]
    assert browser.execute_script('return arguments[0].map(round)', values) == [round(v) for v in values]


@pytest.mark.parametrize('digit', [2, *(pytest.param(c, marks=pytest.mark.slow) for c in (0, 1, *range(3, 10)))])
def test_a_digit_drawn_with_the_mouse_is_read(browser, digit):
    for n in range(len(DATA['nets'])):
        switch(browser, n)
        click(browser, '#clear')
        assert said(browser) == 'nothing'
        pointer(browser, '#pad', STROKES[digit])
        assert said(browser) == str(digit)


def test_a_digit_drawn_with_a_finger_is_read(browser):
    opened(browser, 400, touch=True)
    pointer(browser, '#pad', STROKES[3], 'touch')                        # which takes the place of the test digit
    assert said(browser) == '3'
    assert browser.execute_script('return chosen') is None


def test_a_digit_drawn_with_the_keys_is_read(browser):
    from selenium.webdriver import Keys
    click(browser, '#clear')
    browser.execute_script('document.querySelector("input").focus()')
    keys(browser, Keys.TAB, *[Keys.ARROW_UP] * 10, ' ', *[Keys.ARROW_DOWN] * 20, ' ', *[Keys.ARROW_LEFT] * 5)
    assert said(browser) == '1'
    assert browser.find_element('id', 'pen').is_displayed()


def test_the_square_is_cleared_by_button_and_key(browser):
    from selenium.webdriver import Keys
    for clear in lambda: click(browser, '#clear'), lambda: keys(browser, Keys.ESCAPE):
        pointer(browser, '#pad', STROKES[7])
        assert said(browser) == '7'
        clear()
        assert said(browser) == 'nothing'
        assert browser.execute_script('return seen()') is None


def test_a_scribble_is_rejected_with_the_margin_and_what_it_takes(browser):
    for n, net in enumerate(DATA['nets']):
        switch(browser, n)
        click(browser, '#clear')
        pointer(browser, '#pad', SCRIBBLE)
        assert said(browser) == 'rejected'
        margin = browser.execute_script('return answer(net, layers(net, seen()).out).margin')
        text = browser.find_element('id', 'margin').text
        assert text.startswith('Most like') and f': {margin:.2f} (rejected below {net["least"]:.2f})' in text


@pytest.mark.parametrize('n', [0, 1])
def test_a_switch_shows_the_other_net(browser, n):
    switch(browser, (n + 1) % len(DATA['nets']))
    switch(browser, n)
    net = DATA['nets'][n]
    assert f'{net["test"]["error"]:.2f}%' in browser.find_element('id', 'tested').text
    assert f'(seed {net["seed"]})' in browser.find_element('id', 'tested').text
    assert net['settings'] == browser.find_element('id', 'recipe').text
    shown = [float(e.get_attribute('aria-valuenow')) for e in browser.find_elements('css selector', '.output')]
    out = browser.execute_script(f'return layers(nets[{n}], seen()).out')
    assert shown == pytest.approx(out, abs=0.0051)


def test_the_test_digits_are_shown_as_the_net_reads_them(browser):
    net = DATA['nets'][0]
    texts = []
    for i, digit in enumerate(DATA['digits']):
        image = np.frombuffer(bytearray(base64.b64decode(digit['uint8'])), np.uint8).reshape(1, 28, 28)
        out = repro.outputs(unpacked(net), prepro.tensors(image, np.zeros(1))[0])[0]
        first, second = out.topk(2).values.tolist()
        click(browser, f'#digits button:nth-of-type({i + 1})')
        read = 'rejected' if first - second < net['least'] else str(int(out.argmax()))
        assert said(browser) == read
        texts.append(browser.find_element('css selector', f'#digits button:nth-of-type({i + 1})').text)
        assert texts[-1] == (f'{digit["label"]} ?' if read == 'rejected' else
                             str(digit['label']) if read == str(digit['label']) else f'{digit["label"]} → {read}')
    assert sum('→' in text for text in texts) >= 2


def marked(browser, sheet):
    """Where a sheet has the color of the marks: [top, bottom, left, right], to the nearest cell; None if nowhere."""
    width, size, pixels = browser.execute_script('''
        const canvas = document.getElementById(arguments[0]), {width, height} = canvas;
        const c = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true}), found = [];
        c.drawImage(canvas, 0, 0);
        const {data} = c.getImageData(0, 0, width, height);
        for (let i = 0; i < data.length; i += 4)
            if (data[i] === 230 && data[i + 1] === 159 && data[i + 2] === 0)
                found.push(i / 4);
        return [width, CELL, found];''', sheet)
    if not pixels:
        return None
    ys, xs = np.divmod(pixels, width)
    return [round(v / size) for v in (ys.min(), ys.max(), xs.min(), xs.max())]


def cell(browser, sheet, k, y, x):
    """Where a unit of a map is in a sheet: (x, y) from (0, 0) to (1, 1)."""
    return browser.execute_script('''
        const [name, k, y, x] = arguments, {width, height} = document.getElementById(name);
        const [top, left] = corner(SHEETS[name], k);
        return [(left + x + .5) * CELL / width, (top + y + .5) * CELL / height];''', sheet, k, y, x)


@pytest.mark.parametrize('kind', ['mouse', 'touch'])
def test_a_unit_that_is_pointed_at_shows_its_window_and_weights(browser, kind):
    press = kind == 'touch'
    net = unpacked(DATA['nets'][0])
    with torch.no_grad():
        H1, H2, _, _ = net.layers(torch.tensor(browser.execute_script('return seen()'))[None, None])
    border = 2

    pointer(browser, '#H1', [[cell(browser, 'H1', 3, 4, 5)]], kind, press)
    text = browser.find_element('id', 'unit').text.replace('\u2212', '-')
    assert 'H1, map 3, row 4, column 5' in text and f'{H1[0, 3, 4, 5]:+.2f}' in text
    assert marked(browser, 'image') == [border + 2*4 - 2, border + 2*4 + 3, border + 2*5 - 2, border + 2*5 + 3]
    assert shown_weights(browser) == pytest.approx(net.H1w[3].flatten().tolist())

    pointer(browser, '#H2', [[cell(browser, 'H2', 6, 1, 2)]], kind, press)
    text = browser.find_element('id', 'unit').text.replace('\u2212', '-')
    assert 'H2, map 6, row 1, column 2' in text and f'{H2[0, 6, 1, 2]:+.2f}' in text
    # the maps 4 to 11 of H1, in rows of four and 9 units apart, from map 4's window to map 11's
    assert marked(browser, 'H1') == [10 + 0, 19 + 5, 1 + 2, 28 + 7]
    assert shown_weights(browser) == pytest.approx(net.H2w[6].flatten().tolist())

    pointer(browser, '#image', [[cell(browser, 'image', 0, 8, 9)]], kind, press)
    value = browser.execute_script('return seen()[8][9]')
    assert f'image, row 8, column 9: {value:+.2f}' in browser.find_element('id', 'which').text.replace('\u2212', '-')
    assert marked(browser, 'H1') is None


def shown_weights(browser):
    return np.ravel(browser.execute_script('return SHEETS.weights.maps')).tolist()


def test_tab_goes_to_everything_in_its_order(browser):
    from selenium.webdriver import Keys
    reached = []
    for _ in range(3 + len(DATA['digits']) + 6):
        keys(browser, Keys.TAB)
        reached.append(browser.execute_script('return document.activeElement.id || document.activeElement.tagName'))
    assert reached == ['INPUT', 'pad', 'clear', *['BUTTON'] * len(DATA['digits']), 'image', 'kernels', 'H1', 'H2', 'H3',
                       'A']


def test_units_are_gone_through_by_keyboard(browser):
    from selenium.webdriver import Keys
    which = browser.find_element('id', 'which')
    browser.execute_script('document.getElementById("kernels").focus()')
    keys(browser, Keys.TAB)
    assert which.text.startswith('H1, map 0, row 0, column 0')
    keys(browser, *[Keys.ARROW_RIGHT] * 9, Keys.ARROW_DOWN)
    assert which.text.startswith('H1, map 1, row 1, column 1')
    keys(browser, *[Keys.ARROW_DOWN] * 40)
    assert which.text.startswith('H1, map 9, row 7, column 1')


NAMES = '''
    return [...document.querySelectorAll("button, input, canvas[tabindex]")].map(
        e => e.ariaLabel || e.labels?.[0]?.textContent || e.textContent);'''


def test_what_can_be_operated_has_a_name_and_the_answer_is_announced(browser):
    names = browser.execute_script(NAMES)
    assert len(names) == 1 + 1 + len(DATA['nets']) + len(DATA['digits']) + 5 and all(names)
    assert browser.find_element('id', 'said').get_attribute('aria-live') == 'polite'
    assert [e.get_attribute('role') for e in browser.find_elements('css selector', '.output')] == ['meter'] * 10


@pytest.mark.parametrize('width', [1200, 900, 320])                      # one of each layout
def test_it_fits_the_window(browser, width):
    opened(browser, width, touch=width <= 400)
    assert browser.execute_script('return document.documentElement.scrollWidth') <= width
    narrow = browser.execute_script('''
        return [...document.querySelectorAll("section, canvas, button, p")].filter(
            e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.id || e.textContent);''')
    assert narrow == []


COLORS = '''
    const over = e => { for (; e; e = e.parentElement) {
        const color = getComputedStyle(e).backgroundColor;
        if (!color.endsWith(", 0)")) return color; } };
    return [...document.querySelectorAll("h1, h2, small, p, a, label, button span, .output span, figcaption")].filter(
        e => e.textContent && e.checkVisibility()).map(
        e => [e.textContent, getComputedStyle(e).color, over(e)]);'''


def luminance(color):
    channels = [int(v) / 255 for v in re.findall(r'\d+', color)[:3]]
    return sum(k * (v / 12.92 if v <= 0.04045 else math.pow((v + 0.055) / 1.055, 2.4))
               for k, v in zip((0.2126, 0.7152, 0.0722), channels))


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_text_can_be_read_in_light_and_dark(browser, scheme):
    opened(browser, 1200, scheme=scheme)
    found = browser.execute_script(COLORS)
    for text, color, behind in found:
        low, high = sorted(map(luminance, (color, behind)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, color, behind)
    body = luminance(browser.execute_script('return getComputedStyle(document.body).backgroundColor'))
    assert (body > 0.5) == (scheme == 'light')
