"""Powers of complex numbers that are given by their logarithms, at every time step of a sequence.

All of them are made in double precision: a phase that turned thousands of times has no digits left
in single precision.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Complex128, Float
from torch import Tensor


def block_size(length: int) -> int:
    """The power of two at or above the root of a length: blocks of it are about as many."""
    return 1 << math.ceil(math.log2(max(1, length)) / 2)


def powers(
    exponent: Complex128[Tensor, "*state"], count: int
) -> Complex128[Tensor, "*state power"]:
    """``exp(n exponent)`` for n from 0 to ``count - 1``, each half of them made of the other."""
    table = torch.ones_like(exponent)[..., None]
    while table.shape[-1] < count:
        next_one = (exponent * table.shape[-1]).exp()
        table = torch.cat([table, table * next_one[..., None]], dim=-1)
    return table[..., :count]


def power_sums(
    weight: Complex[Tensor, "channel state"],
    exponent: Complex128[Tensor, "channel state"],
    length: int,
) -> Float[Tensor, "channel step"]:
    """The real part of ``sum over n of weight[n] exp(t exponent[n])`` for t from 0 to length - 1.

    A product with a Vandermonde matrix that is never formed: a step is a multiple of the block
    size plus a rest, so the matrix is a product of two with about sqrt(length) columns each.
    """
    size = block_size(length)
    near = powers(exponent, size).to(weight.dtype)
    far = powers(exponent * size, -(-length // size)).to(weight.dtype)
    # Re(a b) = Re a Re b - Im a Im b: real matrix products over real and imaginary parts.
    left = _parts(weight[..., None] * far)
    right = _parts(near.conj().resolve_conj())
    return (left.mT @ right).flatten(1)[:, :length]


def _parts(z: Complex[Tensor, "channel state step"]) -> Float[Tensor, "channel part step"]:
    return torch.view_as_real(z).movedim(-1, 1).flatten(1, 2)
