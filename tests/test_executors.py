"""Runs in processes of their own: what happens to one is its own affair, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from seqbench import resources
from seqbench.execute import Effort, jobs_at_once, run_suite
from seqbench.executors import local
from seqbench.executors.local import LocalExecutor
from seqbench.lease import leases
from seqbench.report import Counter
from seqbench.resolve import resolve
from seqbench.result import Status, read_results
from seqbench.runner import Place, run
from seqbench.sitting import log_path
from seqbench.spec import Request
from seqbench.suite import load_suite
from seqbench.work import Work

ROOT = Path(__file__).parents[1]

MODELS = """
import multiprocessing, os, signal, time
from pathlib import Path
import torch
from seqbench_tiny import TinyMLP

class Tried(TinyMLP):
    presets, recipes, steps = {}, {}, 0
    def forward(self, x):
        if self.training:
            Tried.steps += 1
            self.happen()
        return self.layers(x)

class Hanging(Tried):
    def happen(self):
        time.sleep(1000)

class Killed(Tried):
    def happen(self):
        once = Path(__file__).with_name("once")
        if Tried.steps == 20 and multiprocessing.parent_process() and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)

class Greedy(Tried):
    def happen(self):
        torch.empty(2**55)

class Full(Tried):
    def happen(self):
        raise OSError(28, "No space left on device")
