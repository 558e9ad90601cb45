"""Two sides are compared on the test examples they share, by paired tests."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqbench import cli
from seqbench.boards.statistics import holm, paired_test
from seqbench.compare import compare, side
from seqbench.errors import ResultError, UnknownNameError
from seqbench.result import Packed, Result, read_result, score_of, write_result
from seqbench.spec import RunSpec

LSTM = json.loads(next((Path(__file__).parent / "results").glob("v1/**/lstm-*.json")).read_text())


def result_of(wrong, seed=0, model="lstm", preset="default", val=0.9, **changes) -> Result:
    """A result whose test examples from ``wrong[0]`` to ``wrong[1]`` of 300 are wrong."""
    data = json.loads(json.dumps(LSTM))
    data["spec"]["seed"], data["spec"]["model"]["name"] = seed, model
    data["spec"]["model"]["config"]["preset"] = preset
    data["origin"]["preset"] = preset
    data["val"]["mean"] = val
    scores = [0.0 if wrong[0] <= index < wrong[1] else 1.0 for index in range(300)]
    data["test"] = score_of(scores).model_dump()
    data["test_scores"] = Packed.pack(scores).model_dump()
    for path, value in changes.items():
        *parents, last = path.split("__")
        at = data
        for part in parents:
            at = at[part]
        at[last] = value
    data["id"] = RunSpec.model_validate(data["spec"]).id
    return Result.model_validate(data).sealed()


def side_of(directory, *results, name=None):
    """A directory of results, or what a name stands for in it."""
    for result in results:
        write_result(result, directory)
    return side(name or str(directory), directory)


def test_two_files(tmp_path):
    """Scores, difference and p are those of the paired test over the examples of both."""
    one, other = result_of((0, 30)), result_of((25, 35), model="gru")
    paths = [str(write_result(result, tmp_path)) for result in (one, other)]
    (found,) = compare(*(side(path, tmp_path) for path in paths))
    expected = paired_test([one.test_scores.unpack()], [other.test_scores.unpack()])
    assert found.test == expected
    assert found.test.difference == pytest.approx(-20 / 300)
    assert (found.one.mean, found.other.mean) == (one.test.mean, other.test.mean)
    assert found.p_adjusted == found.test.p
    assert found.better == "B"
    assert found.one.spread == one.test.standard_error


def test_sides_exchanged(tmp_path):
    """Only the sign and the winner's side change."""
    results = result_of((0, 30)), result_of((25, 35), model="gru")
    names = [str(write_result(result, tmp_path)) for result in results]
    sides = [side(name, tmp_path) for name in names]
    (there,), (back,) = compare(*sides), compare(*reversed(sides))
    assert (there.test.difference, there.better) == (-back.test.difference, "B")
    assert (there.test.p, back.better) == (back.test.p, "A")


def test_the_lower_score_is_better_where_the_metric_says_so(tmp_path):
    """For an error the side with less of it wins."""
    metric = {"name": "mse", "higher_is_better": False}
    one, other = (
        side_of(tmp_path / name, result_of(wrong, metric=metric))
        for name, wrong in (("a", (0, 30)), ("b", (0, 2)))
    )
    (found,) = compare(one, other)
    assert found.test.difference < 0
    assert found.better == "A"


def test_models_are_looked_up_with_all_their_seeds(tmp_path):
    """MODEL and MODEL:PRESET; the mean and deviation are over seeds, on every common task."""
    results = [result_of((0, 10 + seed), seed, "lstm") for seed in range(3)]
    results += [result_of((0, 5), seed, "gru", preset) for seed in (0, 1) for preset in ("a", "b")]
    results += [result_of((0, 9), 0, "lstm", spec__task__name="pdigits")]
    lstm = side_of(tmp_path, *results, name="lstm")
    (found,) = compare(lstm, side("gru:b", tmp_path))
    assert found.one.seeds == "0, 1, 2"
    assert found.one.mean == pytest.approx(1 - 11 / 300)
    assert found.one.spread == pytest.approx(1 / 300)
    assert found.other.name == "gru:b"
    assert [pair.other.name for pair in compare(lstm, side("gru", tmp_path))] == ["gru:a", "gru:b"]


