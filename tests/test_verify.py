"""Tampering that a fresh id and a fresh digest hide is found by what it contradicts."""

from __future__ import annotations

import base64
import copy
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from seqbench import cli
from seqbench.errors import ResultError
from seqbench.recipes import check_recipe
from seqbench.resolve import resolve
from seqbench.result import Packed, Result, Status, read_result, score_of, write_result
from seqbench.spec import Request, RunSpec
from seqbench.verify import CHECKS, Severity, verify

ROOT = Path(__file__).parents[1]
OLD = sorted((ROOT / "tests" / "results").glob("v*/**/*.json"))
LSTM = json.loads(next(p for p in OLD if p.name.startswith("lstm")).read_text())
GRU = json.loads(next(p for p in OLD if p.name.startswith("gru")).read_text())


def result_from(data) -> Result:
    """A result with the id of its spec, whatever was done to either."""
    return Result.model_validate(data | {"id": RunSpec.model_validate(data["spec"]).id})


def tampered(genuine, change) -> Result:
    """A genuine result after a change, with a fresh id; writing it seals it anew."""
    data = copy.deepcopy(genuine)
    change(data)
    return result_from(data)


def errors_in(directory) -> set[str]:
    """Where there are errors."""
    return {
        finding.problem.where
        for finding in verify(directory).findings
        if finding.problem.severity is Severity.ERROR
    }


def setting(path, value):
    """A change that sets one field by its dotted path; a number of a list counts from 0."""

    def change(data):
        *parents, last = (int(p) if p.lstrip("-").isdecimal() else p for p in path.split("."))
        for part in parents:
            data = data[part]
        data[last] = value(data[last]) if callable(value) else value

    return change


def both(*changes):
    """Several changes."""

    def change(data):
        for each in changes:
            each(data)

    return change


def scores(new, *, honest=True):
    """A change of the scores per example, with or without the aggregates that follow from them."""

    def change(data):
        old = Packed.model_validate(data["test_scores"]).unpack()
        packed = Packed.pack(new(old))
        data["test_scores"] = packed.model_dump()
        if honest:
            data["test"] = score_of(packed.unpack()).model_dump()

    return change


def raw(new):
    """A change of the bytes below the packed scores."""

    def change(data):
        content = zlib.decompress(base64.b64decode(data["test_scores"]["data"]))
        data["test_scores"]["data"] = base64.b64encode(new(content)).decode()

    return change


def recompressed(new):
    """A change of the packed bytes, compressed as they should be."""
    return raw(lambda content: zlib.compress(new(content)))


def first_wrong_made_right(old):
    """One more example right."""
    index = old.index(0.0)
    return [*old[:index], 1.0, *old[index + 1 :]]


def without_last_epoch(data):
    """A run cut short."""
    data["curve"].pop()
    data["cost"]["train_seconds"] = sum(p["train_seconds"] for p in data["curve"])
    rate = len(data["curve"]) * 1_197 / data["cost"]["train_seconds"]
    data["cost"]["examples_per_second"] = rate


RATES = {f"curve[{epoch}].learning_rate" for epoch in range(1, 26)}
STEPS = {f"curve[{epoch}].steps" for epoch in range(1, 26)}
STEPS_FROM_16 = {f"curve[{epoch}].steps" for epoch in range(16, 26)}

