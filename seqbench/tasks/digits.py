"""The handwritten digits that scikit-learn ships, as sequences of pixels."""

from __future__ import annotations

import json
from importlib import resources
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Int

from seqbench.spec import Signature
from seqbench.task import FitData, Source, Split, Task
from seqbench.tasks._generated import sha256_of
from seqbench.types import Encoded, Stored

WHITE = 16
"""The largest value of a pixel."""

# Of the 1,797 images and labels as uint8: the optdigits test set of the UCI repository.
_SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


class SDigits(Task):
    """The UCI handwritten digits, sequential: 8 x 8 pixels row by row, x / 16.

    1,797 real images, part of scikit-learn (``load_digits``), so nothing is downloaded. The split
    of 1,197 / 300 / 300 is stratified and fixed: ``digits_split.json`` lists the indices of
    validation and test (made by scikit-learn's ``train_test_split``, stratified, ``random_state``
    0, the test set first); the others are for training. Stored are uint8 pixels (image, time).
    """

    name = "sdigits"
    description = "Real 8 x 8 digits pixel by pixel, row by row; which digit is it?"
    citation = "Alpaydin and Kaynak 1998, UCI repository, doi:10.24432/C50P49"
    licence = "CC BY 4.0"
    permutation: ClassVar[Int[np.ndarray, "time"] | None] = None

    @property
    def signature(self) -> Signature:
        """One channel; a step for each pixel."""
        return Signature(in_channels=1, shape=(64,), out_features=10, target="sequence")

    def fit_data(self) -> FitData:
        """The images that are neither validation nor test, and validation."""
        return FitData(train=self._split("train"), val=self._split("validation"))

    def test_data(self) -> Split:
        """The test images."""
        return self._split("test")

    def encode(self, x: Stored) -> Encoded:
        """Pixels / 16, float32 (batch, 1, time)."""
        return rearrange(x.float() / WHITE, "batch time -> batch 1 time")

    def _split(self, name: str) -> Split:
        from sklearn.datasets import load_digits  # late: a second of imports

        pixels, labels = (a.astype(np.uint8) for a in load_digits(return_X_y=True))
        sha256 = sha256_of(pixels, labels)
        source = Source(sha256, official=sha256 == _SHA256)
        if self.permutation is not None:
            pixels = np.take(pixels, self.permutation, axis=1)
        chosen = _indices(len(labels))[name]
        return Split(torch.from_numpy(pixels[chosen]), torch.from_numpy(labels[chosen]), source)


class PDigits(SDigits):
    """``sdigits`` with time permuted by ``RandomState(0).permutation(64)``."""

    name = "pdigits"
    description = "Real 8 x 8 digits, pixels in one fixed random order; which digit is it?"
    permutation = np.random.RandomState(0).permutation(64)


def _indices(count: int) -> dict[str, list[int]]:
    text = resources.files("seqbench.tasks").joinpath("digits_split.json").read_text("utf-8")
    listed: dict[str, list[int]] = json.loads(text)
    held_out = set(listed["validation"]) | set(listed["test"])
    return {**listed, "train": [i for i in range(count) if i not in held_out]}
