"""What a suite would run is listed and measured by real steps, and nothing is written."""

from __future__ import annotations

import contextlib
import dataclasses
from unittest.mock import Mock

import pytest
import torch
from rich.console import Console

from seqbench import cli, estimate, execute, report
from seqbench import measure as measure_module
from seqbench.errors import ConfigError, UnknownNameError
from seqbench.estimate import Estimate, Item, makespan
from seqbench.execute import Effort, run_suite
from seqbench.executors.local import Work
from seqbench.measure import Measured, measure, measure_all
from seqbench.report import Counter
from seqbench.resolve import resolve
from seqbench.runner import Place
from seqbench.spec import Request
from seqbench.suite import load_suite

SUITE = """
name = "tiny"
description = "for tests"
seeds = [0, 1]
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp:small"]
set = { "train.epochs" = 3 }
"""

MEASURED = Measured(
    ready_seconds=1.0,
    step_seconds=0.01,
    steps=50,
    batch_seconds=0.002,
    closing_seconds=0.5,
    train_examples=500,
    val_examples=100,
    peak_bytes=10**8,
)


def suite_of(tmp_path, text=SUITE):
    """A suite from its text, through its file."""
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return load_suite(str(path))


def effort_in(tmp_path, **options):
    """Two runs at once, below ``out``."""
    return Effort(Place(tmp_path / "out"), 2, Counter(Console(quiet=True)), **options)


@pytest.fixture
def counted(monkeypatch):
    """Measuring takes no time; gives the plans that were measured."""
    plans = []

    def measure_all(missing, _place, _jobs):
        plans.extend(missing)
        return [MEASURED] * len(missing)

    monkeypatch.setattr(estimate, "measure_all", measure_all)
    return plans


def test_real_steps_are_measured_and_nothing_is_written(tmp_path):
    """Every part takes time and memory; seeds share one measurement; no output directory."""
    suite = suite_of(tmp_path)
    found, errors = estimate.estimate(suite, effort_in(tmp_path))
    assert not errors
    assert [item.state for item in found.items] == ["to do", "to do"]
    assert found.items[0].measured is found.items[1].measured
    measured = found.items[0].measured
    assert measured.steps > 0
    assert (measured.train_examples, measured.val_examples) == (500, 100)
    parts = (measured.step_seconds, measured.batch_seconds, measured.closing_seconds)
    assert min(*parts, found.seconds) > 0
    assert found.peak_bytes == 2 * measured.peak_bytes > 2e6
    assert not (tmp_path / "out").exists()


def test_a_run_that_cannot_be_measured_costs_its_own_line(tmp_path, install_plugin):
    """Exceptions, wrong shapes and dead processes are told; the others are measured."""
    install_plugin(
        "greedy-dist",
        "greedy_plugin",
        "import os, signal\nfrom seqbench_tiny import Raising\n"
        "class Greedy(Raising):\n    def forward(self, x):\n"
        "        if self.training:\n            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return self.layers(x)\n",
        "[seqbench.models]\ngreedy = greedy_plugin:Greedy\n",
    )
    names = '"tiny-mlp", "tiny-raising", "tiny-dying", "tiny-misshapen", "greedy"'
    suite = suite_of(tmp_path, SUITE.replace('"tiny-mlp:small"', names))
    found, _ = estimate.estimate(suite, effort_in(tmp_path), (0,))
    told = {item.work.plan.spec.model.name: item.measured for item in found.items}
    assert "this model cannot be trained" in told["tiny-raising"]
    assert "exit code 7" in told["tiny-dying"]
    assert "expects (2, 2)" in told["tiny-misshapen"]
    assert "probably out of memory" in told["greedy"]
    assert isinstance(told["tiny-mlp"], Measured)
    assert found.seconds == next(item.seconds for item in found.items if item.seconds)


@pytest.mark.usefixtures("counted")
def test_who_hands_out_runs_takes_no_memory_of_a_gpu(tmp_path, monkeypatch):
    """It is for them; that the GPU is there is checked without."""
    monkeypatch.setattr(execute, "dispatch", lambda *_: [])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "zeros", Mock(side_effect=RuntimeError("no such GPU")))
    for name, is_there in (("cuda", True), ("cuda:1", True), ("cuda:2", False)):
        effort = Effort(Place(tmp_path, device=name), 2, Counter(Console(quiet=True)))
        for do in (run_suite, estimate.estimate):
            with (
                contextlib.nullcontext()
                if is_there
                else pytest.raises(ConfigError, match="no such GPU")
            ):
                do(suite_of(tmp_path), effort)


