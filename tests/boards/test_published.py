"""Published numbers as data: what the file says, and where it is found."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest

import seqbench
from seqbench import registry
from seqbench.boards import load_published
from seqbench.errors import ResultError
from seqbench.model import load_model
from seqbench.spec import canonical_json
from seqbench.task import load_task

ROOT = Path(__file__).parents[2]
ENTRY = {"model": "S4", "task": "smnist", "score": 0.9, "source": "a", "source_kind": "paper"}


def test_every_row_named_is_one_of_ours():
    """``MODEL:PRESET`` of an installed model."""
    for row in {one.row for one in load_published() if one.row}:
        model, _, preset = row.partition(":")
        assert preset in load_model(model).presets


def test_every_task_is_one_of_ours():
    """With its whole config, if it is installed; the plugin for speech pins its own torch."""
    installed = set(registry.entries(registry.TASKS))
    for task, config in {(one.task, canonical_json(one.task_config)) for one in load_published()}:
        if task in installed:
            whole = asdict(load_task(task).Config(**json.loads(config)))
            assert canonical_json(whole) == config
        else:
            assert task in {"sc10-raw-kidger", "sc10-mfcc", "sc35-raw"}


def test_a_number_that_was_not_read_in_its_source_is_marked():
    """Those of the protocol that are in brackets there."""
    marked = [(one.model, one.task) for one in load_published() if one.source_kind == "unverified"]
    assert ("FlexTCN-2", "smnist") in marked
    assert {model for model, _ in marked} == {"FlexTCN-2", "FlexTCN-4", "FlexTCN-6"}


@pytest.mark.parametrize(
    ("model", "task", "score", "selection"),
    [
        ("CKConv 100k", "smnist", 0.9931, "test"),
        ("FlexTCN-4", "pmnist", 0.9872, "test"),
        ("S4", "scifar10", 0.9113, "unknown"),
        ("FlexTCN-4", "sc10-mfcc", 0.9773, "unknown"),
        ("FlexTCN-6", "npcifar10", 0.6987, "unknown"),
        ("LEM", "smnist", 0.9945, "validation"),
    ],
)
def test_numbers_are_those_of_their_sources(model, task, score, selection):
    """Samples, as fractions."""
    found = [one for one in load_published() if (one.model, one.task) == (model, task)]
    assert [(one.score, one.selection) for one in found] == [(score, selection)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        ("{}", "not a list"),
        ('["S4"]', r"entry 1 \(\) is not a published number"),
        (json.dumps([ENTRY, ENTRY | {"score": 99.6}]), r"entry 2 \(S4 smnist\).* 0 and 1"),
        (json.dumps([ENTRY | {"source_kind": "blog"}]), "source_kind: "),
        (json.dumps([ENTRY | {"sorce": "b"}]), "sorce: "),
        (json.dumps([ENTRY | {"row": "s4"}]), "row: "),
        (json.dumps([ENTRY | {"parameters": 9}]), "params_source"),
        (json.dumps([ENTRY | {"row": "s4:a"}] * 2), "2 numbers for s4:a on smnist"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, content, message):
    """By the entry's place, model and task, and the field."""
    path = tmp_path / "published.json"
    path.write_text(content)
    with pytest.raises(ResultError, match=message) as error:
        load_published(path)
    assert str(path) in error.value.message


def test_a_file_that_is_missing_is_an_error(tmp_path):
    """Not an empty list."""
    with pytest.raises(ResultError, match="not readable JSON"):
        load_published(tmp_path / "published.json")


def test_a_checkout_reads_the_file_among_its_leaderboards():
    """The same as comes with an installed package."""
    assert load_published() == load_published(ROOT / "leaderboards" / "published.json")


def test_a_wheel_has_the_file_beside_the_code(tmp_path):
    """Where the build puts it, the package finds it without a checkout."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    ((source, target),) = wheel["targets"]["wheel"]["force-include"].items()
    assert source in wheel["targets"]["sdist"]["include"]
    package = Path(seqbench.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__", "page", "published.json")
    shutil.copytree(package, tmp_path / "seqbench", ignore=ignore)
    shutil.copy(ROOT / source, tmp_path / target)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from seqbench.boards import published; "
        "assert published.__file__.startswith(sys.path[0]); "
        "print(len(published.load_published()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) == len(load_published())