def test_the_best_training_by_validation_stands_for_a_model(tmp_path):
    """Never the one that is best on the test."""
    results = [
        result_of((0, 50), val=0.95, spec__train__weight_decay=0.1),
        result_of((0, 1), val=0.80, spec__train__weight_decay=0.2),
        result_of((0, 30), model="gru"),
    ]
    one = side_of(tmp_path, *results, name="lstm")
    (found,) = compare(one, side("gru", tmp_path))
    assert found.one.first.spec.train.weight_decay == 0.1


def test_a_training_with_three_seeds_stands_before_one_with_fewer(tmp_path):
    """As on the leaderboard, where one seed has no rank."""
    results = [
        result_of((0, 50), val=0.95, spec__train__weight_decay=0.1),
        *(result_of((0, 30), seed, val=0.8, spec__train__weight_decay=0.2) for seed in range(3)),
        result_of((0, 30), model="gru"),
    ]
    one = side_of(tmp_path, *results, name="lstm")
    (found,) = compare(one, side("gru", tmp_path))
    assert found.one.seeds == "0, 1, 2"


def evaluated(wrong, selection, val=0.99):
    """A result of weights from elsewhere, which are of the same preset as a trained model."""
    return result_of(
        wrong,
        val=val,
        status="evaluated",
        spec__train=None,
        spec__weights_sha256="af4771ef" * 8,
        origin__weights={"selection": selection},
    )


@pytest.mark.parametrize(("selection", "mark"), [("test", " selected on test"), ("unknown", "")])
def test_evaluated_weights_never_stand_for_a_trained_model(selection, mark, tmp_path):
    """They are contenders of their own, named by their hash and what they were selected on."""
    trained = result_of((0, 30), val=0.8)
    one = side_of(tmp_path, trained, evaluated((0, 1), selection), name="lstm")
    found = compare(one, side_of(tmp_path, result_of((0, 9), model="gru"), name="gru"))
    assert [(pair.one.name, pair.one.first.status) for pair in found] == [
        ("lstm:default", trained.status),
        (f"lstm:default, weights af4771ef{mark}", "evaluated"),
    ]


@pytest.mark.parametrize("settings", ["custom", "published"])
def test_step_budgets_are_compared_among_themselves(settings, tmp_path):
    """But a published recipe that counts in steps is a whole training, as on the leaderboard."""
    cut = {"spec__train__max_steps": 500, "origin__settings": settings}
    one = side_of(tmp_path, result_of((0, 30)), result_of((0, 40), val=0.8, **cut), name="lstm")
    other = side_of(tmp_path, result_of((0, 20), model="gru"), name="gru")
    assert [pair.one.mean for pair in compare(one, other)] == [0.9]
    other = side_of(tmp_path / "cut", result_of((0, 20), model="gru", **cut), name="gru")
    expected = 0.9 if settings == "published" else 1 - 40 / 300
    assert [pair.one.mean for pair in compare(one, other)] == [pytest.approx(expected)]


def test_two_directories_are_compared_model_by_model(tmp_path):
    """As before and after a change; what only one has, or is the same file in both, is left out."""
    same = result_of((0, 40), model="rnn")
    before = [same, result_of((0, 30)), result_of((0, 30), model="gru")]
    after = [same, result_of((0, 2), provenance__commit="f" * 40), result_of((0, 9), model="tcn")]
    (found,) = compare(side_of(tmp_path / "a", *before), side_of(tmp_path / "b", *after))
    assert found.one.name == found.other.name == "lstm:default"
    assert set(found.differences) == {"provenance.commit"}


