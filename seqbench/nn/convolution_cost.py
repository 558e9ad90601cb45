"""Which way to convolve is expected to be fastest: a cost model of the sizes, never a timing.

The coefficients are fitted by ``benchmarks/convolution_cost.py`` to training steps (forward and
backward) on the machine named there; only their ratios matter. On another device they are a guess.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

from seqbench.nn.convolution import Blocks, Window, fast_length

# Nanoseconds on 2 cores of an AMD EPYC with AVX-512, float32, torch 2.11.
DIRECT_CALL = 1.0e5
DIRECT_PRODUCT = 0.045
"""A multiply-add of the direct convolution."""
BLOCK_CALL = 3.0e5
BLOCK_SAMPLE = 0.16
"""A sample of a transform of a channel, times log2 of its length."""
BLOCK_PRODUCT = 0.16
"""A complex multiply-add of signal and kernel."""
BLOCK_KERNEL = 0.16
"""A complex multiply-add in making the kernel's spectrum of its features."""


@dataclass(frozen=True)
class Channels:
    """Input and output channels of a group, a kernel's features (0: the kernel is given), groups."""

    c_in: int
    c_out: int
    features: int = 0
    groups: int = 1


@functools.lru_cache(maxsize=4096)
def plan(window: Window, batch: int, channels: Channels) -> Window:
    """The window itself, to be convolved directly, or blocks of it, to be convolved by transforms."""
    candidates = itertools.product(*map(_lengths, window.taps, window.size))
    blocks = [Blocks(window.taps, window.offset, window.size, n) for n in candidates]
    best = min(blocks, key=lambda b: block_cost(b, batch, channels))
    if direct_cost(window, batch, channels) <= block_cost(best, batch, channels):
        return window
    return best


def _lengths(taps: int, size: int) -> list[int]:
    """Transform lengths worth a thought: that of one block, and powers of two below it."""
    whole = fast_length(size + taps - 1)
    lengths = [whole]
    n = 2 ** math.ceil(math.log2(2 * taps))
    while n < whole:
        lengths.append(n)
        n *= 2
    return lengths


def direct_cost(window: Window, batch: int, channels: Channels) -> float:
    """Nanoseconds of the direct convolution."""
    pairs = channels.c_in * channels.c_out * channels.groups
    products = batch * pairs * math.prod(window.taps) * math.prod(window.size)
    return DIRECT_CALL + DIRECT_PRODUCT * products


def block_cost(blocks: Blocks, batch: int, channels: Channels) -> float:
    """Nanoseconds of the convolution by transforms."""
    pairs = channels.c_in * channels.c_out * channels.groups
    rows = batch * math.prod(blocks.count)
    frequencies = math.prod(blocks.half)
    points = math.prod(blocks.n)
    sides = (channels.c_in + channels.c_out) * channels.groups
    samples = rows * sides * points * math.log2(max(2, points))
    product, kernel = rows * frequencies * pairs, channels.features * frequencies * pairs
    return (
        BLOCK_CALL + BLOCK_SAMPLE * samples + BLOCK_PRODUCT * product + BLOCK_KERNEL * kernel
    )
