"""What ran a run: versions, code, commits, machine."""

from __future__ import annotations

import functools
import hashlib
import importlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import seqbench
from seqbench import registry
from seqbench.registry import Entry
from seqbench.result import Plugin, Provenance, Result
from seqbench.spec import RunSpec

_PACKAGES = ("torch", "lightning", "numpy", "datasets", "scikit-learn", "torchaudio")


def now() -> str:
    """The time, UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(
    spec: RunSpec,
    device: torch.device,
    started_at: str,
    seconds: float,
    code: Mapping[str, Sequence[str]] | None = None,
) -> Provenance:
    """Everything about this process, machine and checkout that a reader may ask for.

    ``code`` are the states of the code of plugins that a training has seen, this one included.
    """
    commit, dirty = _commit(Path(__file__))
    task, model = (
        _plugin(entry, code if code is not None else states({}, code_of(spec)))
        for entry in _entries(spec)
    )
    return Provenance(
        seqbench=seqbench.__version__,
        task_plugin=task,
        model_plugin=model,
        packages={name: v for name in _PACKAGES if (v := _version(name))},
        python=platform.python_version(),
        platform=platform.platform(),
        commit=commit,
        dirty=dirty,
        device=str(device),
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        started_at=started_at,
        seconds=seconds,
    )


def code_of(spec: RunSpec) -> dict[str, str]:
    """SHA-256 of the source of the plugins of a spec, by package, as this process first saw it.

    It leaves out what comes with seqbench, and models in files, whose names say it.
    """
    packages = (_package(entry) for entry in _entries(spec) if _is_foreign(entry))
    return {package: sha256 for package in packages if (sha256 := _code(package))}


def states(before: Mapping[str, Sequence[str]], now: Mapping[str, str]) -> dict[str, list[str]]:
    """The states of code that a training has seen, by package, of which the last is that of now."""
    return {
        package: [*(state for state in before.get(package, ()) if state != sha256), sha256]
        for package, sha256 in now.items()
    }


def changed_since(result: Result) -> list[str]:
    """The distributions of a result's plugins whose code is another now, if they are there."""
    ran = result.provenance
    return sorted(
        {
            plugin.distribution
            for plugin in (ran.task_plugin, ran.model_plugin)
            if plugin.code and _code(_top(plugin.entry_point)) not in {None, plugin.code[-1]}
        }
    )


def _entries(spec: RunSpec) -> tuple[Entry, Entry]:
    """Of its task and of its model."""
    return (
        registry.entries(registry.TASKS)[spec.task.name],
        registry.entries(registry.MODELS)[spec.model.name],
    )


def _is_foreign(entry: Entry) -> bool:
    return _package(entry) != seqbench.__name__ and registry.FILE_MARK not in entry.name


def _package(entry: Entry) -> str:
    return _top(entry.value)


def _top(entry_point: str) -> str:
    return entry_point.partition(":")[0].partition(".")[0]


def _plugin(entry: Entry, code: Mapping[str, Sequence[str]]) -> Plugin:
    files = _sources(_package(entry)) if _is_foreign(entry) else []
    commit, dirty = _commit(files[0]) if files else (None, None)
    return Plugin(
        distribution=entry.distribution,
        version=entry.distribution_version,
        entry_point=entry.value,
        code=tuple(code.get(_package(entry), ())) or None if files else None,
        commit=commit,
        dirty=dirty,
    )


@functools.cache
def _code(package: str) -> str | None:
    """SHA-256 over the names and contents of a package's source files; ``None`` without any."""
    digest = hashlib.sha256()
    files = _sources(package)
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest() if files else None


def _sources(package: str) -> list[Path]:
    """The source files of a package or module; none where it cannot be imported."""
    try:
        module = importlib.import_module(package)
    except Exception:  # a plugin may fail in any way; what needs it says so
        return []
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    if folders:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return [Path(module.__file__)] if module.__file__ else []


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit(file: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that tracks a file, and whether the checkout is changed.

    ``(None, None)`` where none does, as for an installed package, or git is not there.
    """
    file = file.resolve()

    def git(*words: str) -> str:
        command = ["git", "-C", str(file.parent), *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
