"""ReLU and dropout in one operation: its random numbers, and equality with PyTorch's layers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from seqbench.nn.activation import BatchNorm, BatchNormReLUDropout, ReLUDropout, kept

law = settings(deadline=None, max_examples=20, derandomize=True)
N = 1 << 18


def random(*shape: int) -> torch.Tensor:
    """Normal values in float64."""
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_what_is_kept_has_the_rates_mean(rate: float) -> None:
    """Zeros and ones alone, as many as the rate says within five standard errors."""
    torch.manual_seed(1)
    mask = kept(torch.empty(N), rate)
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    error = (rate * (1 - rate) / N) ** 0.5
    assert abs(mask.mean().item() - (1 - rate)) < 5 * error + 1 / 65536


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_entries_at_any_distance_are_independent(rate: float) -> None:
    """Neighbours, also those that share a word, rows and powers of two apart: uncorrelated."""
    torch.manual_seed(2)
    mask = kept(torch.empty(N), rate) - (1 - rate)
    variance = rate * (1 - rate)
    for distance in (1, 2, 3, 4, 7, 8, 16, 30, 64, 784, 1024, 1 << 15, 1 << 16, 1 << 17):
        pairs = (mask[:-distance] * mask[distance:]).view(-1)
        assert abs(pairs.mean().item()) < 5 * variance / len(pairs) ** 0.5, distance
    halves = mask.view(-1, 2)  # of one word each
    assert abs((halves[:, 0] * halves[:, 1]).mean().item()) < 5 * variance / len(halves) ** 0.5
    assert abs(halves[:, 0].mean() - halves[:, 1].mean()) < 5 * (4 * variance / N) ** 0.5


def test_runs_are_as_frequent_as_among_independent_entries() -> None:
    """Each of the 256 patterns of eight neighbours has its share: a chi-squared test."""
    torch.manual_seed(3)
    bits = kept(torch.empty(N), 0.5).long().view(-1, 8)
    counts = torch.bincount((bits << torch.arange(8)).sum(1), minlength=256).double()
    expected = len(bits) / 256
    chi_squared = ((counts - expected) ** 2 / expected).sum().item()
    assert abs(chi_squared - 255) < 5 * (2 * 255) ** 0.5


def test_masks_of_calls_are_independent_and_repeat_under_a_seed() -> None:
    """No two calls are alike or correlated; a seed brings back all of them, in any shape."""
    torch.manual_seed(4)
    first, second, third = (kept(torch.empty(N), 0.3) for _ in range(3))
    for a, b in ((first, second), (second, third), (first, third)):
        products = ((a - 0.7) * (b - 0.7)).mean().item()
        assert abs(products) < 5 * 0.21 / N**0.5
    torch.manual_seed(4)
    assert torch.equal(kept(torch.empty(64, 2, N // 128), 0.3).flatten(), first)
    assert torch.equal(kept(torch.empty(N), 0.3), second)


@law
@given(st.lists(st.integers(1, 7), max_size=4), st.floats(0.001, 0.999))
def test_masks_take_any_shape(shape: list[int], rate: float) -> None:
    """Shape and type are those of the tensor given, for odd counts and scalars too."""
    like = torch.empty(shape, dtype=torch.float64)
    mask = kept(like, rate)
    assert (mask.shape, mask.dtype) == (like.shape, like.dtype)
    assert ((mask == 0) | (mask == 1)).all()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_is_relu_times_its_mask_over_the_share_kept(rate: float) -> None:
    """In training each output is 0 or the rectified input by the share kept; eval is ReLU."""
    x = torch.randn(50, 40, dtype=torch.float64)
    layer = ReLUDropout(rate)
    torch.manual_seed(0)
    y = layer(x)
    torch.manual_seed(0)
    mask = kept(x, rate)
    share = round((1 - rate) * 65536) / 65536
    torch.testing.assert_close(y, x.relu() * mask / share)
    assert torch.equal(layer.eval()(x), x.relu())
    assert torch.equal(ReLUDropout(0.0)(x), x.relu())
    assert f"rate={rate}" in repr(layer)


def test_dropout_keeps_the_expectation() -> None:
    """The mean over many masks is the rectified input."""
    torch.manual_seed(0)
    x = torch.full((N,), 2.0)
    mean = ReLUDropout(0.25)(x).mean().item()
    assert abs(mean - 2) < 5 * 2 * (0.25 / 0.75 / N) ** 0.5 + 1e-4


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_gradients_pass_gradcheck(rate: float) -> None:
    """With the same random numbers in every call, gradients agree with finite differences."""
    torch.manual_seed(0)
    x = random(3, 4, 5).requires_grad_()
    activation, norm = ReLUDropout(rate), BatchNormReLUDropout(4, rate).double()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()

    def seeded(layer: nn.Module) -> torch.Tensor:
        torch.manual_seed(1)
        return layer(x)

    assert torch.autograd.gradcheck(lambda _: seeded(activation), [x])
    parameters = [x, norm.weight, norm.bias]
    assert torch.autograd.gradcheck(lambda *_: seeded(norm), parameters)


@law
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32))
def test_at_rate_0_it_is_batch_norm_and_relu(
    batch: int, channels: int, time: int, seed: int
) -> None:
    """Outputs, gradients and running statistics are those of PyTorch, in training and in eval."""
    torch.manual_seed(seed)
    ours, plain = BatchNormReLUDropout(channels, 0.0).double(), nn.BatchNorm1d(channels).double()
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    ours.load_state_dict(plain.state_dict())
    for _ in range(3):
        x = 3 * random(batch + 1, channels, time) + 2
        inputs = x.clone().requires_grad_(), x.clone().requires_grad_()
        y, expected = ours(inputs[0]), plain(inputs[1]).relu()
        torch.testing.assert_close(y, expected)
        cotangent = random(*y.shape)
        gradients = torch.autograd.grad(y, [inputs[0], *ours.parameters()], cotangent)
        wanted = torch.autograd.grad(expected, [inputs[1], *plain.parameters()], cotangent)
        torch.testing.assert_close(gradients, wanted, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    ours.eval()
    plain.eval()
    expected = plain(x).relu()
    torch.testing.assert_close(ours(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), expected)


def test_batch_norm_at_a_rate_is_batch_norm_then_dropout() -> None:
    """The fused layer draws the same mask as ReLUDropout after PyTorch's batch norm."""
    torch.manual_seed(0)
    ours, plain = BatchNormReLUDropout(4, 0.2).double(), nn.BatchNorm1d(4).double()
    x = random(6, 4, 11)
    torch.manual_seed(5)
    y = ours(x)
    torch.manual_seed(5)
    torch.testing.assert_close(y, ReLUDropout(0.2)(plain(x)))
    assert len(ours.state_dict()) == len(plain.state_dict())
    assert torch.equal(ours.eval()(x), ours(x))


