"""A suite file: which tasks, models, settings and seeds; no torch is needed to read one."""

from __future__ import annotations

import itertools
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, JsonValue, PositiveInt, ValidationError

from seqbench.errors import ConfigError, UnknownNameError
from seqbench.spec import Frozen, Request


class Block(Frozen):
    """Every task with every model, with the same settings.

    ``tasks`` and ``models`` are ``NAME`` or ``NAME:PRESET``; ``task`` holds fields of the tasks'
    config; ``set`` holds settings by path, as on the command line.
    """

    tasks: tuple[str, ...] = Field(min_length=1)
    models: tuple[str, ...] = Field(min_length=1)
    task: dict[str, JsonValue] = Field(default_factory=dict)
    set: dict[str, JsonValue] = Field(default_factory=dict)
    seeds: tuple[int, ...] | None = None


class Suite(Frozen):
    """What a suite file says.

    ``search`` maps a path (``train.learning_rate``) to the values that are tried, by validation
    score at the first seed, for every model without a published recipe for the task.
    """

    name: str
    description: str
    seeds: tuple[int, ...] = Field(min_length=1)
    threads: PositiveInt = 1
    search: dict[str, tuple[JsonValue, ...]] = Field(default_factory=dict)
    runs: tuple[Block, ...] = Field(min_length=1)


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
        raise UnknownNameError("suite", name, suite_names())
    try:
        return Suite.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read the suite {name}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the suite {name} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"the suite {name} is not valid: {where}: {first['msg']}") from error


def requests_of(suite: Suite, seeds: tuple[int, ...] | None = None) -> list[Request]:
    """Every run of a suite, seed by seed, so that an early stop leaves whole rounds."""
    requests = [
        Request(task=task, model=model, task_settings=block.task, settings=block.set, seed=seed)
        for block in suite.runs
        for task, model in itertools.product(block.tasks, block.models)
        for seed in seeds or block.seeds or suite.seeds
    ]
    return sorted(requests, key=lambda request: request.seed)
