"""A suite on a Ray cluster of two nodes: what one machine gives, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

ROOT = Path(__file__).parents[1]
NODES = Path(__file__).parent / "ray_nodes.py"
FAULTS = ROOT / "benchmarks" / "faults.py"


def test_a_lost_node_loses_nothing(tmp_path):
    """Runs of a node that is killed go on elsewhere from their checkpoints, to the same scores."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    subprocess.run([sys.executable, NODES, str(tmp_path)], check=True, env=environment)


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
