"""What test_ray.py does, in a process of its own, since Ray leaves threads and processes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from seqbench.dispatch import Orders, dispatch
from seqbench.executors.ray import RayExecutor
from seqbench.resolve import resolve
from seqbench.result import Status
from seqbench.runner import Place, run
from seqbench.sitting import epochs_kept
from seqbench.spec import Request
from seqbench.work import Work

SETTINGS = {"train.epochs": 20, "train.batch_size": 4}
RUNS = 3


class KillsANode:
    """A watcher that kills the second node as soon as a run there has a checkpoint."""

    def __init__(self, cluster: Cluster, node: object, place: Place) -> None:
        self.cluster, self.node, self.place = cluster, node, place

    def start(self, total: int) -> None:
        self.total = total

    def show(self, underway, _waiting) -> None:
        kept = [epochs_kept(self.place.output_dir, item.work.id) for item in underway]
        if self.node and len(kept) == 2 and all(kept):
            self.cluster.remove_node(self.node, allow_graceful=False)
            self.node = None

    def done(self, result) -> None:
        print(result.id, result.status, time.time(), flush=True)  # noqa: T201


def main(directory: Path) -> None:
    """Three runs on two nodes with a core each, of which one is lost."""
    head = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    second = cluster.add_node(num_cpus=1)
    requests = [
        Request("tiny-sum", "tiny-mlp", settings=SETTINGS, seed=seed) for seed in range(RUNS)
    ]
    plans = [resolve(request) for request in requests]
    place = Place(directory / "cluster")
    watcher = KillsANode(cluster, second, place)
    works = [Work(plan) for plan in plans]
    try:
        executor = RayExecutor(place, address=cluster.address)
        errors = dispatch(works, executor, Orders(place), watcher)
    finally:
        cluster.shutdown()
    assert not errors, errors
    assert watcher.node is None, "no node was killed"
    for plan, work in zip(plans, works, strict=True):
        result, alone = work.result(place), run(plan, Place(directory / "alone"))
        assert result is not None
        assert result.status is Status.OK
        assert result.test_scores == alone.test_scores


if __name__ == "__main__":
    main(Path(sys.argv[1]))