def test_measurements_are_spread_over_gpus(tmp_path, monkeypatch):
    """As runs are: those that are measured at once are not all on the first."""
    devices = []

    def child(_context, _plan, place):
        devices.append(place.device)
        return Mock()

    monkeypatch.setattr(measure_module, "_Child", child)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    plans = [resolve(Request("tiny-sum", "tiny-mlp", seed=seed)) for seed in range(5)]
    assert len(list(measure_all(plans, Place(tmp_path, device="cuda"), 3))) == 5
    assert devices == ["cuda:0", "cuda:1", "cuda:0", "cuda:0", "cuda:1"]


@pytest.mark.parametrize("settings", [{"max_steps": 1}, {"max_steps": 2}, {"batch_size": 500}])
def test_the_shortest_trainings_are_measured(settings, tmp_path):
    """One step, two, an epoch of one step: shorter than the measurement would be."""
    paths = {f"train.{name}": value for name, value in ({"epochs": 2} | settings).items()}
    measured = measure(resolve(Request("tiny-sum", "tiny-mlp", settings=paths)), Place(tmp_path))
    assert measured.step_seconds > 0
    assert not list(tmp_path.iterdir())


def item_of(measured=MEASURED, *, trial=False, trained=False, **settings) -> Item:
    """A run of the tiny task that is to be done."""
    paths = {f"train.{name}": value for name, value in settings.items()}
    plan = resolve(Request("tiny-sum", "tiny-mlp", settings=paths))
    return Item(Work(plan, trial=trial), "to do", measured, trained)


def test_a_run_takes_the_sum_of_its_parts():
    """Steps, validation after every epoch, test, and what comes before and after."""
    run = item_of(epochs=5, batch_size=64)  # 500 examples: 8 batches; 100: 2
    assert run.clock.total_steps == 40
    assert run.seconds == pytest.approx(1.0 + 40 * 0.01 + (5 + 1) * 2 * 0.002 + 0.5)
    cut = item_of(epochs=5, batch_size=64, max_steps=17)  # three epochs, the last one cut
    assert cut.seconds == pytest.approx(1.0 + 17 * 0.01 + (3 + 1) * 2 * 0.002 + 0.5)
    trial = item_of(trial=True, epochs=5, batch_size=64)
    assert trial.seconds == pytest.approx(1.0 + 40 * 0.01 + 5 * 2 * 0.002)
    trained = item_of(trained=True, epochs=5, batch_size=64)
    assert trained.seconds == pytest.approx(1.0 + 2 * 0.002 + 0.5)
    assert item_of("it raised").seconds is None


def test_one_epoch_is_one():
    """In words too."""
    table, *_ = report.estimate_parts(Estimate((item_of(epochs=1),), 1))
    assert list(table.columns[2].cells) == ["custom, 1 epoch"]


def test_jobs_share_the_work():
    """The last work ends no sooner than the longest and than a fair share, at most later by one."""
    seconds = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
    assert makespan(seconds, 1) == sum(seconds)
    assert makespan(seconds, 8) == max(seconds)
    for jobs in range(1, 9):
        least = max(*seconds, sum(seconds) / jobs)
        assert least <= makespan(seconds, jobs) <= sum(seconds) / jobs + max(seconds)
    assert makespan([], 3) == 0


def test_what_is_done_is_listed_and_not_measured(tmp_path, counted):
    """Results say how they ended; failed ones are to do only when asked."""
    suite = suite_of(tmp_path, SUITE.replace('"tiny-mlp:small"', '"tiny-mlp", "tiny-raising"'))
    run_suite(suite, effort_in(tmp_path), (0,))
    found, _ = estimate.estimate(suite, effort_in(tmp_path))
    assert [item.state for item in found.items] == ["ok", "failed", "to do", "to do"]
    assert [item.seconds is None for item in found.items] == [True, True, False, False]
    assert len(counted) == 2
    again, _ = estimate.estimate(suite, effort_in(tmp_path, retry_failed=True))
    assert [item.state for item in again.items] == ["ok", "to do", "to do", "to do"]
    done, _ = estimate.estimate(suite, effort_in(tmp_path), (0,))
    assert (done.missing, done.seconds, done.peak_bytes) == ([], 0, 0)


