"""A suite does the runs that are missing, and no failure loses another run."""

from __future__ import annotations

import pytest

from seqbench.errors import ConfigError, OutputError, UnknownNameError
from seqbench.execute import Effort, run_suite, works_of
from seqbench.resolve import resolve
from seqbench.result import Status, read_results
from seqbench.runner import Place, run
from seqbench.suite import Block, Suite, load_suite, requests_of, suite_names

SUITE = """
name = "tiny"
description = "for tests"
seeds = [0, 1]
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp:small", "tiny-raising", "tiny-dying", "tiny-misshapen"]
set = { "train.epochs" = 2 }
"""


class Watch:
    """Remembers what it is told."""

    def __init__(self):
        self.totals, self.results = [], []

    def start(self, total):
        self.totals.append(total)

    def show(self, underway, waiting):
        pass

    def done(self, result):
        self.results.append(result)


def suite_of(tmp_path, text=SUITE):
    """A suite from its text, through its file."""
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return load_suite(str(path))


def do(suite, tmp_path, **options):
    """Run a suite and give what was watched."""
    watch = Watch()
    errors = run_suite(suite, Effort(Place(tmp_path / "out", threads=1), 2, watch, **options))
    return watch, errors


def test_every_run_leaves_one_result(tmp_path):
    """Exceptions, dead processes and wrong shapes are results too; the good runs are good."""
    watch, errors = do(suite_of(tmp_path), tmp_path)
    results, unreadable = read_results(tmp_path / "out")
    assert not errors
    assert not unreadable
    by_model = {(r.spec.model.name, r.spec.seed): r for r in results}
    assert len(by_model) == len(watch.results) == 8
    assert by_model["tiny-mlp", 0].status is Status.OK
    assert "this model cannot be trained" in by_model["tiny-raising", 1].error
    assert "exit code 7" in by_model["tiny-dying", 0].error
    assert "expects (2, 2)" in by_model["tiny-misshapen", 0].error
    again, _ = do(suite_of(tmp_path), tmp_path)
    assert again.totals == [0], "nothing is repeated"
    retried, _ = do(suite_of(tmp_path), tmp_path, retry_failed=True)
    assert retried.totals == [6], "failed runs are repeated when asked"


def test_a_process_a_run_changes_nothing(tmp_path):
    """A run in a process of its own gives the bits of the same run in this process."""
    suite = suite_of(tmp_path, SUITE.replace('"tiny-raising", "tiny-dying", "tiny-misshapen"', ""))
    watch, _ = do(suite, tmp_path)
    here = run(resolve(requests_of(suite)[0]), Place(tmp_path / "here", threads=1))
    there = next(r for r in watch.results if r.id == here.id)
    assert here.test_scores == there.test_scores
    assert here.test_loss == there.test_loss


SEARCH = """
name = "searching"
description = "for tests"
seeds = [0, 1]
search = { "train.learning_rate" = [1e-9, 1e-2] }
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp:small", "tiny-mlp:large"]
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp:small"]
set = { "train.epochs" = 4 }
"""


def test_search_by_validation_where_nothing_is_published(tmp_path):
    """The better rate is taken for all seeds; trials are kept and hold no test score."""
    _, errors = do(suite_of(tmp_path, SEARCH), tmp_path)
    results, _ = read_results(tmp_path / "out")
    trials, _ = read_results(tmp_path / "out" / "trials")
    assert not errors
    assert len(results) == 6
    assert {t.status for t in trials} == {Status.TRIAL}
    assert all(t.test is None and t.test_scores is None for t in trials)
    assert len(trials) == 4
    by_preset = {(r.origin.preset, r.spec.train.epochs, r.spec.seed): r for r in results}
    published = by_preset["large", 2, 0]
    assert (published.origin.settings, published.origin.trials) == ("published", ())
    searched = [by_preset["small", 20, seed] for seed in (0, 1)]
    assert all(r.origin.settings == "searched" for r in searched)
    assert all(r.spec.train.learning_rate == 1e-2 for r in searched)
    assert searched[0].id in searched[0].origin.trials
    assert searched[1].origin.trials == searched[0].origin.trials
    trial = next(t for t in trials if t.id == searched[0].id)
    assert trial.curve == searched[0].curve, "the winning trial is the run itself"


