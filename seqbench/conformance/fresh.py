"""What only a process of its own can tell: what an import does, whether data are the same there."""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seqbench import from_file, registry
from seqbench.conformance.rule import Broken
from seqbench.registry import Entry
from seqbench.resolve import config_from
from seqbench.task import FitData, Split, Task, fingerprint

SEEDS = (1_592_653_589, 793_238_462)
"""Of the global generators before an import: none that a plugin would set."""


def look(
    entry: Entry, config: Mapping[str, Any] | None = None, data_dir: Path | None = None
) -> dict[str, Any]:
    """Import a plugin in a new process and, given a task's config, make its data there.

    The process has other seeds of all global generators and another order of sets. Gives the
    ``generators`` that the plugin's own modules change as they are imported, and the fingerprints
    ``fit`` and ``test``.

    Raises:
        Broken: it does not get to the end there.

    """
    module, _, name = entry.value.partition(":")
    in_file = registry.FILE_MARK in entry.name
    asked = {
        "file": sys.modules[module].__file__ if in_file else None,
        "module": module,
        "name": name,
        "config": config,
        "data_dir": str(data_dir) if data_dir else None,
    }
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": "2"},
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise Broken(
            f"in a new process it ends in {last}",
            "the same there as in this one",
            "import and make everything from the plugin's own files and installed packages",
        )
    seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return seen


def _main(asked: dict[str, Any]) -> None:
    changed = _changed_by_import(asked["module"], asked["file"], SEEDS[0])
    if changed:  # again, without what it imports: that others draw is not its fault
        for name in _own_modules(asked["module"]):
            del sys.modules[name]
        changed = _changed_by_import(asked["module"], asked["file"], SEEDS[1])
    seen: dict[str, Any] = {"generators": changed}
    if asked["config"] is not None:
        task = _task(asked)
        seen |= fingerprints_of(task, task.fit_data(), task.test_data())
    print(json.dumps(seen))  # noqa: T201  (the answer)


def _changed_by_import(module: str, file: str | None, seed: int) -> list[str]:
    """The global generators that are not as they were seeded."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (the global state is what is looked at)
    torch.manual_seed(seed)
    before = _states()
    if file:
        from_file.load_file(Path(file))
    else:
        importlib.import_module(module)
    after = _states()
    return [name for name in before if before[name] != after[name]]


def _own_modules(module: str) -> list[str]:
    """The modules that came with a plugin; of seqbench itself, the task's alone."""
    package = module.partition(".")[0]
    own = module if package == "seqbench" else package
    return [name for name in sys.modules if name == own or name.startswith(f"{own}.")]


def _states() -> dict[str, object]:
    return {
        "random": random.getstate(),
        "numpy.random": str(np.random.get_state()),  # noqa: NPY002  (as above)
        "torch": torch.get_rng_state().tolist(),
    }


def _task(asked: Mapping[str, Any]) -> Task:
    cls: type[Task] = getattr(sys.modules[asked["module"]], asked["name"])
    data_dir = Path(asked["data_dir"]) if asked["data_dir"] else None
    return cls(config_from(cls, asked["config"], "task"), data_dir=data_dir)


def fingerprints_of(task: Task, fit: FitData, test: Split) -> dict[str, str]:
    """Those of all data that a network may see, as results have them."""
    return {
        "fit": fingerprint([fit.train, fit.val], task.constants),
        "test": fingerprint([test], task.constants),
    }


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
