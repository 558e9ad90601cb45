"""A model in a file runs before it is packaged, and is never taken for another."""

from __future__ import annotations

import hashlib
import shlex

import pytest

from seqbench import registry
from seqbench.command import command_of
from seqbench.errors import ConfigError, PluginError, SeqbenchError, UnknownNameError
from seqbench.from_file import add_model, model_named
from seqbench.model import load_model
from seqbench.resolve import resolve
from seqbench.result import Status, read_results, write_result
from seqbench.spec import Request

SOURCE = '''
from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from seqbench.model import Model


@dataclass(frozen=True)
class Config:
    """``hidden`` units."""

    hidden: int = 4


class Net(Model):
    """One hidden layer over the whole sequence."""

    Config = Config
    presets = {"small": Config(), "large": Config(hidden=9)}

    def __init__(self, config, signature):
        super().__init__(config, signature)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(signature.in_channels * signature.length, config.hidden),
            nn.Tanh(),
            nn.Linear(config.hidden, signature.out_features),
        )

    def forward(self, x):
        return self.layers(x)
'''


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty directory with the file my_model.py; names made in it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # `check` sets it
    (tmp_path / "my_model.py").write_text(SOURCE)
    registry.entries.cache_clear()
    yield tmp_path
    registry.entries.cache_clear()


RUN = ("run", "tiny-sum", "--from-file", "my_model.py", "--epochs", "1")


def test_a_model_in_a_file_runs_like_any_other(seqbench, here) -> None:
    """Trained, tested, written; who made it is the file, by name and hash."""
    code, out, _ = seqbench(*RUN)
    assert code == 0
    (result,), _ = read_results(here / "runs")
    sha256 = hashlib.sha256(SOURCE.encode()).hexdigest()
    assert result.status is Status.OK
    assert result.spec.model.name == f"my_model.Net@{sha256[:8]}"
    assert result.spec.model.config == {"hidden": 4}
    assert result.provenance.model_plugin.distribution == "my_model.py"
    assert result.provenance.model_plugin.version == sha256
    assert "done before" not in out
    made = result.model_copy(
        update={"provenance": result.provenance.model_copy(update={"started_at": "2026-01-01"})}
    )
    write_result(made, here / "runs")
    again = seqbench(*RUN)[1].splitlines()
    assert again[-1] == out.splitlines()[-1]
    assert any(line.startswith("done before, at 2026-01-01 on ") for line in again)
    write_result(result, here / "runs")
    assert read_results(here / "runs")[0] == [result], "the same file is the same run"


def test_a_changed_file_is_another_run(seqbench, here) -> None:
    """Even a comment: nobody can tell whether a change matters."""
    seqbench(*RUN)
    (here / "my_model.py").write_text(SOURCE + "# changed\n")
    code, _, _ = seqbench(*RUN)
    results, _ = read_results(here / "runs")
    assert code == 0
    assert len({result.id for result in results}) == 2
    assert len({result.spec.model.name for result in results}) == 2
    assert results[0].test_scores == results[1].test_scores


def test_old_and_new_live_side_by_side_in_one_process(here) -> None:
    """As in a notebook that edits the file: the old name still means the old class."""
    old = load_model(add_model("my_model.py"))
    (here / "my_model.py").write_text(SOURCE.replace("hidden: int = 4", "hidden: int = 5"))
    new = load_model(add_model("my_model.py"))
    assert (old.Config().hidden, new.Config().hidden) == (4, 5)
    assert add_model("my_model.py") != "my_model.py"


def test_a_preset_and_a_class_can_be_named(here) -> None:
    """FILE:CLASS:PRESET; without a class if there is one only."""
    for reference in (
        "my_model.py:Net:large",
        "my_model.py::large",
        str(here / "my_model.py::large"),
    ):
        plan = resolve(Request("tiny-sum", add_model(reference)))
        assert plan.spec.model.config == {"hidden": 9}
        assert plan.origin.preset == "large"
    assert add_model("my_model.py:Net") == add_model("my_model.py")


def test_its_results_need_no_file_to_be_rendered(seqbench, here) -> None:
    """The leaderboard shows the name with the hash, and the command that means the run."""
    seqbench(*RUN, "--set", "model.hidden=3", "--seed", "2")
    (result,), _ = read_results(here / "runs")
    command = command_of(result)
    assert "--from-file my_model.py:Net:small" in command
    (here / "my_model.py").unlink()
    assert seqbench("render", "runs")[0] == 0
    assert result.spec.model.name in (here / "runs" / "leaderboard.csv").read_text()
    (here / "my_model.py").write_text(SOURCE)
    assert seqbench(*shlex.split(command)[1:])[0] == 0
    assert read_results(here / "runs")[0] == [result]


