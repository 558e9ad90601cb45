"""What the tasks on MNIST and CIFAR-10 share: raw data, their recognition, the split."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from seqbench.data import label_of
from seqbench.errors import DataError
from seqbench.task import FitData, Source, Split, Task
from seqbench.tasks import _parquet
from seqbench.tasks._generated import sha256_of
from seqbench.tasks._parquet import Hosted, Labels, Pixels
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
    """Classification of an image data set; a subclass says how pixels become sequences."""

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
