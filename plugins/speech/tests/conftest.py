"""Data directories: a small one made for each test, and the real clips where they are at hand."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for synthetic_speech

from seqbench_speech.corpus import RELEASE
from synthetic_speech import make_data

from seqbench.testing import missing, shared_folder


@pytest.fixture(scope="session")
def real_data(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with real clips of the ten words, which are not written to.

    ``SpeechCommands`` of SEQBENCH_DATA, or what ``data/speech_commands_test10.tar.xz`` in a folder
    ``shared`` beside the checkout holds. Without either the test is skipped.
    """
    root = tmp_path_factory.mktemp("real")
    if directory := os.environ.get("SEQBENCH_DATA"):
        folder = Path(directory) / "SpeechCommands" / RELEASE
        if not folder.is_dir():
            return missing("data", str(folder))
        (root / "SpeechCommands").mkdir()
        (root / "SpeechCommands" / RELEASE).symlink_to(folder.resolve())
        return root
    archive = shared_folder(pytestconfig, "data") / "speech_commands_test10.tar.xz"
    if not archive.is_file():
        return missing("data", str(archive))
    with tarfile.open(archive) as tar:
        tar.extractall(root, filter="data")
    return root


@pytest.fixture(autouse=True)
def _own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's data or writes to the user's cache."""
    monkeypatch.delenv("SEQBENCH_DATA", raising=False)
    monkeypatch.delenv("SEQBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory with a few clips of the ten words."""
    return make_data(tmp_path / "data")


@pytest.fixture
def folder(data: Path) -> Path:
    """The folder of words in ``data``."""
    return data / "SpeechCommands" / RELEASE
