"""Which way to convolve is expected to be fastest: a cost model of the sizes, never a timing.

The coefficients are fitted by ``benchmarks/convolution_cost.py`` to training steps (forward and
backward pass); only their ratios matter. On a machine unlike the one they come from, and on a GPU,
they are a guess: the outputs are the same whatever they say.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

from seqbench.nn.convolution import Blocks, Window, fast_length

# Nanoseconds on 2 cores of an AMD EPYC with AVX-512, float32, torch 2.11.
DIRECT = (8.0e5, 0.066)
"""A call; a multiply-add."""
BLOCKS = (1.5e6, 0.32, 0.39, 0.18)
"""A call; a sample of a transform of a channel, times log2 of its length; a complex multiply-add
of signal and kernel; one in making the kernel's spectrum of its features."""


@dataclass(frozen=True)
class Channels:
    """Channels in and out of a group, a kernel's features (0: the kernel is given), groups."""

    c_in: int
    c_out: int
    features: int = 0
    groups: int = 1

    @property
    def pairs(self) -> int:
        """How many kernels there are."""
        return self.c_in * self.c_out * self.groups


@functools.lru_cache(maxsize=4096)
def plan(window: Window, batch: int, channels: Channels) -> Window:
    """The window itself, to be convolved directly, or blocks of it, to be done by transforms.

    A single output is never worth a transform.
    """
    if math.prod(window.size) == 1:
        return window
    # A kernel that is given is transformed as a whole.
    sizes = map(lengths if channels.features else _whole, window.taps, window.size)
    blocks = [Blocks(window.taps, window.offset, window.size, n) for n in itertools.product(*sizes)]
    spent = {b: _cost(BLOCKS, block_terms(b, batch, channels)) for b in blocks}
    best = min(blocks, key=spent.__getitem__)
    direct = _cost(DIRECT, direct_terms(window, batch, channels))
    return window if direct <= spent[best] else best


def _cost(coefficients: tuple[float, ...], terms: tuple[float, ...]) -> float:
    return math.fsum(c * t for c, t in zip(coefficients, terms, strict=True))


def lengths(taps: int, size: int) -> list[int]:
    """Transform lengths worth a thought: that of one block, and powers of two below it."""
    (whole,) = _whole(taps, size)
    shorter = (2**power for power in range((2 * taps - 1).bit_length(), whole.bit_length()))
    return [whole, *(n for n in shorter if n < whole)]


def _whole(taps: int, size: int) -> list[int]:
    return [fast_length(size + taps - 1)]


def direct_terms(window: Window, batch: int, channels: Channels) -> tuple[float, ...]:
    """What the time of the direct convolution is made of."""
    products = batch * channels.pairs * math.prod(window.taps) * math.prod(window.size)
    return 1.0, float(products)


def block_terms(blocks: Blocks, batch: int, channels: Channels) -> tuple[float, ...]:
    """What the time of the convolution by transforms is made of."""
    rows, points = batch * math.prod(blocks.count), math.prod(blocks.n)
    frequencies = math.prod(blocks.half)
    sides = (channels.c_in + channels.c_out) * channels.groups
    return (
        1.0,
        rows * sides * points * math.log2(points),
        float(rows * frequencies * channels.pairs),
        float(channels.features * frequencies * channels.pairs),
    )
