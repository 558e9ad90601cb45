"""The ResNet keeps the interface's promises and is the network of He et al. (2015)."""

from __future__ import annotations

import pytest
import torch
from seqbench_resnet import ResNet, ResNetConfig
from torch import nn
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.flops import count_flops
from seqbench.spec import Signature
from seqbench.testing import check_model

CIFAR = Signature(in_channels=3, shape=(32, 32), out_features=10, target="sequence")


@pytest.mark.parametrize("preset", list(ResNet.presets))
def test_conforms(preset: str) -> None:
    """Every preset passes the conformance suite."""
    check_model("resnet", preset)


def by_hand(n: int, width: int = 16, channels: int = 3) -> int:
    """Nine weights a pair of channels, two values of a norm a channel, and the read-out.

    The first convolutions of the second and third stage have half the channels in.
    """
    stages = [width, 2 * width, 4 * width]
    halves = sum(9 * c * c // 2 for c in stages[1:])
    blocks = sum(2 * n * (9 * c * c + 2 * c) for c in stages) - halves
    return 9 * channels * width + 2 * width + blocks + 10 * stages[-1] + 10


@pytest.mark.parametrize(
    ("preset", "stated"),
    [("resnet-20", 0.27e6), ("resnet-32", 0.46e6), ("resnet-44", 0.66e6), ("resnet-56", 0.85e6)],
)
def test_presets_have_the_published_sizes(preset: str, stated: float) -> None:
    """As many layers as the name says, and as many parameters as the paper's table, rounded."""
    network = ResNet(ResNet.presets[preset], CIFAR)
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == by_hand(ResNet.presets[preset].blocks)
    assert round(parameters, -4) == stated
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert f"resnet-{len(layers)}" == preset


def test_a_block_is_its_formula() -> None:
    """relu(norm(conv(relu(norm(conv x)))) + shortcut); a new stage pads every other pixel."""
    torch.manual_seed(0)
    network = ResNet(ResNetConfig(blocks=1, width=4), CIFAR).eval()
    x = torch.randn(2, 4, 7, 6)
    block = network.blocks[1]
    y = block.norm2(block.conv2(block.norm1(block.conv1(x))))
    around = torch.cat([x[..., ::2, ::2], torch.zeros(2, 4, 4, 3)], 1)
    torch.testing.assert_close(block(x), (y + around).relu())
    same = network.blocks[0]
    y = same.norm2(same.conv2(functional.relu(same.norm1(same.conv1(x)))))
    torch.testing.assert_close(same(x), (y + x).relu())


def test_flops_are_those_of_its_convolutions() -> None:
    """2 * pixels * 9 * channels in * channels out a convolution, and the read-out."""
    n, width = 2, 8
    network = ResNet(ResNetConfig(n, width), CIFAR)
    pixels = [32 * 32, 16 * 16, 8 * 8]
    expected = 2 * pixels[0] * 9 * 3 * width + 2 * 4 * width * 10
    for stage, size in enumerate(pixels):
        c = width * 2**stage
        first = 9 * c * (c if stage == 0 else c // 2)
        expected += 2 * size * (first + (2 * n - 1) * 9 * c * c)
    assert count_flops(network, torch.zeros(1, 3, 32, 32)) == expected


def test_sequences_are_refused() -> None:
    """It reads images, and says so."""
    sequence = CIFAR.model_copy(update={"shape": (1024,)})
    with pytest.raises(ConfigError, match=r"reads images.*\(1024,\)"):
        ResNet(ResNetConfig(), sequence)
    with pytest.raises(ConfigError, match="blocks is 0"):
        ResNetConfig(blocks=0)
