"""Irregular sampling: a share of each clip's samples is not observed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from seqbench_speech.store import Samples

MISSING = -(2**15)
"""Marks a sample that is not observed; one that is observed and as low is raised by 1."""


def dropped(x: Samples, share: float) -> Samples:
    """The clips, of which each has lost ``share`` of its samples, rounded down, at random.

    Which ones depends on the clip alone, not on the order or number of clips: a permutation of its
    time steps is drawn by numpy's ``RandomState``, whose stream is frozen, seeded by the SHA-256 of
    its samples.
    """
    clips = x.numpy()
    left = np.maximum(clips, MISSING + 1)
    length = left.shape[1]
    for clip, samples in zip(clips, left, strict=True):
        seed = int.from_bytes(hashlib.sha256(clip.tobytes()).digest()[:4], "little")
        order = np.random.RandomState(seed).permutation(length)
        samples[order[: int(share * length)]] = MISSING
    return torch.from_numpy(left)


def observed(x: Samples) -> Bool[Tensor, "clip sample"]:
    """Which samples are there."""
    return x != MISSING