@pytest.mark.parametrize("rate", [1e-9, 1e-6, 1 - 1e-9])
def test_extreme_rates_keep_nearly_all_or_nearly_none(rate: float) -> None:
    """A rate that rounds to 0 keeps everything; near 1 one entry in 65536 is kept on average."""
    torch.manual_seed(0)
    x = torch.ones(1 << 16)
    share = kept(x, rate).mean().item()
    assert share == pytest.approx(1 - rate, abs=1e-3)
    assert ReLUDropout(rate)(x).isfinite().all()


@pytest.mark.parametrize("training", [True, False])
def test_images_are_normalised_as_their_pixels_in_a_row(training: bool) -> None:
    """Outputs, gradients and statistics are those of one axis, and of PyTorch's batch norm."""
    torch.manual_seed(0)
    image = random(3, 4, 5, 6).transpose(2, 3).requires_grad_()
    for layer in (BatchNorm(4).double(), BatchNormReLUDropout(4, 0.2).double()):
        layer.train(training)
        state = {name: value.clone() for name, value in layer.state_dict().items()}
        torch.manual_seed(5)
        y = layer(image)
        gradient = torch.autograd.grad(y.square().sum(), [image, *layer.parameters()])
        statistics = layer.running_var.clone()
        layer.load_state_dict(state)
        torch.manual_seed(5)
        flat = layer(image.flatten(2))
        torch.testing.assert_close(y.flatten(2), flat)
        expected = torch.autograd.grad(flat.square().sum(), [image, *layer.parameters()])
        torch.testing.assert_close(gradient, expected)
        torch.testing.assert_close(layer.running_var, statistics)
    plain = nn.BatchNorm2d(4).double().train(training)
    torch.testing.assert_close(BatchNorm(4).double().train(training)(image), plain(image))
    with torch.inference_mode():
        torch.testing.assert_close(layer.eval()(image), layer(image.flatten(2)).view_as(image))
