"""How long work is shown: a live bar on a terminal, few quiet lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from seqbench.result import Epoch

_REFRESH_SECONDS = 0.2

T = TypeVar("T")


class Lines:
    """One line an epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Say where training goes on."""
        self._console.print(describe_resumption(curve), highlight=False)

    def step(self, done: int, total: int) -> None:
        """Say nothing."""

    def epoch(self, point: Epoch) -> None:
        """Say how the epoch went."""
        self._console.print(describe(point), highlight=False)


class Bar:
    """A bar over all optimiser steps, below one line an epoch.

    Before the first and after the last step the terminal is left to the bars of a task that
    prepares its data.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("training", total=None, start=False)
        self._shown = 0.0

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Show where training goes on."""
        self._progress.console.print(describe_resumption(curve), highlight=False)

    def step(self, done: int, total: int) -> None:
        """Move the bar, a few times a second at most."""
        now = time.monotonic()
        if not self._shown:
            self._progress.start()
            self._progress.start_task(self._task)
        if now - self._shown > _REFRESH_SECONDS or done == total:
            self._shown = now
            self._progress.update(self._task, completed=done, total=total)
        if done == total:
            self._progress.stop()

    def epoch(self, point: Epoch) -> None:
        """Show how the epoch went."""
        self._progress.console.print(describe(point), highlight=False)


def describe_resumption(curve: Sequence[Epoch]) -> str:
    """Where training goes on, in one line."""
    return f"going on after epoch {curve[-1].epoch}"


def describe(point: Epoch) -> str:
    """One epoch in one line."""
    train, val, score = (
        "-" if value is None else f"{value:.4f}"
        for value in (point.train_loss, point.val_loss, point.val_score)
    )
    return (
        f"epoch {point.epoch}  train loss {train}  val loss {val}  val score {score}  "
        f"{point.train_seconds:.1f} s"
    )


@contextmanager
def shown(console: Console) -> Iterator[Lines | Bar]:
    """The progress that fits the console."""
    if not console.is_terminal:
        yield Lines(console)
        return
    progress = _progress(console)
    try:
        yield Bar(progress)
    finally:
        progress.stop()


def track(items: Sequence[T], what: str) -> Iterator[T]:
    """Go through items; ``what`` is done with them stands before the bar, on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print(f"{what}: {len(items):,}", highlight=False)
        yield from items
        return
    with _progress(console, TextColumn(what)) as progress:
        yield from progress.track(items)


def _progress(console: Console, *before: ProgressColumn) -> Progress:
    columns = (MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*before, BarColumn(bar_width=24), *columns, console=console)