TAMPERING = {
    "a better mean": (setting("test.mean", 0.93), {"test.mean"}),
    "a mean above one": (setting("test.mean", 1.2), {"test.mean"}),
    "a smaller standard error": (setting("test.standard_error", 0.001), {"test.standard_error"}),
    "more examples": (setting("test.n", 3000), {"test.n"}),
    "one more example right": (
        scores(first_wrong_made_right, honest=False),
        {"test.mean", "test.standard_error"},
    ),
    "a wrong example left out": (
        scores(lambda old: [s for i, s in enumerate(old) if i != old.index(0.0)]),
        {"test.n"},
    ),
    "half right": (scores(lambda old: [max(s, 0.5) for s in old]), {"test_scores"}),
    "more than right": (scores(lambda old: [1.5 * s for s in old]), {"test_scores"}),
    "bits as float32": (
        lambda data: data["test_scores"].update(
            encoding="float32",
            data=Packed.pack([*Packed(**data["test_scores"]).unpack()[:-1], 0.5]).data,
        ),
        {"test_scores", "test.mean", "test.standard_error"},
    ),
    "a byte too many": (recompressed(lambda content: content + b"\0"), {"test_scores"}),
    "a byte too few": (recompressed(lambda content: content[:-1]), {"test_scores"}),
    "padding that says something": (
        recompressed(lambda content: content[:-1] + bytes([content[-1] | 1])),
        {"test_scores"},
    ),
    "something after the scores": (
        raw(lambda content: zlib.compress(content) + b"hidden"),
        {"test_scores"},
    ),
    "a bomb": (raw(lambda _: zlib.compress(bytes(10**8))), {"test_scores"}),
    "not compressed": (raw(lambda content: content), {"test_scores"}),
    "not base64": (setting("test_scores.data", "?"), {"test_scores"}),
    "no scores": (setting("test_scores", None), {"test_scores"}),
    "another epoch": (setting("chosen_epoch", 25), {"chosen_epoch"}),
    "an epoch that is not there": (setting("chosen_epoch", 26), {"chosen_epoch"}),
    "a better validation score": (
        setting("val.mean", 0.97),
        {"val.mean", "val.standard_error"},
    ),
    "a better validation score everywhere": (
        both(setting("val.mean", 0.97), setting("curve.21.val_score", 0.97)),
        {"val.standard_error"},
    ),
    "a score that 300 examples cannot have": (
        setting("curve.3.val_score", 0.5551),
        {"curve[4].val_score"},
    ),
    "an epoch left out": (
        lambda data: data["curve"].pop(10),
        {"curve.epoch", "chosen_epoch", "cost.train_seconds", "cost.examples_per_second"},
    ),
    "a run cut short": (without_last_epoch, {"curve"}),
    "a spec of more epochs": (setting("spec.train.epochs", 50), {"curve"} | RATES),
    "a spec of fewer steps": (setting("spec.train.max_steps", 300), RATES | STEPS_FROM_16),
    "a spec of another batch size": (
        setting("spec.train.batch_size", 32),
        {"cost.examples_per_second"} | RATES | STEPS,
    ),
    "a spec of another learning rate": (setting("spec.train.learning_rate", 1e-3), RATES),
    "one other learning rate": (setting("curve.7.learning_rate", 0.5), {"curve[8].learning_rate"}),
    "steps that do not increase": (setting("curve.7.steps", 133), {"curve[8].steps"}),
    "no step": (setting("curve.0.steps", 0), {"curve[1].steps"}),
    "an epoch without a loss": (setting("curve.7.train_loss", None), {"curve[8]"}),
    "less training time": (
        setting("cost.train_seconds", 1.0),
        {"cost.train_seconds"},
    ),
    "processor time that no epoch has": (
        setting("cost.train_cpu_seconds", 1.0),
        {"cost.train_cpu_seconds"},
    ),
    "more throughput": (setting("cost.examples_per_second", 9e9), {"cost.examples_per_second"}),
    "an epoch before its beginning": (
        setting("curve.7.train_seconds", -1.0),
        {"curve[8].train_seconds", "cost.train_seconds", "cost.examples_per_second"},
    ),
    "no parameters": (setting("cost.parameters", 0), {"cost.parameters"}),
    "no FLOPs": (setting("cost.flops", 0), {"cost.flops"}),
    "negative latency": (setting("cost.latency_seconds", -0.1), {"cost.latency_seconds"}),
    "other training data": (setting("data.fit_sha256", "ab" * 32), {"data.fit_sha256"}),
    "other test data": (setting("data.test_sha256", "ab" * 32), {"data.test_sha256"}),
    "no fingerprint": (setting("data.source_sha256", "unknown"), {"data.source_sha256"}),
    "official data disowned": (
        setting("data.official", False),  # noqa: FBT003
        {"data.official"},
    ),
    "a loss too low for the score": (setting("test_loss", 0.01), {"test_loss"}),
    "a loss too high for a perfect score": (
        both(scores(lambda old: [1.0 for _ in old]), setting("test_loss", 2.4)),
        {"test_loss"},
    ),
    "another metric": (setting("metric.name", "top-5"), {"metric"}),
    "another signature": (setting("signature.in_channels", 2), {"signature"}),
    "made tomorrow and more": (
        setting("provenance.started_at", "2999-01-01T00:00:00+00:00"),
        {"provenance.started_at"},
    ),
    "made at no time": (setting("provenance.started_at", "today"), {"provenance.started_at"}),
    "in no time": (setting("provenance.seconds", 0), {"provenance.seconds"}),
    "an error that did not matter": (setting("error", "RuntimeError"), {"error"}),
    "a limit that did not matter": (setting("time_limit_seconds", 5.0), {"time_limit_seconds"}),
    "trained, said to be evaluated": (
        setting("status", "evaluated"),
        {"chosen_epoch", "curve", "spec.train"},
    ),
    "failed, with a score": (
        both(setting("status", "failed"), setting("error", "too bad")),
        {"test", "test_loss", "test_scores"},
    ),
    "a recipe of nobody": (setting("origin.settings", "published"), {"origin.recipe_source"}),
}

