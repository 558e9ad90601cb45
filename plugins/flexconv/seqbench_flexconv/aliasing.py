"""A penalty for frequencies of kernels that their taps cannot carry (Sec. 3.3).

Frequencies are in cycles per unit of position; a kernel's positions span two units.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import MultiplicativeFilterNet
from seqbench_flexconv.layer import FlexConv

AliasMethod = Literal["together", "summed"]


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

    Differs from the authors' code on several axes: there the highest sine and the highest window
    of any axis are added up, which is never less.
    """
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    return torch.stack([_excess(layer, method, cut, with_mask) for layer in layers]).sum()


def _excess(
    layer: KernelConvolution,
    method: AliasMethod,
    cut: float,
    with_mask: bool,
) -> Float[Tensor, ""]:
    assert isinstance(layer.kernel, MultiplicativeFilterNet)  # noqa: S101  (for the type checker)
    frequencies = layer.kernel.frequencies(cut)
    allowed = layer.nyquist_frequency
    if with_mask and isinstance(layer, FlexConv):
        allowed = allowed - layer.mask.frequency(cut)
    if method == "summed":
        frequencies = frequencies.sum(dim=0, keepdim=True)
    over = (frequencies - allowed / len(frequencies)).relu()
    return over.amax(dim=1).square().sum()
