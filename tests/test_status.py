"""What every run of a directory is doing can be seen in its files, without torch."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from seqbench import cli
from seqbench.dispatch import Underway
from seqbench.lease import lease_path, take
from seqbench.report import Counter, watching
from seqbench.resolve import resolve
from seqbench.result import Epoch, Status, write_result
from seqbench.runner import Place, failure, run, run_trial
from seqbench.sitting import Position, folder_of, log_path, read_position, sitting
from seqbench.spec import Request
from seqbench.status import status_of
from seqbench.work import Work


def plan_of(seed=0, **settings):
    """A short run of the tiny task."""
    paths = {f"train.{name}": value for name, value in ({"epochs": 2} | settings).items()}
    return resolve(Request("tiny-sum", "tiny-mlp", {}, paths, seed))


def point(epoch, score):
    """An epoch of a learning curve."""
    return Epoch(
        epoch=epoch,
        steps=8 * epoch,
        learning_rate=0.1,
        train_loss=1.0,
        val_loss=1.0,
        val_score=score,
        train_seconds=1.0,
    )


def events_of(directory, run_id):
    """The lines of a log."""
    return [json.loads(line) for line in log_path(directory, run_id).read_text().splitlines()]


def test_the_log_of_a_run(tmp_path):
    """A line of JSON for its start, every checkpoint and epoch, and its end, with their times."""
    result = run(plan_of(), Place(tmp_path))
    events = events_of(tmp_path, result.id)
    kinds = [event["event"] for event in events]
    assert kinds == ["started", *["checkpoint", "epoch"] * 2, "finished"]
    times = [event["time"] for event in events]
    assert times == sorted(times)
    started, ended = events[0], events[-1]
    assert started["run"] == result.id
    assert (started["task"], started["pid"]) == ("tiny-sum (length=16)", os.getpid())
    assert [event["val_score"] for event in events if event["event"] == "epoch"] == [
        point.val_score for point in result.curve
    ]
    assert (ended["status"], ended["test"]) == ("ok", result.test.mean)
    assert not lease_path(tmp_path, result.id).exists()
    assert read_position(tmp_path, result.id) is None


def test_the_log_of_a_run_that_cannot_go_on(tmp_path, monkeypatch):
    """The error is its last line; an interrupt says stopped."""
    from seqbench import runner

    for error, event in ((RuntimeError("no luck"), "error"), (KeyboardInterrupt(), "stopped")):

        def fail(*_, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(runner, "fit", fail)
            with pytest.raises(type(error)):
                run(plan_of(), Place(tmp_path))
        last = events_of(tmp_path, plan_of().spec.id)[-1]
        assert last["event"] == event
    assert "RuntimeError: no luck" in log_path(tmp_path, plan_of().spec.id).read_text()


def test_every_state(tmp_path):
    """Ended, running, stale, interrupted and refused runs are told apart, and trials counted."""
    place = Place(tmp_path)
    run(plan_of(0), place)
    failed = failure(plan_of(1), place, Status.FAILED, "it broke\nat length", 1.0)
    write_result(failed, tmp_path)
    run_trial(plan_of(2), place)
    interrupted = plan_of(3)
    with sitting(tmp_path, interrupted.spec, interrupted.origin) as seat:
        seat.begin("accuracy", "cpu")
        seat.step(1, 16)
        seat.epoch(point(1, 0.75))
    stale = plan_of(4)
    take(tmp_path, stale.spec.id)
    os.utime(lease_path(tmp_path, stale.spec.id), (0, 0))
    folder_of(tmp_path, "refused").mkdir(parents=True)
    log_path(tmp_path, "refused").write_text('{"event": "error", "error": "DataError: none"}\n{"ev')
    running = plan_of(5)
    with sitting(tmp_path, running.spec, running.origin) as seat:
        seat.begin("accuracy", "cpu")
        seat.step(1, 16)
        seat.step(8, 16)
        seat.epoch(point(1, 0.5))
        seat.beat()
        found = status_of(tmp_path)
    assert found.counts == {
        "running": 1,
        "stale": 1,
        "interrupted": 1,
        "not begun": 1,
        "failed": 1,
        "ok": 1,
    }
    assert found.trials == 1
    runs = {each.state: each for each in found.runs}
    at = runs["running"].position
    assert (at.epoch, at.epochs, at.steps, at.total_steps, at.val_score) == (1, 2, 8, 16, 0.5)
    assert at.examples_per_second > 0
    assert at.seconds_left > 0
    assert runs["running"].heard_seconds < 5
    assert (runs["interrupted"].position.epoch, runs["interrupted"].seed) == (1, 3)
    assert runs["stale"].heard_seconds > 1e6
    assert runs["failed"].note == "it broke"
    assert runs["not begun"].note == "DataError: none"


def test_a_position_counts_all_sittings(tmp_path):
    """A run that goes on from its checkpoint has used the time of those before."""
    plan = plan_of(epochs=1)
    run_trial(plan, Place(tmp_path))
    before = read_position(tmp_path, plan.spec.id)
    assert (before.epoch, before.epochs) == (1, 1)
    with sitting(tmp_path, plan.spec, plan.origin) as seat:
        seat.begin("accuracy", "cpu")
        again = read_position(tmp_path, plan.spec.id)
        assert again.seconds > before.seconds > 0
        assert (again.epoch, again.val_score) == (1, before.val_score)


def call(*words):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(map(str, words)))
    return stop.value.code or 0


def test_the_command(tmp_path, capsys):
    """Counts, and a row for each run that did not end well; with --all for every one."""
    place = Place(tmp_path)
    run(plan_of(0), place)
    write_result(failure(plan_of(1), place, Status.FAILED, "it broke", 1.0), tmp_path)
    assert call("status", tmp_path) == 0
    out = capsys.readouterr().out
    assert "2 runs: 1 failed, 1 ok" in out
    assert "it broke" in " ".join(out.split())
    assert out.count("tiny-mlp") == 1
    assert call("status", tmp_path, "--all") == 0
    assert capsys.readouterr().out.count("tiny-mlp") == 2
    (tmp_path / "results" / "tiny-sum" / "bad.json").write_text("{")
    assert call("status", tmp_path) == 2
    assert "not readable JSON" in capsys.readouterr().err
    assert call("status", tmp_path / "nothing") == 2
    assert "there are no runs" in capsys.readouterr().err


def test_torch_is_not_needed(tmp_path):
    """As for everything that only looks at results."""
    run(plan_of(), Place(tmp_path))
    code = (
        "import sys\nfrom seqbench.cli import main\n"
        f"try:\n    main(['status', {str(tmp_path)!r}])\nexcept SystemExit as stop:\n"
        "    assert not stop.code\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_live_table(tmp_path):
    """On a terminal: a line a run that ended, above a table of those that are being done."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=12)
    plans = [plan_of(seed) for seed in range(20)]
    position = Position(
        id="x", task="t", model="m", seed=0, metric="a", device="cpu", epoch=3, epochs=9
    )
    underway = [
        Underway(Work(plan), position, elsewhere=seed == 1) for seed, plan in enumerate(plans)
    ]
    with watching(console) as watcher:
        watcher.start(22)
        watcher.done(failure(plans[0], Place(tmp_path), Status.FAILED, "it broke", 1.0))
        watcher.show(underway, 1)
    text = console.file.getvalue()
    assert "[1/22] tiny-sum tiny-mlp:small seed 0: failed: it broke" in text
    assert "1 of 22 ended, 20 running, 1 waiting" in text
    assert "running: elsewhere" in text
    assert "3/9" in text
    assert "seed 3" in text
    assert "seed 4" not in text, "as many as there is room for"
    with watching(Console(file=io.StringIO())) as watcher:
        assert type(watcher) is Counter