OF_ERRORS = {
    "the other way round": (setting("metric.higher_is_better", True), {"metric", "chosen_epoch"}),  # noqa: FBT003
    "less than no error": (
        scores(lambda old: [s - 1 for s in old]),
        {"test_scores"},
    ),
    "more float32 than there are": (
        recompressed(lambda content: content + bytes(4)),
        {"test_scores"},
    ),
    "not a number": (
        lambda data: data["test_scores"].update(
            data=Packed.pack([float("nan")] * data["test_scores"]["n"]).data
        ),
        {"test_scores"},
    ),
    "a negative spread": (setting("val.standard_error", -0.1), {"val.standard_error"}),
}


@pytest.mark.parametrize(
    ("genuine", "change", "where"),
    [
        *(pytest.param(LSTM, *case, id=name) for name, case in TAMPERING.items()),
        *(pytest.param(GRU, *case, id=name) for name, case in OF_ERRORS.items()),
    ],
)
def test_tampering_is_found_by_what_it_contradicts(genuine, change, where, tmp_path):
    """The errors are exactly those places, though id and digest are right; all are on that file."""
    result = tampered(genuine, change)
    write_result(result, tmp_path)
    assert errors_in(tmp_path) == where
    assert {finding.path for finding in verify(tmp_path).findings} == {result.path}


@pytest.mark.parametrize("genuine", [LSTM, GRU], ids=["accuracy", "mse"])
def test_genuine_results_have_no_finding(genuine, tmp_path):
    """What the tampering starts from is right."""
    write_result(result_from(genuine), tmp_path)
    assert verify(tmp_path).findings == ()


def test_old_results_pass(tmp_path):
    """Results of every older version have no error; trials stand with trials."""
    for path in OLD:
        result = read_result(path)
        write_result(result, tmp_path / ("trials" if result.status is Status.TRIAL else ""))
    assert errors_in(tmp_path) == set()
    assert verify(tmp_path).files == len(OLD)


def test_committed_results_pass():
    """leaderboards/ has no error, its published settings included."""
    verification = verify(ROOT / "leaderboards", [check_recipe])
    assert verification.count(Severity.ERROR) == 0
    files = list((ROOT / "leaderboards").glob("**/results/**/*.json"))
    assert verification.files == len(files)


