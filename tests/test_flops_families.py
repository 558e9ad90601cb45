"""FLOPs of each model family against counts derived by hand from its config."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from seqbench.flops import count_flops
from seqbench.model import load_model
from seqbench.nn.convolution import Blocks, Window
from seqbench.nn.convolution_cost import Channels, plan
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


def convolution(i, o, taps, size, features):
    """A causal convolution for its last ``size`` outputs, the kernel from so many features a tap.

    In time: the kernel, 2 * taps * features * i * o, and 2 * size * taps * i * o. By overlap-save:
    real transforms of n points, 2.5 n log2 n each, of the features and, in each block of
    n - taps + 1 outputs, of the inputs and, back, the outputs; at each of n / 2 + 1 frequencies
    complex products, 8 FLOPs a multiply-add: features by the weights of each pair of channels,
    once, and that kernel by each block's input. A single output takes 2 * taps * features * i for
    what the features make of the input, and 2 * features * i * o to mix that.
    """
    if size == 1:
        return 2 * taps * features * i + 2 * features * i * o
    chosen = plan(Window((taps,), (0,), (size,)), 1, Channels(i, o, features))
    if not isinstance(chosen, Blocks):
        return 2 * taps * features * i * o + 2 * size * taps * i * o
    (n,) = chosen.n
    assert n % 2 == 0
    blocks = math.ceil(size / (n - taps + 1))
    transforms = (features + blocks * (i + o)) * 2.5 * n * math.log2(n)
    return transforms + 8 * (n // 2 + 1) * (features * i * o + blocks * i * o)


def needed(taps, length, target, count):
    """The outputs that each of so many convolutions is asked for: all, or those the last needs."""
    sizes = [length if target == "step" else 1]
    while len(sizes) < count:
        sizes.append(min(sizes[-1] + taps - 1, length))
    return sizes[::-1]


def test_ckconv(shape):
    """Kernels as long as the input, from two hidden layers: 2 * taps * (hidden + hidden^2)."""
    channels_in, length, target = shape
    channels, hidden = 12, 16
    kernel_network = 2 * length * (hidden + hidden**2)
    expected = sum(
        kernel_network + convolution(i, o, length, length, hidden + 1)
        for i, o in layers(channels_in, channels, 2)
    )
    expected += shortcuts(channels_in, channels, length) + read_out(channels, length, target)
    config = {"channels": channels, "kernel_channels": hidden}
    rounding = 3 * 4
    assert counted("ckconv", shape, **config) == pytest.approx(expected, rel=0, abs=rounding)


@pytest.mark.parametrize("width", [0.01, 0.075, 1.0])
def test_flexconv(shape, width):
    """Kernels cropped where the mask falls below 0.1, and only the outputs that are needed.

    Of ``length`` positions in [-1, 1], those above 1 - width sqrt(-2 ln 0.1) are taps, all of them
    if that is below -1. The kernel network has layers + 1 linear maps of the position and
    ``layers`` between hidden units. The answer to a sequence needs one output of the last
    convolution, taps of the one before, and so on.
    """
    channels_in, length, target = shape
    channels, hidden, depth = 12, 16, 3
    reach = width * math.sqrt(-2 * math.log(0.1))
    taps = min(length, math.ceil(reach / (2 / (length - 1))))
    kernel_network = 2 * taps * ((depth + 1) * hidden + depth * hidden**2)
    sizes = needed(taps, length, target, 4)
    expected = sum(
        kernel_network + convolution(i, o, taps, size, hidden + 1)
        for (i, o), size in zip(layers(channels_in, channels, 2), sizes, strict=True)
    )
    if channels_in > 1:  # else an outer product, which is pointwise
        expected += shortcuts(channels_in, channels, sizes[1])
    expected += read_out(channels, length, target)
    config = {"channels": channels, "kernel_channels": hidden, "mask_width": width}
    rounding = 3 * 4
    assert counted("flexconv", shape, **config) == pytest.approx(expected, rel=0, abs=rounding)


@pytest.mark.parametrize("sigma", [0.01, 0.075, 1.0])
def test_njet(shape, sigma):
    """Kernels of ceil(2 sigma + 0.5) steps and the current one, of order + 1 derivatives each.

    The derivatives themselves are pointwise. Only the outputs that are needed, as in FlexTCN.
    """
    channels_in, length, target = shape
    channels, order = 12, 4
    taps = min(length, 1 + math.ceil(2 * sigma * (length - 1) / 2 + 0.5))
    sizes = needed(taps, length, target, 4)
    expected = sum(
        convolution(i, o, taps, size, order + 1)
        for (i, o), size in zip(layers(channels_in, channels, 2), sizes, strict=True)
    )
    if channels_in > 1:  # else an outer product, which is pointwise
        expected += shortcuts(channels_in, channels, sizes[1])
    expected += read_out(channels, length, target)
    rounding = 3 * 4
    found = counted("njet", shape, channels=channels, order=order, sigma=sigma)
    assert found == pytest.approx(expected, rel=0, abs=rounding)
