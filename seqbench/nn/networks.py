"""The residual networks of the FlexConv paper, made of any convolution: for sequences and images.

Each is without its read-out. ``make`` makes a convolution from the numbers of its input and output
channels; ``widths`` are the channels before the first block and after each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from seqbench.nn.activation import BatchNormReLUDropout
from seqbench.nn.residual import MakeConvolution, ResNetBlock
from seqbench.nn.temporal import TemporalBlock, TemporalBlocks


def flextcn_blocks(widths: Sequence[int], make: MakeConvolution, dropout: float) -> TemporalBlocks:
    """Blocks of two causal convolutions with batch norm (FlexTCN)."""
    norm = partial(BatchNormReLUDropout, rate=dropout)
    return TemporalBlocks(
        TemporalBlock(c_in, c_out, nn.Identity(), make, norm) for c_in, c_out in pairwise(widths)
    )


def flexnet_blocks(widths: Sequence[int], make: MakeConvolution, dropout: float) -> nn.Sequential:
    """ResNet blocks of two convolutions that keep an image's size (FlexNet)."""
    return nn.Sequential(
        *(
            ResNetBlock(
                (make(c_in, c_out), make(c_out, c_out)),
                c_out,
                dropout,
                None if c_in == c_out else nn.Conv2d(c_in, c_out, kernel_size=1),
            )
            for c_in, c_out in pairwise(widths)
        )
    )


def flexnet_stem(in_channels: int, out_channels: int, make: MakeConvolution) -> nn.Sequential:
    """The convolution before FlexNet's blocks, with batch norm and ReLU."""
    return nn.Sequential(
        make(in_channels, out_channels), BatchNormReLUDropout(out_channels, rate=0.0)
    )
