"""The N-Jet layer against SciPy's Gaussian derivatives, and its laws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, special
from seqbench_njet import HermiteNet, NJetConv

from seqbench.errors import ConfigError
from seqbench.nn import continuous
from seqbench.nn.continuous import at_rate
from seqbench.nn.convolution import Blocks, Window

law = settings(deadline=None, max_examples=20, derandomize=True)


def random(*shape: int) -> torch.Tensor:
    """Normal values in float64."""
    return torch.randn(*shape, dtype=torch.float64)


def in_blocks(window: Window, *_: object) -> Blocks:
    """A plan that always takes transforms, several of odd length if there is more to compute."""
    n = [2 * k + 1 for k in window.taps]
    return Blocks(window.taps, window.offset, window.size, tuple(n))


def directly(window: Window, *_: object) -> Window:
    """A plan that never takes transforms."""
    return window


def layer_of(
    size: tuple[int, ...],
    sigma: float,
    order: int = 4,
    extent: float = 2.0,
    *,
    causal: bool = True,
    bias: bool = False,
) -> NJetConv:
    """A layer of 2 to 3 channels of its own initialisation, in float64."""
    torch.manual_seed(0)
    jet = HermiteNet(order, 2 * 3, sigma, len(size))
    return NJetConv(jet, (2, 3), size, extent, causal=causal, bias=bias).double()


def of_one_derivative(orders: tuple[int, ...], sigma: float, extent: float) -> NJetConv:
    """A centred layer, one channel in and out, whose kernel is one derivative alone."""
    dim = len(orders)
    jet = HermiteNet(max(1, sum(orders)), 1, sigma, dim)
    layer = NJetConv(jet, (1, 1), (41,) * dim, extent, causal=False).double()
    with torch.no_grad():
        jet.scale.fill_(math.log2(sigma))
        jet.output.weight.zero_()
        jet.output.bias.fill_(float(sum(orders) == 0))
        if sum(orders):
            jet.output.weight[0, jet.orders.index(orders)] = 1.0
    return layer


# The basis


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.7])
@pytest.mark.parametrize("order", range(7))
def test_a_derivative_filters_as_scipys(order: int, sigma: float) -> None:
    """One axis: sigma^n times SciPy's Gaussian derivative over the same taps, a correlation.

    SciPy convolves, which turns odd derivatives around.
    """
    layer = of_one_derivative((order,), sigma, 2.0)
    x = random(1, 1, 60)
    radius = math.ceil(2 * sigma + 0.5)
    expected = ndimage.gaussian_filter1d(
        x.numpy(), sigma, order=order, mode="constant", radius=radius
    )
    assert layer.taps(60) == 2 * radius + 1
    torch.testing.assert_close(layer(x), torch.from_numpy((-sigma) ** order * expected))


@pytest.mark.parametrize("orders", [o for o in itertools.product(range(4), repeat=2) if sum(o) < 4])
def test_a_derivative_filters_images_as_scipys(orders: tuple[int, int]) -> None:
    """Two axes: the same, each axis with an order of its own."""
    sigma = 1.6
    layer = of_one_derivative(orders, sigma, 3.0)
    x = random(1, 1, 20, 26)
    radius = math.ceil(3 * sigma + 0.5)
    expected = ndimage.gaussian_filter(
        x[0, 0].numpy(), sigma, order=orders, mode="constant", radius=radius
    )
    torch.testing.assert_close(layer(x)[0, 0], torch.from_numpy((-sigma) ** sum(orders) * expected))


@pytest.mark.parametrize("order", [1, 2, 5, 10])
def test_features_are_hermite_polynomials(order: int) -> None:
    """(-1)^n He_n(x / sigma) for every order from 1 on, whatever the number of them."""
    net = HermiteNet(order, 1, sigma=1.7).double()
    x = 3 * random(9, 1)
    orders = np.arange(1, order + 1)
    expected = (-1.0) ** orders * special.eval_hermitenorm(orders, x.numpy() / net.sigma.item())
    torch.testing.assert_close(net.features(x), torch.from_numpy(expected))


def test_features_times_the_gaussian_are_its_derivatives() -> None:
    """As automatic differentiation has them, in units of sigma."""
    net = HermiteNet(4, 1, sigma=1.3).double()
    x = random(11).requires_grad_()
    derivative = net.gaussian(x)
    features = net.features(x[:, None]) * derivative[:, None]
    for n in range(4):
        (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
        torch.testing.assert_close(features[:, n], net.sigma ** (n + 1) * derivative)


@pytest.mark.parametrize(("order", "dim", "count"), [(3, 1, 4), (2, 2, 6), (4, 2, 15), (2, 3, 10)])
def test_there_is_one_coefficient_for_every_derivative(order: int, dim: int, count: int) -> None:
    """Orders of the axes add up to ``order`` at most: (N + 1)(N + 2) / 2 in two dimensions."""
    net = HermiteNet(order, 7, sigma=1.0, dim=dim)
    assert net.output.weight.numel() + net.output.bias.numel() == 7 * count
    assert len({(0,) * dim, *net.orders}) == count


def test_coefficients_start_from_a_normal_distribution() -> None:
    """Of standard deviation 1 at every order, as in the authors' code."""
    torch.manual_seed(0)
    net = HermiteNet(4, 2000, sigma=1.0)
    for values in (net.output.weight, net.output.bias):
        assert values.mean().item() == pytest.approx(0, abs=0.05)
        assert values.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("cut", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("order", [1, 2, 4, 9])
def test_frequencies_have_a_bound(order: int, cut: float) -> None:
    """Above it no derivative has more than exp(-cut^2 / 2) of its largest magnitude."""
    layer = layer_of((401,), 6.0, order, extent=9.0, causal=False)
    bound = layer.highest_frequency(cut).item()
    assert bound < layer.nyquist_frequency.item() == 0.5
    features = layer.features(layer.box([401])).detach()
    spectra = torch.fft.rfft(features, n=4096, dim=0).abs()
    above = torch.fft.rfftfreq(4096) > bound
    assert (spectra[above].amax(0) <= math.exp(-(cut**2) / 2) * spectra.amax(0)).all()


def test_at_another_rate_the_bound_is_the_same_in_time() -> None:
    """In steps at rate 1 it stays; twice the rate carries twice the frequency; on every axis."""
    layer = layer_of((21, 31), 3.0, causal=False)
    twin = at_rate(layer, 2.0)
    torch.testing.assert_close(twin.highest_frequency(), layer.highest_frequency())
    torch.testing.assert_close(twin.nyquist_frequency, 2 * layer.nyquist_frequency)
    assert [len(axis) for axis in layer.envelope()] == [21, 31]
    assert all(axis.max() == 1 for axis in layer.envelope())


# Size


@pytest.mark.parametrize("sigma", [0.01, 0.4, 1.0, 1.26, 3.0, 7.4])
@pytest.mark.parametrize("extent", [1.0, 2.0, 3.5])
def test_a_kernel_reaches_so_many_sigmas(sigma: float, extent: float) -> None:
    """``ceil(extent sigma + 0.5)`` steps back, and as many ahead if it is centred."""
    steps = math.ceil(extent * sigma + 0.5)
    assert layer_of((99,), sigma, extent=extent).taps(99) == steps + 1
    assert layer_of((99,), sigma, extent=extent, causal=False).taps(99) == 2 * steps + 1
    square = layer_of((99, 61), sigma, extent=extent, causal=False)
    assert square.taps(99, 61) == (2 * steps + 1) ** 2


def test_a_kernel_grows_to_the_whole_sequence_and_no_further() -> None:
    """With sigma the taps grow up to ``size``; a sigma beyond it makes them all alike."""
    taps = [layer_of((50,), sigma).taps(200) for sigma in (0.5, 2.0, 10.0, 24.0, 1e3)]
    assert taps == sorted(taps)
    assert taps[-2:] == [50, 50]
    layer = layer_of((50,), 1e9, order=1)
    with torch.no_grad():
        layer.kernel.output.weight.zero_()
    expected = (layer.kernel.output.bias / 50).reshape(3, 2, 1).expand(3, 2, 50)
    torch.testing.assert_close(layer.sampled_kernel(50), expected)


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("size", [(31,), (9, 13)])
def test_order_0_is_an_average(size: tuple[int, ...], causal: bool, rate: float) -> None:
    """The Gaussian itself sums to 1 over its taps, cut off or not, at every rate."""
    for sigma in (0.05, 1.0, 4.0, 50.0):
        layer = at_rate(layer_of(size, sigma, causal=causal), rate)
        with torch.no_grad():
            layer.kernel.output.weight.zero_()
        kernel = layer.sampled_kernel(*(1000,) * len(size))
        total = kernel.flatten(2).sum(2).flatten()
        torch.testing.assert_close(total, layer.kernel.output.bias)


def test_a_short_input_sees_the_nearest_taps_of_the_same_kernel() -> None:
    """An input shorter than the kernel gives what the first outputs of a longer one are."""
    for causal in (True, False):
        layer = layer_of((99,), 9.0, causal=causal)
        x = random(2, 2, 60)
        longer = torch.nn.functional.pad(x[..., :7], (0, 53))
        torch.testing.assert_close(layer(x[..., :7]), layer(longer)[..., :7])


# Laws


@law
@given(st.integers(1, 30), st.integers(1, 40), st.floats(0.1, 40.0), st.integers(1, 6))
def test_the_future_changes_nothing(size: int, length: int, sigma: float, order: int) -> None:
    """A causal layer's output up to a step is the same whatever comes after that step."""
    layer = layer_of((size,), sigma, order)
    x, step = random(1, 2, length), length // 2
    changed = x.clone()
    changed[..., step + 1 :] = random(1, 2, length - step - 1)
    torch.testing.assert_close(layer(changed)[..., : step + 1], layer(x)[..., : step + 1])


@pytest.mark.parametrize("extent", [2.0, 3.0])
def test_a_causal_kernel_is_the_older_half_of_a_centred_one(extent: float) -> None:
    """Up to one factor, that of what the Gaussian sums to."""
    causal = layer_of((80,), 3.0, extent=extent).sampled_kernel(200)
    centred = layer_of((159,), 3.0, extent=extent, causal=False).sampled_kernel(200)
    older = centred[..., centred.shape[-1] // 2 :]
    ratio = older / causal
    torch.testing.assert_close(ratio, ratio[0, 0, 0].expand_as(ratio))
    assert 0.5 < ratio[0, 0, 0] < 0.6


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize(("size", "causal"), [((9,), True), ((9,), False), ((5, 3), False)])
def test_every_parameter_passes_gradcheck(size, causal, chosen, monkeypatch) -> None:
    """Input, coefficients, bias and the scale, directly and by transforms."""
    monkeypatch.setattr(continuous, "plan", chosen)
    layer = layer_of(size, 1.3, 2, causal=causal, bias=True)
    x = random(1, 2, *size).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: layer(x), [x, *layer.parameters()])
    assert layer.kernel.scale.requires_grad


def test_a_scale_is_found_by_its_gradient() -> None:
    """Fitted to a kernel of another sigma, the layer's comes to it, from either side."""
    for start in (2.0, 8.0):
        target, layer = layer_of((99,), 4.0, extent=3.0), layer_of((99,), start, extent=3.0)
        layer.kernel.output.requires_grad_(requires_grad=False)
        optimiser = torch.optim.Adam([layer.kernel.scale], lr=0.06)
        x = random(1, 2, 99)
        for _ in range(80):
            optimiser.zero_grad()
            (layer(x) - target(x).detach()).square().mean().backward()
            optimiser.step()
        assert layer.sigma == pytest.approx(4.0, rel=0.05)


# Other sampling rates and scales


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_rate_is_a_larger_scale(factor: int, causal: bool) -> None:
    """At rate r the layer is one of r times the sigma and the same coefficients: self-similar."""
    layer = layer_of((61,), 4.0, causal=causal)
    larger = layer_of((60 * factor + 1,), 4.0 * factor, causal=causal)
    with torch.no_grad():
        larger.kernel.scale.copy_(layer.kernel.scale + math.log2(factor))
    x = random(2, 2, 150)
    twin = at_rate(layer, float(factor))
    assert twin.sigma == pytest.approx(4.0 * factor)
    assert twin.taps(10**6) == larger.taps(10**6)
    torch.testing.assert_close(twin(x), larger(x))
    torch.testing.assert_close(at_rate(twin, 1 / factor)(x), layer(x))


def wave(times: torch.Tensor) -> torch.Tensor:
    """Two channels of slow sines under a Gaussian, at any time."""
    waves = torch.stack([torch.sin(0.31 * times), torch.cos(0.22 * times + 1)])
    return waves * torch.exp(-0.5 * ((times - 100) / 18) ** 2)


def test_an_upsampled_signal_gives_the_upsampled_output() -> None:
    """At rates 2, 4 and 1/2, of a centred kernel that has faded where it ends."""
    layer = layer_of((201,), 5.0, extent=8.0, causal=False)
    times = torch.arange(257, dtype=torch.float64)
    y = layer(wave(times)[None])
    scale = y.abs().max()
    for rate in (2, 4):
        finer = torch.arange(257 * rate - 1, dtype=torch.float64) / rate
        twin = at_rate(layer, float(rate))
        assert (twin(wave(finer)[None])[..., ::rate] - y).abs().max() < 1e-6 * scale
    coarser = at_rate(layer, 0.5)(wave(times[::2])[None])
    assert (coarser - y[..., ::2]).abs().max() < 1e-6 * scale


def test_an_upsampled_image_gives_the_upsampled_output() -> None:
    """On two axes too."""
    layer = layer_of((61, 61), 3.0, order=3, extent=8.0, causal=False)

    def image(rate: int) -> torch.Tensor:
        down = torch.arange(40 * rate - rate + 1).double()[:, None] / rate
        right = torch.arange(36 * rate - rate + 1).double() / rate
        window = torch.exp(-0.5 * (((down - 20) / 3.5) ** 2 + ((right - 18) / 3.5) ** 2))
        waves = [torch.sin(0.5 * down + 0.3 * right), torch.cos(0.2 * down - 0.4 * right)]
        return (torch.stack(waves) * window)[None]

    y, finer = layer(image(1)), at_rate(layer, 2.0)(image(2))
    assert (finer[..., ::2, ::2] - y).abs().max() < 1e-6 * y.abs().max()


def test_a_causal_kernel_is_nearly_so_the_more_the_wider_it_is() -> None:
    """Its edge at the current step is off by a share of a step, which a larger sigma outgrows."""
    times = torch.arange(513, dtype=torch.float64) / 2
    errors = []
    for sigma in (4.0, 16.0):
        layer = layer_of((257,), sigma, extent=4.0)
        coarse, fine = wave(times[::2])[None], wave(times)[None]
        y = layer(coarse)
        errors.append((at_rate(layer, 2.0)(fine)[..., ::2] - y).abs().max() / y.abs().max())
    assert errors[1] < 0.5 * errors[0] < 0.2


# Use


def test_a_changed_scale_changes_what_is_kept() -> None:
    """In eval a scale or a coefficient that changes in place is seen, by kernel and size alike."""
    layer = layer_of((60,), 2.0).eval()
    x = random(2, 2, 60)
    for scale, coefficient in ((1.0, 1.0), (3.0, 1.0), (3.0, -2.0), (0.0, -2.0)):
        with torch.no_grad():
            layer.kernel.scale.fill_(scale)
            layer.kernel.output.weight.fill_(coefficient)
        expected = layer(x).detach()
        with torch.inference_mode():
            for _ in range(2):
                torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("scale", [math.nan, math.inf, 1e30])
def test_a_scale_out_of_all_bounds_ends_in_no_error(scale: float) -> None:
    """A run that diverges is told by its loss; until then the kernel is as long as it can be."""
    layer = layer_of((30,), 2.0)
    with torch.no_grad():
        layer.kernel.scale.fill_(scale)
    assert layer.taps(30) == 30
    assert layer(random(1, 2, 30)).isnan().all() == math.isnan(scale)


@pytest.mark.parametrize(("order", "sigma"), [(0, 1.0), (3, 0.0), (3, math.nan)])
def test_a_jet_without_order_or_scale_is_refused(order: int, sigma: float) -> None:
    """What was asked for is named."""
    with pytest.raises(ConfigError, match=f"order {order} and sigma {sigma}"):
        HermiteNet(order, 1, sigma)


def test_parts_that_do_not_fit_are_refused() -> None:
    """A jet for another number of channels, and a centred kernel of even size."""
    with pytest.raises(ConfigError, match="gives 6 values"):
        NJetConv(HermiteNet(2, 6, 1.0), (2, 4), (9,))
    with pytest.raises(ConfigError, match="odd size"):
        NJetConv(HermiteNet(2, 6, 1.0, dim=2), (2, 3), (9, 8), causal=False)


def test_positions_are_in_steps() -> None:
    """The current step is at 0, older ones below; at rate 2 they lie half a step apart."""
    layer = layer_of((5,), 1.0)
    np.testing.assert_array_equal(layer.grid(0), [0, -1, -2, -3, -4])
    np.testing.assert_array_equal(at_rate(layer, 2.0).grid(0)[:4], [0, -0.5, -1, -1.5])
    centred = layer_of((5,), 1.0, causal=False)
    np.testing.assert_array_equal(centred.grid(0), [2, 1, 0, -1, -2])
