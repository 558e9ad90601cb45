"""Loads every plugin and looks at the machine, so that a user sees what is wrong at a glance."""

from __future__ import annotations

import importlib
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch
from rich.markup import escape
from rich.table import Table

from seqbench import registry
from seqbench.model import Model
from seqbench.registry import Entry
from seqbench.report import entries_table, titled
from seqbench.task import Task

_OPTIONAL = {"torchaudio": "only the speech tasks need it"}


@dataclass(frozen=True)
class Findings:
    """What is installed, what works, and what this machine has."""

    tasks: list[Entry]
    models: list[Entry]
    machine: dict[str, str]

    @property
    def broken(self) -> list[Entry]:
        """The entries that cannot be used."""
        return [entry for entry in [*self.tasks, *self.models] if entry.broken]


def examine() -> Findings:
    """Load everything that is registered; nothing that fails stops the rest."""
    tasks = registry.entries(registry.TASKS).values()
    models = registry.entries(registry.MODELS).values()
    return Findings(
        tasks=[registry.check(entry, Task) for entry in tasks],
        models=[registry.check(entry, Model) for entry in models],
        machine=_machine(),
    )


def tables_of(findings: Findings) -> list[Table]:
    """Plugins after loading, then the machine."""
    machine = titled("machine", "what", "found")
    for what, found in findings.machine.items():
        machine.add_row(what, escape(found))
    return [
        entries_table("task", findings.tasks, good="ok"),
        entries_table("model", findings.models, good="ok"),
        machine,
    ]


def _machine() -> dict[str, str]:
    packages = ("seqbench", "torch", "lightning", "datasets", "numpy")
    facts = {"python": platform.python_version(), "platform": platform.platform()}
    facts |= {name: version(name) for name in packages}
    facts |= {name: _optional(name) for name in _OPTIONAL}
    facts["cores"] = str(os.cpu_count())
    facts["cuda"] = (
        ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())) or "none"
    )
    facts["SEQBENCH_DATA"] = os.environ.get("SEQBENCH_DATA", "not set")
    return facts


def _optional(name: str) -> str:
    """Version of an optional library, or what is wrong with it."""
    try:
        installed = version(name)
    except PackageNotFoundError:
        return f"not installed ({_OPTIONAL[name]})"
    try:
        importlib.import_module(name)
    except Exception as error:  # a native library fails in many ways
        return (
            f"{installed} does not load beside torch {torch.__version__} "
            f"({_OPTIONAL[name]}): {type(error).__name__}: {str(error).splitlines()[0]}"
        )
    return installed
