"""A run shown beside other models' results on its task."""

from __future__ import annotations

import pytest

SMALL, LARGE = "tiny-mlp:small", "tiny-mlp:large"


def run(seqbench, model, *options):
    """A short run; its output from the board on."""
    code, out, err = seqbench("run", "tiny-sum", model, "--epochs", "1", *options)
    assert code == 0, err
    return out.partition(".json")[2]


def test_rows_of_the_named_models_stand_beside_the_new_one(seqbench) -> None:
    """From the output directory and from others, by name or with a preset, and no other rows."""
    run(seqbench, LARGE, "--output-dir", "theirs")
    run(seqbench, SMALL, "--set", "model.hidden=3")
    alone = run(seqbench, SMALL, "--compare-with", LARGE)
    assert "tiny-mlp:small" in alone
    assert "hidden=3" not in alone
    made = "tiny-mlp:large --set train.epochs=1 --seed 0 --output-dir runs"
    assert f"make it by: seqbench run tiny-sum {made}" in alone
    both = run(seqbench, SMALL, "--compare-with", LARGE, "--results", "theirs")
    assert "tiny-mlp:large" in both
    assert "make it by" not in both
    every = run(seqbench, SMALL, "--compare-with", "tiny-mlp", "--results", "theirs")
    assert all(text in every for text in ("tiny-mlp:large", "hidden=3"))


def test_other_seeds_of_the_new_model_join_its_row(seqbench) -> None:
    """Three runs are one row of three seeds, and so it is ranked."""
    run(seqbench, SMALL, "--seed", "1")
    run(seqbench, SMALL, "--seed", "2")
    out = run(seqbench, SMALL, "--compare-with", LARGE)
    (row,) = [line for line in out.splitlines() if "tiny-mlp:small" in line]
    assert row.split()[0] == "1"


def test_only_the_same_task_is_compared(seqbench) -> None:
    """With the same config; the command that makes the missing result has it, and the epochs."""
    run(seqbench, LARGE)
    out = run(seqbench, SMALL, "--task", "length=9", "--seed", "4", "--compare-with", LARGE)
    assert "tiny-mlp:large  " not in out
    made = "tiny-mlp:large --task length=9 --set train.epochs=1 --seed 4 --output-dir runs"
    assert f"make it by: seqbench run tiny-sum {made}" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--compare-with", "tiny-mpl"), "did you mean 'tiny-mlp'"),
        (("--compare-with", "tiny-mlp:larg"), "no preset of 'tiny-mlp' named 'larg'; did you mean"),
        (("--compare-with", "tiny-mlp", "--results", "nowhere"), "nowhere is no directory"),
        (("--compare-with", " , "), "--compare-with names no model"),
        (("--results", "theirs"), "--results says where --compare-with looks"),
    ],
)
def test_what_cannot_be_compared_is_said_before_the_run(options, says, seqbench, tmp_path) -> None:
    """Nothing is trained for a comparison that was misspelt."""
    code, _, err = seqbench("run", "tiny-sum", "tiny-mlp", *options)
    assert code == 2
    assert says in err
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_named_and_costs_nothing_else(seqbench, tmp_path) -> None:
    """The other results are still shown."""
    run(seqbench, LARGE)
    damaged = tmp_path / "runs" / "results" / "tiny-sum" / "damaged.json"
    damaged.write_text("{")
    command = ("run", "tiny-sum", SMALL, "--epochs", "1", "--compare-with", "tiny-mlp")
    code, out, err = seqbench(*command)
    assert code == 0
    assert "tiny-mlp:large" in out
    assert "damaged.json is not readable JSON" in err
