"""Laws of the convolution with a generated kernel: its grid, sampling rates, and what is kept."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seqbench.errors import ConfigError
from seqbench.nn import continuous
from seqbench.nn.continuous import KernelConvolution, at_rate, kernel_decay
from seqbench.nn.convolution import Blocks, Window, direct_convolution
from seqbench.nn.kernels import KernelNet, MAGNet, MFNFourier, MFNGabor, Siren

law = settings(deadline=None, max_examples=20, derandomize=True)

GEOMETRIES = [((9,), True), ((9,), False), ((5, 3), True), ((5, 3), False)]


def net_of(kind: type[KernelNet], values: int, dim: int = 1) -> KernelNet:
    """A small network of a kind."""
    if kind is Siren:
        return Siren(6, values, omega_0=8.0, dim=dim)
    return kind(6, values, 2, 8.0, dim=dim)


def layer_of(
    size: Sequence[int],
    *,
    kind: type[KernelNet] = MAGNet,
    channels: tuple[int, int] = (2, 3),
    causal: bool = True,
    separable: bool = False,
    bias: bool = True,
) -> KernelConvolution:
    """A layer in float64 whose bias is not 0."""
    values = channels[0] * (1 if separable else channels[1])
    made = KernelConvolution(
        net_of(kind, values, len(size)),
        channels,
        size,
        causal=causal,
        separable=separable,
        bias=bias,
    )
    if made.bias is not None:
        nn.init.normal_(made.bias)
    return made.double()


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


def by_definition(layer: KernelConvolution, x: torch.Tensor) -> torch.Tensor:
    """The convolution with the network's values on the whole grid of positions."""
    axes = [torch.linspace(1, -1, size, dtype=torch.float64) for size in layer.size]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    values = layer.kernel(grid.flatten(0, -2)).T.reshape(-1, *layer.size)
    offset = (0,) * len(axes) if layer.causal else tuple(size // 2 for size in layer.size)
    shape = tuple(x.shape[2:])
    if layer.separable:
        y = direct_convolution(x, values.unflatten(0, (-1, 1)), offset, shape)
        y = torch.einsum("bi...,oi->bo...", y, layer.mix.weight)
    else:
        kernel = values.unflatten(0, (layer.out_channels, layer.in_channels))
        y = direct_convolution(x, kernel, offset, shape)
    return y if layer.bias is None else y + layer.bias.view(-1, *(1,) * len(axes))


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("size", "causal"), GEOMETRIES)
def test_it_is_the_convolution_with_the_networks_values(  # noqa: PLR0917  (every case)
    size: tuple[int, ...], causal: bool, separable: bool, bias: bool, chosen: object, monkeypatch
) -> None:
    """Causal or centred, dense or separable, directly or not, for inputs of any length."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    for kind in (Siren, MAGNet):
        layer = layer_of(size, kind=kind, causal=causal, separable=separable, bias=bias)
        for shorter in (6, 2, 0, -4):
            x = random(2, 2, *(max(1, n - shorter) for n in size))
            expected = by_definition(layer, x)
            torch.testing.assert_close(layer.train()(x), expected)
            with torch.inference_mode():
                torch.testing.assert_close(layer.eval()(x), expected.detach())


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("size", "causal"), [((5,), True), ((3, 3), False)])
def test_every_parameter_passes_gradcheck(
    size: tuple[int, ...], causal: bool, separable: bool, chosen: object, monkeypatch
) -> None:
    """Analytic gradients agree with finite differences, of input, kernel, mixing and bias."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    values = 2 if separable else 4
    kernel = MAGNet(2, values, 1, 6.0, dim=len(size))
    layer = (
        KernelConvolution(kernel, (2, 2), size, causal=causal, separable=separable).double().eval()
    )
    x = random(1, 2, *(n + 1 for n in size)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: layer(x), [x, *layer.parameters()])


