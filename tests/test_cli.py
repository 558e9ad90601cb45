"""The command line as a user types it: good answers on stdout, one message and exit code 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from seqbench.model import Recipe, load_model
from seqbench.result import Result, Status, read_result, read_results, write_result
from seqbench.spec import Cosine, TrainSpec

RUN = ("run", "tiny-sum", "tiny-mlp", "--epochs", "2")

WRONG = {
    "unknown task": (("run", "smnst", "tiny-mlp"), "did you mean 'smnist'"),
    "unknown model": (("run", "tiny-sum", "tiny-mpl"), "did you mean 'tiny-mlp'"),
    "unknown preset": (("run", "tiny-sum", "tiny-mlp:larg"), "did you mean 'large'"),
    "short name": ((*RUN, "--set", "train.lr=1e-3"), "did you mean 'train.learning_rate'"),
    "half a path": ((*RUN, "--set", "learning_rate=1"), "did you mean 'train.learning_rate'"),
    "a part for a value": ((*RUN, "--set", "train.schedule=cosine"), "train.schedule.kind"),
    "unknown setting": ((*RUN, "--set", "model.hiden=3"), "did you mean 'model.hidden'"),
    "wrong type": ((*RUN, "--set", "model.hidden=lots"), "model.hidden cannot be 'lots'"),
    "truth for a number": ((*RUN, "--set", "train.batch_size=true"), "expected a number"),
    "truth for a size": ((*RUN, "--set", "model.hidden=true"), "expected a number"),
    "set twice": ((*RUN, "--set", "train.epochs=3"), "set twice"),
    "device of no use": ((*RUN, "--device", "meta"), "'meta' cannot be used"),
    "suite on no device": (("leaderboard", "quick", "--device", "cuda:9"), "cannot be used"),
    "not a pair": ((*RUN, "--set", "model.hidden"), "not of the form NAME=VALUE"),
    "unknown task setting": ((*RUN, "--task", "size=3"), "task.length"),
    "negative epochs": (("run", "tiny-sum", "tiny-mlp", "--epochs", "-3"), "cannot be -3"),
    "negative steps": ((*RUN, "--max-steps", "-1"), "cannot be -1"),
    "negative seed": ((*RUN, "--seed", "-1"), "seed"),
    "no threads": ((*RUN, "--threads", "0"), "threads"),
    "no such device": ((*RUN, "--device", "abacus"), "'abacus' cannot be used"),
    "misshapen output": (("run", "tiny-sum", "tiny-misshapen"), "expects (2, 2)"),
    "no data": (("run", "smnist", "tiny-mlp", "--data-dir", "empty"), "seqbench fetch smnist"),
    "unknown suite": (("leaderboard", "quik"), "did you mean 'quick'"),
    "not in the suite": (("leaderboard", "quick", "--only", "lstn"), "did you mean 'lstm'"),
    "no jobs": (("leaderboard", "quick", "--jobs", "0"), "--jobs"),
    "no time": (("leaderboard", "quick", "--time-limit", "0"), "--time-limit cannot be 0"),
    "nothing to show": (("status", "empty"), "no runs below empty"),
    "no such store": ((*RUN, "--output-dir", "nosuch://x"), "cannot use nosuch://x"),
    "nothing to render": (("render", "empty"), "empty"),
    "nothing to verify": (("verify", "empty"), "no results below empty"),
    "nothing to compare": (("compare", "tcn", "gru"), "no results below runs"),
    "no file to compare": (("compare", "nothing.json", "gru"), "no such file or directory"),
    "nothing to reproduce": (("reproduce", "nothing.json"), "nothing.json"),
    "unknown info": (("info", "tiny-mpl"), "did you mean 'tiny-mlp'"),
    "no weights": (("evaluate", "tiny-sum", "tiny-mlp"), "--weights"),
    "unknown option": ((*RUN, "--colour", "red"), "--colour"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_gets_one_message(case, seqbench, tmp_path):
    """Exit code 2, what was wrong and what to do, nothing written, no traceback."""
    arguments, part = WRONG[case]
    code, out, err = seqbench(*arguments)
    assert code == 2
    assert part in err
    assert "Traceback" not in out + err
    assert not list(tmp_path.iterdir()), "something was written"


def test_a_model_that_raises_leaves_a_result(seqbench, tmp_path):
    """With its error in one line and the traceback; the same command does it again."""
    for _ in range(2):
        code, out, err = seqbench("run", "tiny-sum", "tiny-raising", "--epochs", "1")
        assert code == 2
        assert "failed: RuntimeError: this model cannot be trained" in out
        assert "the same command does it again" in err
    (result,), _ = read_results(tmp_path / "runs")
    assert result.status is Status.FAILED


def tiny_state(hidden=8, length=16):
    """Weights as the tiny model has them."""
    shapes = {"1.weight": (hidden, length), "1.bias": (hidden,)}
    shapes |= {"4.weight": (2, hidden), "4.bias": (2,)}
    return {f"layers.{name}": torch.ones(shape) for name, shape in shapes.items()}


def cut(save, value, path, keep):
    """A file of which the first part is left."""
    save(value, path)
    path.write_bytes(path.read_bytes()[:keep])


MISFITS = {
    "no such file": (lambda _: None, "No such file"),
    "a directory": (lambda path: path.mkdir(), "Is a directory"),
    "empty": (lambda path: path.write_bytes(b""), "not a file of weights"),
    "text": (lambda path: path.write_text("accuracy 0.99\n" * 99), "not a file of weights"),
    "JSON": (lambda path: path.write_text('{"id": {"weights": 3}}'), "not a file of weights"),
    "header cut off": (lambda path: cut(save_file, tiny_state(), path, 60), "cut off"),
    "tensors cut off": (lambda path: cut(save_file, tiny_state(), path, -9), "cut off"),
    "archive cut off": (lambda path: cut(torch.save, tiny_state(), path, 999), "cut off"),
    "a whole module": (lambda path: torch.save(nn.Linear(2, 2), path), "run any code"),
    "a tensor": (lambda path: torch.save(torch.ones(3), path), "there is Tensor"),
    "nothing": (lambda path: torch.save({}, path), "there is nothing"),
    "no tensors": (lambda path: torch.save({"epoch": 3}, path), "'epoch' of type int"),
    "another size": (
        lambda path: save_file(tiny_state(hidden=32), path),
        "of another shape: layers.1.weight (32, 16) instead of (8, 16)",
    ),
    "another task": (lambda path: save_file(tiny_state(length=9), path), "(8, 9) instead of"),
    "one missing": (
        lambda path: save_file({"layers.1.bias": torch.ones(8)}, path),
        "missing: layers.1.weight, layers.4.weight, layers.4.bias",
    ),
    "one too many": (
        lambda path: save_file(tiny_state() | {"layers.9.bias": torch.ones(2)}, path),
        "unexpected: layers.9.bias",
    ),
    "many wrong": (
        lambda path: save_file({f"x{i}": torch.ones(2) for i in range(9)}, path),
        "unexpected: x0, x1, x2 and 6 more",
    ),
    "whole numbers": (
        lambda path: save_file({k: v.long() for k, v in tiny_state().items()}, path),
        "integer instead of",
    ),
    "not finite": (
        lambda path: save_file(
            tiny_state() | {"layers.4.bias": torch.tensor([0, torch.nan])}, path
        ),
        "not finite: layers.4.bias",
    ),
    "foreign of another size": (
        lambda path: save_file({"one.weight": torch.ones(3, 16)}, path),
        "(3, 16) instead of (8, 16)",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_weights_that_cannot_be_evaluated_get_one_message(case, seqbench, tmp_path):
    """Exit code 2, what is wrong with the file, and no output directory."""
    make, part = MISFITS[case]
    make(tmp_path / "weights")
    code, out, err = seqbench("evaluate", "tiny-sum", "tiny-mlp", "--weights", "weights")
    assert code == 2
    assert part in err
    assert err.count("error:") == 1
    assert "Traceback" not in out + err
    assert {path.name for path in tmp_path.iterdir()} <= {"weights"}, "something was written"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--set", "train.epochs=3"), "nothing is trained"),
        (("--set", "model.hiden=3"), "did you mean 'model.hidden'"),
        (("--set", "model.hidden=9"), "(8, 16) instead of (9, 16)"),
        (("--task", "length=20"), "(8, 16) instead of (8, 20)"),
        (("--device", "cuda:99"), "cannot be used"),
        (("--output-dir", "weights"), "cannot write"),
        (("--output-dir", "weights/below"), "cannot write"),
    ],
)
def test_evaluation_that_cannot_be_done_gets_one_message(arguments, part, seqbench, tmp_path):
    """As a run's: settings, task, device, output."""
    save_file(tiny_state(), tmp_path / "weights")
    command = ("evaluate", "tiny-sum", "tiny-mlp", "--weights", "weights")
    code, out, err = seqbench(*command, *arguments)
    assert code == 2
    assert part in err
    assert "Traceback" not in out + err
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]


