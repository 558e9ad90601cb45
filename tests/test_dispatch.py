"""One place decides which run is next and what became of it, whatever executor does them."""

from __future__ import annotations

import os
import time
from collections import deque

import pytest

from seqbench import dispatch as module
from seqbench.dispatch import Exit, Orders, dispatch
from seqbench.errors import DataError, OutputError
from seqbench.lease import BusyError, lease_path, look, take
from seqbench.resolve import resolve
from seqbench.result import Cost, Status, read_results, write_result
from seqbench.runner import Place, failure
from seqbench.sitting import folder_of
from seqbench.spec import Request
from seqbench.work import Work


def work_of(seed=0, model="tiny-mlp", **settings):
    """A work of the tiny task."""
    paths = {f"train.{name}": value for name, value in ({"epochs": 1} | settings).items()}
    return Work(resolve(Request("tiny-sum", model, {}, paths, seed)))


def ended(work, place):
    """The Result of a work that ended well."""
    return failure(work.plan, place, Status.OK, "", 1.0).model_copy(update={"error": None})


class Script:
    """An executor whose processes end as they are told to, one of them each time it waits.

    What the process of a work does is a function that gives the fields of its Exit.
    """

    def __init__(self, place, slots=2, free_bytes=None):
        self.place, self.slots, self.free_bytes = place, slots, free_bytes
        self.running, self.started, self.most = {}, [], 0
        self.stopped, self.closed = [], False
        self.does = {}
        self.before_wait = deque()

    def has_room(self, need_bytes):
        taken = sum(need for _, need in self.running.values())
        fits = self.free_bytes is None or taken + need_bytes <= self.free_bytes
        return len(self.running) < self.slots and (not self.running or fits)

    def start(self, work, need_bytes):
        assert work.id not in self.running
        self.running[work.id] = (work, need_bytes)
        self.started.append(work.plan.spec.seed)
        self.most = max(self.most, len(self.running))

    def wait(self, _seconds):
        if self.before_wait:
            self.before_wait.popleft()()
        if not self.running:
            time.sleep(0.01)
            return []
        run_id = next(iter(self.running))
        does = self.does.get(self.running[run_id][0].plan.spec.seed, self.finish)
        fields = does(self.running[run_id][0])
        if fields is None:
            return []
        work, _ = self.running.pop(run_id)
        return [Exit(work, "the process ended", **fields)]

    def finish(self, work):
        write_result(ended(work, self.place), self.place.output_dir)
        return {}

    def stop(self, work):
        self.stopped.append(work.plan.spec.seed)

    def close(self):
        self.closed = True


class Watch:
    """Remembers what it is told."""

    def __init__(self):
        self.total, self.results, self.shown = None, [], []

    def start(self, total):
        self.total = total

    def show(self, underway, waiting):
        self.shown.append((underway, waiting))

    def done(self, result):
        self.results.append(result)


@pytest.fixture
def place(tmp_path):
    """A directory of the test's own."""
    return Place(tmp_path)


def statuses(place):
    """How the runs ended, by seed."""
    results, errors = read_results(place.output_dir)
    assert not errors
    return {result.spec.seed: result.status for result in results}


def test_all_are_done_in_their_order(place):
    """As many at once as there are slots; what is done is not begun; no process is left."""
    write_result(ended(work_of(3), place), place.output_dir)
    executor, watch = Script(place), Watch()
    assert not dispatch([work_of(seed) for seed in range(5)], executor, Orders(place), watch)
    assert executor.started == [0, 1, 2, 4]
    assert executor.most == 2
    assert executor.closed
    assert watch.total == len(watch.results) == 4
    assert set(statuses(place).values()) == {Status.OK}


def test_processes_are_ended_whatever_happens(place):
    """Also by Ctrl-C, which goes on to the caller."""
    executor = Script(place)

    def interrupt(_work):
        raise KeyboardInterrupt

    executor.does[0] = interrupt
    with pytest.raises(KeyboardInterrupt):
        dispatch([work_of()], executor, Orders(place), Watch())
    assert executor.closed


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, Status.FAILED, "the process ended and left no result"),
        ({"out_of_memory": True, "killed": True}, Status.OOM, "for want of memory"),
    ],
)
def test_a_process_that_ends_by_itself_leaves_a_failure(fields, status, error, place):
    """With what is known of its end; the others go on."""
    executor, watch = Script(place), Watch()
    executor.does[0] = lambda _work: fields
    dispatch([work_of(0), work_of(1)], executor, Orders(place), watch)
    assert statuses(place) == {0: status, 1: Status.OK}
    assert error in next(r.error for r in watch.results if r.spec.seed == 0)


