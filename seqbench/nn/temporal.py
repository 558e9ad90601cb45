"""Residual blocks of causal kernel convolutions, which can be asked for the last step alone."""

from __future__ import annotations

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.residual import Pointwise, ResidualBlock


class TemporalBlock(ResidualBlock):
    """A residual block that can be asked for its last outputs alone."""

    pointwise = Pointwise
    conv1: KernelConvolution
    conv2: KernelConvolution

    def inputs_for(self, steps: int, length: int) -> int:
        """How many of its last ``length`` inputs the last ``steps`` outputs depend on."""
        taps = self.conv1.taps(length) - 1 + self.conv2.taps(length) - 1
        return min(steps + taps, length)

    def last(
        self, x: Float[Tensor, "batch c_in time"], steps: int, length: int
    ) -> Float[Tensor, "batch c_out step"]:
        """The last ``steps`` outputs, given as many inputs as they depend on."""
        hidden = min(steps + self.conv2.taps(length) - 1, length)
        y = self.activation(self.norm1(self.conv1(x, hidden)))
        y = self.activation(self.norm2(self.conv2(y, steps)))
        out: Tensor = (y + self.shortcut(x[..., -steps:])).relu_()
        return out


class TemporalBlocks(nn.ModuleList):
    """Temporal blocks one after the other."""

    def forward(self, x: Float[Tensor, "batch c_in time"]) -> Float[Tensor, "batch c_out time"]:
        """All outputs."""
        for block in self:
            x = block(x)
        return x

    def last_step(self, x: Float[Tensor, "batch c_in time"]) -> Float[Tensor, "batch c_out 1"]:
        """The last output, from the steps that it depends on."""
        blocks = [cast("TemporalBlock", block) for block in self]
        length, steps = x.shape[-1], [1]
        for block in reversed(blocks):
            steps.append(block.inputs_for(steps[-1], length))
        *needed, first = steps
        x = x[..., -first:]
        for block, outputs in zip(blocks, reversed(needed), strict=True):
            x = block.last(x, outputs, length)
        return x