@law
@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 40), st.booleans())
def test_a_delayed_input_gives_a_delayed_output(
    size: int, length: int, delay: int, separable: bool
) -> None:
    """A causal layer is shift equivariant, the first steps included: nothing stands before."""
    torch.manual_seed(size)
    layer = layer_of((size,), separable=separable, bias=False)
    x = random(1, 2, length)
    delayed = torch.cat([torch.zeros(1, 2, delay, dtype=x.dtype), x], -1)[..., :length]
    expected = torch.cat([torch.zeros(1, 3, delay, dtype=x.dtype), layer(x)], -1)[..., :length]
    torch.testing.assert_close(layer(delayed), expected)


@law
@given(st.integers(0, 6), st.integers(1, 8), st.integers(0, 5), st.integers(0, 5))
def test_a_shifted_image_gives_a_shifted_output(
    half: int, side: int, down: int, right: int
) -> None:
    """A centred layer is shift equivariant where its kernel meets no border."""
    torch.manual_seed(half)
    size = 2 * half + 1
    layer = layer_of((size, 3), causal=False)
    image, room = random(1, 2, side, side), 2 * half + 2

    def placed(top: int, left: int) -> torch.Tensor:
        canvas = torch.zeros(1, 2, side + 2 * room + 5, side + 2 * room + 5, dtype=image.dtype)
        canvas[..., top : top + side, left : left + side] = image
        return layer(canvas)

    y, shifted = placed(room, room), placed(room + down, room + right)
    inner = slice(half, -half - 6)
    torch.testing.assert_close(
        shifted.roll((-down, -right), (2, 3))[..., inner, inner], y[..., inner, inner]
    )


@law
@given(st.integers(1, 30), st.integers(1, 40), st.integers(1, 45), st.booleans(), st.booleans())
def test_the_last_outputs_alone_are_those_of_all(
    size: int, length: int, steps: int, separable: bool, grad: bool
) -> None:
    """``steps`` gives the end of the output, however long kernel and input are."""
    torch.manual_seed(size)
    layer = layer_of((size,), separable=separable).eval()
    x = random(2, 2, length)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(layer(x, steps), layer(x)[..., -steps:])


# The kernel's size and norm


@law
@given(st.integers(1, 20), st.integers(1, 50), st.booleans(), st.sampled_from([0.5, 1.0, 2.0, 3.0]))
def test_taps_are_those_that_meet_the_input(
    half: int, length: int, causal: bool, rate: float
) -> None:
    """``taps`` counts the positions 2 / (rate (size - 1)) apart in range that meet any step."""
    size = 2 * half + 1
    layer = at_rate(layer_of((size,), causal=causal), rate)
    reach = math.floor((size - 1) * rate / (1 if causal else 2))
    expected = min(reach + 1, length) if causal else 2 * min(reach, length - 1) + 1
    assert layer.taps(length) == expected == layer.sampled_kernel(length).shape[-1]
    positions = layer.axis(0)
    current = 0 if causal else reach
    assert positions[current] == (1 if causal else 0)
    torch.testing.assert_close(
        positions.diff(), torch.full((len(positions) - 1,), -2 / (rate * (size - 1))).double()
    )
    assert positions.abs().max() <= 1 + 1e-12


def test_taps_multiply_over_axes() -> None:
    """On several axes the taps are those of the box that meets the input."""
    assert layer_of((5, 9)).taps(3, 20) == 3 * 9
    assert layer_of((5, 9), causal=False).taps(2, 3) == 3 * 5


@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize(("size", "causal"), GEOMETRIES)
def test_kernel_norm_is_that_of_the_kernel_formed(
    size: tuple[int, ...], causal: bool, separable: bool
) -> None:
    """Before any input: the norm of all taps; after one in training: of those it met."""
    torch.manual_seed(0)
    layer = layer_of(size, causal=causal, separable=separable)
    torch.testing.assert_close(layer.kernel_norm(), layer.sampled_kernel(*size).norm())
    short = tuple(2 for _ in size)
    layer(random(1, 2, *short))
    torch.testing.assert_close(layer.kernel_norm(), layer.sampled_kernel(*short).norm())
    decay = layer.sampled_kernel(*short).norm() + layer.bias.norm()
    torch.testing.assert_close(kernel_decay(nn.Sequential(layer)), decay)


