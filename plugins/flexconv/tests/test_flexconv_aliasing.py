"""The bound on kernels' frequencies holds, and the penalty is the paper's and the official one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqbench_flexconv import FlexConv, FlexConvNet, FlexConvNetConfig, GaussianMask
from seqbench_flexconv.aliasing import alias_penalty
from torch import nn

from seqbench.errors import ConfigError
from seqbench.nn.continuous import KernelConvolution, at_rate
from seqbench.nn.kernels import MAGNet, MFNFourier, MFNGabor, MultiplicativeFilterNet
from seqbench.spec import Signature

law = settings(deadline=None, max_examples=20, derandomize=True)
KINDS = (MFNFourier, MFNGabor, MAGNet)
SEQUENCE = Signature(in_channels=1, shape=(64,), out_features=10, target="sequence")


def layer_of(
    size: tuple[int, ...],
    kind: type[MultiplicativeFilterNet] = MAGNet,
    *,
    width: float | None = 0.2,
    mean: float = 0.0,
    scale: float = 25.6,
) -> KernelConvolution:
    """A layer of 2 to 3 channels, under a mask or, without a width, not."""
    torch.manual_seed(0)
    dim = len(size)
    kernel = kind(8, 6, layers=2, input_scale=scale, dim=dim)
    causal = any(n % 2 == 0 for n in size)
    if width is None:
        return KernelConvolution(kernel, (2, 3), size, causal=causal)
    return FlexConv(kernel, (2, 3), size, GaussianMask(mean, width, dim), causal=causal)


@pytest.fixture(scope="module")
def golden(shared_reference: Path) -> Mapping[str, np.ndarray]:
    """Penalties and frequencies of one official layer, at factor 0.1."""
    with np.load(shared_reference / "flexconv_layer_golden.npz") as arrays:
        return dict(arrays)


def official_layer(golden: Mapping[str, np.ndarray], size: int) -> FlexConv:
    """Our layer with the official layer's kernel network."""
    layer = FlexConv(MAGNet(32, 12, layers=3), (3, 4), (size,), GaussianMask(1.0, 0.075))
    with torch.no_grad():
        for name, parameter in layer.kernel.named_parameters():
            key = f"param/Kernel.{name}".replace("Kernel.output.", "Kernel.output_linear.")
            parameter.copy_(torch.from_numpy(golden[key]).reshape(parameter.shape))
    return layer


@pytest.mark.parametrize("cut", [1.0, 2.0])
@pytest.mark.parametrize("horizon", [17, 33, 65, 129, 785])
@pytest.mark.parametrize("method", ["together", "summed"])
def test_penalty_is_the_official_one(
    golden: Mapping[str, np.ndarray], method: str, horizon: int, cut: float
) -> None:
    """A tenth of the penalty is the official one at factor 0.1, for kernels of that many taps."""
    layer = official_layer(golden, horizon)
    expected = golden[f"reg/gabor|{method}|h{horizon}|sd{cut}"].item()
    ours = 0.1 * alias_penalty(layer, method, cut, with_mask=False).item()
    assert ours == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_frequencies_are_the_official_ones(golden: Mapping[str, np.ndarray]) -> None:
    """Those of the sines, of the windows and of both, a filter."""
    layer = official_layer(golden, 65)
    sines = layer.kernel.frequencies(cut=0.0)[:, 0]
    both = layer.kernel.frequencies(cut=2.0)[:, 0]
    windows = torch.stack([f.gamma.abs().max() for f in layer.kernel.filters]) / math.pi
    for ours, name in ((sines, "sines"), (windows, "gausses"), (both, "gabor")):
        expected = torch.from_numpy(golden[f"reg/freqs_{name}_sd2"])
        torch.testing.assert_close(ours.detach(), expected, rtol=1e-5, atol=1e-5)


def test_penalty_gradient_is_the_official_one(golden: Mapping[str, np.ndarray]) -> None:
    """The gradients of the official penalty at 65 taps, cut at two standard deviations."""
    layer = official_layer(golden, 65)
    (0.1 * alias_penalty(layer, "together", 2.0, with_mask=False)).backward()
    prefix, parameters = "reg/grad_h65_sd2/", dict(layer.kernel.named_parameters())
    names = [key.removeprefix(prefix) for key in golden if key.startswith(prefix)]
    assert len(names) == 2 * len(layer.kernel.filters)
    for name in names:
        got, expected = parameters[name].grad.numpy().ravel(), golden[prefix + name].ravel()
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), name


