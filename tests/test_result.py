"""A result is whole, says so itself, and stays readable for years."""

from __future__ import annotations

import json
import math
import os
import random
import statistics
from pathlib import Path

import pytest

from seqbench.errors import OutputError, ResultError
from seqbench.result import (
    SCHEMA_VERSION,
    Packed,
    Result,
    check_writable,
    read_result,
    read_results,
    score_of,
    write_result,
)

OLD = sorted((Path(__file__).parent / "results").glob("v*/**/*.json"))


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_binary_scores_take_a_bit(n):
    """Zeros and ones come back as they were."""
    scores = [float(random.Random(n).random() < 0.5) for _ in range(n)]
    packed = Packed.pack(scores)
    assert packed.unpack() == scores
    assert packed.encoding == "bits"


def test_other_scores_keep_float32():
    """Any other scores come back exactly if they are float32."""
    scores = [0.5, 1.0, -2.25, 2.0**35, 0.0]
    packed = Packed.pack(scores)
    assert (packed.encoding, packed.unpack()) == ("float32", scores)


def test_first_example_is_the_highest_bit():
    """The packing is documented, so that other programs can read it."""
    import base64
    import zlib

    packed = Packed.pack([1, 0, 0, 0, 0, 0, 1, 1, 1])
    assert zlib.decompress(base64.b64decode(packed.data)) == bytes([0b10000011, 0b10000000])


def test_mean_and_standard_error():
    """As the statistics module has them."""
    scores = [random.Random(0).random() for _ in range(50)]
    score = score_of(scores)
    assert score.mean == pytest.approx(statistics.mean(scores))
    assert score.standard_error == pytest.approx(statistics.stdev(scores) / math.sqrt(50))
    assert score_of([0.25]).standard_error == 0


@pytest.mark.parametrize("path", OLD, ids=lambda path: f"{path.parts[-2]}/{path.name}")
def test_old_results_always_parse(path):
    """A result written by any older version is read, with its score, id and digest intact."""
    result = read_result(path)
    assert result.id == result.spec.id
    if result.test:
        assert score_of(result.test_scores.unpack()).mean == pytest.approx(result.test.mean)


def test_there_are_old_results():
    """Every schema version has examples in tests/results."""
    assert {path.relative_to(Path(__file__).parent).parts[1] for path in OLD} == {
        f"v{version}" for version in range(1, SCHEMA_VERSION + 1)
    }


def test_survives_the_file(tmp_path):
    """What is written is what is read."""
    result = read_result(OLD[0])
    path = write_result(result, tmp_path)
    assert read_result(path) == result
    assert path == tmp_path / result.path
    assert not list(tmp_path.glob("**/.*")), "no temporary file is left"


def damaged(text, kind):
    """The text of a result, damaged in one way."""
    data = json.loads(text)
    if kind == "cut off":
        return text[: len(text) // 2]
    if kind == "empty":
        return ""
    if kind == "not a result":
        return "[1, 2]"
    if kind == "score changed":
        data["test"]["mean"] = 0.999
    if kind == "spec changed":
        data["spec"]["seed"] = 77
    if kind == "newer":
        data["schema_version"] = SCHEMA_VERSION + 1
    if kind == "unknown field":
        data["colour"] = "blue"
    return json.dumps(data)


DAMAGE = {
    "cut off": "not readable JSON",
    "empty": "not readable JSON",
    "not a result": "is not a Result",
    "score changed": "does not match its own digest",
    "spec changed": "is not the hash of the spec",
    "newer": "upgrade seqbench",
    "unknown field": "colour",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_result_is_named_and_alone(kind, tmp_path):
    """A damaged file is one error with its path; the good ones beside it are read."""
    good = read_result(OLD[0])
    path = write_result(good, tmp_path)
    bad = path.with_name("bad.json")
    bad.write_text(damaged(path.read_text(), kind))
    with pytest.raises(ResultError) as caught:
        read_result(bad)
    assert str(bad) in str(caught.value)
    assert DAMAGE[kind] in str(caught.value)
    results, errors = read_results(tmp_path)
    assert results == [good]
    assert len(errors) == 1


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if kind != "newer"])
def test_only_the_file_of_a_run_is_to_be_deleted(kind, tmp_path):
    """Another file, such as a user's source file, is said to be none."""
    path = write_result(read_result(OLD[0]), tmp_path)
    path.write_text(damaged(path.read_text(), kind))
    with pytest.raises(ResultError) as caught:
        read_result(path)
    assert "delete it and the run is done again" in caught.value.hint
    for elsewhere in (path.with_name("good.py"), tmp_path / path.name):
        elsewhere.write_text(path.read_text())
        with pytest.raises(ResultError) as caught:
            read_result(elsewhere)
        assert "delete" not in caught.value.hint
        assert "expected the file of a Result" in caught.value.hint


def test_a_leaderboard_is_no_newer_result(tmp_path):
    """Its schema has versions of its own."""
    (tmp_path / "leaderboard.json").write_text('{"schema_version": 99, "boards": []}')
    with pytest.raises(ResultError, match=r"leaderboard\.json is not a Result") as caught:
        read_result(tmp_path / "leaderboard.json")
    assert "upgrade" not in caught.value.hint


def test_a_result_that_is_not_there_is_not_called_damaged(tmp_path):
    """A file that is missing and a folder are each named for what they are."""
    with pytest.raises(ResultError, match=r"none\.json: No such file") as missing:
        read_result(tmp_path / "none.json")
    assert "delete" not in str(missing.value.hint)
    with pytest.raises(ResultError, match="Is a directory"):
        read_result(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_directory(tmp_path):
    """An unwritable directory is said before any work."""
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="--output-dir"):
        check_writable(tmp_path / "new")


def test_output_directory_that_is_a_file(tmp_path):
    """A file where a directory should be is said before any work."""
    (tmp_path / "runs").write_text("")
    with pytest.raises(OutputError, match="--output-dir"):
        check_writable(tmp_path / "runs")


def test_published_schema_is_current():
    """docs/result.schema.json is what `seqbench schema` prints."""
    published = Path(__file__).parents[1] / "docs" / "result.schema.json"
    assert json.loads(published.read_text()) == Result.model_json_schema()
