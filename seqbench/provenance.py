"""What ran a run: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import seqbench
from seqbench import registry
from seqbench.result import Plugin, Provenance
from seqbench.spec import RunSpec

_PACKAGES = ("torch", "lightning", "numpy", "datasets", "scikit-learn", "torchaudio")


def now() -> str:
    """The time, UTC, to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def provenance(spec: RunSpec, device: torch.device, started_at: str, seconds: float) -> Provenance:
    """Everything about this process, machine and checkout that a reader may ask for."""
    commit, dirty = _commit()
    return Provenance(
        seqbench=seqbench.__version__,
        task_plugin=_plugin(registry.TASKS, spec.task.name),
        model_plugin=_plugin(registry.MODELS, spec.model.name),
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


def _plugin(group: str, name: str) -> Plugin:
    entry = registry.entries(group)[name]
    return Plugin(
        distribution=entry.distribution,
        version=entry.distribution_version,
        entry_point=entry.value,
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> tuple[str | None, bool | None]:
    """Commit of the checkout that seqbench runs from, and whether it is changed.

    ``(None, None)`` where seqbench is installed from a package or git is not there.
    """
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None, None
    git = ["git", "-C", str(here)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None, None
    return commit, bool(changed)


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
