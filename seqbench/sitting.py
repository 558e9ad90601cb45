"""One process at one run: it holds the lease, keeps the log, and tells how far it is; no torch."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from seqbench.errors import SeqbenchError
from seqbench.lease import BEAT_SECONDS, Lease, held
from seqbench.result import (
    Epoch,
    Origin,
    Result,
    Status,
    leave_result,
    remove_unfinished,
    write_atomically,
)
from seqbench.spec import Frozen, RunSpec

_CHECKPOINT = re.compile(r"epoch-(\d+)-[0-9a-f]{16}\.safetensors")
_LOG = "log.jsonl"
_POSITION = "position.json"


class Position(Frozen):
    """How far a run was when it was last heard of.

    ``epoch`` is the last one that ended. ``seconds`` are of all sittings that led here;
    ``examples_per_second`` of this one, validation included.
    """

    id: str
    task: str
    model: str
    seed: int
    metric: str
    device: str
    epoch: int = 0
    epochs: int | None = None
    steps: int = 0
    total_steps: int | None = None
    val_score: float | None = None
    examples_per_second: float | None = None
    seconds_left: float | None = None
    seconds: float = 0.0


def folder_of(directory: Path, run_id: str) -> Path:
    """Where a run keeps its checkpoints, weights and log."""
    return directory / "checkpoints" / run_id


def log_path(directory: Path, run_id: str) -> Path:
    """The log of a run, a JSON object a line: ``time``, ``event`` and what belongs to it."""
    return folder_of(directory, run_id) / _LOG


def checkpoint_files(folder: Path) -> list[tuple[int, Path]]:
    """The checkpoints of a run with the epochs that they were made after, the newest first."""
    named = ((_CHECKPOINT.fullmatch(path.name), path) for path in folder.glob("epoch-*"))
    return sorted(((int(name[1]), path) for name, path in named if name), reverse=True)


def epochs_kept(directory: Path, run_id: str) -> int:
    """After which epoch a run would go on."""
    return max((epoch for epoch, _ in checkpoint_files(folder_of(directory, run_id))), default=0)


def read_position(directory: Path, run_id: str) -> Position | None:
    """How far a run was when it was last heard of; ``None`` if it never was, or has ended."""
    path = folder_of(directory, run_id) / _POSITION
    try:
        return Position.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def seconds_spent(directory: Path, run_id: str) -> float:
    """How long the sittings took whose work a run would go on from."""
    position = read_position(directory, run_id)
    return position.seconds if position and epochs_kept(directory, run_id) else 0.0


class Sitting:
    """What a process does at a run beside the run itself; a watcher of its training."""

    def __init__(self, directory: Path, spec: RunSpec, origin: Origin, lease: Lease) -> None:
        self.directory = directory
        self.spec = spec
        self.origin = origin
        self.lease = lease
        self.folder = folder_of(directory, spec.id)
        self._started = time.monotonic()
        self._before = seconds_spent(directory, spec.id)
        self._position: Position | None = None
        self._has_ended = False
        self._first: tuple[float, int] | None = None
        self._steps = (0, 0)

    def begin(self, metric: str, device: str) -> None:
        """The run is ready to be done; with something to train it has a log and a position now."""
        remove_unfinished(self.folder)
        train, kept = self.spec.train, epochs_kept(self.directory, self.spec.id)
        position = Position(
            id=self.spec.id,
            task=f"{self.spec.task.title}{self.spec.origin_title}",
            model=f"{self.spec.model.name}:{self.origin.preset}",
            seed=self.spec.seed,
            metric=metric,
            device=device,
            epochs=train.epochs if train else None,
        )
        if kept and (last := read_position(self.directory, self.spec.id)):
            position = position.model_copy(update={"epoch": kept, "val_score": last.val_score})
        if train:
            self._position = position
            self.tell()
        about = position.model_dump(include={"task", "model", "seed", "device"})
        self.log("started", run=self.spec.id, **about, host=platform.node(), pid=os.getpid())

    def check(self) -> None:
        """Make sure, before anything is written, that the run is still this process's.

        Raises:
            LostError: another process has taken it.

        """
        self.lease.check()

    def log(self, event: str, **fields: Any) -> None:
        """Add a line to the log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **fields}) + "\n"
        # A log changes nothing: where it cannot be written, the run's own files tell of it.
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            handle = os.open(self.folder / _LOG, flags, 0o644)
            try:
                os.write(handle, line.encode())  # one call, so that lines stay whole
            finally:
                os.close(handle)

    def resumed(self, curve: Sequence[Epoch]) -> None:
        """Training goes on after these epochs."""
        self._is_at(curve[-1])

    def step(self, done: int, total: int) -> None:
        """``done`` of ``total`` optimiser steps are made."""
        if self._first is None:
            self._first = (time.monotonic(), done)
        self._steps = (done, total)

    def epoch(self, point: Epoch) -> None:
        """An epoch has ended."""
        self.log("epoch", **point.model_dump(mode="json", exclude={"learned"}))
        self._is_at(point)

    def _is_at(self, point: Epoch) -> None:
        if self._position:
            update = {"epoch": point.epoch, "val_score": point.val_score}
            self._position = self._position.model_copy(update=update)

    def tell(self) -> None:
        """Write down how far the run is."""
        if self._position:
            path = self.folder / _POSITION
            content = self._position.model_copy(update=self._pace()).model_dump_json()
            write_atomically(path, content.encode())

    def _pace(self) -> dict[str, float | int | None]:
        """Steps and seconds up to now, and what follows from the pace of this sitting."""
        now, (steps, total) = time.monotonic(), self._steps
        pace: dict[str, float | int | None] = {"seconds": self._before + now - self._started}
        if self._first:
            since, first = self._first
            pace |= {"steps": steps, "total_steps": total}
            if steps > first and self.spec.train:
                seconds_a_step = (now - since) / (steps - first)
                pace["examples_per_second"] = self.spec.train.batch_size / seconds_a_step
                pace["seconds_left"] = (total - steps) * seconds_a_step
        return pace

    def leave(self, result: Result, directory: Path) -> Result:
        """Write the run's Result; give the one that is there then.

        Raises:
            LostError: another process has taken the run; nothing is written.
            OutputError: it cannot be written.

        """
        self.check()
        result = leave_result(result, directory)
        scores = {name: score.mean for name in ("val", "test") if (score := getattr(result, name))}
        error = {"error": result.error} if result.error else {}
        self.log("finished", status=result.status, **scores, **error)
        if result.status is not Status.TRIAL:  # after a trial the run goes on
            self._has_ended = True
        return result

    def beat(self) -> None:
        """Say that the process is alive, and how far it is."""
        # A beat that fails is one that is missed: the lease says what comes of that.
        with contextlib.suppress(OSError, SeqbenchError):
            if self.lease.touch():
                self.tell()

    def close(self) -> None:
        """Leave the position of a run that goes on another time, and no other."""
        if self._has_ended:
            (self.folder / _POSITION).unlink(missing_ok=True)
        else:
            self.beat()


@contextlib.contextmanager
def sitting(directory: Path, spec: RunSpec, origin: Origin) -> Iterator[Sitting]:
    """Hold the lease of a run below a directory, touched from a thread, and log how it ends.

    Raises:
        BusyError: another process is doing the run.
        OutputError: the directory cannot be written.

    """
    with held(directory, spec.id) as lease:
        seat = Sitting(directory, spec, origin, lease)
        with _beating(seat):
            try:
                yield seat
            except (KeyboardInterrupt, SystemExit):
                seat.log("stopped")
                raise
            except BaseException as error:
                seat.log("error", error=f"{type(error).__name__}: {error}")
                raise


@contextlib.contextmanager
def _beating(seat: Sitting) -> Iterator[None]:
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT_SECONDS):
            seat.beat()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        seat.close()
