"""Residual blocks, of temporal convolutional networks and of ResNets, and the read-out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.nn.activation import BatchNorm, BatchNormReLUDropout
from seqbench.spec import Signature
from seqbench.types import Output

MakeConvolution = Callable[[int, int], nn.Module]
"""From the numbers of input and output channels to a causal convolution."""
MakeNorm = Callable[[int], nn.Module]
"""From a number of channels to a normalisation."""


class ResidualBlock(nn.Module):
    """Twice (convolution, norm, activation), a shortcut around both, ReLU (Bai et al. 2018).

    The activation there is ReLU and dropout. The shortcut is a 1 x 1 convolution where the numbers
    of channels differ.
    """

    pointwise: ClassVar[type[nn.Conv1d]] = nn.Conv1d
    """What the 1 x 1 convolution is made by."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        activation: nn.Module,
        convolution: MakeConvolution,
        norm: MakeNorm = nn.Identity,
    ) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, out_channels)
        self.norm1 = norm(out_channels)
        self.conv2 = convolution(out_channels, out_channels)
        self.norm2 = norm(out_channels)
        self.activation = activation
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = self.pointwise(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Float[Tensor, "batch c_in time"]) -> Float[Tensor, "batch c_out time"]:
        """The block's output, never negative."""
        y = self.activation(self.norm1(self.conv1(x)))
        y = self.activation(self.norm2(self.conv2(y)))
        out: Tensor = (y + self.shortcut(x)).relu_()
        return out


class ResNetBlock(nn.Module):
    """Convolution, batch norm, ReLU, dropout; convolution, batch norm; a shortcut, ReLU.

    For sequences and images (He et al. 2015, arXiv:1512.03385; dropout after the first ReLU as in
    the FlexConv code). ``convolutions`` are the two, ``channels`` those that they give. The
    shortcut around both is the identity unless another is given.
    """

    def __init__(
        self,
        convolutions: tuple[nn.Module, nn.Module],
        channels: int,
        dropout: float = 0.0,
        shortcut: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1, self.conv2 = convolutions
        self.norm1 = BatchNormReLUDropout(channels, dropout)
        self.norm2 = BatchNorm(channels)
        self.shortcut = shortcut or nn.Identity()

    def forward(self, x: Float[Tensor, "batch c_in *time"]) -> Float[Tensor, "batch c_out *out"]:
        """The block's output, never negative."""
        y = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        out: Tensor = (y + self.shortcut(x)).relu_()
        return out


class Pointwise(nn.Conv1d):
    """A 1 x 1 convolution that is an outer product where there is one input channel.

    That takes a third of the time of the general convolution on a CPU.
    """

    def forward(self, x: Float[Tensor, "batch c_in time"]) -> Float[Tensor, "batch c_out time"]:
        """Mix channels at every step."""
        if self.in_channels > 1 or self.bias is None:
            return super().forward(x)
        return x * self.weight[:, :, 0] + rearrange(self.bias, "channel -> channel 1")


class ReadOut(nn.Module):
    """A linear layer on the last step or on every step, as the signature's target asks.

    ``pooled``, it reads the mean over all steps, or over an image, in place of the last step.
    ``std`` draws its weights from N(0, std^2) and sets its bias to 0; without it, PyTorch's
    default initialisation stays.
    """

    def __init__(
        self,
        channels: int,
        signature: Signature,
        std: float | None = None,
        *,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        self.every_step = signature.target == "step"
        self.pooled = pooled
        self.linear = nn.Linear(channels, signature.out_features)
        if std is not None:
            nn.init.normal_(self.linear.weight, std=std)
            nn.init.zeros_(self.linear.bias)

    def forward(self, x: Float[Tensor, "batch channel *time"]) -> Output:
        """(batch, out) or, at every step, (batch, out, time)."""
        if not self.every_step:
            read = x.flatten(2).mean(dim=2) if self.pooled else x[..., -1]
            once: Tensor = self.linear(read)
            return once
        steps = self.linear(rearrange(x, "batch channel ... -> batch ... channel"))
        y: Tensor = rearrange(steps, "batch ... out -> batch out ...")
        return y
