"""A run that starts from the weights of another one, at the sampling rate of its own task."""

from __future__ import annotations

import json
import shlex

import pytest
import torch

from seqbench import cli, runner
from seqbench.boards import render_csv, render_markdown
from seqbench.boards.ranking import rank
from seqbench.command import command_of
from seqbench.compare import compare, side
from seqbench.errors import ConfigError, ModelError
from seqbench.execute import Effort, run_suite
from seqbench.reproduce import reproduce
from seqbench.resolve import Plan, resolve, resolve_child
from seqbench.result import Status, read_result, read_results, write_result
from seqbench.runner import Place, run
from seqbench.spec import Request
from seqbench.suite import load_suite
from seqbench.task import load_task
from seqbench.verify import verify

TRAINING = {"train.epochs": 4, "train.learning_rate": 0.03}
HALF = {"rate": 0.5}


def parent_of(model="tiny-rated", task="tiny-wave", **fields):
    """A training at the full rate."""
    return Request(task, model, settings=TRAINING, **fields)


def as_it_is(model="tiny-rated", seed=0, **fields):
    """Its weights, tested at half the rate."""
    above = parent_of(model, seed=seed)
    return Request("tiny-wave", model, HALF, seed=seed, parent=above, trained=False, **fields)


def tuned(model="tiny-rated"):
    """Its weights, trained further at half the rate."""
    return Request("tiny-wave", model, HALF, {"train.epochs": 1}, parent=parent_of(model))


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    """A directory with trainings of two models, tested and trained further at half the rate."""
    directory = tmp_path_factory.mktemp("family")
    for model in ("tiny-rated", "tiny-filter"):
        for request in (as_it_is(model), tuned(model)):
            run(resolve(request), Place(directory))
    return directory


@pytest.fixture(scope="module")
def results(family):
    """Its results by model, and whether parent, as it is or tuned."""
    found, errors = read_results(family)
    assert not errors
    kinds = {(False, True): "parent", (True, False): "as it is", (True, True): "tuned"}
    return {
        (r.spec.model.name, kinds[r.spec.parent is not None, r.spec.train is not None]): r
        for r in found
    }


def test_a_child_brings_about_its_parent(results):
    """From its spec alone: the parent's Result is that of its own run."""
    assert len(results) == 6
    assert {result.status for result in results.values()} == {Status.OK}
    parent, child = results["tiny-rated", "parent"], results["tiny-rated", "as it is"]
    assert parent.spec == child.spec.parent
    assert parent.origin == child.origin.parent
    assert parent.spec == resolve(parent_of()).spec


def test_weights_as_they_are(results):
    """Nothing is trained or chosen: a validation and a test score of the child's own task."""
    child = results["tiny-rated", "as it is"]
    assert (child.curve, child.chosen_epoch) == ((), None)
    assert (child.val.n, child.test.n) == (100, 90)
    assert child.cost.train_seconds is None
    assert child.signature.shape == (32,)


def test_a_network_is_adapted_where_it_can_be(results):
    """At half the rate the adapted network still knows its waves; the other is used as it is."""
    rated, plain = (results[model, "as it is"] for model in ("tiny-rated", "tiny-filter"))
    assert (rated.rate_change.ratio, rated.rate_change.adapted) == (0.5, True)
    assert (plain.rate_change.ratio, plain.rate_change.adapted) == (0.5, False)
    parents = [results[model, "parent"].test.mean for model in ("tiny-rated", "tiny-filter")]
    assert min(parents) > 0.95
    assert rated.test.mean > 0.95
    assert plain.test.mean < 0.8
    assert results["tiny-rated", "parent"].rate_change is None


def test_trained_further(results):
    """By the epochs that were asked for, from where the parent ended."""
    parent, child = results["tiny-rated", "parent"], results["tiny-rated", "tuned"]
    assert len(child.curve) == 1
    assert child.chosen_epoch == 1
    assert child.curve[0].train_loss < parent.curve[0].train_loss / 2
    assert child.spec.train == parent.spec.train.model_copy(update={"epochs": 1})
    assert child.rate_change.adapted