def test_p_values_are_adjusted_over_all_that_is_compared(tmp_path):
    """Holm's method over the pairs shown together."""
    models = [result_of((0, 10 * rank), model=name) for rank, name in enumerate(["a", "b", "c"])]
    mine = side(str(write_result(result_of((5, 20)), tmp_path / "mine")), tmp_path)
    found = compare(mine, side_of(tmp_path / "all", *models))
    assert len(found) == 3
    assert [each.p_adjusted for each in found] == holm([each.test.p for each in found])


def test_comparisons_are_limited_to_tasks(tmp_path):
    """By name and by fields of the config, as they are shown; p is adjusted over what is left."""
    tasks = [("sdigits", {}), ("copy", {"length": 30}), ("copy", {"length": 300})]
    for name, config in tasks:
        changes = {"spec__task__name": name, "spec__task__config": config}
        write_result(result_of((0, 30), **changes), tmp_path)
        write_result(result_of((0, 9), model="gru", **changes), tmp_path)
    sides = side("lstm", tmp_path), side("gru", tmp_path)

    def found(*names):
        return sorted(pair.one.task_name for pair in compare(*sides, names))

    assert found() == ["copy (length=30)", "copy (length=300)", "sdigits"]
    assert found("sdigits", "copy") == found()
    assert found("copy") == found("length=30", "length=300") == found()[:2]
    assert found("copy", "length=30") == ["copy (length=30)"]
    (alone,) = compare(*sides, ["sdigits"])
    assert alone.p_adjusted == alone.test.p
    with pytest.raises(UnknownNameError, match="did you mean 'sdigits'") as refused:
        found("sdigit")
    assert refused.value.hint == "there are: copy, length=30, length=300, sdigits"
    with pytest.raises(ResultError, match="lstm has nothing, gru has nothing"):
        found("sdigits", "length=30")


def test_what_differs_is_shown_by_path(tmp_path):
    """Spec, origin, data and provenance, without what differs between any two runs."""
    one = result_of((0, 30))
    other = result_of(
        (0, 30),
        seed=3,
        spec__train__learning_rate=0.5,
        origin__settings="published",
        provenance__threads=2,
        provenance__started_at="2026-01-01T00:00:00+00:00",
        data__fit_sha256="ab" * 32,
    )
    (found,) = compare(*(side(str(write_result(r, tmp_path)), tmp_path) for r in (one, other)))
    assert found.differences == {
        "spec.train.learning_rate": (0.01, 0.5),
        "spec.seed": (0, 3),
        "origin.settings": ("custom", "published"),
        "data.fit_sha256": (one.data.fit_sha256, "ab" * 32),
        "provenance.threads": (1, 2),
    }
    assert found.better is None


def test_hashes_that_tell_nothing_are_not_shown(tmp_path):
    """Trials of a search, and the code of two plugins; another code of one plugin is."""
    code = "provenance__model_plugin__code"
    one = result_of((0, 30), origin__trials=["a"], **{code: ["ab"]})
    other = result_of((0, 30), 3, origin__trials=["b"], **{code: ["cd"]})
    name = {"provenance__model_plugin__distribution": "elsewhere"}
    third = result_of((0, 30), 4, origin__trials=["b"], **{code: ["cd"]}, **name)
    sides = [side(str(write_result(each, tmp_path)), tmp_path) for each in (one, other, third)]
    assert set(compare(*sides[:2])[0].differences) == {"spec.seed", code.replace("__", ".")}
    expected = {"spec.seed", *(key.replace("__", ".") for key in name)}
    assert set(compare(sides[0], sides[2])[0].differences) == expected


def test_costs_are_medians_where_all_runs_have_them(tmp_path):
    """A cost that one run lacks is none."""
    results = [
        result_of((0, 3), seed, cost__latency_seconds=latency, cost__peak_bytes=peak)
        for seed, (latency, peak) in enumerate([(0.1, 7), (0.4, None), (0.2, 8)])
    ]
    one = side_of(tmp_path, *results, result_of((0, 9), model="gru"), name="lstm")
    costs = {name: pair for name, *pair in compare(one, side("gru", tmp_path))[0].costs}
    assert costs["latency_seconds"][0] == 0.2
    assert costs["peak_bytes"][0] is None


