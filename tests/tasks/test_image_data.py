"""MNIST and CIFAR-10: found, fetched, recognised, refused."""

from __future__ import annotations

import hashlib
import io
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from seqbench.errors import DataError
from seqbench.task import load_task
from seqbench.tasks import _parquet
from seqbench.tasks._images import Images
from seqbench.tasks.cifar10 import SCIFAR10, NoisePaddedCIFAR10, SCIFAR10Gray, official_order
from seqbench.tasks.mnist import MNIST, PMNIST, PMNIST196, SMNIST, SMNIST196, bit_reversal

Table = dict[str, list[Any]]


def png(pixels: np.ndarray) -> bytes:
    """The pixels as an encoded image."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


def digit(value: int, shape: tuple[int, ...] = (28, 28)) -> dict[str, Any]:
    """An image of one level, as the hub stores it."""
    return {"bytes": png(np.full(shape, value, np.uint8)), "path": None}


NOISY = png(np.random.RandomState(0).randint(0, 256, (28, 28)).astype(np.uint8))


def write(folder: Path, split: str, table: Table) -> Path:
    """Write a split as the hub does; give its file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{split}-00000-of-00001.parquet"
    pq.write_table(pa.table(table), file)
    return file


def small() -> Table:
    """Two images that are all right but not enough."""
    return {"image": [digit(0), digit(9)], "label": [0, 9]}


def test_smnist_is_what_the_official_code_feeds(data_dir: Path, shared_reference: Path) -> None:
    """Test images in the official order, normalised to the bit as the official CKConv code does."""
    golden = np.load(shared_reference / "ckconv_smnist_100k_logits.npz")
    task = SMNIST(data_dir=data_dir)
    test = task.test_data()
    assert np.array_equal(task.encode(test.x[:2]).numpy(), golden["x_first"].reshape(2, 1, 784))
    assert np.array_equal(test.y.numpy()[golden["index"]], golden["labels"])
    assert test.source.official


def test_validation_is_the_end_of_the_training_order(data_dir: Path) -> None:
    """Training begins with the first label of MNIST, validation is the last 5,000 images."""
    fit = SMNIST(data_dir=data_dir).fit_data()
    pixels, labels = _parquet.read(MNIST.hosted, "train", data_dir)
    assert fit.train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert np.array_equal(fit.val.y.numpy(), labels[55_000:])
    assert np.array_equal(fit.val.x.numpy(), pixels[55_000:].reshape(5_000, 784))


def test_pmnist_is_the_official_permutation() -> None:
    """The permutation that the official code draws at seed 0."""
    assert PMNIST.permutation is not None
    assert PMNIST.permutation[:10].tolist() == [693, 85, 647, 392, 765, 14, 299, 711, 55, 31]


def test_permuting_moves_pixels_and_nothing_else() -> None:
    """Step t of a permuted task is pixel permutation[t] of the plain one."""
    pixels = np.random.RandomState(0).randint(0, 256, (3, 28, 28)).astype(np.uint8)
    for plain, permuted in ((SMNIST(), PMNIST()), (SMNIST196(), PMNIST196())):
        order = torch.from_numpy(permuted.permutation)
        assert torch.equal(permuted.store(pixels), plain.store(pixels)[:, order])


def test_bit_reversal_is_the_one_of_s4() -> None:
    """The first indices that state-spaces/s4 gives; of a power of two it is its own inverse."""
    assert bit_reversal(784)[:12].tolist() == [
        0,
        512,
        256,
        768,
        128,
        640,
        384,
        64,
        576,
        320,
        192,
        704,
    ]
    assert sorted(bit_reversal(784)) == list(range(784))
    whole = bit_reversal(1024)
    assert np.array_equal(whole[whole], np.arange(1024))