def test_a_run_waits_for_every_trial_of_its_search(tmp_path, monkeypatch):
    """One that could not be made would leave the choice to the others, and be chosen later."""
    suite = suite_of(tmp_path, SEARCH)
    trial, *_ = (w for w in works_of(suite, Place(tmp_path / "out"))[0] if w.trial)

    def execute(self, works):
        done = [work for work in works if not (work.trial and work.id == trial.id)]
        lost = [OutputError("no space left")] if len(done) < len(works) else []
        return whole(self, done) + lost

    whole = Effort.execute
    monkeypatch.setattr(Effort, "execute", execute)
    _, errors = do(suite, tmp_path)
    assert [error.message for error in errors] == ["no space left"]
    results, _ = read_results(tmp_path / "out")
    assert {(r.origin.preset, r.spec.train.epochs) for r in results} == {("large", 2), ("small", 4)}


def test_other_seeds_have_the_settings_of_the_first(tmp_path):
    """Whoever does one seed of a suite searches where the others do."""
    suite = suite_of(tmp_path, SEARCH)
    place = Place(tmp_path / "out", threads=1)
    alone, _ = works_of(suite, place, (1,))
    together, _ = works_of(suite, place)
    trials = {work.id for work in together if work.trial}
    assert {work.id for work in alone if work.trial} == trials
    assert {work.id for work in alone} < {work.id for work in together}


def test_broken_plugin_costs_only_its_own_runs(tmp_path, install_plugin):
    """The suite goes on without it and says so."""
    install_plugin(
        "bad-dist", "bad_suite_plugin", "1 / 0", "[seqbench.models]\nbad = bad_suite_plugin:B\n"
    )
    text = SUITE.replace('"tiny-raising", "tiny-dying", "tiny-misshapen"', '"bad"')
    _, errors = do(suite_of(tmp_path, text), tmp_path)
    results, _ = read_results(tmp_path / "out")
    assert len(results) == 2
    assert len(errors) == 1
    assert "ZeroDivisionError" in errors[0].message


def test_missing_data_leave_no_result(tmp_path):
    """A run without its data is an error that is said, not a failed Result that stays."""
    text = SUITE.replace('["tiny-sum"]', '["smnist", "tiny-sum"]').replace(
        '"tiny-raising", "tiny-dying", "tiny-misshapen"', ""
    )
    place = Place(tmp_path / "out", data_dir=tmp_path / "nothing")
    errors = run_suite(suite_of(tmp_path, text), Effort(place, 2, Watch()))
    results, _ = read_results(tmp_path / "out")
    assert {result.spec.task.name for result in results} == {"tiny-sum"}
    assert len(errors) == 1
    assert "seqbench fetch smnist" in str(errors[0])


def test_a_changed_recipe_is_searched(tmp_path):
    """It is not the published recipe any longer, so its rate is not either."""
    text = SEARCH.replace('["tiny-mlp:small"]\nset', '["tiny-mlp:large"]\nset')
    works, _ = works_of(suite_of(tmp_path, text), Place(tmp_path / "out"))
    trials = [work.plan.spec.train for work in works if work.trial]
    changed = [train.learning_rate for train in trials if train.epochs == 4]
    assert changed == [1e-9, 1e-2]


def test_what_the_suite_sets_is_not_searched(tmp_path):
    """A value that a block sets itself is kept, and the row does not say `searched`."""
    text = SEARCH.replace('"train.epochs" = 4', '"train.epochs" = 4, "train.learning_rate" = 0.1')
    do(suite_of(tmp_path, text), tmp_path)
    results, _ = read_results(tmp_path / "out")
    fixed = [r for r in results if r.spec.train.epochs == 4]
    assert {(r.origin.settings, r.spec.train.learning_rate) for r in fixed} == {("custom", 0.1)}


def test_wrong_name_stops_before_the_first_run(tmp_path):
    """A slip in a suite is found before hours are spent."""
    with pytest.raises(UnknownNameError, match="tiny-mlp"):
        do(suite_of(tmp_path, SUITE.replace("tiny-raising", "tiny-mpl")), tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("name = ", "not valid TOML"),
        ("name = 'x'", "not valid"),
        (SUITE.replace("tasks", "taskz"), "no key of runs.0 named 'taskz'; did you mean 'task' or"),
        (SUITE.replace("seeds", "seed"), "valid: no key named 'seed'; did you mean 'seeds'"),
        (SUITE + "parent = { sets = {} }", "key of runs.0.parent named 'sets'; did you mean 'se"),
        (SUITE + "[search]\n'train.epochs' = []", "search.train.epochs"),
    ],
)
def test_wrong_suite_file(text, cause, tmp_path):
    """A file that is no suite is one clear message."""
    with pytest.raises(ConfigError, match=cause):
        suite_of(tmp_path, text)


