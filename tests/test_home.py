"""Results at a URL: sent as they come, counted as done where they are, read like any others."""

from __future__ import annotations

import fsspec
import pytest

from seqbench import cli
from seqbench.errors import ConfigError, OutputError
from seqbench.files import files_below, location, write_file
from seqbench.home import Home
from seqbench.resolve import resolve
from seqbench.result import Status, leave_result, read_result, read_results, write_result
from seqbench.runner import Place, failure, run
from seqbench.spec import Request

SUITE = """
name = "two"
description = "two runs"
seeds = [0]
search = { "train.learning_rate" = [1e-9, 1e-2] }
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp"]
set = { "train.epochs" = 2 }
[[runs]]
tasks = ["tiny-sum"]
models = ["tiny-mlp:large"]
"""


LOCAL = "runs/memory%3A%2F%2Fbucket%2Fboard"


@pytest.fixture
def url():
    """A URL at which nothing is."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    return "memory://bucket/board"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory of one's own to be in."""
    (tmp_path / "two.toml").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def plan_of(seed=0):
    """A short run of the tiny task."""
    return resolve(Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 1}, seed=seed))


def call(*words):
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stop:
        cli.main(list(map(str, words)))
    return stop.value.code or 0


def names_at(url):
    """All files at a URL, without their ids."""
    system, root = fsspec.url_to_fs(url)
    return sorted(name.removeprefix(f"{root}/") for name in system.find(root))


def test_what_is_a_url():
    """A path is a directory, and so is file://."""
    assert str(location("runs/x")) == "runs/x"
    assert str(location("file:///tmp/a%20b")) == "/tmp/a b"
    assert location("memory://x/") == "memory://x"
    with pytest.raises(ConfigError, match="cannot use nosuch://x: Protocol not known"):
        list(files_below("nosuch://x", "results"))


def test_a_suite_at_a_url(url, here, capsys):
    """Results, those of trials too, and pages are there; checkpoints and logs are not."""
    assert call("leaderboard", "two.toml", "--output-dir", url, "--jobs", 1) == 0
    names = names_at(url)
    assert len([name for name in names if name.startswith("results/tiny-sum/")]) == 2
    assert len([name for name in names if name.startswith("trials/results/tiny-sum/")]) == 2
    pages = {name for name in names if "/" not in name}
    assert pages == {
        "index.html",
        *(f"leaderboard.{kind}" for kind in ("csv", "json", "md", "tex")),
    }
    assert len(names) == 9
    local, _ = read_results(here / LOCAL)
    assert read_results(url) == (local, [])
    assert len(local) == 2
    capsys.readouterr()
    for command in ("render", "status"):
        assert call(command, url) == 0
    assert "2 runs: 2 ok" in capsys.readouterr().out
    assert call("verify", url) == 0
    assert "results: 4, errors: 0" in capsys.readouterr().out
    assert call("render", url, "--check") == 2
    assert call("render", url, "--output-dir", "pages") == 0
    assert call("render", url, "--output-dir", "pages", "--check") == 0


def test_what_is_at_the_url_is_not_done_again(url, here, capsys):
    """Another machine's results count, and end up in the local directory."""
    done = run(plan_of(), Place(here / "elsewhere"))
    Home(url, here / "elsewhere").send()
    words = ["run", "tiny-sum", "tiny-mlp", "--epochs", 1, "--output-dir", url]
    assert call(*words) == 0
    assert read_result(here / LOCAL / done.path) == done.sealed()
    assert "train loss" not in capsys.readouterr().out
    assert call(*words, "--seed", 1) == 0
    assert len(read_results(url)[0]) == 2


def test_file_urls_are_directories(here):
    """With everything in them."""
    path = here / "a b"
    words = ["run", "tiny-sum", "tiny-mlp", "--epochs", 1, "--output-dir", path.as_uri()]
    assert call(*words) == 0
    assert len(read_results(path)[0]) == 1
    assert (path / "checkpoints").exists()


