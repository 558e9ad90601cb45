"""A suite file: which tasks, models, settings and seeds; no torch is needed to read one."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from seqbench.errors import ConfigError, UnknownNameError
from seqbench.spec import Frozen, Request

Fields = dict[str, JsonValue]


class Parent(Frozen):
    """The same tasks and models with other settings: the runs that a block's runs start from."""

    task: Fields | tuple[Fields, ...] = Field(default_factory=dict)
    set: dict[str, JsonValue] = Field(default_factory=dict)


class Block(Frozen):
    """Every task with every model, with the same settings.

    ``tasks`` and ``models`` are ``NAME`` or ``NAME:PRESET``; ``task`` holds fields of the tasks'
    config, or is a list of such; ``set`` holds settings by path, as on the command line. With a
    ``parent``, every run starts from the weights of one; it tests them as they are if ``train`` is
    false, else trains them further, as the parent was trained but for what ``set`` says. Of lists
    in both, each ``task`` goes with each of the parent but its equal.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    models: tuple[str, ...] = Field(min_length=1)
    task: Fields | tuple[Fields, ...] = Field(default_factory=dict)
    set: dict[str, JsonValue] = Field(default_factory=dict)
    seeds: tuple[int, ...] | None = None
    parent: Parent | None = None
    train: bool = True

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.train and self.parent is None:
            raise ValueError("nothing is trained: `train = false` takes a `parent`")
        return self


class Suite(Frozen):
    """What a suite file says.

    ``search`` maps a path (``train.learning_rate``) to the values that are tried, by validation
    score at the first seed, for every run that is no published recipe; of runs with a parent, for
    the parent alone.
    ``time_limit_seconds`` ends a run that hangs or takes far too long; it is no budget, for which
    there are steps and epochs.
    """

    name: str
    description: str
    seeds: tuple[int, ...] = Field(min_length=1)
    threads: PositiveInt = 1
    time_limit_seconds: PositiveFloat | None = None
    search: dict[str, Annotated[tuple[JsonValue, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    runs: tuple[Block, ...] = Field(min_length=1)

    def only(self, names: Collection[str]) -> Self:
        """The runs of tasks and models of these names, and of ``FIELD=VALUE`` in a ``task``.

        A name without a preset means the task or model with any. Of several tasks, models or
        values of a field any is meant, and all of a kind that is not named.

        Raises:
            UnknownNameError: the suite has no such task, model or value of a field.
            ConfigError: it has each of them, but no run of them together.

        """
        runs: Sequence[Block] = self.runs
        known: set[str] = set()
        for kind in ("tasks", "task", "models"):
            entries = [entry for block in self.runs for entry in _each(getattr(block, kind))]
            of_kind = set().union(*map(_names, entries))
            known |= of_kind
            by_field: dict[str, set[str]] = defaultdict(set)
            for name in of_kind & set(names):
                field, equals, _ = name.partition("=")
                by_field[field if equals else ""].add(name)
            for wanted in by_field.values():
                runs = [
                    block.model_copy(update={kind: kept})
                    for block in runs
                    if (kept := tuple(e for e in _each(getattr(block, kind)) if _names(e) & wanted))
                ]
        for name in names:
            if name not in known:
                raise UnknownNameError(
                    f"task, model or FIELD=VALUE of the suite {self.name}", name, known
                )
        if not runs:
            raise ConfigError(f"the suite {self.name} has no run of {', '.join(names)} together")
        return self.model_copy(update={"runs": tuple(runs)})


def _names(entry: str | Fields) -> set[str]:
    """What names a ``NAME`` or ``NAME:PRESET``: itself, and it without its preset; and fields."""
    if isinstance(entry, str):
        return {entry, entry.partition(":")[0]}
    return {f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in entry.items()}


def suite_names() -> list[str]:
    """The suites that come with seqbench."""
    folder = resources.files("seqbench") / "suites"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def load_suite(name: str) -> Suite:
    """A suite by name, or from a file by its path (``*.toml``).

    Raises:
        UnknownNameError: there is no suite of that name.
        ConfigError: the file cannot be read or does not describe a suite.

    """
    if name.endswith(".toml"):
        source: Any = Path(name)
    elif name in suite_names():
        source = resources.files("seqbench") / "suites" / f"{name}.toml"
    else:
        file = f"{name}.toml"
        near = [file] if Path(file).is_file() else []
        raise UnknownNameError("suite", name, suite_names(), near=near)
    try:
        return Suite.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the suite {name}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the suite {name} is not valid TOML: {error}") from error
    except ValidationError as error:
        # a key that there is not explains another that is missing
        first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        if first["type"] == "extra_forbidden":
            raise _unknown_key(name, first["loc"]) from error
        where = ".".join(map(str, first["loc"]))
        raise ConfigError(f"the suite {name} is not valid: {where}: {first['msg']}") from error


def _unknown_key(suite: str, loc: tuple[int | str, ...]) -> ConfigError:
    """What is said of a key that there is not, and which there are in its place."""
    *above, key = map(str, loc)
    tables: dict[str, type[Frozen]] = {"runs": Block, "parent": Parent}
    table = next((tables[part] for part in reversed(above) if part in tables), Suite)
    kind = f"key of {'.'.join(above)}" if above else "key"
    unknown = UnknownNameError(kind, key, table.model_fields)
    return ConfigError(f"the suite {suite} is not valid: {unknown.message}", unknown.hint)


def requests_of(suite: Suite, seeds: tuple[int, ...] | None = None) -> list[Request]:
    """Every run of a suite, seed by seed, so that an early stop leaves whole rounds.

    The parents of runs are named by them alone.
    """
    requests = [
        request
        for block in suite.runs
        for task, model in itertools.product(block.tasks, block.models)
        for seed in seeds or block.seeds or suite.seeds
        for request in _of_block(block, task, model, seed)
    ]
    return sorted(requests, key=lambda request: request.seed)


def _of_block(block: Block, task: str, model: str, seed: int) -> Iterator[Request]:
    """The runs of a block for one task, model and seed."""
    for config in _each(block.task):
        if block.parent is None:
            yield Request(task, model, config, block.set, seed)
            continue
        for above in _each(block.parent.task):
            if above != config:
                parent = Request(task, model, above, block.parent.set, seed)
                yield Request(task, model, config, block.set, seed, parent, trained=block.train)


def _each(task: Fields | tuple[Fields, ...]) -> tuple[Fields, ...]:
    return (task,) if isinstance(task, dict) else task
