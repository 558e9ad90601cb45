"""Runs on this machine: a process a run, forked from a server that has torch imported already."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import torch
from rich.console import Console

from seqbench import registry
from seqbench.errors import ConfigError, DataError, OutputError, ResultError, SeqbenchError
from seqbench.progress import Lines
from seqbench.resolve import Plan
from seqbench.result import Result, Status
from seqbench.runner import Place, existing, record_failure, run, run_trial


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
    refusal: Connection
    started: float


def execute(
    works: Sequence[Work], place: Place, jobs: int, done: Callable[[Result], None]
) -> list[SeqbenchError]:
    """Do all runs, at most ``jobs`` at once; call ``done`` with each Result as it arrives.

    A run whose model fails, or whose process dies, leaves a Result with status ``failed`` (or
    ``oom``); the others go on. A run that cannot be done here (no data, a damaged checkpoint)
    leaves none: the errors of such runs are given back, each once. What a run prints goes to
    ``checkpoints/ID/run.log``. When this process is interrupted all runs stop; they continue
    from their checkpoints next time.

    Raises:
        SeqbenchError: a Result cannot be written or read.

    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *modules_of(work.plan for work in works)])
    waiting = list(reversed(works))
    running: dict[int, Running] = {}
    refusals: dict[str, SeqbenchError] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                started = _start(context, waiting.pop(), place)
                running[started.process.sentinel] = started
            for sentinel in wait(list(running)):
                outcome = _outcome(running.pop(cast("int", sentinel)), place)
                if isinstance(outcome, Result):
                    done(outcome)
                else:
                    refusals[str(outcome)] = outcome
    finally:
        for item in running.values():
            item.process.terminate()
            item.process.join()
    return list(refusals.values())


def _start(context: ForkServerContext, work: Work, place: Place) -> Running:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(work, place, sender), daemon=True)
    process.start()
    sender.close()
    return Running(work, process, receiver, time.monotonic())


def modules_of(plans: Iterable[Plan]) -> list[str]:
    """The modules of all tasks and models, for a fork server to import once."""
    specs = [plan.spec for plan in plans]
    entries = [registry.entries(registry.TASKS)[spec.task.name] for spec in specs]
    entries += [registry.entries(registry.MODELS)[spec.model.name] for spec in specs]
    return sorted({entry.value.partition(":")[0] for entry in entries})


def _outcome(item: Running, place: Place) -> Result | SeqbenchError:
    item.process.join()
    target = item.work.results_in(place)
    result = existing(item.work.plan.spec, target.output_dir)
    if result is not None:
        return result
    try:
        return SeqbenchError(*item.refusal.recv())
    except EOFError:
        pass  # the process died without a word
    code = item.process.exitcode
    if code == -signal.SIGKILL:
        status, error = Status.OOM, "the process was killed (SIGKILL), probably out of memory"
    else:
        status = Status.FAILED
        error = f"the process ended with exit code {code} and left no result"
    return record_failure(item.work.plan, target, status, error, time.monotonic() - item.started)


def _child(work: Work, place: Place, refuse: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its runs itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=die_with_parent, daemon=True).start()
    _log_to(place, work)
    started = time.monotonic()
    do = run_trial if work.trial else run
    try:
        do(work.plan, place, Lines(Console(file=sys.stdout, width=120)))
    except (MemoryError, torch.OutOfMemoryError) as error:
        _failed(work, place, Status.OOM, error, started)
    except (ConfigError, DataError, OutputError, ResultError) as error:
        traceback.print_exc()
        refuse.send((error.message, error.hint))
    except Exception as error:  # whatever a plugin raises must not lose the other runs
        _failed(work, place, Status.FAILED, error, started)


def die_with_parent() -> None:
    """Leave no run behind that nobody waits for, however the parent ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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
