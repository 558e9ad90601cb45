"""What the tasks hand out, on clips made here; and on the real ones where they are at hand."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from seqbench_speech.irregular import MISSING, dropped, observed
from seqbench_speech.selections import SC35, TEN
from seqbench_speech.tasks import DROP_RATES, SC10MFCC, RawConfig, SC10Raw, SC10RawKidger, SC35Raw
from seqbench_speech.wav import read_wav
from sklearn.model_selection import train_test_split
from synthetic_speech import COUNTS, make_data, write_clip

from seqbench import registry
from seqbench.errors import ConfigError
from seqbench.resolve import config_from
from seqbench.task import FitData, Split, Task, fingerprint, load_task

TASKS: list[type[Task]] = [SC10Raw, SC10RawKidger, SC10MFCC, SC35Raw]
LOWER = [RawConfig(rate, how) for rate in (1 / 2, 1 / 4, 1 / 8) for how in ("lowpass", "subsample")]

DROPPED = [RawConfig(drop_rate=share) for share in DROP_RATES]


@dataclass(frozen=True)
class Case:
    """A task with all its data."""

    task: Task
    fit: FitData
    test: Split

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.fit.train, self.fit.val, self.test


def load(task: type[Task], data: Path, config: object = None) -> Case:
    """The task with all its data, of a directory."""
    made = task(config, data_dir=data)
    return Case(made, made.fit_data(), made.test_data())


@pytest.fixture(scope="module")
def all_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with a few clips of each of the 35 words."""
    return make_data(tmp_path_factory.mktemp("data"), SC35.words)


@pytest.fixture(
    params=[
        *[(task, None) for task in TASKS],
        *[(SC10Raw, config) for config in (*LOWER, *DROPPED)],
        (SC10RawKidger, RawConfig(drop_rate=0.5)),
    ],
    ids=lambda param: f"{param[0].name} {param[1] or ''}",
)
def case(request: pytest.FixtureRequest, all_words: Path) -> Case:
    """Every task of the plugin, and raw audio at every rate and with every share dropped."""
    return load(request.param[0], all_words, request.param[1])


@pytest.mark.parametrize("task", TASKS)
def test_the_plugin_registers_its_tasks(task: type[Task]) -> None:
    """A class is found by its name and knows its source and its licence."""
    assert load_task(task.name) is task
    assert registry.entries(registry.TASKS)[task.name].distribution == "seqbench-speech"
    assert all((task.description, task.citation, task.licence, task.version))


def test_encode_gives_what_the_signature_says(case: Case) -> None:
    """A batch is float32 (batch, channel, time), finite, of the signature's channels and length."""
    signature = case.task.signature
    x = case.task.encode(case.test.x[:7])
    assert x.dtype == torch.float32
    assert x.shape == (7, signature.in_channels, *signature.shape)
    assert x.isfinite().all()


def test_encoding_a_batch_encodes_each_example(case: Case) -> None:
    """An example's encoding does not depend on the others of its batch, but for rounding."""
    x = case.test.x[:5]
    alone = torch.cat([case.task.encode(example) for example in x.split(1)])
    assert torch.allclose(case.task.encode(x), alone, atol=1e-5)


def test_encoded_in_inference_mode_then_trained(case: Case) -> None:
    """Validating before training leaves nothing behind that training cannot use."""
    task = type(case.task)(case.task.config, data_dir=case.task.data_dir)
    with torch.inference_mode():
        task.encode(case.test.x[:2])
    weight = torch.ones((), requires_grad=True)
    (task.encode(case.test.x[:2]) * weight).sum().backward()
    assert weight.grad is not None


def test_stored_clips_are_compact(case: Case) -> None:
    """Samples are kept in 16 bits, in one block; labels are in range, of every word."""
    for split in case.splits:
        assert split.x.dtype == torch.int16
        assert split.x.shape == (len(split), 16_000)
        assert split.x.is_contiguous()
        assert split.y.unique().tolist() == list(range(case.task.signature.out_features))


def test_splits_share_no_clip(case: Case) -> None:
    """What is validated or tested on was not trained on."""
    rows = [{clip.tobytes() for clip in split.x.numpy()} for split in case.splits]
    assert len(set.union(*rows)) == sum(len(split) for split in case.splits)