def counted(layer: KernelConvolution) -> list[int]:
    """A list that gets an entry at every call of the layer's kernel network."""
    calls, features = [], layer.kernel.features

    def noted(positions: torch.Tensor) -> torch.Tensor:
        calls.append(len(positions))
        return features(positions)

    layer.kernel.features = noted
    return calls


def test_kernel_norm_uses_fresh_features_until_the_backward_pass() -> None:
    """After a forward pass the network is not evaluated again; after the backward pass it is."""
    torch.manual_seed(0)
    layer, x = layer_of((12,)), random(2, 2, 12)
    calls = counted(layer)
    (layer(x).square().sum() + layer.kernel_norm()).backward()
    assert len(calls) == 1
    together = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    layer(x).square().sum().backward()
    layer.kernel_norm().backward()
    assert len(calls) == 3
    torch.testing.assert_close([p.grad for p in layer.parameters()], together)


def test_kernel_norm_follows_the_parameters_through_training() -> None:
    """After every optimiser step the norm is that of the changed kernel."""
    torch.manual_seed(0)
    layer, x = layer_of((12,)), random(2, 2, 12)
    optimizer = torch.optim.SGD(layer.parameters(), 0.01)
    for _ in range(3):
        (layer(x).square().mean() + layer.kernel_norm()).backward()
        optimizer.step()
        torch.testing.assert_close(layer.kernel_norm(), layer.sampled_kernel(12).norm())


def test_parts_that_do_not_fit_are_refused() -> None:
    """Another number of values, other axes, an even centred kernel: each is named."""
    with pytest.raises(ConfigError, match="gives 5 values a tap"):
        KernelConvolution(MAGNet(4, 5), (2, 3), (9,))
    with pytest.raises(ConfigError, match="is over 1 axes"):
        KernelConvolution(MAGNet(4, 6), (2, 3), (9, 9))
    with pytest.raises(ConfigError, match=r"odd size on every axis, not \(9, 8\)"):
        KernelConvolution(MAGNet(4, 6, dim=2), (2, 3), (9, 8), causal=False)


# Sampling rates


def test_a_network_at_another_rate_shares_its_parameters() -> None:
    """The twin's parameters are the network's own; the network stays as it is."""
    torch.manual_seed(0)
    network = nn.Sequential(
        layer_of((9,)), nn.BatchNorm1d(3).double(), layer_of((9,), channels=(3, 2))
    )
    network(random(2, 2, 9))
    twin = at_rate(network, 2.0)
    own = [*network.parameters(), *network.buffers()]
    assert all(a is b for a, b in zip([*twin.parameters(), *twin.buffers()], own, strict=True))
    assert [(m.rate, n.rate) for m, n in zip(network[::2], twin[::2], strict=True)] == [(1, 2)] * 2
    assert (network[0].taps(100), twin[0].taps(100)) == (9, 17)
    with torch.no_grad():
        network[0].bias.fill_(3.0)
    assert (twin[0].bias == 3.0).all()


@law
@given(st.lists(st.sampled_from([0.25, 0.5, 2.0, 3.0, 4.0]), max_size=3))
def test_rates_multiply(rates: list[float]) -> None:
    """One rate after another is their product; there and back is the network itself."""
    layer = layer_of((17,))
    there = layer
    for rate in rates:
        there = at_rate(there, rate)
    assert there.rate == pytest.approx(math.prod(rates))
    x = random(1, 2, 40)
    torch.testing.assert_close(there(x), at_rate(layer, math.prod(rates, start=1.0))(x))
    for rate in rates:
        there = at_rate(there, 1 / rate)
    torch.testing.assert_close(there(x), layer(x))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_a_rate_not_above_0_is_refused(rate: float) -> None:
    """The rate is named and what was expected."""
    with pytest.raises(ConfigError, match="above 0"):
        at_rate(layer_of((9,)), rate)


def test_at_any_rate_a_sum_over_finer_taps_stays_the_same() -> None:
    """The kernel's sum tends to the integral that it has at rate 1, so that outputs keep scale."""
    torch.manual_seed(0)
    layer = layer_of((401,), kind=MFNGabor)
    sums = [at_rate(layer, rate).sampled_kernel(10**4).sum(-1) for rate in (1.0, 2.0, 4.0)]
    scale = sums[0].abs().max()
    assert (sums[1] - sums[0]).abs().max() < 0.01 * scale
    assert (sums[2] - sums[1]).abs().max() < 0.005 * scale