def test_of_two_results_of_a_run_the_one_that_stays_is_kept(url, tmp_path):
    """A failure gives way to a Result wherever it is; of two others the first at the URL stays."""
    good = run(plan_of(), Place(tmp_path / "good")).sealed()
    bad = failure(plan_of(), Place(tmp_path), Status.FAILED, "it broke", 1.0).sealed()
    other = good.model_copy(update={"test_loss": 0.5}).sealed()
    for first, second, kept in ((good, bad, good), (bad, good, good), (good, other, good)):
        fsspec.filesystem("memory").store.clear()
        write_result(first, tmp_path / "first")
        Home(url, tmp_path / "first").send()
        write_result(second, tmp_path / "second")
        home = Home(url, tmp_path / "second")
        assert not home.fetch()
        assert not home.send()
        assert read_results(url) == ([kept], [])


def test_of_two_runners_at_once_the_better_result_stays(url, tmp_path):
    """What came to the URL since it was last looked at counts too, and is taken from there."""
    good = run(plan_of(), Place(tmp_path / "good")).sealed()
    bad = failure(plan_of(), Place(tmp_path), Status.FAILED, "it broke", 1.0).sealed()
    for first, second in ((good, bad), (bad, good)):
        fsspec.filesystem("memory").store.clear()
        homes = [Home(url, tmp_path / f"{first.status}-{n}") for n in range(2)]
        for home, result in zip(homes, (first, second), strict=True):
            write_result(result, home.directory)
        for home in homes:
            assert not home.send()
        assert read_results(url) == ([good], [])
        assert read_result(homes[1].directory / good.path) == good


def test_a_damaged_file_here_is_named_and_holds_nothing_back(here, url, capsys):
    """Other results are sent however the command ends, and those of other URLs stay there."""
    words = ["run", "tiny-sum", "tiny-mlp", "--epochs", 1, "--output-dir"]
    assert call(*words, "memory://bucket/other", "--seed", 1) == 0
    damaged = here / LOCAL / "results" / "a" / "x.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"{")
    capsys.readouterr()
    assert call(*words, url) == 2
    assert "x.json is not readable JSON" in capsys.readouterr().err
    (result,), _ = read_results(url)
    assert result.spec.seed == 0


def test_what_cannot_be_sent_is_sent_with_the_next(url, tmp_path, monkeypatch):
    """A network that fails loses nothing."""
    from seqbench import home as module

    home = Home(url, tmp_path)
    run(plan_of(0), Place(tmp_path))

    def refuse(*_):
        raise OutputError("no network")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_file", refuse)
        assert [error.message for error in home.send()] == ["no network"]
    run(plan_of(1), Place(tmp_path))
    assert not home.send()
    assert len(read_results(url)[0]) == 2


def test_a_damaged_result_at_the_url_is_named(url, tmp_path):
    """By its URL, and costs nothing else."""
    run(plan_of(), Place(tmp_path / "a"))
    Home(url, tmp_path / "a").send()
    write_file(url, "results/tiny-sum/bad.json", b"{")
    results, errors = read_results(url)
    assert len(results) == 1
    assert f"{url}/results/tiny-sum/bad.json is not readable JSON" in str(errors[0])
    assert len(Home(url, tmp_path / "b").fetch()) == 1
    assert len(read_results(tmp_path / "b")[0]) == 1


def test_a_store_that_refuses_is_one_clear_message(url, monkeypatch):
    """Whatever kind of error it has."""
    system = fsspec.filesystem("memory")

    def refuse(*_, **__):
        raise RuntimeError("403")

    monkeypatch.setattr(type(system), "pipe_file", refuse)
    with pytest.raises(OutputError, match=r"cannot write memory://bucket/board/x: Runtime"):
        write_file(url, "x", b"")


def test_a_result_that_stays_is_never_written_over(tmp_path):
    """Whoever comes second gives what is there."""
    good = run(plan_of(), Place(tmp_path))
    other = good.model_copy(update={"test_loss": 0.5})
    assert leave_result(other, tmp_path) == good.sealed()
    assert read_result(tmp_path / good.path) == good.sealed()
