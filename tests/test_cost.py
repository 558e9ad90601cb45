"""Time and memory are measured; what is tested is what cannot depend on the machine."""

from __future__ import annotations

import platform

import pytest
import torch
from torch import nn

from seqbench.allocator import keep_freed_memory
from seqbench.cost import PeakMemory, measure_inference
from seqbench.provenance import device_name

MEBIBYTE = 2**20


class Watched(nn.Module):
    """Records how it is called."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def forward(self, x):
        self.calls.append((len(x), self.training, torch.is_inference_mode_enabled()))
        return x


def test_inference_is_measured_at_batch_one_and_at_the_batch():
    """Latency takes the first example alone, throughput all of them."""
    network = Watched()
    latency_seconds, throughput = measure_inference(network, torch.ones(8, 1, 4))
    assert latency_seconds > 0
    assert throughput > 0
    assert {size for size, _, _ in network.calls} == {1, 8}


def test_inference_runs_in_eval_and_inference_mode_and_puts_training_back():
    """As a network is used, and without a trace."""
    network = Watched()
    measure_inference(network.train(), torch.ones(2, 1, 4))
    assert {call[1:] for call in network.calls} == {(False, True)}
    assert network.training


def test_a_batch_of_one_is_its_own_latency():
    """Nothing is measured twice."""
    latency_seconds, throughput = measure_inference(Watched(), torch.ones(1, 1, 4))
    assert throughput == 1 / latency_seconds


def test_a_larger_batch_has_more_throughput_where_a_call_costs_most():
    """A call that only overhead makes long takes no longer for many examples."""
    network = nn.Sequential(*[nn.Conv1d(1, 1, 1) for _ in range(30)])
    latency_seconds, throughput = measure_inference(network, torch.ones(64, 1, 4))
    assert throughput > 2 / latency_seconds


def resident(size):
    """Memory that is really there, not only promised."""
    return torch.ones(size, dtype=torch.uint8)


def test_peak_memory_sees_what_was_used_and_freed():
    """The peak stays when the memory is gone."""
    memory = PeakMemory(torch.device("cpu"))
    before = memory.peak_bytes()
    held = resident(256 * MEBIBYTE)
    del held
    assert memory.peak_bytes() - before > 200 * MEBIBYTE


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux starts the peak anew")
def test_peak_memory_forgets_what_came_before():
    """What an earlier run used is not charged to this one."""
    held = resident(256 * MEBIBYTE)
    high = PeakMemory(torch.device("cpu")).peak_bytes()
    del held
    assert PeakMemory(torch.device("cpu")).peak_bytes() < high - 200 * MEBIBYTE


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux starts the peak anew")
def test_freed_memory_that_is_kept_is_not_charged():
    """Where the process keeps freed memory for the next tensor, it is given back before."""
    keep_freed_memory()
    test_peak_memory_forgets_what_came_before()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peak_memory_of_a_gpu_is_what_pytorch_allocated_there():
    """On CUDA it is the device's memory that counts."""
    device = torch.device("cuda")
    memory = PeakMemory(device)
    before = memory.peak_bytes()
    held = resident(64 * MEBIBYTE).to(device)
    del held
    assert memory.peak_bytes() - before >= 64 * MEBIBYTE


def test_devices_have_names(monkeypatch):
    """A GPU is named by its driver, a processor by the system."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert device_name(torch.device("cuda:1")) == "GPU 1"
    assert device_name(torch.device("cpu"))


@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_device_that_is_not_here_is_called_what_it_was_asked_for(error, monkeypatch):
    """Whoever hands out runs on GPUs may have none, and writes down how they failed."""

    def get_device_name(_device):
        raise error("no NVIDIA driver")

    monkeypatch.setattr(torch.cuda, "get_device_name", get_device_name)
    assert device_name(torch.device("cuda:1")) == "cuda:1"
