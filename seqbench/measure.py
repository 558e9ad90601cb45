"""What a few real training steps of a run take, each measured in a process of its own."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from statistics import fmean

import torch

from seqbench.cost import measure_inference, wait_for
from seqbench.executors.local import devices_of, die_with_parent
from seqbench.flops import count_flops
from seqbench.resolve import Plan
from seqbench.result import Epoch
from seqbench.runner import Bench, Place, describe, prepare
from seqbench.task import Split
from seqbench.train import autocast, fit
from seqbench.work import modules_of

_WARM_UP_STEPS = 3
_FEWEST_STEPS, _MOST_STEPS = 5, 50
_BUDGET_SECONDS = 3.0
_BATCHES = 3


@dataclass(frozen=True)
class Measured:
    """Seconds of the parts of a run, and its sizes.

    ``ready_seconds`` go by before the first step: data, network, trainer, what is slow only once.
    ``step_seconds`` is the mean of ``steps`` training steps after a warm-up, ``batch_seconds`` of
    evaluating one batch of validation, ``closing_seconds`` of measuring what the network costs.
    """

    ready_seconds: float
    step_seconds: float
    steps: int
    batch_seconds: float
    closing_seconds: float
    train_examples: int
    val_examples: int
    peak_bytes: int | None


class _EnoughError(Exception):
    """Ends a training that has been measured."""


class _Stopwatch:
    """Watches a training and ends it after a few steps; ``seconds`` are from step to step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.first = 0.0
        self.seconds: list[float] = []
        self._last: float | None = None

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Never happen: what is measured has no checkpoint."""

    def step(self, done: int, total: int) -> None:  # noqa: ARG002  (the protocol)
        """Take the time since the step before, and end the training if that is enough."""
        wait_for(self.device)
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self.first = self.first or now
        self._last = now
        warm = self.seconds[_WARM_UP_STEPS:]
        if len(warm) >= _MOST_STEPS or (len(warm) >= _FEWEST_STEPS and sum(warm) > _BUDGET_SECONDS):
            raise _EnoughError

    def epoch(self, point: Epoch) -> None:  # noqa: ARG002  (the protocol)
        """Count no validation as part of a step."""
        self._last = None


def measure(plan: Plan, place: Place) -> Measured:
    """Begin a run on its real data with its real network, and time its parts; leaves no file.

    Raises:
        SeqbenchError: the run cannot be done as asked.

    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = prepare(plan, replace(place, output_dir=Path(folder)))
        watch = _Stopwatch(bench.device)
        if plan.spec.train is not None:
            with contextlib.suppress(_EnoughError):
                fit(bench.network, bench.task, bench.data, bench.job, watch)
        watch.first = watch.first or time.perf_counter()
    warm_up, warm = watch.seconds[:_WARM_UP_STEPS], watch.seconds[_WARM_UP_STEPS:]
    # of a training of one step, the whole of it
    step_seconds = fmean(warm or warm_up or [time.perf_counter() - watch.first])
    return Measured(
        ready_seconds=watch.first - started + sum(warm_up) - len(warm_up) * step_seconds,
        step_seconds=step_seconds,
        steps=len(warm),
        batch_seconds=_batch_seconds(bench),
        closing_seconds=_closing_seconds(bench),
        train_examples=len(bench.data.train),
        val_examples=len(bench.data.val),
        peak_bytes=bench.memory.peak_bytes(),
    )


def _batch_seconds(bench: Bench) -> float:
    """Of one batch of validation, the mean of a few after the first."""
    val, size = bench.data.val, bench.batch_size
    batch = Split(val.x[:size], val.y[:size], val.source)
    bench.evaluate(batch)
    started = time.perf_counter()
    for _ in range(_BATCHES):
        bench.evaluate(batch)
    return (time.perf_counter() - started) / _BATCHES


def _closing_seconds(bench: Bench) -> float:
    """Of what a run measures of its network in the end."""
    started = time.perf_counter()
    x = bench.task.encode(bench.data.val.x[: bench.batch_size])
    with autocast(bench.device, bench.precision):
        measure_inference(bench.network, x)
        count_flops(bench.network, x[:1])
    return time.perf_counter() - started


def measure_all(plans: Sequence[Plan], place: Place, jobs: int) -> Iterator[Measured | str]:
    """Measure each plan in a process of its own, ``jobs`` at once and spread as the runs will be.

    Gives in order what was measured, or in a few words why it could not be: an exception, or the
    end of a process that ran out of memory, stops no other.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *modules_of(plans)])
    places = [replace(place, device=device) for device in devices_of(place.device)]
    for first in range(0, len(plans), jobs):
        now = zip(plans[first : first + jobs], itertools.cycle(places), strict=False)
        children = [_Child(context, plan, its_place) for plan, its_place in now]
        try:
            yield from [child.outcome() for child in children]
        finally:
            for child in children:
                child.process.terminate()
                child.process.join()


class _Child:
    """A process that measures one plan."""

    def __init__(self, context: ForkServerContext, plan: Plan, place: Place) -> None:
        self._receiver, sender = context.Pipe(duplex=False)
        self.process = context.Process(target=_report, args=(plan, place, sender), daemon=True)
        self.process.start()
        sender.close()

    def outcome(self) -> Measured | str:
        """Wait for what it has to say."""
        try:
            told: Measured | str = self._receiver.recv()
        except EOFError:
            self.process.join()
            if self.process.exitcode == -signal.SIGKILL:
                return "the process was killed (SIGKILL), probably out of memory"
            return f"the process ended with exit code {self.process.exitcode}"
        return told


def _report(plan: Plan, place: Place, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children itself
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=die_with_parent, daemon=True).start()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        sender.send(measure(plan, place))
    except Exception as error:  # whatever a plugin raises costs only its own line
        sender.send(describe(error))
