"""Laws of the causal convolutions."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqbench.nn.convolution import (
    direct_convolution,
    fast_length,
    fft_convolution,
    generated_convolution,
)


def random(*shape: int) -> torch.Tensor:
    """Normal values in float64."""
    return torch.randn(*shape, dtype=torch.float64)


def by_definition(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The defining sum, term by term."""
    y = torch.zeros(x.shape[0], kernel.shape[0], x.shape[-1], dtype=x.dtype)
    for t in range(x.shape[-1]):
        for j in range(min(t + 1, kernel.shape[-1])):
            y[..., t] += x[..., t - j] @ kernel[..., j].T
    return y


@pytest.mark.parametrize("taps", [1, 2, 5, 9])
def test_direct_is_the_defining_sum(taps: int) -> None:
    """The direct convolution is the double sum over input channels and taps."""
    torch.manual_seed(taps)
    x, kernel = random(2, 3, 7), random(4, 3, taps)
    torch.testing.assert_close(direct_convolution(x, kernel), by_definition(x, kernel))


def test_fft_equals_direct_for_every_length() -> None:
    """At every length from 1 to 200, kernels as long, shorter and longer: FFT equals direct."""
    torch.manual_seed(0)
    for length in range(1, 201):
        x = random(2, 3, length)
        for taps in {1, length // 3 + 1, length, length + 3}:
            kernel = random(4, 3, taps)
            torch.testing.assert_close(
                fft_convolution(x, kernel), direct_convolution(x, kernel), rtol=1e-9, atol=1e-9
            )


def test_generated_equals_the_kernel_formed_in_time() -> None:
    """Values and gradients are those of the kernel made explicitly, at odd and even lengths."""
    torch.manual_seed(0)
    for length, taps in ((1, 1), (64, 64), (161, 77), (129, 129)):
        operands = [random(3, 4, length), random(taps, 9), random(5 * 4, 9)]
        for operand in operands:
            operand.requires_grad_()
        x, features, weight = operands
        kernel = (weight @ features.T).view(5, 4, taps)
        ours, expected = generated_convolution(x, features, weight), direct_convolution(x, kernel)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
        cotangent = torch.randn_like(expected)
        torch.testing.assert_close(
            torch.autograd.grad(ours, operands, cotangent),
            torch.autograd.grad(expected, operands, cotangent),
            rtol=1e-9,
            atol=1e-9,
        )


def test_generated_passes_gradcheck() -> None:
    """Analytic gradients agree with finite differences in float64."""
    torch.manual_seed(0)
    operands = [random(2, 2, 7), random(5, 3), random(6, 3)]
    for operand in operands:
        operand.requires_grad_()
    assert torch.autograd.gradcheck(generated_convolution, operands)


def test_fast_lengths_are_even_and_without_large_factors() -> None:
    """The least multiple of 8 (of 2 for short ones) without a prime factor above 7."""
    products = {
        2**a * 3**b * 5**c * 7**d
        for a, b, c, d in itertools.product(range(13), range(8), range(6), range(5))
    }
    for minimum in range(1, 2000):
        multiple = 8 if minimum > 16 else 2
        expected = min(n for n in products if n >= minimum and n % multiple == 0)
        assert fast_length(minimum) == expected
