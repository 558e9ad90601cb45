"""What a result says of the code of its plugins, and what is said when that has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seqbench import provenance
from seqbench.lease import LostError, lease_path
from seqbench.resolve import resolve
from seqbench.runner import Place, run
from seqbench.spec import Request
from seqbench.verify import verify

SOURCE = "from seqbench_tiny import TinyMLP\n\n\nclass Mine(TinyMLP):\n    recipes = {}\n"
COMMAND = ("run", "tiny-sum", "mine:small", "--epochs", 2, "--output-dir", "runs")


@pytest.fixture
def edit(tmp_path, install_plugin):
    """Edit the model's module, as between two commands."""
    provenance._code.cache_clear()
    install_plugin("seqbench-mine", "mine", SOURCE, "[seqbench.models]\nmine = mine:Mine\n")

    def to(source):
        (tmp_path / "site" / "mine.py").write_text(source)
        provenance._code.cache_clear()

    yield to
    sys.modules.pop("mine", None)
    provenance._code.cache_clear()


class Stops:
    """A watcher that ends a run after its first epoch."""

    def resumed(self, curve):
        pass

    def step(self, done, total):
        pass

    def epoch(self, _point):
        raise LostError("stopped")


def stopped(directory):
    """A run of two epochs that stopped after the first."""
    plan = resolve(Request("tiny-sum", "mine:small", settings={"train.epochs": 2}))
    with pytest.raises(LostError):
        run(plan, Place(directory), Stops())
    lease_path(directory, plan.spec.id).unlink(missing_ok=True)
    return plan


def test_the_code_of_a_plugin_is_on_record(edit):
    """Of a plugin, not of what comes with seqbench; another state is another hash."""
    plan = resolve(Request("sdigits", "mine:small"))
    (before,) = provenance.code_of(plan.spec).values()
    edit(SOURCE + "# more\n")
    (after,) = provenance.code_of(plan.spec).values()
    assert before != after


def test_a_training_that_goes_on_with_other_code_says_so(edit, tmp_path):
    """In a warning, in its Result, and to who verifies it; with the same code nothing is said."""
    plan = stopped(tmp_path)
    edit(SOURCE + "# more\n")
    with pytest.warns(UserWarning, match="the code of mine has changed since epoch 1"):
        result = run(plan, Place(tmp_path))
    assert len(result.provenance.model_plugin.code) == 2
    assert len(result.provenance.task_plugin.code) == 1
    found = [finding.problem.where for finding in verify(tmp_path).findings]
    assert "provenance.model_plugin.code" in found
    plan = stopped(tmp_path / "same")
    result = run(plan, Place(tmp_path / "same"))
    assert len(result.provenance.model_plugin.code) == 1


def test_a_result_of_other_code_is_given_with_that_said(edit, seqbench):
    """By `run`, and by `leaderboard` for all results of its directory."""
    seqbench(*COMMAND)
    _, out, _ = seqbench(*COMMAND)
    assert "done before" in out
    assert "has changed" not in out
    edit(SOURCE + "# more\n")
    _, out, _ = seqbench(*COMMAND)
    assert "the code of seqbench-mine has changed since" in out
    Path("suite.toml").write_text(
        'name = "s"\ndescription = "d"\nseeds = [0]\n\n[[runs]]\n'
        'tasks = ["tiny-sum"]\nmodels = ["mine:small"]\nset = { "train.epochs" = 2 }\n'
    )
    _, out, err = seqbench("leaderboard", "suite.toml", "--output-dir", "runs", "--jobs", 1)
    assert "1 of the results is of other code of seqbench-mine" in out, err


def test_the_commit_of_a_plugin_is_that_of_its_own_checkout(edit, tmp_path):
    """And whether that is changed; none is said of what no checkout tracks."""
    place = Place(tmp_path / "runs")
    plan = resolve(Request("tiny-sum", "mine:small", settings={"train.epochs": 1}))
    plugin = run(plan, place).provenance.model_plugin
    assert (plugin.commit, plugin.dirty) == (None, None)
    git = ["git", "-C", str(tmp_path / "site"), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "mine.py"], ["commit", "-qm", "mine"]):
        subprocess.run([*git, *words], check=True)
    edit(SOURCE + "# more\n")
    plan = resolve(Request("tiny-sum", "mine:small", settings={"train.epochs": 1}, seed=1))
    plugin = run(plan, place).provenance.model_plugin
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    assert (plugin.commit, plugin.dirty) == (head.stdout.strip(), True)