WARNINGS = {
    "changed checkout": (setting("provenance.dirty", True), "provenance.dirty"),  # noqa: FBT003
    "no commit": (setting("provenance.commit", None), "provenance.commit"),
    "no finite test loss": (setting("test_loss", None), "test_loss"),
    "data without a record": (setting("spec.task.config", {"length": 51}), "data.official"),
}


@pytest.mark.parametrize("case", WARNINGS)
def test_what_proves_nothing_is_a_warning(case, tmp_path):
    """It is named, and the result passes."""
    change, where = WARNINGS[case]
    write_result(tampered(GRU, change), tmp_path)
    (finding,) = verify(tmp_path).findings
    assert (finding.problem.where, finding.problem.severity) == (where, Severity.WARNING)


def test_a_file_that_is_no_whole_result(tmp_path):
    """A digest that does not fit, NaN, a foreign id and no JSON: one error each, by file."""
    path = write_result(result_from(LSTM), tmp_path)
    text = path.read_text()
    damage = {
        "a.json": text.replace('"mean": 0.92', '"mean": 0.93'),
        "b.json": text.replace('"test_loss": 0.3', '"test_loss": NaN, "x": 0.3'),
        "c.json": text.replace('"seed": 0', '"seed": 1'),
        "d.json": text[:999],
    }
    parts = ["digest", "not a valid result", "hash of the spec", "JSON"]
    for name, content in damage.items():
        assert content != text
        path.with_name(name).write_text(content)
    findings = verify(tmp_path).findings
    assert [finding.path.name for finding in findings] == list(damage)
    for finding, part in zip(findings, parts, strict=True):
        assert finding.problem.where == "file"
        assert part in str(finding)


def test_a_file_in_the_wrong_place_and_there_twice(tmp_path):
    """A copy under another name is out of place and a duplicate."""
    path = write_result(result_from(LSTM), tmp_path)
    path.with_name("mine.json").write_bytes(path.read_bytes())
    assert errors_in(tmp_path) == {"file", "id"}


def test_a_run_copied_under_another_seed(tmp_path):
    """Consistent by itself; beside the original, the same bits of another seed give it away."""
    copied = tampered(LSTM, setting("spec.seed", 1))
    write_result(copied, tmp_path / "alone")
    assert errors_in(tmp_path / "alone") == set()
    for result in (result_from(LSTM), copied):
        write_result(result, tmp_path / "both")
    assert errors_in(tmp_path / "both") == {"curve", "test_scores"}


def test_the_same_epoch_chosen_within_two_budgets_is_no_copy(tmp_path):
    """A longer run of the same seed may have the same best epoch: a warning alone."""
    longer = tampered(GRU, setting("spec.train.weight_decay", 1e-9))
    for result in (result_from(GRU), longer):
        write_result(result, tmp_path)
    assert errors_in(tmp_path) == set()
    assert {finding.problem.where for finding in verify(tmp_path).findings} == {
        "curve",
        "test_scores",
    }


def test_results_that_contradict_each_other(tmp_path):
    """The same data with another fingerprint, the same network with another size: the odd one."""
    for seed in range(3):
        odd = seed == 1
        fresh = both(
            setting("spec.seed", seed),
            setting("spec.task.config.length", 51),
            setting("test_loss", lambda loss, seed=seed: loss + seed),
            setting("curve.0.train_loss", lambda loss, seed=seed: loss + seed),
            setting("data.fit_sha256", ("1f" if odd else "0f") * 32),
            setting("data.test_sha256", ("1e" if odd else "0e") * 32),
            setting("cost.parameters", 50_817 + odd),
        )
        write_result(tampered(GRU, fresh), tmp_path)
    errors = [f for f in verify(tmp_path).findings if f.problem.severity is Severity.ERROR]
    assert {finding.problem.where for finding in errors} == {
        "data.fit_sha256",
        "data.test_sha256",
        "cost.parameters",
    }
    assert {"-seed1-" in finding.path.name for finding in errors} == {True}


