"""What generated tasks share: seeds and sizes of the splits, tokens, checks of settings."""

from __future__ import annotations

import hashlib
from abc import abstractmethod

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Integer, Shaped
from numpy.random import RandomState
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.task import FitData, Source, Split, Task
from seqbench.types import Encoded, Stored

Examples = tuple[Shaped[np.ndarray, "example ..."], Shaped[np.ndarray, "example ..."]]

TRAIN, VALIDATION, TEST = (0, 10_000), (1, 1_000), (2, 1_000)
"""Seed and number of examples of each split."""

MAX_VOCABULARY = 2**15
"""Tokens are stored in 16 bits with a sign."""


class GeneratedTask(Task):
    """A task that makes its data: 10,000 / 1,000 / 1,000 examples from seeds 0, 1 and 2.

    The generator is ``numpy.random.RandomState``, whose stream is frozen.
    """

    licence = "none needed: generated"

    @abstractmethod
    def generate(self, random: RandomState, count: int) -> Examples:
        """``count`` examples as stored, and their targets."""

    def fit_data(self) -> FitData:
        """Examples from seeds 0 and 1."""
        return FitData(train=self._split(*TRAIN), val=self._split(*VALIDATION))

    def test_data(self) -> Split:
        """Examples from seed 2."""
        return self._split(*TEST)

    def _split(self, seed: int, count: int) -> Split:
        x, y = self.generate(RandomState(seed), count)
        source = Source(sha256_of(x, y), official=True)
        return Split(torch.from_numpy(x), torch.from_numpy(y), source)


class TokenTask(GeneratedTask):
    """A generated task on tokens, stored as small integers (example, time), fed one-hot."""

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """How many tokens there are."""

    def encode(self, x: Stored) -> Encoded:
        """One channel a token: float32 (batch, vocabulary, time), one at the token, else zero."""
        one_hot = functional.one_hot(x.long(), self.vocabulary).float()
        return rearrange(one_hot, "batch time token -> batch token time")


def as_tokens(values: Integer[np.ndarray, "..."], vocabulary: int) -> Integer[np.ndarray, "..."]:
    """Tokens in the smallest type that holds them: uint8, else int16."""
    return values.astype(np.uint8 if vocabulary <= 2**8 else np.int16)


def distinct(
    random: RandomState, count: int, options: int, chosen: int
) -> Integer[np.ndarray, "..."]:
    """For each of ``count`` examples ``chosen`` of ``options`` indices, all different, shuffled."""
    return random.random_sample((count, options)).argsort(axis=1)[:, :chosen]


def sha256_of(*arrays: np.ndarray) -> str:
    """SHA-256 over the bytes of the arrays, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def check_range(name: str, value: int, least: int, most: int | None = None) -> None:
    """Raise ConfigError unless ``least <= value <= most``."""
    if value >= least and (most is None or value <= most):
        return
    bound = f"at least {least}" if most is None else f"{least} to {most}"
    raise ConfigError(f"{name} is {value}; expected {bound}")