def test_the_same_task_gives_the_same_scores(family, results):
    """Weights tested where they were trained are right on the same examples."""
    parent = results["tiny-rated", "parent"]
    again = Request("tiny-wave", "tiny-rated", parent=parent_of(), trained=False)
    child = run(resolve(again), Place(family.parent / "same"))
    assert child.test_scores == parent.test_scores
    assert child.val == parent.val
    assert child.rate_change is None


def test_a_parent_is_trained_once(family, results, monkeypatch):
    """Children use the weights that are there; the test data are loaded once for each."""

    def refuse(*_):
        raise AssertionError("something is trained")

    monkeypatch.setattr(runner, "fit", refuse)
    task = load_task("tiny-wave")
    real, asked = task.test_data, []
    monkeypatch.setattr(task, "test_data", lambda self: (asked.append(1), real(self))[1])
    path = family / results["tiny-rated", "as it is"].path
    content = path.read_bytes()
    path.unlink()
    again = run(resolve(as_it_is()), Place(family))
    path.write_bytes(content)
    assert asked == [1]
    assert again.test_scores == read_result(path).test_scores


def test_lost_weights_are_trained_again_and_the_result_stays(results, tmp_path):
    """A Result without its weights, as from elsewhere, is not written anew."""
    parent = results["tiny-rated", "parent"]
    path = write_result(parent, tmp_path)
    before = path.read_bytes()
    child = run(resolve(as_it_is()), Place(tmp_path))
    assert child.test_scores == results["tiny-rated", "as it is"].test_scores
    assert path.read_bytes() == before


def test_weights_of_another_run_are_refused(family, results, tmp_path):
    """The file says whose weights it holds."""
    mine, other = (results[m, "parent"].id for m in ("tiny-rated", "tiny-filter"))
    folder = tmp_path / "checkpoints" / mine
    folder.mkdir(parents=True)
    name = "weights.safetensors"
    (folder / name).write_bytes((family / "checkpoints" / other / name).read_bytes())
    with pytest.raises(ConfigError, match=f"no weights of run {mine}"):
        run(resolve(as_it_is()), Place(tmp_path))


def test_back_at_the_first_rate(family, results):
    """Fine-tuned weights can be tested again, by a network that is adapted there and back."""
    there = resolve(tuned())
    back = Request("tiny-wave", "tiny-rated", trained=False)
    child = run(resolve_child(back, there), Place(family.parent / "back"))
    assert child.rate_change.ratio == 2
    assert child.test.mean > 0.95
    assert child.cost.flops == results["tiny-rated", "parent"].cost.flops


def test_a_parent_that_ends_badly_is_the_end(tmp_path):
    """A parent that diverged leaves a child that did, with the reason; nothing is dropped."""
    above = Request("tiny-sum", "tiny-mlp", settings={"train.learning_rate": 1e30})
    child = Request("tiny-sum", "tiny-mlp", parent=above, trained=False)
    result = run(resolve(child), Place(tmp_path))
    assert result.status is Status.DIVERGED
    assert f"the parent {result.spec.parent.id} diverged" in result.error
    assert len(read_results(tmp_path)[0]) == 2


def test_a_network_of_one_length_says_so(tmp_path):
    """A model that takes only the length it was made for is told from a broken one."""
    above = Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 1})
    child = Request("tiny-sum", "tiny-mlp", {"length": 8}, parent=above, trained=False)
    with pytest.raises(
        ModelError,
        match=r"made for tiny-sum \(length=16\), cannot be used on tiny-sum \(length=8\)",
    ):
        run(resolve(child), Place(tmp_path))


def test_tasks_that_cannot_share_weights(tmp_path):
    """Another number of classes is told before anything is trained on it."""
    above = Request("tiny-sum", "tiny-filter", settings={"train.epochs": 1})
    child = Request("sdigits", "tiny-filter", parent=above, trained=False)
    with pytest.raises(ConfigError, match="may differ in the length") as caught:
        run(resolve(child), Place(tmp_path / "out"))
    assert "sdigits" in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"model": "tiny-filter"}, "not tiny-filter"),
        (
            {"settings": {"model.hidden": 3}},
            "model.hidden cannot be set: the model is the parent's",
        ),
        ({"settings": TRAINING, "trained": False}, "cannot be set: nothing is trained"),
    ],
)
def test_what_a_child_cannot_be(fields, what):
    """Model and seed are the parent's, and weights as they are take no settings."""
    request = Request(**{"task": "tiny-wave", "model": "tiny-rated"} | fields)
    with pytest.raises(ConfigError, match=what):
        resolve_child(request, resolve(parent_of()))


