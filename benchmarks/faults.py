"""A suite of tiny runs under faults: every run must leave one Result, that of the undisturbed run.

Kill -9 of runs, runners and fork servers at random moments, with one and with two runners on the
directory; the same on a Ray cluster, where Ray's workers and whole nodes are killed too;
checkpoints cut off; a disk that is full; a directory that is read-only. The last two need a tmpfs
of their own and are left out, with a word, where mount(8) is not permitted; so is Ray where it is
not installed.

    python benchmarks/faults.py [--seeds 20] [--kills 50] [--jobs 2] [--seed 0] [--only NAME]

Prints one JSON object; exits with 1 if anything was lost, repeated or changed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seqbench.lease import leases
from seqbench.provenance import device_name
from seqbench.result import Result, Status, read_results
from seqbench.sitting import checkpoint_files

SITE = Path(__file__).parents[1] / "tests" / "site"
"""The tiny plugin of the tests."""

SUITE = """
name = "faults"
description = "tiny runs, and runs that start from their weights"
seeds = {seeds}
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp:small"]
set = {{ "train.epochs" = 40, "train.batch_size" = 8 }}
[[runs]]
tasks = ["tiny-wave"]
models = ["tiny-rated"]
task = {{ rate = 0.5 }}
train = false
parent = {{ set = {{ "train.epochs" = 20, "train.batch_size" = 16 }} }}
"""


@dataclass
class Campaign:
    """Where it happens, and what came of it."""

    folder: Path
    jobs: int
    kills: int
    random: random.Random
    run_seconds: float = 0.0
    expected: dict[str, Result] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    report: dict[str, object] = field(default_factory=dict)

    def start(self, directory: Path, words: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """A runner at the suite, with its output kept beside the directory."""
        command = [sys.executable, "-m", "seqbench.cli", "leaderboard"]
        command += [str(self.folder / "faults.toml"), "--output-dir", str(directory)]
        with (self.folder / "runners.log").open("ab") as log:
            return subprocess.Popen(
                [*command, "--jobs", str(self.jobs), *words], stdout=log, stderr=subprocess.STDOUT
            )

    def finish(self, directory: Path, words: Sequence[str] = ()) -> int:
        """Run the suite to its end; the exit code."""
        return self.start(directory, words).wait()

    def check(self, name: str, directory: Path) -> None:
        """Compare what is there with the undisturbed runs."""
        results, unreadable = read_results(directory)
        found = Counter(result.id for result in results)
        self.problems += [f"{name}: {error}" for error in unreadable]
        for run_id, expected in self.expected.items():
            if found[run_id] != 1:
                self.problems.append(f"{name}: {found[run_id]} Results of run {run_id}")
            for result in (each for each in results if each.id == run_id):
                if outcome(result) != outcome(expected):
                    self.problems.append(f"{name}: run {run_id} {result.status}: {result.error}")
        if len(found) != len(self.expected):
            self.problems.append(f"{name}: {len(found)} runs instead of {len(self.expected)}")


def outcome(result: Result) -> tuple[object, ...]:
    """Everything of a Result that its spec decides."""
    curve = [(point.train_loss, point.val_loss, point.val_score) for point in result.curve]
    return result.status, result.test_scores, result.test_loss, result.val, curve


def events(directory: Path, event: str) -> Counter[str]:
    """How often something happened to each run, by the logs."""
    return Counter(
        path.parent.name
        for path in directory.glob("checkpoints/*/log.jsonl")
        for line in path.read_text().splitlines()
        if json.loads(line)["event"] == event
    )


Kill = Callable[[], object]


class OneMachine:
    """Where runs are children of their runner's fork server."""

    words: Sequence[str] = ()
    often = {"run": 8, "runner": 2, "server": 1}
    """How often each kind is chosen: a runner starts for seconds, and a run lives for one."""

    def others(self, runners: Sequence[subprocess.Popen[bytes]]) -> dict[str, list[Kill]]:
        """What else than runs and runners can be killed now."""
        children = (pid for runner in runners for pid in _children(runner.pid))
        return {"server": [_killer(pid) for pid in children if b"forkserver" in _command(pid)]}


