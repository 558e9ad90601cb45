"""What plugin authors test with: ``check_model``, ``check_task``, and fixtures for real data.

Installed as a pytest plugin, so nothing here imports torch before it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from seqbench.model import Model
    from seqbench.task import Task


def check_model(model: str | type[Model], preset: str | None = None) -> None:
    """Check that a model keeps every promise of the interface, on the CPU.

    The rules are those of ``seqbench check``: its declarations, and what its networks do for
    every kind of signature. A model need not accept every kind, nor other lengths than the
    signature's, but then it refuses with a SeqbenchError. It need not be causal if it says so.

    Args:
        model: a registered name, or a class.
        preset: the name of one of its presets; all of them by default.

    Raises:
        ConformanceError: what is broken, what was expected, and how to mend it.

    """
    from seqbench.conformance.models import ModelSubject
    from seqbench.conformance.suite import named, require

    if isinstance(model, str):
        require(named(f"{model}:{preset}" if preset else model))
    else:
        require(ModelSubject(model, preset=preset))


def check_task(
    task: str | type[Task], preset: str | None = None, data_dir: Path | None = None
) -> None:
    """Check that a task keeps every promise of the interface, with all its data.

    Where the data are missing the test is skipped; it fails if ``SEQBENCH_REQUIRE`` names
    ``data``. The rules are those of ``seqbench check``.

    Args:
        task: a registered name, or a class.
        preset: the name of one of its presets; the first by default.
        data_dir: where data sets lie that are not generated.

    Raises:
        ConformanceError: what is broken, what was expected, and how to mend it.

    """
    from seqbench.conformance.rule import State
    from seqbench.conformance.suite import named, require
    from seqbench.conformance.tasks import TaskSubject

    if isinstance(task, str):
        subject = named(f"{task}:{preset}" if preset else task, data_dir)
    else:
        subject = TaskSubject(task, preset=preset, data_dir=data_dir)
    for outcome in require(subject):
        if outcome.rule == "splits" and outcome.state is State.SKIPPED:
            _skip("data", outcome.text)


@pytest.fixture(scope="session")
def data_dir(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with ``mnist/`` and ``cifar10/``.

    ``SEQBENCH_DATA``, or ``data`` in a folder ``shared`` beside the checkout. Without either the
    test is skipped; it fails if ``SEQBENCH_REQUIRE`` names ``data``.
    """
    if directory := os.environ.get("SEQBENCH_DATA"):
        path = Path(directory)
        return path if (path / "mnist").is_dir() else missing("data", f"{path}/mnist")
    shared = shared_folder(pytestconfig, "data")
    links = tmp_path_factory.mktemp("data")
    for name in ("mnist", "cifar10"):
        (links / name).symlink_to(shared / name)
    return links


@pytest.fixture(scope="session")
def shared_reference(pytestconfig: pytest.Config) -> Path:
    """The folder of arrays and weights made by the official code of CKConv and FlexConv.

    ``SEQBENCH_REFERENCE``, or ``reference`` in a folder ``shared`` beside the checkout. Without
    either the test is skipped; it fails if ``SEQBENCH_REQUIRE`` names ``reference``.
    """
    if directory := os.environ.get("SEQBENCH_REFERENCE"):
        path = Path(directory)
        return path if path.is_dir() else missing("reference", str(path))
    return shared_folder(pytestconfig, "reference")


def shared_folder(config: pytest.Config, name: str) -> Path:
    """The folder ``name`` in a folder ``shared`` beside the checkout; skips or fails without."""
    for candidate in _candidates(config.rootpath, name):
        if candidate.is_dir():
            return candidate
    return missing(name, str(config.rootpath.parent / "shared" / name))


def _candidates(root: Path, name: str) -> Iterator[Path]:
    """Beside the checkout; the root is a plugin's folder when only its tests are run."""
    for folder in root.parents:
        yield folder / "shared" / name


def missing(name: str, where: str) -> Path:
    """Skip the test that needs ``where``, or fail it if SEQBENCH_REQUIRE names ``name``."""
    _skip(name, f"needs {where}; set SEQBENCH_{name.upper()} to a copy of it")


def _skip(name: str, reason: str) -> NoReturn:
    if name in os.environ.get("SEQBENCH_REQUIRE", "").split(","):
        pytest.fail(f"SEQBENCH_REQUIRE names {name}: {reason}", pytrace=False)
    pytest.skip(reason)
