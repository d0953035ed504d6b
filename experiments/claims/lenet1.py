"""
The net of the claim in section 5.1: "a network similar to the one described here with 100,000 connections and 2600 free
parameters recently achieved 9% rejection for 1% error rate".

LeCun, Boser, Denker, Henderson, Howard, Hubbard, Jackel 1990, "Handwritten Digit Recognition with a Back-Propagation
Network" (NIPS 1989), later called LeNet-1. Weights and biases are shared, and averages alternate with windows:

    28x28 image -> H1: 4 maps of 24x24 -> H2: 4 of 12x12 -> H3: 12 of 8x8 -> H4: 12 of 4x4 -> 10 outputs

It was trained on 2,549 printed digits besides the 7,291 handwritten ones, and tested on both. The printed ones are
lost, so here it sees the handwritten ones only. The paper of 1990 says how the net is connected; the squashing
function, targets, initial weights and learning are assumed to be those of 1989.
"""
from experiments.claims.nets import Net, averages, full, windows

# Which maps of H2 each map of H3 sees: table 1 of the paper of 1990, from memory. It agrees with the transcription in
# github.com/Mystique1337/lecun-1989-mnist-reproduction, and has 20 kernels, as the counts of H3 below require.
TABLE = [[0], [0, 1], [0, 1], [1], [0, 1], [0, 1], [2], [2, 3], [2, 3], [3], [2, 3], [2, 3]]
LAYERS = {'H1': windows([[0]] * 4, below=28, size=24, own_biases=False),        # 5x5, one weight and bias a map
          'H2': averages(4, below=24),                                          # 2x2, through one weight and bias a map
          'H3': windows(TABLE, below=12, size=8, own_biases=False),             # 5x5 in one or two maps
          'H4': averages(12, below=8),
          'out': full(12*4*4, 10)}


def lenet1(seed, **settings):
    """The net on images of 16x16, in the middle of 28x28; settings as nets.Net."""
    return Net(LAYERS, seed, frame=6, **settings)


# the counts in the paper of 1990: units (with the image's 784), connections, free parameters
assert lenet1(0).counts == {
    'H1': (4*24*24, 59_904, 104), 'H2': (4*12*12, 2_880, 8), 'H3': (12*8*8, 32_768, 512), 'H4': (12*4*4, 960, 24),
    'out': (10, 1_930, 1_930), 'all': (28*28 + 3_850, 98_442, 2_578)}
