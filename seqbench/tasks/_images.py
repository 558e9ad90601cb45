"""What the tasks on MNIST and CIFAR-10 share: raw data, their recognition, the split."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from einops import reduce

from seqbench.data import label_of
from seqbench.errors import ConfigError, DataError
from seqbench.spec import Signature
from seqbench.task import FitData, Source, Split, Task
from seqbench.tasks import _parquet
from seqbench.tasks._generated import sha256_of
from seqbench.tasks._parquet import CLASSES, Hosted, Labels, Pixels
from seqbench.types import Stored

VALIDATION = 5_000
"""The last images of the official training order are the validation split."""


@dataclass(frozen=True)
class Images:
    """Decoded images of one split; ``official`` if their digests are the published ones."""

    pixels: Pixels
    labels: Labels
    official: bool = False


@dataclass(frozen=True)
class ImageSet:
    """A hosted data set, the size of its splits, and how the official data are recognised.

    ``recognise`` gets a split's name and images in the order of the files; it returns them in
    the official order and marked ``official``, or as they are.
    """

    hosted: Hosted
    sizes: dict[str, int]
    recognise: Callable[[str, Images], Images]

    def load(self, split: str, data_dir: Path | None) -> tuple[Images, Source]:
        """The images of ``train`` or ``test``; the other split's files are not touched.

        Raises:
            DataError: they are missing, damaged or not as many as there should be.

        """
        images = Images(*_parquet.read(self.hosted, split, data_dir))
        folder = _parquet.folder_of(self.hosted, data_dir)
        if len(images.labels) != self.sizes[split]:
            raise DataError(
                f"the {split}-*.parquet files in {folder} hold {len(images.labels):,} images; "
                f"{self.hosted.folder} has {self.sizes[split]:,}",
                "a file is missing or there is one too many",
            )
        images = self.recognise(split, images)
        label = None if images.official else label_of(folder)
        sha256 = sha256_of(images.pixels, images.labels)
        return images, Source(sha256, images.official, label)


class ImageTask(Task):
    """Classification of an image data set; a subclass says how pixels are handed out."""

    images: ClassVar[ImageSet]

    @abstractmethod
    def store(self, pixels: Pixels) -> Stored:
        """Images as they are kept in memory, any permutation applied."""

    def fit_data(self) -> FitData:
        """All but the last 5,000 training images, and these."""
        split = self._split("train")
        cut = len(split) - VALIDATION
        return FitData(
            train=Split(split.x[:cut], split.y[:cut], split.source),
            val=Split(split.x[cut:], split.y[cut:], split.source),
        )

    def test_data(self) -> Split:
        """The test images."""
        return self._split("test")

    def fetch(self) -> str:
        """Download the data set unless it is there; say where it lies and whether official."""
        new = _parquet.download(self.images.hosted, self.data_dir)
        sources = [self.images.load(split, self.data_dir)[1] for split in _parquet.SPLITS]
        official = all(source.official for source in sources)
        folder = _parquet.folder_of(self.images.hosted, self.data_dir)
        return (
            f"{self.images.hosted.folder}: {'downloaded to' if new else 'already in'} {folder}, "
            f"{'the official data' if official else 'NOT the official data'}"
        )

    def _split(self, name: str) -> Split:
        images, source = self.images.load(name, self.data_dir)
        return Split(self.store(images.pixels), torch.from_numpy(images.labels), source)


@dataclass(frozen=True)
class ResolutionConfig:
    """Pixels along each side of an image: all there are, or half as many.

    All of them is no setting, and the same as ``None``. A subclass says how many they are.
    """

    resolution: int | None = None
    pixels: ClassVar[int]

    def __post_init__(self) -> None:
        if self.resolution not in {None, self.pixels, self.pixels // 2}:
            raise ConfigError(
                f"resolution is {self.resolution}; expected {self.pixels} or {self.pixels // 2}"
            )
        if self.resolution == self.pixels:  # one experiment has one name
            object.__setattr__(self, "resolution", None)

    @property
    def side(self) -> int:
        """Pixels along each side."""
        return self.resolution or self.pixels


class WholeImageTask(ImageTask):
    """Classification of images as they are, also at half their resolution.

    A pixel at half the resolution is the mean of 2 x 2 pixels. Stored are the exact sums of those,
    int16, and at the full resolution uint8 pixels: (image, channel, height, width).
    """

    Config: ClassVar[type] = ResolutionConfig
    channels: ClassVar[int]

    @property
    def rate(self) -> float:
        """Pixels along each side, relative to the full resolution."""
        config: ResolutionConfig = self.config
        return config.side / config.pixels

    @property
    def signature(self) -> Signature:
        """Images as they are, with one answer each."""
        shape = (self.config.side, self.config.side)
        return Signature(
            in_channels=self.channels, shape=shape, out_features=CLASSES, target="sequence"
        )

    @property
    def white(self) -> int:
        """The stored value of a white pixel."""
        return 255 * self._pooled**2

    @property
    def _pooled(self) -> int:
        """Pixels that become one, along each side."""
        return round(1 / self.rate)

    def store(self, pixels: Pixels) -> Stored:
        """Pixels, or sums of them, (image, channel, height, width)."""
        planes = np.moveaxis(pixels.reshape(*pixels.shape[:3], self.channels), -1, 1)
        side = self._pooled
        if side == 1:
            return torch.from_numpy(np.ascontiguousarray(planes))
        pattern = "image channel (height row) (width column) -> image channel height width"
        sums = reduce(planes, pattern, "sum", row=side, column=side)
        return torch.from_numpy(sums.astype(np.int16))
