"""A newcomer's way from `new` to a row on a page, in an environment of its own.

`tox -e newcomer` runs this with nothing but pytest; the time is printed, not judged.
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOREIGN = ("PYTHON", "SEQBENCH_", "VIRTUAL_ENV", "COV_", "PYTEST_")
"""What the surrounding environment must not lend."""


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, if it ends well; says how long it took."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN)}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    words = " ".join([Path(command[0]).name, *map(str, command[1:])])
    print(f"{time.perf_counter() - started:6.1f} s ({cpu:5.1f} s of CPU)  {words}")  # noqa: T201
    return done.stdout


@pytest.mark.slow
def test_from_new_to_a_rendered_row(tmp_path: Path) -> None:
    """Install the wheel outside the repository, then scaffold, install, check, run and render."""
    print()  # noqa: T201
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", "wheels", ROOT, cwd=tmp_path)
    run(sys.executable, "-m", "venv", "venv", cwd=tmp_path)
    programs = tmp_path / "venv" / "bin"
    (wheel,) = (tmp_path / "wheels").glob("seqbench-*.whl")
    run(programs / "pip", "install", wheel, cwd=tmp_path)
    where = run(
        programs / "python", "-c", "import seqbench; print(seqbench.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(tmp_path / "venv")

    started = time.perf_counter()
    seqbench = programs / "seqbench"
    run(seqbench, "new", "model", "mynet", cwd=tmp_path)
    run(programs / "pip", "install", "-e", "./seqbench-mynet", cwd=tmp_path)
    checked = run(seqbench, "check", "mynet", cwd=tmp_path)
    training = ("--epochs", "20", "--set", "train.learning_rate=3e-3", "--output-dir", "runs/quick")
    run(seqbench, "run", "sdigits", "mynet", *training, cwd=tmp_path)
    run(seqbench, "render", "runs/quick", cwd=tmp_path)
    print(f"{time.perf_counter() - started:6.1f} s from `new` to the page")  # noqa: T201

    assert "ok      causality" in checked
    with (tmp_path / "runs/quick/leaderboard.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["task"], row["label"], row["official_data"]) == ("sdigits", "mynet:default", "true")
    assert float(row["mean"]) > 0.9
    assert "mynet:default" in (tmp_path / "runs/quick/index.html").read_text()
