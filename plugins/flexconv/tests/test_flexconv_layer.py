"""The FlexConv layer against arrays of the official code, and its own laws."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqbench_flexconv import FlexConv, GaussianMask

from seqbench.errors import ConfigError
from seqbench.nn import continuous
from seqbench.nn.continuous import KernelConvolution, at_rate
from seqbench.nn.convolution import Blocks, Window
from seqbench.nn.kernels import MAGNet, MFNFourier, MFNGabor, Siren

law = settings(deadline=None, max_examples=20, derandomize=True)

LENGTHS, WIDTHS = (64, 129, 784), (0.05, 0.2, 1.0)


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


@pytest.mark.parametrize("chosen", [None, directly, in_blocks])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("length", LENGTHS)
def test_output_is_the_official_one(
    golden: Mapping[str, np.ndarray], length: int, width: float, chosen, monkeypatch
) -> None:
    """Same output as the official direct convolution, which is right at odd lengths too.

    The official FFT, and with it all of the outputs without cropping, is wrong at odd lengths.
    """
    if chosen:
        monkeypatch.setattr(continuous, "plan", chosen)
    layer = official_layer(golden, length, width)
    x = torch.from_numpy(golden[f"L{length}/x"])
    case = f"L{length}/sigma{width}"
    for training in (True, False):
        with torch.set_grad_enabled(training):
            y = layer.train(training)(x)
            assert_near(y, golden[f"{case}/out_spatial"], 1e-5, "output")
    whole = official_layer(golden, length, width, threshold=0.0)
    kernel = whole.sampled_kernel(length).flip(-1)
    assert_near(kernel, golden[f"{case}/kernel_masked_nocrop"], 1e-5, "whole kernel")
    if length % 2 == 0:
        for name in ("out_fft", "out_fft_double", "out_layer"):
            assert_near(y, golden[f"{case}/{name}"], 1e-5, name)
        assert_near(whole(x), golden[f"{case}/out_layer_nocrop"], 1e-5, "whole")
    else:
        wrong = np.abs(golden[f"{case}/out_fft"] - y.numpy()).max()
        assert wrong > 1e-3 * y.abs().max().item(), "the official fault is gone"


@pytest.mark.parametrize(
    ("length", "width"),
    # At odd lengths the official FFT, taken for wide masks, is wrong.
    [case for case in itertools.product(LENGTHS, WIDTHS) if case != (129, 1.0)],
)
@pytest.mark.parametrize("chosen", [None, directly, in_blocks])
def test_gradients_are_the_official_ones(
    golden: Mapping[str, np.ndarray], length: int, width: float, chosen, monkeypatch
) -> None:
    """Same gradients of sum(y * linspace(-1, 1)) for the input and every parameter."""
    if chosen:
        monkeypatch.setattr(continuous, "plan", chosen)
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


def layer_of(
    size: int,
    width: float = 0.075,
    threshold: float = 0.1,
    *,
    mean: float | None = None,
    causal: bool = True,
    separable: bool = False,
    bias: bool = True,
) -> FlexConv:
    """A small layer of its own initialisation, the mask at the current step."""
    torch.manual_seed(0)
    mask = GaussianMask((1.0 if causal else 0.0) if mean is None else mean, width)
    kernel = MAGNet(8, 2 if separable else 6, layers=2)
    return FlexConv(
        kernel,
        (2, 3),
        (size,),
        mask,
        threshold,
        causal=causal,
        separable=separable,
        bias=bias,
    )


def test_the_crop_is_a_small_approximation_and_can_be_turned_off() -> None:
    """Threshold 0 keeps the whole kernel; 0.1 leaves out a few per cent of the output."""
    cropped, whole = layer_of(200), layer_of(200, threshold=0.0)
    x = torch.randn(2, 2, 200)
    assert whole.taps(200) == 200
    difference = (cropped(x) - whole(x)).abs().max() / whole(x).abs().max()
    assert 0 < difference < 0.2


def test_the_mean_may_leave_the_range() -> None:
    """A mask whose edge moves into the future crops more and more, down to the current step."""
    layer = layer_of(60)
    taps = []
    for mean in (0.9, 1.0, 1.1, 1.2, 1.5):
        with torch.no_grad():
            layer.mask.mean.fill_(mean)
        taps.append(layer.taps(60))
        assert taps[-1] == max(1, int((layer.mask(layer.axis(0)) > 0.1).sum()))
    assert taps == sorted(taps, reverse=True)
    assert taps[-1] == 1


# Laws


@law
@given(st.integers(1, 30), st.integers(1, 40), st.floats(0.01, 2.0), st.floats(0.0, 0.9))
def test_the_future_changes_nothing(size: int, length: int, width: float, threshold: float) -> None:
    """A causal layer's output up to a step is the same whatever comes after that step."""
    layer = layer_of(size, width, threshold).double()
    x, step = random(1, 2, length), length // 2
    changed = x.clone()
    changed[..., step + 1 :] = random(1, 2, length - step - 1)
    torch.testing.assert_close(layer(changed)[..., : step + 1], layer(x)[..., : step + 1])


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("size", [(21,), (5, 7)])
@pytest.mark.parametrize("kind", [MAGNet, MFNFourier, MFNGabor, Siren])
def test_a_mask_of_ones_makes_it_a_plain_kernel_convolution(
    kind, size, causal, chosen, monkeypatch
) -> None:
    """An endlessly wide mask changes nothing and crops nothing; with sines that is a CKConv."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    dim = len(size)
    net = Siren(8, 6, 20.0, dim=dim) if kind is Siren else kind(8, 6, dim=dim)
    mask = GaussianMask(1.0, 1e9, dim)
    flex = FlexConv(net, (2, 3), size, mask, causal=causal).double()
    plain = KernelConvolution(flex.kernel, (2, 3), size, causal=causal).double()
    x = random(2, 2, *(n + 3 for n in size))
    assert flex.taps(*x.shape[2:]) == math.prod(size)
    torch.testing.assert_close(flex(x), plain(x))


@law
@given(
    st.integers(1, 20),
    st.integers(1, 50),
    st.floats(0.02, 1.5),
    st.floats(0.001, 0.9),
    st.booleans(),
)
def test_cropping_changes_no_more_than_what_it_leaves_out(
    half: int, length: int, width: float, threshold: float, causal: bool
) -> None:
    """At most the largest input times the sum of the masked kernel over the taps left out."""
    size = 2 * half + 1
    cropped = layer_of(size, width, threshold, causal=causal).double()
    whole = layer_of(size, width, 0.0, causal=causal).double()
    x = random(2, 2, length)
    (kept,), (every,) = cropped.box([length]), whole.box([length])
    kernel = whole.sampled_kernel(length).abs().sum(1)
    left_out = kernel.sum(1) - kernel[:, kept.first - every.first : kept.end - every.first].sum(1)
    difference = (cropped(x) - whole(x)).abs().amax((0, 2))
    assert (difference <= left_out * x.abs().max() + 1e-12).all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("mean", [0.0, 0.4, 1.0])
def test_the_crop_keeps_what_the_mask_holds_above_the_threshold(mean: float, causal: bool) -> None:
    """Kept are just the taps where the mask is above the threshold, and those up to the current."""
    for width, threshold in itertools.product((0.01, 0.075, 0.3, 0.9), (0.01, 0.1, 0.5)):
        layer = layer_of(301, width, threshold, causal=causal, mean=mean)
        (reach,) = layer.box([301])
        above = (layer.mask(layer.axis(0)) > threshold).nonzero()
        oldest, newest = above.max().item(), above.min().item()
        current = 0 if causal else 150
        assert reach.end == max(oldest, current) + 1
        assert reach.first == min(newest, current) if not causal else reach.first == 0


def test_the_threshold_is_a_parameter() -> None:
    """The higher the threshold the fewer taps; at 0 all stay; outside of [0, 1) it is refused."""
    taps = [layer_of(200, threshold=t).taps(200) for t in (0.0, 1e-4, 0.1, 0.5)]
    assert taps == sorted(taps, reverse=True)
    assert taps[0] == 200
    for wrong in (-0.1, 1.0):
        with pytest.raises(ConfigError, match="threshold"):
            layer_of(200, threshold=wrong)


def test_whole_numbers_make_a_mask_too() -> None:
    """A width or mean given as an int is learned like any other."""
    mask = GaussianMask(1, 2)
    assert mask.mean.is_floating_point()
    assert mask.width.is_floating_point()


def test_parts_that_do_not_fit_are_refused() -> None:
    """A mask over other axes than the kernel's is named."""
    with pytest.raises(ConfigError, match="mask is over 1 axes"):
        FlexConv(MAGNet(4, 6, dim=2), (2, 3), (9, 9), GaussianMask(0.0, 0.1), causal=False)


