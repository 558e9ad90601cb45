"""What tasks and models declare alike: a module, a config, presets."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Protocol

from seqbench.conformance import fresh
from seqbench.conformance.rule import Broken, NotApplicable, describe
from seqbench.model import Model
from seqbench.registry import Entry
from seqbench.resolve import config_from, presets_of, to_json
from seqbench.spec import canonical_json
from seqbench.task import Task


class Declared(Protocol):
    """A class, and how it is registered if it is."""

    @property
    def cls(self) -> type[Task | Model]:
        """The class."""

    @property
    def entry(self) -> Entry | None:
        """Its entry; ``None`` for a class by itself."""


def check_generators(generators: list[str]) -> str:
    """Importing a plugin leaves the global generators of random numbers as they are."""
    if generators:
        raise Broken(
            f"importing the module changes the global generators of {', '.join(generators)}",
            "an import that draws no random number and sets no seed",
            "draw in __init__ (models) or from a generator of your own (tasks)",
        )
    return "draws no random numbers"


def imported(subject: Declared) -> str:
    """Importing the module leaves the global generators of random numbers as they are."""
    if subject.entry is None:
        raise NotApplicable("a class by itself; looked at where it is registered or in a file")
    return check_generators(_generators(subject.entry))


@cache
def _generators(entry: Entry) -> list[str]:
    """What an import changes; looked at once a process."""
    found: list[str] = fresh.look(entry)["generators"]
    return found


def configured(subject: Declared) -> str:
    """Config is a frozen dataclass with defaults, presets are such, and all survive JSON."""
    cls = subject.cls
    params = getattr(cls.Config, "__dataclass_params__", None)
    if params is None or not params.frozen:
        raise Broken(
            f"Config is {cls.Config!r}",
            "a frozen dataclass",
            "decorate it by @dataclass(frozen=True)",
        )
    if type(cls.version) is not int or cls.version < 1:
        raise Broken(f"version is {cls.version!r}", "1, 2, 3, ...", "count versions by integers")
    _survives(cls, "Config()", _plain(cls))
    presets = presets_of(cls)
    for preset, config in presets.items():
        if not preset or ":" in preset:
            raise Broken(f"a preset is called {preset!r}", "a name without `:`", "rename it")
        if type(config) is not cls.Config:
            raise Broken(
                f"the preset {preset!r} is {config!r}",
                f"a {cls.Config.__name__}",
                "make every preset by Config(...)",
            )
        _survives(cls, f"the preset {preset!r}", config)
    return f"survives JSON; presets: {', '.join(presets)}"


def _plain(cls: type[Task | Model]) -> Any:
    """The config in which nothing is set; presets may set what has no default."""
    try:
        return cls.Config()
    except TypeError as error:
        raise Broken(
            f"Config() is refused: {error}",
            "a default for every field",
            "give every field one",
        ) from error


def _survives(cls: type[Task | Model], name: str, config: Any) -> None:
    mend = (
        "let fields be of their annotated types: finite numbers, texts, truth values, or tuples "
        "and dataclasses of them, or None where that is the default"
    )
    try:
        back = config_from(cls, json.loads(canonical_json(to_json(config))), "config")
    except Exception as error:
        raise Broken(
            f"{name} does not go through JSON: {describe(error)}",
            "a config that is written to a result and read from it",
            mend,
        ) from error
    if back != config:
        raise Broken(f"{name} comes back from JSON as {back!r}", f"{config!r}", mend)
