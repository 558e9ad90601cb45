"""What every run of a directory is doing, from its files alone; needs no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from seqbench.errors import ResultError
from seqbench.files import Location
from seqbench.lease import Seen, leases
from seqbench.result import Result, Status, read_results
from seqbench.sitting import Position, log_path, read_position

_ORDER = ("running", "stale", "interrupted", "not begun")
_TAIL_BYTES = 8192


@dataclass(frozen=True)
class Run:
    """One run: ``state`` is how it ended, or what is known of one that has not.

    ``running``: its lease is touched. ``stale``: the lease is there, and its holder is not.
    ``interrupted``: nobody has it, and it goes on with the next command. ``not begun``: it was
    refused. ``heard_seconds`` have gone by since its process was last heard of.
    """

    id: str
    state: str
    task: str = ""
    model: str = ""
    seed: int | None = None
    position: Position | None = None
    heard_seconds: float | None = None
    note: str = ""


@dataclass(frozen=True)
class DirectoryStatus:
    """All runs of a directory, those that have not ended first; how many trials have ended."""

    runs: tuple[Run, ...]
    trials: int
    unreadable: tuple[ResultError, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        states = [run.state for run in self.runs]
        return {state: states.count(state) for state in dict.fromkeys(states)}


def status_of(directory: Location) -> DirectoryStatus:
    """What every run of a directory is doing; at a URL there are only those that have ended.

    Raises:
        ResultError: there is nothing of any run.

    """
    results, unreadable = read_results(directory)
    trials: list[Result] = []
    runs = [_ended(result) for result in results]
    if isinstance(directory, Path):
        trials, more = read_results(directory / "trials")
        unreadable += more
        over = {result.id for result in results}
        runs += _not_ended(directory, over, {trial.id for trial in trials})
    if not runs and not trials and not unreadable:
        raise ResultError(f"there are no runs below {directory}", "expected results or checkpoints")
    runs.sort(key=lambda run: (_place(run.state), run.task, run.model, run.seed or 0))
    return DirectoryStatus(tuple(runs), len(trials), tuple(unreadable))


def _place(state: str) -> int:
    """Those that have not ended come first, those that ended well last."""
    if state in _ORDER:
        return _ORDER.index(state)
    return len(_ORDER) + (state in {Status.OK, Status.EVALUATED})


def _ended(result: Result) -> Run:
    spec = result.spec
    error = (result.error or "").strip().splitlines()
    return Run(
        id=result.id,
        state=result.status.value,
        task=f"{spec.task.title}{spec.origin_title}",
        model=f"{spec.model.name}:{result.origin.preset}",
        seed=spec.seed,
        note=error[0] if error else "",
    )


def _not_ended(directory: Path, over: set[str], tried: set[str]) -> Iterator[Run]:
    """Runs that have a lease or a folder, and no Result."""
    held = leases(directory)
    folders = {path.name for path in (directory / "checkpoints").glob("*") if path.is_dir()}
    for run_id in sorted((folders | held.keys()) - over):
        seen = held.get(run_id)
        if seen is None and run_id in tried:
            continue  # its trial has ended; nobody has asked for the run yet
        yield _open(directory, run_id, seen)


def _open(directory: Path, run_id: str, seen: Seen | None) -> Run:
    position = read_position(directory, run_id)
    last = _last_event(log_path(directory, run_id))
    error = str(last.get("error", "")).strip().splitlines() if last else []
    if seen:
        state = "stale" if seen.is_over else "running"
    else:
        state = "interrupted" if position else "not begun"
    return Run(
        id=run_id,
        state=state,
        task=position.task if position else "",
        model=position.model if position else "",
        seed=position.seed if position else None,
        position=position,
        heard_seconds=max(0.0, seen.age_seconds) if seen else None,
        note=error[0] if error and state != "running" else "",
    )


def _last_event(path: Path) -> dict[str, object]:
    """The last whole line of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return {}
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            return event
    return {}
