"""Shapes and types of public signatures are checked; a tiny plugin is registered for the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = ["seqbench.task", "seqbench.tasks", "seqbench.model", "seqbench.nn"]
install_import_hook(CHECKED, "beartype.beartype")

from seqbench import cli, registry  # noqa: E402  (after the hook)

SITE = Path(__file__).parent / "site"
sys.path.insert(0, str(SITE))
os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])

InstallPlugin = Callable[[str, str, str, str], None]


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallPlugin:
    """Register a distribution the way pip leaves it: (name, module, source, entry points)."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ["PYTHONPATH"]]))

    def install(name: str, module: str, source: str, points: str) -> None:
        info = site / f"{name.replace('-', '_')}-9.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 9.1\n")
        (info / "entry_points.txt").write_text(points)
        if source:
            (site / f"{module}.py").write_text(source)
        registry.entries.cache_clear()

    registry.entries.cache_clear()
    yield install
    registry.entries.cache_clear()


@pytest.fixture
def seqbench(capsys, monkeypatch, tmp_path):
    """Run a command in an empty directory; give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return stop.value.code or 0, captured.out, captured.err

    return call
