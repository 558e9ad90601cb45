"""Experiment trackers: TensorBoard, W&B and MLflow are told of a run, by Lightning's loggers.

Nothing that they do feeds back, and nothing of them is part of a spec. A tracker that fails is left
alone from then on, with a warning, and the run goes on. Lightning is imported only if one is asked.
"""

from __future__ import annotations

import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from seqbench.errors import ConfigError, UnknownNameError
from seqbench.result import Epoch, Result, Status, result_path
from seqbench.spec import RunSpec

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

_PROJECT = "seqbench"
_CLOSE_SECONDS = 60.0


class Tracker(Protocol):
    """One tracker's log of a run, which goes on where an earlier sitting of the run left it."""

    @property
    def logger(self) -> Logger:
        """What it is told by."""

    def last_epoch(self) -> int:
        """The last epoch that the log has."""

    def end(self, scores: dict[str, float], *, good: bool) -> None:
        """Tell how the run ended."""

    def close(self) -> None:
        """Leave the log so that a later sitting may go on with it."""


class _TensorBoard:
    """Event files in ``DIR/tensorboard/TASK/RUN``."""

    def __init__(self, spec: RunSpec, directory: Path) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger

        self._spec = spec
        self.logger = TensorBoardLogger(
            directory / "tensorboard", spec.task.name, _name(spec), default_hp_metric=False
        )

    def last_epoch(self) -> int:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        if not Path(self.logger.log_dir).exists():
            return 0
        found = EventAccumulator(self.logger.log_dir).Reload()
        if "epoch" not in found.Tags()["scalars"]:
            return 0
        return max(int(event.value) for event in found.Scalars("epoch"))

    def end(self, scores: dict[str, float], *, good: bool) -> None:  # noqa: ARG002
        # its table of hyperparameters needs the scores beside them
        self.logger.log_hyperparams(_hyperparameters(self._spec), scores)

    def close(self) -> None:
        self.logger.finalize("success")


class _WandB:
    """A run of W&B with the id of ours; the project is ``WANDB_PROJECT``, or seqbench."""

    def __init__(self, spec: RunSpec, directory: Path) -> None:
        from lightning.pytorch.loggers import WandbLogger

        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        self.logger = WandbLogger(_name(spec), directory, id=spec.id, project=project)
        self._exit_code = 0

    def last_epoch(self) -> int:
        return int(self.logger.experiment.summary.get("epoch") or 0)  # offline it knows of none

    def end(self, scores: dict[str, float], *, good: bool) -> None:
        self.logger.log_metrics(scores)
        self._exit_code = 0 if good else 1

    def close(self) -> None:
        finish = self.logger.experiment.finish
        # without a network it waits for one
        thread = threading.Thread(target=finish, args=(self._exit_code,), daemon=True)
        thread.start()
        thread.join(_CLOSE_SECONDS)
        if thread.is_alive():
            raise TimeoutError(f"not all was sent within {_CLOSE_SECONDS:.0f} s")


class _MLflow:
    """A run of MLflow, found again by its tag ``seqbench.run``.

    The server is ``MLFLOW_TRACKING_URI``, or a database in the output directory, ``mlflow.db``; the
    experiment is ``MLFLOW_EXPERIMENT_NAME``, or seqbench.
    """

    def __init__(self, spec: RunSpec, directory: Path) -> None:
        from lightning.pytorch.loggers import MLFlowLogger
        from mlflow import MlflowClient

        server = os.environ.get("MLFLOW_TRACKING_URI")
        server = server or f"sqlite:///{directory.resolve() / 'mlflow.db'}"
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        client = MlflowClient(server)
        experiment = _mlflow_experiment(client, name)
        runs = client.search_runs([experiment], f"tags.`seqbench.run` = '{spec.id}'")
        self._client = client
        self._status: str | None = None
        self.logger = MLFlowLogger(
            name,
            _name(spec),
            server,
            {"seqbench.run": spec.id},
            run_id=runs[0].info.run_id if runs else None,
        )

    def last_epoch(self) -> int:
        run = self._client.get_run(self.logger.run_id)
        return int(run.data.metrics.get("epoch", 0))

    def end(self, scores: dict[str, float], *, good: bool) -> None:
        self.logger.log_metrics(scores)
        self._status = "success" if good else "failed"

    def close(self) -> None:
        if self._status:
            self.logger.finalize(self._status)


def _mlflow_experiment(client: Any, name: str) -> str:
    """The id of an experiment, which several runs may be making at once."""
    from mlflow.exceptions import MlflowException

    if (found := client.get_experiment_by_name(name)) is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return str(found.experiment_id)


_TRACKERS: dict[str, tuple[str, Callable[[RunSpec, Path], Tracker]]] = {
    "tensorboard": ("tensorboard", _TensorBoard),
    "wandb": ("wandb", _WandB),
    "mlflow": ("mlflow", _MLflow),
}
"""Each by its name, which is that of its extra too: the package it needs, and what makes it."""


