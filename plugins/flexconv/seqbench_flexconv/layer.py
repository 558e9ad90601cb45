"""The FlexConv layer: a generated kernel under a Gaussian mask of learned position and width."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.errors import ConfigError
from seqbench.nn.continuous import KernelConvolution, Reach
from seqbench.nn.kernels import KernelNet


class GaussianMask(nn.Module):
    """``exp(-((x - mean) / width)^2 / 2)`` along each axis, with both parameters learned (Eq. 2).

    Position 1 is the current step of a causal kernel, position 0 that of a centred one.

    Args:
        mean: where the mask starts out to be largest.
        width: the standard deviation at the start, in units of half the kernel's full size.
        dim: how many axes there are.
        learn_mean: whether the mean is learned, or stays.

    """

    def __init__(self, mean: float, width: float, dim: int = 1, *, learn_mean: bool = True) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((dim,), float(mean)), requires_grad=learn_mean)
        self.width = nn.Parameter(torch.full((dim,), float(width)))

    def forward(self, positions: Float[Tensor, " tap"], axis: int = 0) -> Float[Tensor, " tap"]:
        """The mask at each position along one axis."""
        return torch.exp(-0.5 * ((positions - self.mean[axis]) / self.width[axis]) ** 2)

    def frequency(self, cut: float = 2.0) -> Float[Tensor, " axis"]:
        """What it adds to a kernel's frequencies: ``cut / (2 pi width)`` (Eq. 12)."""
        return cut / (2 * math.pi * self.width.abs())

    def interval(self, threshold: float) -> list[tuple[float, float]]:
        """Along each axis the positions between which the mask is above ``threshold``."""
        reach = math.sqrt(-2 * math.log(threshold))
        mean, width = self.mean.tolist(), self.width.tolist()
        return [(m - abs(w) * reach, m + abs(w) * reach) for m, w in zip(mean, width, strict=True)]


class FlexConv(KernelConvolution):
    """A convolution whose kernel is a network's output times a Gaussian mask (Eq. 1).

    The kernel is cropped to where the mask is above ``threshold`` (Sec. 3.1, dynamic cropping), a
    causal one at its old end alone; the current step always stays. Cropping is an approximation:
    it changes outputs by at most the sum of the masked kernel over what is cropped times the
    largest input (some per cent at threshold 0.1); threshold 0 keeps all of the kernel.

    Differs from the authors' code: where a mask has moved so far into the future that its old edge
    lies beyond position 1, the current step alone is left there too; theirs then crops nothing.

    ``kernel``, ``channels``, ``size``, ``causal``, ``separable`` and ``bias`` are those of
    ``KernelConvolution``.

    Args:
        mask: the Gaussian over the kernel's axes.
        threshold: the mask's value below which taps are left out, in [0, 1).

    Raises:
        ConfigError: the parts do not fit together.

    """

    def __init__(  # noqa: PLR0913  (what a convolution has, and the mask)
        self,
        kernel: KernelNet,
        channels: tuple[int, int],
        size: Sequence[int],
        mask: GaussianMask,
        threshold: float = 0.1,
        *,
        causal: bool = True,
        separable: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(kernel, channels, size, causal=causal, separable=separable, bias=bias)
        if len(mask.width) != len(self.size):
            raise ConfigError(f"the mask is over {len(mask.width)} axes, the size is {self.size}")
        if not 0 <= threshold < 1:
            raise ConfigError(f"threshold is {threshold!r}, expected a number from 0 to below 1")
        self.mask = mask
        self.threshold = threshold

    def box(self, shape: Sequence[int]) -> tuple[Reach, ...]:
        """The taps along every axis that are convolved with, after cropping."""
        whole = super().box(shape)
        if self.threshold == 0:
            return whole
        edges = self.mask.interval(self.threshold)
        cropped = zip(whole, edges, range(len(whole)), strict=True)
        return tuple(self._crop(reach, edge, axis) for reach, edge, axis in cropped)

    def _crop(self, whole: Reach, edges: tuple[float, float], axis: int) -> Reach:
        first, end, current = whole
        rising = -self.grid(axis).astype(np.float32)  # compared as the mask's parameters are kept
        oldest, newest = edges
        if oldest > -1:
            end = min(end, int(np.searchsorted(rising, np.float32(-oldest), side="left")))
        if not self.causal and newest < 1:
            first = max(first, int(np.searchsorted(rising, np.float32(-newest), side="right")))
        return Reach(min(first, current), max(end, current + 1), current)

    def envelope(self) -> tuple[Float[Tensor, " tap"], ...] | None:
        """The mask along each axis, at all taps."""
        return tuple(self.mask(self.axis(axis), axis) for axis in range(len(self.size)))

    def highest_frequency(
        self, cut: float = 2.0, *, with_mask: bool = True
    ) -> Float[Tensor, " axis"] | None:
        """A bound on the kernel's frequencies along each axis, with the mask's share or without."""
        bound = super().highest_frequency(cut)
        return bound + self.mask.frequency(cut) if with_mask and bound is not None else bound

    def features(self, box: Sequence[Reach]) -> Float[Tensor, "*tap feature"]:
        """The masked features; the last column, for the last layer's bias, is the mask."""
        along = [
            self.mask(self.axis(axis)[reach.first : reach.end], axis)
            for axis, reach in enumerate(box)
        ]
        mask: Tensor = functools.reduce(lambda outer, inner: outer.unsqueeze(-1) * inner, along)
        return super().features(box) * mask.unsqueeze(-1)


class SeparableFlexConv(FlexConv):
    """A separable FlexConv as CCNN has it (Knigge et al. 2023): with a bias before mixing too.

    The matrix that mixes channels starts from N(0, 2 / in_channels), the biases from 0.
    ``kernel``, ``channels``, ``size``, ``mask``, ``threshold`` and ``causal`` are those of
    ``FlexConv``.
    """

    mix: nn.Linear
    bias: nn.Parameter

    def __init__(  # noqa: PLR0913  (what a FlexConv has)
        self,
        kernel: KernelNet,
        channels: tuple[int, int],
        size: Sequence[int],
        mask: GaussianMask,
        threshold: float = 0.1,
        *,
        causal: bool = True,
    ) -> None:
        super().__init__(kernel, channels, size, mask, threshold, causal=causal, separable=True)
        self.inner_bias = nn.Parameter(torch.zeros(self.in_channels))
        nn.init.kaiming_normal_(self.mix.weight)

    @property
    def shift(self) -> Float[Tensor, " c_out"]:
        """The bias before mixing, mixed, and the one after it."""
        shift: Tensor = self.bias + self.mix.weight @ self.inner_bias
        return shift