# The bound


def energy_above(layer: KernelConvolution, bound: torch.Tensor, axis: int) -> torch.Tensor:
    """The share of a finely sampled kernel's energy above a frequency along an axis, a value."""
    half, step = 6.0, 1 / 128
    along = torch.arange(-half, half, step, dtype=torch.float64)
    positions = torch.zeros(len(along), layer.kernel.dim, dtype=torch.float64)
    positions[:, axis] = along
    with torch.no_grad():
        kernel = layer.kernel(positions)
        if isinstance(layer, FlexConv):
            kernel = kernel * layer.mask(along, axis)[:, None]
        kernel = kernel * torch.hann_window(len(along), dtype=torch.float64)[:, None]
        energy = torch.fft.rfft(kernel, dim=0).abs().square()
    frequencies = torch.fft.rfftfreq(len(along), step).double()
    above = frequencies > bound[axis] + 2 / half  # the Hann window's own width
    assert above.any()
    return energy[above].sum(0) / energy.sum(0)


@pytest.mark.parametrize("width", [None, 0.05, 0.3])
@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_hardly_any_energy_lies_above_the_bound(
    kind: type[MultiplicativeFilterNet], dim: int, width: float | None
) -> None:
    """A finely sampled kernel has under a thousandth of its energy there.

    The bound is no idle one: above a tenth of it there is far more.
    """
    layer = layer_of((33,) * dim, kind, width=width).double()
    bound = layer.highest_frequency(cut=2.0).detach()
    assert bound.shape == (dim,)
    for axis in range(dim):
        above = energy_above(layer, bound, axis).max()
        assert above < 1e-3
        assert energy_above(layer, bound / 10, axis).max() > 10 * above


def test_without_windows_the_bound_is_exact() -> None:
    """Products of sines have no frequency above the sum of theirs, up to the analysis window."""
    layer = layer_of((33,), MFNFourier, width=None).double()
    assert energy_above(layer, layer.highest_frequency(cut=0.0).detach(), 0).max() < 1e-9


def test_a_narrower_mask_adds_more() -> None:
    """The mask adds cut / (2 pi width) to the bound, along each axis its own."""
    layer = layer_of((33, 17), width=0.1)
    with torch.no_grad():
        layer.mask.width.copy_(torch.tensor([0.1, -0.4]))
    added = layer.highest_frequency(2.0) - layer.highest_frequency(2.0, with_mask=False)
    expected = torch.tensor([2 / (2 * math.pi * 0.1), 2 / (2 * math.pi * 0.4)])
    torch.testing.assert_close(added, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.mask.frequency(2.0), expected)


@pytest.mark.parametrize("size", [(65,), (64,), (33, 17)])
def test_the_nyquist_frequency_is_half_the_rate_of_taps(size: tuple[int, ...]) -> None:
    """Half the taps a unit of position; a rate of 2 doubles it, a half halves it."""
    layer = layer_of(size)
    for axis, nyquist in enumerate(layer.nyquist_frequency):
        spacing = -layer.axis(axis).diff().mean()
        torch.testing.assert_close(nyquist, 0.5 / spacing, rtol=1e-4, atol=0.0)
    for rate in (2.0, 0.5):
        torch.testing.assert_close(
            at_rate(layer, rate).nyquist_frequency, rate * layer.nyquist_frequency
        )


# The penalty