class RayCluster:
    """A head that does no runs, and nodes that do one each, all on this machine."""

    often = {"run": 3, "runner": 1, "ray worker": 4, "ray node": 2}

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.words = ("--executor", "ray", "--address", self._cluster.address)
        for _ in range(nodes):
            self._cluster.add_node(num_cpus=1)

    def others(self, _runners: Sequence[subprocess.Popen[bytes]]) -> dict[str, list[Kill]]:
        """Ray's workers in the middle of runs, and nodes, for each of which a new one comes."""
        nodes = list(self._cluster.worker_nodes)
        raylets = [one.process.pid for node in nodes for one in node.all_processes["raylet"]]
        children = (pid for raylet in raylets for pid in _children(raylet))
        workers = [pid for pid in children if _command(pid).startswith(b"ray::seqbench")]
        return {
            "ray worker": [_killer(pid) for pid in workers],
            "ray node": [partial(self._replace, node) for node in nodes],
        }

    def _replace(self, node: Any) -> None:
        self._cluster.remove_node(node, allow_graceful=False)
        self._cluster.add_node(num_cpus=1)

    def close(self) -> None:
        """End it."""
        self._cluster.shutdown()


Machines = OneMachine | RayCluster


def victims(
    directory: Path, runners: Sequence[subprocess.Popen[bytes]], machines: Machines
) -> dict[str, list[Kill]]:
    """What can be killed now, by kind."""
    held = leases(directory).values()
    runs = [_killer(seen.holder.pid) for seen in held if seen.holder and not seen.is_dead]
    found = {"run": runs, "runner": [_killer(runner.pid) for runner in runners]}
    return {kind: kills for kind, kills in (found | machines.others(runners)).items() if kills}


def _killer(pid: int | str) -> Kill:
    return partial(os.kill, int(pid), signal.SIGKILL)