def test_a_run_that_is_killed_goes_on(place):
    """A kill from outside says nothing of the run."""
    executor = Script(place)
    ends = deque([{"killed": True}, {"killed": True}])
    executor.does[0] = lambda work: ends.popleft() if ends else executor.finish(work)
    dispatch([work_of(0), work_of(1)], executor, Orders(place), Watch())
    assert executor.started.count(0) == 3
    assert statuses(place) == {0: Status.OK, 1: Status.OK}


def kill_after_epoch(place, epoch):
    """What a process does that is killed after an epoch."""

    def do(work):
        folder = folder_of(place.output_dir, work.id)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("epoch-*"):
            old.unlink()
        (folder / f"epoch-{next(epoch)}-0123456789abcdef.safetensors").touch()
        return {"killed": True}

    return do


@pytest.mark.parametrize(
    ("epochs", "starts"), [([1] * 5, 5), ([0] * 5, 5), ([1, 2, 3, 3, 3, 3, 3], 7)]
)
def test_a_run_that_is_always_killed_at_one_place_has_failed(epochs, starts, place):
    """Five times without a new epoch; each epoch gives it new chances."""
    executor, watch = Script(place), Watch()
    executor.does[0] = kill_after_epoch(place, iter(epochs))
    dispatch([work_of(0)], executor, Orders(place), watch)
    assert len(executor.started) == starts
    assert statuses(place) == {0: Status.FAILED}
    assert "5 times in a row" in watch.results[0].error


def test_what_cannot_be_done_here_is_said_once(place):
    """It leaves no Result, and the others are done."""
    executor = Script(place)
    error = DataError("no data", "fetch them")
    executor.does[0] = executor.does[1] = lambda _work: {"refusal": error}
    errors = dispatch([work_of(seed) for seed in range(3)], executor, Orders(place), Watch())
    assert errors == [error]
    assert statuses(place) == {2: Status.OK}


def test_where_nothing_can_be_written_nothing_more_is_begun(place):
    """A full disk costs the runs that meet it, not an epoch of every other one."""
    executor = Script(place, slots=1)
    executor.does[1] = lambda _work: {"refusal": OutputError("the disk is full")}
    errors = dispatch([work_of(seed) for seed in range(5)], executor, Orders(place), Watch())
    assert [error.message for error in errors] == ["the disk is full"]
    assert executor.started == [0, 1]


def test_a_damaged_result_costs_its_own_run(place):
    """It is named; nothing is written over it."""
    path = write_result(ended(work_of(0), place), place.output_dir)
    path.write_text("{")
    executor = Script(place)
    (error,) = dispatch([work_of(0), work_of(1)], executor, Orders(place), Watch())
    assert str(path) in str(error)
    assert path.read_text() == "{"
    assert executor.started == [1]


def test_failed_runs_are_done_again_where_that_is_asked(place):
    """And the old failure is not taken for the new end."""
    write_result(failure(work_of(0).plan, place, Status.FAILED, "old", 1.0), place.output_dir)
    executor = Script(place)
    dispatch([work_of(0)], executor, Orders(place), Watch())
    assert executor.started == []
    executor, watch = Script(place), Watch()
    executor.does[0] = lambda _work: {}
    dispatch([work_of(0)], executor, Orders(place, retry_failed=True), watch)
    assert watch.results[0].error == "the process ended and left no result"
    dispatch([work_of(0)], Script(place), Orders(place, retry_failed=True), Watch())
    assert statuses(place) == {0: Status.OK}


def held_elsewhere(place, work):
    """The lease of a work, as another machine's process has it."""
    lease = take(place.output_dir, work.id)
    holder = lease.holder.model_copy(update={"process": "another boot 1 1", "host": "far"})
    lease.path.write_text(holder.model_dump_json())


def test_what_another_runner_does_is_left_to_it(place, monkeypatch):
    """It is done when the other's Result is there; the time is used for the others."""
    monkeypatch.setattr(module, "_ELSEWHERE_SECONDS", 0.02)
    held_elsewhere(place, work_of(0))
    executor, watch = Script(place, slots=1), Watch()

    def the_other_ends():
        lease_path(place.output_dir, work_of(0).id).unlink()
        write_result(ended(work_of(0), place), place.output_dir)

    nothing = [lambda: None] * 10
    executor.before_wait = deque([*nothing, the_other_ends])
    dispatch([work_of(0), work_of(1)], executor, Orders(place), watch)
    assert executor.started == [1]
    assert [result.spec.seed for result in watch.results] == [1, 0]
    elsewhere = [[item.elsewhere for item in underway] for underway, _ in watch.shown]
    assert [True] in elsewhere


def test_what_another_runner_leaves_undone_is_done(place, monkeypatch):
    """When its lease is over, the run is begun here."""
    monkeypatch.setattr(module, "_ELSEWHERE_SECONDS", 0.02)
    held_elsewhere(place, work_of(0))
    path = lease_path(place.output_dir, work_of(0).id)
    executor = Script(place)
    executor.before_wait = deque([lambda: None, lambda: os.utime(path, (0, 0))])
    dispatch([work_of(0)], executor, Orders(place), Watch())
    assert executor.started == [0]
    assert statuses(place) == {0: Status.OK}