def test_loading_again_gives_the_same(case: Case) -> None:
    """Nothing is drawn at run time, whatever the state of the global generators."""
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global state is what is shown not to matter)
    again = load(type(case.task), case.task.data_dir, case.task.config)
    assert [fingerprint([s]) for s in again.splits] == [fingerprint([s]) for s in case.splits]
    assert torch.equal(again.task.encode(case.test.x[:3]), case.task.encode(case.test.x[:3]))


def test_scores_and_loss(case: Case) -> None:
    """Being right everywhere scores 1 with no loss; the loss has a gradient."""
    y = case.test.y
    right = 100.0 * torch.nn.functional.one_hot(y.long(), case.task.signature.out_features)
    assert torch.all(case.task.score(right, y) == 1)
    assert case.task.loss(right, y) < 1e-6
    y_hat = torch.zeros_like(right, requires_grad=True)
    case.task.loss(y_hat, y).backward()
    assert y_hat.grad is not None
    assert y_hat.grad.abs().sum() > 0


def test_splits_are_the_official_lists(data: Path, folder: Path) -> None:
    """Validation and testing are the lists in their order; all other clips are for training."""
    case = load(SC10Raw, data)
    assert [len(split) for split in case.splits] == [10 * count for count in COUNTS.values()]
    for split, name in ((case.fit.val, "validation_list.txt"), (case.test, "testing_list.txt")):
        listed = (folder / name).read_text().split()
        assert split.y.tolist() == [TEN.index(clip.split("/")[0]) for clip in listed]
        samples = np.stack([read_wav(folder / clip).samples for clip in listed])
        assert np.array_equal(split.x.numpy(), samples)


def test_short_clips_are_followed_by_zeros(data: Path) -> None:
    """A clip of 12,345 samples is kept as it is and filled up to one second."""
    train = SC10Raw(data_dir=data).fit_data().train
    short = train.x[(train.x[:, 12_345:] == 0).all(dim=1)]
    assert len(short) == 10  # one a word
    assert (short[:, :12_345] != 0).float().mean() > 0.99


def test_other_words_and_background_noise_are_left_out(data: Path, folder: Path) -> None:
    """Ten words of all that are there; the folder of noise is no word."""
    before = load(SC10Raw, data)
    write_clip(folder / "zero/abc_nohash_0.wav", np.ones(16_000, np.int16))
    write_clip(folder / "_background_noise_/white.wav", np.ones(99_000, np.int16))
    with (folder / "testing_list.txt").open("a") as file:
        file.write("zero/abc_nohash_0.wav\n")
    after = load(SC10Raw, data)
    assert all(torch.equal(a.x, b.x) for a, b in zip(after.splits, before.splits, strict=True))


def test_35_words_are_numbered_by_name(all_words: Path) -> None:
    """The words that the ten do not hold are there, and a label is a word's place by name."""
    assert len(SC35.words) == 35
    assert list(SC35.words) == sorted({*SC35.words, *TEN})
    assert len(SC35Raw(data_dir=all_words).fit_data().train) == 35 * COUNTS["training"]


def test_training_data_come_without_the_clips_for_testing(data: Path, folder: Path) -> None:
    """Only the test call reads what is tested on: without it, fit data are the same."""
    before = load(SC10Raw, data).fit
    for clip in (folder / "testing_list.txt").read_text().split():
        (folder / clip).unlink()
    after = SC10Raw(data_dir=data).fit_data()
    assert torch.equal(after.train.x, before.train.x)
    assert torch.equal(after.val.x, before.val.x)


def test_raw_audio_is_standardised_by_one_mean_and_one_deviation(data: Path) -> None:
    """All samples of the training clips are taken together, zeros after short clips too."""
    case = load(SC10Raw, data)
    x = case.fit.train.x.double()
    expected = (case.test.x.double() - x.mean()) / x.std(correction=0)
    assert torch.allclose(case.task.encode(case.test.x)[:, 0].double(), expected, atol=1e-6)


