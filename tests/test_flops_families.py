"""FLOPs of each model family against counts derived by hand from its config."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from seqbench.flops import count_flops
from seqbench.model import load_model
from seqbench.spec import Signature

CLASSES = 10
SHAPES = [(1, 784, "sequence"), (3, 64, "sequence"), (2, 100, "step")]

pytestmark = pytest.mark.parametrize("shape", SHAPES, ids=str)


def counted(name, shape, **config):
    """FLOPs of a model of the registry on one example of (channels, length) and a target."""
    channels_in, length, target = shape
    model = load_model(name)
    signature = Signature(
        in_channels=channels_in, shape=(length,), out_features=CLASSES, target=target
    )
    torch.manual_seed(0)
    network = model(model.Config(**config), signature)
    return count_flops(network, torch.zeros(1, channels_in, length))


def read_out(channels, length, target):
    """A linear layer on the last step or on each: 2 * steps * channels * classes."""
    return 2 * (length if target == "step" else 1) * channels * CLASSES


def shortcuts(channels_in, channels, length):
    """The first block's 1 x 1 convolution, where the channels change."""
    return 2 * length * channels_in * channels if channels_in != channels else 0


def layers(channels_in, channels, blocks):
    """Input and output channels of every convolution, two a block."""
    return list(itertools.pairwise([channels_in] + [channels] * (2 * blocks)))


@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("gru", 3), ("lstm", 4)])
@pytest.mark.parametrize("depth", [1, 2])
def test_recurrent(shape, name, gates, depth):
    """2 * time * gates * hidden * (inputs + hidden) a layer, and the read-out."""
    channels_in, length, target = shape
    hidden = 24
    inputs = [channels_in] + [hidden] * (depth - 1)
    expected = sum(2 * length * gates * hidden * (i + hidden) for i in inputs)
    expected += read_out(hidden, length, target)
    assert counted(name, shape, hidden_size=hidden, layers=depth) == expected


def test_tcn(shape):
    """2 * time * channels in * channels out * kernel size a convolution, dilation regardless."""
    channels_in, length, target = shape
    channels, levels, kernel_size = 25, 8, 7
    convolutions = layers(channels_in, channels, levels)
    expected = sum(2 * length * kernel_size * i * o for i, o in convolutions)
    expected += shortcuts(channels_in, channels, length) + read_out(channels, length, target)
    assert counted("tcn", shape) == expected


def smooth(minimum):
    """The smallest 2^a 3^b 5^c that is not below the minimum."""
    powers = itertools.product(range(12), range(8), range(6))
    return min(n for a, b, c in powers if (n := 2**a * 3**b * 5**c) >= minimum)


def spectral_convolution(i, o, length, taps, features):
    """A causal convolution by FFT whose kernel is made from its features' spectrum.

    Real transforms, 2.5 n log2 n each, of the features, the inputs and, back, the outputs; at each
    of n / 2 + 1 frequencies two complex products, 8 FLOPs a multiply-add: features by the weights
    of each pair of channels, and that kernel by the input.
    """
    n = smooth(length + taps - 1)
    frequencies = n // 2 + 1
    transforms = (features + i + o) * 2.5 * n * math.log2(n)
    return transforms + 8 * frequencies * (features * i * o + i * o)


def direct_convolution(i, o, length, taps, features):
    """A causal convolution in time, after its kernel is made from the features."""
    return 2 * taps * features * i * o + 2 * length * taps * i * o


def test_ckconv(shape):
    """Kernels as long as the input, from two hidden layers: 2 * taps * (hidden + hidden^2)."""
    channels_in, length, target = shape
    channels, hidden = 12, 16
    kernel_network = 2 * length * (hidden + hidden**2)
    expected = sum(
        kernel_network + spectral_convolution(i, o, length, length, hidden + 1)
        for i, o in layers(channels_in, channels, 2)
    )
    expected += shortcuts(channels_in, channels, length) + read_out(channels, length, target)
    config = {"channels": channels, "kernel_channels": hidden}
    rounding = 3 * 4
    assert counted("ckconv", shape, **config) == pytest.approx(expected, rel=0, abs=rounding)


@pytest.mark.parametrize("width", [0.075, 1.0])
def test_flexconv(shape, width):
    """Kernels cropped where the mask falls below 0.1, so that a narrow mask costs less.

    Of ``length`` positions in [-1, 1], those above 1 - width sqrt(-2 ln 0.1) are taps, all of them
    if that is below -1. The kernel network has layers + 1 linear maps of the position and
    ``layers`` between hidden units. Up to 8 taps are convolved directly.
    """
    channels_in, length, target = shape
    channels, hidden, depth = 12, 16, 3
    reach = width * math.sqrt(-2 * math.log(0.1))
    taps = min(length, math.ceil(reach / (2 / (length - 1))))
    kernel_network = 2 * taps * ((depth + 1) * hidden + depth * hidden**2)
    convolution = direct_convolution if taps <= 8 else spectral_convolution
    expected = sum(
        kernel_network + convolution(i, o, length, taps, hidden + 1)
        for i, o in layers(channels_in, channels, 2)
    )
    expected += shortcuts(channels_in, channels, length) + read_out(channels, length, target)
    config = {"channels": channels, "kernel_channels": hidden, "mask_width": width}
    rounding = 3 * 4
    assert counted("flexconv", shape, **config) == pytest.approx(expected, rel=0, abs=rounding)
