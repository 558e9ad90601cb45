"""A suite on a Ray cluster of two nodes: what one machine gives, whatever is lost on the way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

NODES = Path(__file__).parent / "ray_nodes.py"


def test_a_lost_node_loses_nothing(tmp_path):
    """Runs of a node that is killed go on elsewhere from their checkpoints, to the same scores."""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}
    subprocess.run([sys.executable, NODES, str(tmp_path)], check=True, env=environment)
