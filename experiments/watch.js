/*
 * A net that learns while one watches: the worker that trains it, and what the page shows of it. Used by page.html.
 */
'use strict';

// --------------------------------------------------------------------------------------------------------------------
// in the worker, after learn.js

/**
 * Train as the page's messages ask: {start: settings}, the first with {digits}; {training}, whether to go on by itself;
 * {pace}, how many patterns a second; {step: true}, one pattern. After each slice of time post what there is to show.
 */
function work() {
    const SLICE = 60;                   // ms
    let digits, settings, net, targets, presentations, seconds, rows, pattern, training = false, pace = Infinity, timer;

    /** Present up to n patterns, as far as this slice of time and this pass go. */
    function train(n) {
        const {X, labels} = digits.train, began = performance.now();
        let i;
        do {
            i = presentations++ % X.length;
            net.learn(X[i], targets[labels[i]], settings.rate);
        } while (--n > 0 && presentations % X.length && performance.now() - began < SLICE);
        seconds += (performance.now() - began) / 1000;
        pattern = {x: X[i], label: labels[i], out: net.out.slice()};
        if (presentations % X.length === 0)
            addRow();
        training &&= presentations !== settings.passes * X.length;   // may be set going again after that
        post();
    }

    function addRow() {
        const [train, test] = [digits.train, digits.test].map(({X, labels}) => measure(net, X, labels));
        rows.push({pass: presentations / digits.train.X.length, train, test});
    }

    function post() {
        postMessage({settings, parameters: net.parameters, presentations, seconds, rows, pattern, training});
        clearTimeout(timer);
        if (training)
            timer = setTimeout(train, pace === Infinity ? 0 : Math.max(1000 / pace, 100), Math.max(pace / 10, 1));
    }

    onmessage = ({data: message}) => {
        if (message.digits) {
            digits = message.digits;
            for (const split of Object.values(digits)) {
                const {images, labels, side} = split, image = i => images.subarray(i * side**2, (i + 1) * side**2);
                split.X = Array.from(labels, (_, i) => tensor(image(i), side));
            }
        }
        if (message.start) {
            settings = message.start;
            net = new Net(settings);
            net.initialize(settings);
            targets = Array.from({length: 10}, (_, c) =>
                new Float32Array(10).fill(-net.level).fill(net.level, c, c + 1));
            [presentations, seconds, rows, pattern] = [0, 0, [], null];
            addRow();
        }
        pace = message.pace ?? pace;
        training = message.training ?? training;
        if (message.step)
            train(1);
        else
            post();
    };
}

// --------------------------------------------------------------------------------------------------------------------
// in the page

const PACES = [1, 10, 100, 1000, Infinity];                          // patterns a second
const CHOICES = {                       // name: its label, what may be chosen, and the paper's word on it
    rate: ['learning rate', [.003, .01, .03, .1, .3, 1].map(rate => [`${rate}`, {rate}]),
           'Gradient descent has to be given one. The paper\u2019s \u201cspecial version of Newton\u2019s '
           + 'algorithm\u201d finds one for each weight, and \u201cconverges reliably without requiring extensive '
           + 'adjustments\u201d.'],
    level: ['targets', [1, .9, .8, .7, .5].map(level => [`\u00b1${level}`, {level}]),
            'They lie \u201cwithin the quasilinear range of the sigmoid\u201d, so that outputs stay out of its flat '
            + 'spot.'],
    squash: ['unit', [['tanh s', {A: 1, S: 1}], ['1.7159 tanh \u2154s', {A: 1.7159, S: 2/3}]],
           'A \u201cscaled hyperbolic tangent\u201d. The second is the one that LeCun gave in the same year.'],
    initial: ['initial weights', [['\u00b12.4/\u221aF', {sqrt_fan_in: true}], ['\u00b12.4/F', {sqrt_fan_in: false}]],
            'F is the fan-in. The paper has the second: it \u201ctends to keep the total inputs within the operating '
            + 'range of the sigmoid\u201d.']};
const settings = {...learning.settings, seed: learning.seed};
const learner = Object.assign(new Net(settings), {way: learning.way, least: null, state: null});
learner.initialize(settings);           // as the worker's net is, whose answer takes a moment
let worker;

/** Take over what the worker has posted: its weights become those of the learner. */
function receive({data}) {
    learner.state = data;
    Object.assign(learner, {A: data.settings.A, S: data.settings.S, level: data.settings.level});
    learner.parameters.set(data.parameters);
    learner.test = data.rows.at(-1).test;
    learner.least = learner.test.least;
    if (net === learner)
        update();
}

const inflate = async text => new Uint8Array(await new Response(
    new Blob([bytes(text)]).stream().pipeThrough(new DecompressionStream('deflate'))).arrayBuffer());

/** Start the worker, which has learn.js, and give it the digits. */
async function startWorker() {
    say('tested', '');
    say('recipe', '');
    worker = new Worker(URL.createObjectURL(new Blob([$('learn').textContent, `(${work})();`])));
    worker.onmessage = receive;
    const {train, test, side} = learning.digits, split = async ({images, labels}) =>
        ({images: await inflate(images), labels: await inflate(labels), side});
    worker.postMessage({digits: {train: await split(train), test: await split(test)}, start: settings,
                        pace: PACES[$('pace').value]});
}

