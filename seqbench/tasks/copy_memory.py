"""The copying memory task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from numpy.random import RandomState

from seqbench.spec import Signature
from seqbench.tasks._generated import Examples, GeneratedTask, check_range
from seqbench.types import Encoded, Output, Scores, Stored, Target

BLANK, SYMBOLS, DELIMITER = 0, 8, 9


@dataclass(frozen=True)
class CopyMemoryConfig:
    """Sizes of the task; a sequence has ``length + 2 * memory`` steps.

    ``length`` is T of Bai et al., the steps over which to remember, from 1; ``memory`` is how
    many values to remember, from 1.
    """

    length: int = 100
    memory: int = 10

    def __post_init__(self) -> None:
        check_range("length", self.length, 1)
        check_range("memory", self.memory, 1)


class CopyMemory(GeneratedTask):
    """The copying memory task of Bai et al. 2018 (arXiv:1803.01271, section 5.2).

    ``memory`` values from 1 to 8, ``length - 1`` zeros, ``memory + 1`` nines. The target is 0 at
    every step but the last ``memory``, where it is the values in their order. The one input
    channel holds the raw number, as in locuslab/TCN (TCN/copy_memory/utils.py). The loss is over
    all steps, as there; the score is the accuracy over the last ``memory`` steps alone, because
    zeros everywhere are right at most steps. Chance is 1/8. Stored is uint8 (example, time).

    Differs from the paper: which reports the loss.
    """

    name = "copy-memory"
    description = "Ten numbers, a long blank, a delimiter: repeat the numbers in their order"
    citation = (
        "Hochreiter and Schmidhuber 1997; as in Bai, Kolter and Koltun 2018, arXiv:1803.01271"
    )
    Config = CopyMemoryConfig
    config: CopyMemoryConfig
    presets = {"default": CopyMemoryConfig()} | {
        f"bai-{length}": CopyMemoryConfig(length) for length in (500, 1000, 2000)
    }

    @property
    def signature(self) -> Signature:
        """One channel; classes 0 to 9 at every step (9 is never right)."""
        length = self.config.length + 2 * self.config.memory
        return Signature(in_channels=1, shape=(length,), out_features=10, target="step")

    def generate(self, random: RandomState, count: int) -> Examples:
        """Numbers (example, time) and classes (example, time)."""
        length, memory = self.config.length, self.config.memory
        x = np.full((count, length + 2 * memory), BLANK, np.uint8)
        y = np.full_like(x, BLANK)
        values = random.randint(1, SYMBOLS + 1, size=(count, memory))
        x[:, :memory] = y[:, -memory:] = values
        x[:, -memory - 1 :] = DELIMITER
        return x, y

    def encode(self, x: Stored) -> Encoded:
        """The raw numbers, float32 (batch, 1, time)."""
        return rearrange(x.float(), "batch time -> batch 1 time")

    def score(self, y_hat: Output, y: Target) -> Scores:
        """The share of the last ``memory`` steps that are right."""
        memory = self.config.memory
        return super().score(y_hat[:, :, -memory:], y[:, -memory:])
