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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from rich.console import Console

from seqbench.dispatch import Exit
from seqbench.errors import SeqbenchError
from seqbench.progress import Lines
from seqbench.resources import available_bytes, cores, memory_kills, resident_bytes
from seqbench.result import unwritable
from seqbench.runner import REFUSALS, Place
from seqbench.sitting import folder_of
from seqbench.source import PluginCode, adopt, seen_for
from seqbench.work import Work, modules_of

_GRACE_SECONDS = 5.0
"""How long a process may take to leave its lease when it is told to end."""

_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 255)
"""Exit codes of a process that something else ended; 255 is of one whose fork server died."""


@dataclass
class _Running:
    """A run in a process of its own, on a device; ``kill_at`` is there if it was told to end."""

    work: Work
    process: BaseProcess
    told: Connection
    device: str
    need_bytes: int
    memory_kills: int
    kill_at: float | None = None

    @property
    def still_to_take_bytes(self) -> int:
        """Memory that it is expected to need and has not taken yet."""
        return max(0, self.need_bytes - resident_bytes(self.process.pid or 0))


class LocalExecutor:
    """At most ``jobs`` processes at once, spread over the devices of the place.

    What a run prints goes to ``checkpoints/ID/run.log``. However this process ends, its runs do.
    """

    def __init__(self, place: Place, jobs: int, works: Sequence[Work]) -> None:
        self._place = place
        self._jobs = jobs
        self._devices = devices_of(place.device)
        self._running: dict[str, _Running] = {}
        self._seen = seen_for(work.plan.spec for work in works)  # as its modules are preloaded
        self._context = multiprocessing.get_context("forkserver")
        preload = [__name__, *modules_of(work.plan for work in works)]
        self._context.set_forkserver_preload(preload)

    def has_room(self, need_bytes: int) -> bool:
        """Whether there is a slot, and memory for a run on the device that it would get."""
        if len(self._running) >= self._jobs:
            return False
        device = self._next_device()
        on_it = [item for item in self._running.values() if item.device == device]
        free = _free_bytes(device, on_it) if on_it else None
        return free is None or need_bytes <= free

    def _next_device(self) -> str:
        """The device with the fewest runs."""
        busy = [item.device for item in self._running.values()]
        return min(self._devices, key=busy.count)

    def start(self, work: Work, need_bytes: int) -> None:
        """Start a process for a work."""
        device = self._next_device()
        place = dataclasses.replace(self._place, device=device)
        receiver, sender = self._context.Pipe(duplex=False)
        arguments = (work, place, self._seen, sender)
        process = self._context.Process(target=_child, args=arguments, daemon=True)
        kills = memory_kills()
        process.start()
        sender.close()
        self._running[work.id] = _Running(work, process, receiver, device, need_bytes, kills)

    def wait(self, seconds: float) -> list[Exit]:
        """Wait until a process has ended, so many seconds at most; all that have ended."""
        ended = wait([item.process.sentinel for item in self._running.values()], seconds)
        for item in self._running.values():
            if item.kill_at and time.monotonic() > item.kill_at:
                item.process.kill()
        gone = [item for item in self._running.values() if item.process.sentinel in ended]
        return [self._exit(item) for item in gone]

    def _exit(self, item: _Running) -> Exit:
        del self._running[item.work.id]
        item.process.join()
        code = item.process.exitcode
        with item.told:
            try:
                kind, message, hint = item.told.recv()
                refusal: SeqbenchError | None = kind(message, hint)
            except EOFError:
                refusal = None  # the process ended without a word
        item.process.close()
        return Exit(
            item.work,
            how=f"the process ended with exit code {code}",
            refusal=refusal,
            killed=code in _OUTSIDE,
            out_of_memory=code == -signal.SIGKILL and memory_kills() > item.memory_kills,
        )

    def stop(self, work: Work) -> None:
        """Ask the process of a work to end, and kill it if it does not."""
        item = self._running[work.id]
        if item.kill_at is None:
            item.kill_at = time.monotonic() + _GRACE_SECONDS
            item.process.terminate()

    def close(self) -> None:
        """End all processes at once; none is left."""
        for item in self._running.values():
            self.stop(item.work)
        for item in self._running.values():
            item.process.join(max(0.0, (item.kill_at or 0.0) - time.monotonic()))
            item.process.kill()
            item.process.join()
        self._running.clear()


def _free_bytes(device: str, on_it: Sequence[_Running]) -> int | None:
    """Memory that no run has taken or is expected to take yet; ``None`` if nobody knows."""
    if device.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(device)
        return min(free, total - sum(item.need_bytes for item in on_it))
    available = available_bytes()
    if available is None:
        return None
    return available - sum(item.still_to_take_bytes for item in on_it)


def devices_of(device: str) -> list[str]:
    """The devices that runs are spread over: all GPUs there are, or the one that is named."""
    if device == "cuda" and torch.cuda.device_count() > 1:
        return [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return [device]


def slots(place: Place) -> int:
    """How many runs there are at once by default: as cores allow, or one on each GPU."""
    if place.device == "cpu":
        return max(1, cores() // place.threads)
    return len(devices_of(place.device))


def _child(
    work: Work, place: Place, seen: Mapping[Path, PluginCode | None], told: Connection
) -> None:
    adopt(seen)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its runs itself
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the lease is left
    threading.Thread(target=die_with_parent, daemon=True).start()
    try:
        _log_to(place, work)
        work.attempt(place, Lines(Console(file=sys.stdout, width=120)))
    except REFUSALS as error:
        traceback.print_exc()  # goes to run.log
        told.send((type(error), error.message, error.hint))
    except KeyboardInterrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)


def die_with_parent() -> None:
    """Leave no run behind that nobody waits for, however the parent ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _log_to(place: Place, work: Work) -> None:
    path = folder_of(place.output_dir, work.id) / "run.log"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise unwritable(path, error) from error
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
