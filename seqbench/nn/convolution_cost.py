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


@dataclass(frozen=True)
class Coefficients:
    """Nanoseconds a term, of ``direct_terms`` and of ``block_terms``."""

    direct: tuple[float, ...]
    blocks: tuple[float, ...]


# On 2 cores of an AMD EPYC with AVX-512, float32, torch 2.11.
DENSE = Coefficients(direct=(8.0e5, 0.066), blocks=(1.5e6, 0.32, 0.39, 0.18))
DEPTHWISE = Coefficients(direct=(1.4e6, 0.47), blocks=(2.5e5, 0.12, 5.4, 0.0))
"""Where every channel is a group of its own, as in separable convolutions."""


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
    coefficients = DEPTHWISE if channels.c_in == channels.c_out == 1 else DENSE
    return min(ways(window, channels), key=lambda way: expected(way, batch, channels, coefficients))


def ways(window: Window, channels: Channels) -> list[Window]:
    """The window itself, and the blocks that are worth a thought."""
    # A kernel that is given is transformed as a whole.
    sizes = map(lengths if channels.features else _whole, window.taps, window.size)
    blocks = (Blocks(window.taps, window.offset, window.size, n) for n in itertools.product(*sizes))
    return [window, *blocks]


def expected(way: Window, batch: int, channels: Channels, coefficients: Coefficients) -> float:
    """The nanoseconds that a training step of the convolution is expected to take."""
    blocked = isinstance(way, Blocks)
    rates = coefficients.blocks if blocked else coefficients.direct
    return math.fsum(c * t for c, t in zip(rates, terms(way, batch, channels), strict=True))


def terms(way: Window, batch: int, channels: Channels) -> tuple[float, ...]:
    """What its time is made of, directly or by blocks."""
    if isinstance(way, Blocks):
        return block_terms(way, batch, channels)
    return direct_terms(way, batch, channels)


def lengths(taps: int, size: int) -> list[int]:
    """Transform lengths worth a thought: that of one block, and powers of two below it."""
    (whole,) = _whole(taps, size)
    shorter = (2**power for power in range((2 * taps - 1).bit_length(), whole.bit_length()))
    return [whole, *(n for n in shorter if n < whole)]


def _whole(taps: int, size: int) -> list[int]:
    return [fast_length(size + taps - 1)]


def direct_terms(window: Window, batch: int, channels: Channels) -> tuple[float, ...]:
    """A call; multiply-adds."""
    products = batch * channels.pairs * math.prod(window.taps) * math.prod(window.size)
    return 1.0, float(products)


def block_terms(blocks: Blocks, batch: int, channels: Channels) -> tuple[float, ...]:
    """A call; samples of the transforms, each times log2 of their length; products; features.

    Products are complex multiply-adds of signal and kernel; features are those in making the
    kernel's spectrum of its features.
    """
    rows, points = batch * math.prod(blocks.count), math.prod(blocks.n)
    frequencies = math.prod(blocks.half)
    sides = (channels.c_in + channels.c_out) * channels.groups
    return (
        1.0,
        rows * sides * points * math.log2(points),
        float(rows * frequencies * channels.pairs),
        float(channels.features * frequencies * channels.pairs),
    )