def test_different_test_data_are_refused(tmp_path):
    """However alike the tasks are."""
    other = result_of((0, 3), data__test_sha256="ab" * 32, data__official=False, data__label="JPEG")
    sides = [side_of(tmp_path / "a", result_of((0, 9))), side_of(tmp_path / "b", other)]
    for pair in itertools.permutations(sides):
        with pytest.raises(ResultError, match=r"test data differ.*sdigits ed968736 \(official\)"):
            compare(*pair)


@pytest.mark.parametrize(
    "changes",
    [
        {"spec__task__name": "pdigits"},
        {"spec__task__version": 2},
        {"spec__task__config": {"length": 3}},
        {"metric__name": "top-5"},
    ],
)
def test_different_tasks_are_refused(changes, tmp_path):
    """Name, version, config and metric make a task what it is."""
    sides = [
        side_of(tmp_path / str(index), result)
        for index, result in enumerate([result_of((0, 9)), result_of((0, 3), **changes)])
    ]
    with pytest.raises(ResultError, match=r"nothing to compare.*on sdigits v1"):
        compare(*sides)


def test_a_result_is_not_compared_with_itself(tmp_path):
    """Under whatever name; two trainings of one preset are told apart by their files."""
    path = write_result(result_of((0, 9)), tmp_path)
    with pytest.raises(ResultError, match=r"both sides are the same results\nhint: name two files"):
        compare(side(str(path), tmp_path), side("lstm", tmp_path))
    other = write_result(result_of((0, 30), spec__train__weight_decay=0.1), tmp_path)
    with pytest.raises(ResultError, match="both sides are the same results"):
        compare(side("lstm", tmp_path), side(str(tmp_path), tmp_path))
    (found,) = compare(side(str(path), tmp_path), side(str(other), tmp_path))
    assert found.one.name == found.other.name


