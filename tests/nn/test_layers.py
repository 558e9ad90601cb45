"""Laws of generated kernels, residual blocks and read-outs."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from seqbench.errors import ConfigError
from seqbench.nn.checks import (
    check_choice,
    check_image,
    check_positive,
    check_sequence,
    check_share,
)
from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.convolution import direct_convolution
from seqbench.nn.kernels import KernelNet, MAGNet, Siren
from seqbench.nn.residual import ReadOut, ResidualBlock, ResNetBlock
from seqbench.spec import Signature


def kernels(out: int) -> list[KernelNet]:
    """One small network of each kind."""
    return [Siren(8, out, omega_0=20.0), MAGNet(8, out, layers=2)]


@pytest.mark.parametrize("length", [1, 2, 12, 33])
def test_convolution_is_with_the_networks_own_output(length: int) -> None:
    """The layer is the direct convolution with the network's values, position 1 the present."""
    torch.manual_seed(0)
    for kernel in kernels(3 * 2):
        layer = KernelConvolution(kernel, (2, 3), (length,)).double()
        x = torch.randn(4, 2, length, dtype=torch.float64)
        positions = torch.linspace(1, -1, length, dtype=torch.float64)[:, None]
        taps = kernel(positions).T.reshape(3, 2, length)
        torch.testing.assert_close(layer(x), direct_convolution(x, taps))


def test_a_prefix_of_the_input_gives_a_prefix_of_the_output() -> None:
    """An input of another length is the same signal cut off, not one at another rate."""
    torch.manual_seed(0)
    for kernel in kernels(2 * 2):
        layer = KernelConvolution(kernel, (2, 2), (20,))
        x = torch.randn(1, 2, 50)
        whole = layer(x)
        for length in (1, 7, 20, 33):
            torch.testing.assert_close(
                layer(x[..., :length]), whole[..., :length], rtol=1e-4, atol=1e-5
            )


def test_autocast_leaves_the_kernel_in_full_precision() -> None:
    """Under bfloat16 autocast the layer computes as without it, from a bfloat16 input too."""
    torch.manual_seed(0)
    for kernel in kernels(4):
        layer = KernelConvolution(kernel, (2, 2), (24,))
        x = torch.randn(2, 2, 24).bfloat16()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = layer(x)
        torch.testing.assert_close(y, layer(x.float()))


def test_residual_block_is_its_formula() -> None:
    """relu(f(f(x)) + shortcut(x)), with the identity as the shortcut for equal channels."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 10)

    def convolution(c_in: int, c_out: int) -> nn.Module:
        return nn.Conv1d(c_in, c_out, 1)

    wide = ResidualBlock(3, 5, nn.ReLU(), convolution)
    y = wide.conv2(wide.conv1(x).relu()).relu() + wide.shortcut(x)
    torch.testing.assert_close(wide(x), y.relu())
    same = ResidualBlock(3, 3, nn.ReLU(), convolution)
    assert not list(same.shortcut.parameters())


def test_read_out_reads_the_last_or_every_step() -> None:
    """The sequence answer is the step answer at the last step, given the same weights."""
    shape = {"in_channels": 1, "shape": (7,), "out_features": 4}
    once = ReadOut(3, Signature(**shape, target="sequence"), std=0.01)
    every = ReadOut(3, Signature(**shape, target="step"))
    every.load_state_dict(once.state_dict())
    x = torch.randn(2, 3, 7)
    assert every(x).shape == (2, 4, 7)
    torch.testing.assert_close(every(x)[..., -1], once(x))
    assert not once.linear.bias.any()


@pytest.mark.parametrize("shape", [(10,), (4, 5)])
def test_a_resnet_block_is_its_formula(shape: tuple[int, ...]) -> None:
    """The formula ``relu(norm(g(relu(norm(f(x))))) + shortcut(x))``, on sequences and images."""
    torch.manual_seed(0)
    convolution = (nn.Conv1d, nn.Conv2d)[len(shape) - 1]
    f, g, shortcut = convolution(3, 5, 1), convolution(5, 5, 1), convolution(3, 5, 1)
    block = ResNetBlock((f, g), 5, shortcut=shortcut)
    norm = (nn.BatchNorm1d, nn.BatchNorm2d)[len(shape) - 1]
    first, second = norm(5), norm(5)
    x = torch.randn(2, 3, *shape)
    for training in (True, False):
        for module in (block, first, second):
            module.train(training)
        expected = second(g(first(f(x)).relu())) + shortcut(x)
        torch.testing.assert_close(block(x), expected.relu(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(block.norm1.running_var, first.running_var)
    assert not list(ResNetBlock((f, g), 5).shortcut.parameters())


def test_a_pooled_read_out_reads_the_mean() -> None:
    """Of all steps or all pixels; at every step it reads each."""
    torch.manual_seed(0)
    for shape in ((7,), (4, 5)):
        asked = {"in_channels": 1, "shape": shape, "out_features": 4}
        head = ReadOut(3, Signature(**asked, target="sequence"), pooled=True)
        every = ReadOut(3, Signature(**asked, target="step"), pooled=True)
        every.load_state_dict(head.state_dict())
        x = torch.randn(2, 3, *shape)
        torch.testing.assert_close(head(x), head.linear(x.flatten(2).mean(2)))
        assert every(x).shape == (2, 4, *shape)
        torch.testing.assert_close(every(x).flatten(2).mean(2), head(x))


def test_checks_name_what_was_got_and_expected() -> None:
    """A field out of range, an image and a sequence are told apart and named."""

    class Config:
        width = 0
        dropout = 1.0
        norm = "bath"

    with pytest.raises(ConfigError, match="width is 0"):
        check_positive(Config(), "width")
    with pytest.raises(ConfigError, match=r"dropout is 1\.0"):
        check_share(Config(), "dropout")
    image = Signature(in_channels=1, shape=(8, 8), out_features=10, target="sequence")
    with pytest.raises(ConfigError, match=r"\(8, 8\)"):
        check_sequence("tcn", image)
    with pytest.raises(ConfigError, match=r"images.*\(8,\)"):
        check_image("resnet", image.model_copy(update={"shape": (8,)}))
    with pytest.raises(ConfigError, match="'step'"):
        check_image("resnet", image.model_copy(update={"target": "step"}))
    with pytest.raises(ConfigError, match="norm is 'bath', expected one of batch, layer"):
        check_choice(Config(), "norm", Literal["batch", "layer"])
