"""How training is shown: a live bar on a terminal, one quiet line an epoch elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from seqbench.result import Epoch

_REFRESH_SECONDS = 0.2


class Lines:
    """One line an epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def step(self, done: int, total: int) -> None:
        """Say nothing."""

    def epoch(self, point: Epoch) -> None:
        """Say how the epoch went."""
        self._console.print(describe(point), highlight=False)


class Bar:
    """A bar over all optimiser steps, below one line an epoch."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("training", total=None)
        self._shown = 0.0

    def step(self, done: int, total: int) -> None:
        """Move the bar, a few times a second at most."""
        now = time.monotonic()
        if now - self._shown > _REFRESH_SECONDS or done == total:
            self._shown = now
            self._progress.update(self._task, completed=done, total=total)

    def epoch(self, point: Epoch) -> None:
        """Show how the epoch went."""
        self._progress.console.print(describe(point), highlight=False)


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
    columns = (
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(progress)
