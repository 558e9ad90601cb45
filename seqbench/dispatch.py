"""Which run is next, and what became of it: the one place that decides, whatever executor runs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from seqbench.errors import OutputError, SeqbenchError
from seqbench.lease import BusyError, LostError, Seen, lease_path, look
from seqbench.result import RETRIED, Result, Status
from seqbench.runner import Place, existing, orphaned, record_failure
from seqbench.sitting import Position, epochs_kept, read_position, seconds_spent
from seqbench.work import Work

USUAL_NEED_BYTES = 2 << 30
"""What a run is expected to need of memory as long as none like it has told."""

_GPU_EXTRA_BYTES = 1 << 30
"""What a process takes on a GPU beside its tensors: the context, and blocks kept for later."""

_MOST_KILLS = 5
"""So often a run is killed without getting further before it has failed."""

_TICK_SECONDS = 1.0
_ELSEWHERE_SECONDS = 5.0


@dataclass(frozen=True)
class Exit:
    """How the process of a work ended.

    ``refusal`` is the error by which it said that the run cannot be done here and now. ``killed``:
    it was ended from outside, or lost with its machine, which says nothing of the run, unless it
    was for want of memory.
    """

    work: Work
    how: str
    refusal: SeqbenchError | None = None
    killed: bool = False
    out_of_memory: bool = False


class Executor(Protocol):
    """Processes that do works, each of them leaving its Result below the output directory."""

    def has_room(self, need_bytes: int) -> bool:
        """Whether a work that needs so much memory may start now; always if nothing is running."""

    def start(self, work: Work, need_bytes: int) -> None:
        """Start a process that calls ``work.attempt``."""

    def wait(self, seconds: float) -> list[Exit]:
        """Wait until a process has ended, so many seconds at most; all that have ended."""

    def stop(self, work: Work) -> None:
        """Ask the process of a work to end, and make it end; ``wait`` tells of it."""

    def close(self) -> None:
        """End all processes; none is left."""


@dataclass(frozen=True)
class Underway:
    """A run that is being done, and how far it is; ``elsewhere``: by another runner."""

    work: Work
    position: Position | None
    elsewhere: bool = False


class Watcher(Protocol):
    """Is told how a suite goes; nothing it does feeds back."""

    def start(self, total: int) -> None:
        """So many runs are to be done now."""

    def show(self, underway: Sequence[Underway], waiting: int) -> None:
        """What is being done now, and how many runs wait; about once a second."""

    def done(self, result: Result) -> None:
        """One run has ended."""


@dataclass(frozen=True)
class Orders:
    """How works are done: where, for how many seconds at most, and whether failed ones again.

    ``time_limit`` is for all sittings of a run together, so that an interruption changes nothing.
    """

    place: Place
    retry_failed: bool = False
    time_limit: float | None = None

    def keeps(self, result: Result | None) -> bool:
        """Whether there is a Result of a work, which is then not done (again)."""
        return result is not None and not (self.retry_failed and result.status in RETRIED)


@dataclass
class _Item:
    """A work that is waiting or being done.

    ``replaced`` is the digest of the failed Result that it is done again for. ``kills`` counts
    those since the last new epoch, ``epochs`` are what it had when it was last started.
    ``seconds_left`` count from when its process took the lease, up to the ``deadline``.
    """

    work: Work
    replaced: str | None = None
    not_before: float = 0.0
    held_by: Seen | None = None
    kills: int = 0
    epochs: int = 0
    started: float = 0.0
    seconds_left: float = math.inf
    deadline: float | None = None
    is_overdue: bool = False


def dispatch(
    works: Sequence[Work], executor: Executor, orders: Orders, watcher: Watcher
) -> list[SeqbenchError]:
    """Do all works that have left no Result yet, also those that another runner leaves undone.

    A run whose model fails, or whose process dies, leaves a Result with status ``failed``, ``oom``
    or ``timeout``; the others go on. One whose process is killed from outside goes on from its
    checkpoint. A run that cannot be done here (no data) leaves none: the errors of such runs are
    given back, each once; where nothing can be written, no further run is begun. However this
    ends, no process is left; runs continue from their checkpoints next time.
    """
    dispatcher = _Dispatcher(executor, orders, watcher)
    try:
        return dispatcher.run(works)
    finally:
        executor.close()


class _Dispatcher:
    """The works that wait and those that are being done."""

    def __init__(self, executor: Executor, orders: Orders, watcher: Watcher) -> None:
        self.executor = executor
        self.orders = orders
        self.place = orders.place
        self.watcher = watcher
        self.waiting: dict[str, _Item] = {}
        self.running: dict[str, _Item] = {}
        self.refusals: dict[str, SeqbenchError] = {}
        self.peak_bytes: dict[str, int] = {}

    def run(self, works: Sequence[Work]) -> list[SeqbenchError]:
        """Do them all."""
        for work in works:
            self._add(work)
        self.watcher.start(len(self.waiting))
        while self.waiting or self.running:
            self._start_what_fits()
            for end in self.executor.wait(_TICK_SECONDS):
                self._ended(self.running.pop(end.work.id), end)
            self._stop_what_is_overdue()
            self.watcher.show(self._underway(), len(self.waiting))
        return list(self.refusals.values())

    def _add(self, work: Work) -> None:
        """Put a work among those that wait, unless it has left its Result."""
        try:
            result = work.result(self.place)
        except SeqbenchError as error:
            self._refuse(error)
            return
        if result:
            self._learn(work, result)
        if not self.orders.keeps(result):
            self.waiting[work.id] = _Item(work, replaced=result.digest if result else None)

    def _start_what_fits(self) -> None:
        """Start works in their order; one that needs too much memory now lets others pass."""
        too_much: set[int] = set()
        for item in list(self.waiting.values()):
            if not self.executor.has_room(0):
                return
            need = self._need_bytes(item.work)
            if need in too_much or not self._is_ready(item):
                continue
            if self.executor.has_room(need):
                self._start(item, need)
            else:
                too_much.add(need)

    def _is_ready(self, item: _Item) -> bool:
        """Whether a work can be begun: it is undone, its parent done, nobody else at it."""
        if time.monotonic() < item.not_before:
            return False
        try:
            if result := self._new_result(item):  # another runner's
                self._done(item, result)
                return False
            if self._waits_for_its_parent(item):
                return False
        except BusyError:
            self._later(item)
            return False
        except SeqbenchError as error:
            self._refuse(error, item)
            return False
        item.held_by = look(self.place.output_dir, item.work.id)
        if item.held_by and not item.held_by.is_over:
            self._later(item)
            return False
        item.held_by = None
        return True

    def _waits_for_its_parent(self, item: _Item) -> bool:
        """Whether there is no parent yet to go on from; its bad end is written down as the end."""
        plan = item.work.plan
        if plan.parent is None:
            return False
        if plan.parent.spec.id in self.waiting | self.running:
            return True
        parent = existing(plan.parent.spec, self.place.output_dir)
        if parent is None or parent.status is Status.OK:
            return False  # where it is not there, the run does it first
        self._done(item, record_failure(orphaned(plan, self.place, parent), self.place))
        return True

    def _start(self, item: _Item, need_bytes: int) -> None:
        directory, limit = self.place.output_dir, self.orders.time_limit
        if limit is not None:
            item.seconds_left = limit - seconds_spent(directory, item.work.id)
            item.deadline, item.is_overdue = None, False
            if item.seconds_left <= 0:
                self._overdue(item)
                return
        item.started, item.epochs = time.monotonic(), epochs_kept(directory, item.work.id)
        self.running[item.work.id] = self.waiting.pop(item.work.id)
        self.executor.start(item.work, need_bytes)

    def _stop_what_is_overdue(self) -> None:
        if self.orders.time_limit is None:
            return
        now = time.monotonic()
        for item in self.running.values():
            # a process that still waits for its turn, or imports, uses no time of the run
            if item.deadline is None and self._has_begun(item):
                item.deadline = now + item.seconds_left
            elif item.deadline and now > item.deadline and not item.is_overdue:
                item.is_overdue = True
                self.executor.stop(item.work)

    def _has_begun(self, item: _Item) -> bool:
        return lease_path(self.place.output_dir, item.work.id).exists()

    def _ended(self, item: _Item, end: Exit) -> None:
        """Say what became of a work whose process has ended."""
        try:
            result = self._new_result(item)
        except SeqbenchError as error:
            self._refuse(error, item)
            return
        if result:
            self._done(item, result)
        elif item.is_overdue:
            self._overdue(item)
        elif isinstance(end.refusal, BusyError | LostError):
            self._later(item)
        elif end.refusal:
            self._refuse(end.refusal, item)
        elif end.out_of_memory:
            self._failed(item, Status.OOM, f"{end.how}: it was killed for want of memory")
        elif end.killed and self._may_go_on(item):
            self.waiting = {item.work.id: item} | self.waiting
        else:
            times = f"{item.kills} times in a row " if item.kills else ""
            self._failed(item, Status.FAILED, f"{end.how} {times}and left no result")

    def _may_go_on(self, item: _Item) -> bool:
        """Whether a run that was killed is done again: not if it never gets any further."""
        further = epochs_kept(self.place.output_dir, item.work.id) > item.epochs
        item.kills = 1 if further else item.kills + 1
        return item.kills < _MOST_KILLS

    def _overdue(self, item: _Item) -> None:
        limit = self.orders.time_limit
        self._failed(item, Status.TIMEOUT, f"stopped after {limit:g} s, the limit on its time")

    def _failed(self, item: _Item, status: Status, error: str) -> None:
        """Write the Result of a work that ended without one."""
        seconds = time.monotonic() - item.started if item.started else 0.0
        limit = self.orders.time_limit if status is Status.TIMEOUT else None
        try:
            result = item.work.failed(self.place, status, error, seconds, limit)
        except BusyError:
            self._later(item)
        except SeqbenchError as refusal:
            self._refuse(refusal, item)
        else:
            self._done(item, result)

    def _later(self, item: _Item) -> None:
        """Look at a work again in a while: another runner is doing it."""
        item.not_before = time.monotonic() + _ELSEWHERE_SECONDS
        self.waiting[item.work.id] = item

    def _refuse(self, error: SeqbenchError, item: _Item | None = None) -> None:
        """Give a work up. Where nothing can be written, no other does better."""
        self.refusals[str(error)] = error
        if item:
            self.waiting.pop(item.work.id, None)
        if isinstance(error, OutputError):
            self.waiting.clear()

    def _done(self, item: _Item, result: Result) -> None:
        self.waiting.pop(item.work.id, None)
        self._learn(item.work, result)
        self.watcher.done(result)

    def _new_result(self, item: _Item) -> Result | None:
        """The Result that a work has left since it was put among those to be done."""
        result = item.work.result(self.place)
        return None if result and result.digest == item.replaced else result

    def _learn(self, work: Work, result: Result) -> None:
        """Remember what a run of its kind needs of the memory of such a device."""
        same = result.provenance.device == self.place.device.partition(":")[0]
        if same and result.cost and result.cost.peak_bytes:
            self.peak_bytes[work.kind] = result.cost.peak_bytes

    def _need_bytes(self, work: Work) -> int:
        known = self.peak_bytes.get(work.kind)
        if known is None:
            return USUAL_NEED_BYTES
        return known + (_GPU_EXTRA_BYTES if self.place.device.startswith("cuda") else 0)

    def _underway(self) -> list[Underway]:
        here = [(item, False) for item in self.running.values()]
        there = [(item, True) for item in self.waiting.values() if item.held_by]
        return [
            Underway(item.work, read_position(self.place.output_dir, item.work.id), elsewhere)
            for item, elsewhere in here + there
        ]
