"""`seqbench new` writes a plugin that passes its checks, or nothing."""

from __future__ import annotations

import ast
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seqbench import cli
from seqbench.errors import ConfigError, OutputError
from seqbench.scaffold import new_plugin

NAMES = ["a", "wave-net-2", "x" * 30]


def install(folder: Path, install_plugin) -> None:
    """Make a written plugin known, by what its pyproject.toml says."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    ((group, points),) = project["entry-points"].items()
    ((name, value),) = points.items()
    module = value.partition(":")[0]
    source = (folder / f"{module}.py").read_text()
    install_plugin(project["name"], module, source, f"[{group}]\n{name} = {value}\n")


@pytest.mark.parametrize("kind", ["model", "task"])
def test_a_new_plugin_is_complete_and_passes_its_own_test(kind, tmp_path, install_plugin) -> None:
    """Project, one module, one test, README; its test is the conformance suite."""
    folder = new_plugin(kind, f"brand-new-{kind}", tmp_path / "work")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    module = f"brand_new_{kind}"
    test = f"tests/test_{module}.py"
    assert files == {"pyproject.toml", "README.md", f"seqbench_{module}.py", test}
    assert folder == tmp_path / "work" / f"seqbench-brand-new-{kind}"
    text = "".join(path.read_text() for path in folder.rglob("*") if path.is_file())
    assert "mynet" not in text.lower()
    assert "mytask" not in text.lower()
    install(folder, install_plugin)
    runpy.run_path(str(folder / test))["test_conforms"]()


@pytest.mark.parametrize("kind", ["model", "task"])
@pytest.mark.parametrize("name", ["block", "model", "tensor", "source", "split", "task", "none"])
def test_any_name_gives_a_class_of_its_own(name, kind, tmp_path) -> None:
    """Also one that the module has for something else, or that Python keeps to itself."""
    folder = new_plugin(kind, name, tmp_path)
    body = ast.parse((folder / f"seqbench_{name}.py").read_text()).body
    classes = [node.name for node in body if isinstance(node, ast.ClassDef)]
    imports = [node.names for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = classes + [each.name for names in imports for each in names]
    assert len(set(names)) == len(names)
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    value = project["entry-points"][f"seqbench.{kind}s"][name]
    assert value.partition(":")[2] in classes


@pytest.mark.skipif(shutil.which("ruff") is None, reason="needs ruff")
@pytest.mark.parametrize("name", NAMES)
def test_a_new_plugin_is_clean(name, tmp_path) -> None:
    """Whatever the name, ruff finds nothing to say about rules or format."""
    for kind in ("model", "task"):
        folder = new_plugin(kind, name, tmp_path / kind)
        for command in (["check"], ["format", "--check"]):
            done = subprocess.run(
                ["ruff", *command, "--no-cache", "."],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout


def test_the_command_says_what_comes_next(tmp_path, monkeypatch, capsys) -> None:
    """Where the plugin is, and the commands that install, check and run it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["new", "model", "wavenet"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "wrote seqbench-wavenet" in out
    assert f"pip install -e {tmp_path / 'seqbench-wavenet'}" in out
    assert "seqbench check wavenet" in out
    assert "seqbench run sdigits wavenet" in out


@pytest.mark.parametrize(
    ("name", "says", "hint"),
    [
        ("Wave_Net", "cannot be a name", "'wave-net' can"),
        ("2fast", "cannot be a name", "'fast' can"),
        ("double--dash", "cannot be a name", "'double-dash' can"),
        ("x" * 31, "up to 30 small letters", f"'{'x' * 30}' can"),
        ("", "cannot be a name", ""),
        ("../elsewhere", "cannot be a name", "'elsewhere' can"),
        ("sdigits", "taken by a task of seqbench", "choose another"),
        ("tiny-mlp", "taken by a model of seqbench-tiny 0.1.0", "choose another"),
        ("tiny", "there is a module 'seqbench_tiny' already", "choose another"),
    ],
)
def test_a_bad_or_taken_name_is_refused(name, says, hint, tmp_path) -> None:
    """One message that says what a name is, or who has it; nothing is written."""
    with pytest.raises(ConfigError) as caught:
        new_plugin("model", name, tmp_path)
    assert says in caught.value.message
    assert hint in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_is_left_alone(tmp_path) -> None:
    """Also an empty one, or a file of that name."""
    (tmp_path / "seqbench-wavenet").mkdir()
    (tmp_path / "seqbench-wavelet").touch()
    for name in ("wavenet", "wavelet"):
        with pytest.raises(ConfigError, match="is there already"):
            new_plugin("model", name, tmp_path)
    assert not list((tmp_path / "seqbench-wavenet").iterdir())


def test_nothing_is_left_half_written(tmp_path, monkeypatch) -> None:
    """A disk that is full in the middle leaves no part of a plugin."""
    write, written = Path.write_text, []

    def fill(self, *args, **kwargs):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(self)
        return write(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", fill)
    with pytest.raises(OutputError, match="No space left on device"):
        new_plugin("task", "marked", tmp_path)
    assert len(written) == 2
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path) -> None:
    """A file where the directory should be."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*file/seqbench-wavenet"):
        new_plugin("model", "wavenet", tmp_path / "file")


def test_new_needs_no_torch() -> None:
    """A plugin is written in a moment."""
    code = "import sys, seqbench.cli, seqbench.scaffold; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
