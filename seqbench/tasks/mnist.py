"""MNIST as a sequence of pixels, in order or permuted, at 28 x 28 or pooled to 14 x 14."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Int, Shaped

from seqbench.spec import Signature
from seqbench.tasks._images import Images, ImageSet, ImageTask
from seqbench.tasks._parquet import CLASSES, Hosted, Pixels
from seqbench.types import Encoded, Stored

Permutation = Int[np.ndarray, "time"]

MEAN, DEVIATION = 0.1307, 0.3081
"""Of the pixels / 255 of the training images; the constants of the PyTorch MNIST example."""

# MD5 of the four uncompressed IDX files of http://yann.lecun.com/exdb/mnist/, images and labels.
_IDX_MD5 = {
    "train": ("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
    "test": ("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
}


def recognise(split: str, images: Images) -> Images:
    """The images, ``official`` if the IDX files made of them have the published digests."""
    pixels, labels = images.pixels, images.labels
    # An IDX header: 0x08 for bytes, the number of dimensions, each of them, big-endian.
    digests = (_md5(struct.pack(">4I", 0x803, *pixels.shape), pixels),
               _md5(struct.pack(">2I", 0x801, *labels.shape), labels))  # fmt: skip
    return replace(images, official=digests == _IDX_MD5[split])


def _md5(header: bytes, array: np.ndarray) -> str:
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


MNIST = ImageSet(
    Hosted("mnist", "ylecun/mnist", column="image", shape=(28, 28), task="smnist"),
    sizes={"train": 60_000, "test": 10_000},
    recognise=recognise,
)


def bit_reversal(length: int) -> Permutation:
    """The bit-reversed indices of the next power of two, without those not below ``length``."""
    bits = (length - 1).bit_length()
    reverse = np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits)])
    return reverse[reverse < length]


class SMNIST(ImageTask):
    """Sequential MNIST (Le, Jaitly and Hinton 2015, arXiv:1504.00941): pixels row by row.

    Stored are uint8 pixels (image, time), permuted where the task says so; a network gets
    (x / 255 - 0.1307) / 0.3081 as (batch, 1, time). Step t of a permuted task is pixel
    ``permutation[t]``.
    """

    name = "smnist"
    description = "MNIST pixel by pixel: a step is a pixel, row by row; which digit is it?"
    citation = "LeCun et al. 1998; as a sequence: Le, Jaitly and Hinton 2015, arXiv:1504.00941"
    licence = "CC BY-SA 3.0"
    images = MNIST
    permutation: ClassVar[Permutation | None] = None
    white: ClassVar[int] = 255
    """The stored value of a white pixel."""

    @property
    def signature(self) -> Signature:
        """One channel; a step for each pixel."""
        return Signature(in_channels=1, shape=(784,), out_features=CLASSES, target="sequence")

    def store(self, pixels: Pixels) -> Stored:
        """Pixels (image, time), row by row, then permuted."""
        return self._in_order(rearrange(pixels, "image height width -> image (height width)"))

    def _in_order(self, steps: Shaped[np.ndarray, "image time"]) -> Stored:
        if self.permutation is None:
            return torch.from_numpy(steps)
        return torch.from_numpy(np.take(steps, self.permutation, axis=1))

    def encode(self, x: Stored) -> Encoded:
        """Normalised pixels, float32 (batch, 1, time)."""
        steps = (x.float() / self.white - MEAN) / DEVIATION
        return rearrange(steps, "batch time -> batch 1 time")


class PMNIST(SMNIST):
    """Permuted sequential MNIST under ``RandomState(0).permutation(784)``.

    It is the permutation that the official CKConv and FlexConv code draws at seed 0.
    """

    name = "pmnist"
    description = "MNIST pixel by pixel, pixels in one fixed random order; which digit is it?"
    permutation = np.random.RandomState(0).permutation(784)


class PMNISTBitReversal(SMNIST):
    """Permuted sequential MNIST under the bit reversal that state-spaces/s4 uses.

    Differs from the source: pixels are normalised; S4 feeds x / 255.
    """

    name = "pmnist-bitrev"
    description = "MNIST pixel by pixel, pixels in bit-reversed order; which digit is it?"
    permutation = bit_reversal(784)


class PMNISTNumpy92916(SMNIST):
    """Permuted sequential MNIST under ``RandomState(92916).permutation(784)``.

    state-spaces/s4 (src/dataloaders/basic.py) names it as one that other works use.
    """

    name = "pmnist-np92916"
    description = "MNIST pixel by pixel, in the order of numpy's seed 92916; which digit is it?"
    permutation = np.random.RandomState(92916).permutation(784)


class SMNIST196(SMNIST):
    """Sequential MNIST on images average-pooled by 2 x 2: 196 steps.

    Stored are the exact sums of four pixels, int16 from 0 to 1020; the mean and deviation are
    those of ``smnist``.
    """

    name = "smnist196"
    description = "MNIST pooled to 14 x 14, pixel by pixel, row by row; which digit is it?"
    white = 4 * 255

    @property
    def signature(self) -> Signature:
        """One channel; a step for each pooled pixel."""
        return Signature(in_channels=1, shape=(196,), out_features=CLASSES, target="sequence")

    def store(self, pixels: Pixels) -> Stored:
        """Sums of four pixels (image, time), row by row, then permuted."""
        pattern = "image (height row) (width column) -> image (height width)"
        sums = reduce(pixels, pattern, "sum", row=2, column=2)
        return self._in_order(sums.astype(np.int16))


class PMNIST196(SMNIST196):
    """``smnist196`` with time permuted by ``RandomState(0).permutation(196)``."""

    name = "pmnist196"
    description = "MNIST pooled to 14 x 14, pixels in one fixed random order; which digit is it?"
    permutation = np.random.RandomState(0).permutation(196)