def _children(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def _command(pid: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def killed(
    campaign: Campaign, directory: Path, machines: Machines, runners: int, kills: int
) -> Counter[str]:
    """Run the suite with so many runners at once while processes are killed at random moments."""
    done: Counter[str] = Counter()
    alive: list[subprocess.Popen[bytes]] = []
    while True:
        alive = [runner for runner in alive if runner.poll() is None]
        if done.total() >= kills or not _is_unfinished(campaign, directory):
            break
        while len(alive) < runners:
            alive.append(campaign.start(directory, machines.words))
        time.sleep(campaign.random.uniform(0.0, 2 * campaign.run_seconds))
        found = victims(directory, alive, machines)
        if "run" not in found:
            continue
        (kind,) = campaign.random.choices(list(found), [machines.often[kind] for kind in found])
        with contextlib.suppress(ProcessLookupError):
            campaign.random.choice(found[kind])()
            done[kind] += 1
    for runner in alive:
        runner.wait()
    campaign.finish(directory, machines.words)
    return done


def _is_unfinished(campaign: Campaign, directory: Path) -> bool:
    return len(list(directory.glob("results/*/*.json"))) < len(campaign.expected)


def kill_one_runner(campaign: Campaign) -> None:
    """Runs, runners and fork servers die; nothing is lost and no outcome is another."""
    _kill(campaign, "kills", OneMachine(), runners=1)


def kill_two_runners(campaign: Campaign) -> None:
    """The same with two runners at once."""
    _kill(campaign, "kills-two-runners", OneMachine(), runners=2)


def kill_on_ray(campaign: Campaign) -> None:
    """The same on a Ray cluster, whose workers and nodes die too."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # by default Ray's workers get only what nobody else wants
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  (its name)
    try:
        cluster = RayCluster(campaign.jobs)
    except ModuleNotFoundError as error:
        raise LeftOut("Ray is not installed") from error
    try:
        _kill(campaign, "kills-ray", cluster, runners=1)
    finally:
        cluster.close()


def _kill(campaign: Campaign, name: str, machines: Machines, runners: int) -> None:
    """Run the suite, again in another directory if it ends before there were enough kills."""
    done: Counter[str] = Counter()
    sittings = rounds = 0
    while done.total() < campaign.kills:
        rounds += 1
        directory = campaign.folder / f"{name}-{rounds}"
        done += killed(campaign, directory, machines, runners, campaign.kills - done.total())
        campaign.check(directory.name, directory)
        sittings = max(sittings, *events(directory, "started").values())
    campaign.report[name] = {**done, "rounds": rounds, "sittings_of_a_run_at_most": sittings}


def two_runners(campaign: Campaign) -> None:
    """Two runners undisturbed: each run is begun and ended once."""
    directory = campaign.folder / "two"
    for runner in [campaign.start(directory), campaign.start(directory)]:
        if code := runner.wait():
            campaign.problems.append(f"two: a runner ended with {code}")
    campaign.check("two", directory)
    for event in ("started", "finished"):
        for run_id, times in events(directory, event).items():
            if times != 1:
                campaign.problems.append(f"two: run {run_id} {event} {times} times")


def damaged_checkpoints(campaign: Campaign) -> None:
    """Every checkpoint of the runs that were interrupted is cut off."""
    directory = campaign.folder / "damaged"
    runner = campaign.start(directory)
    damaged: list[Path] = []
    while not damaged and runner.poll() is None:
        time.sleep(0.05)
        if any(epoch > 3 for epoch, _ in _checkpoints(directory)):
            runner.kill()
            runner.wait()
            time.sleep(0.5)  # its runs end with it
            for _, path in _checkpoints(directory):
                path.write_bytes(path.read_bytes()[:-100])
                damaged.append(path)
    campaign.finish(directory)
    campaign.check("damaged", directory)
    aside = {
        path.name.removesuffix(".damaged") for path in directory.glob("checkpoints/*/*.damaged")
    }
    campaign.report["damaged_checkpoints"] = len(damaged)
    if not damaged or aside != {path.name for path in damaged}:
        campaign.problems.append(f"damaged: {sorted(aside)} were set aside")


def _checkpoints(directory: Path) -> list[tuple[int, Path]]:
    folders = directory.glob("checkpoints/*")
    return [found for folder in folders for found in checkpoint_files(folder)]


def full_disk(campaign: Campaign) -> None:
    """The disk is full in the middle of the suite; then there is room, and the suite goes on."""
    with tmpfs(campaign.folder / "full", f"{15 * len(campaign.expected)}k") as disk:
        directory = disk / "runs"
        code = campaign.finish(directory)
        results, unreadable = read_results(directory)
        bad = [result for result in results if result.status is not Status.OK]
        if code != 2 or bad or unreadable or len(results) == len(campaign.expected):
            found = f"exit {code}, {len(results)} Results, bad ones: {bad}{unreadable}"
            campaign.problems.append(f"full: {found}")
        campaign.report["results_before_the_disk_was_full"] = len(results)
        subprocess.run(["mount", "-o", "remount,size=1g", str(disk)], check=True)
        campaign.finish(directory)
        campaign.check("full", directory)


def read_only(campaign: Campaign) -> None:
    """The directory cannot be written: said before any run, and nothing is left behind."""
    with tmpfs(campaign.folder / "read-only", "1g") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code = campaign.finish(disk)
        if code != 2 or list(disk.iterdir()):
            campaign.problems.append(f"read-only: exit {code}, {list(disk.iterdir())}")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        campaign.finish(disk)
        campaign.check("read-only", disk)


class LeftOut(Exception):  # noqa: N818  (no fault of anything)
    """Something cannot be done here."""


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own with so much room."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        raise LeftOut("mount is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


SCENARIOS: dict[str, Callable[[Campaign], None]] = {
    "kills": kill_one_runner,
    "two-runners": two_runners,
    "kills-two-runners": kill_two_runners,
    "kills-ray": kill_on_ray,
    "damaged-checkpoints": damaged_checkpoints,
    "full-disk": full_disk,
    "read-only": read_only,
}


def main() -> None:
    """Run the campaign and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="three runs for each")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the victims")
    parser.add_argument("--only", action="append", choices=list(SCENARIOS))
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seed = random.Random(arguments.seed)
        campaign = Campaign(folder, arguments.jobs, arguments.kills, seed)
        suite = SUITE.format(seeds=list(range(arguments.seeds)))
        (folder / "faults.toml").write_text(suite)
        if campaign.finish(folder / "whole"):
            sys.exit((folder / "runners.log").read_text())
        campaign.expected = {r.id: r for r in read_results(folder / "whole")[0]}
        seconds = [result.provenance.seconds for result in campaign.expected.values()]
        campaign.run_seconds = statistics.median(seconds)
        campaign.report["machine"] = device_name(torch.device("cpu"))
        campaign.report["runs"] = len(campaign.expected)
        campaign.report["median_seconds_of_a_run"] = round(campaign.run_seconds, 2)
        for scenario in arguments.only or SCENARIOS:
            started = time.monotonic()
            try:
                SCENARIOS[scenario](campaign)
                campaign.report[f"{scenario}_seconds"] = round(time.monotonic() - started)
            except LeftOut as reason:
                campaign.report[scenario] = f"left out: {reason}"
        if campaign.problems:
            print((folder / "runners.log").read_text()[-5000:], file=sys.stderr)
    print(json.dumps(campaign.report | {"problems": campaign.problems}, indent=1))
    sys.exit(bool(campaign.problems))


if __name__ == "__main__":
    main()
