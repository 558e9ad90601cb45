"""Which code of a plugin this process runs, and the commit of the checkout that tracks it."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from seqbench import registry
from seqbench.registry import Entry
from seqbench.result import Plugin, Result
from seqbench.spec import RunSpec

_GIT_SECONDS = 20.0
"""How long git may take over one question; without an answer nothing is said of a commit."""


@dataclass(frozen=True)
class PluginCode:
    """The code of a plugin: the SHA-256 of its Python files; ``commit`` if a checkout tracks it."""

    package: str
    sha256: str
    commit: str | None
    dirty: bool | None


States = Mapping[str, Sequence[str]]
"""The SHA-256 of each state of the code that a training has seen, by package, that of now last."""

_seen: dict[Path, PluginCode | None] = {}


def source_of(entry: Entry) -> PluginCode | None:
    """The code of a plugin as this process first asked for it, which is when it loads it.

    ``None`` of what comes with seqbench, of models in files, whose names say it, and where there
    are no files to read.
    """
    home = registry.home_of(entry)
    if home is None or home == registry.CORE or registry.FILE_MARK in entry.name:
        return None
    if home not in _seen:
        _seen[home] = _read(home)
    return _seen[home]


def seen_for(specs: Iterable[RunSpec]) -> dict[Path, PluginCode | None]:
    """All that this process has seen, the plugins of these specs among it, for its children."""
    for spec in specs:
        code_of(spec)
    return dict(_seen)


def adopt(seen: Mapping[Path, PluginCode | None]) -> None:
    """Take what a parent has seen, whose modules this process has."""
    _seen.update(seen)


def code_of(spec: RunSpec) -> dict[str, str]:
    """The SHA-256 of the code of a spec's plugins, by package."""
    sources = [source_of(entry) for entry in entries_of(spec) if entry]
    return {source.package: source.sha256 for source in sources if source}


def states(before: States, now: Mapping[str, str]) -> dict[str, list[str]]:
    """The states of code that a training has seen, with that of now."""
    return {
        package: [*(state for state in before.get(package, ()) if state != sha256), sha256]
        for package, sha256 in now.items()
    }


def changed_since(result: Result) -> list[str]:
    """The distributions of which the code now is not the one that made a result, or not alone."""
    ran = (result.provenance.task_plugin, result.provenance.model_plugin)
    found = set()
    for plugin, entry in zip(ran, entries_of(result.spec), strict=True):
        source = source_of(entry) if entry and _is_of(plugin, entry) else None
        if plugin.code and source and set(plugin.code) != {source.sha256}:
            found.add(plugin.distribution)
    return sorted(found)


def entries_of(spec: RunSpec) -> tuple[Entry | None, Entry | None]:
    """Of its task and of its model, as far as they are installed."""
    return (
        registry.entries(registry.TASKS).get(spec.task.name),
        registry.entries(registry.MODELS).get(spec.model.name),
    )


def _is_of(plugin: Plugin, entry: Entry) -> bool:
    return (plugin.distribution, plugin.entry_point) == (entry.distribution, entry.value)


def _read(home: Path) -> PluginCode | None:
    """The names and contents of all Python files of a package or module, hidden ones left out."""
    digest = hashlib.sha256()
    folder = home if home.is_dir() else home.parent
    found = home.rglob("*.py") if home.is_dir() else [home]
    named = {file.relative_to(folder).as_posix(): file for file in found if file.is_file()}
    files = {name: file for name, file in named.items() if "/." not in f"/{name}"}
    try:
        for name in sorted(files):
            content = files[name].read_bytes()
            digest.update(f"{name} {len(content)}\n".encode() + content)
    except OSError:
        return None
    if not files:
        return None
    commit, dirty = commit_of(home / "__init__.py" if home.is_dir() else home)
    return PluginCode(home.stem, digest.hexdigest(), commit, dirty)


def commit_of(file: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that tracks a file, and whether the checkout is changed.

    ``(None, None)`` where none does, as for an installed package, or git does not answer.
    """
    file = file.resolve()

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(file.parent), *words]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=_GIT_SECONDS
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None
