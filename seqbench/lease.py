"""Who is doing a run: a file that one process at a time holds, and that expires; needs no torch.

A lease is a small file in ``DIR/leases``, named by the run. It is made by link(2), which one of
several processes on several machines can do; its holder touches it every few seconds, and one that
nobody has touched for a minute is over. Why so, and why it is safe on NFS: docs/decisions/0018.
"""

from __future__ import annotations

import contextlib
import os
import platform
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from seqbench.errors import SeqbenchError
from seqbench.result import check_writable, create, unwritable
from seqbench.spec import Frozen

BEAT_SECONDS = 5.0
EXPIRES_SECONDS = 60.0

_FOLDER = "leases"


class BusyError(SeqbenchError):
    """A run that another process is doing."""


class LostError(SeqbenchError):
    """A lease that expired and that another process has taken."""


class Holder(Frozen):
    """Who holds a lease; ``process`` is what no other process ever has, where that is known."""

    token: str
    run: str
    host: str
    pid: int
    process: str | None
    since: str


@dataclass(frozen=True)
class Seen:
    """A lease as it was found: ``holder`` is ``None`` if the file does not say."""

    holder: Holder | None
    touched: float
    age_seconds: float

    @property
    def is_dead(self) -> bool:
        """Whether the holder was a process of this machine that is no more."""
        return self.holder is not None and _is_dead(self.holder)

    @property
    def is_over(self) -> bool:
        """Whether anybody may take it."""
        return self.age_seconds > EXPIRES_SECONDS or self.is_dead


def lease_path(directory: Path, run_id: str) -> Path:
    """Where the lease of a run is."""
    return directory / _FOLDER / run_id


def leases(directory: Path) -> dict[str, Seen]:
    """All leases of a directory, by the run."""
    names = [path for path in (directory / _FOLDER).glob("[!.]*") if path.is_file()]
    now = _clock(directory / _FOLDER) if names else 0.0
    found = {path.name: _look(path, now) for path in names}
    return {name: seen for name, seen in found.items() if seen}


def look(directory: Path, run_id: str) -> Seen | None:
    """The lease of a run, if anybody has it."""
    path = lease_path(directory, run_id)
    return _look(path, _clock(path.parent)) if path.exists() else None


class Lease:
    """The right to do a run, as long as it is touched."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self.path = path
        self.holder = holder

    def is_held(self) -> bool:
        """Whether it is still this one's. Opening a file asks an NFS server what is in it now."""
        seen = _look(self.path, 0.0)
        return seen is not None and seen.holder == self.holder

    def check(self) -> None:
        """Make sure, before anything is written, that it is still this one's.

        Raises:
            LostError: another process has taken it.
            OutputError: the directory is not there to be asked.

        """
        try:
            held_still = self.is_held()
        except OSError as error:
            raise unwritable(self.path, error) from error
        if not held_still:
            raise LostError(
                f"run {self.holder.run} is no longer this process's: its lease was not touched for "
                f"{EXPIRES_SECONDS:.0f} s and is gone",
                "another process goes on with the run; nothing of it was written over",
            )

    def touch(self) -> bool:
        """Say that its holder is alive, by the file server's clock; false if it is lost."""
        if not self.is_held():
            return False
        os.utime(self.path)
        return True

    def release(self) -> None:
        """Give it up; where that cannot be done it expires."""
        with contextlib.suppress(OSError):
            if self.is_held():
                self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def held(directory: Path, run_id: str) -> Iterator[Lease]:
    """Hold the lease of a run. It is for who holds it to touch it every few seconds.

    A directory that was made for it and that stayed empty is removed.

    Raises:
        BusyError: another process has it.
        OutputError: the directory cannot be written.

    """
    is_new = not directory.exists()
    check_writable(directory)
    lease = take(directory, run_id)
    try:
        yield lease
    finally:
        lease.release()
        if is_new:
            with contextlib.suppress(OSError):  # not empty
                lease.path.parent.rmdir()
                directory.rmdir()


def take(directory: Path, run_id: str) -> Lease:
    """Take the lease of a run, that of a holder who is gone too.

    Raises:
        BusyError: another process has it.
        OutputError: the directory cannot be written.

    """
    path = lease_path(directory, run_id)
    holder = Holder(
        token=uuid.uuid4().hex,
        run=run_id,
        host=platform.node(),
        pid=os.getpid(),
        process=_process(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    while not create(path, holder.model_dump_json().encode()):
        seen = look(directory, run_id)
        if seen and not seen.is_over:
            raise BusyError(
                f"run {run_id} is being done by {_named(seen)}, last heard of "
                f"{max(0.0, seen.age_seconds):.0f} s ago",
                f"`seqbench status {directory}` shows it; the same command gives its result later",
            )
        if seen:
            _break(path, seen)
    return Lease(path, holder)


def _break(path: Path, seen: Seen) -> None:
    """Remove a lease that is over, and no other.

    Renaming has one winner. What was renamed may still be a lease that somebody else took, or
    touched, since this one was looked at: then it is put back.
    """
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    found = _look(aside, 0.0)
    if found and (found.holder, found.touched) != (seen.holder, seen.touched):
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
    aside.unlink()


def _look(path: Path, now: float) -> Seen | None:
    try:
        with path.open("rb") as file:
            content, touched = file.read(), os.fstat(file.fileno()).st_mtime
    except FileNotFoundError:
        return None
    try:
        holder = Holder.model_validate_json(content)
    except ValidationError:
        holder = None
    return Seen(holder, touched, now - touched)


def _clock(folder: Path) -> float:
    """The time by the clock that stamps files of a folder; this machine's if it is read-only."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".clock.") as file:
            file.write(b"0")
            file.flush()
            return os.fstat(file.fileno()).st_mtime
    except OSError:
        return time.time()


def _named(seen: Seen) -> str:
    return f"process {seen.holder.pid} on {seen.holder.host}" if seen.holder else "another process"


def _is_dead(holder: Holder) -> bool:
    here = _process(os.getpid())
    if holder.process is None or here is None:
        return False
    if holder.process.split()[:2] != here.split()[:2]:
        return False  # of another machine, boot or container
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # there, and another user's
    return _process(holder.pid) != holder.process


def _process(pid: int) -> str | None:
    """Boot, namespace, number and start of a process; ``None`` if it has ended, or is not told.

    Linux alone tells (proc(5)); elsewhere leases of dead processes expire.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else f"{boot} {namespace} {pid} {fields[18]}"