# What is kept in eval


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize("separable", [False, True])
def test_in_eval_the_kernel_is_generated_once(separable: bool, chosen: object, monkeypatch) -> None:
    """The second call with the same geometry gives the same without the kernel network."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    layer = layer_of((12,), separable=separable).eval()
    calls, x = counted(layer), random(2, 2, 20)
    expected = by_definition(layer, x).detach()
    calls.clear()
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(layer(x), expected)
            torch.testing.assert_close(layer(x[:1]), expected[:1])
    assert len(calls) == 1
    layer(x)  # with gradients: anew
    assert len(calls) == 2


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize("kind", [Siren, MFNFourier, MFNGabor, MAGNet])
def test_what_is_kept_never_outlives_a_change(
    kind: type[KernelNet], chosen: object, monkeypatch
) -> None:
    """Any parameter changed in place, a state dict loaded, a step trained: the output follows."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    layer, x = layer_of((12,), kind=kind).eval(), random(2, 2, 20)

    def follows() -> None:
        with torch.inference_mode():
            y = layer(x)
        torch.testing.assert_close(y, by_definition(layer, x).detach())

    follows()
    for parameter in layer.parameters():
        with torch.no_grad():
            parameter.mul_(1.5)
        follows()
    other = layer_of((12,), kind=kind)
    layer.load_state_dict(other.state_dict())
    follows()
    layer.load_state_dict(layer_of((12,), kind=kind).state_dict(), assign=True)
    follows()
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    layer.train()
    layer(x).square().sum().backward()
    optimizer.step()
    layer.eval()
    follows()
    optimizer.step()
    follows()
    layer.float()
    layer.double()
    follows()