@pytest.mark.parametrize("config", DROPPED)
def test_dropped_samples_are_0_and_told_by_a_channel(data: Path, config: RawConfig) -> None:
    """Exactly the share of each clip is missing; what is there is standardised by its like."""
    plain, case = load(SC10Raw, data), load(SC10Raw, data, config)
    x, there = case.task.encode(case.test.x).unbind(1)
    assert ((there == 0).sum(1) == int(16_000 * config.drop_rate)).all()
    assert ((there == 0) | (there == 1)).all()
    assert not x[there == 0].any()
    train = case.fit.train.x
    seen = train[observed(train)].double()
    expected = (plain.test.x.double() - seen.mean()) / seen.std(correction=0)
    assert torch.allclose(x[there == 1].double(), expected[there == 1], atol=1e-6)


def test_which_samples_are_dropped_depends_on_the_clip_alone() -> None:
    """Not on its place or company; another clip loses others; the lowest sample is no mark."""
    clips = torch.randint(-(2**15), 2**15, (6, 500), dtype=torch.int16, generator=seeded())
    clips[:, 7] = -(2**15)
    whole = dropped(clips, 0.3)
    assert torch.equal(dropped(clips.flip(0)[:3], 0.3), whole.flip(0)[:3])
    patterns = {tuple(observed(clip).tolist()) for clip in whole}
    assert len(patterns) == 6
    assert observed(whole).sum(1).tolist() == [350] * 6
    assert set(whole[:, 7].tolist()) <= {MISSING, MISSING + 1}
    kept = observed(whole) & (clips > MISSING)
    assert torch.equal(whole[kept], clips[kept])


def test_the_pattern_is_in_the_fingerprint(data: Path) -> None:
    """Data with other samples missing are other data."""
    found = {fingerprint([load(SC10Raw, data, config).test]) for config in (RawConfig(), *DROPPED)}
    assert len(found) == 4


def seeded() -> torch.Generator:
    """Random numbers that are always the same."""
    return torch.Generator().manual_seed(0)


def test_the_random_split_is_that_of_the_published_code(data: Path, folder: Path) -> None:
    """Whole clips, word by word, split twice and standardised by time step as the source does."""
    clips = [
        (torch.from_numpy(read_wav(path).samples.copy()) / 2**15, label)
        for label, word in enumerate(TEN)
        for path in sorted((folder / word).glob("*.wav"))
        if len(read_wav(path).samples) == 16_000
    ]
    x, y = torch.stack([clip for clip, _ in clips]), torch.tensor([label for _, label in clips])
    train_x, rest_x, train_y, rest_y = train_test_split(
        x, y, train_size=0.7, random_state=0, stratify=y
    )
    val_x, test_x, val_y, test_y = train_test_split(
        rest_x, rest_y, train_size=0.5, random_state=1, stratify=rest_y
    )
    mean, deviation = train_x.mean(dim=0), train_x.std(dim=0) + 1e-5
    case = load(SC10RawKidger, data)
    expected = ((train_x, train_y), (val_x, val_y), (test_x, test_y))
    for split, (x, y) in zip(case.splits, expected, strict=True):
        assert torch.equal(split.y.long(), y)
        assert torch.allclose(case.task.encode(split.x)[:, 0], (x - mean) / deviation, atol=1e-4)


def tone(hertz: float) -> torch.Tensor:
    """One second of a tone of amplitude 10,000, as stored, twice."""
    time = torch.arange(16_000) / 16_000
    return (10_000 * torch.sin(2 * math.pi * hertz * time)).round().to(torch.int16).repeat(2, 1)


@pytest.mark.parametrize("config", LOWER, ids=str)
def test_a_slow_tone_is_the_same_at_every_rate(data: Path, config: RawConfig) -> None:
    """Below 0.7 of the new Nyquist frequency, resampling is reading every so many samples."""
    x = tone(0.68 * config.rate * 8_000)
    full, lower = SC10Raw(data_dir=data), SC10Raw(config, data_dir=data)
    every = int(1 / config.rate)
    expected, found = full.encode(x)[..., ::every], lower.encode(x)
    inside = slice(100, -100)  # the filter sees the silence around the clip
    assert torch.allclose(found[..., inside], expected[..., inside], atol=2e-3 * expected.max())