def test_evaluate_gives_the_score_of_the_run_that_wrote_the_weights(seqbench, tmp_path):
    """To the last bit, for each example; the second time without computing it again."""
    seqbench(*RUN)
    (trained,), _ = read_results(tmp_path / "runs")
    weights = tmp_path / "runs" / "checkpoints" / trained.id / "weights.safetensors"
    command = ("evaluate", "tiny-sum", "tiny-mlp", "--weights", weights, "--output-dir", "here")
    code, out, _ = seqbench(*command)
    assert code == 0
    assert f"weights of seqbench {trained.id}, chosen by validation" in out
    assert "never ranked" in out
    (result,), _ = read_results(tmp_path / "here")
    assert result.status is Status.EVALUATED
    assert (result.test, result.test_loss) == (trained.test, trained.test_loss)
    assert (result.test_scores, result.val) == (trained.test_scores, trained.val)
    assert result.data == trained.data
    assert result.cost.flops == trained.cost.flops
    assert seqbench(*command)[1] == out
    assert read_results(tmp_path / "here")[0] == [result]
    assert not (tmp_path / "here" / "checkpoints").exists()
    code, out, _ = seqbench("render", "here")
    assert code == 0
    assert "evaluated" in out


def test_unwritable_output(seqbench, tmp_path):
    """An output directory that cannot be made is said before training."""
    (tmp_path / "file").write_text("")
    code, out, err = seqbench(*RUN, "--output-dir", "file")
    assert code == 2
    assert "cannot write file: " in err
    assert "epoch" not in out


