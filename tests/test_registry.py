"""One broken plugin never breaks the others, and is shown with everything that helps."""

from __future__ import annotations

import subprocess
import sys

import pytest

from seqbench import registry
from seqbench.errors import PluginError, UnknownNameError
from seqbench.model import Model, load_model
from seqbench.task import Task, load_task

BROKEN = {
    "raises on import": (
        "x = 1\nraise RuntimeError('no luck')",
        "RuntimeError: no luck (bad_plugin.py, line 2)",
    ),
    "is no Python": ("x = 1\ny =", "SyntaxError: invalid syntax (bad_plugin.py, line 2)"),
    "exits on import": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "lacks a dependency": ("import not_there_at_all", "No module named 'not_there_at_all'"),
    "native library missing": (
        "import ctypes; ctypes.CDLL('libnot_there.so.7')",
        "libnot_there.so.7: cannot open shared object file",
    ),
    "a recipe with an unknown setting": (
        "from seqbench.spec import TrainSpec\nx = TrainSpec(lr=3e-3)",
        "no field of TrainSpec named 'lr'; did you mean 'learning_rate'? (bad_plugin.py, line 2)",
    ),
    "a recipe with a wrong value": (
        "from seqbench.spec import TrainSpec\nx = TrainSpec(epochs=0)",
        "TrainSpec.epochs cannot be 0: input should be greater than 0 (bad_plugin.py, line 2)",
    ),
    "a schedule with an unknown setting": (
        "from seqbench.spec import Plateau\nx = Plateau(patient=3)",
        "no field of Plateau named 'patient'; did you mean 'patience'? (bad_plugin.py, line 2)",
    ),
    "no such class": ("", "AttributeError"),
    "wrong type": ("Net = dict", "not a subclass of seqbench.model.Model"),
    "wrong version of the interface": (
        "from seqbench.model import Model\nclass Net(Model):\n    api_version = 99",
        "written for plugin API 99; this seqbench speaks 1",
    ),
}
POINT = "[seqbench.models]\nbad = bad_plugin:Net\n"


@pytest.mark.parametrize("case", BROKEN)
def test_broken_plugin_is_named_and_alone(case, install_plugin):
    """Loading it says distribution, version, entry point and cause; others load as before."""
    source, cause = BROKEN[case]
    install_plugin("bad-dist", "bad_plugin", source or "x = 1", POINT)
    sys.modules.pop("bad_plugin", None)
    with pytest.raises(PluginError) as caught:
        load_model("bad")
    for part in ("bad-dist 9.1", "bad_plugin:Net", cause):
        assert part in caught.value.message
    assert "\n" not in caught.value.message
    assert "mend what the message names if the plugin is yours" in caught.value.hint
    entry = registry.entries(registry.MODELS)["bad"]
    assert cause in (registry.check(entry, Model).broken or "")
    assert load_model("tiny-mlp").__name__ == "TinyMLP"


def test_missing_module_is_known_without_loading(install_plugin):
    """A distribution whose module is gone is listed as broken."""
    install_plugin("gone-dist", "gone", "", "[seqbench.tasks]\ngone = gone_module:T\n")
    assert "no module 'gone_module'" in registry.entries(registry.TASKS)["gone"].broken
    with pytest.raises(PluginError):
        load_task("gone")


def test_malformed_entry_points_stay_alone(install_plugin):
    """A value that is no module:Class is broken; a line that is none costs its own file only."""
    install_plugin("odd-dist", "odd", "x = 1", "[seqbench.models]\nodd = not a module!!\n")
    assert "not of the form module:Class" in registry.entries(registry.MODELS)["odd"].broken
    install_plugin("worse-dist", "worse", "x = 1", "[seqbench.models]\nno equals sign\n")
    with pytest.warns(UserWarning, match="worse-dist 9.1 cannot be read"):
        assert "tiny-mlp" in registry.entries(registry.MODELS)


def test_name_claimed_twice(install_plugin):
    """Neither claimant wins; both are named; other names are untouched."""
    install_plugin("first-dist", "first", "x = 1", "[seqbench.models]\nsame = first:A\n")
    install_plugin("second-dist", "second", "x = 1", "[seqbench.models]\nsame = second:B\n")
    with pytest.raises(PluginError, match="claimed 2 times") as caught:
        load_model("same")
    assert "first-dist 9.1 (first:A)" in caught.value.message
    assert "second-dist 9.1 (second:B)" in caught.value.message
    assert registry.entries(registry.MODELS)["tiny-mlp"].broken is None


def test_unknown_name_offers_the_nearest():
    """A slip of the finger is answered by what was meant."""
    with pytest.raises(UnknownNameError, match="did you mean 'smnist'"):
        load_task("smnst")
    with pytest.raises(UnknownNameError, match="no model named 'zzz'"):
        load_model("zzz")


def test_listing_imports_no_torch():
    """Names, results, suites and leaderboards are there without torch."""
    code = (
        "import sys; from seqbench import registry, result, suite, leaderboard, report, cli;"
        "registry.entries('seqbench.tasks');"
        "[suite.load_suite(name) for name in suite.suite_names()];"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_registered_class_states_its_name():
    """The name of a task class is the name that it is registered under."""
    for name, entry in registry.entries(registry.TASKS).items():
        assert registry.load(entry.group, name, Task).name == name
