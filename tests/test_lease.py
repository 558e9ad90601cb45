"""A lease is held by one process at a time, and a holder who is gone stops nobody."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from seqbench import lease as module
from seqbench.lease import BusyError, LostError, held, lease_path, leases, look, take
from seqbench.result import create

RUN = "0123456789abcdef"


def age(path, seconds):
    """Let a lease look as if it had not been touched for some time."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def elsewhere(path):
    """Let a lease look as if a process of another machine held it."""
    holder = json.loads(path.read_text())
    content = json.dumps(holder | {"process": "another boot 1 1", "host": "far", "token": "x"})
    touched = path.stat().st_mtime
    path.write_text(content)
    os.utime(path, (touched, touched))


def test_one_holder_at_a_time(tmp_path):
    """Who comes second is told who has it; given up, it can be taken again."""
    with held(tmp_path, RUN) as lease:
        assert lease.is_held()
        with pytest.raises(BusyError, match=f"run {RUN} is being done by process {os.getpid()}"):
            take(tmp_path, RUN)
        take(tmp_path, "another-run").release()
    assert look(tmp_path, RUN) is None
    take(tmp_path, RUN).release()


def contend(directory, start, results):
    """Take the lease if it can be had, and say so."""
    start.wait()
    try:
        lease = take(directory, RUN)
    except BusyError:
        results.put(None)
    else:
        results.put(lease.holder.token)
        time.sleep(1)


@pytest.mark.parametrize("before", ["nothing", "a lease that is over"])
def test_of_many_who_try_at_once_one_gets_it(before, tmp_path):
    """Also where all of them find the same lease that is over."""
    if before != "nothing":
        take(tmp_path, RUN)
        elsewhere(lease_path(tmp_path, RUN))
        age(lease_path(tmp_path, RUN), 1000)
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=contend, args=(tmp_path, start, results)) for _ in range(8)]
    for process in processes:
        process.start()
    start.set()
    tokens = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert sum(token is not None for token in tokens) == 1


def test_an_old_lease_is_over(tmp_path):
    """Not touched for a minute, it goes to whoever asks, and the old holder may not write."""
    old = take(tmp_path, RUN)
    elsewhere(old.path)
    age(old.path, module.EXPIRES_SECONDS - 5)
    with pytest.raises(BusyError, match="on far, last heard of 5"):
        take(tmp_path, RUN)
    age(old.path, module.EXPIRES_SECONDS + 5)
    new = take(tmp_path, RUN)
    assert new.is_held()
    assert not old.touch()
    with pytest.raises(LostError, match="no longer this process's"):
        old.check()
    old.release()
    assert new.is_held(), "what is another's is not given up"


def test_touching_keeps_it(tmp_path):
    """A beat makes it young again."""
    lease = take(tmp_path, RUN)
    age(lease.path, 1000)
    assert lease.touch()
    assert look(tmp_path, RUN).age_seconds < 5


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which process is which")
def test_of_a_process_that_died_here_it_is_over_at_once(tmp_path):
    """Nobody waits for a minute after a kill -9 on the same machine."""
    code = (
        "import sys, os\nfrom pathlib import Path\nfrom seqbench.lease import take\n"
        f"take(Path(sys.argv[1]), {RUN!r})\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    seen = look(tmp_path, RUN)
    assert seen.is_dead
    assert seen.age_seconds < module.EXPIRES_SECONDS
    assert take(tmp_path, RUN).is_held()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which process is which")
def test_a_number_that_another_process_has_now_is_no_life(tmp_path):
    """Process numbers come round; the time of the start does not."""
    lease = take(tmp_path, RUN)
    holder = lease.holder.model_copy(update={"process": f"{lease.holder.process}1"})
    lease.path.write_text(holder.model_dump_json())
    assert look(tmp_path, RUN).is_dead
    elsewhere(lease.path)
    assert not look(tmp_path, RUN).is_dead, "of another machine nothing is known"


def test_a_lease_that_is_touched_while_it_is_broken_is_put_back(tmp_path):
    """Between looking and removing, its holder may have come back to life."""
    lease = take(tmp_path, RUN)
    elsewhere(lease.path)
    age(lease.path, 1000)
    seen = look(tmp_path, RUN)
    os.utime(lease.path)
    module._break(lease.path, seen)
    assert look(tmp_path, RUN).age_seconds < 5
    assert not [path for path in lease.path.parent.iterdir() if path != lease.path]


def test_a_file_that_says_nothing_expires(tmp_path):
    """A damaged lease is somebody's for a minute, then nobody's."""
    path = lease_path(tmp_path, RUN)
    assert create(path, b"{")
    with pytest.raises(BusyError, match="another process"):
        take(tmp_path, RUN)
    age(path, 1000)
    assert take(tmp_path, RUN).is_held()


def test_a_directory_that_stayed_empty_goes(tmp_path):
    """What came to nothing leaves nothing; what was there before stays."""
    with held(tmp_path / "new", RUN):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / "old").mkdir()
    with held(tmp_path / "old", RUN):
        pass
    assert (tmp_path / "old").exists()


def test_all_leases_of_a_directory(tmp_path):
    """By the run, with their ages by the clock of the files."""
    assert leases(tmp_path) == {}
    take(tmp_path, "a")
    age(take(tmp_path, "b").path, 1000)
    found = leases(tmp_path)
    assert set(found) == {"a", "b"}
    assert found["a"].age_seconds < 5
    assert found["b"].age_seconds > 990


def test_a_file_system_without_links(tmp_path, monkeypatch):
    """A lease can be held there too, and a second one is told."""

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    lease = take(tmp_path, RUN)
    assert lease.is_held()
    with pytest.raises(BusyError):
        take(tmp_path, RUN)
    lease.release()
    assert not list(lease.path.parent.iterdir())


def test_a_link_whose_success_was_not_reported(tmp_path, monkeypatch):
    """On NFS link(2) may fail after it succeeded; the number of links tells."""
    link = os.link

    def linked_and_lost(*paths):
        link(*paths)
        raise FileExistsError(17, "File exists")

    monkeypatch.setattr(os, "link", linked_and_lost)
    assert create(tmp_path / "file", b"mine")
    monkeypatch.setattr(os, "link", link)
    assert not create(tmp_path / "file", b"another's")
    assert (tmp_path / "file").read_bytes() == b"mine"
