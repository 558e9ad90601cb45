"""Small data sets in the official layout."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from seqbench_speech.corpus import LISTS, RELEASE
from seqbench_speech.selections import TEN

COUNTS = {"training": 6, "validation": 2, "testing": 2}
"""Clips of each word in a subset."""


def write_clip(path: Path, samples: np.ndarray, channels: int = 1, rate: int = 16_000) -> None:
    """Write samples of 8 or 16 bits, channels interleaved, as a WAV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as wav:
        wav.setparams((channels, samples.dtype.itemsize, rate, 0, "NONE", ""))
        wav.writeframes(samples.tobytes())


def make_data(root: Path, words: Sequence[str] = TEN) -> Path:
    """A data directory with a few clips of noise for each word, one in ten of them short."""
    random = np.random.RandomState(0)
    folder = root / "SpeechCommands" / RELEASE
    names: dict[str, list[str]] = {subset: [] for subset in COUNTS}
    for word in words:
        for subset, count in COUNTS.items():
            for number in range(count):
                name = f"{word}/{random.bytes(4).hex()}_nohash_{number}.wav"
                length = 12_345 if number == 2 else 16_000
                write_clip(folder / name, random.randint(-9_000, 9_000, length).astype(np.int16))
                names[subset].append(name)
    for subset, file in LISTS.items():
        random.shuffle(names[subset])  # in the official lists words are mixed, too
        (folder / file).write_text("".join(f"{name}\n" for name in names[subset]))
    return root
