"""Causal convolutions, exact for every length: directly, by FFT, and with a generated kernel.

All of them compute ``y[b, o, t] = sum over i, j of h[o, i, j] x[b, i, t - j]`` with x zero before
its first step. The first tap of a kernel belongs to the current step, the next to the one before.
"""

from __future__ import annotations

import functools

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional


def direct_convolution(
    x: Float[Tensor, "batch c_in time"], kernel: Float[Tensor, "c_out c_in tap"]
) -> Float[Tensor, "batch c_out time"]:
    """The convolution in the time domain: time x taps products a pair of channels."""
    padded = functional.pad(x, (kernel.shape[-1] - 1, 0))
    return functional.conv1d(padded, kernel.flip(-1))


def fft_convolution(
    x: Float[Tensor, "batch c_in time"], kernel: Float[Tensor, "c_out c_in tap"]
) -> Float[Tensor, "batch c_out time"]:
    """The convolution by real Fourier transforms."""
    n = smooth_length(x.shape[-1] + kernel.shape[-1] - 1)
    spectrum = rearrange(torch.fft.rfft(kernel, n=n), "c_out c_in freq -> freq c_in c_out")
    return _filter(x, spectrum, n)


def generated_convolution(
    x: Float[Tensor, "batch c_in time"],
    features: Float[Tensor, "tap feature"],
    weight: Float[Tensor, "c_out_x_c_in feature"],
) -> Float[Tensor, "batch c_out time"]:
    """The convolution whose kernel is ``weight @ features[tap]`` at each tap, never formed in time.

    The last linear layer of a kernel network commutes with the Fourier transform, so its few
    features are transformed instead of the many kernels, and one matrix product makes the
    kernels' spectrum.
    """
    n = smooth_length(x.shape[-1] + features.shape[0] - 1)
    mixing = rearrange(weight, "(c_out c_in) feature -> feature (c_in c_out)", c_in=x.shape[1])
    spectrum = torch.fft.rfft(features, n=n, dim=0) @ torch.complex(
        mixing, torch.zeros_like(mixing)
    )
    return _filter(
        x, rearrange(spectrum, "freq (c_in c_out) -> freq c_in c_out", c_in=x.shape[1]), n
    )


def _filter(
    x: Float[Tensor, "batch c_in time"], spectrum: Complex[Tensor, "freq c_in c_out"], n: int
) -> Float[Tensor, "batch c_out time"]:
    """Multiply by a kernel's spectrum of transform length ``n``."""
    signal = rearrange(torch.fft.rfft(x, n=n), "batch c_in freq -> freq batch c_in")
    product = torch.bmm(signal.contiguous(), spectrum.contiguous())
    # The length must be given: half a spectrum does not say whether the signal's was odd.
    y: Tensor = torch.fft.irfft(rearrange(product, "freq batch c_out -> batch c_out freq"), n=n)
    return y[..., : x.shape[-1]]


@functools.cache
def smooth_length(minimum: int) -> int:
    """The smallest length from ``minimum`` on without a prime factor above 5: a fast FFT's."""
    length = minimum
    while not _is_smooth(length):
        length += 1
    return length


def _is_smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1