const duration = hours => hours < 1 ? `${(60 * hours).toFixed(0)} minutes` : hours < 48 ? `${hours.toFixed(0)} hours`
    : `${+(hours / 24).toFixed(1)} days`;

function showLearning() {
    if (!learner.state)
        return;
    const {presentations, seconds, rows, pattern, training, settings: {seed, level, passes}} = learner.state;
    const {pass, train, test} = rows.at(-1), hours = 24 * learning.days * presentations / (passes * learning.n);
    say('train', training ? 'Pause' : presentations ? 'Go on' : 'Train');
    const count = (n, passes) => `${n.toLocaleString('en')} presentations, ${passes} passes`;
    say('clock', presentations === 0
        ? `${count(passes * learning.n, passes)}: ${learning.days} days in 1989.`
        : `${count(presentations, +(presentations / learning.n).toFixed(1))}: here `
            + `${seconds.toFixed(seconds < 10 ? 1 : 0)} s; in 1989 ${duration(hours)}.`);
    sayTested(pass ? `After pass ${pass}` : 'With random weights', test, learning.n_test,
              `Seed ${seed}; the 2022 reproduction\u2019s settings, unless you choose others.`);
    // the cost of the best outputs that are the same for every digit, one of ten targets being +level
    const blind = .36 * level ** 2;
    say('diverged', pass === 0 || train.loss < blind ? ''
        : `It diverges: after pass ${pass} the cost is ${train.loss.toFixed(2)}; outputs that are the same for every `
            + `digit reach ${blind.toFixed(2)}. The rate is too large: choose a smaller one.`);
    drawCurve(rows, Math.max(passes, pass));
    $('last').getContext('2d').putImageData(new ImageData(new Uint8ClampedArray(
        range(256, i => 127.5 * ((pattern?.x[i] ?? BACKGROUND) + 1)).flatMap(v => [v, v, v, 255])), 16, 16), 0, 0);
    showOutputs(lastOutputs, pattern?.out ?? new Float32Array(10).fill(-net.A), pattern?.label,
                c => c === pattern?.label ? level : -level);
}

/** The errors on both splits, pass by pass, on a logarithmic scale, and the published ones. */
function drawCurve(rows, last) {
    const x = pass => 34 + 316 * pass / last, y = error => 6 + 48 * (2 - Math.log10(Math.max(error, .1)));
    const text = (x, y, anchor, v) => `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="currentColor">${v}</text>`;
    const path = (split, d) => `<path class="${split}" fill="none" stroke-width="2" stroke-linejoin="round" d="${d}"/>`;
    const circle = 'm-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0', triangle = 'm-5.5 4.5h11l-5.5-10z';
    const {pass, train, test} = rows.at(-1), svg = document.querySelector('#curve svg');
    svg.innerHTML = [
        ...[100, 10, 1, .1].map(error => path('grid', `M34 ${y(error)}h316`) + text(28, y(error) + 4, 'end', error)),
        ...range(Math.floor(last / 5) + 1, i => text(x(5 * i), 166, 'middle', 5 * i)),
        ...Object.values(learning.published).flatMap((errors, i) => Object.entries(errors).map(([split, error]) =>
            path(split, `M${x(settings.passes)} ${y(error)}${[circle, triangle][i]}`))),
        ...['train', 'test'].map(split =>
            path(split, `M${rows.map(row => `${x(row.pass)} ${y(row[split].error)}`).join('L')}`))].join('');
    svg.ariaLabel = `Pass ${pass}: ${train.error.toFixed(2)}% of the training digits are misread, and `
        + `${test.error.toFixed(2)}% of the test digits.`;
    say('trainError', `training ${train.error.toFixed(2)}`);
    say('testError', `test ${test.error.toFixed(2)}`);
}

const command = message => learner.state && worker.postMessage(message);    // once it has the digits
$('train').onclick = () => command({training: !learner.state?.training});
$('step').onclick = () => command({training: false, step: true});
$('again').onclick = () => command({training: false, start: settings});
$('renew').onclick = () => {
    settings.seed = Math.floor(1e6 * Math.random());
    command({training: false, start: settings});
};
$('pace').oninput = () => {
    const pace = PACES[$('pace').value];
    say('paceText', pace === Infinity ? 'as fast as it can' : `${pace} pattern${pace > 1 ? 's' : ''} a second`);
    command({pace});
};
$('pace').oninput();
$('marks').textContent = `At pass ${settings.passes}: ${Object.keys(learning.published)
    .map((name, i) => `${'\u25cb\u25b3'[i]} ${name}`).join(', ')}`;
for (const [name, [label, options, word]] of Object.entries(CHOICES)) {
    const select = element('select', {id: name, ariaLabel: label}), cell = element('label');
    select.append(...options.map(([text, change]) => element('option', {
        textContent: text, selected: Object.keys(change).every(key => change[key] === settings[key])})));
    select.onchange = () => {
        Object.assign(settings, options[select.selectedIndex][1]);
        command({start: settings});
        sayChoices();
    };
    cell.append(label, ' ', select, element('small', {textContent: word}));
    $('settings').querySelector('div').append(cell);
}

function sayChoices() {
    document.querySelector('summary').textContent = `Settings: rate ${$('rate').value}, targets ${$('level').value}, `
        + `${$('squash').value}, ${$('initial').value}`;
}
sayChoices();