@pytest.mark.parametrize("chosen", [directly, in_blocks])
@pytest.mark.parametrize(("size", "causal"), [((11,), True), ((11,), False), ((3, 3), False)])
def test_every_parameter_passes_gradcheck(size, causal, chosen, monkeypatch) -> None:
    """Input, kernel network, bias and the mask's mean and width, directly and by transforms."""
    monkeypatch.setattr(continuous, "plan", chosen)
    torch.manual_seed(0)
    mask = GaussianMask(0.8 if causal else 0.1, 0.3, len(size))
    layer = FlexConv(MAGNet(2, 4, 1, 6.0, dim=len(size)), (2, 2), size, mask, causal=causal)
    layer = layer.double().eval()
    x = random(1, 2, *(n + 1 for n in size)).requires_grad_()
    assert torch.autograd.gradcheck(lambda *_: layer(x), [x, *layer.parameters()])


def test_the_mask_passes_gradcheck() -> None:
    """Mean and width have the gradients of the Gaussian, on each axis; a mean may be held."""
    mask = GaussianMask(0.3, 0.2, 2).double()
    positions = torch.linspace(1, -1, 7, dtype=torch.float64).requires_grad_()
    for axis in range(2):
        operands = [positions, mask.mean, mask.width]
        assert torch.autograd.gradcheck(lambda x, *_, a=axis: mask(x, a), operands)
    expected = torch.exp(-0.5 * ((positions - 0.3) / 0.2) ** 2)
    torch.testing.assert_close(mask(positions), expected, rtol=1e-6, atol=1e-6)
    assert not GaussianMask(0.3, 0.2, learn_mean=False).mean.requires_grad


