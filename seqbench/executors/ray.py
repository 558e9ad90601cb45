"""Runs on a Ray cluster, which itself runs on one machine, SLURM, Kubernetes or a cloud.

The output directory is on storage that all nodes share: Results, checkpoints and leases travel
through it, and Ray's own object store carries nothing but words. Every node has the same packages
installed.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions

from seqbench.dispatch import USUAL_NEED_BYTES, Exit
from seqbench.errors import ConfigError
from seqbench.executors.local import LocalExecutor
from seqbench.runner import Place
from seqbench.work import Work

_GRACE_SECONDS = 5.0
"""How long a run may take to leave its lease when it is told to end."""


@dataclass
class _Running:
    """A work that was given to Ray; ``kill_at`` is there if it was told to end."""

    work: Work
    task: Any
    kill_at: float | None = None


class RayExecutor:
    """A Ray task for every run, with its CPUs, GPU and memory declared, in a process of its own.

    Ray decides where and when a task starts. One whose process or node is lost is reported as
    killed, so that the run goes on elsewhere from its checkpoint. When this process ends, however
    it does, Ray ends its tasks.

    Raises:
        ConfigError: there is no cluster at the address, or a certain GPU is asked for.

    """

    def __init__(self, place: Place, jobs: int | None = None, address: str | None = None) -> None:
        if place.device.startswith("cuda:") and place.device != "cuda:0":
            raise ConfigError(
                f"no run on Ray can be on {place.device!r}: Ray gives each one a GPU, which is the "
                "only one that it sees",
                "use --device cuda",
            )
        data_dir = place.data_dir.resolve() if place.data_dir else None
        directory = place.output_dir.resolve()  # tasks run in directories of their own
        self._place = dataclasses.replace(place, output_dir=directory, data_dir=data_dir)
        self._jobs = jobs
        self._running: dict[str, _Running] = {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"cannot join a Ray cluster at {address or 'the default address'}: {error}",
                "start one (`ray start --head`), or leave --address out to run on this machine",
            ) from error

    def has_room(self, need_bytes: int) -> bool:  # noqa: ARG002  (Ray finds a node with memory)
        """Whether there is a slot: as many as asked for, or as the cluster has now."""
        return len(self._running) < (self._jobs or self._slots())

    def _slots(self) -> int:
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if self._on_gpu:
            return max(1, int(resources.get("GPU", 0)))
        return max(1, int(resources.get("CPU", 0)) // self._place.threads)

    @property
    def _on_gpu(self) -> bool:
        return self._place.device.startswith("cuda")

    def start(self, work: Work, need_bytes: int) -> None:
        """Give a work to Ray, which starts it when a node has what it needs."""
        most = max((node["Resources"].get("memory", 0) for node in _nodes()), default=0)
        if self._on_gpu:
            need_bytes = USUAL_NEED_BYTES  # Ray counts the node's memory, not that of its GPUs
        task = _attempt.options(
            name=f"seqbench {work.id}",
            num_cpus=self._place.threads,
            num_gpus=int(self._on_gpu),
            memory=min(need_bytes, most),  # what no node has would never start
        )
        self._running[work.id] = _Running(work, task.remote(work, self._place))

    def wait(self, seconds: float) -> list[Exit]:
        """Wait until a task has ended, so many seconds at most; all that have ended."""
        tasks = [item.task for item in self._running.values()]
        if not tasks:
            time.sleep(seconds)
            return []
        ray.wait(tasks, timeout=seconds)
        ended, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0)
        for item in self._running.values():
            if item.kill_at and time.monotonic() > item.kill_at:
                ray.cancel(item.task, force=True)
        gone = [item for item in self._running.values() if item.task in ended]
        return [self._exit(item) for item in gone]

    def _exit(self, item: _Running) -> Exit:
        del self._running[item.work.id]
        try:
            end: Exit = ray.get(item.task)
        except ray.exceptions.OutOfMemoryError as error:
            return Exit(item.work, f"Ray ended it ({_first_line(error)})", out_of_memory=True)
        except ray.exceptions.RayTaskError as error:
            return Exit(item.work, f"the task ended with {_first_line(error)}")
        except ray.exceptions.RayError as error:  # the task, its process or its node is gone
            return Exit(item.work, f"it was lost ({type(error).__name__})", killed=True)
        return end

    def stop(self, work: Work) -> None:
        """Ask the process of a work to end, and kill it if it does not."""
        item = self._running[work.id]
        if item.kill_at is None:
            item.kill_at = time.monotonic() + _GRACE_SECONDS
            ray.cancel(item.task)

    def close(self) -> None:
        """End all tasks at once, and leave the cluster."""
        for item in self._running.values():
            self.stop(item.work)
        tasks = [item.task for item in self._running.values()]
        if tasks:
            _, left = ray.wait(tasks, num_returns=len(tasks), timeout=_GRACE_SECONDS)
            for task in left:
                ray.cancel(task, force=True)
        self._running.clear()
        ray.shutdown()


# Whether a run goes on is not Ray's to say. A worker does one run: its fork server keeps the GPU
# that Ray gave the first.
@ray.remote(max_retries=0, max_calls=1)
def _attempt(work: Work, place: Place) -> Exit:
    """Do a work in a process forked from this one's server, which has torch imported already."""
    executor = LocalExecutor(place, 1, [work])
    try:
        executor.start(work, 0)
        while True:
            for end in executor.wait(1.0):
                return end
    finally:
        executor.close()


def _nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
