"""A suite on a Ray cluster of two nodes: what one machine gives, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

from seqbench.dispatch import USUAL_NEED_BYTES
from seqbench.errors import ConfigError
from seqbench.executors import ray as module
from seqbench.resolve import resolve
from seqbench.runner import Place
from seqbench.spec import Request
from seqbench.work import Work

ROOT = Path(__file__).parents[1]
NODES = Path(__file__).parent / "ray_nodes.py"
FAULTS = ROOT / "benchmarks" / "faults.py"


def test_a_lost_node_loses_nothing(tmp_path):
    """Runs of a node that is killed go on elsewhere from their checkpoints, to the same scores."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    subprocess.run([sys.executable, NODES, str(tmp_path)], check=True, env=environment)


class Asked:
    """A remote function that remembers with which options it was called."""

    def options(self, **options):
        self.asked = options
        return self

    def remote(self, *_arguments):
        return object()


@pytest.mark.parametrize(
    ("device", "gpus", "memory"), [("cpu", 0, 5 << 30), ("cuda", 1, USUAL_NEED_BYTES)]
)
def test_the_memory_that_ray_counts_is_the_nodes(device, gpus, memory, tmp_path, monkeypatch):
    """What is known of a run on a GPU is the memory it needs there."""
    asked = Asked()
    monkeypatch.setattr(module.ray, "init", lambda **_: None)
    monkeypatch.setattr(module, "_nodes", lambda: [{"Resources": {"memory": 64 << 30}}])
    monkeypatch.setattr(module, "_attempt", asked)
    executor = module.RayExecutor(Place(tmp_path, device=device))
    executor.start(Work(resolve(Request("tiny-sum", "tiny-mlp"))), 5 << 30)
    assert (asked.asked["num_gpus"], asked.asked["memory"]) == (gpus, memory)


def test_ray_chooses_the_gpu(tmp_path, monkeypatch):
    """To ask for a certain one is refused at once; a worker does one run, and sees its GPU."""
    joined = []
    monkeypatch.setattr(module.ray, "init", lambda **words: joined.append(words))
    with pytest.raises(ConfigError, match="no run on Ray can be on 'cuda:1'"):
        module.RayExecutor(Place(tmp_path, device="cuda:1"))
    assert not joined
    module.RayExecutor(Place(tmp_path, device="cuda:0"))
    assert joined
    assert module._attempt._default_options["max_calls"] == 1


@pytest.mark.slow
@pytest.mark.skipif(not FAULTS.exists(), reason="benchmarks are not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
def test_a_small_fault_campaign_on_ray():
    """benchmarks/faults.py with few runs and few kills of runs, runners, workers and nodes."""
    words = ["--seeds", "1", "--kills", "3", "--only", "kills-ray"]
    done = subprocess.run(
        [sys.executable, str(FAULTS), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)["kills-ray"]
    assert sum(found.get(kind, 0) for kind in ("run", "runner", "ray worker", "ray node")) == 3