def test_plugin_that_raises_on_import(seqbench, install_plugin):
    """It is named with its distribution; `doctor` lists it; others are usable."""
    install_plugin(
        "bad-dist", "bad_cli_plugin", "1 / 0", "[seqbench.models]\nbad = bad_cli_plugin:B\n"
    )
    code, _, err = seqbench("run", "tiny-sum", "bad")
    assert code == 2
    for part in ("bad-dist 9.1", "bad_cli_plugin:B", "ZeroDivisionError"):
        assert part in err
    code, out, _ = seqbench("doctor")
    assert code == 1
    assert "broken: ZeroDivisionError" in out
    assert seqbench("list")[0] == 0
    assert seqbench(*RUN)[0] == 0


def test_run_again_shows_the_result(seqbench, tmp_path):
    """The score, its file, and the same again without training."""
    code, out, _ = seqbench(*RUN, "--output-dir", "here")
    assert code == 0
    assert "test accuracy" in out
    (result,), _ = read_results(tmp_path / "here")
    assert str(Path("here") / result.path) in out
    code, again, _ = seqbench(*RUN, "--output-dir", "here")
    assert code == 0
    assert "train loss" not in again
    assert "test accuracy" in again


def test_quiet_lines_without_a_terminal(seqbench):
    """Without a terminal there is one line an epoch and no control character."""
    _, out, _ = seqbench(*RUN)
    assert sum(line.startswith("epoch ") and "val score" in line for line in out.splitlines()) == 2
    assert "\x1b" not in out


