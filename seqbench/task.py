"""The interface of a task: data, splits, loss, score."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from seqbench import registry
from seqbench.spec import Signature
from seqbench.types import Encoded, Output, Scores, Stored, Target

IGNORED = -100
"""The target of a time step that is neither trained on nor scored."""


@dataclass(frozen=True)
class NoConfig:
    """The config of a task or model that has nothing to set."""


@dataclass(frozen=True)
class Source:
    """Where a split's data come from.

    ``sha256`` is over the raw data before anything is done to them. ``official`` says whether
    they are the data that the task's published numbers are on (or the task generates them
    itself); ``label`` is a short name for other data, from a data card beside them.
    """

    sha256: str
    official: bool
    label: str | None = None


@dataclass(frozen=True)
class Split:
    """Examples of one split, compact and in memory: ``x`` as stored, ``y`` the targets."""

    x: Tensor
    y: Tensor
    source: Source

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device) -> Split:
        """The same split on another device."""
        return Split(self.x.to(device), self.y.to(device), self.source)


@dataclass(frozen=True)
class FitData:
    """All that training may see."""

    train: Split
    val: Split


class Task(ABC):
    """A task of version ``version``: everything random about it is a constant of the version.

    A subclass sets the class attributes, describes itself by ``signature``, and hands out its
    data by two calls: ``fit_data`` and, after the weights are chosen, ``test_data``. Data stay
    compact; ``encode`` turns a batch into what a network receives, on the device of training.
    """

    api_version: ClassVar[int] = registry.API_VERSION
    name: ClassVar[str]
    version: ClassVar[int] = 1
    metric: ClassVar[str] = "accuracy"
    higher_is_better: ClassVar[bool] = True
    description: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    licence: ClassVar[str] = ""
    Config: ClassVar[type] = NoConfig
    presets: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, config: Any = None, *, data_dir: Path | None = None) -> None:
        """Make the task; ``data_dir`` is where data sets lie that are not generated."""
        self.config = self.Config() if config is None else config
        self.data_dir = data_dir

    @property
    @abstractmethod
    def signature(self) -> Signature:
        """What a network for this task takes and gives."""

    @abstractmethod
    def fit_data(self) -> FitData:
        """Train and validation data.

        Raises:
            DataError: the data are missing or damaged.

        """

    @abstractmethod
    def test_data(self) -> Split:
        """Test data; the runner calls this once, after the weights are chosen.

        Raises:
            DataError: the data are missing or damaged.

        """

    def fetch(self) -> str:
        """Download what the task needs into ``data_dir``; say in one line what was done."""
        return f"{self.name} needs no download"

    @property
    def rate(self) -> float:
        """How often the signal is sampled, relative to other configs of the task."""
        return 1.0

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """Arrays of the definition that ``encode`` adds to the data; part of the fingerprint."""
        return ()

    def encode(self, x: Stored) -> Encoded:
        """A batch as a network receives it: float32, normalised, (batch, channel, time)."""
        return x.float()

    def loss(self, y_hat: Output, y: Target) -> Tensor:
        """Mean cross-entropy over the batch, and over time for a target at every step."""
        return functional.cross_entropy(y_hat, y.long(), ignore_index=IGNORED)

    def score(self, y_hat: Output, y: Target) -> Scores:
        """Accuracy of each example: 0 or 1, or the share of its scored steps that are right."""
        right = (y_hat.argmax(dim=1) == y).float()
        if right.ndim == 1:
            return right
        scored = (y != IGNORED).float()
        return (right * scored).flatten(1).sum(1) / scored.flatten(1).sum(1).clamp(min=1)


def fingerprint(splits: Iterable[Split], constants: Iterable[Tensor] = ()) -> str:
    """SHA-256 over dtype, shape and bytes of every array a network's input is made from."""
    digest = hashlib.sha256()
    arrays = [array for split in splits for array in (split.x, split.y)]
    for array in [*arrays, *constants]:
        digest.update(f"{array.dtype}{tuple(array.shape)}".encode())
        digest.update(array.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def load_task(name: str) -> type[Task]:
    """The task class registered under ``name``.

    Raises:
        UnknownNameError: no distribution registers it.
        PluginError: it cannot be loaded or is no Task.

    """
    return registry.load(registry.TASKS, name, Task)  # type: ignore[type-abstract]