def learn(data):
    """A quantity that a network might have learned, at every epoch."""
    for point in data["curve"]:
        point["learned"] = {"kernel_size": [float(point["epoch"])]}


@pytest.mark.parametrize(("size", "where"), [(4.0, set()), (1.0, {"learned"})])
def test_learned_quantities_are_those_of_the_chosen_epoch(size, where, tmp_path):
    """Kernel sizes of another epoch than the tested one are found."""
    change = both(learn, setting("learned", {"kernel_size": [size]}))
    write_result(tampered(GRU, change), tmp_path)
    assert errors_in(tmp_path) == where


def trial_of(rate, score):
    """A trial of one learning rate, as a search leaves it."""
    result = tampered(
        LSTM,
        both(
            setting("spec.train.learning_rate", rate),
            setting("status", "trial"),
            setting("test", None),
            setting("test_scores", None),
            setting("test_loss", None),
            setting("data.test_sha256", None),
            setting("data.test_source_sha256", None),
        ),
    )
    curve = [
        point.model_copy(update={"learning_rate": point.learning_rate * rate / 1e-2})
        for point in result.curve
    ]
    n = result.val.n
    val = score_of([1.0] * score + [0.0] * (n - score))
    curve[21] = curve[21].model_copy(update={"val_score": val.mean})
    return result.model_copy(update={"val": val, "curve": tuple(curve)})


@pytest.mark.parametrize(("other_score", "where"), [(286, set()), (295, {"origin.trials"})])
def test_searched_settings_are_those_of_the_best_trial(other_score, where, tmp_path):
    """Where the trials are there, another one that was better by validation is an error."""
    trials = [trial_of(1e-2, 287), trial_of(3e-3, other_score)]
    ids = [trial.id for trial in trials]
    change = both(
        setting("origin.settings", "searched"),
        setting("origin.trials", ids),
        setting("spec.seed", 1),
    )
    write_result(tampered(LSTM, change), tmp_path)
    (finding,) = verify(tmp_path).findings
    assert (finding.problem.where, finding.problem.severity) == ("origin.trials", Severity.WARNING)
    for trial in trials:
        write_result(trial, tmp_path / "trials")
    errors = [f for f in verify(tmp_path).findings if f.problem.severity is Severity.ERROR]
    assert {f.problem.where for f in errors if "trials" not in f.path.parts} == where


def test_trials_that_were_not_copied_are_one_warning(tmp_path):
    """Where there are none at all."""
    for genuine in (LSTM, GRU):
        write_result(tampered(genuine, setting("origin.settings", "searched")), tmp_path)
    found = [f for f in verify(tmp_path).findings if f.problem.where == "origin.trials"]
    expected = "found no trials of 2 results, expected all of them, below trials/results"
    assert [str(f) for f in found] == [f"warning  results  origin.trials: {expected}"]


def test_trials_stand_apart_and_see_no_test_data(tmp_path):
    """A trial among results and a test score among trials are errors."""
    write_result(trial_of(1e-2, 287), tmp_path)
    write_result(result_from(LSTM), tmp_path / "trials")
    assert errors_in(tmp_path) == {"status", "test"}


def published(**settings) -> Result:
    """A result on the tiny task that says its settings are published."""
    plan = resolve(Request("tiny-sum", "tiny-mlp:large", settings=settings))
    changes = {
        "spec": plan.spec.model_dump(mode="json"),
        "origin": plan.origin.model_dump(mode="json") | {"settings": "published"},
    }
    return result_from(LSTM | changes)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({}, set()),
        ({"train.epochs": 9}, {"spec.train.epochs"}),
        ({"model.dropout": 0.0}, {"spec.model.config.dropout"}),
    ],
)
def test_published_settings_are_those_of_the_recipe(settings, where):
    """With the plugin installed, every field that differs from its recipe is found."""
    assert {problem.where for problem in check_recipe(published(**settings))} == where