def test_only_a_training_can_be_a_parent():
    """Weights that were only tested have a parent of their own, which is named instead."""
    with pytest.raises(ConfigError, match="trained nothing"):
        resolve(Request("tiny-wave", "tiny-rated", parent=as_it_is()))


def test_an_origin_without_the_parents_is_refused(tmp_path):
    """A plan that was put together by hand cannot pass off untrained weights as a parent's."""
    plan = resolve(as_it_is())
    broken = Plan(plan.spec, plan.origin.model_copy(update={"parent": None}))
    with pytest.raises(ConfigError, match="not the origin of one"):
        run(broken, Place(tmp_path))


def call(*words):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(map(str, words)))
    return stop.value.code or 0


def test_the_commands_mean_the_runs(results, tmp_path, monkeypatch, capsys):
    """Typed one after the other where they are to be run, they give the same results."""
    monkeypatch.chdir(tmp_path)
    for kind in ("parent", "as it is", "tuned"):
        expected = results["tiny-rated", kind]
        program, *words = shlex.split(command_of(expected))
        assert program == "seqbench"
        assert call(*words) == 0
        found = read_result(tmp_path / "runs" / expected.path)
        assert found.origin == expected.origin
        assert found.test_scores == expected.test_scores
    out = capsys.readouterr().out
    assert "at 0.5 times the sampling rate of its training, adapted to it" in out
    assert "trained on tiny-wave (rate=1.0), as they are" in out
    parent = tmp_path / "runs" / results["tiny-rated", "parent"].path
    assert call("run", "tiny-wave", "tiny-rated", "--parent", parent, "--seed", 3) == 2
    assert "a run has its parent's, which is 0" in capsys.readouterr().err
    assert call("evaluate", "tiny-wave", "tiny-rated") == 2
    assert "--weights FILE or --parent RESULT.json" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["as it is", "tuned"])
def test_reproduced_from_the_file_alone(kind, results, tmp_path):
    """The parent is run again too."""
    found = reproduce(results["tiny-filter", kind], Place(tmp_path))
    assert found.bit_for_bit
    assert (tmp_path / results["tiny-filter", "parent"].path).exists()


SUITE = """
name = "tiny"
description = "for tests"
seeds = [0, 1]
[[runs]]
tasks = ["tiny-wave"]
models = ["tiny-rated", "tiny-filter", "tiny-dying"]
task = { rate = 0.5 }
train = false
parent = { set = { "train.epochs" = 4, "train.learning_rate" = 0.03 } }
[[runs]]
tasks = ["tiny-wave"]
models = ["tiny-rated"]
task = { rate = 0.5 }
set = { "train.epochs" = 1 }
parent = { set = { "train.epochs" = 4, "train.learning_rate" = 0.03 } }
"""


class Watch:
    """Remembers how many runs it is told of."""

    def __init__(self):
        self.totals = []

    def start(self, total):
        self.totals.append(total)

    def show(self, underway, waiting):
        pass

    def done(self, result):
        pass


def test_a_suite_runs_parents_first(tmp_path, results):
    """Each once, whatever the jobs; a parent that dies is its children's end, and is not redone."""
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE)
    watch = Watch()
    effort = Effort(Place(tmp_path / "out"), 2, watch)
    assert not run_suite(load_suite(str(path)), effort)
    found, _ = read_results(tmp_path / "out")
    assert watch.totals == [14]
    assert len(found) == 14
    good = [each for each in found if each.spec.model.name != "tiny-dying"]
    assert {each.status for each in good} == {Status.OK}
    bad = {each.error for each in found if each.spec.model.name == "tiny-dying"}
    assert any("the parent" in error and "exit code 7" in error for error in bad)
    child = next(each for each in found if each.id == results["tiny-rated", "as it is"].id)
    assert child.test_scores == results["tiny-rated", "as it is"].test_scores
    again = Watch()
    run_suite(load_suite(str(path)), Effort(Place(tmp_path / "out"), 2, again))
    assert again.totals == [0]
    _boards(found)


