"""Sequential MNIST at lower sampling rates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqbench.errors import ConfigError, UnknownNameError
from seqbench.resolve import resolve
from seqbench.result import read_results
from seqbench.spec import Component, Request
from seqbench.task import load_task
from seqbench.tasks.mnist import DEVIATION, MEAN, SMNIST, SMNISTConfig, low_pass

RATES = (1 / 2, 1 / 4, 1 / 8)
HOWS = ("lowpass", "subsample")
INSIDE = 34
"""New steps at either end that the filter sees past the end in, and some more."""


def wave(share: float) -> torch.Tensor:
    """Stored pixels that go up and down at a share of the Nyquist frequency of the full rate."""
    steps = np.arange(784)
    return torch.from_numpy(np.round(127.5 + 100 * np.cos(math.pi * share * steps)))[None]


def pixels(shape: tuple[int, ...] = (3, 784)) -> torch.Tensor:
    """Random stored pixels."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0)).byte()


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("how", HOWS)
def test_as_many_steps_as_the_rate_leaves(rate: float, how: str) -> None:
    """ceil(784 r) of them, by the signature and in fact; each example by itself."""
    task = SMNIST(SMNISTConfig(rate, how))
    assert task.rate == rate
    assert task.signature.shape == (math.ceil(784 * rate),)
    x = task.encode(pixels())
    assert x.shape == (3, 1, *task.signature.shape)
    assert x.dtype == torch.float32
    assert torch.allclose(task.encode(pixels()[1:2]), x[1:2], atol=1e-6)


def test_rate_1_is_no_resampling_and_no_other_experiment() -> None:
    """Asked for or not, it is the task as it has always been, under the same name."""
    plain, asked = SMNIST(), SMNIST(SMNISTConfig(1.0))
    assert torch.equal(plain.encode(pixels()), asked.encode(pixels()))
    expected = (pixels()[:, None].float() / 255 - MEAN) / DEVIATION
    assert torch.equal(plain.encode(pixels()), expected)
    assert plain.constants == ()
    one, other = (
        resolve(Request("smnist", "tiny-mlp", settings)).spec for settings in ({}, {"rate": 1})
    )
    assert one == other
    assert one.task == Component(name="smnist", version=1)


def test_ids_of_older_results_stay() -> None:
    """A committed result's spec, resolved again from its names, has the id that it had."""
    root = Path(__file__).parents[2]
    found = [*read_results(root / "leaderboards")[0]]
    specs = [result.spec for result in found if result.spec.task.name == "smnist"]
    assert any(spec.task.config == {} for spec in specs)
    for spec in specs:
        assert resolve(Request("smnist", "tiny-mlp", spec.task.config)).spec.task == spec.task
    text = '{"name": "smnist", "version": 1, "config": {"rate": null, "resampling": null}}'
    assert Component.model_validate_json(text) == Component(name="smnist", version=1)


@pytest.mark.parametrize("rate", RATES)
def test_slow_waves_are_kept(rate: float) -> None:
    """Below 0.7 of the new Nyquist frequency both ways give what every 1/r-th pixel is."""
    x = wave(0.68 * rate)
    every = int(1 / rate)
    expected = SMNIST().encode(x)[..., ::every]
    subsampled = SMNIST(SMNISTConfig(rate, "subsample")).encode(x)
    assert torch.equal(subsampled, expected)
    filtered = SMNIST(SMNISTConfig(rate, "lowpass")).encode(x)
    inside = slice(INSIDE, -INSIDE)
    assert (filtered - expected)[..., inside].abs().max() < 0.01


@pytest.mark.parametrize("rate", RATES)
def test_fast_waves_are_stopped_or_fold(rate: float) -> None:
    """Above the new Nyquist frequency the filter leaves the mean, subsampling another wave."""
    x = wave(1.02 * rate)
    inside = slice(INSIDE, -INSIDE)
    filtered = SMNIST(SMNISTConfig(rate, "lowpass")).encode(x)[..., inside]
    mean = (127.5 / 255 - MEAN) / DEVIATION
    assert (filtered - mean).abs().max() < 0.02
    folded = SMNIST(SMNISTConfig(rate, "subsample")).encode(x)[..., inside]
    assert (folded - mean).abs().max() > 1


@pytest.mark.parametrize("rate", RATES)
def test_beyond_the_ends_it_is_black(rate: float) -> None:
    """A white image fades towards the ends, a black one does not change anywhere."""
    task = SMNIST(SMNISTConfig(rate))
    black = task.encode(torch.zeros(1, 784, dtype=torch.uint8))
    assert torch.allclose(black, torch.tensor(-MEAN / DEVIATION))
    white = task.encode(torch.full((1, 784), 255, dtype=torch.uint8))
    assert torch.allclose(
        white[..., INSIDE:-INSIDE], torch.tensor((1 - MEAN) / DEVIATION), atol=1e-3
    )
    assert white[0, 0, 0] < white[0, 0, INSIDE]


def test_taps_are_symmetric_pass_a_constant_and_are_in_the_fingerprint() -> None:
    """The filter delays nothing; what it is belongs to the task's data."""
    for every in (2, 4, 8):
        taps = low_pass(every)
        assert torch.equal(taps, taps.flip(0))
        assert taps.sum().item() == pytest.approx(1, abs=1e-4)
        assert SMNIST(SMNISTConfig(1 / every)).constants == (taps,)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"rate": 0.3}, r"rate is 0\.3; expected 1, 0\.5, 0\.25 or 0\.125"),
        ({"rate": 0.5, "resampling": "linear"}, r"task\.resampling cannot be 'linear'"),
        ({"resampling": "subsample"}, "resampling is 'subsample' at rate 1"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], what: str) -> None:
    """A rate or a way that there is not is one clear message."""
    with pytest.raises(ConfigError, match=what):
        resolve(Request("smnist", "tiny-mlp", values))


def test_permuted_pixels_have_no_rate() -> None:
    """There is no frequency to speak of in a random order."""
    with pytest.raises(UnknownNameError, match="rate"):
        resolve(Request("pmnist", "tiny-mlp", {"rate": 0.5}))
    assert load_task("pmnist")().rate == 1
