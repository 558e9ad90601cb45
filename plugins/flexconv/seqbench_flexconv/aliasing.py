"""How high the frequencies of a kernel network reach, and a penalty for what aliases (Sec. 3.3).

Frequencies are in cycles per unit of position; a kernel's positions span two units.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import FourierFilter, GaborFilter, MultiplicativeFilterNet
from seqbench_flexconv.layer import FlexConv, GaussianMask

AliasMethod = Literal["together", "summed"]


def filter_frequencies(
    kernel: MultiplicativeFilterNet, cut: float = 2.0
) -> Float[Tensor, "layer axis"]:
    """The highest frequency of each layer's filters along each axis.

    That of a sine is ``|W| / 2 pi``; a Gaussian window of inverse width gamma adds
    ``cut * gamma / 2 pi``, its spectrum being a Gaussian that is cut off at ``cut`` standard
    deviations (Eqs. 9, 10). As in the authors' code the largest of either is taken, which need not
    belong to the same channel: a bound a little above the largest sum.
    """
    return torch.stack([_highest(layer, cut) for layer in kernel.filters])


def _highest(layer: nn.Module, cut: float) -> Float[Tensor, " axis"]:
    assert isinstance(layer, FourierFilter)  # noqa: S101  (for the type checker)
    frequencies = layer.linear.weight.abs().amax(dim=0)
    if isinstance(layer, GaborFilter):
        frequencies = frequencies + cut * layer.gamma.abs().amax(dim=0)
    return frequencies / (2 * math.pi)


def mask_frequency(mask: GaussianMask, cut: float = 2.0) -> Float[Tensor, " axis"]:
    """What a Gaussian mask adds to a kernel's frequencies: ``cut / (2 pi width)`` (Eq. 12)."""
    return cut / (2 * math.pi * mask.width.abs())


def highest_frequency(
    layer: KernelConvolution, cut: float = 2.0, *, with_mask: bool = True
) -> Float[Tensor, " axis"]:
    """A bound on the frequencies of a convolution's kernel along each axis (Eqs. 11, 12).

    Products of filters add up their frequencies, so the bound is the sum over layers, and over
    the mask if there is one.
    """
    assert isinstance(layer.kernel, MultiplicativeFilterNet)  # noqa: S101
    total = filter_frequencies(layer.kernel, cut).sum(dim=0)
    if with_mask and isinstance(layer, FlexConv):
        total = total + mask_frequency(layer.mask, cut)
    return total


def nyquist_frequency(layer: KernelConvolution) -> Float[Tensor, " axis"]:
    """The highest frequency that taps at the layer's sampling rate can carry (Eq. 13).

    ``size`` taps lie ``2 / (size - 1)`` apart, so half their rate is ``(size - 1) / 4``; times
    the layer's ``rate``.
    """
    weight = layer.kernel.output.weight
    size = torch.tensor(layer.size, device=weight.device, dtype=weight.dtype)
    return (size - 1) / 4 * layer.rate


def alias_penalty(
    network: nn.Module,
    method: AliasMethod = "together",
    cut: float = 2.0,
    *,
    with_mask: bool = True,
) -> Float[Tensor, ""]:
    """The sum of squares by which kernels' frequencies exceed the Nyquist frequency (Eq. 14).

    ``summed`` compares a kernel's bound with the Nyquist frequency. ``together`` gives every
    filter an equal share of it (and of the mask's frequency), so that each filter is held down by
    itself. Of several axes, the one that exceeds it most counts. Every generated convolution of
    ``network`` adds its part.
    """
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    return torch.stack([_excess(layer, method, cut, with_mask) for layer in layers]).sum()


def _excess(
    layer: KernelConvolution,
    method: AliasMethod,
    cut: float,
    with_mask: bool,
) -> Float[Tensor, ""]:
    assert isinstance(layer.kernel, MultiplicativeFilterNet)  # noqa: S101
    frequencies = filter_frequencies(layer.kernel, cut)
    allowed = nyquist_frequency(layer)
    if with_mask and isinstance(layer, FlexConv):
        allowed = allowed - mask_frequency(layer.mask, cut)
    if method == "summed":
        frequencies = frequencies.sum(dim=0, keepdim=True)
    over = (frequencies - allowed / len(frequencies)).relu()
    return over.amax(dim=1).square().sum()
