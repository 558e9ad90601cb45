"""The official archive: downloaded or given, checked, unpacked, and known by its digests."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from seqbench_speech import corpus
from seqbench_speech.corpus import ARCHIVE, RELEASE, SUMS, sha256_of
from seqbench_speech.tasks import SC10Raw, SC10RawKidger
from synthetic_speech import make_data, write_clip
from torchaudio.datasets import speechcommands

from seqbench.cli import main
from seqbench.errors import DataError


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive where the official one is downloaded from, with the official digest."""
    folder = make_data(tmp_path / "official") / "SpeechCommands" / RELEASE
    (tmp_path / "host").mkdir()
    path = tmp_path / "host" / ARCHIVE
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, ".")  # as in the official one, names begin with ./
    monkeypatch.setattr(corpus, "URL", path.as_uri())
    monkeypatch.setattr(corpus, "ARCHIVE_SHA256", sha256_of(path))
    monkeypatch.setitem(speechcommands._CHECKSUMS, path.as_uri(), sha256_of(path))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data directory that is not there yet."""
    return tmp_path / "new" / "data"


def test_the_digest_is_the_one_of_torchaudio() -> None:
    """One archive is meant, and torchaudio checks what it downloads of it."""
    assert speechcommands._CHECKSUMS[corpus.URL] == corpus.ARCHIVE_SHA256


def test_fetching_downloads_checks_and_unpacks(
    archive: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command leaves the data set and nothing else; its data are official."""
    main_until_exit(["fetch", "sc10-raw", "--data-dir", str(root)])
    said = capsys.readouterr().out
    assert (
        said
        == f"Speech Commands: now in {root}/SpeechCommands/{RELEASE}, from the official archive\n"
    )
    assert [path.name for path in root.iterdir()] == ["SpeechCommands"]
    for task in (SC10Raw(data_dir=root), SC10RawKidger(data_dir=root)):
        fit, test = task.fit_data(), task.test_data()
        assert all(split.source.official for split in (fit.train, fit.val, test))
    archive.unlink()
    main_until_exit(["fetch", "sc35-raw", "--data-dir", str(root)])
    assert "already in" in capsys.readouterr().out


def main_until_exit(command: list[str]) -> None:
    """Run the command line, which ends in an exit without a failure."""
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert not ended.value.code


def test_another_archive_is_refused(
    archive: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download of another digest is named, and nothing of it is left."""
    monkeypatch.setitem(speechcommands._CHECKSUMS, archive.as_uri(), "0" * 64)
    with pytest.raises(DataError, match=r'invalid hash value .expected "000') as caught:
        SC10Raw(data_dir=root).fetch()
    assert str(root / ARCHIVE) in caught.value.hint
    assert not list(root.iterdir())


def test_a_host_that_does_not_answer_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says why, and how else the archive may come."""
    monkeypatch.setattr(corpus, "URL", f"http://127.0.0.1:9/{ARCHIVE}")
    with pytest.raises(DataError, match=r"cannot be fetched to .*: .*refused") as caught:
        SC10Raw(data_dir=root).fetch()
    assert f"download http://127.0.0.1:9/{ARCHIVE} by other means" in caught.value.hint
    assert not list(root.iterdir())


def test_an_archive_that_is_there_is_unpacked_without_network(
    archive: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays where it is, and its data are official."""
    root.mkdir(parents=True)
    archive.rename(root / ARCHIVE)
    monkeypatch.setattr(corpus, "URL", f"http://127.0.0.1:9/{ARCHIVE}")
    assert "now in" in SC10Raw(data_dir=root).fetch()
    assert sorted(path.name for path in root.iterdir()) == ["SpeechCommands", ARCHIVE]
    assert SC10Raw(data_dir=root).test_data().source.official


def test_a_damaged_archive_that_is_there_is_refused(archive: Path, root: Path) -> None:
    """Its digest and the official one are named; it is not unpacked."""
    root.mkdir(parents=True)
    (root / ARCHIVE).write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"has SHA-256 \w+; the official .* {sha256_of(archive)}"):
        SC10Raw(data_dir=root).fetch()
    assert [path.name for path in root.iterdir()] == [ARCHIVE]


def test_data_that_cannot_be_written_are_one_error(archive: Path, tmp_path: Path) -> None:
    """A data directory that is no directory is named."""
    assert archive.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be fetched to .*/file"):
        SC10Raw(data_dir=tmp_path / "file").fetch()


def test_data_of_unknown_origin_are_not_official(data: Path) -> None:
    """Without the digests of the archive nobody knows; the card beside the data names them."""
    assert "of unknown origin" in SC10Raw(data_dir=data).fetch()
    assert not SC10Raw(data_dir=data).test_data().source.official
    card = data / "SpeechCommands" / RELEASE / "card.toml"
    card.write_text('label = "ten-clips"')
    assert SC10Raw(data_dir=data).test_data().source.label == "ten-clips"
    card.write_text("label = 3")
    with pytest.raises(DataError, match=r"card\.toml"):
        SC10Raw(data_dir=data).test_data()


def change_a_clip(folder: Path) -> None:
    """Other samples in a clip of the right length."""
    listed = (folder / "testing_list.txt").read_text().split()
    write_clip(folder / listed[0], np.arange(16_000, dtype=np.int16))


def add_a_clip(folder: Path) -> None:
    """One more clip for training."""
    write_clip(folder / "yes/00000000_nohash_0.wav", np.arange(16_000, dtype=np.int16))


def remove_a_clip(folder: Path) -> None:
    """One clip less for training."""
    listed = {
        name for file in corpus.LISTS.values() for name in (folder / file).read_text().split()
    }
    others = (path for path in folder.glob("yes/*") if f"yes/{path.name}" not in listed)
    next(others).unlink()


def shorten_a_list(folder: Path) -> None:
    """A clip for testing becomes one for training."""
    listed = (folder / "testing_list.txt").read_text().splitlines(keepends=True)
    (folder / "testing_list.txt").write_text("".join(listed[1:]))


def remove_the_digests(folder: Path) -> None:
    """Nobody knows any more."""
    (folder / SUMS).unlink()


@pytest.mark.parametrize(
    "change", [change_a_clip, add_a_clip, remove_a_clip, shorten_a_list, remove_the_digests]
)
def test_official_data_that_changed_are_not_official(
    change: Callable[[Path], None], archive: Path, root: Path
) -> None:
    """Also when they were converted while they were official."""
    assert archive.exists()
    task = SC10Raw(data_dir=root)
    task.fetch()
    assert task.test_data().source.official
    change(root / "SpeechCommands" / RELEASE)
    changed = SC10Raw(data_dir=root)
    sources = changed.fit_data().train.source, changed.test_data().source
    assert not all(source.official for source in sources)