def test_a_process_that_comes_too_late_is_asked_again(place, monkeypatch):
    """Two runners may start one run at the same moment: the lease decides."""
    monkeypatch.setattr(module, "_ELSEWHERE_SECONDS", 0.02)
    executor = Script(place)
    ends = deque([{"refusal": BusyError("held")}])
    executor.does[0] = lambda work: ends.popleft() if ends else executor.finish(work)
    assert not dispatch([work_of(0)], executor, Orders(place), Watch())
    assert executor.started == [0, 0]


def test_a_time_limit_ends_a_run(place):
    """Its Result says so, and which limit it was."""
    executor, watch = Script(place), Watch()

    def hang(work):
        if executor.stopped:
            lease_path(place.output_dir, work.id).unlink()
            return {"killed": True}
        if time.monotonic() > began + 0.2 and not look(place.output_dir, work.id):
            take(place.output_dir, work.id)
        return None

    executor.does[0] = hang
    began = time.monotonic()
    dispatch([work_of(0)], executor, Orders(place, time_limit=0.05), watch)
    assert executor.stopped == [0]
    assert time.monotonic() > began + 0.2 + 0.05, "it counts from when the run has begun"
    (result,) = watch.results
    assert result.status is Status.TIMEOUT
    assert result.time_limit_seconds == 0.05
    assert "0.05 s" in result.error


def test_a_time_limit_is_for_all_sittings_together(place):
    """What was interrupted gets what is left; with nothing left it is not begun."""
    work = work_of(0)
    folder = folder_of(place.output_dir, work.id)
    folder.mkdir(parents=True)
    position = '{"id":"x","task":"t","model":"m","seed":0,"metric":"a","device":"cpu","seconds":%d}'
    (folder / "position.json").write_text(position % 100)
    executor, watch = Script(place), Watch()
    dispatch([work], executor, Orders(place, time_limit=60), watch)
    assert executor.started == [0], "without a checkpoint it starts from the beginning"
    (folder / "epoch-3-0123456789abcdef.safetensors").touch()
    (folder / "position.json").write_text(position % 100)
    (place.output_dir / watch.results[0].path).unlink()
    executor, watch = Script(place), Watch()
    dispatch([work], executor, Orders(place, time_limit=60), watch)
    assert executor.started == []
    assert watch.results[0].status is Status.TIMEOUT


def test_memory_admits_runs(place):
    """By what one like it needed, else by the usual; one that is too large lets others pass."""
    large, small = work_of(0, batch_size=500), work_of(1, batch_size=10)
    for work, peak in ((large, 900), (small, 100)):
        cost = Cost(parameters=1, flops=None, peak_bytes=peak)
        write_result(ended(work, place).model_copy(update={"cost": cost}), place.output_dir)
    works = [large, small]
    works += [work_of(seed, batch_size=500) for seed in (2, 3)]
    works += [work_of(seed, batch_size=10) for seed in (4, 5)]
    works += [work_of(6, batch_size=77)]
    executor = Script(place, slots=10, free_bytes=1100)
    needs = {}
    start = executor.start

    def remember(work, need_bytes):
        needs[work.plan.spec.seed] = need_bytes
        start(work, need_bytes)

    executor.start = remember
    dispatch(works, executor, Orders(place), Watch())
    assert executor.started[:3] == [2, 4, 5], "the second large one waits"
    assert executor.most == 3
    assert needs[2] == 900
    assert needs[4] == 100
    assert needs[6] == module.USUAL_NEED_BYTES, "more than there is, and yet it is run"
    assert set(statuses(place)) == set(range(7))


def test_parents_come_first_and_their_end_is_their_childrens(place):
    """A child waits for its parent alone; where that ends badly, so does the child, undone."""

    def family(seed):
        above = Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 1}, seed=seed)
        child = Request("tiny-sum", "tiny-mlp", parent=above, seed=seed, trained=False)
        return Work(resolve(above)), Work(resolve(child))

    good, bad = family(0), family(1)
    executor, watch = Script(place, slots=4), Watch()

    def fail_once(work):
        return {} if work.plan.spec.parent is None else executor.finish(work)

    executor.does[1] = fail_once
    dispatch([good[0], bad[0], good[1], bad[1]], executor, Orders(place), watch)
    assert sorted(executor.started) == [0, 0, 1]
    assert watch.total == len(watch.results) == 4
    ends = {result.id: result for result in watch.results}
    assert ends[good[1].id].status is Status.OK
    assert ends[bad[1].id].status is Status.FAILED
    assert f"the parent {bad[0].id} failed" in ends[bad[1].id].error
