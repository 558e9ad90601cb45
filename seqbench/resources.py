"""What this machine has free for runs; needs no torch. Linux tells, other systems do not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_NAMES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Files of a control group, version 2 and 1: its limit, what is used, and the cache in that."""


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def available_bytes() -> int | None:
    """Memory that can be taken without swapping, by the kernel and by every control group above.

    ``MemAvailable`` of proc(5), and of control groups what is left to their limit when the page
    cache is given up. ``None`` where there is no /proc.
    """
    meminfo = _text(Path("/proc/meminfo"))
    if meminfo is None:
        return None
    lines = (line.split() for line in meminfo.splitlines())
    kernel = next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")
    return min([kernel, *(left for group in _groups() for left in _left(group))])


def resident_bytes(pid: int) -> int:
    """Memory that a process has now; zero if it is gone, or the system does not tell."""
    statm = _text(Path(f"/proc/{pid}/statm"))
    return int(statm.split()[1]) * os.sysconf("SC_PAGE_SIZE") if statm else 0


def memory_kills() -> int:
    """How many processes the kernel has killed for want of memory, here and in all containers."""
    found = [_text(Path("/proc/vmstat")), _text(_CGROUPS / "memory.events")]
    lines = [line.split() for text in found if text for line in text.splitlines()]
    return sum(int(words[1]) for words in lines if words[0] == "oom_kill")


def _groups() -> Iterator[Path]:
    """The control groups of memory that this process is in, and those above them."""
    for line in (_text(Path("/proc/self/cgroup")) or "").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers in {"", "memory"}:
            group = _CGROUPS / controllers / name.lstrip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(_CGROUPS))


def _left(group: Path) -> Iterator[int]:
    """What a control group has left, if it has a limit."""
    for names in _NAMES:
        limit, used, stat = (_text(group / name) for name in (*names[:2], "memory.stat"))
        if limit is None or used is None or not limit.strip().isdigit():
            continue
        lines = (line.split() for line in (stat or "").splitlines())
        cache = next((int(words[1]) for words in lines if words[0] == names[2]), 0)
        yield int(limit) - int(used) + cache


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
