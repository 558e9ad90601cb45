"""The adding problem."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from numpy.random import RandomState
from torch import Tensor
from torch.nn import functional

from seqbench.spec import Signature
from seqbench.tasks._generated import Examples, GeneratedTask, check_range
from seqbench.types import Encoded, Output, Scores, Stored, Target

LEVELS = 2**15


@dataclass(frozen=True)
class AddingConfig:
    """``length`` is the number of time steps, from 2."""

    length: int = 200

    def __post_init__(self) -> None:
        check_range("length", self.length, 2)


class Adding(GeneratedTask):
    """The adding problem as in Bai et al. 2018 (arXiv:1803.01271, section 5.2).

    Channel 0 holds numbers uniform on [0, 1), channel 1 is one at two steps and zero elsewhere,
    the two drawn uniformly over the sequence (locuslab/TCN, TCN/adding_problem/utils.py). The
    target is the sum of the two marked numbers; always answering 1 has an error of 1/6.

    A step is stored in one int16: k for the number (k + 1/2) / 2^15, and ~k where it is marked.

    Differs from the paper: numbers lie on that grid of 2^15 levels, the target is the exact sum
    of such numbers, and there are 10,000 training examples (there 50,000).
    """

    name = "adding"
    metric = "mse"
    higher_is_better = False
    description = "Random numbers, two of them marked: what is the sum of the two?"
    citation = (
        "Hochreiter and Schmidhuber 1997; as in Bai, Kolter and Koltun 2018, arXiv:1803.01271"
    )
    Config = AddingConfig
    config: AddingConfig
    presets = {f"bai-{length}": AddingConfig(length) for length in (200, 400, 600)}

    @property
    def signature(self) -> Signature:
        """Numbers and marks; one number as the answer."""
        shape = (self.config.length,)
        return Signature(in_channels=2, shape=shape, out_features=1, target="sequence")

    def generate(self, random: RandomState, count: int) -> Examples:
        """Steps int16 (example, time) and sums float32 (example,)."""
        length = self.config.length
        x = random.randint(0, LEVELS, size=(count, length)).astype(np.int16)
        first = random.randint(0, length, size=count)
        second = random.randint(0, length - 1, size=count)
        second += second >= first  # uniform over the steps that are not the first
        examples = np.arange(count)
        levels = x[examples, first].astype(np.int64) + x[examples, second]
        x[examples, first] = ~x[examples, first]
        x[examples, second] = ~x[examples, second]
        return x, ((levels + 1) / LEVELS).astype(np.float32)

    def encode(self, x: Stored) -> Encoded:
        """Numbers and marks, float32 (batch, 2, time)."""
        marked = x < 0
        numbers = (torch.where(marked, ~x, x).float() + 0.5) / LEVELS
        return torch.stack([numbers, marked.float()], dim=1)

    def loss(self, y_hat: Output, y: Target) -> Tensor:
        """Mean squared error over the batch."""
        return functional.mse_loss(_answers(y_hat), y)

    def score(self, y_hat: Output, y: Target) -> Scores:
        """Squared error of each example."""
        return (_answers(y_hat) - y).square()


def _answers(y_hat: Output) -> Tensor:
    return rearrange(y_hat, "batch 1 -> batch")