def _boards(found):
    """Children stand on boards of their own, seeds together, marked where nothing was adapted."""
    board = rank(found)
    titles = {each.title: each for each in board.boards}
    assert set(titles) == {
        "tiny-wave (rate=0.5), trained on tiny-wave (rate=1.0)",
        "tiny-wave (rate=1.0)",
    }
    rows = {row.label: row for row in titles[max(titles, key=len)].rows}
    assert set(rows) == {
        "tiny-rated:default",
        "tiny-rated:default fine-tuned (epochs=1)",
        "tiny-filter:default unchanged",
        "tiny-dying:default",
    }
    assert [score.seed for score in rows["tiny-rated:default"].scores] == [0, 1]
    assert rows["tiny-rated:default"].parent.seed == 0
    assert board.overall == ()
    text = render_markdown(board)
    assert "unchanged: the model has no way to change its sampling rate" in text
    assert "rate_adapted" in render_csv(board).splitlines()[0]


def test_no_train_takes_a_parent(tmp_path):
    """A block with nothing to train and nothing to test is told."""
    path = tmp_path / "tiny.toml"
    path.write_text(SUITE.replace("parent = ", "# parent = "))
    with pytest.raises(ConfigError, match="takes a `parent`"):
        load_suite(str(path))


def problems(directory):
    """What is wrong, or not known, beside what is said of any task that is not built in."""
    usual = {"data.official", "provenance.commit", "provenance.dirty"}
    return {f.problem.where for f in verify(directory).findings} - usual


def test_weights_of_other_data_are_not_of_the_official_ones(results, tmp_path):
    """Whatever data the child is tested on; and a child that claims otherwise is found."""
    parent, child = results["tiny-rated", "parent"], results["tiny-rated", "as it is"]
    assert child.data.official
    other = parent.data.model_copy(update={"official": False, "label": "mine"})
    run(resolve(parent_of()), Place(tmp_path / "mine"))
    write_result(parent.model_copy(update={"data": other}), tmp_path / "mine")
    found = run(resolve(as_it_is()), Place(tmp_path / "mine"))
    assert (found.data.official, found.data.label) == (False, "mine")
    assert found.test == child.test
    for each in (parent.model_copy(update={"data": other}), child):
        write_result(each, tmp_path / "claimed")
    errors = {f.problem.found for f in verify(tmp_path / "claimed").findings}
    assert "true" in errors


def test_verified(results, tmp_path):
    """They hold together; a child without its parent's result is taken on trust, and said."""
    for kind in ("parent", "as it is", "tuned"):
        write_result(results["tiny-rated", kind], tmp_path / "family")
    assert problems(tmp_path / "family") == set()
    write_result(results["tiny-rated", "as it is"], tmp_path / "alone")
    assert problems(tmp_path / "alone") == {"spec.parent"}
    other = results["tiny-rated", "parent"]
    changed = other.origin.model_copy(update={"recipe_source": "elsewhere"})
    for each in (other.model_copy(update={"origin": changed}), results["tiny-rated", "as it is"]):
        write_result(each, tmp_path / "changed")
    assert problems(tmp_path / "changed") == {"origin.parent"}


def test_compared_under_a_name_of_its_own(family, results):
    """A child's name says what it was trained on, and costs of training it has none."""
    files = [str(family / results[m, "as it is"].path) for m in ("tiny-rated", "tiny-filter")]
    (found,) = compare(*(side(file, family) for file in files))
    assert found.one.name == "tiny-rated:default, trained on tiny-wave (rate=1.0)"
    assert found.better == "A"


def test_the_file_says_everything(results):
    """A child read from its JSON has the parent's spec and the same id."""
    child = results["tiny-rated", "as it is"]
    data = json.loads(child.model_dump_json())
    assert data["spec"]["parent"]["train"]["epochs"] == 4
    assert torch.Size(data["signature"]["shape"]) == (32,)