"""

POINTS = """
[seqbench.models]
hanging = tried_plugin:Hanging
killed = tried_plugin:Killed
greedy = tried_plugin:Greedy
full = tried_plugin:Full
"""

SUITE = """
name = "tried"
description = "for tests"
seeds = [0]
[[runs]]
tasks = ["tiny-sum"]
models = [MODEL]
set = { "train.epochs" = 4 }
"""


@pytest.fixture
def trial(tmp_path, install_plugin):
    """Run a suite of a good model and one to which something happens."""
    install_plugin("tried-dist", "tried_plugin", MODELS, POINTS)

    def do(model, **options):
        path = tmp_path / "tried.toml"
        path.write_text(SUITE.replace("MODEL", f'"{model}"'))
        effort = Effort(Place(tmp_path / "out"), 2, Counter(Console(quiet=True)), **options)
        errors = run_suite(load_suite(str(path)), effort)
        results, _ = read_results(tmp_path / "out")
        return {result.spec.model.name: result for result in results}, errors

    return do


def test_a_run_that_hangs_is_ended(tmp_path, trial):
    """By its time limit, of which its process leaves nothing behind."""
    found, errors = trial("hanging", time_limit=2.0)
    assert not errors
    assert found["hanging"].status is Status.TIMEOUT
    assert found["hanging"].time_limit_seconds == 2.0
    assert not leases(tmp_path / "out")


def test_a_run_that_is_killed_goes_on_from_its_checkpoint(trial, tmp_path):
    """With the outcome of one that is not."""
    found, errors = trial("killed")
    assert not errors
    result = found["killed"]
    assert result.status is Status.OK
    plan = resolve(Request("tiny-sum", "killed", settings={"train.epochs": 4}))
    whole = run(plan, Place(tmp_path))
    assert result.test_scores == whole.test_scores
    assert [p.val_loss for p in result.curve] == [p.val_loss for p in whole.curve]
    lines = log_path(tmp_path / "out", result.id).read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert events.count("started") == 2
    assert events.count("continued") == 1


def test_memory_that_runs_out_is_told_from_a_failure(trial):
    """And leaves a Result."""
    found, _ = trial("greedy")
    assert found["greedy"].status is Status.OOM
    assert "RuntimeError" in found["greedy"].error


def test_a_full_disk_is_no_failure_of_the_run(trial):
    """It leaves no Result, and is done when there is room again."""
    found, errors = trial("full")
    assert "full" not in found
    assert any("make room" in str(error) for error in errors)


def suite_of(tmp_path, epochs):
    """A suite of four runs."""
    path = tmp_path / "four.toml"
    text = SUITE.replace("MODEL", '"tiny-mlp", "tiny-mlp:large"').replace("[0]", "[0, 1]")
    path.write_text(text.replace('epochs" = 4', f'epochs" = {epochs}'))
    return path


def leaderboard(suite, directory, *words):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "seqbench.cli", "leaderboard", str(suite)]
    return subprocess.Popen(
        [*command, "--output-dir", str(directory), "--jobs", "2", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def until(what, process):
    """Wait until something is there."""
    while not (found := what()):
        assert process.poll() is None
        time.sleep(0.01)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_an_interrupt_ends_all_runs_at_once(tmp_path):
    """They leave their leases, and continue with the same command."""
    process = leaderboard(suite_of(tmp_path, 5000), tmp_path / "out")
    until(lambda: len(list(tmp_path.glob("out/checkpoints/*/epoch-*"))) > 2, process)
    pids = [seen.holder.pid for seen in leases(tmp_path / "out").values()]
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "the same command continues" in err
    assert "Traceback" not in err
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not leases(tmp_path / "out")
    assert not list(tmp_path.glob("out/results/*/*"))


def test_two_runners_share_a_directory(tmp_path):
    """Each run is begun and ended once, and both end when all are done."""
    suite = suite_of(tmp_path, 30)
    runners = [leaderboard(suite, tmp_path / "out") for _ in range(2)]
    outputs = [runner.communicate(timeout=300) for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0], outputs
    results, errors = read_results(tmp_path / "out")
    assert len(results) == 4
    assert not errors
    for result in results:
        lines = log_path(tmp_path / "out", result.id).read_text().splitlines()
        events = [json.loads(line)["event"] for line in lines]
        assert events.count("started") == events.count("finished") == 1
    assert not leases(tmp_path / "out")


@pytest.mark.skipif(not (ROOT / "benchmarks").exists(), reason="benchmarks are not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_a_small_fault_campaign():
    """benchmarks/faults.py with few runs and few kills."""
    script = ROOT / "benchmarks" / "faults.py"
    scenarios = ["--only", "kills", "--only", "damaged-checkpoints"]
    words = ["--seeds", "1", "--kills", "4", *scenarios]
    done = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["runs"] == 3
    assert sum(report["kills"].get(kind, 0) for kind in ("run", "runner", "server")) == 4
    assert report["damaged_checkpoints"] > 0


def work_of(seed=0):
    """A work of the tiny task."""
    return Work(resolve(Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 1}, seed=seed)))


def test_what_is_expected_to_fit_has_room(tmp_path, monkeypatch):
    """Memory that runs have not taken yet is not free; with nothing running one always fits."""
    executor = LocalExecutor(Place(tmp_path), 3, [work_of()])
    monkeypatch.setattr(local, "available_bytes", lambda: 1000)
    monkeypatch.setattr(local, "resident_bytes", lambda _pid: 100)
    assert executor.has_room(5000)
    executor.start(work_of(), 700)
    try:
        assert executor.has_room(400)  # 1000 - (700 - 100)
        assert not executor.has_room(401)
        monkeypatch.setattr(local, "available_bytes", lambda: None)
        assert executor.has_room(401), "where the system does not tell, slots decide"
        executor.start(work_of(1), 0)
        executor.start(work_of(2), 0)
        assert not executor.has_room(0)
    finally:
        executor.close()
    assert executor.has_room(5000)


def test_gpus_are_shared_out(tmp_path, monkeypatch):
    """One run on each by default; the next one goes to the device with the fewest."""
    monkeypatch.setattr(local.torch.cuda, "device_count", lambda: 3)
    assert local.devices_of("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert local.devices_of("cuda:1") == ["cuda:1"]
    assert local.devices_of("cpu") == ["cpu"]
    place = Place(tmp_path, device="cuda")
    assert jobs_at_once(None, place) == 3
    assert jobs_at_once(6, place) == 6
    free = {"cuda:0": 500, "cuda:1": 1000, "cuda:2": 1000}
    monkeypatch.setattr(local.torch.cuda, "mem_get_info", lambda device: (free[device], 1000))
    executor = LocalExecutor(place, 4, [work_of()])
    devices = []
    for seed in range(4):
        devices.append(executor._next_device())
        running = local._Running(work_of(seed), None, None, devices[-1], 600, 0)
        executor._running[work_of(seed).id] = running
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]
    executor._jobs = 9
    assert executor._next_device() == "cuda:1"
    assert executor.has_room(400)  # 1000 - 600
    assert not executor.has_room(401)
    executor._running.clear()


def test_what_a_control_group_leaves(tmp_path):
    """The least that any group above has left, with its page cache given up; of both versions."""
    everything = resources.available_bytes()
    assert everything is None or everything > 0
    assert resources.cores() >= 1
    assert resources.resident_bytes(2**22 + 1) == 0
    for names, stat in zip(resources._NAMES, ("inactive_file", "total_inactive_file"), strict=True):
        group = tmp_path / names[0]
        group.mkdir()
        (group / names[0]).write_text("1000\n")
        (group / names[1]).write_text("700\n")
        (group / "memory.stat").write_text(f"anon 5\n{stat} 200\n")
        assert list(resources._left(group)) == [500]
    (tmp_path / "memory.max" / "memory.max").write_text("max\n")
    assert list(resources._left(tmp_path / "memory.max")) == []
