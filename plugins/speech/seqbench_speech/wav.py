"""A clip's samples from its WAV file, refused unless it is whole and of the data set's format."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int16

from seqbench.errors import DataError

SAMPLE_RATE = 16_000
SAMPLES = 16_000
"""Of a whole clip, which is one second; some are shorter, none is longer."""

_FORMAT = (1, 16, SAMPLE_RATE)
_AGAIN = "the file is damaged or not of Speech Commands: restore it, or fetch the data set again"


class Wav(NamedTuple):
    """A WAV file as it is, and its samples."""

    data: bytes
    samples: Int16[np.ndarray, "sample"]


def read_wav(path: Path) -> Wav:
    """A clip, as long as it is.

    Raises:
        DataError: it is missing, no WAV file, cut off, of another format, empty or too long.

    """
    try:
        data = path.read_bytes()
        with wave.open(io.BytesIO(data)) as wav:
            channels, width, rate, frames = wav.getparams()[:4]
            samples = wav.readframes(frames)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}", _AGAIN) from error
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends too early"
        raise DataError(f"{path} is no WAV file: {reason}", _AGAIN) from error
    if (channels, 8 * width, rate) != _FORMAT:
        raise DataError(
            f"{path} has {channels} channel(s) of {8 * width} bits at {rate:,} Hz; "
            "a clip has 1 of 16 bits at 16,000 Hz",
            _AGAIN,
        )
    if len(samples) != frames * width:
        raise DataError(
            f"{path} is cut off: {len(samples) // width:,} samples of {frames:,} are there", _AGAIN
        )
    if not 1 <= frames <= SAMPLES:
        raise DataError(f"{path} has {frames:,} samples; a clip has 1 to {SAMPLES:,}", _AGAIN)
    return Wav(data, np.frombuffer(samples, "<i2"))
