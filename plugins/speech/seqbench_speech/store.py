"""The clips of a split in one file, made once and mapped into memory: 16 bits a sample."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import Int16, UInt8
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seqbench.data import cache_root, label_of
from seqbench.errors import DataError
from seqbench.progress import track
from seqbench.task import Source, Split
from seqbench_speech.corpus import Clip, Corpus, Subset
from seqbench_speech.selections import Selection
from seqbench_speech.wav import SAMPLES, read_wav

Samples = Int16[Tensor, "clip sample"]
Labels = UInt8[Tensor, "clip"]


def load(corpus: Corpus, selection: Selection, subset: Subset) -> Split:
    """A split's clips, short ones padded with zeros, and labels; made when it is first asked for.

    The file is made anew when a clip or a list has changed, or when it is not what was written.
    It lies beside the data, or where that cannot be written in the user's cache; with
    SEQBENCH_CACHE it lies there.

    Raises:
        DataError: the data are missing or damaged, or the file cannot be written.

    """
    candidates = selection.candidates(corpus, subset)
    key = corpus.state(candidates)
    name = f"{selection.name}-{subset}.safetensors"
    places = _places(corpus)
    for place in places:
        if found := _read(place / name, key, corpus):
            return found
    file = next(filter(_is_writable, places), places[-1]) / name
    with _alone(file):
        if not (found := _read(file, key, corpus)):  # else another process has just made it
            chosen = selection.choose(corpus, candidates, subset)
            _write(file, key, corpus, selection.words, chosen)
            found = _read(file, key, corpus)
    if not found:
        raise DataError(f"{file} was written and is not what was written", "the disk may be broken")
    return found


def _places(corpus: Corpus) -> list[Path]:
    """Where the file may lie, the first choice first."""
    owner = hashlib.sha256(str(corpus.folder.resolve()).encode()).hexdigest()[:16]
    shared = cache_root() / "speech" / owner
    if os.environ.get("SEQBENCH_CACHE"):
        return [shared]
    return [corpus.folder.parent / "seqbench-cache", shared]


def _is_writable(place: Path) -> bool:
    there = next(folder for folder in (place, *place.parents) if folder.exists())
    return os.access(there, os.W_OK)


def _read(file: Path, key: str, corpus: Corpus) -> Split | None:
    """What the file holds, or None if it is missing, of other clips, or damaged."""
    try:
        with safe_open(file, "pt") as opened:
            card = opened.metadata()
            if card["key"] != key:
                return None
            samples, labels = opened.get_tensor("samples"), opened.get_tensor("labels")
    except (OSError, SafetensorError, KeyError, TypeError):
        return None
    if (sha256 := _digest(samples, labels)) != card["sha256"]:
        return None
    official = card["official"] == "yes"
    label = None if official else label_of(corpus.folder)
    return Split(samples, labels, Source(sha256, official, label))


def _write(
    file: Path, key: str, corpus: Corpus, words: Sequence[str], clips: Sequence[Clip]
) -> None:
    """Convert clips into the file, which is seen whole or not at all."""
    with TemporaryDirectory(dir=file.parent, prefix=_prefix(file)) as part:
        raw, digests = Path(part, "samples"), {}
        with raw.open("wb") as stream:
            for clip in track(clips, f"converting {file.stem}"):
                data, samples = read_wav(corpus.folder / clip.name)
                digests[clip.name] = hashlib.sha256(data).hexdigest()
                stream.write(np.pad(samples, (0, SAMPLES - len(samples))).tobytes())
        mapped = np.memmap(raw, np.int16, "c", shape=(len(clips), SAMPLES))
        tensors = {
            "samples": torch.from_numpy(mapped),
            "labels": torch.tensor([clip.label for clip in clips], dtype=torch.uint8),
        }
        card = {
            "key": key,
            "sha256": _digest(**tensors),
            "official": "yes" if corpus.is_official(words, digests) else "no",
        }
        whole = Path(part, file.name)
        save_file(tensors, whole, card)
        whole.chmod(0o644)  # others may train on the same data
        whole.replace(file)


def _digest(samples: Samples, labels: Labels) -> str:
    digest = hashlib.sha256(samples.numpy().data)
    digest.update(labels.numpy().data)
    return digest.hexdigest()


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Nobody else makes the file meanwhile; what a killed process left of it is removed."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            for left in file.parent.glob(f"{_prefix(file)}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"the converted clips cannot be written to {file}: {error}",
            "SEQBENCH_CACHE=DIR puts them elsewhere; 35 words take 3.4 GB, ten words 1.2 GB",
        ) from error


def _prefix(file: Path) -> str:
    return f".{file.stem}-part-"
