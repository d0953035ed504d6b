"""Claim 14: digits a second."""
import os
import statistics
import tempfile
import time

import torch

import repro
from experiments.claims.claim import HOLDS, PAPER, Claim, curves, verdict
from repro import RESULTS
from support.engine import faster


def photograph(image, path):
    """Save a digit (16, 16) in [-1, 1] as a picture of 640x480, dark ink on light paper, each pixel 20x20."""
    from PIL import Image
    gray = ((1 - image) / 2 * 200 + 30).round().to(torch.uint8).numpy()
    page = Image.new('L', (640, 480), 230)
    page.paste(Image.fromarray(gray).resize((320, 320), Image.Resampling.BILINEAR), (160, 80))
    page.save(path)


class Speed(Claim):
    """
    The paper's numbers are for a DSP-32C. Ours are for one core of this machine, one digit at a time, without start-up:
    from normalized digits; and from picture files of 640x480, which experiments/predict.py reads, crops and normalizes.

    Rule: (a) more than 30 a second; (b) more than 12.
    """
    number, section = 14, '5'
    words = '"more than 30" normalized digits a second; 10 to 12 from camera to class'
    front = HOLDS, 'more than 30 digits a second'
    seeds, threads = range(5), False
    settings = {'normalized': {'photograph': False, 'digits': 500}, 'photograph': {'photograph': True, 'digits': 50}}

    def measure(self, settings, splits, seed):
        """A row's values: digits a second."""
        from experiments import predict
        X = splits['test'][0][:settings['digits']]
        net = repro.build(PAPER, seed)
        outputs = faster('outputs', repro.outputs, net, X[:3])
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, f'{n}.png') for n in range(len(X))]

            def classify(n):
                x = predict.normalized(predict.opened(paths[n]), 'usps') if settings['photograph'] else X[n:n + 1]
                return int(outputs(net, x).argmax())
            for x, path in zip(X, paths):
                photograph(x[0], path)
            classify(0)                 # compiles, if need be
            start = time.perf_counter()
            for n in range(len(X)):
                classify(n)
            seconds = time.perf_counter() - start
        return dict.fromkeys(RESULTS) | {'seconds': seconds}, {'a_second': [len(X) / seconds]}

    def verdict(self, found):
        rates = {key: statistics.fmean(rate for [rate] in curves(found[key], 'a_second')) for key in self.settings}
        return (f'{rates["normalized"]:,.0f} normalized digits a second, {rates["photograph"]:,.0f} from picture files',
                verdict(rates['normalized'] > 30, rates['photograph'] > 12))
