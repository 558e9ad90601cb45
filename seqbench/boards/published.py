"""Published numbers, which stand beside measured ones and are never ranked with them."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, PositiveInt, ValidationError, model_validator

from seqbench.errors import ResultError
from seqbench.spec import Component, Frozen, canonical_json

FILE = "published.json"
SourceKind = Literal["paper", "author-readme", "author-log", "third-party", "unverified"]


class Published(Frozen):
    """One number that somebody published for one task.

    ``model`` is the name as printed, ``row`` our ``MODEL:PRESET`` if that is the same network.
    ``task`` and ``task_config`` name the task it belongs to, ``task_variant`` how the published
    one differs or what it leaves open. ``score`` is in units of the ``metric``: an accuracy is
    between 0 and 1. ``source`` is where the number stands; one that is ``unverified`` was not
    read there. ``selection`` names the data by which the epoch was chosen: with ``test``, the
    score is an upper bound on what the strict protocol gives. ``augmentation`` and ``n_seeds``
    are ``None`` where nothing was found.
    """

    model: str = Field(min_length=1)
    row: str | None = Field(default=None, pattern=r"^[^:\s]+:[^:\s]+$")
    task: str = Field(min_length=1)
    task_config: dict[str, JsonValue] = Field(default_factory=dict)
    task_variant: str | None = None
    metric: str = "accuracy"
    score: float
    parameters: PositiveInt | None = None
    params_source: str | None = None
    source: str = Field(min_length=1)
    source_kind: SourceKind
    selection: Literal["validation", "test", "unknown"] = "unknown"
    augmentation: str | None = None
    n_seeds: PositiveInt | None = None
    notes: str | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.metric == "accuracy" and not 0.0 <= self.score <= 1.0:
            msg = f"an accuracy of {self.score} is not between 0 and 1"
            raise ValueError(msg)
        if self.parameters is not None and self.params_source is None:
            msg = "parameters need a params_source"
            raise ValueError(msg)
        return self

    def belongs_to(self, task: Component, metric: str) -> bool:
        """Whether it is of exactly this task and metric."""
        return (self.task, self.task_config, self.metric) == (task.name, task.config, metric)


def load_published(path: Path | None = None) -> tuple[Published, ...]:
    """Published numbers from a file, by default those that come with seqbench.

    Raises:
        ResultError: the file cannot be read or is not a list of published numbers, or two of them
            are of one network of ours on one task.

    """
    path = path or _path()
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ResultError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(data, list):
        raise ResultError(f"{path} is not a list of published numbers")
    found = tuple(_checked(path, place, entry) for place, entry in enumerate(data, 1))
    ours = Counter((one.row, one.task, canonical_json(one.task_config)) for one in found if one.row)
    for (row, task, _), times in ours.items():
        if times > 1:
            raise ResultError(
                f"{path} has {times} numbers for {row} on {task}, expected one",
                "a measured row is compared with one number; leave `row` out of the others",
            )
    return found


def _path() -> Path:
    """In an installed package beside this file, in a checkout among the leaderboards."""
    installed = Path(str(resources.files("seqbench.boards"))) / FILE
    checkout = Path(__file__).parents[2] / "leaderboards" / FILE
    return installed if installed.exists() else checkout


def _checked(path: Path, place: int, entry: Any) -> Published:
    try:
        return Published.model_validate_json(json.dumps(entry))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        name = " ".join(str(entry.get(key)) for key in ("model", "task")) if _is_map(entry) else ""
        raise ResultError(
            f"{path}: entry {place} ({name}) is not a published number: "
            f"{where + ': ' if where else ''}{first['msg']}",
            "docs/leaderboard.schema.json names the fields, as `Published`",
        ) from error


def _is_map(entry: Any) -> bool:
    return isinstance(entry, dict)