# What the official code gets wrong


def test_layers_without_bias_work() -> None:
    """Without a bias the output is that of a bias of 0, in training and in eval."""
    for chosen in (False, True):
        with_bias = layer_of(30, bias=True, separable=chosen)
        without = layer_of(30, bias=False, separable=chosen)
        x = torch.randn(2, 2, 40)
        assert without.bias is None
        torch.testing.assert_close(without(x), with_bias(x))
        with torch.inference_mode():
            torch.testing.assert_close(without.eval()(x), with_bias.eval()(x))


@pytest.mark.parametrize("chosen", [directly, in_blocks])
def test_a_second_length_is_right_after_a_first(chosen, monkeypatch) -> None:
    """Each length gives what a layer that has seen no other gives, in training and in eval."""
    monkeypatch.setattr(continuous, "plan", chosen)
    layer = layer_of(40, 0.2).double()
    for length in (40, 9, 41, 7, 160, 9):
        x = random(2, 2, length)
        expected = layer_of(40, 0.2).double()(x)
        torch.testing.assert_close(layer.train()(x), expected)
        with torch.inference_mode():
            for _ in range(2):
                torch.testing.assert_close(layer.eval()(x), expected.detach())


def test_a_changed_mask_changes_what_is_kept() -> None:
    """In eval a mask that is widened or moved in place is seen, by kernel and crop alike."""
    layer = layer_of(60, 0.1).double().eval()
    x = random(2, 2, 60)
    for width, mean in ((0.1, 1.0), (0.3, 1.0), (0.3, 0.8), (-0.1, 0.8)):
        with torch.no_grad():
            layer.mask.width.fill_(width)
            layer.mask.mean.fill_(mean)
        with torch.inference_mode():
            y = layer(x)
        torch.testing.assert_close(y, layer(x).detach())


# Other sampling rates


def signal(positions: torch.Tensor) -> torch.Tensor:
    """Two channels of sines of slow frequencies under Gaussian windows, at any time."""
    waves = torch.stack([torch.sin(0.31 * positions), torch.cos(0.22 * positions + 1)])
    return waves * torch.exp(-0.5 * ((positions - 100) / 18) ** 2)


def smooth_layer(size: tuple[int, ...], *, causal: bool, width: float) -> FlexConv:
    """A kernel that has faded at both ends and whose frequencies lie far below the Nyquist one."""
    torch.manual_seed(0)
    net = MAGNet(8, 6, layers=2, input_scale=3.0, dim=len(size))
    with torch.no_grad():
        for layer in net.filters:
            layer.linear.weight.mul_(0.15)
            layer.gamma.mul_(0.15)
    mask = GaussianMask(0.0, width, len(size))
    layer = FlexConv(net, (2, 3), size, mask, threshold=0.0, causal=causal).double()
    torch.nn.init.normal_(layer.bias)
    assert (layer.highest_frequency(cut=4.0) < layer.nyquist_frequency).all()
    return layer


def assert_alike(got: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-6 of the largest value."""
    assert (got - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("causal", [True, False])
def test_an_upsampled_signal_gives_the_upsampled_output(causal: bool) -> None:
    """At rates 2, 4 and 1/2: the same output at common times, and the way back is the layer."""
    layer = smooth_layer((129,), causal=causal, width=0.1)
    times = torch.arange(257, dtype=torch.float64)
    y = layer(signal(times)[None])
    for rate in (2, 4):
        twin = at_rate(layer, float(rate))
        assert twin.taps(10**6) == 128 * rate + 1
        finer = twin(signal(torch.arange(257 * rate - 1).double() / rate)[None])
        assert_alike(finer[..., ::rate], y)
        torch.testing.assert_close(at_rate(twin, 1 / rate)(signal(times)[None]), y)
    coarser = at_rate(layer, 0.5)
    assert coarser.taps(10**6) == 65
    assert_alike(coarser(signal(times[::2])[None]), y[..., ::2])


def test_an_upsampled_image_gives_the_upsampled_output() -> None:
    """On two axes, centred, too."""
    layer = smooth_layer((41, 33), causal=False, width=0.17)

    def image(rate: int) -> torch.Tensor:
        down = torch.arange(40 * rate - rate + 1).double()[:, None] / rate
        right = torch.arange(36 * rate - rate + 1).double() / rate
        window = torch.exp(-0.5 * (((down - 20) / 3.5) ** 2 + ((right - 18) / 3.5) ** 2))
        waves = [torch.sin(0.5 * down + 0.3 * right), torch.cos(0.2 * down - 0.4 * right)]
        return (torch.stack(waves) * window)[None]

    y, finer = layer(image(1)), at_rate(layer, 2.0)(image(2))
    assert at_rate(layer, 2.0).taps(200, 200) == 81 * 65
    assert_alike(finer[..., ::2, ::2], y)
