"""Which word is spoken: Speech Commands as raw audio and as MFCC."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torchaudio.functional import resample
from torchaudio.transforms import MFCC

from seqbench.data import data_root
from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.task import FitData, Split, Task
from seqbench.types import Encoded, Stored
from seqbench_speech import store
from seqbench_speech.corpus import Corpus, Subset
from seqbench_speech.irregular import dropped, observed
from seqbench_speech.selections import SC10, SC10_KIDGER, SC35, Selection
from seqbench_speech.wav import SAMPLE_RATE, SAMPLES

RATES = (1, 1 / 2, 1 / 4, 1 / 8)
"""Sampling rates of raw audio, relative to 16 kHz."""

DROP_RATES = (0.3, 0.5, 0.7)
"""Shares of a clip's samples that are not observed (Kidger et al. 2020; Romero et al. 2022)."""

LOW_PASS = {
    "resampling_method": "sinc_interp_kaiser",
    "lowpass_filter_width": 16,
    "rolloff": 0.85,
    "beta": 8.555504641634386,
}
"""Windowed sinc over 16 zero crossings; torchaudio's equivalent of librosa's kaiser_fast.

It passes what is below 0.7 of the new Nyquist frequency and stops all above it.
"""

FULL_SCALE = 2**15

Moments = tuple[Float[Tensor, "..."], Float[Tensor, "..."]]

_PART = 64


class SpeechTask(Task):
    """Classification of the word in a clip of one second.

    Stored are int16 samples (clip, 16,000) at 16 kHz, shorter clips padded with zeros at their
    end; a class is the index of the word in the selection's ``words``. Data are official if they
    are, byte for byte, those that `fetch` unpacked from the archive of the published digest.
    """

    citation = "Warden 2018, Speech Commands, arXiv:1804.03209; version 0.02"
    licence = "CC BY 4.0"
    selection: ClassVar[Selection]

    def fit_data(self) -> FitData:
        """The clips for training and validation."""
        return FitData(train=self._train, val=self._split("validation"))

    def test_data(self) -> Split:
        """The clips for testing."""
        return self._split("testing")

    def fetch(self) -> str:
        """Download and unpack the data set unless it is there; say where it is."""
        corpus = self._corpus
        when = "now" if corpus.fetch() else "already"
        origin = "from the official archive" if corpus.is_fetched else "of unknown origin"
        return f"Speech Commands: {when} in {corpus.folder}, {origin}"

    @property
    def _corpus(self) -> Corpus:
        return Corpus(data_root(self.data_dir))

    def _split(self, subset: Subset) -> Split:
        return store.load(self._corpus, self.selection, subset)

    @cached_property
    def _train(self) -> Split:
        return self._split("training")


@dataclass(frozen=True)
class RawConfig:
    """At which sampling rate, relative to 16 kHz, and how it is come by; or sampled irregularly.

    ``drop_rate`` is the share of each clip's samples that is not observed: 0.3, 0.5 or 0.7.
    """

    rate: float = 1.0
    resampling: Literal["lowpass", "subsample"] = "lowpass"
    drop_rate: float | None = None

    def __post_init__(self) -> None:
        if self.rate not in RATES:
            raise ConfigError(f"rate is {self.rate}; expected 1, 0.5, 0.25 or 0.125")
        if self.rate == 1 and self.resampling != "lowpass":
            raise ConfigError(f"resampling is {self.resampling!r} at rate 1, where there is none")
        if self.drop_rate not in (None, *DROP_RATES):
            raise ConfigError(f"drop_rate is {self.drop_rate}; expected 0.3, 0.5 or 0.7")
        if self.drop_rate and self.rate != 1:
            raise ConfigError(f"drop_rate is {self.drop_rate} at rate {self.rate}; expected rate 1")


class SC10Raw(SpeechTask):
    """Ten words as raw audio, on the official lists, which are disjoint in speakers.

    A network gets (x - mean) / deviation, both over all samples of the training clips at 16 kHz,
    as (batch, 1, time). At a lower ``rate`` r it gets what is left of that at r x 16 kHz:
    ``lowpass`` filters first, ``subsample`` takes every 1/r-th sample and lets frequencies fold,
    as the CKConv code does.

    With a ``drop_rate``, that share of each clip's samples is missing (``dropped``), in training
    as in testing: mean and deviation are over the samples that are there, a missing one is 0 after
    that, and a second channel is 1 where a sample is there, else 0. It is the procedure of the
    Neural CDE and CKConv code, which draws from one generator in the order of the files on disk.

    Differs from the published experiments of CKConv, FlexConv, S4 and LSSL, which are on
    ``sc10-raw-kidger``.
    """

    name = "sc10-raw"
    description = "Ten spoken words as 16,000 samples of sound; which word is it?"
    Config: ClassVar[type] = RawConfig
    selection = SC10

    @property
    def rate(self) -> float:
        """Relative to 16 kHz."""
        return float(self.config.rate)

    @property
    def signature(self) -> Signature:
        """A channel, and one of what is observed; a step for each sample that the rate leaves."""
        return Signature(
            in_channels=2 if self.config.drop_rate else 1,
            shape=(int(self.config.rate * SAMPLES),),
            out_features=len(self.selection.words),
            target="sequence",
        )

    def _split(self, subset: Subset) -> Split:
        split = super()._split(subset)
        if self.config.drop_rate is None:
            return split
        return replace(split, x=dropped(split.x, self.config.drop_rate))

    def encode(self, x: Stored) -> Encoded:
        """Standardised samples at the task's rate, float32 (batch, 1, time).

        With a ``drop_rate`` (batch, 2, time): zeros for missing samples, then which are there.
        """
        mean, deviation = (moment.to(x.device) for moment in self._moments)
        samples = rearrange((x.float() - mean) / deviation, "batch time -> batch 1 time")
        if self.config.drop_rate:
            there = rearrange(observed(x), "batch time -> batch 1 time")
            return torch.cat([samples.where(there, 0.0), there.float()], dim=1)
        if self.config.rate == 1:
            return samples
        if self.config.resampling == "subsample":
            return samples[..., :: int(1 / self.config.rate)]
        rate = int(self.config.rate * SAMPLE_RATE)
        resampled: Tensor = resample(samples, SAMPLE_RATE, rate, **LOW_PASS)
        return resampled

    @cached_property
    def _moments(self) -> Moments:
        """Mean and deviation of all samples of the training clips."""
        mean, deviation, _ = moments(self._parts, dim=(0, 1))
        return mean, deviation

    @property
    def _parts(self) -> Iterator[Tensor]:
        """The training clips as numbers, part by part, NaN where a sample is missing."""
        for part in self._train.x.split(_PART):
            wide = part.double()
            yield wide if self.config.drop_rate is None else wide.where(observed(part), math.nan)


