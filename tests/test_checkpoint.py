"""A checkpoint is whole or is not used, and reading one runs no code."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from seqbench.checkpoint import Checkpoint, Checkpoints
from seqbench.resolve import resolve
from seqbench.result import read_results
from seqbench.runner import Place, run, run_trial
from seqbench.sitting import checkpoint_files, folder_of, log_path
from seqbench.spec import Request


def checkpoint(value=0.0):
    """Some tensors of many kinds and some facts."""
    shared = torch.full((2, 3), value)
    tensors = {"a": shared, "b": shared, "c": torch.tensor(1), "d": torch.randn(3).bfloat16()}
    return Checkpoint(tensors | {"e": torch.randn(4, 5).T}, {"curve": [0.1, None], "n": 3})


def same(one, two):
    """Whether two checkpoints hold the same bits."""
    assert one.tensors.keys() == two.tensors.keys()
    return all(torch.equal(one.tensors[name], two.tensors[name]) for name in one.tensors)


def test_what_was_saved_is_loaded(tmp_path):
    """Bit for bit, of every shape and kind, tensors that share memory too."""
    kept = Checkpoints(tmp_path, "run", "00")
    assert kept.load() is None
    saved = checkpoint()
    kept.save(1, saved)
    loaded = kept.load()
    assert same(saved, loaded)
    assert loaded.facts["curve"] == [0.1, None]
    assert {**loaded.facts} == {**saved.facts, "run_id": "run", "data_sha256": "00"}


def test_the_last_two_are_kept(tmp_path):
    """By their epochs as numbers; nothing else is left."""
    kept = Checkpoints(tmp_path, "run", "00")
    for epoch in (8, 9, 10, 11):
        kept.save(epoch, checkpoint(epoch))
    assert [epoch for epoch, _ in checkpoint_files(tmp_path)] == [11, 10]
    assert len(list(tmp_path.iterdir())) == 2
    kept.clear()
    assert not list(tmp_path.iterdir())


def cut_off(content):
    """The first half."""
    return content[: len(content) // 2]


DAMAGE = {
    "cut off": cut_off,
    "one bit": lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:],
    "header": lambda content: content.replace(b"curve", b"curbe"),
    "empty": lambda _content: b"",
    "a pickle": lambda _content: pickle.dumps({"curve": []}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_one_is_set_aside_and_the_one_before_it_used(damage, tmp_path):
    """It is named, and never deleted."""
    kept = Checkpoints(tmp_path, "run", "00")
    before = checkpoint(1)
    kept.save(1, before)
    kept.save(2, checkpoint(2))
    (_, newest), _ = checkpoint_files(tmp_path)
    newest.write_bytes(DAMAGE[damage](newest.read_bytes()))
    with pytest.warns(UserWarning, match=rf"{newest.name} is damaged .* goes on from the one befo"):
        assert same(kept.load(), before)
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert not newest.exists()
    assert same(kept.load(), before), "and is not warned of again"


def test_reading_one_runs_no_code(tmp_path):
    """Neither what is in it nor what stands in its place is unpickled."""
    kept = Checkpoints(tmp_path, "run", "00")
    kept.save(1, checkpoint())
    ((_, path),) = checkpoint_files(tmp_path)
    assert path.read_bytes()[8:9] == b"{"
    evil = b"cos\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    path.write_bytes(evil)
    with pytest.warns(UserWarning, match="damaged"):
        assert kept.load() is None
    assert not (tmp_path / "ran").exists()


def plan_of(**settings):
    """A short run of the tiny task."""
    paths = {f"train.{name}": value for name, value in ({"epochs": 3} | settings).items()}
    return resolve(Request("tiny-sum", "tiny-mlp", {}, paths))


@pytest.mark.parametrize("both", [False, True])
def test_a_run_with_damaged_checkpoints_ends_as_an_undisturbed_one(both, tmp_path):
    """From the one before it, or from the beginning; the log names what was damaged."""
    undisturbed = run(plan_of(), Place(tmp_path / "a"))
    place = Place(tmp_path / "b")
    run_trial(plan_of(), place)  # trains, and leaves its checkpoints
    files = checkpoint_files(folder_of(place.output_dir, undisturbed.id))
    assert [epoch for epoch, _ in files] == [3, 2]
    for _, path in files if both else files[:1]:
        path.write_bytes(cut_off(path.read_bytes()))
    with pytest.warns(UserWarning, match="damaged"):
        result = run(plan_of(), place)
    assert result.test_scores == undisturbed.test_scores
    assert [p.val_loss for p in result.curve] == [p.val_loss for p in undisturbed.curve]
    lines = log_path(place.output_dir, result.id).read_text().splitlines()
    events = [json.loads(line) for line in lines]
    damaged = [event["file"] for event in events if event["event"] == "damaged"]
    assert damaged == [f"{path.name}.damaged" for _, path in (files if both else files[:1])]
    folder = folder_of(place.output_dir, result.id)
    assert {path.name for path in folder.glob("*.damaged")} == set(damaged)
    assert not checkpoint_files(folder), "the others go with the end of the run"
    assert len(read_results(place.output_dir)[0]) == 1