@pytest.mark.parametrize("config", LOWER, ids=str)
def test_a_tone_above_half_the_rate_is_stopped_or_folds(data: Path, config: RawConfig) -> None:
    """``lowpass`` leaves less than a thousandth of it, ``subsample`` all of it."""
    x = tone(1.01 * config.rate * 8_000)
    task = SC10Raw(config, data_dir=data)
    power = task.encode(x)[..., 100:-100].std() / SC10Raw(data_dir=data).encode(x).std()
    assert power < 1e-3 if config.resampling == "lowpass" else abs(power - 1) < 0.02


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({"rate": 0.3}, r"rate is 0\.3; expected 1, 0\.5, 0\.25 or 0\.125"),
        ({"rate": 2}, r"rate is 2\.0; expected"),
        ({"rate": 0}, r"rate is 0\.0; expected"),
        ({"rate": "1/2"}, r"task\.rate cannot be '1/2'"),
        ({"rate": 0.5, "resampling": "linear"}, r"task\.resampling cannot be 'linear'"),
        ({"resampling": "subsample"}, "resampling is 'subsample' at rate 1"),
        ({"drop_rate": 0.4}, r"drop_rate is 0\.4; expected 0\.3, 0\.5 or 0\.7"),
        ({"drop_rate": 0.5, "rate": 0.5}, r"drop_rate is 0\.5 at rate 0\.5; expected rate 1"),
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, object], what: str) -> None:
    """The error names the setting, what it is and what was expected."""
    with pytest.raises(ConfigError, match=what):
        config_from(SC10Raw, values, "task")


def test_mfccs_are_what_the_definition_says(data: Path) -> None:
    """Windows, spectrum, mel bands, logarithm and cosine transform, each from its formula."""
    x = SC10MFCC(data_dir=data).test_data().x[:3]
    padded = np.pad(x.numpy() / 2**15, ((0, 0), (100, 100)), mode="reflect")
    frames = np.stack([padded[:, start : start + 200] for start in range(0, 16_001, 100)], axis=1)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(200) / 200)
    power = np.abs(np.fft.rfft(frames * window)) ** 2
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), 66) / 2595) - 1)
    hertz = np.arange(101)[:, None] * 80
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0, np.minimum(rising, falling))
    assert (bands.sum(axis=0) == 0).any()  # what torchaudio warns of
    log_mel = np.log(power @ bands + 1e-6)
    angle = np.pi / 64 * (np.arange(64) + 0.5)[:, None] * np.arange(20)
    cosine = np.cos(angle) * np.sqrt(np.where(np.arange(20) == 0, 1, 2) / 64)
    expected = (log_mel @ cosine).transpose(0, 2, 1)
    task = SC10MFCC(data_dir=data)
    mean, deviation = (moment.numpy() for moment in task._moments)
    found = task.encode(x).numpy() * deviation + mean
    assert np.allclose(found, expected, atol=2e-3)


def test_mfccs_are_standardised_by_coefficient(data: Path) -> None:
    """Over all frames of the training clips each coefficient has mean 0 and deviation 1."""
    task = SC10MFCC(data_dir=data)
    x = task.encode(task.fit_data().train.x)
    assert torch.allclose(x.mean(dim=(0, 2)), torch.zeros(20), atol=1e-4)
    assert torch.allclose(x.std(dim=(0, 2), correction=0), torch.ones(20), atol=1e-4)


def test_one_warning_of_torchaudio_is_silenced_and_no_other(data: Path) -> None:
    """That mel bands are empty is known here; elsewhere the warning is what it was."""
    from seqbench_speech import tasks
    from torchaudio.transforms import MFCC

    tasks._mfcc.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SC10MFCC(data_dir=data).encode(torch.zeros(1, 16_000, dtype=torch.int16))
    with pytest.warns(UserWarning, match="At least one mel filterbank"):
        MFCC(16_000, n_mfcc=20, melkwargs={"n_fft": 200, "n_mels": 64})


def test_real_clips(real_data: Path) -> None:
    """The clips at hand are of one second and known by their fingerprints, on any machine."""
    case = load(SC10Raw, real_data)
    if case.fit.train.source.official:
        pytest.skip("the data directory holds the official Speech Commands")
    assert [len(split) for split in case.splits] == [2_485, 451, 544]
    assert [split.source.sha256[:8] for split in case.splits] == [
        "12617c0b",
        "c437684d",
        "800fe1ba",
    ]
    random = load(SC10RawKidger, real_data)
    assert [len(split) for split in random.splits] == [2_436, 522, 522]
    speech = SC10MFCC(data_dir=real_data).encode(case.test.x)
    assert 0.8 < speech.std() < 1.2