@pytest.mark.parametrize("chosen", [directly, in_blocks])
def test_lengths_and_rates_may_alternate(chosen: object, monkeypatch) -> None:
    """A second length after a first one is right, in training and in eval, and so is the first."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    layer = layer_of((31,))
    twin = at_rate(layer, 2.0)
    with torch.no_grad():
        for length in (9, 40, 9, 31, 30, 40):
            x = random(2, 2, length)
            expected = by_definition(layer, x)
            torch.testing.assert_close(layer.train()(x), expected)
            torch.testing.assert_close(layer.eval()(x), expected)
            torch.testing.assert_close(layer(x), expected)
            torch.testing.assert_close(twin.eval()(x), twin.train()(x))


def test_a_large_spectrum_is_not_kept(monkeypatch) -> None:
    """Above ``KEPT_BYTES`` the kernel is generated at every call, with the same output."""
    monkeypatch.setattr(continuous, "plan", in_blocks)
    torch.manual_seed(0)
    layer, x = layer_of((12,)).eval(), random(2, 2, 20)
    with torch.inference_mode():
        expected = layer(x)
        monkeypatch.setattr(continuous, "KEPT_BYTES", 1)
        calls = counted(layer)
        for _ in range(2):
            torch.testing.assert_close(layer(x), expected)
    assert len(calls) == 2


def test_a_layer_made_under_inference_mode_keeps_nothing() -> None:
    """Parameters that do not tell when they change are read at every call."""
    torch.manual_seed(0)
    x = random(2, 2, 20)
    with torch.inference_mode():
        layer = layer_of((12,)).eval()
        layer(x)
        layer.kernel.output.weight.mul_(2.0)
        torch.testing.assert_close(layer(x), by_definition(layer, x))


@pytest.mark.parametrize("training", [True, False])
def test_a_used_layer_can_be_copied_and_pickled(training: bool) -> None:
    """A copy made between forward and backward pass computes the same."""
    torch.manual_seed(0)
    layer, x = layer_of((12,)).train(training), random(2, 2, 20)
    y = layer(x)
    with torch.inference_mode():
        layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(x), y)
        torch.testing.assert_close(twin.kernel_norm(), layer.kernel_norm())
        assert all(a is not b for a, b in zip(twin.parameters(), layer.parameters(), strict=True))
    (y.sum() + layer.kernel_norm()).backward()


def test_inference_before_training_leaves_training_possible() -> None:
    """Positions first made under inference mode serve a later training step."""
    torch.manual_seed(0)
    layer, x = layer_of((13,)), random(2, 2, 21)
    with torch.inference_mode():
        layer.eval()(x)
    layer.train()(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_the_norm_is_that_of_the_parameters_now() -> None:
    """After a forward pass whose loss is thrown away, a changed parameter changes the norm."""
    torch.manual_seed(0)
    layer = KernelConvolution(MAGNet(4, 4), (2, 2), (9,))
    layer(torch.randn(1, 2, 9))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(2.0)
    torch.testing.assert_close(layer.kernel_norm(), layer.sampled_kernel(9).norm())


def test_the_last_steps_are_asked_of_causal_convolutions_on_one_axis() -> None:
    """Anything else is refused in so many words."""
    centred = KernelConvolution(MAGNet(4, 4), (2, 2), (9,), causal=False)
    image = KernelConvolution(MAGNet(4, 4, dim=2), (2, 2), (5, 5))
    causal = KernelConvolution(MAGNet(4, 4), (2, 2), (9,))
    for layer, steps in ((centred, 3), (image, 1), (causal, 0)):
        x = torch.randn(1, 2, *[9] * len(layer.size))
        with pytest.raises(ConfigError, match="outputs"):
            layer(x, steps)


def test_an_empty_batch_gives_an_empty_output() -> None:
    """No examples in, none out, by either way."""
    layer = KernelConvolution(MAGNet(4, 4), (2, 2), (300,))
    for length in (3, 300):
        assert layer(torch.randn(0, 2, length)).shape == (0, 2, length)


def test_the_norm_stays_in_full_precision_under_autocast() -> None:
    """The norm that decay adds to the loss is that of the kernel convolved with."""
    torch.manual_seed(0)
    for kernel in (Siren(8, 4, omega_0=20.0), MAGNet(8, 4)):
        layer = KernelConvolution(kernel, (2, 2), (24,))
        expected = layer.kernel_norm()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(layer.kernel_norm(), expected)
            layer(torch.randn(1, 2, 24))
            torch.testing.assert_close(layer.kernel_norm(), expected)


def test_a_kernel_of_zeros_has_no_norm_and_a_gradient_of_zero() -> None:
    """The root has no slope at 0: decay does not turn a vanished kernel into NaN."""
    layer = KernelConvolution(MAGNet(4, 4), (2, 2), (9,))
    with torch.no_grad():
        layer.kernel.output.weight.zero_()
        layer.kernel.output.bias.zero_()
    norm = layer.kernel_norm()
    norm.backward()
    assert norm == 0
    assert all(not p.grad.any() for p in layer.kernel.parameters() if p.grad is not None)


def test_a_fused_optimiser_step_after_a_forward_pass_is_seen() -> None:
    """Such a step does not count as a change in place; the forward pass before it does."""
    torch.manual_seed(0)
    layer = KernelConvolution(MAGNet(4, 4), (2, 2), (60,)).eval()
    x = torch.randn(1, 2, 60)
    with torch.inference_mode():
        layer(x)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1, fused=True)
    layer(x).square().sum().backward()
    optimizer.step()
    with torch.inference_mode():
        kept = layer(x)
    torch.testing.assert_close(kept, layer(x).detach())


def test_the_norm_is_of_the_last_length_in_training() -> None:
    """Also when nothing of the kernel is learned, and after the backward pass."""
    torch.manual_seed(0)
    layer = KernelConvolution(MAGNet(4, 4), (2, 2), (33,))
    expected = layer.sampled_kernel(9).norm()
    layer(torch.randn(1, 2, 9)).sum().backward()
    torch.testing.assert_close(layer.kernel_norm(), expected)
    layer.kernel.requires_grad_(requires_grad=False)
    layer(torch.randn(1, 2, 9))
    torch.testing.assert_close(layer.kernel_norm(), expected)
