"""What a result says of the code of its plugins, and what is said when that has changed."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from seqbench import source
from seqbench.lease import LostError, lease_path
from seqbench.provenance import provenance
from seqbench.registry import MODELS, Entry, home_of
from seqbench.resolve import resolve
from seqbench.runner import Place, run
from seqbench.spec import Request
from seqbench.verify import verify

SOURCE = "from seqbench_tiny import TinyMLP\n\n\nclass Mine(TinyMLP):\n    recipes = {}\n"
COMMAND = ("run", "tiny-sum", "mine:small", "--epochs", 2, "--output-dir", "runs")


@pytest.fixture
def edit(tmp_path, install_plugin):
    """Edit the model's module, as between two commands."""
    source._seen.clear()
    install_plugin("seqbench-mine", "mine", SOURCE, "[seqbench.models]\nmine = mine:Mine\n")

    def to(text):
        (tmp_path / "site" / "mine.py").write_text(text)
        source._seen.clear()

    yield to
    sys.modules.pop("mine", None)
    source._seen.clear()


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


def test_any_gpu_of_a_machine_is_the_device(monkeypatch):
    """So that a run which was given the fourth is made again where there is one."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "GPU")
    spec = resolve(Request("tiny-sum", "tiny-mlp")).spec
    found = provenance(spec, torch.device("cuda:3"), "2026-11-29T00:00:00+00:00", 1.0)
    assert (found.device, found.device_name) == ("cuda", "GPU")


def test_the_code_of_a_plugin_is_on_record(edit):
    """Of a plugin, not of what comes with seqbench; another state is another hash."""
    plan = resolve(Request("sdigits", "mine:small"))
    (before,) = source.code_of(plan.spec).values()
    edit(SOURCE + "# more\n")
    (after,) = source.code_of(plan.spec).values()
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
    assert "another now" not in out
    edit(SOURCE + "# more\n")
    _, out, _ = seqbench(*COMMAND)
    assert "the code of seqbench-mine is another now" in out
    Path("suite.toml").write_text(
        'name = "s"\ndescription = "d"\nseeds = [0]\n\n[[runs]]\n'
        'tasks = ["tiny-sum"]\nmodels = ["mine:small"]\nset = { "train.epochs" = 2 }\n'
    )
    leaderboard = ("leaderboard", "suite.toml", "--output-dir", "runs", "--jobs", 1)
    _, out, err = seqbench(*leaderboard)
    assert "1 results of this suite, trials too, are of other code of seqbench-mine" in out, err
    edit(SOURCE + "    version = 2\n")
    sys.modules.pop("mine")
    _, out, err = seqbench(*leaderboard)
    assert "other code" not in out, "as was advised"
    assert "superseded" in out, err


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


def test_a_child_has_the_code_of_its_parent(edit):
    """It has the parent's modules, whatever the files are by then."""
    plan = resolve(Request("sdigits", "mine:small"))
    before, seen = source.code_of(plan.spec), source.seen_for([plan.spec])
    edit(SOURCE + "# more\n")
    source.adopt(seen)
    assert source.code_of(plan.spec) == before


def test_files_that_are_no_code_of_a_package(tmp_path, monkeypatch):
    """Hidden ones and those that are not there do not count; a file that moves does."""
    package = tmp_path / "packed"
    (package / "part").mkdir(parents=True)
    for name in ("__init__.py", "model.py"):
        (package / name).write_text("x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = Entry(MODELS, "packed", "packed", "1", "packed.model : Net [extra]")

    def sha256():
        source._seen.clear()
        return source.source_of(entry).sha256

    before = sha256()
    (package / ".#model.py").symlink_to("nobody@nowhere")
    (package / ".ipynb_checkpoints").mkdir()
    (package / ".ipynb_checkpoints" / "model.py").write_text("x = 2\n")
    assert sha256() == before
    (package / "model.py").rename(package / "part" / "model.py")
    assert sha256() != before


def test_a_namespace_is_no_package(tmp_path, monkeypatch):
    """The code is that of the package in it, not of others beside; in an archive there is none."""
    for name in ("mine", "others"):
        (tmp_path / "space" / name).mkdir(parents=True)
        (tmp_path / "space" / name / "__init__.py").write_text(f"x = {name!r}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert home_of(Entry(MODELS, "m", "m", "1", "space.mine:Net")) == tmp_path / "space" / "mine"
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("zipped.py", "x = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path / "packed.zip"))
    assert home_of(Entry(MODELS, "m", "m", "1", "zipped:Net")) is None


def test_a_parent_of_other_code_is_said(edit, tmp_path):
    """Its weights are, whatever trains them further."""
    above = Request("tiny-sum", "mine:small", settings={"train.epochs": 1})
    place = Place(tmp_path)
    run(resolve(above), place)
    edit(SOURCE + "# more\n")
    child = Request("tiny-sum", "mine:small", {}, {"train.epochs": 2}, parent=above)
    with pytest.warns(UserWarning, match="were trained by other code of seqbench-mine"):
        run(resolve(child), place)
