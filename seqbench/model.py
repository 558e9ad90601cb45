"""The interface of a model: a network made for a task's signature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seqbench import registry
from seqbench.errors import ModelError
from seqbench.result import Weights
from seqbench.spec import Signature, TrainSpec
from seqbench.task import NoConfig
from seqbench.types import Encoded, Output


@dataclass(frozen=True)
class Recipe:
    """Published training settings for one task: what the source says, and where it says it.

    ``model`` holds the config fields that the source sets for this task beside the preset's.
    """

    source: str
    train: TrainSpec
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning rate (relative to the run's) and whether they decay."""

    parameters: list[nn.Parameter]
    learning_rate_scale: float = 1.0
    decay: bool = True


class Converted(NamedTuple):
    """Weights in a network's own names and shapes, and what is known of where they are from."""

    state: Mapping[str, Tensor]
    weights: Weights


class Model(nn.Module):
    """A network for a signature.

    A subclass needs a ``Config`` (a frozen dataclass; defaults as published) and ``forward``;
    it calls ``super().__init__(config, signature)`` first. ``version`` is bumped whenever the
    same config and seed would give other numbers. ``presets`` names configs, the first of which
    is meant by the bare name of the model. ``recipes`` holds published training settings by
    (task, preset), ``parameter_counts`` the stated number of trainable parameters of presets on
    sequential MNIST (1 channel, 784 steps, 10 classes). ``causal`` claims that at every step the
    answer depends on no later step; a class or a network that looks ahead says false.
    """

    api_version: ClassVar[int] = registry.API_VERSION
    version: ClassVar[int] = 1
    description: ClassVar[str] = ""
    citation: ClassVar[str] = ""
    Config: ClassVar[type] = NoConfig
    presets: ClassVar[Mapping[str, Any]] = {}
    recipes: ClassVar[Mapping[tuple[str, str], Recipe]] = {}
    parameter_counts: ClassVar[Mapping[str, int]] = {}
    causal: bool = True

    def __init__(self, config: Any, signature: Signature) -> None:
        super().__init__()
        self.config = config
        self.signature = signature

    def forward(self, x: Encoded) -> Output:  # noqa: ARG002
        """Answers for a batch.

        (batch, channel, time) to (batch, out) or, for target ``step``, (batch, out, time).
        """
        raise ModelError(f"{type(self).__name__} has no forward")

    def penalty(self) -> Tensor:
        """A term added to the loss of every training step; zero unless a model says otherwise."""
        return torch.zeros((), device=next(self.parameters()).device)

    def learned(self) -> Mapping[str, Sequence[float]]:
        """Learned quantities that mean something by themselves, layer by layer, by name.

        A kernel's size in time steps, for example. They are kept with every epoch's scores.
        """
        return {}

    def convert_weights(self, state: Mapping[str, Tensor], task: str) -> Converted | None:  # noqa: ARG002
        """A state dict of another implementation as one of this network's, for a task by name.

        ``None`` if it is of no kind that the model knows. Whether what is given fits is checked
        by the caller.

        Raises:
            ConfigError: it is of a known kind, but means something else in this network.

        """
        return None

    def param_groups(self) -> list[ParamGroup]:
        """Weights decay; biases, gains of norms and other vectors do not."""
        return decay_groups(self.parameters())


@runtime_checkable
class Adaptable(Protocol):
    """A model that can be used at another sampling rate than the one it was trained at."""

    def at_rate(self, rate: float) -> Any:
        """The network, sharing its parameters, for inputs sampled ``rate`` times as often."""


def decay_groups(
    parameters: Iterable[nn.Parameter], learning_rate_scale: float = 1.0
) -> list[ParamGroup]:
    """The trainable parameters as two groups: those of two or more dimensions decay."""
    trainable = [p for p in parameters if p.requires_grad]
    groups = [
        ParamGroup([p for p in trainable if p.ndim > 1], learning_rate_scale, decay=True),
        ParamGroup([p for p in trainable if p.ndim <= 1], learning_rate_scale, decay=False),
    ]
    return [group for group in groups if group.parameters]


def load_model(name: str) -> type[Model]:
    """The model class registered under ``name``.

    Raises:
        UnknownNameError: no distribution registers it.
        PluginError: it cannot be loaded or is no Model.

    """
    return registry.load(registry.MODELS, name, Model)