def test_runs_that_cost_the_same_are_measured_once(tmp_path, counted):
    """Seeds, learning rates and lengths share a measurement; batch sizes and models do not."""
    block = '[[runs]]\ntasks = ["tiny-sum"]\nmodels = ["tiny-mlp:small"]\nset = { %s }\n'
    text = SUITE + block % '"train.epochs" = 9' + block % '"train.learning_rate" = 0.1'
    estimate.estimate(suite_of(tmp_path, text), effort_in(tmp_path))
    assert len(counted) == 1
    text += block % '"train.batch_size" = 8' + block % '"model.hidden" = 3'
    estimate.estimate(suite_of(tmp_path, text), effort_in(tmp_path))
    assert len(counted) == 1 + 3


def test_a_search_is_in_the_estimate(tmp_path, counted):
    """Trials at the first seed; the run of that seed goes on from one, others train themselves."""
    text = SUITE.replace("[[", 'search = { "train.learning_rate" = [1e-3, 1e-2] }\n[[', 1)
    found, _ = estimate.estimate(suite_of(tmp_path, text), effort_in(tmp_path))
    assert len(counted) == 1
    assert [item.work.trial for item in found.items] == [True, True, False, False]
    assert [item.trained for item in found.items] == [False, False, True, False]
    trial, _, first, second = found.items
    assert trial.seconds < second.seconds
    assert first.seconds < second.seconds
    assert found.seconds == trial.seconds + second.seconds, "two at once, trials before runs"


def test_memory_is_that_of_the_runs_at_once(tmp_path, counted):
    """The largest that may meet."""
    found, _ = estimate.estimate(suite_of(tmp_path), effort_in(tmp_path))
    sizes = [3, 9, 5, 7]
    items = tuple(
        dataclasses.replace(found.items[0], measured=dataclasses.replace(MEASURED, peak_bytes=size))
        for size in sizes
    )
    assert dataclasses.replace(found, items=items).peak_bytes == 9 + 7
    assert len(counted) == 1


def test_what_a_suite_cannot_name(tmp_path):
    """An unknown model stops the estimate as it stops the suite."""
    suite = suite_of(tmp_path, SUITE.replace("tiny-mlp:small", "tiny-mpl"))
    with pytest.raises(UnknownNameError, match="did you mean 'tiny-mlp'"):
        estimate.estimate(suite, effort_in(tmp_path))


def command(tmp_path, capsys, monkeypatch, *arguments, columns=200):
    """Exit code and output of a dry run in an empty directory."""
    monkeypatch.setenv("COLUMNS", str(columns))
    suite = tmp_path / "tiny.toml"
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(SystemExit) as stop:
        cli.main(["leaderboard", str(suite), "--dry-run", *arguments])
    captured = capsys.readouterr()
    assert not list((tmp_path / "here").iterdir()), "something was written"
    return stop.value.code or 0, captured.out, captured.err


def test_the_command_lists_and_estimates(tmp_path, capsys, monkeypatch):
    """A row with epochs, steps and seeds; that it is an estimate; no file."""
    suite_of(tmp_path)
    code, out, _ = command(tmp_path, capsys, monkeypatch, "--jobs", "2")
    assert code == 0
    row = next(line for line in out.splitlines() if "tiny-mlp:small" in line)
    for cell in ("tiny-sum (length=16)", "custom, 3 epochs", " 24 ", " 0 1 to do", "MB"):
        assert cell in row
    assert "2 of 2 runs to do: about" in out
    assert "This is an estimate" in out


def test_the_command_fits_a_terminal(tmp_path, capsys, monkeypatch):
    """A trial says what it tries and no more; cells are not folded into columns of letters."""
    tried = 'search = { "train.learning_rate" = [1e-3, 1e-2] }\nseeds = [0, 1, 2]'
    suite_of(tmp_path, SUITE.replace("seeds = [0, 1]", tried))
    code, out, _ = command(tmp_path, capsys, monkeypatch, "--jobs", "2", columns=80)
    assert code == 0
    table = out.partition("5 of 5 runs to do")[0].splitlines()
    assert len(table) < 15
    assert max(len(line.rstrip()) for line in table) <= 80
    assert "epochs=3" not in out
    assert "0-2 to do" in out


def test_the_command_names_a_broken_plugin(tmp_path, capsys, monkeypatch, install_plugin):
    """As the suite would: the rest is estimated, the exit code is 2."""
    install_plugin(
        "bad-dist", "bad_dry_plugin", "1 / 0", "[seqbench.models]\nbad = bad_dry_plugin:B\n"
    )
    suite_of(tmp_path, SUITE.replace('"tiny-mlp:small"', '"tiny-mlp:small", "bad"'))
    code, out, err = command(tmp_path, capsys, monkeypatch)
    assert code == 2
    assert "bad-dist" in err
    assert "tiny-mlp:small" in out