def test_names_that_stand_for_nothing(tmp_path):
    """An unknown model offers those that are there; a file must be whole and tested."""
    path = write_result(result_of((0, 9)), tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'lstm'"):
        side("lsmt", tmp_path)
    with pytest.raises(ResultError, match="no results below"):
        side("lstm", tmp_path / "empty")
    for name in ("nothing.json", f"nowhere{os.sep}lstm"):
        with pytest.raises(ResultError, match=f"no such file or directory: {name}"):
            side(name, tmp_path / "empty")
    failed = result_of((0, 9), 1, test=None, test_scores=None, status="failed")
    with pytest.raises(ResultError, match="no test scores"):
        side(str(write_result(failed, tmp_path)), tmp_path)
    path.write_text(path.read_text()[:99])
    for name in (str(path), str(tmp_path), "lstm"):
        with pytest.raises(ResultError, match="not readable JSON"):
            side(name, tmp_path)


def test_only_names_that_can_be_typed_are_offered(tmp_path):
    """Models and presets, not what their weights were trained on or selected on."""
    results = [evaluated((0, 1), "test"), result_of((0, 9), model="gru", preset="b")]
    with pytest.raises(UnknownNameError) as refused:
        side_of(tmp_path, *results, name="lstm:b")
    assert refused.value.hint == "there are: gru, gru:b, lstm, lstm:default"


def test_the_command_shows_scores_tests_and_differences(tmp_path, capsys, monkeypatch):
    """Of two models in a directory, without importing torch."""
    monkeypatch.setenv("COLUMNS", "200")
    for result in (result_of((0, 30)), result_of((25, 35), model="gru")):
        write_result(result, tmp_path)
    arguments = ["compare", "lstm", "gru", "--in", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert not stop.value.code
    out = capsys.readouterr().out
    for part in ("90.00 ±", "96.67 ±", "-6.67", "300", "p: exact sign-flip test, after", "better"):
        assert part in out
    for part in ("parameters", "spec.model.name"):
        assert part in out
    code = (
        "import contextlib, sys\nfrom seqbench.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main({arguments!r})\n"
        "assert not {'torch', 'seqbench_rnn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def shown(tmp_path, capsys, monkeypatch, *arguments, columns=80):
    """What the command prints for ``lstm`` and ``gru`` in a directory, lines joined by a space."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", "lstm", "gru", "--in", str(tmp_path), *arguments])
    assert not stop.value.code
    return " ".join(capsys.readouterr().out.split())


def test_unequal_trainings_are_shown_to_be_unequal(tmp_path, capsys, monkeypatch):
    """Their lengths where these differ, the model's settings made by hand, and whose they are."""
    by_hand = {"origin__overrides": {"model.hidden": 9}, "spec__model__config__hidden": 9}
    write_result(result_of((0, 30), spec__train__epochs=10, **by_hand), tmp_path)
    write_result(result_of((0, 30), model="gru", spec__train__epochs=1), tmp_path)
    out = shown(tmp_path, capsys, monkeypatch)
    assert "A: lstm:default (hidden=9), seed 0; settings: custom B: gru:default, seed 0" in out
    assert " 10 epochs 1 epoch " in out
    assert "Of several trainings of a preset the best by validation is shown" in out
    write_result(result_of((0, 30), 1, spec__train__epochs=1), tmp_path / "alike")
    write_result(result_of((0, 30), 1, model="gru", spec__train__epochs=1), tmp_path / "alike")
    assert " 1 epoch " not in shown(tmp_path / "alike", capsys, monkeypatch)


def test_evaluated_weights_are_told_to_be_unranked(tmp_path, capsys, monkeypatch):
    """In the heading and in the notes; of their training nothing is known."""
    for result in (evaluated((0, 1), "test"), result_of((0, 9), model="gru")):
        write_result(result, tmp_path)
    out = shown(tmp_path, capsys, monkeypatch)
    assert "A: lstm:default, weights af4771ef selected on test, seed 0 B:" in out
    assert " unknown 2" in out
    assert "Weights were evaluated only: they are never ranked." in out


def test_costs_have_units(tmp_path, capsys, monkeypatch):
    """As on boards."""
    costs = {"cost__peak_bytes": 629_067_776, "cost__latency_seconds": 0.001359}
    costs |= {"cost__flops": 35_346_520, "cost__throughput": 7824.0, "cost__parameters": 1234}
    for model in ("lstm", "gru"):
        write_result(result_of((0, 30), model=model, **costs), tmp_path)
    out = shown(tmp_path, capsys, monkeypatch, "--task", "sdigits")
    for part in ("629 MB", "1.36 ms", "35.3 M", "7.82 k/s", "1,234"):
        assert part in out


def test_p_is_written_as_on_boards(tmp_path, capsys, monkeypatch):
    """Down to a thousandth, adjusted over a number of comparisons that is said."""
    for model, wrong in (("lstm", (0, 300)), ("gru", (0, 0))):
        for task in ("sdigits", "pdigits"):
            for seed in (0, 1):
                write_result(result_of(wrong, seed, model, spec__task__name=task), tmp_path)
    out = shown(tmp_path, capsys, monkeypatch)
    assert "-100.00 <0.001 B" in out
    assert "Holm's adjustment over the 2 comparisons shown" in out
    assert "sign-flip test, of several seeds approximate, after" in out


def test_old_results_compare(tmp_path):
    """Results of older versions, whose fields are fewer, with one of this."""
    old = next((Path(__file__).parent / "results").glob("v1/**/lstm-*.json"))
    (found,) = compare(side(str(old), tmp_path), side_of(tmp_path, result_of((0, 9), model="gru")))
    assert found.one.first == read_result(old)