def check_loggers(names: Iterable[str]) -> None:
    """Make sure that there are such trackers, and that their packages are installed.

    Raises:
        ConfigError: a package is missing.
        UnknownNameError: there is no such tracker.

    """
    for name in names:
        if name not in _TRACKERS:
            raise UnknownNameError("logger", name, _TRACKERS)
        package, _ = _TRACKERS[name]
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"the logger {name} needs the package {package}, which is not installed",
                f'pip install ".[{name}]" in a checkout of seqbench, or {package} by itself',
            )


class Logs:
    """What trackers are told of one run, a watcher of its training.

    An epoch that a tracker has from an earlier sitting is not told it again, and one that it has
    missed is told it late.
    """

    def __init__(
        self, names: Sequence[str], spec: RunSpec, directory: Path, log: Callable[..., None]
    ) -> None:
        self._names = names
        self._spec = spec
        self._directory = directory
        self._log = log
        self._open: dict[str, Tracker] = {}
        self._last: dict[str, int] = {}
        self._steps = 0

    def begin(self) -> None:
        """The run is ready to be done."""
        for name in self._names:
            self._try(name, self._begin)

    def _begin(self, name: str) -> None:
        tracker = _TRACKERS[name][1](self._spec, self._directory)
        self._open[name] = tracker
        tracker.logger.log_hyperparams(_hyperparameters(self._spec))
        self._last[name] = tracker.last_epoch()

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Training goes on after these epochs."""
        for point in curve:
            self.epoch(point)

    def step(self, done: int, total: int) -> None:
        """Say nothing: an epoch is soon enough."""

    def epoch(self, point: Epoch) -> None:
        """An epoch has ended."""
        steps, self._steps = point.steps - self._steps, point.steps
        numbers = _numbers(point, steps, self._spec)

        def tell(name: str) -> None:
            if point.epoch > self._last[name]:
                self._last[name] = point.epoch
                self._open[name].logger.log_metrics(numbers, point.steps)
                self._open[name].logger.save()  # so that a kill takes nothing

        self._each(tell)

    def end(self, result: Result) -> None:
        """The run has a Result; after a trial it goes on."""
        self._steps = 0
        self.resumed(result.curve)  # of one that diverged the last epoch is new
        if result.status is not Status.TRIAL:
            good = result.status in {Status.OK, Status.EVALUATED}
            scores = _scores(result)
            self._each(lambda name: self._open[name].end(scores, good=good))

    def close(self) -> None:
        """Leave the trackers, however the run ended."""
        self._each(lambda name: self._open[name].close())
        self._open.clear()

    def _each(self, tell: Callable[[str], None]) -> None:
        for name in list(self._open):
            self._try(name, tell)

    def _try(self, name: str, tell: Callable[[str], None]) -> None:
        try:
            tell(name)
        except Exception as error:  # each tracker has its own, and none is worth a run
            self._open.pop(name, None)
            reason = f"{type(error).__name__}: {error}"
            self._log("untracked", logger=name, reason=reason)
            warnings.warn(
                f"the logger {name} failed ({reason}); the run goes on without it", stacklevel=2
            )


def _name(spec: RunSpec) -> str:
    return result_path(spec).stem


def _hyperparameters(spec: RunSpec) -> dict[str, Any]:
    return {"run": spec.id, **spec.model_dump(mode="json")}


def _numbers(point: Epoch, steps: int, spec: RunSpec) -> dict[str, float]:
    """All of an epoch, of so many steps, that is finite."""
    batch_size = spec.train.batch_size if spec.train else 0
    numbers: dict[str, float | None] = {
        "epoch": point.epoch,
        "learning_rate": point.learning_rate,
        "train_loss": point.train_loss,
        "val_loss": point.val_loss,
        "val_score": point.val_score,
        "train_seconds": point.train_seconds,
        "examples_per_second": steps * batch_size / max(point.train_seconds, 1e-9),
    }
    for name, values in (point.learned or {}).items():
        numbers |= {f"learned/{name}/{index}": value for index, value in enumerate(values)}
    return {name: value for name, value in numbers.items() if value is not None}


def _scores(result: Result) -> dict[str, float]:
    """The numbers of a Result that stand for the run."""
    cost = result.cost
    numbers: dict[str, float | None] = {
        "test_score": result.test.mean if result.test else None,
        "test_standard_error": result.test.standard_error if result.test else None,
        "test_loss": result.test_loss,
        "chosen_epoch": result.chosen_epoch,
        "chosen_val_score": result.val.mean if result.val else None,
        "parameters": cost.parameters if cost else None,
        "total_train_seconds": cost.train_seconds if cost else None,
    }
    return {name: float(value) for name, value in numbers.items() if value is not None}
