"""What the command line does, as functions: for notebooks and scripts."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from seqbench.errors import ConfigError, ResultError, SeqbenchError
from seqbench.result import Result, read_results
from seqbench.suite import Suite, load_suite, suite_names

if TYPE_CHECKING:
    import pandas as pd

    from seqbench.runner import Place

_TEXT = ("seeds", "statuses", "runs", "row_id", "below_row_id", "group", "data_label")
"""Columns that pandas must not take for numbers."""


def run(  # noqa: PLR0913  (what the command's options say)
    task: str,
    model: str | None = None,
    *,
    from_file: str | Path | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    settings: Mapping[str, Any] | None = None,
    task_settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    parent: Result | None = None,
    trained: bool = True,
    output_dir: str | Path = "runs",
    data_dir: str | Path | None = None,
    device: str = "cpu",
    threads: int = 1,
    loggers: Sequence[str] = (),
) -> Result:
    """Train and test one model on one task, as ``seqbench run``; the same call again continues it.

    Args:
        task: ``TASK`` or ``TASK:PRESET``.
        model: ``MODEL`` or ``MODEL:PRESET``; or else ``from_file`` is given.
        from_file: a model in a file: ``FILE.py``, ``FILE.py:CLASS`` or ``FILE.py:CLASS:PRESET``.
        epochs: the same as ``train.epochs`` in ``settings``.
        max_steps: the same as ``train.max_steps`` in ``settings``.
        settings: by path, as ``{"train.learning_rate": 1e-3, "model.hidden": 64}``.
        task_settings: fields of the task's config.
        seed: decides initialisation, order and dropout; 0, or the parent's.
        parent: the Result of a run of the same model, whose weights this one starts from. It is
            trained further, as the parent was but for what is set; the parent is run before if its
            weights are not in the output directory.
        trained: false to test the parent's weights as they are.
        output_dir: where results and checkpoints go.
        data_dir: where data sets lie or are downloaded to.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        threads: torch's within an operator, for this process.
        loggers: trackers that are told of every epoch: ``tensorboard``, ``wandb``, ``mlflow``.

    Raises:
        SeqbenchError: the run cannot be done as asked; no Result is written.

    """
    from seqbench.from_file import model_named
    from seqbench.progress import shown
    from seqbench.resolve import resolve, resolve_from
    from seqbench.runner import Place
    from seqbench.runner import run as run_plan
    from seqbench.spec import Request

    short = {"train.epochs": epochs, "train.max_steps": max_steps}
    paths = dict(settings or {})
    for path, value in short.items():
        if value is None:
            continue
        if path in paths:
            raise ConfigError(f"{path} is set twice: to {paths[path]!r} and to {value!r}")
        paths[path] = value
    name = model_named(model, None if from_file is None else str(from_file))
    if parent is None and not trained:
        raise ConfigError("trained is false, but there is no parent with weights to test")
    request = Request(task, name, task_settings or {}, paths, seed or 0, trained=trained)
    plan = resolve(request) if parent is None else resolve_from(request, parent, seed)
    place = Place(Path(output_dir), _path(data_dir), device, threads, tuple(loggers))
    with shown(Console()) as progress:
        return run_plan(plan, place, progress)


def leaderboard(  # noqa: PLR0913  (what the command's options say)
    of: str | Path | Iterable[Result],
    *,
    output_dir: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    jobs: int | None = None,
    loggers: Sequence[str] = (),
) -> pd.DataFrame:
    """The rows of a leaderboard, one a model and board, in their order: ``leaderboard.csv``.

    Of a suite (its name or a ``.toml`` file) all runs that have no result yet are done first, in
    processes of their own: a script calls this under ``if __name__ == "__main__":``. The other
    arguments are for a suite and mean the same as the options of ``seqbench leaderboard``.

    Args:
        of: a suite, a directory with results, or results.
        output_dir: where the results of a suite go; ``runs/SUITE`` by default.
        data_dir: where data sets lie or are downloaded to.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        jobs: runs at once; as cores allow by default, one on each GPU.
        loggers: trackers that are told of every epoch: ``tensorboard``, ``wandb``, ``mlflow``.

    Raises:
        ResultError: there is no result that can be read. Of those that cannot, and of runs that
            could not be done, a warning tells.
        SeqbenchError: the suite cannot be run as asked.

    """
    if isinstance(of, str) and (of in suite_names() or of.endswith(".toml")):
        from seqbench.runner import Place

        suite = load_suite(of)
        directory = _path(output_dir) or Path("runs", suite.name)
        place = Place(directory, _path(data_dir), device, suite.threads, tuple(loggers))
        _run_suite(suite, place, jobs)
        return _frame(_results_below(directory))
    if isinstance(of, str | Path):
        return _frame(_results_below(Path(of)))
    return _frame(list(of))


def _run_suite(suite: Suite, place: Place, jobs: int | None) -> None:
    from seqbench.execute import Effort, jobs_at_once, run_suite
    from seqbench.report import Counter

    effort = Effort(place, jobs_at_once(jobs, place), Counter(Console()))
    _warn(run_suite(suite, effort))


def _results_below(directory: Path) -> list[Result]:
    results, unreadable = read_results(directory)
    if not results and unreadable:
        raise unreadable[0]
    if not results:
        raise ResultError(
            f"there are no results below {directory}",
            "expected results/TASK/*.json in it, or the name of a suite: "
            + ", ".join(suite_names()),
        )
    _warn(unreadable)
    return results


def _warn(errors: Iterable[SeqbenchError]) -> None:
    for error in errors:
        warnings.warn(str(error), stacklevel=4)


def _frame(results: Sequence[Result]) -> pd.DataFrame:
    import pandas as pd

    from seqbench.boards import load_published, rank, render_csv

    if not results:
        raise ResultError("there are no results to rank")
    text = render_csv(rank(results, load_published()))
    types = dict.fromkeys(_TEXT, "string")
    return pd.read_csv(io.StringIO(text), dtype=types, keep_default_na=False, na_values=["", "n/a"])


def _path(path: str | Path | None) -> Path | None:
    return None if path is None else Path(path)