class SC10RawKidger(SC10Raw):
    """Ten words as raw audio, on the random split of most published numbers.

    Only clips of exactly 16,000 samples (34,975 of the official data) are taken, and split 70 /
    15 / 15 at random, so that one speaker may be heard in training and in testing.

    Mean and deviation are those of each time step, not one number as in ``sc10-raw``, and 1e-5
    of full scale is added to the deviation: the CKConv, FlexConv and S4 code does so. The loop
    over channels of the code that they build on runs over time in their layout.
    """

    name = "sc10-raw-kidger"
    description = f"{SC10Raw.description} Speakers are shared between the splits"
    citation = (
        f"{SpeechTask.citation}; this split: Kidger, Morrill, Foster and Lyons 2020, "
        "arXiv:2005.08926; raw: Romero et al. 2022, arXiv:2102.02611"
    )
    selection = SC10_KIDGER

    @cached_property
    def _moments(self) -> Moments:
        """By time step: the mean, and the deviation with n - 1 and 1e-5 of full scale."""
        mean, deviation, clips = moments(self._parts, dim=(0,))
        return mean, deviation * (
            clips / (clips - 1).clamp(min=1)
        ).sqrt().float() + 1e-5 * FULL_SCALE


class SC35Raw(SC10Raw):
    """All 35 words as raw audio, on the official lists, which are disjoint in speakers."""

    name = "sc35-raw"
    description = "35 spoken words as 16,000 samples of sound; which word is it?"
    selection = SC35


class SC10MFCC(SpeechTask):
    """Ten words as mel-frequency cepstral coefficients, on the official lists.

    Samples / 2^15 go through torchaudio's MFCC with 20 coefficients of 64 mel bands, windows of
    200 samples (12.5 ms), a frame every 100, and log(mel + 1e-6), as in the Neural CDE code
    (patrick-kidger/NeuralCDE, experiments/datasets/speech_commands.py). A network gets (c - mean)
    / deviation by coefficient, both over all frames of the training clips, as (batch, 20, 161).

    Differs from the published experiments: they are on the random split of ``sc10-raw-kidger``.
    Of those, the Neural CDE and S4 code standardises by coefficient too; the CKConv and FlexConv
    code takes mean and deviation of each frame over all coefficients together.
    """

    name = "sc10-mfcc"
    description = "Ten spoken words as 161 frames of 20 MFCCs; which word is it?"
    selection = SC10

    @property
    def signature(self) -> Signature:
        """A channel for each coefficient; a step for each frame."""
        classes = len(self.selection.words)
        return Signature(in_channels=20, shape=(161,), out_features=classes, target="sequence")

    def encode(self, x: Stored) -> Encoded:
        """Standardised coefficients, float32 (batch, 20, 161)."""
        mean, deviation = (moment.to(x.device) for moment in self._moments)
        return (coefficients(x) - mean) / deviation

    @cached_property
    def _moments(self) -> Moments:
        """Mean and deviation of each coefficient over the frames of the training clips."""
        parts = map(coefficients, self._train.x.split(_PART))
        mean, deviation, _ = moments(parts, dim=(0, 2))
        return mean, deviation


@torch.inference_mode(mode=False)  # kept for training too
def moments(examples: Iterable[Tensor], dim: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, deviation and number over ``dim``, which stays with size 1, of examples in parts.

    What is NaN is left out. Of samples they are the same bits on every machine: sums over a part
    are whole numbers that float64 holds exactly, and parts are added in order.
    """
    total = squares = count = torch.zeros((), dtype=torch.float64)
    for part in examples:
        wide = part.double()
        total = total + wide.nansum(dim, keepdim=True)
        squares = squares + wide.square().nansum(dim, keepdim=True)
        count = count + wide.isfinite().sum(dim, keepdim=True)
    known = count.clamp(min=1)
    mean = total / known
    return mean.float(), (squares / known - mean.square()).sqrt().float(), count


def coefficients(x: Stored) -> Float[Tensor, "batch channel time"]:
    """MFCCs of stored samples."""
    found: Tensor = _mfcc(x.device)(x.float() / FULL_SCALE)
    return found


@functools.cache
def _mfcc(device: torch.device) -> MFCC:
    with warnings.catch_warnings(), torch.inference_mode(mode=False):
        # 64 mel bands over the 101 frequencies of a window of 200: the lowest bands are narrower
        # than a frequency and hold nothing. This is the published definition.
        warnings.filterwarnings("ignore", "At least one mel filterbank has all zero values")
        mel = {"n_fft": 200, "n_mels": 64}
        return MFCC(SAMPLE_RATE, n_mfcc=20, log_mels=True, melkwargs=mel).to(device)