def test_leaderboard_goes_on_beside_a_damaged_result(seqbench, tmp_path):
    """One truncated Result is named and lost; the table has all others."""
    for seed in (0, 1):
        seqbench(*RUN, "--seed", seed)
    paths = sorted((tmp_path / "runs" / "results").glob("*/*.json"))
    paths[0].write_text(paths[0].read_text()[:500])
    code, out, err = seqbench("render", "runs", "--output-dir", "pages")
    assert code == 2
    assert paths[0].name in err
    assert "tiny-mlp" in out
    pages = {path.suffix for path in (tmp_path / "pages").iterdir()}
    assert pages == {".html", ".json", ".md", ".csv", ".tex"}


@pytest.mark.parametrize(
    "command", [("render",), ("verify",), ("status",), ("compare", "lstm", "gru", "--in")]
)
def test_what_is_no_directory_of_results_is_told(command, seqbench, tmp_path):
    """A file, and a folder of those that a run writes below the directory."""
    old = next((Path(__file__).parent / "results").glob("v1/**/lstm-*.json"))
    path = write_result(read_result(old), tmp_path)
    code, _, err = seqbench(*command, path)
    assert code == 2
    assert f"{path} is a file; a directory is expected" in err
    for folder, what in ((path.parent, "one task"), (path.parent.parent, "each task")):
        code, _, err = seqbench(*command, folder)
        assert code == 2
        assert f"{folder} holds results of {what}" in err
        assert f"name the directory above results/, {tmp_path.resolve()}" in err


def test_render_check_names_stale_and_missing_pages_and_writes_nothing(seqbench, tmp_path):
    """For CI, which compares the committed pages with their results."""
    seqbench(*RUN)
    code, _, err = seqbench("render", "runs", "--check")
    assert code == 1
    assert "index.html is missing" in err
    assert not (tmp_path / "runs" / "index.html").exists()
    seqbench("render", "runs")
    assert seqbench("render", "runs", "--check") == (0, "", "")
    page = tmp_path / "runs" / "leaderboard.md"
    page.write_text("edited")
    code, _, err = seqbench("render", "runs", "--check")
    assert code == 1
    assert "leaderboard.md is not what its results give" in err
    assert "index.html" not in err
    assert page.read_text() == "edited"


def test_schema_is_the_published_one(seqbench):
    """`seqbench schema` prints the schema of a Result."""
    assert json.loads(seqbench("schema")[1]) == Result.model_json_schema()


def test_info_shows_task_and_model(seqbench):
    """Fields, presets, recipes and source are there for anyone to read."""
    _, out, _ = seqbench("info", "tiny-mlp")
    for part in ("hidden", "dropout", "large", "nowhere"):
        assert part in out
    _, out, _ = seqbench("info", "tiny-sum")
    assert "length" in out


def test_info_shows_what_training_can_be_set_to(seqbench):
    """Every setting, those of schedules too; a wrong value says where to look."""
    _, out, _ = seqbench("info", "train")
    for name in (*TrainSpec.model_fields, "schedule.kind", "schedule.every_epochs"):
        assert name in out
    _, _, err = seqbench("run", "tiny-sum", "tiny-mlp", "--epochs", 0)
    assert "seqbench info train" in err


def test_info_shows_how_a_recipe_differs_from_the_defaults(seqbench, monkeypatch):
    """By path, the schedule too; and says that the rest is as always."""
    recipe = Recipe("a paper", TrainSpec(batch_size=64, schedule=Cosine()), {"dropout": 0.2})
    monkeypatch.setattr(load_model("tiny-mlp"), "recipes", {("tiny-sum", "large"): recipe})
    _, out, _ = seqbench("info", "tiny-mlp")
    assert "differs from the defaults in" in out
    assert "schedule.kind=cosine, dropout=0.2" in out
    assert "batch_size" not in out