def test_reproduce_takes_the_file_and_no_other(seqbench, here) -> None:
    """With the file, bit for bit; without it or with a changed one, it says what is missing."""
    seqbench(*RUN)
    (path,) = (here / "runs").glob("results/*/*.json")
    assert "bit for bit" in seqbench("reproduce", path, "--from-file", "my_model.py")[1]
    (here / "my_model.py").write_text(SOURCE + "# changed\n")
    registry.entries.cache_clear()
    for more in ((), ("--from-file", "my_model.py")):
        code, _, err = seqbench("reproduce", path, "--output-dir", "again", *more)
        assert code == 2
        assert "it is in a file: give the same with --from-file my_model.py:Net" in err


def test_check_takes_a_file(seqbench) -> None:
    """One line a rule; exit 1, what is wrong and how to mend it."""
    code, out, err = seqbench("check", "--from-file", "my_model.py")
    assert code == 1
    assert "1 broken rule" in err
    assert "ok      config" in out
    assert "FAILED  shapes" in out
    assert "preset 'small', step: an input of shape (3, 2, 24) gives" in out
    assert "to mend       answer (batch, out_features)" in out


@pytest.mark.parametrize("command", [("run", "tiny-sum"), ("check", "tiny-mlp")])
def test_a_config_without_defaults_gets_one_message(command, seqbench, here) -> None:
    """Wherever a config is made in which nothing is set."""
    source = SOURCE.replace("hidden: int = 4", "hidden: int").replace("    presets", "    _presets")
    (here / "my_model.py").write_text(source.replace("Config(), ", "Config(4), "))
    code, out, err = seqbench(*command, "--from-file", "my_model.py")
    assert code == (2 if command[0] == "run" else 1)
    assert "is refused: Config.__init__() missing 1 required positional argument" in out + err
    assert "expected a default for every field" in out + err
    assert "give every field one" in out + err


TWO = SOURCE + "\n\nclass Other(Net):\n    pass\n"

WRONG = {
    "syntax": (
        "class Net(:\n    pass",
        PluginError,
        "my_model.py, line 1: invalid syntax: class Net(",
    ),
    "empty": ("", PluginError, "holds no model: there is no class at all"),
    "no model": ("class Net:\n    pass", PluginError, "holds no model: there is only Net"),
    "imported model": (
        "from seqbench.model import Model",
        PluginError,
        "holds no model: there is no class at all",
    ),
    "two": (
        TWO,
        ConfigError,
        "holds 2 models: Net, Other\nhint: say which one, as my_model.py:Net",
    ),
    "fails": ("x = 1\ny = 1 / 0\n", PluginError, "my_model.py, line 2: ZeroDivisionError"),
    "a recipe with an unknown setting": (
        "from seqbench.spec import TrainSpec\n\nx = TrainSpec(\n    lr=3e-3\n)\n",
        PluginError,
        "line 3: no field of TrainSpec named 'lr'; did you mean 'learning_rate'?\nhint: mend that",
    ),
    "leaves": ("raise SystemExit(3)", PluginError, "my_model.py, line 1: SystemExit: 3"),
    "neighbour": ("import helper", PluginError, "seqbench new model NAME"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_file_without_one_model_gets_one_message(case, here) -> None:
    """What is wrong, where, and what to do."""
    source, kind, says = WRONG[case]
    (here / "my_model.py").write_text(source)
    (here / "helper.py").touch()
    with pytest.raises(kind) as caught:
        add_model("my_model.py")
    assert says in str(caught.value)


def test_what_failed_once_is_tried_again(here, monkeypatch) -> None:
    """The same file may run after something else has changed, in the same process."""
    source = SOURCE.replace("from torch", "import os\nassert 'NET' in os.environ\nfrom torch")
    (here / "my_model.py").write_text(source)
    with pytest.raises(PluginError, match="line 7: AssertionError"):
        add_model("my_model.py")
    monkeypatch.setenv("NET", "is there")
    assert load_model(add_model("my_model.py")).__name__ == "Net"


def test_a_class_that_is_not_there_is_said(here) -> None:
    """With the nearest name."""
    with pytest.raises(UnknownNameError, match="did you mean 'Net'"):
        add_model("my_model.py:Nett")
    (here / "my_model.py").write_text(TWO)
    assert load_model(add_model("my_model.py:Other")).__name__ == "Other"


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("my_model", "names no model in a file: expected FILE.py"),
        ("missing.py", "cannot read missing.py: No such file"),
        ("a b.py", "cannot be part of a model's name"),
    ],
)
def test_what_is_no_file_is_said(reference, says) -> None:
    """A name without .py, a file that is not there, a name that would not be one."""
    with pytest.raises(ConfigError, match=says):
        add_model(reference)


@pytest.mark.parametrize("model", [(None, None), ("tcn", "my_model.py")])
def test_the_model_is_named_once(model) -> None:
    """Either by its name, or by its file."""
    with pytest.raises(ConfigError, match="either MODEL or in a file"):
        model_named(*model)


def test_no_distribution_can_take_such_a_name(install_plugin) -> None:
    """A registered name with the mark of files is broken."""
    points = "[seqbench.models]\nnet@1234 = seqbench_tiny:TinyMLP\n"
    install_plugin("seqbench-odd", "", "", points)
    with pytest.raises(SeqbenchError, match="marks the names of models in files"):
        load_model("net@1234")
