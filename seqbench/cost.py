"""What a network costs to use: time of inference and peak memory, measured."""

from __future__ import annotations

import platform
import statistics
import time
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.allocator import return_freed_memory

_WARM_UP_CALLS = 2
_FEWEST_CALLS = 3
_BUDGET_SECONDS = 0.3


@torch.inference_mode()
def measure_inference(
    network: nn.Module, x: Float[Tensor, "batch channel *shape"]
) -> tuple[float, float]:
    """Seconds of a forward pass for the first example alone, and examples per second for all.

    Each is from the median of repeated calls in eval and inference mode, after a warm-up; calls
    are repeated for about 0.3 s, at least three times.
    """
    was_training = network.training
    network.eval()
    try:
        latency_seconds = _median_seconds(network, x[:1])
        batch_seconds = latency_seconds if len(x) == 1 else _median_seconds(network, x)
    finally:
        network.train(was_training)
    return latency_seconds, len(x) / batch_seconds


def _median_seconds(network: nn.Module, x: Tensor) -> float:
    for _ in range(_WARM_UP_CALLS):
        network(x)
    wait_for(x.device)
    seconds: list[float] = []
    deadline = time.perf_counter() + _BUDGET_SECONDS
    while len(seconds) < _FEWEST_CALLS or time.perf_counter() < deadline:
        start = time.perf_counter()
        network(x)
        wait_for(x.device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def wait_for(device: torch.device) -> None:
    """Wait for the device to finish what was asked of it; a CPU always has."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class PeakMemory:
    """The most memory in use since this was made.

    On CUDA it is what PyTorch had allocated on the device. Elsewhere it is the resident set of
    this process, libraries included: on Linux from ``VmHWM`` of ``/proc/self/status``, reset
    through ``/proc/self/clear_refs`` (where the kernel forbids that, it is the peak since the
    process began); on other systems ``ru_maxrss`` of getrusage(2), which counts from the start of
    the process, in bytes on macOS and in KiB elsewhere.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif platform.system() == "Linux":
            return_freed_memory()
            _reset_resident_peak()

    def peak_bytes(self) -> int | None:
        """The peak in bytes; ``None`` on a system that does not tell, such as Windows."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _resident_peak_bytes()


def _reset_resident_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return  # the peak then counts from the start of the process


def _resident_peak_bytes() -> int | None:
    if platform.system() == "Linux":
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    if platform.system() == "Windows":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
