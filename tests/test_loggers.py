"""Trackers are told of runs, from inside and outside of this process, and never get in the way."""

from __future__ import annotations

import importlib.util
import json

import pytest
from rich.console import Console

from seqbench import cli, loggers
from seqbench.errors import ConfigError, UnknownNameError
from seqbench.execute import Effort
from seqbench.report import Counter
from seqbench.resolve import resolve
from seqbench.result import Status
from seqbench.runner import Place, run, run_trial
from seqbench.sitting import log_path
from seqbench.spec import Request
from seqbench.work import Work


def plan_of(epochs=3, seed=0):
    """A short run of the tiny task."""
    return resolve(Request("tiny-sum", "tiny-mlp", settings={"train.epochs": epochs}, seed=seed))


def scalars(directory, result):
    """What TensorBoard shows of a run: (step, value) by name."""
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = directory / "tensorboard" / "tiny-sum" / result.path.stem
    found = reading.EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def agrees(told, result):
    """Whether a tracker was told every epoch once, in order, and the final scores."""
    for name in ("epoch", "learning_rate", "train_loss", "val_loss", "val_score"):
        curve = [(point.steps, getattr(point, name)) for point in result.curve]
        assert told[name] == [(step, pytest.approx(value)) for step, value in curve], name
    assert all(speed > 0 for _, speed in told["examples_per_second"])
    assert [value for _, value in told["test_score"]] == [pytest.approx(result.test.mean)]
    assert [value for _, value in told["chosen_epoch"]] == [result.chosen_epoch]


class Stops:
    """A watcher that stops a run after so many epochs."""

    def __init__(self, after):
        self.after = after

    def resumed(self, curve):
        pass

    def step(self, done, total):
        pass

    def epoch(self, point):
        if point.epoch == self.after:
            raise KeyboardInterrupt


def interrupted(plan, place, after=2):
    """Do a run in two sittings; the first ends before the tracker is told of its last epoch."""
    with pytest.raises(KeyboardInterrupt):
        run(plan, place, Stops(after))
    return run(plan, place)


def test_tensorboard(tmp_path):
    """Every epoch and the final scores, with the spec; the run is the same as without."""
    place = Place(tmp_path, loggers=("tensorboard",))
    result = run(plan_of(), place)
    agrees(scalars(tmp_path, result), result)
    folder = tmp_path / "tensorboard" / "tiny-sum" / result.path.stem
    hyperparameters = (folder / "hparams.yaml").read_text()
    assert f"run: {result.id}" in hyperparameters
    assert "batch_size" in hyperparameters
    alone = run(plan_of(), Place(tmp_path / "alone"))
    assert (alone.id, alone.test_scores) == (result.id, result.test_scores)
    assert "tensorboard" not in json.dumps(result.model_dump(mode="json", exclude={"provenance"}))


@pytest.mark.parametrize("after", [1, 2])
def test_a_resumed_run_goes_on_with_its_log(tmp_path, after):
    """No epoch is there twice, and none is missing that was not told before the interruption."""
    place = Place(tmp_path, loggers=("tensorboard",))
    result = interrupted(plan_of(), place, after)
    agrees(scalars(tmp_path, result), result)


def test_a_trial_and_the_run_that_continues_it_are_one_log(tmp_path):
    """And the test scores come with the run."""
    place = Place(tmp_path, loggers=("tensorboard",))
    trial = run_trial(plan_of(), place)
    assert "test_score" not in scalars(tmp_path, trial)
    result = run(plan_of(), place)
    agrees(scalars(tmp_path, result), result)


def test_the_processes_of_the_executor_tell_too(tmp_path):
    """As what is asked travels with the place."""
    place = Place(tmp_path, loggers=("tensorboard",))
    works = [Work(plan_of(seed=seed)) for seed in range(2)]
    assert not Effort(place, 2, Counter(Console(quiet=True))).execute(works)
    for work in works:
        result = work.result(place)
        assert result.status is Status.OK
        agrees(scalars(tmp_path, result), result)


def test_a_missing_package_is_said_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    """With the extra to install, once, for one run and for a suite; an unknown name likewise."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        loggers.importlib.util, "find_spec", lambda name: None if name == "wandb" else find(name)
    )
    with pytest.raises(ConfigError, match=r'pip install "\.\[wandb\]"'):
        run(plan_of(), Place(tmp_path / "run", loggers=("wandb",)))
    with pytest.raises(UnknownNameError, match="did you mean 'wandb'"):
        run(plan_of(), Place(tmp_path / "run", loggers=("wanbd",)))
    assert not (tmp_path / "run").exists()
    words = ["leaderboard", "quick", "--logger", "wandb", "--output-dir", str(tmp_path / "suite")]
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("needs the package wandb") == 1
    assert not (tmp_path / "suite" / "checkpoints").exists()


@pytest.mark.parametrize("when", ["_begin", "epoch", "end"])
def test_a_tracker_that_fails_does_not_lose_the_run(tmp_path, monkeypatch, when):
    """It is said once, in the run's log too, and the outcome is that of a run without."""

    class Failing:
        """A tracker whose network is gone from some moment on."""

        def __init__(self, _spec, _directory):
            self.logger = self
            if when == "_begin":
                self.fail()

        def fail(self, *_, **__):
            raise ConnectionError("no network")

        def log_hyperparams(self, _spec):
            pass

        def last_epoch(self):
            return 0

        def log_metrics(self, _numbers, step):
            if when == "epoch" and step > 10:
                self.fail()

        def save(self):
            pass

        end = fail

        def close(self):
            pass

    monkeypatch.setitem(loggers._TRACKERS, "wandb", ("json", Failing))
    with pytest.warns(UserWarning, match="logger wandb failed .ConnectionError: no net") as said:
        result = run(plan_of(), Place(tmp_path, loggers=("wandb",)))
    assert len(said) == 1
    assert result.test_scores == run(plan_of(), Place(tmp_path / "alone")).test_scores
    events = [json.loads(line) for line in log_path(tmp_path, result.id).read_text().splitlines()]
    assert [event["logger"] for event in events if event["event"] == "untracked"] == ["wandb"]


@pytest.mark.filterwarnings("default")  # it uses deprecated parts of SQLAlchemy
def test_mlflow(tmp_path, monkeypatch):
    """One run of MLflow for a run, found again when it is continued."""
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = interrupted(plan_of(), Place(tmp_path, loggers=("mlflow",)))
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("seqbench")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.params["run"] == result.id
    assert found.data.params["train/epochs"] == "3"
    told = {
        name: [
            (each.step, each.value) for each in client.get_metric_history(found.info.run_id, name)
        ]
        for name in found.data.metrics
    }
    agrees(told, result)


def test_wandb_offline(tmp_path, monkeypatch):
    """A folder to be synchronised for each sitting, under the id of the run."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    result = interrupted(plan_of(), Place(tmp_path, loggers=("wandb",)))
    folders = list(tmp_path.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    for folder in folders:
        assert folder.name.endswith(f"-{result.id}")
        assert (folder / f"run-{result.id}.wandb").stat().st_size > 0
