"""MNIST and CIFAR-10 as images, at the full resolution and at half of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqbench.errors import ConfigError
from seqbench.resolve import resolve
from seqbench.spec import Component, Request
from seqbench.tasks.cifar10 import SCIFAR10, CIFAR10Images, CIFAR10Resolution
from seqbench.tasks.mnist import SMNIST, SMNIST196, MNISTImages, MNISTResolution


def raw(*shape: int) -> np.ndarray:
    """Random pixels as they are decoded."""
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("images", "sequence", "shape"),
    [
        (MNISTImages(), SMNIST(), (28, 28)),
        (MNISTImages(MNISTResolution(14)), SMNIST196(), (28, 28)),
        (CIFAR10Images(), SCIFAR10(), (32, 32, 3)),
    ],
)
def test_row_by_row_they_are_the_sequential_task(images, sequence, shape: tuple[int, ...]) -> None:
    """The same numbers to the bit, in (height, width) in place of time."""
    pixels = raw(4, *shape)
    x = images.encode(images.store(pixels))
    assert x.shape == (4, images.signature.in_channels, *images.signature.shape)
    assert torch.equal(x.flatten(2), sequence.encode(sequence.store(pixels)))


def test_at_half_the_resolution_a_pixel_is_the_mean_of_four() -> None:
    """Averaging what the full task encodes gives what the half one does, each channel by itself."""
    pixels = raw(4, 32, 32, 3)
    full, half = CIFAR10Images(), CIFAR10Images(CIFAR10Resolution(16))
    assert half.signature.shape == (16, 16)
    stored = half.store(pixels)
    assert stored.dtype == torch.int16
    pooled = torch.nn.functional.avg_pool2d(full.encode(full.store(pixels)), 2)
    torch.testing.assert_close(half.encode(stored), pooled, rtol=0, atol=1e-5)


def test_rates_are_those_of_the_sides() -> None:
    """A run from 16 to 32 pixels changes the rate by 2."""
    assert [CIFAR10Images(CIFAR10Resolution(n)).rate for n in (None, 32, 16)] == [1, 1, 0.5]
    assert MNISTImages(MNISTResolution(14)).rate == 0.5


def test_the_full_resolution_is_no_setting() -> None:
    """Asked for or not, it is one experiment, with one name."""
    plain, asked = (
        resolve(Request("cifar10-2d", "tiny-mlp", settings)).spec.task
        for settings in ({}, {"resolution": 32})
    )
    assert plain == asked == Component(name="cifar10-2d", version=1)
    half = resolve(Request("cifar10-2d", "tiny-mlp", {"resolution": 16})).spec.task
    assert half.config == {"resolution": 16}


@pytest.mark.parametrize("task", ["mnist2d", "cifar10-2d"])
@pytest.mark.parametrize("resolution", [0, 7, 15, 64])
def test_other_resolutions_are_refused(task: str, resolution: int) -> None:
    """What there is is named."""
    with pytest.raises(ConfigError, match=rf"resolution is {resolution}; expected \d+ or \d+"):
        resolve(Request(task, "tiny-mlp", {"resolution": resolution}))
