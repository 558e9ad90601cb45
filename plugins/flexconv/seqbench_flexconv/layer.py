"""The FlexConv layer: a generated kernel under a Gaussian mask of learned position and width."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import KernelNet


class GaussianMask(nn.Module):
    """``exp(-((x - mean) / width)^2 / 2)`` over positions x, with both parameters learned (Eq. 2).

    Position 1 is the current step, so a mean of 1 favours the newest taps.
    """

    def __init__(self, mean: float, width: float) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(mean))
        self.width = nn.Parameter(torch.tensor(width))

    def forward(self, positions: Float[Tensor, " tap"]) -> Float[Tensor, " tap"]:
        """The mask at each position."""
        return torch.exp(-0.5 * ((positions - self.mean) / self.width) ** 2)

    def oldest_position(self, threshold: float) -> float:
        """The smaller position at which the mask equals ``threshold``."""
        return self.mean.item() - abs(self.width.item()) * math.sqrt(-2 * math.log(threshold))


class FlexConv(KernelConvolution):
    """A causal convolution whose kernel is a network's output times a Gaussian mask (Eq. 1).

    The kernel is cropped where the mask falls below ``threshold`` (Sec. 3.1, dynamic cropping),
    unless that lies outside of (-1, 1). Cropping is an approximation: at threshold 0.1 outputs
    differ by some per cent from those of the whole kernel; threshold 0 keeps all of it.
    """

    def __init__(
        self,
        kernel: KernelNet,
        channels: tuple[int, int],
        length: int,
        width: float,
        threshold: float,
    ) -> None:
        super().__init__(kernel, *channels, length)
        self.mask = GaussianMask(mean=1.0, width=width)
        self.threshold = threshold

    def taps(self, length: int) -> int:
        """How many taps the kernel has for inputs of this length, after cropping."""
        whole = min(length, len(self.positions))
        if self.threshold == 0:
            return whole
        oldest = self.mask.oldest_position(self.threshold)
        if not -1 < oldest < 1:
            return whole
        return int((self.positions[:whole] > oldest).sum())

    def features(self, taps: int) -> Float[Tensor, "tap feature"]:
        """The masked features; the last column, for the last layer's bias, is the mask."""
        taps = self.taps(taps)
        mask: Tensor = rearrange(self.mask(self.positions[:taps]), "tap -> tap 1")
        return super().features(taps) * mask