def test_info_of_a_config_without_defaults_is_one_message(seqbench, install_plugin):
    """As `check` says it."""
    source = (
        "from dataclasses import dataclass\nfrom seqbench.model import Model\n"
        "@dataclass(frozen=True)\nclass Config:\n    size: int\n"
        "class Net(Model):\n    Config = Config\n"
    )
    points = "[seqbench.models]\nno-default = no_default_plugin:Net\n"
    install_plugin("no-default", "no_default_plugin", source, points)
    code, _, err = seqbench("info", "no-default")
    assert code == 2
    assert "Config() of Net is refused: Config.__init__() missing 1 required" in err
    assert "give every field one" in err


def test_info_shows_the_defaults_of_a_run(seqbench):
    """Where nothing else is said, a run is of the first preset, whatever the config's own are."""
    _, out, _ = seqbench("info", "s4d")
    assert next(line for line in out.splitlines() if "channels" in line).split()[-1] == "84"


def test_every_training_command_takes_a_device(seqbench):
    """`run`, `evaluate`, `reproduce` and `leaderboard` have --device."""
    for command in ("run", "evaluate", "reproduce", "leaderboard"):
        assert "--device" in seqbench(command, "--help")[1]


def test_help_needs_no_torch():
    """--help of every command, and `list`, leave torch alone, and NumPy and SciPy."""
    commands = [
        "run",
        "evaluate",
        "leaderboard",
        "render",
        "compare",
        "reproduce",
        "status",
        "verify",
        "info",
        "doctor",
        "schema",
        "fetch",
        "list",
    ]
    calls = [["--help"], ["list"], ["schema"], *([command, "--help"] for command in commands)]
    code = (
        "import sys, contextlib, io\nfrom seqbench.cli import main\n"
        f"for call in {calls!r}:\n"
        "    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "        main(call)\n"
        "heavy = {'torch', 'numpy', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_says_how_to_go_on(stop, tmp_path):
    """Ctrl-C and a polite kill end with one line and exit code 130, not with a traceback."""
    command = [sys.executable, "-m", "seqbench.cli", *RUN[:3], "--set", "train.epochs=5000"]
    process = subprocess.Popen(
        [*command, "--output-dir", str(tmp_path)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # pytest-xdist's workers ignore SIGINT, and a process inherits that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    while not list(tmp_path.glob("checkpoints/*/epoch-*.safetensors")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(stop)
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "the same command continues" in err
    assert "Traceback" not in err


def test_killed_run_continues(tmp_path):
    """Kill -9 in the middle; the same command continues; the scores are the undisturbed ones."""
    command = [sys.executable, "-m", "seqbench.cli", *RUN[:3], "--set", "train.epochs=40"]
    command += ["--set", "train.batch_size=8", "--threads", "1", "--output-dir"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    broken = subprocess.Popen(
        [*command, str(tmp_path / "broken")], env=environment, stdout=subprocess.PIPE
    )
    while not list((tmp_path / "broken").glob("checkpoints/*/epoch-*.safetensors")):
        assert broken.poll() is None
        time.sleep(0.01)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    assert not list(tmp_path.glob("broken/results/*/*.json"))
    again = subprocess.run(
        [*command, str(tmp_path / "broken")], env=environment, check=True, capture_output=True
    )
    assert b"epoch 1 " not in again.stdout
    subprocess.run(
        [*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True
    )
    one, two = (read_results(tmp_path / name)[0][0] for name in ("broken", "whole"))
    assert one.test_scores == two.test_scores
    assert one.test_loss == two.test_loss
    assert [p.val_loss for p in one.curve] == [p.val_loss for p in two.curve]
