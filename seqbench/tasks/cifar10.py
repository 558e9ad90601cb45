"""CIFAR-10 as images, and as a sequence: pixels in colour or grey, or rows followed by noise."""

from __future__ import annotations

import functools
import hashlib
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

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

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green, blue / 255: ImageNet's, as in the official FlexConv code."""

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green, blue in grey (ITU-R BT.601)."""

GREY_MEAN, GREY_DEVIATION = 122.6 / 255, 61.0 / 255
"""Of grey / 255: the constants of state-spaces/s4 (src/dataloaders/basic.py)."""

NOISE_SEED = 0
"""The padding of ``npcifar10`` is ``RandomState(NOISE_SEED).standard_normal((968, 96))``."""

_BATCH = 10_000
# SHA-1 of data_batch_1.bin to data_batch_5.bin and test_batch.bin of cifar-10-binary.tar.gz, as
# apache/mxnet checks them (python/mxnet/gluon/data/vision/datasets.py, class CIFAR10).
_BIN_SHA1 = {
    "train": (
        "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
        "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
        "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
        "aab85764eb3584312d3c7f65fd2fd016e36a258e",
        "26e2849e66a845b7f1e4614ae70f4889ae604628",
    ),
    "test": ("67eb016db431130d61cd03c7ad570b013799c88c",),
}


def recognise(split: str, images: Images) -> Images:
    """The images, official and in the official order if the files made of them are.

    The hub's copy was made in the order of the archive of pickles, which is data_batch_4, 3, 2,
    5, 1; the official order, on which the validation split is defined, is 1 to 5. Images that
    are not recognised keep the order they come in.
    """
    return official_order(images, _BIN_SHA1[split])


def official_order(images: Images, expected: tuple[str, ...]) -> Images:
    """Batches of 10,000 images put in the order of the SHA-1 digests of their binary files."""
    found = [_bin_sha1(images, start) for start in range(0, len(images.labels), _BATCH)]
    if sorted(found) != sorted(expected):
        return images
    order = np.concatenate([np.arange(_BATCH) + _BATCH * found.index(sha1) for sha1 in expected])
    return Images(images.pixels[order], images.labels[order], official=True)


def _bin_sha1(images: Images, start: int) -> str:
    """SHA-1 of a batch in the binary format: for each image its label, then R, G, B planes."""
    batch = slice(start, start + _BATCH)
    planes = rearrange(images.pixels[batch], "image height width rgb -> image (rgb height width)")
    rows = np.concatenate([images.labels[batch, None], planes], axis=1)
    return hashlib.sha1(rows.data, usedforsecurity=False).hexdigest()


CIFAR10 = ImageSet(
    Hosted("cifar10", "uoft-cs/cifar10", column="img", shape=(32, 32, 3), task="scifar10"),
    sizes={"train": 5 * _BATCH, "test": _BATCH},
    recognise=recognise,
)


class SCIFAR10(ImageTask):
    """Sequential CIFAR-10 in colour: pixels row by row, a channel for each of R, G, B.

    Stored are uint8 pixels (image, rgb, time); a network gets (x / 255 - mean) / deviation by
    channel, with the constants of the official FlexConv code.
    """

    name = "scifar10"
    description = "CIFAR-10 pixel by pixel: a step is an RGB pixel, row by row; what is shown?"
    citation = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
    licence = "none stated"
    images = CIFAR10

    @property
    def signature(self) -> Signature:
        """Three channels; a step for each pixel."""
        return Signature(in_channels=3, shape=(1024,), out_features=CLASSES, target="sequence")

    def store(self, pixels: Pixels) -> Stored:
        """Pixels (image, rgb, time), row by row."""
        planes = rearrange(pixels, "image height width rgb -> image rgb (height width)")
        return torch.from_numpy(np.ascontiguousarray(planes))

    def encode(self, x: Stored) -> Encoded:
        """Normalised pixels, float32 (batch, 3, time)."""
        return (x.float() / 255 - _column(MEAN, x.device)) / _column(DEVIATION, x.device)


class SCIFAR10Gray(SCIFAR10):
    """Sequential CIFAR-10 in grey, the Image task of the Long Range Arena (arXiv:2011.04006).

    Stored is colour as in ``scifar10``; a network gets (g / 255 - 122.6 / 255) / (61 / 255) with
    g = 0.299 R + 0.587 G + 0.114 B, normalised as in state-spaces/s4.

    Differs from the paper: grey is not rounded to whole numbers, at most half a level apart; the
    paper feeds whole numbers as tokens, unnormalised; validation images are the last 5,000 of
    the training order (there the last tenth of TensorFlow's own order).
    """

    name = "scifar10-gray"
    description = "CIFAR-10 in grey, pixel by pixel, row by row; what is shown?"
    citation = f"{SCIFAR10.citation}; as a sequence: Tay et al. 2021, arXiv:2011.04006"

    @property
    def signature(self) -> Signature:
        """One channel; a step for each pixel."""
        return Signature(in_channels=1, shape=(1024,), out_features=CLASSES, target="sequence")

    def encode(self, x: Stored) -> Encoded:
        """Normalised grey, float32 (batch, 1, time)."""
        grey = (x.float() * _column(GREY_WEIGHTS, x.device)).sum(dim=1, keepdim=True)
        return (grey / 255 - GREY_MEAN) / GREY_DEVIATION


class NoisePaddedCIFAR10(ImageTask):
    """Noise-padded CIFAR-10 (Chang et al. 2019, arXiv:1902.09689): 32 rows, then 968 of noise.

    A step is one row of the image, 96 values: 32 of red, 32 of green, 32 of blue, normalised as
    in ``scifar10``. Stored are uint8 rows (image, value, row). Steps 33 to 1000 are one array of
    N(0, 1) noise, the same for every example: ``RandomState(0).standard_normal((968, 96))``.

    Differs from the paper: the noise is a constant of the task; there it is drawn anew for
    training and for testing.
    """

    name = "npcifar10"
    description = "CIFAR-10 row by row, followed by 968 steps of noise; what was shown?"
    citation = f"{SCIFAR10.citation}; with noise: Chang et al. 2019, arXiv:1902.09689"
    licence = SCIFAR10.licence
    images = CIFAR10

    @property
    def signature(self) -> Signature:
        """A channel for each of the 96 values of a row; a step for each row or line of noise."""
        return Signature(in_channels=96, shape=(1000,), out_features=CLASSES, target="sequence")

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """The padding noise, float32 (step, value)."""
        return (_noise(torch.device("cpu")),)

    def store(self, pixels: Pixels) -> Stored:
        """Rows (image, value, row)."""
        rows = rearrange(pixels, "image row width rgb -> image (rgb width) row")
        return torch.from_numpy(np.ascontiguousarray(rows))

    def encode(self, x: Stored) -> Encoded:
        """Normalised rows and the noise, float32 (batch, 96, 1000)."""
        mean = repeat(_column(MEAN, x.device), "rgb 1 -> (rgb width) 1", width=32)
        deviation = repeat(_column(DEVIATION, x.device), "rgb 1 -> (rgb width) 1", width=32)
        rows = (x.float() / 255 - mean) / deviation
        noise = repeat(_noise(x.device), "time value -> batch value time", batch=len(x))
        return torch.cat([rows, noise], dim=2)


class CIFAR10Resolution(ResolutionConfig):
    """32 x 32 pixels, or 16 x 16."""

    pixels = 32


class CIFAR10Images(WholeImageTask):
    """CIFAR-10 as images in colour of 32 x 32 pixels, or 16 x 16.

    A network gets (x / 255 - mean) / deviation by channel, (batch, 3, height, width), with the
    constants of the official FlexConv code, as ``scifar10`` does.

    Differs from the FlexConv paper: there images are flipped and shifted at random in training,
    and made smaller by a triangle filter of four pixels where here it is the mean of two.
    """

    name = "cifar10-2d"
    description = "CIFAR-10 as images in colour; what is shown?"
    citation = SCIFAR10.citation
    licence = SCIFAR10.licence
    images = CIFAR10
    Config: ClassVar[type] = CIFAR10Resolution
    channels = 3

    def encode(self, x: Stored) -> Encoded:
        """Normalised pixels, float32 (batch, 3, height, width)."""
        mean, deviation = (_column(values, x.device)[..., None] for values in (MEAN, DEVIATION))
        return (x.float() / self.white - mean) / deviation


@functools.cache
def _column(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "channel 1"]:
    with torch.inference_mode(mode=False):  # kept for training too
        return torch.tensor(values, device=device)[:, None]


@functools.cache
def _noise(device: torch.device) -> Float[Tensor, "time value"]:
    noise = np.random.RandomState(NOISE_SEED).standard_normal((968, 96)).astype(np.float32)
    with torch.inference_mode(mode=False):
        return torch.from_numpy(noise).to(device)
