"""MyTask: a task for seqbench."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.task import FitData, Source, Split, Task
from torch import Tensor

DIGITS = 10


@dataclass(frozen=True)
class MyTaskConfig:
    """What can be set, as in `--task length=100`: the number of time steps, from 10."""

    length: int = 50

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.length < 10:
            raise ConfigError(f"length is {self.length}; expected at least 10")


class MyTask(Task):
    """Random digits, one of them marked: which digit is it?

    5,000 / 1,000 / 1,000 examples from seeds 0, 1 and 2. A step is stored in one byte: its
    digit, plus 10 where it is marked. Answers at random are right once in ten.
    """

    name = "mytask"
    description = "random digits, one of them marked: which digit is it?"
    licence = "none needed: generated"
    Config = MyTaskConfig
    config: MyTaskConfig

    @property
    def signature(self) -> Signature:
        """Digits and marks; ten classes."""
        shape = (self.config.length,)
        return Signature(in_channels=2, shape=shape, out_features=DIGITS, target="sequence")

    def fit_data(self) -> FitData:
        """All that training may see."""
        return FitData(train=self._split(0, 5_000), val=self._split(1, 1_000))

    def test_data(self) -> Split:
        """Asked for once, after training."""
        return self._split(2, 1_000)

    def encode(self, x: Tensor) -> Tensor:
        """A batch as a network receives it: float32 (batch, 2, time)."""
        return torch.stack([x % DIGITS / DIGITS, x // DIGITS], dim=1).float()

    def _split(self, seed: int, count: int) -> Split:
        # Whatever is random here is a constant of the task's version.
        random = np.random.RandomState(seed)
        x = random.randint(0, DIGITS, size=(count, self.config.length)).astype(np.uint8)
        marked = random.randint(0, self.config.length, size=count)
        examples = np.arange(count)
        y = x[examples, marked]
        x[examples, marked] += DIGITS
        sha256 = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()
        source = Source(sha256, official=True)
        return Split(torch.from_numpy(x), torch.from_numpy(y), source)