@law
@given(
    st.sampled_from(KINDS),
    st.sampled_from([(17,), (129,), (33, 17)]),
    st.sampled_from([None, 0.05, 0.5]),
    st.floats(0.0, 3.0),
    st.floats(0.5, 40.0),
)
def test_penalty_is_its_formula(
    kind: type[MultiplicativeFilterNet],
    size: tuple[int, ...],
    width: float | None,
    cut: float,
    scale: float,
) -> None:
    """The squares of what exceeds the Nyquist frequency, on the axis that does most, mask or not.

    Together: every filter and an equal share for each. Summed: the sum, which is 0 just where the
    bound is not above the Nyquist frequency.
    """
    layer = layer_of(size, kind, width=width, scale=scale).double()
    for with_mask in (True, False):
        mask = torch.zeros(len(size))
        if with_mask and width is not None:
            mask = cut / (2 * math.pi * layer.mask.width.abs())
        filters, together = [], 0.0
        for f in layer.kernel.filters:
            reach = f.linear.weight.abs().max(0).values
            if kind is not MFNFourier:
                reach = reach + cut * f.gamma.abs().max(0).values
            filters.append(reach / (2 * math.pi))
        allowed = (torch.tensor(size).double() - 1) / 4 - mask
        for frequency in filters:
            over = max(0.0, (frequency - allowed / len(filters)).max().item())
            together += over**2
        summed = max(0.0, (sum(filters) - allowed).max().item()) ** 2
        got = alias_penalty(layer, "together", cut, with_mask=with_mask).item()
        assert got == pytest.approx(together)
        got = alias_penalty(layer, "summed", cut, with_mask=with_mask).item()
        assert got == pytest.approx(summed)
        mask = {"with_mask": with_mask} if isinstance(layer, FlexConv) else {}
        bound = layer.highest_frequency(cut, **mask)
        assert (got == 0) == bool((bound <= layer.nyquist_frequency).all())


@pytest.mark.parametrize("method", ["together", "summed"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_a_high_enough_rate_nothing_aliases(
    kind: type[MultiplicativeFilterNet], method: str
) -> None:
    """The penalty falls with the sampling rate, to 0."""
    layer = layer_of((17,), kind)
    penalties = [alias_penalty(at_rate(layer, r), method).item() for r in (1.0, 2.0, 4.0, 4096.0)]
    assert penalties == sorted(penalties, reverse=True)
    assert penalties[0] > penalties[-1] == 0


@pytest.mark.parametrize("size", [(9,), (5, 3)])
@pytest.mark.parametrize("method", ["together", "summed"])
@pytest.mark.parametrize("kind", KINDS)
def test_penalty_passes_gradcheck(
    kind: type[MultiplicativeFilterNet], method: str, size: tuple[int, ...]
) -> None:
    """Gradients for filters and the mask's width (the official penalty with mask fails in 1-D)."""
    layer = layer_of(size, kind).double()
    parameters = [p for f in layer.kernel.filters for p in f.parameters()] + [layer.mask.width]
    assert alias_penalty(layer, method) > 0
    check = torch.autograd.gradcheck
    assert check(lambda *_: alias_penalty(layer, method), parameters)
    gradients = torch.autograd.grad(alias_penalty(layer, method), parameters, allow_unused=True)
    assert gradients[-1].abs().sum() > 0
    assert any(g is not None and g.abs().sum() > 0 for g in gradients[:-1])


def test_every_convolution_of_a_network_adds_its_part() -> None:
    """The penalty of a network is the sum over its generated convolutions."""
    first, second = layer_of((17,)), layer_of((9,), MFNGabor, width=None)
    network = nn.Sequential(first, nn.ReLU(), second)
    parts = alias_penalty(first, "summed") + alias_penalty(second, "summed")
    torch.testing.assert_close(alias_penalty(network, "summed"), parts)


@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("method", ["together", "summed"])
@pytest.mark.parametrize("kernel", ["magnet", "mfn-gabor", "mfn-fourier"])
def test_a_network_adds_its_alias_penalty(kernel: str, method: str, with_mask: bool) -> None:
    """``alias_penalty`` weights the excess as method, cut and mask say, beside ``kernel_decay``."""
    torch.manual_seed(0)
    config = {"channels": 4, "kernel": kernel, "input_scale": 100.0, "kernel_decay": 0.2}
    settings = {"alias_method": method, "alias_mask": with_mask, "alias_cut": 1.5}
    network = FlexConvNet(FlexConvNetConfig(alias_penalty=0.3, **config, **settings), SEQUENCE)
    torch.manual_seed(0)
    without = FlexConvNet(FlexConvNetConfig(**config, **settings), SEQUENCE)
    excess = alias_penalty(network.blocks, method, 1.5, with_mask=with_mask)
    assert excess > 0
    torch.testing.assert_close(network.penalty(), without.penalty() + 0.3 * excess)
    network.penalty().backward()


def test_a_siren_has_no_bound_and_is_refused() -> None:
    """An alias penalty on siren kernels is refused, with what may be used."""
    with pytest.raises(ConfigError, match="alias_penalty"):
        FlexConvNetConfig(kernel="siren", alias_penalty=0.1)
    assert FlexConvNetConfig(kernel="siren", alias_penalty=0.0)
