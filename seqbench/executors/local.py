"""Runs on this machine: a process a run, forked from a server that has torch imported already."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from rich.console import Console

from seqbench import registry
from seqbench.errors import SeqbenchError
from seqbench.progress import Lines
from seqbench.resolve import Plan
from seqbench.result import Result, Status
from seqbench.run import Place, existing, record_failure, run, run_trial


@dataclass(frozen=True)
class Work:
    """One run to be done: in full, or as a trial of a search (which sees no test data)."""

    plan: Plan
    trial: bool = False

    def results_in(self, place: Place) -> Place:
        """Where its Result goes: trials are kept apart."""
        if not self.trial:
            return place
        return dataclasses.replace(place, output_dir=place.output_dir / "trials")


@dataclass(frozen=True)
class Running:
    """A run in a process of its own."""

    work: Work
    process: BaseProcess
    started: float


def execute(works: Sequence[Work], place: Place, jobs: int, done: Callable[[Result], None]) -> None:
    """Do all runs, at most ``jobs`` at once; call ``done`` with each Result as it arrives.

    A run that raises or whose process dies leaves a Result with status ``failed`` (or ``oom``);
    the others go on. What a run prints goes to ``checkpoints/ID/run.log``. When this process is
    interrupted all runs stop; they continue from their checkpoints next time.

    Raises:
        SeqbenchError: a Result cannot be written or read.

    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_modules(works)])
    waiting = list(reversed(works))
    running: dict[int, Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                work = waiting.pop()
                process = context.Process(target=_child, args=(work, place), daemon=True)
                process.start()
                running[process.sentinel] = Running(work, process, time.monotonic())
            for sentinel in wait(list(running)):
                if isinstance(sentinel, int):
                    done(_outcome(running.pop(sentinel), place))
    finally:
        for item in running.values():
            item.process.terminate()
            item.process.join()


def _modules(works: Iterable[Work]) -> list[str]:
    """The modules of all tasks and models, for the server to import once."""
    specs = [work.plan.spec for work in works]
    entries = [registry.entries(registry.TASKS)[spec.task.name] for spec in specs]
    entries += [registry.entries(registry.MODELS)[spec.model.name] for spec in specs]
    return sorted({entry.value.partition(":")[0] for entry in entries})


def _outcome(item: Running, place: Place) -> Result:
    item.process.join()
    target = item.work.results_in(place)
    result = existing(item.work.plan.spec, target.output_dir)
    if result is not None:
        return result
    code = item.process.exitcode
    status = Status.OOM if code == -signal.SIGKILL else Status.FAILED
    error = f"the process ended with exit code {code} and left no result"
    return record_failure(item.work.plan, target, status, error, time.monotonic() - item.started)


def _child(work: Work, place: Place) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its runs itself
    _log_to(place, work)
    started = time.monotonic()
    do = run_trial if work.trial else run
    try:
        do(work.plan, place, Lines(Console(file=sys.stdout, width=120)))
    except (MemoryError, torch.OutOfMemoryError) as error:
        _failed(work, place, Status.OOM, error, started)
    except Exception as error:  # whatever a plugin raises must not lose the other runs
        _failed(work, place, Status.FAILED, error, started)


def _failed(work: Work, place: Place, status: Status, error: BaseException, started: float) -> None:
    traceback.print_exc()  # goes to run.log
    target = work.results_in(place)
    record_failure(work.plan, target, status, describe(error), time.monotonic() - started)


def describe(error: BaseException) -> str:
    """An error in a few lines: type, message, and the place it was raised at."""
    if isinstance(error, SeqbenchError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}:{frame.lineno}, in {frame.name}"
    return f"{type(error).__name__}: {error} ({place})"


def _log_to(place: Place, work: Work) -> None:
    folder = place.output_dir / "checkpoints" / work.plan.spec.id
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