def test_pooling_is_exact() -> None:
    """The pooled input is the mean of four normalised pixels."""
    pixels = np.random.RandomState(1).randint(0, 256, (4, 28, 28)).astype(np.uint8)
    whole = SMNIST().encode(SMNIST().store(pixels)).view(4, 1, 28, 28)
    pooled = SMNIST196().encode(SMNIST196().store(pixels)).view(4, 1, 14, 14)
    assert SMNIST196().store(pixels).dtype == torch.int16
    assert torch.allclose(torch.nn.functional.avg_pool2d(whole, 2), pooled, atol=1e-6)


def test_layouts_of_cifar() -> None:
    """Pixels row by row by channel; grey as weighed; a row's red, green, blue, then the noise."""
    pixels = np.random.RandomState(2).randint(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    colour = SCIFAR10().encode(SCIFAR10().store(pixels))
    red = (pixels[1, 3, 5, 0] / 255 - 0.485) / 0.229
    assert torch.isclose(colour[1, 0, 3 * 32 + 5], torch.tensor(red, dtype=torch.float32))
    grey = SCIFAR10Gray().encode(SCIFAR10Gray().store(pixels))
    level = pixels[1, 3, 5] @ np.array([0.299, 0.587, 0.114])
    want = torch.tensor((level - 122.6) / 61, dtype=torch.float32)
    assert torch.isclose(grey[1, 0, 3 * 32 + 5], want, atol=1e-5)
    task = NoisePaddedCIFAR10()
    rows = task.encode(task.store(pixels))
    assert torch.allclose(rows[:, :, :32].reshape(2, 3, 32, 32).mT, colour.view(2, 3, 32, 32))
    assert torch.equal(rows[1, :, 32:], task.constants[0].T)


def test_official_cifar_is_recognised_in_any_order_of_its_batches() -> None:
    """Batches are put in the order of the official files; one changed pixel undoes it."""
    random = np.random.RandomState(0)
    pixels = random.randint(0, 256, (30_000, 2, 2, 3)).astype(np.uint8)
    labels = random.randint(0, 10, 30_000).astype(np.uint8)
    files = [
        b"".join(
            bytes([labels[i]]) + pixels[i].transpose(2, 0, 1).tobytes()
            for i in range(start, start + 10_000)
        )
        for start in (0, 10_000, 20_000)
    ]
    digests = tuple(hashlib.sha1(file, usedforsecurity=False).hexdigest() for file in files)
    moved = np.roll(np.arange(30_000), 10_000)
    found = official_order(Images(pixels[moved], labels[moved]), digests)
    assert found.official
    assert np.array_equal(found.pixels, pixels)
    assert np.array_equal(found.labels, labels)
    pixels[7, 1, 1, 2] ^= 1
    assert not official_order(Images(pixels, labels), digests).official


def test_a_lossy_copy_of_cifar_is_not_official(data_dir: Path) -> None:
    """The copy of CIFAR-10 that tests use went through JPEG, and the source says so."""
    fit = SCIFAR10(data_dir=data_dir).fit_data()
    if fit.train.source.official:
        pytest.skip("the data directory holds the official CIFAR-10")
    assert fit.val.source == fit.train.source
    assert fit.train.y[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]


def test_other_data_are_not_official_and_named_by_their_card(
    data_dir: Path, tmp_path: Path
) -> None:
    """One pixel off is other data; the card beside the files gives them a name."""
    table = pq.read_table(next((data_dir / "mnist").glob("test-*"))).to_pydict()
    table["image"][5] = digit(1)
    write(tmp_path / "mnist", "test", table)
    assert not SMNIST(data_dir=tmp_path).test_data().source.official
    (tmp_path / "mnist" / "card.toml").write_text('label = "one-off"')
    assert SMNIST(data_dir=tmp_path).test_data().source.label == "one-off"
    (tmp_path / "mnist" / "card.toml").write_text("label = 3")
    with pytest.raises(DataError, match=r"card\.toml"):
        SMNIST(data_dir=tmp_path).test_data()


def test_a_local_copy_needs_no_network(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With files in place no host is looked up and no connection made."""

    def refuse(*_args: object, **_kwargs: object) -> None:
        pytest.fail("the network was touched")

    monkeypatch.setenv("SEQBENCH_CACHE", "/dev/null/none")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("SEQBENCH_DATA", str(data_dir))
    assert len(SMNIST().test_data()) == 10_000


def test_without_network_and_copy_the_error_says_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One error, at once, with the command and the place for the files; nothing is written."""
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        SCIFAR10(data_dir=tmp_path).fit_data()
    assert time.monotonic() - started < _parquet.PROBE_SECONDS + 1
    for part in ("seqbench fetch scifar10", "--data-dir DIR", "DIR/cifar10/train-*.parquet"):
        assert part in caught.value.hint
    assert str(tmp_path / "cifar10") in caught.value.message
    assert not list(tmp_path.iterdir())


def test_a_host_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up without end does not hold the command."""

    def stall(*_args: object, **_kwargs: object) -> None:
        time.sleep(1)
        raise TimeoutError

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(_parquet, "PROBE_SECONDS", 0.1)
    monkeypatch.setattr(socket, "create_connection", stall)
    assert "does not answer" in (_parquet._unreachable() or "")


def remote(data_dir: Path) -> Callable[..., datasets.Dataset]:
    """The far end of a download: the hub's data set, read from the local copy."""

    def load_dataset(path: str, *, split: str) -> datasets.Dataset:
        folder = {"ylecun/mnist": "mnist"}[path]
        file = next((data_dir / folder).glob(f"{split}-*"))
        return datasets.Dataset.from_parquet(str(file), keep_in_memory=True)

    return load_dataset


def test_fetching_gives_the_official_data(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is downloaded is written as parquet, read by the same path, and is the same data."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # no probe: the remote end is in this process
    monkeypatch.setattr(datasets, "load_dataset", remote(data_dir))
    task = SMNIST(data_dir=tmp_path)
    said = task.fetch()
    assert "downloaded" in said
    assert "the official data" in said
    names = sorted(file.name for file in (tmp_path / "mnist").iterdir())
    assert names == ["test-00000-of-00001.parquet", "train-00000-of-00001.parquet"]
    monkeypatch.setattr(datasets, "load_dataset", None)
    assert "already in" in task.fetch()
    here, there = task.test_data(), SMNIST(data_dir=data_dir).test_data()
    assert torch.equal(here.x, there.x)
    assert here.source == there.source


def test_a_failing_download_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the hub answers with is the cause named in the error, and nothing is left behind."""

    def load_dataset(path: str, *, split: str) -> None:
        raise ConnectionError(f"Couldn't reach {path!r} for {split}")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match="Couldn't reach 'ylecun/mnist'"):
        SMNIST(data_dir=tmp_path).fit_data()
    assert not list(tmp_path.iterdir())


def test_data_that_cannot_be_written_are_one_error(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data directory that is no directory is named."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(datasets, "load_dataset", remote(data_dir))
    with pytest.raises(DataError, match="cannot write the downloaded mnist"):
        SMNIST(data_dir=tmp_path / "file").fit_data()


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    """A folder with one split is read as it is, and the missing files are named."""
    write(tmp_path / "mnist", "test", small())
    with pytest.raises(DataError, match=r"holds no train-\*\.parquet, only test-00000"):
        SMNIST(data_dir=tmp_path).fit_data()


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"img": [digit(0)], "label": [0]}, "no column 'image' among img, label"),
        ({"image": [digit(0)]}, "no column 'label'"),
        ({"image": [digit(0, (32, 32))], "label": [0]}, r"image 0 has shape \(32, 32\)"),
        ({"image": [digit(0), digit(0, (28, 28, 3))], "label": [0, 1]}, "image 1 has .* mode RGB"),
        (
            {"image": [{"bytes": NOISY[: len(NOISY) // 2]}], "label": [0]},
            "image 0 cannot be decoded",
        ),
        ({"image": [{"bytes": b"no image"}], "label": [0]}, "image 0 cannot be decoded"),
        ({"image": [{"bytes": None, "path": "0.png"}], "label": [0]}, "image 0: no encoded image"),
        ({"image": [[1, 2, 3]], "label": [0]}, "image 0: no encoded image"),
        ({"image": [digit(0)], "label": [10]}, "not every label"),
        ({"image": [digit(0)], "label": [-1]}, "not every label"),
        ({"image": [digit(0)], "label": ["7"]}, "not every label"),
        ({"image": [digit(0)], "label": [None]}, "not every label"),
        (small(), "hold 2 images; mnist has 10,000"),
    ],
)
def test_other_contents_are_refused(table: Table, what: str, tmp_path: Path) -> None:
    """A column, image, label or count that is not the data set's is named with its file."""
    write(tmp_path / "mnist", "test", table)
    with pytest.raises(DataError, match=what) as caught:
        SMNIST(data_dir=tmp_path).test_data()
    assert str(tmp_path / "mnist") in caught.value.message


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda _: b"not parquet",
        lambda data: data[: len(data) // 2],
        lambda data: data[:100] + bytes(200) + data[300:],
    ],
    ids=["empty", "text", "truncated", "overwritten"],
)
def test_a_damaged_file_is_named(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    """A file that is not whole gives one error that names it."""
    file = write(tmp_path / "mnist", "test", small())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError) as caught:
        SMNIST(data_dir=tmp_path).test_data()
    assert str(file) in caught.value.message


def test_odd_names_of_folders_are_no_patterns(tmp_path: Path) -> None:
    """Brackets and blanks in a path are read as they are."""
    write(tmp_path / "a [b] c*" / "mnist", "test", small())
    with pytest.raises(DataError, match="hold 2 images"):
        SMNIST(data_dir=tmp_path / "a [b] c*").test_data()


def test_a_damaged_cache_is_made_again(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in the cache, the data are right, and the cache is whole again."""
    monkeypatch.setenv("SEQBENCH_CACHE", str(tmp_path))
    first = SMNIST(data_dir=data_dir).test_data()
    (cached,) = tmp_path.glob("images/*.npz")
    whole = cached.read_bytes()
    for damaged in (b"PK", whole[:-100], whole[:1000] + b"!" + whole[1001:]):
        cached.write_bytes(damaged)
        assert torch.equal(SMNIST(data_dir=data_dir).test_data().x, first.x)
        assert len(cached.read_bytes()) == len(whole)
    np.savez(cached, pixels=np.zeros((3, 5, 5)), labels=np.zeros(3))
    assert torch.equal(SMNIST(data_dir=data_dir).test_data().x, first.x)


def test_a_cache_that_cannot_be_written_is_done_without(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are decoded anew; nothing fails."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SEQBENCH_CACHE", str(tmp_path / "file"))
    assert len(SMNIST(data_dir=data_dir).test_data()) == 10_000


def test_data_may_lie_in_several_files(data_dir: Path, tmp_path: Path) -> None:
    """Shards are read in the order of their names."""
    table = pq.read_table(next((data_dir / "mnist").glob("test-*")))
    (tmp_path / "mnist").mkdir()
    for index, start in enumerate((0, 4_000)):
        rows = table.slice(start, (4_000, 6_000)[index])
        pq.write_table(rows, tmp_path / "mnist" / f"test-{index:05}-of-00002.parquet")
    assert SMNIST(data_dir=tmp_path).test_data().source.official
    shutil.rmtree(tmp_path / "mnist")


@pytest.mark.parametrize("name", ["smnist", "scifar10"])
def test_the_data_directory_is_the_callers_then_the_environments(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--data-dir goes before SEQBENCH_DATA, which goes before the user's cache."""
    hosted = load_task(name).images.hosted
    monkeypatch.setenv("SEQBENCH_DATA", str(tmp_path / "env"))
    assert _parquet.folder_of(hosted, tmp_path / "own").parent == tmp_path / "own"
    assert _parquet.folder_of(hosted, None).parent == tmp_path / "env"
    monkeypatch.delenv("SEQBENCH_DATA")
    assert _parquet.folder_of(hosted, None).parent.name == "data"
