"""Names to classes, by entry points: built-in and foreign plugins come the same way."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
import traceback
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, distributions
from pathlib import Path
from typing import Any, TypeVar

from seqbench.errors import PluginError, UnknownNameError
from seqbench.explain import in_one_line

API_VERSION = 1
"""The version of the Task and Model interfaces that this core speaks."""

TASKS = "seqbench.tasks"
MODELS = "seqbench.models"

CORE = Path(__file__).parent
"""Where seqbench itself is."""

FILE_MARK = "@"
"""Stands before the hash in ``FILE.CLASS@HASH``, the name of a model in a file, and in no other."""

_LIBRARIES = (
    "importlib",
    *(f"{os.sep}{name}{os.sep}" for name in ("torch", "lightning", "pydantic")),
)
"""Parts of the paths of files that a plugin is called from, or calls."""

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One registered name. ``broken`` says why it cannot be used, as far as is known."""

    group: str
    name: str
    distribution: str
    distribution_version: str
    value: str
    broken: str | None = None

    @property
    def kind(self) -> str:
        """``task`` or ``model``."""
        return self.group.removeprefix("seqbench.").removesuffix("s")


@functools.cache
def entries(group: str) -> dict[str, Entry]:
    """Everything registered in ``group``, by name, sorted; imports no plugin."""
    claims: dict[str, list[Entry]] = defaultdict(list)
    for point in _points(group):
        entry = _entry(point)
        if entry not in claims[entry.name]:
            claims[entry.name].append(entry)
    return {name: _settle(claims[name]) for name in sorted(claims)}


def _points(group: str) -> Iterator[EntryPoint]:
    """The entry points of all distributions; one whose metadata cannot be parsed has none."""
    seen = set()
    for dist in distributions():
        if dist.name in seen:  # shadowed by an earlier place on sys.path
            continue
        seen.add(dist.name)
        try:
            yield from dist.entry_points.select(group=group)
        except Exception as error:  # a line without `=` is a TypeError or worse
            warnings.warn(
                f"the entry points of {dist.name} {dist.version} cannot be read: {error}",
                stacklevel=2,
            )


def _entry(point: EntryPoint) -> Entry:
    dist = point.dist
    name, version = (dist.name, dist.version) if dist else ("unknown", "unknown")
    entry = Entry(point.group, point.name, name, version, point.value)
    if FILE_MARK in point.name:
        return replace(entry, broken=f"{FILE_MARK!r} marks the names of models in files")
    try:
        package = point.module.split(".")[0]
    except AttributeError:
        return replace(entry, broken=f"{point.value!r} is not of the form module:Class")
    if importlib.util.find_spec(package) is None:
        return replace(entry, broken=f"there is no module {package!r}")
    return entry


def _settle(claims: list[Entry]) -> Entry:
    if len(claims) == 1:
        return claims[0]
    who = ", ".join(f"{e.distribution} {e.distribution_version} ({e.value})" for e in claims)
    return replace(
        claims[0],
        distribution=" / ".join(e.distribution for e in claims),
        distribution_version=" / ".join(e.distribution_version for e in claims),
        value=" / ".join(e.value for e in claims),
        broken=f"the name is claimed {len(claims)} times: by {who}",
    )


def file_of(name: str) -> str | None:
    """``FILE.py:CLASS`` of the name of a model in a file, ``None`` of any other name."""
    stem, _, model = name.partition(FILE_MARK)[0].rpartition(".")
    return f"{stem}.py:{model}" if FILE_MARK in name else None


def home_of(entry: Entry) -> Path | None:
    """The folder of an entry's package, or the file of its module; nothing of it is run.

    ``None`` where there is no such place, as in an archive. Of a package in a namespace it is the
    first that is one itself.
    """
    names = entry.value.partition(":")[0].strip().split(".")
    for count in range(1, len(names) + 1):
        name = ".".join(names[:count])
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):  # a model in a file has no spec
            found = None
        origin = found.origin if found and found.has_location else None
        origin = origin or getattr(sys.modules.get(name), "__file__", None)
        if origin:
            path = Path(origin)
            path = path.parent if path.name == "__init__.py" else path
            return path if path.exists() else None
        if found is None:
            return None
    return None


def plugin_lines(error: BaseException) -> list[traceback.FrameSummary]:
    """The lines of plugins that an error went through, the last called last.

    Those of registered ones; if it went through none, all that are not of seqbench or PyTorch.
    """
    everything = [*entries(TASKS).values(), *entries(MODELS).values()]
    homes = {home for entry in everything if (home := home_of(entry))} - {CORE} | {CORE / "tasks"}
    frames = [(frame, Path(frame.filename)) for frame in traceback.extract_tb(error.__traceback__)]
    own = [frame for frame, path in frames if any(path.is_relative_to(home) for home in homes)]
    foreign = [frame for frame, path in frames if not path.is_relative_to(CORE)]
    return own or [f for f in foreign if not any(part in f.filename for part in _LIBRARIES)]


def add(entry: Entry) -> None:
    """Register a name in this process alone."""
    entries(entry.group)[entry.name] = entry


def load(group: str, name: str, base: type[T]) -> type[T]:
    """The class registered as ``name`` in ``group``, checked to be a ``base``.

    Raises:
        UnknownNameError: nothing is registered under the name.
        PluginError: it is broken; the message names distribution, version, entry point, cause.

    """
    known = entries(group)
    if name not in known:
        kind = group.removeprefix("seqbench.").removesuffix("s")
        file = file_of(name)
        hint = f"it is in a file: give the same with --from-file {file}" if file else ""
        raise UnknownNameError(kind, name, known, hint)
    entry = known[name]
    loaded, cause = _try(entry, base)
    if loaded is None:
        raise PluginError(
            f"the {entry.kind} {name!r} of {entry.distribution} {entry.distribution_version} "
            f"({entry.value}) cannot be used: {cause}",
            "mend what the message names if the plugin is yours, else upgrade or uninstall the "
            "distribution; `seqbench doctor` shows every plugin",
        )
    return loaded


def check(entry: Entry, base: type) -> Entry:
    """The entry after a try to load it: with ``broken`` set if that fails."""
    return replace(entry, broken=_try(entry, base)[1])


def _try(entry: Entry, base: type[T]) -> tuple[type[T] | None, str | None]:
    """The class of an entry, or why there is none."""
    if entry.broken:
        return None, entry.broken
    try:
        loaded: Any = EntryPoint(entry.name, entry.value, entry.group).load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may fail in any way, or exit; others go on
        return None, f"{in_one_line(error)}{_place(error)}"
    cause = _misfit(loaded, base, entry)
    return (None, cause) if cause else (loaded, None)


def _place(error: BaseException) -> str:
    """Where a plugin's import ended; nothing if it was not in a plugin's line."""
    lines = plugin_lines(error)
    return f" ({Path(lines[-1].filename).name}, line {lines[-1].lineno})" if lines else ""


def _misfit(loaded: object, base: type, entry: Entry) -> str | None:
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        return f"it is {loaded!r}, not a subclass of {base.__module__}.{base.__name__}"
    if entry.group == TASKS and getattr(loaded, "name", None) != entry.name:
        return f"its class says name = {getattr(loaded, 'name', None)!r}"
    version = getattr(loaded, "api_version", None)
    if version != API_VERSION:
        return f"it is written for plugin API {version}; this seqbench speaks {API_VERSION}"
    return None
