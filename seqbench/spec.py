"""What decides one run, as frozen values with one canonical form; its hash is the run's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)


class Frozen(BaseModel):
    """A value: immutable, without unknown fields, without NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def canonical_json(value: BaseModel | dict[str, Any]) -> str:
    """One spelling for equal values: sorted keys, no spaces, fields that are ``None`` left out.

    A field added in a later version is optional and ``None`` means *as before*, so that adding
    it changes no hash.
    """
    data = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return json.dumps(_without_none(data), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return value


@dataclass(frozen=True)
class Request:
    """A run as a user names it.

    ``task`` and ``model`` are ``NAME`` or ``NAME:PRESET``; ``task_settings`` are fields of the
    task's config by name; ``settings`` are fields by path, ``model.x`` or ``train.x``. Values
    are JSON values, or strings that spell one. With a ``parent`` it starts from the weights of
    that run, and tests them as they are unless ``trained`` further.
    """

    task: str
    model: str
    task_settings: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    parent: Request | None = None
    trained: bool = True


class Signature(Frozen):
    """What a task asks of any network.

    ``shape`` is ``(length,)`` for sequences and ``(height, width)`` for images; ``target`` is
    ``"sequence"`` (one answer for the whole input) or ``"step"`` (one at every time step).
    """

    in_channels: PositiveInt
    shape: tuple[PositiveInt, ...]
    out_features: PositiveInt
    target: Literal["sequence", "step"]

    @property
    def length(self) -> int:
        """Time steps of a sequence; pixels of an image."""
        length = 1
        for size in self.shape:
            length *= size
        return length


class Component(Frozen):
    """A task or a model, exactly: its registered name, its version, every field of its config.

    Fields that are ``None`` are left out, so that one added later, with ``None`` for *as before*,
    leaves older values equal.
    """

    name: str
    version: PositiveInt
    config: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("config")
    @classmethod
    def _without_none(cls, config: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return {name: value for name, value in config.items() if value is not None}

    @property
    def title(self) -> str:
        """``NAME``, with the config if there is any."""
        config = ", ".join(f"{name}={value}" for name, value in sorted(self.config.items()))
        return f"{self.name} ({config})" if config else self.name


class Constant(Frozen):
    """The learning rate stays as it is after the warm-up."""

    kind: Literal["constant"] = "constant"


class Cosine(Frozen):
    """The learning rate falls to zero over the rest of training, by half a cosine."""

    kind: Literal["cosine"] = "cosine"


class Plateau(Frozen):
    """Multiply by ``factor`` after ``patience`` epochs without a better validation score."""

    kind: Literal["plateau"] = "plateau"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.2
    patience: NonNegativeInt = 20


class Steps(Frozen):
    """Multiply by ``factor`` after every ``every_epochs`` epochs."""

    kind: Literal["steps"] = "steps"
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    every_epochs: PositiveInt = 10


Schedule = Annotated[Constant | Cosine | Plateau | Steps, Field(discriminator="kind")]


class TrainSpec(Frozen):
    """How a network is trained.

    Training ends after ``epochs`` or after ``max_steps`` optimiser steps, whichever comes first;
    an epoch cut short by ``max_steps`` is validated like any other. ``warmup_epochs`` of linear
    warm-up come before the schedule. ``gradient_clip`` bounds the norm of all gradients together.
    Weight decay is the optimiser's own (L2 in the gradient for ``adam``, decoupled for ``adamw``)
    and touches only what the model's parameter groups let it touch.

    With a ``micro_batch_size`` a batch passes the network in parts of so many examples, which
    takes less memory: the gradient of a step is then the mean of theirs, each weighted by its
    examples. That is the gradient of the whole batch up to rounding, except in networks that look
    across a batch (batch normalisation), and where examples have different numbers of scored steps.
    """

    optimizer: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.0
    batch_size: PositiveInt = 64
    micro_batch_size: PositiveInt | None = None
    epochs: PositiveInt = 20
    max_steps: PositiveInt | None = None
    schedule: Schedule = Constant()
    warmup_epochs: NonNegativeFloat = 0.0
    gradient_clip: PositiveFloat | None = None
    precision: Literal["float32", "bfloat16-mixed"] = "float32"

    @model_validator(mode="after")
    def _a_part_of_a_batch(self) -> Self:
        if self.micro_batch_size and self.micro_batch_size > self.batch_size:
            raise ValueError("`micro_batch_size` cannot be more than `batch_size`")
        return self

    @property
    def length(self) -> str:
        """How long training is: a number of steps if that is set, else of epochs."""
        count, unit = (self.max_steps, "step") if self.max_steps else (self.epochs, "epoch")
        return f"{count:,} {unit}{'s' if count > 1 else ''}"

    @property
    def examples_at_once(self) -> int:
        """How many examples pass the network together."""
        return self.micro_batch_size or self.batch_size


class RunSpec(Frozen):
    """Everything that decides one run. Two runs with one ``id`` are the same experiment.

    Either ``train`` says how the weights come about, or ``weights_sha256`` names weights made
    elsewhere, which are then only evaluated. With a ``parent`` the run starts from the weights of
    another training, of the same model and seed on perhaps another task: without ``train`` they
    are tested as they are, else trained further.
    """

    task: Component
    model: Component
    train: TrainSpec | None = None
    weights_sha256: str | None = None
    parent: RunSpec | None = None
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _weights_come_about(self) -> Self:
        if self.parent is None:
            if (self.train is None) == (self.weights_sha256 is None):
                raise ValueError("a RunSpec has either `train` or `weights_sha256`, or a `parent`")
            return self
        if self.weights_sha256 is not None:
            raise ValueError(
                "a RunSpec has its weights from `parent` or `weights_sha256`, not both"
            )
        if self.parent.train is None:
            raise ValueError("the `parent` of a RunSpec is a training: it has `train`")
        for name in ("model", "seed"):
            if getattr(self, name) != getattr(self.parent, name):
                raise ValueError(f"a RunSpec has the {name} of its `parent`")
        return self

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        return hashlib.sha256(canonical_json(self).encode()).hexdigest()[:16]

    @property
    def trainings(self) -> tuple[TrainSpec, ...]:
        """Every training that the weights come from, the last one first."""
        before = self.parent.trainings if self.parent else ()
        return (self.train, *before) if self.train else before

    @property
    def tasks(self) -> tuple[Component, ...]:
        """The task, and those that its weights were trained on before, the last one first."""
        return (self.task, *(self.parent.tasks if self.parent else ()))

    @property
    def origin_title(self) -> str:
        """``, trained on TASK`` for every parent; nothing where there is none."""
        return "".join(f", trained on {task.title}" for task in self.tasks[1:])

    def at_seed(self, seed: int) -> RunSpec:
        """The same experiment at another seed, its parents too."""
        parent = self.parent.at_seed(seed) if self.parent else None
        return self.model_copy(update={"seed": seed, "parent": parent})
