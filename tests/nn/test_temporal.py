"""Blocks of causal convolutions give their last step from the steps alone that it depends on."""

from __future__ import annotations

import itertools

import pytest
import torch

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import MAGNet
from seqbench.nn.networks import flexnet_blocks, flexnet_stem, flextcn_blocks
from seqbench.nn.temporal import TemporalBlocks


def blocks_of(sizes: list[int]) -> TemporalBlocks:
    """Two convolutions a block, each with a kernel of its own size, in float64 and eval."""
    torch.manual_seed(0)
    left = iter(sizes)

    def make(c_in: int, c_out: int) -> KernelConvolution:
        return KernelConvolution(MAGNet(4, c_in * c_out), (c_in, c_out), (next(left),))

    return flextcn_blocks([2, *(3 for _ in sizes[::2])], make, dropout=0.2).double().eval()


@pytest.mark.parametrize("sizes", [[5, 5], [4, 9, 1, 3], [30, 2, 7, 7, 1, 1]])
def test_the_last_step_alone_is_that_of_all(sizes: list[int]) -> None:
    """At any length; what lies out of all kernels' reach is not even read."""
    blocks = blocks_of(sizes)
    reach = sum(size - 1 for size in sizes)
    for length in (1, 2, 6, 11, 80):
        x = torch.randn(2, 2, length, dtype=torch.float64)
        expected = blocks(x)[..., -1:].detach()
        x[..., : max(0, length - 1 - reach)] = torch.nan
        torch.testing.assert_close(blocks.last_step(x), expected)


def test_blocks_go_from_one_width_to_the_next() -> None:
    """A block a step between widths, of two convolutions, with a shortcut where they differ."""
    pairs: list[tuple[int, int]] = []

    def make(c_in: int, c_out: int) -> torch.nn.Module:
        pairs.append((c_in, c_out))
        return torch.nn.Conv2d(c_in, c_out, 3, padding=1)

    widths = [4, 4, 6]
    x = torch.randn(2, 1, 5, 7)
    y = flexnet_stem(1, 4, make)(x)
    y = flexnet_blocks(widths, make, dropout=0.0)(y)
    assert y.shape == (2, 6, 5, 7)
    inside = [pair for i, o in itertools.pairwise(widths) for pair in ((i, o), (o, o))]
    assert pairs == [(1, 4), *inside]
    assert (y >= 0).all()
