"""A result is reproduced from its file alone, and a changed one is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from seqbench import cli
from seqbench.errors import ConfigError, DataError, ResultError
from seqbench.reproduce import Reproduction, reproduce
from seqbench.resolve import resolve
from seqbench.result import Packed, Result, Status, read_result, score_of, write_result
from seqbench.runner import Place, run, run_evaluation
from seqbench.spec import Request
from seqbench.task import load_task
from seqbench.weights import read_weights


@pytest.fixture(scope="module")
def original_dir(tmp_path_factory):
    """A directory with a run of its own, checkpoints and weights included."""
    directory = tmp_path_factory.mktemp("original")
    run(resolve(Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 3})), Place(directory))
    return directory


@pytest.fixture
def path(original_dir):
    """The file of its result."""
    return next(original_dir.glob("results/*/*.json"))


@pytest.fixture
def original(path) -> Result:
    """Its result."""
    return read_result(path)


def with_scores(result, scores, **fields):
    """A result with other test scores."""
    packed = Packed.pack(scores)
    changes = {"test_scores": packed, "test": score_of(packed.unpack())}
    return result.model_copy(update=changes | fields).sealed()


def flipped(result, count):
    """A result of which the first ``count`` wrong test examples are right."""
    scores = result.test_scores.unpack()
    wrong = [index for index, score in enumerate(scores) if not score][:count]
    assert len(wrong) == count
    return with_scores(result, [1.0 if i in wrong else s for i, s in enumerate(scores)])


def test_the_same_machine_gives_the_same_bits(original, path, tmp_path):
    """From the file alone; the original and what lies beside it stay as they were."""
    before = {file: file.stat().st_mtime_ns for file in path.parents[2].rglob("*")}
    found = reproduce(original, Place(tmp_path))
    assert found.bit_for_bit
    assert found.agrees
    assert found.again.test_scores == original.test_scores
    assert found.again.origin == original.origin
    assert {file: file.stat().st_mtime_ns for file in path.parents[2].rglob("*")} == before
    assert read_result(tmp_path / original.path) == found.again.sealed()


def test_few_other_scores_agree_and_many_do_not(original):
    """One example more is within what chance does to 90; every wrong one right is not."""
    wrong = original.test_scores.unpack().count(0.0)
    slightly = Reproduction(original, flipped(original, 1))
    strongly = Reproduction(original, flipped(original, wrong))
    assert not slightly.bit_for_bit
    assert slightly.test.p == 1
    assert slightly.agrees
    assert strongly.test.p == pytest.approx(2 ** (1 - wrong))
    assert strongly.test.difference == pytest.approx(wrong / 90)
    assert not strongly.agrees


def test_equal_scores_of_other_weights_are_not_bit_for_bit(original):
    """A loss tells networks apart that are right on the same examples."""
    again = original.model_copy(update={"test_loss": original.test_loss * (1 + 1e-7)})
    found = Reproduction(original, again)
    assert not found.bit_for_bit
    assert found.agrees


def test_scores_packed_by_another_zlib_are_the_same(original):
    """What counts is what they decode to."""
    import base64
    import zlib

    raw = zlib.decompress(base64.b64decode(original.test_scores.data))
    data = base64.b64encode(zlib.compress(raw, 0)).decode()
    packed = original.test_scores.model_copy(update={"data": data})
    again = original.model_copy(update={"test_scores": packed})
    assert again.test_scores != original.test_scores
    assert Reproduction(original, again).bit_for_bit


def test_a_run_that_ends_without_a_score_does_not_agree(original):
    """Divergence where there was a score is a disagreement."""
    again = original.model_copy(
        update={"status": Status.DIVERGED, "test": None, "test_scores": None, "test_loss": None}
    )
    assert not Reproduction(original, again).agrees


def test_what_differs_in_provenance_is_told(original):
    """Candidate reasons by path; times are none."""
    packages = original.provenance.packages | {"torch": "9.0"}
    provenance = original.provenance.model_copy(
        update={"packages": packages, "threads": 8, "started_at": "then", "seconds": 1e9}
    )
    found = Reproduction(original, original.model_copy(update={"provenance": provenance}))
    torch = original.provenance.packages["torch"]
    assert found.reasons == {"packages.torch": (torch, "9.0"), "threads": (1, 8)}


def test_other_training_data_are_told_before_training(original, tmp_path):
    """Nothing is trained or written on data of another fingerprint."""
    data = original.data.model_copy(update={"fit_sha256": "ab" * 32})
    other = original.model_copy(update={"data": data})
    with pytest.raises(DataError, match=r"training data here are not.*abab"):
        reproduce(other, Place(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_other_test_data_are_told(original, tmp_path, monkeypatch):
    """They are loaded after training alone, so it is said then."""
    task = load_task("tiny-sum")
    monkeypatch.setattr(task, "test_data", lambda self: self._split(90, 3))
    with pytest.raises(DataError, match="test data here are not"):
        reproduce(original, Place(tmp_path))


@pytest.mark.parametrize("status", [Status.FAILED, Status.DIVERGED, Status.TRIAL])
def test_only_tested_results_can_be_reproduced(status, original, tmp_path):
    """What has no test score has nothing to agree on."""
    other = original.model_copy(update={"status": status, "test_scores": None})
    with pytest.raises(ResultError, match=f"ended as {status}"):
        reproduce(other, Place(tmp_path))


def test_the_original_is_never_its_own_reproduction(original, original_dir):
    """A directory that holds the original is refused."""
    with pytest.raises(ConfigError, match="is the result to be reproduced"):
        reproduce(original, Place(original_dir))


def test_evaluated_weights(original, original_dir, tmp_path):
    """With the file of the weights; without it, or with another, there is one message."""
    file = read_weights(original_dir / "checkpoints" / original.id / "weights.safetensors")
    plan = resolve(Request("tiny-sum", "tiny-mlp"), file.sha256)
    evaluated = run_evaluation(plan, Place(tmp_path / "evaluated"), file)
    assert reproduce(evaluated, Place(tmp_path / "again"), file).bit_for_bit
    with pytest.raises(ConfigError) as caught:
        reproduce(evaluated, Place(tmp_path / "out"))
    assert file.sha256 in caught.value.hint
    other = evaluated.model_copy(
        update={"spec": evaluated.spec.model_copy(update={"weights_sha256": "ab" * 32})}
    )
    with pytest.raises(ConfigError, match="expected abab"):
        reproduce(other, Place(tmp_path / "out"), file)
    with pytest.raises(ConfigError, match="expected no weights"):
        reproduce(original, Place(tmp_path / "out"), file)
    assert not (tmp_path / "out").exists()


def call(*arguments):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        cli.main(["reproduce", *map(str, arguments)])
    return stop.value.code or 0


def test_the_command_exits_by_agreement(original, path, tmp_path, capsys):
    """0 and `bit for bit`; 1, the rule and what differs for a result that was changed."""
    assert call(path, "--output-dir", tmp_path / "a") == 0
    assert "agrees bit for bit" in capsys.readouterr().out
    wrong = original.test_scores.unpack().count(0.0)
    provenance = original.provenance.model_copy(update={"python": "3.99"})
    forged = flipped(original, wrong).model_copy(update={"provenance": provenance})
    path = write_result(forged, tmp_path / "forged")
    assert call(path, "--output-dir", tmp_path / "b") == 1
    out = capsys.readouterr().out
    for part in ("does NOT agree", "exact sign-flip test over the same 90", "3.99", "python"):
        assert part in out


def test_threads_and_device_are_the_results_own_unless_told(original, path, tmp_path, capsys):
    """As the file says; --threads and --device go over it."""
    provenance = original.provenance.model_copy(update={"device": "abacus", "threads": 2})
    path = write_result(original.model_copy(update={"provenance": provenance}), tmp_path / "from")
    assert call(path, "--output-dir", tmp_path / "a") == 2
    assert "'abacus' cannot be used" in capsys.readouterr().err
    assert call(path, "--device", "cpu", "--threads", "0", "--output-dir", tmp_path / "a") == 2
    assert "threads cannot be 0" in capsys.readouterr().err
    assert call(path, "--device", "cpu", "--output-dir", tmp_path / "a") in {0, 1}
    assert read_result(tmp_path / "a" / original.path).provenance.threads == 2


def test_a_killed_reproduction_continues(tmp_path):
    """Kill -9 in the middle; the same command goes on from the checkpoint and agrees."""
    settings = {"train.epochs": 40, "train.batch_size": 8}
    plan = resolve(Request("tiny-sum", "tiny-mlp", settings=settings))
    path = tmp_path / run(plan, Place(tmp_path)).path
    command = [sys.executable, "-m", "seqbench.cli", "reproduce", str(path)]
    command += ["--output-dir", str(tmp_path / "again")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    broken = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    while not list(tmp_path.glob("again/checkpoints/*/epoch-*.safetensors")):
        assert broken.poll() is None
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert "epoch 1 " not in done.stdout
    assert "agrees bit for bit" in done.stdout


def test_a_file_that_is_not_whole(path, tmp_path, capsys):
    """A changed file is refused before anything is run."""
    data = json.loads(path.read_text())
    data["test"]["mean"] = 0.999
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(data))
    assert call(changed, "--output-dir", tmp_path / "out") == 2
    assert "does not match its own digest" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
