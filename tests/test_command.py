"""The command shown for a result means that result's run."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from seqbench import cli, runner
from seqbench.command import command_of
from seqbench.model import load_model
from seqbench.resolve import Plan, resolve
from seqbench.result import Plugin, Provenance, Result, Status, Weights, read_results
from seqbench.spec import Request
from seqbench.suite import load_suite, requests_of
from seqbench.task import load_task

ROOT = Path(__file__).parent.parent
COMMITTED, _ = read_results(ROOT / "leaderboards")
PLUGIN = Plugin(distribution="d", version="1", entry_point="m:C")


class Understood(Exception):  # noqa: N818  (ends a command, is no error)
    """What the command line would run, instead of the run."""


@pytest.fixture
def spec_of(monkeypatch, tmp_path):
    """The spec that the command line makes of a command, given the hash of its weights.

    The files of parents are found where a run leaves them.
    """
    (tmp_path / "runs").symlink_to(ROOT / "leaderboards")
    monkeypatch.chdir(tmp_path)

    def run(plan, *_, **__):
        raise Understood(plan.spec)

    def call(command, sha256=None):
        for name in ("run", "attempt", "run_evaluation"):
            monkeypatch.setattr(runner, name, run)
        file = SimpleNamespace(sha256=sha256)
        monkeypatch.setattr("seqbench.weights.read_weights", lambda _: file)
        program, *words = shlex.split(command)
        assert program == "seqbench"
        with pytest.raises(Understood) as understood:
            cli.main(words)
        return understood.value.args[0]

    return call


def result_of(plan: Plan, **machine) -> Result:
    """A result of a plan, as far as the command depends on it."""
    provenance = Provenance(
        seqbench="0",
        task_plugin=PLUGIN,
        model_plugin=PLUGIN,
        packages={},
        python="3",
        platform="p",
        commit=None,
        dirty=None,
        device_name="d",
        started_at="2026",
        seconds=1.0,
        **({"device": "cpu", "threads": 1} | machine),
    )
    metric = {"name": "accuracy", "higher_is_better": True}
    return Result(
        id=plan.spec.id,
        spec=plan.spec,
        origin=plan.origin,
        status=Status.OK,
        metric=metric,
        provenance=provenance,
    )


def current(result):
    """Whether the installed plugins have the versions that the result was made with."""
    parts = ((load_task, result.spec.task), (load_model, result.spec.model))
    return all(load(part.name).version == part.version for load, part in parts)


@pytest.mark.parametrize("result", COMMITTED, ids=lambda result: result.id)
def test_the_command_of_a_committed_result_means_its_spec(result, spec_of):
    """To the last bit of its hash, with the plugins' current presets and recipes."""
    if not current(result):
        pytest.skip("of an older version of a task or model")
    assert spec_of(command_of(result), result.spec.weights_sha256).id == result.id


@pytest.mark.parametrize("request_", requests_of(load_suite("quick")), ids=str)
def test_the_command_of_a_suite_s_run_means_its_spec(request_, spec_of):
    """A suite's settings are said as options."""
    plan = resolve(request_)
    assert spec_of(command_of(result_of(plan))) == plan.spec


@pytest.mark.parametrize(
    "settings",
    [
        {"train.max_steps": None, "train.gradient_clip": 0.5},
        {"train.schedule.kind": "plateau", "train.schedule.patience": 3},
        {"model.layers": 2, "train.learning_rate": "1e-4", "train.precision": "bfloat16-mixed"},
    ],
)
def test_values_of_every_kind_are_spelled_so_that_they_are_read_back(settings, spec_of):
    """Numbers, nothing, words, and whatever the schedule brings."""
    plan = resolve(Request("copy-memory", "gru", {"length": 17}, settings, seed=4))
    assert spec_of(command_of(result_of(plan))) == plan.spec


def test_a_string_that_spells_a_number_stays_a_string():
    """It is quoted twice: for JSON and for the shell."""
    plan = resolve(Request("sdigits", "gru"))
    origin = plan.origin.model_copy(update={"overrides": {"model.a": "1", "model.b": "it's"}})
    command = command_of(result_of(Plan(plan.spec, origin)))
    assert """--set 'model.a="1"' --set 'model.b=it'"'"'s'""" in command


def test_device_and_threads_are_named_where_they_are_not_the_usual_ones():
    """They decide bits and times, so leaving them out would not be exact."""
    plan = resolve(Request("sdigits", "gru", seed=2))
    assert command_of(result_of(plan)) == "seqbench run sdigits gru:default --seed 2"
    elsewhere = command_of(result_of(plan, device="cuda", threads=4))
    assert elsewhere == "seqbench run sdigits gru:default --device cuda --threads 4 --seed 2"


def test_weights_from_elsewhere_are_evaluated_not_trained(spec_of):
    """By the name of their file where it is known; there is no seed."""
    sha256 = "ab" * 32
    plan = resolve(Request("smnist", "ckconv", {}, {"model.dropout": 0}), sha256)
    assert "--weights FILE" in command_of(result_of(plan))
    named = plan.origin.model_copy(update={"weights": Weights(file="a b.pt")})
    command = command_of(result_of(Plan(plan.spec, named)))
    assert "evaluate smnist" in command
    assert command.endswith("--weights 'a b.pt' --set model.dropout=0")
    assert spec_of(command, sha256) == plan.spec
