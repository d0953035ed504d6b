"""Claim 14: digits a second."""
import os
import statistics
import tempfile
import time

import numpy as np
from PIL import Image

import repro
from experiments import predict
from experiments.claims.claim import PAPER, Claim, values
from support.engine import faster


class Speed(Claim):
    """
    The paper's numbers are for a DSP-32C. Ours are for one core of this machine, one digit at a time, without start-up:
    from normalized digits; and from picture files of 640x480, which experiments/predict.py reads, crops and normalizes.

    Rule: (a) more than 30 a second; (b) more than 12.
    """
    number, section = 14, '5'
    words = '"more than 30" normalized digits a second; 10 to 12 from camera to class'
    seeds, alone = 5, True
    settings = {'normalized': {'photograph': False, 'digits': 500}, 'photograph': {'photograph': True, 'digits': 50}}

    def measure(self, settings, splits, seed):
        """A row's values: seconds a digit."""
        X = splits['test'][0][:settings['digits']]
        net = repro.build(PAPER, seed)
        outputs = faster('outputs', repro.outputs, net, X[:3])
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, f'{n}.png') for n in range(len(X))]

            def classify(n):
                x = X[n:n + 1]
                if settings['photograph']:
                    x = predict.normalized(predict.digit(predict.opened(paths[n]))[0], 'usps')
                return int(outputs(net, x).argmax())
            for x, path in zip(X[:, 0].numpy(), paths):                  # dark ink on light paper, a pixel 20x20
                ink = np.kron(230 - 100 * (x + 1), np.ones((20, 20)))
                page = np.pad(ink, ((80, 80), (160, 160)), constant_values=230)
                Image.fromarray(page.astype(np.uint8)).save(path)
            classify(0)                 # compiles, if need be
            start = time.perf_counter()
            for n in range(len(X)):
                classify(n)
            seconds = (time.perf_counter() - start) / len(X)
        return dict.fromkeys(repro.RESULTS) | {'seconds': seconds}, {}

    def verdict(self, found):
        normalized, photograph = (statistics.fmean(1 / seconds for seconds in values(found[key], 'seconds'))
                                  for key in self.settings)
        return (f'{normalized:,.0f} normalized digits a second, {photograph:,.0f} from picture files',
                {'more than 30 normalized digits': normalized > 30,
                 'more than 12 from picture to class': photograph > 12})