@pytest.mark.parametrize(
    ("change", "severity", "part"),
    [
        (setting("origin.preset", "small"), Severity.ERROR, "no recipe of tiny-mlp:small"),
        (setting("origin.preset", "huge"), Severity.WARNING, "no preset"),
        (setting("spec.model.name", "elsewhere"), Severity.WARNING, "no model named"),
        (setting("spec.model.version", 7), Severity.WARNING, "version 7 of tiny-mlp"),
    ],
)
def test_settings_without_a_recipe_to_hold_them_against(change, severity, part):
    """A preset without a recipe is an error; a plugin that is not there proves nothing."""
    data = published().model_dump(mode="json")
    (problem,) = check_recipe(tampered(data, change))
    assert problem.severity is severity
    assert part in str(problem)
    assert not list(check_recipe(tampered(data, setting("origin.settings", "custom"))))


def test_nothing_to_verify(tmp_path):
    """A directory without results is said to be one."""
    with pytest.raises(ResultError, match="no results"):
        verify(tmp_path)


def test_the_command_exits_by_what_is_found(tmp_path, capsys):
    """One line a finding with the file, what was found and expected; 1 if there is an error."""
    path = write_result(tampered(GRU, setting("provenance.dirty", True)), tmp_path)  # noqa: FBT003
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(tmp_path), "--plugins"])
    assert not stop.value.code
    assert "results: 1, errors: 0, warnings: 1" in capsys.readouterr().out
    write_result(tampered(GRU, setting("cost.parameters", 0)), tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", str(tmp_path)])
    assert stop.value.code == 1
    line, summary = capsys.readouterr().out.splitlines()
    name = path.relative_to(tmp_path)
    assert line.split("  ")[-2:] == [str(name), "cost.parameters: found 0, expected more than zero"]
    assert line.startswith("error")
    assert summary == "results: 1, errors: 1, warnings: 0"


def test_files_are_verified_without_torch(tmp_path):
    """Neither torch nor a plugin is imported."""
    write_result(result_from(LSTM), tmp_path)
    code = (
        "import contextlib, sys\nfrom seqbench.cli import main\n"
        f"with contextlib.suppress(SystemExit):\n    main(['verify', {str(tmp_path)!r}])\n"
        "assert not {'torch', 'numpy', 'seqbench_rnn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


ONLY_A_RUN_CAN_TELL = {
    *(f"spec.model.config.{name}" for name in ("hidden_size", "layers", "forget_bias")),
    *(f"spec.train.{name}" for name in ("weight_decay", "gradient_clip", "warmup_epochs")),
    *(f"curve.N.{name}" for name in ("train_loss", "val_loss", "val_score")),
    *(f"cost.{name}" for name in ("parameters", "flops", "peak_bytes", "throughput")),
    *(f"cost.{name}" for name in ("latency_seconds", "throughput_batch")),
    *(f"provenance.{name}" for name in ("threads", "seconds")),
    *("schema_version", "spec.model.version", "spec.seed"),
    *("test_loss", "val.standard_error"),
}
"""Numbers that may be anything as far as a result by itself shows."""


def numbers_in(data, path=""):
    """Dotted paths of all numbers."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        here = f"{path}.{key}" if path else str(key)
        if isinstance(value, dict | list):
            yield from numbers_in(value, here)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield here


@pytest.mark.parametrize("genuine", [LSTM, GRU], ids=["accuracy", "mse"])
@pytest.mark.parametrize("value", [0, -1, 10**12, 1e308, 1e-308])
def test_no_number_stops_verification(genuine, value):
    """Whatever number a valid result has, checks come to an end; most are found to be changed."""
    unnoticed = set()
    outcome = {name: part for name, part in genuine.items() if name != "origin"}
    for path in numbers_in(outcome):
        try:
            result = tampered(genuine, setting(path, value))
        except ValidationError:
            continue
        if not any(problem for check in CHECKS for problem in check(result)):
            unnoticed.add(re.sub(r"\d+", "N", path))
    assert unnoticed <= ONLY_A_RUN_CAN_TELL