def test_missing_suite():
    """An unknown suite offers those there are; a missing file is named."""
    with pytest.raises(UnknownNameError, match="did you mean 'quick'"):
        load_suite("quik")
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_suite("nowhere.toml")


def test_a_suite_in_this_directory_is_offered(tmp_path, monkeypatch):
    """Where its file was named without the ending."""
    monkeypatch.chdir(tmp_path)
    suite_of(tmp_path)
    with pytest.raises(UnknownNameError, match=r"did you mean 'tiny\.toml'"):
        load_suite("tiny")
    assert load_suite("tiny.toml").name == "tiny"


def test_lists_of_configs_go_each_with_each_other(tmp_path):
    """Of a block with a parent, every config but with its equal; without one, each by itself."""
    block = (
        SUITE.split("models", maxsplit=1)[0]
        + 'models = ["tiny-mlp"]\ntask = [{}, { length = 8 }]\n'
    )
    alone = requests_of(suite_of(tmp_path, block), (0,))
    assert [each.task_settings for each in alone] == [{}, {"length": 8}]
    above = "parent = { task = [{}, { length = 8 }, { length = 4 }] }"
    pairs = requests_of(suite_of(tmp_path, block + above), (0,))
    found = [(each.parent.task_settings, each.task_settings) for each in pairs]
    one, two, three = {}, {"length": 8}, {"length": 4}
    assert found == [(two, one), (three, one), (one, two), (three, two)]


@pytest.mark.parametrize(
    ("names", "runs"),
    [
        ((), {("a", "x"), ("a", "y:1"), ("b", "x"), ("b", "y:1"), ("a:2", "y:2")}),
        (("b",), {("b", "x"), ("b", "y:1")}),
        (("a",), {("a", "x"), ("a", "y:1"), ("a:2", "y:2")}),
        (("a:2",), {("a:2", "y:2")}),
        (("y",), {("a", "y:1"), ("b", "y:1"), ("a:2", "y:2")}),
        (("b", "y:1", "y:2"), {("b", "y:1")}),
        (("a", "b", "x"), {("a", "x"), ("b", "x")}),
    ],
)
def test_only_some_runs_of_a_suite(names, runs):
    """Tasks and models by name, with or without a preset."""
    suite = Suite(
        name="suite",
        description="",
        seeds=(0,),
        runs=(
            Block(tasks=("a", "b"), models=("x", "y:1")),
            Block(tasks=("a:2",), models=("y:2",)),
        ),
    )
    requests = requests_of(suite.only(names))
    assert {(request.task, request.model) for request in requests} == runs
    with pytest.raises(
        UnknownNameError, match="task, model or FIELD=VALUE of the suite suite named 'c'"
    ):
        suite.only((*names, "c"))
    with pytest.raises(ConfigError, match="no run of b, y:2 together"):
        suite.only(("b", "y:2"))


def test_only_some_configs_of_a_task():
    """Fields of tasks choose among the configs of a block, and blocks that have them."""
    configs = ({"length": 2}, {"length": 4, "rate": 0.5}, {"length": 2, "rate": 0.5, "x": True})
    blocks = Block(tasks=("a",), models=("x",), task=configs), Block(tasks=("b",), models=("x",))
    suite = Suite(name="suite", description="", seeds=(0,), runs=blocks)
    for names, chosen in [
        (("length=2",), configs[::2]),
        (("a", "rate=0.5"), configs[1:]),
        (("length=2", "rate=0.5"), configs[2:]),
        (("length=2", "length=4"), configs),
        (("x=true",), configs[2:]),
    ]:
        requests = requests_of(suite.only(names))
        assert [request.task_settings for request in requests] == list(chosen)
    with pytest.raises(UnknownNameError, match="'length=3'"):
        suite.only(("length=3",))
    with pytest.raises(ConfigError, match="no run of b, length=2 together"):
        suite.only(("b", "length=2"))


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_resolve(name):
    """Every run of every shipped suite names tasks, models and settings that exist."""
    suite = load_suite(name)
    assert isinstance(suite, Suite)
    assert suite.name == name
    for request in requests_of(suite, (0,)):
        resolve(request)


def test_tcn_sees_all_of_a_clip():
    """Wherever a shipped suite trains it on raw speech, its answer depends on all 16,000 steps."""
    requests = [each for name in suite_names() for each in requests_of(load_suite(name), (0,))]
    specs = [resolve(each).spec for each in requests if each.task == "sc10-raw"]
    configs = [spec.model.config for spec in specs if spec.model.name == "tcn"]
    assert configs
    for config in configs:
        assert 2 * (config["kernel_size"] - 1) * (2 ** config["levels"] - 1) >= 15_999
