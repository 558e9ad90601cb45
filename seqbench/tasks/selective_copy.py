"""The selective copying task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from seqbench.spec import Signature
from seqbench.task import IGNORED
from seqbench.tasks._generated import (
    MAX_VOCABULARY,
    Examples,
    TokenTask,
    as_tokens,
    check_range,
    distinct,
)

NOISE = 0


@dataclass(frozen=True)
class SelectiveCopyConfig:
    """Sizes of the task; a sequence has ``length + memory`` steps.

    ``length`` is the number of steps to read, from 1; ``memory`` how many of them hold data, 1 to
    ``length``; ``vocabulary`` the number of tokens with noise and marker, 3 to 2^15.
    """

    length: int = 64
    memory: int = 8
    vocabulary: int = 16

    def __post_init__(self) -> None:
        check_range("length", self.length, 1)
        check_range("memory", self.memory, 1, self.length)
        check_range("vocabulary", self.vocabulary, 3, MAX_VOCABULARY)


class SelectiveCopy(TokenTask):
    """The selective copying task of Gu and Dao 2023 (Mamba, arXiv:2312.00752, section 4.1.1).

    ``memory`` data tokens stand at random steps among ``length``, the others hold the noise
    token 0; then ``memory`` marker tokens, at which the data tokens are asked for in their order.
    The generator is that of state-spaces/s4 (src/dataloaders/datasets/copying.py, ``variable``):
    data tokens are 1 to ``vocabulary - 2``, the marker is ``vocabulary - 1``. Chance is
    1 / (vocabulary - 2).

    Differs from the paper: a fixed training set of 10,000 examples (there new ones at every of
    400,000 steps); tokens are fed one-hot (there embedded); the default is short, the preset
    ``mamba`` has the paper's sizes.
    """

    name = "selective-copy"
    description = "A few tokens scattered among noise: repeat them in their order at the end"
    citation = "Gu and Dao 2023, arXiv:2312.00752"
    Config = SelectiveCopyConfig
    config: SelectiveCopyConfig
    presets = {
        "default": SelectiveCopyConfig(),
        "mamba": SelectiveCopyConfig(length=4096, memory=16, vocabulary=16),
    }

    @property
    def vocabulary(self) -> int:
        """The number of tokens with noise and marker."""
        return self.config.vocabulary

    @property
    def signature(self) -> Signature:
        """A channel and a class for each token."""
        return Signature(
            in_channels=self.vocabulary,
            shape=(self.config.length + self.config.memory,),
            out_features=self.vocabulary,
            target="step",
        )

    def generate(self, random: RandomState, count: int) -> Examples:
        """Tokens (example, time) and int16 targets (example, time), asked at the markers."""
        length, memory = self.config.length, self.config.memory
        data = random.randint(1, self.vocabulary - 1, size=(count, memory))
        where = np.sort(distinct(random, count, length, memory), axis=1)
        x = np.full((count, length + memory), NOISE)
        x[:, length:] = self.vocabulary - 1
        np.put_along_axis(x, where, data, axis=1)
        y = np.full(x.shape, IGNORED, np.int16)
        y[:, length:] = data
        return as_tokens(x, self.vocabulary), y
