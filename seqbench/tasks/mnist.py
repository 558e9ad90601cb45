"""MNIST as images, and as a sequence of pixels, in order or permuted, at 28 x 28 or 14 x 14."""

from __future__ import annotations

import functools
import hashlib
import struct
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int, Shaped
from scipy.signal import firwin, kaiserord
from torch import Tensor
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.tasks._images import (
    Images,
    ImageSet,
    ImageTask,
    ResolutionConfig,
    WholeImageTask,
)
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


class PixelTask(ImageTask):
    """Sequential MNIST (Le, Jaitly and Hinton 2015, arXiv:1504.00941): pixels row by row.

    Stored are uint8 pixels (image, time), permuted where the task says so; a network gets
    (x / 255 - 0.1307) / 0.3081 as (batch, 1, time). Step t of a permuted task is pixel
    ``permutation[t]``.
    """

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


@dataclass(frozen=True)
class SMNISTConfig:
    """At which sampling rate, relative to a step a pixel, and how it is come by.

    A ``rate`` of 1 is the task as it is, and the same as ``None``. At 1/2, 1/4 and 1/8,
    ``resampling`` is ``lowpass`` unless it is set.
    """

    rate: float | None = None
    resampling: Literal["lowpass", "subsample"] | None = None

    def __post_init__(self) -> None:
        if self.rate not in {None, 1, 1 / 2, 1 / 4, 1 / 8}:
            raise ConfigError(f"rate is {self.rate}; expected 1, 0.5, 0.25 or 0.125")
        # One experiment has one name, whichever way it is asked for.
        if self.rate in {None, 1}:
            if self.resampling is not None:
                raise ConfigError(
                    f"resampling is {self.resampling!r} at rate 1, where there is none"
                )
            object.__setattr__(self, "rate", None)
        elif self.resampling is None:
            object.__setattr__(self, "resampling", "lowpass")


class SMNIST(PixelTask):
    """Sequential MNIST, also at a lower sampling rate along the sequence of pixels.

    At a ``rate`` r, step t stands where step t / r of the full rate does, and there are 784 r of
    them. ``lowpass`` filters x / 255 first (``low_pass``), taken as black before the first pixel
    and after the last; ``subsample`` takes every 1/r-th pixel and lets frequencies fold, as the
    CKConv code does. The sequence is resampled, not the image: rows run into one another.
    """

    name = "smnist"
    description = "MNIST pixel by pixel: a step is a pixel, row by row; which digit is it?"
    Config: ClassVar[type] = SMNISTConfig

    @property
    def rate(self) -> float:
        """Steps a pixel."""
        return 1.0 if self.config.rate is None else float(self.config.rate)

    @property
    def signature(self) -> Signature:
        """One channel; a step for each pixel that the rate leaves."""
        length = int(784 * self.rate)
        return Signature(in_channels=1, shape=(length,), out_features=CLASSES, target="sequence")

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """The filter, where there is one."""
        return (low_pass(self._every),) if self.config.resampling == "lowpass" else ()

    def encode(self, x: Stored) -> Encoded:
        """Normalised pixels at the task's rate, float32 (batch, 1, time)."""
        if self.config.resampling != "lowpass":
            return super().encode(x[:, :: self._every])
        taps = rearrange(low_pass(self._every), "tap -> 1 1 tap").to(x.device)
        pixels = rearrange(x.float() / self.white, "batch time -> batch 1 time")
        filtered = functional.conv1d(pixels, taps, stride=self._every, padding=taps.shape[-1] // 2)
        return (filtered - MEAN) / DEVIATION

    @property
    def _every(self) -> int:
        """Pixels a step."""
        return int(1 / self.rate)


@functools.cache
@torch.inference_mode(mode=False)  # kept for training too
def low_pass(every: int) -> Float[Tensor, " tap"]:
    """A filter for keeping one step in ``every``: a sinc under a Kaiser window.

    It passes what is below 0.7 of the new Nyquist frequency and stops all above it by 80 dB,
    looks 17 new steps to either side, and has the same taps on every machine: they are rounded
    to six digits after the point.
    """
    _, beta = kaiserord(80, 0.3 / every)
    taps = firwin(2 * 17 * every + 1, 0.85 / every, window=("kaiser", beta))
    return torch.from_numpy(np.round(taps, 6).astype(np.float32))


class PMNIST(PixelTask):
    """Permuted sequential MNIST under ``RandomState(0).permutation(784)``.

    It is the permutation that the official CKConv and FlexConv code draws at seed 0.
    """

    name = "pmnist"
    description = "MNIST pixel by pixel, pixels in one fixed random order; which digit is it?"
    permutation = np.random.RandomState(0).permutation(784)


class PMNISTBitReversal(PixelTask):
    """Permuted sequential MNIST under the bit reversal that state-spaces/s4 uses.

    Differs from the source: pixels are normalised; S4 feeds x / 255.
    """

    name = "pmnist-bitrev"
    description = "MNIST pixel by pixel, pixels in bit-reversed order; which digit is it?"
    permutation = bit_reversal(784)


class PMNISTNumpy92916(PixelTask):
    """Permuted sequential MNIST under ``RandomState(92916).permutation(784)``.

    state-spaces/s4 (src/dataloaders/basic.py) names it as one that other works use.
    """

    name = "pmnist-np92916"
    description = "MNIST pixel by pixel, in the order of numpy's seed 92916; which digit is it?"
    permutation = np.random.RandomState(92916).permutation(784)


class SMNIST196(PixelTask):
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


class MNISTResolution(ResolutionConfig):
    """28 x 28 pixels, or 14 x 14."""

    pixels = 28


class MNISTImages(WholeImageTask):
    """MNIST as images of 28 x 28 pixels, or 14 x 14.

    A network gets (x / 255 - 0.1307) / 0.3081 as (batch, 1, height, width), as in the official
    FlexConv code; at 14 x 14, row by row, what ``smnist196`` gives.
    """

    name = "mnist2d"
    description = "MNIST as images; which digit is it?"
    citation = "LeCun et al. 1998, Gradient-based learning applied to document recognition"
    licence = PixelTask.licence
    images = MNIST
    Config: ClassVar[type] = MNISTResolution
    channels = 1

    def encode(self, x: Stored) -> Encoded:
        """Normalised pixels, float32 (batch, 1, height, width)."""
        return (x.float() / self.white - MEAN) / DEVIATION
