"""Speech Commands v0.02 on disk: where it comes from, its layout, its official lists of clips."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from torchaudio.datasets import SPEECHCOMMANDS

from seqbench.errors import DataError
from seqbench.progress import track

Subset = Literal["training", "validation", "testing"]

RELEASE = "speech_commands_v0.02"
ARCHIVE = f"{RELEASE}.tar.gz"
URL = f"http://download.tensorflow.org/data/{ARCHIVE}"
ARCHIVE_SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
"""Of the official archive, as torchaudio and TensorFlow Datasets have it."""

LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}
"""The files that name the clips of a subset; all others are for training."""

SUMS = "official.sha256"
"""A file of ours in the data set: SHA-256 of every clip and list of the official archive."""

_AGAIN = "the data set is not whole: remove its folder and run `seqbench fetch sc10-raw`"


class Clip(NamedTuple):
    """A recording: its name as in the official lists, WORD/FILE, and the index of its word."""

    name: str
    label: int


@dataclass(frozen=True)
class Corpus:
    """The data set below a directory ``root``, laid out as torchaudio's SPEECHCOMMANDS does."""

    root: Path

    @property
    def folder(self) -> Path:
        """Holds a folder of clips for each word, and the lists."""
        return self.root / "SpeechCommands" / RELEASE

    @property
    def is_fetched(self) -> bool:
        """Whether `fetch` unpacked it from the official archive."""
        return (self.folder / SUMS).is_file()

    def clips(self, words: Sequence[str], subset: Subset | None = None) -> list[Clip]:
        """The clips of ``words`` in a subset, in the order of its list; else in that of names.

        Raises:
            DataError: the data set is not there, a list is missing or empty, or a word is.

        """
        listed = self._listed(subset)
        labels = {word: label for label, word in enumerate(words)}
        clips = [
            Clip(f"{word}/{Path(path).name}", labels[word])
            for path, _, word, *_ in listed
            if word in labels
        ]
        absent = set(words) - {words[clip.label] for clip in clips}
        if subset in LISTS and not clips:
            which = f"no clip of {', '.join(words)}" if listed else "no clip at all"
            raise DataError(f"{self.folder / LISTS[subset]} names {which}", _AGAIN)
        if subset not in LISTS and absent:
            raise DataError(f"{self.folder} has no clips of {', '.join(sorted(absent))}", _AGAIN)
        return clips

    def _listed(self, subset: Subset | None) -> list[tuple[str, int, str, str, int]]:
        """What torchaudio says of each clip: path, sampling rate, word, speaker, number."""
        if not self.folder.is_dir():
            raise DataError(
                f"there is no {self.folder}",
                "`seqbench fetch sc10-raw` downloads Speech Commands (2.3 GB) and unpacks it; "
                f"an archive that is there already, {self.root / ARCHIVE}, it only unpacks",
            )
        try:
            dataset = SPEECHCOMMANDS(self.root, subset=subset)
            return [dataset.get_metadata(index) for index in range(len(dataset))]
        except OSError as error:
            raise DataError(f"{error.filename} cannot be read: {error.strerror}", _AGAIN) from error
        except ValueError as error:
            file = LISTS.get(subset or "")
            where = self.folder / file if file else f"{self.folder} or a list in it"
            raise DataError(
                f"{where} has an entry that is not of the form WORD/SPEAKER_nohash_NUMBER.wav",
                _AGAIN,
            ) from error

    def state(self, clips: Sequence[Clip]) -> str:
        """A digest that changes when a clip or a list does: cheap, for nothing is read.

        It is over names, sizes and times. The time of change is new for every file that is
        written or replaced, even by one of the same size and the same time of modification.

        Raises:
            DataError: a clip is missing.

        """
        digest = hashlib.sha256()
        kept = [name for name in (*LISTS.values(), SUMS) if (self.folder / name).exists()]
        for name in (*kept, *(clip.name for clip in clips)):
            try:
                stat = (self.folder / name).stat()
            except OSError as error:
                raise DataError(
                    f"{self.folder / name} cannot be read: {error.strerror}", _AGAIN
                ) from error
            facts = (name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            digest.update(repr(facts).encode())
        return digest.hexdigest()

    def is_official(self, words: Sequence[str], digests: Mapping[str, str]) -> bool:
        """Whether clips with these digests by name are the official ones, and ``words`` whole.

        It is known only where `fetch` unpacked the official archive and left its digests.
        """
        try:
            lines = (self.folder / SUMS).read_text("utf-8").splitlines()
        except FileNotFoundError:
            return False
        sums = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines)}
        there = {clip.name for clip in self.clips(words)}
        whole = there == {name for name in sums if name.partition("/")[0] in words}
        lists = {name: sha256_of(self.folder / name) for name in LISTS.values()}
        return whole and {**digests, **lists}.items() <= sums.items()

    def fetch(self) -> bool:
        """Download and unpack the official archive unless the data set is there; true if done.

        An archive in ``root`` is taken instead of a download. Nothing is left half-done.

        Raises:
            DataError: it cannot be downloaded, is another archive, or cannot be written.

        """
        if self.folder.is_dir():
            return False
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=self.root, prefix=".part-") as part:
                self._unpack(Path(part))
        except (OSError, RuntimeError) as error:  # RuntimeError: torch's, for a wrong digest
            raise DataError(
                f"Speech Commands cannot be fetched to {self.root}: {error}",
                f"download {URL} by other means to {self.root / ARCHIVE} and run this again",
            ) from error
        return True

    def _unpack(self, part: Path) -> None:
        given = self.root / ARCHIVE
        if given.exists():
            if (found := sha256_of(given)) != ARCHIVE_SHA256:
                raise DataError(
                    f"{given} has SHA-256 {found}; the official archive has {ARCHIVE_SHA256}",
                    "it is damaged or of another release; remove it",
                )
            (part / ARCHIVE).symlink_to(given.resolve())
        SPEECHCOMMANDS(part, url=URL, download=True)
        unpacked = Corpus(part).folder
        names = sorted(file.relative_to(unpacked).as_posix() for file in unpacked.glob("*/*.wav"))
        sums = [
            f"{sha256_of(unpacked / name)}  {name}\n"
            for name in track([*LISTS.values(), *names], "hashing clips")
        ]
        (unpacked / SUMS).write_text("".join(sums), "utf-8")
        self.folder.parent.mkdir(exist_ok=True)
        unpacked.rename(self.folder)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
