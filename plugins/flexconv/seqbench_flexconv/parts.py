"""What the architectures are made of: a stem, blocks, a norm and a read-out."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.nn.activation import BatchNorm
from seqbench.nn.checks import check_image, check_sequence
from seqbench.nn.networks import flexnet_blocks, flexnet_stem, flextcn_blocks
from seqbench.nn.residual import ReadOut
from seqbench.spec import Signature
from seqbench_flexconv.config import FlexConvNetConfig
from seqbench_flexconv.convolutions import convolution


class Parts(NamedTuple):
    """A network's parts, one after the other."""

    stem: nn.Module
    blocks: nn.Module
    norm: nn.Module
    head: nn.Module


def flextcn(config: FlexConvNetConfig, signature: Signature) -> Parts:
    """FlexTCN: residual blocks of two causal FlexConvs; the answer is read at the last step."""
    check_sequence("flexconv:flextcn", signature)
    make = partial(convolution, config, signature.shape)
    widths = [signature.in_channels, *config.block_channels]
    blocks = flextcn_blocks(widths, make, config.dropout)
    return Parts(nn.Identity(), blocks, nn.Identity(), ReadOut(widths[-1], signature, std=0.01))


def flexnet(config: FlexConvNetConfig, signature: Signature) -> Parts:
    """FlexNet: a ResNet for images, without downsampling; the answer is read from the mean."""
    check_image("flexconv:flexnet", signature)
    make = partial(convolution, config, signature.shape)
    widths = [config.channels, *config.block_channels]
    stem = flexnet_stem(signature.in_channels, config.channels, make)
    blocks = flexnet_blocks(widths, make, config.dropout)
    return Parts(stem, blocks, nn.Identity(), _mean_read_out(widths[-1], signature))


def ccnn(config: FlexConvNetConfig, signature: Signature) -> Parts:
    """CCNN: blocks of one FlexConv and a linear map; the answer is read from the mean."""
    make = partial(convolution, config, signature.shape)
    dim = len(signature.shape)
    widths = [config.channels, *config.block_channels]
    stem = nn.Sequential(make(signature.in_channels, widths[0]), BatchNorm(widths[0]), nn.GELU())
    blocks = nn.Sequential(
        *(
            CCNNBlock(make(c_in, c_out), (c_in, c_out), dim, config.dropout)
            for c_in, c_out in pairwise(widths)
        )
    )
    return Parts(stem, blocks, BatchNorm(widths[-1]), _mean_read_out(widths[-1], signature))


def _mean_read_out(channels: int, signature: Signature) -> ReadOut:
    """Weights start from N(0, 2 / channels), as in the authors' code."""
    return ReadOut(channels, signature, std=(2 / channels) ** 0.5, pooled=True)


class CCNNBlock(nn.Module):
    """Batch norm, convolution, GELU, dropout of channels, linear map, GELU; a shortcut around all.

    The block of S4 with another convolution (Knigge et al. 2023, Sec. 3). Linear maps, of which
    the shortcut is one where the number of channels changes, start from N(0, 2 / in_channels).
    """

    def __init__(
        self, convolution: nn.Module, channels: tuple[int, int], dim: int, dropout: float
    ) -> None:
        super().__init__()
        in_channels, out_channels = channels
        self.norm = BatchNorm(in_channels)
        self.conv = convolution
        self.dropout = (nn.Dropout1d, nn.Dropout2d)[dim - 1](dropout)
        self.linear = _linear(out_channels, out_channels, dim)
        self.shortcut: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.shortcut = _linear(in_channels, out_channels, dim)

    def forward(self, x: Float[Tensor, "batch c_in *time"]) -> Float[Tensor, "batch c_out *time"]:
        """The block's output."""
        y = self.dropout(functional.gelu(self.conv(self.norm(x))))
        out: Tensor = functional.gelu(self.linear(y)) + self.shortcut(x)
        return out


def _linear(in_channels: int, out_channels: int, dim: int) -> nn.Module:
    """The same linear map of channels at every place."""
    linear = (nn.Conv1d, nn.Conv2d)[dim - 1](in_channels, out_channels, kernel_size=1)
    nn.init.kaiming_normal_(linear.weight)
    assert linear.bias is not None  # noqa: S101  (for the type checker)
    nn.init.zeros_(linear.bias)
    return linear
