"""The FlexConv layer against arrays of the official code, and its own laws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from seqbench_flexconv import FlexConv, GaussianMask

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import MAGNet

LENGTHS, WIDTHS = (64, 129, 784), (0.05, 0.2, 1.0)


@pytest.fixture(scope="module")
def golden(shared_reference: Path) -> Mapping[str, np.ndarray]:
    """One official layer, 3 -> 4 channels, at several lengths and mask widths."""
    with np.load(shared_reference / "flexconv_layer_golden.npz") as arrays:
        return dict(arrays)


def golden_name(name: str) -> str:
    """The name of a parameter of ours in the official layer."""
    return name.replace("kernel.", "Kernel.").replace("Kernel.output.", "Kernel.output_linear.")


def official_layer(
    golden: Mapping[str, np.ndarray], length: int, width: float, threshold: float = 0.1
) -> FlexConv:
    """Our layer with the official layer's parameters."""
    kernel = MAGNet(32, 4 * 3, layers=3, input_scale=25.6)
    layer = FlexConv(kernel, (3, 4), (length,), GaussianMask(1.0, width), threshold)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if not name.startswith("mask."):
                value = golden[f"param/{golden_name(name)}"]
                parameter.copy_(torch.from_numpy(value).reshape(parameter.shape))
    return layer


def assert_near(got: torch.Tensor, expected: np.ndarray, tolerance: float, what: str) -> None:
    """The largest difference is small beside the largest value."""
    scale = np.abs(expected).max()
    difference = np.abs(got.detach().numpy().reshape(expected.shape) - expected).max()
    assert difference <= tolerance * scale, f"{what}: {difference / scale:.2g} of the maximum"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("length", LENGTHS)
def test_kernel_mask_and_crop_are_the_official_ones(
    golden: Mapping[str, np.ndarray], length: int, width: float
) -> None:
    """Same cropped length, positions, mask, and kernel with and without mask."""
    layer = official_layer(golden, length, width)
    case = f"L{length}/sigma{width}"
    taps = layer.taps(length)
    assert taps == golden[f"{case}/cropped_len"]
    positions = layer.axis(0)[:taps]
    kernel = layer.sampled_kernel(length).flip(-1)
    whole = layer.formed(KernelConvolution.features(layer, KernelConvolution.box(layer, [length])))
    whole = whole.flip(-1)
    near = 1e-5
    assert_near(positions.flip(0), golden[f"{case}/rel_positions_cropped"], near, "positions")
    assert_near(layer.mask(positions).flip(0), golden[f"{case}/mask"], near, "mask")
    assert_near(kernel, golden[f"{case}/kernel_masked"], near, "kernel")
    assert_near(whole, golden[f"L{length}/kernel_full_unmasked"], near, "whole kernel")


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("length", LENGTHS)
def test_output_is_the_official_one(
    golden: Mapping[str, np.ndarray], length: int, width: float
) -> None:
    """Same output as the official direct convolution, which is right at odd lengths too."""
    layer = official_layer(golden, length, width)
    x = torch.from_numpy(golden[f"L{length}/x"])
    assert_near(layer(x), golden[f"L{length}/sigma{width}/out_spatial"], 1e-5, "output")
    if length % 2 == 0:  # the official FFT is wrong at odd lengths
        uncropped = official_layer(golden, length, width, threshold=0.0)
        assert_near(uncropped(x), golden[f"L{length}/sigma{width}/out_layer_nocrop"], 1e-5, "whole")


@pytest.mark.parametrize(
    ("length", "width"),
    # At odd lengths the official FFT, taken for wide masks, is wrong.
    [case for case in itertools.product(LENGTHS, WIDTHS) if case != (129, 1.0)],
)
def test_gradients_are_the_official_ones(
    golden: Mapping[str, np.ndarray], length: int, width: float
) -> None:
    """Same gradients of sum(y * linspace(-1, 1)) for the input and every parameter."""
    layer = official_layer(golden, length, width)
    x = torch.from_numpy(golden[f"L{length}/x"]).requires_grad_()
    y = layer(x)
    (y * torch.linspace(-1, 1, y.numel()).reshape(y.shape)).sum().backward()
    case = f"L{length}/sigma{width}"
    mask = torch.cat([layer.mask.mean.grad, layer.mask.width.grad])
    assert_near(x.grad, golden[f"{case}/grad_x"], 1e-4, "x")
    assert_near(mask, golden[f"{case}/grad_mask_params"], 1e-4, "mask")
    assert_near(layer.bias.grad, golden[f"{case}/grad_bias"], 1e-4, "bias")
    for name, parameter in layer.kernel.named_parameters():
        key = f"{case}/grad/{golden_name(f'kernel.{name}')}"
        assert_near(parameter.grad, golden[key], 1e-4, name)


def layer_of(length: int, width: float = 0.075, threshold: float = 0.1) -> FlexConv:
    """A small layer of its own initialisation."""
    torch.manual_seed(0)
    return FlexConv(MAGNet(8, 6, layers=2), (2, 3), (length,), GaussianMask(1.0, width), threshold)


def test_a_mask_of_ones_makes_it_a_plain_kernel_convolution() -> None:
    """An endlessly wide mask changes nothing, and crops nothing."""
    flex = layer_of(50, width=1e6)
    plain = KernelConvolution(flex.kernel, (2, 3), (50,))
    x = torch.randn(2, 2, 50)
    assert flex.taps(50) == 50
    torch.testing.assert_close(flex(x), plain(x))


def test_the_crop_keeps_what_the_mask_holds_above_the_threshold() -> None:
    """Kept are just the taps where the mask is above the threshold, for any width."""
    for width in (0.01, 0.05, 0.075, 0.3, 0.9):
        layer = layer_of(784, width)
        mask = layer.mask(layer.axis(0))
        assert layer.taps(784) == int((mask > 0.1).sum())


def test_the_crop_is_a_small_approximation_and_can_be_turned_off() -> None:
    """Threshold 0 keeps the whole kernel; 0.1 leaves out a few per cent of the output."""
    cropped, whole = layer_of(200), layer_of(200, threshold=0.0)
    x = torch.randn(2, 2, 200)
    assert whole.taps(200) == 200
    difference = (cropped(x) - whole(x)).abs().max() / whole(x).abs().max()
    assert 0 < difference < 0.2


def test_the_mean_may_leave_the_range() -> None:
    """A mask centred outside of [-1, 1] crops nothing when its edge is outside too."""
    layer = layer_of(60)
    with torch.no_grad():
        layer.mask.mean.fill_(1.5)
    assert layer.taps(60) == 60
