"""What ran a run: versions, code, commits, machine."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import seqbench
from seqbench import registry
from seqbench.registry import Entry
from seqbench.result import Plugin, Provenance
from seqbench.source import States, commit_of, source_of
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
    code: States | None = None,
) -> Provenance:
    """Everything about this process, machine and checkout that a reader may ask for.

    ``code`` are the states of the plugins' code that a training has seen; without, that of now.
    """
    commit, dirty = commit_of(Path(__file__))
    task = registry.entries(registry.TASKS)[spec.task.name]
    model = registry.entries(registry.MODELS)[spec.model.name]
    return Provenance(
        seqbench=seqbench.__version__,
        task_plugin=_plugin(task, code or {}),
        model_plugin=_plugin(model, code or {}),
        packages={name: v for name in _PACKAGES if (v := _version(name))},
        python=platform.python_version(),
        platform=platform.platform(),
        commit=commit,
        dirty=dirty,
        device=device.type,
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        started_at=started_at,
        seconds=seconds,
    )


def _plugin(entry: Entry, code: States) -> Plugin:
    source = source_of(entry)
    states = code.get(source.package, (source.sha256,)) if source else None
    return Plugin(
        distribution=entry.distribution,
        version=entry.distribution_version,
        entry_point=entry.value,
        code=tuple(states) if states else None,
        commit=source.commit if source else None,
        dirty=source.dirty if source else None,
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device_name(device: torch.device) -> str:
    """The name of the GPU, as far as this machine has it, or of the processor."""
    if device.type == "cuda":
        try:
            return torch.cuda.get_device_name(device)
        except (RuntimeError, AssertionError):  # a run elsewhere is told of by a machine without
            return str(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
