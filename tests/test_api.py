"""What the command line does, as functions that give Results and frames."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import seqbench
from seqbench import cli
from seqbench.boards import write_leaderboard
from seqbench.errors import ConfigError, ResultError, UnknownNameError
from seqbench.result import Result, Status, read_results

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(model="tiny-mlp", **options) -> Result:
    """A short run."""
    return seqbench.run("tiny-sum", model, epochs=1, **options)


def test_importing_seqbench_is_quick() -> None:
    """Neither torch nor pandas is imported before it is needed, by the functions too."""
    code = (
        "import sys, seqbench; seqbench.run, seqbench.leaderboard; "
        "assert not {'torch', 'pandas', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_functions_are_listed() -> None:
    """Before they are imported."""
    code = "import seqbench; assert {'leaderboard', 'run', '__version__'} <= set(dir(seqbench))"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_there_is_said() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'train_all'"):
        _ = seqbench.train_all


def test_a_run_starts_from_the_weights_of_a_result() -> None:
    """Trained further, or tested as they are; its seed and model are those of the parent."""
    parent = run(seed=3)
    tested = run_from(parent, trained=False)
    assert (tested.spec.parent, tested.spec.train) == (parent.spec, None)
    tuned = run_from(parent, epochs=2)
    assert (tuned.spec.train.epochs, tuned.spec.seed) == (2, 3)
    with pytest.raises(ConfigError, match="seed cannot be 4"):
        run_from(parent, seed=4)
    with pytest.raises(ConfigError, match="no parent"):
        seqbench.run("tiny-sum", "tiny-mlp", trained=False)


def run_from(parent: Result, **options) -> Result:
    """A run with a parent."""
    return seqbench.run("tiny-sum", "tiny-mlp", parent=parent, **options)


def test_run_gives_what_the_command_writes(here, capsys) -> None:
    """The same spec, so the second of the two only reads the Result of the first."""
    result = seqbench.run(
        "tiny-sum",
        "tiny-mlp:large",
        epochs=1,
        max_steps=3,
        settings={"model.hidden": 5, "train.learning_rate": "1e-2"},
        task_settings={"length": 9},
        seed=4,
    )
    assert result.status is Status.OK
    assert result.spec.model.config == {"hidden": 5, "dropout": 0.2}
    assert (result.spec.train.max_steps, result.spec.train.learning_rate) == (3, 1e-2)
    command = (
        "run tiny-sum tiny-mlp:large --epochs 1 --max-steps 3 --set model.hidden=5 "
        "--set train.learning_rate=1e-2 --task length=9 --seed 4"
    )
    with pytest.raises(SystemExit):
        cli.main(command.split())
    assert f"run {result.id}:" in capsys.readouterr().out
    assert read_results(here / "runs")[0] == [result.sealed()]


def test_run_fails_as_the_command_does(here) -> None:
    """With an error that says what is wrong; nothing is written."""
    with pytest.raises(UnknownNameError, match="did you mean 'tiny-mlp'"):
        run("tiny-mpl")
    with pytest.raises(ConfigError, match="either MODEL or in a file"):
        seqbench.run("tiny-sum")
    with pytest.raises(ConfigError, match=r"train\.epochs is set twice: to 3 and to 1"):
        run(settings={"train.epochs": 3})
    assert not list(here.iterdir())


def test_leaderboard_of_results_is_that_of_their_directory(here) -> None:
    """The frame is leaderboard.csv, in its order; names and numbers as pandas reads them."""
    results = [run(seed=seed, output_dir="some") for seed in range(3)] + [
        run("tiny-mlp:large", output_dir="some")
    ]
    frame = seqbench.leaderboard(results)
    pd.testing.assert_frame_equal(frame, seqbench.leaderboard("some"))
    pd.testing.assert_frame_equal(frame, seqbench.leaderboard(here / "some"))
    write_leaderboard(here / "some", here)
    header, *lines = (here / "leaderboard.csv").read_text().splitlines()
    assert list(frame.columns) == header.split(",")
    assert len(frame) == len(lines) == 2
    small = frame[frame.preset == "small"].iloc[0]
    assert small["seeds"] == "0 1 2"
    assert small["mean"] == pytest.approx(sum(r.test.mean for r in results[:3]) / 3)
    assert small["rank"] == 1
    assert pd.isna(frame[frame.preset == "large"].iloc[0]["rank"])
    assert frame.higher_is_better.all()


SUITE = """
name = "two"
description = "two runs"
seeds = [0]

[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp", "tiny-mlp:large"]
set = { "train.epochs" = 1 }
"""


def test_leaderboard_of_a_suite_does_what_is_missing(here) -> None:
    """A run that is there is not done again."""
    (here / "two.toml").write_text(SUITE)
    done = run(output_dir="runs/two")
    frame = seqbench.leaderboard("two.toml", jobs=1)
    assert set(frame.preset) == {"small", "large"}
    assert done.id in set(frame.runs)
    assert done.sealed() in read_results(here / "runs" / "two")[0]


def test_what_cannot_be_read_is_warned_of(here) -> None:
    """The rest is still ranked; nothing at all is an error."""
    run()
    damaged = here / "runs" / "results" / "tiny-sum" / "damaged.json"
    damaged.write_text("{")
    with pytest.warns(UserWarning, match=r"damaged\.json is not readable JSON"):
        assert len(seqbench.leaderboard("runs")) == 1
    for nothing in ("elsewhere", []):
        with pytest.raises(ResultError, match="there are no results"):
            seqbench.leaderboard(nothing)
    with pytest.raises(ResultError, match=r"or the name of a suite: .*quick"):
        seqbench.leaderboard("quik")


def test_the_notebook_of_the_docs_runs() -> None:
    """Its cells, one after the other, in a process of their own."""
    notebook = json.loads((ROOT / "docs" / "add-a-model.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"]), "kept without outputs"
    program = "\n".join([*cells, "print(sorted(board['model']))"])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\['my_model\.MyNet@\w{8}', 'tcn'\]", done.stdout.splitlines()[-1])
