"""Image data sets as parquet files: found, or downloaded once; checked, decoded, cached."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import os
import socket
import tempfile
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8

from seqbench.data import cache_root, data_root
from seqbench.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

Pixels = UInt8[np.ndarray, "image height width *colour"]
Labels = UInt8[np.ndarray, "image"]

SPLITS = ("train", "test")
CLASSES = 10
PROBE_SECONDS = 5.0
"""The longest wait for the hub to accept a connection before it counts as unreachable."""


@dataclass(frozen=True)
class Hosted:
    """A data set of the Hugging Face hub with an image column and the column ``label``.

    ``folder`` is where it lies below the data directory, ``shape`` that of every image: (height,
    width) for grey, (height, width, 3) for RGB. ``task`` is the name that fetches it.
    """

    folder: str
    hub_name: str
    column: str
    shape: tuple[int, ...]
    task: str

    @property
    def mode(self) -> str:
        """Pillow's name for the kind of image."""
        return "L" if len(self.shape) == 2 else "RGB"


def folder_of(hosted: Hosted, data_dir: Path | None) -> Path:
    """Where the data set lies: below ``data_dir``, else SEQBENCH_DATA, else the user's cache."""
    return data_root(data_dir) / hosted.folder


def read(hosted: Hosted, split: str, data_dir: Path | None) -> tuple[Pixels, Labels]:
    """Pixels and labels of a split, in the order of the files.

    A folder that holds any of the files is read and nothing else, without the network.

    Raises:
        DataError: the files are missing and cannot be downloaded, or one is damaged.

    """
    download(hosted, data_dir)
    folder = folder_of(hosted, data_dir)
    files = _files(folder, split)
    if not files:
        raise DataError(
            f"{folder} holds no {split}-*.parquet, only "
            f"{', '.join(f.name for s in SPLITS for f in _files(folder, s))}",
            f"complete it, or remove {folder} so that the whole is downloaded again",
        )
    parts = [_decoded(hosted, file) for file in files]
    return np.concatenate([p for p, _ in parts]), np.concatenate([y for _, y in parts])


def download(hosted: Hosted, data_dir: Path | None) -> bool:
    """Download both splits unless the folder holds any; true if that was done.

    Raises:
        DataError: the hub cannot be reached or the folder cannot be written.

    """
    folder = folder_of(hosted, data_dir)
    if any(_files(folder, split) for split in SPLITS):
        return False
    if cause := _unreachable():
        raise _unavailable(hosted, folder, cause)
    import datasets  # late: a second of imports, needed for new files alone

    try:
        data = {split: datasets.load_dataset(hosted.hub_name, split=split) for split in SPLITS}
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise _unavailable(hosted, folder, _first_line(error)) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as part, _quiet():
            names = {split: f"{split}-00000-of-00001.parquet" for split in SPLITS}
            for split, name in names.items():
                data[split].to_parquet(Path(part, name))
            for name in names.values():
                Path(part, name).replace(folder / name)
    except OSError as error:
        raise DataError(
            f"cannot write the downloaded {hosted.folder} to {folder}: {error.strerror}",
            "choose a data directory you may write to, with --data-dir or SEQBENCH_DATA",
        ) from error
    return True


def _files(folder: Path, split: str) -> list[Path]:
    return sorted(folder.glob(f"{split}-*.parquet"))


def _unavailable(hosted: Hosted, folder: Path, cause: str) -> DataError:
    where = f"DIR/{hosted.folder}/"
    return DataError(
        f"{hosted.folder} is not in {folder} and cannot be downloaded: {cause}",
        f"on a machine with network run `seqbench fetch {hosted.task}`; or put the parquet files "
        f"of https://huggingface.co/datasets/{hosted.hub_name} under --data-dir DIR (or "
        f"SEQBENCH_DATA=DIR) as {where}train-*.parquet and {where}test-*.parquet",
    )


def _unreachable() -> str | None:
    """Why the hub cannot be reached, found within ``PROBE_SECONDS``; None if it may be.

    ``datasets`` itself retries a host without a name for 23 seconds. Behind a proxy or in
    Hugging Face's offline mode (which reads its own cache) it is left to ``datasets``.
    """
    if os.environ.get("HF_HUB_OFFLINE") or urllib.request.getproxies():
        return None
    url = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    address = (url.hostname or "", url.port or (80 if url.scheme == "http" else 443))
    answers: list[str | None] = []

    def probe() -> None:
        try:
            socket.create_connection(address, timeout=PROBE_SECONDS).close()
            answers.append(None)
        except OSError as error:
            answers.append(f"{address[0]} cannot be reached ({error.strerror or error})")

    thread = threading.Thread(target=probe, daemon=True)  # a name look-up has no time limit
    thread.start()
    thread.join(PROBE_SECONDS)
    return answers[0] if answers else f"{address[0]} does not answer"


def _decoded(hosted: Hosted, file: Path) -> tuple[Pixels, Labels]:
    try:
        with file.open("rb") as stream:
            key = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(file, error.strerror or str(error)) from error
    cached = cache_root() / "images" / f"{key}.npz"
    arrays = _read_cache(cached, hosted.shape)
    if arrays is None:
        arrays = _decode(hosted, file)
        _write_cache(cached, *arrays)
    return arrays


def _read_cache(cached: Path, shape: tuple[int, ...]) -> tuple[Pixels, Labels] | None:
    """The decoded arrays, or None if they are not there or damaged (the archive has checksums)."""
    try:
        with cached.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            pixels, labels = arrays["pixels"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None
    whole = pixels.shape == (len(labels), *shape) and pixels.dtype == labels.dtype == np.uint8
    return (pixels, labels) if whole else None


def _write_cache(cached: Path, pixels: Pixels, labels: Labels) -> None:
    """Keep the decoded arrays, whole or not at all; a cache that cannot be written is no error."""
    with contextlib.suppress(OSError):
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".part-") as part:
            whole = Path(part, cached.name)
            np.savez(whole, pixels=pixels, labels=labels)
            whole.replace(cached)


def _decode(hosted: Hosted, file: Path) -> tuple[Pixels, Labels]:
    table = _table(file)
    images = _column(table, hosted.column, file).to_pylist()
    labels = np.array(_column(table, "label", file).to_pylist())
    if labels.dtype.kind != "i" or labels.min() < 0 or labels.max() >= CLASSES:
        raise _damaged(file, f"not every label is a whole number from 0 to {CLASSES - 1}")
    pixels = np.empty((len(images), *hosted.shape), np.uint8)
    for index, image in enumerate(images):
        pixels[index] = _image(hosted, image, f"{file}, image {index}")
    return pixels, labels.astype(np.uint8)


def _table(file: Path) -> pa.Table:
    import datasets
    import pyarrow as pa

    try:
        with tempfile.TemporaryDirectory() as scratch, _quiet():
            data = datasets.Dataset.from_parquet(
                glob.escape(str(file)), cache_dir=scratch, keep_in_memory=True
            )
            table: pa.Table = data.with_format("arrow")[:]
    except (OSError, ValueError, datasets.exceptions.DatasetsError, pa.ArrowException) as error:
        raise _damaged(file, _first_line(error.__cause__ or error)) from error
    if not len(table):
        raise _damaged(file, "it has no rows")
    return table


def _column(table: pa.Table, name: str, file: Path) -> pa.ChunkedArray:
    if name not in table.column_names:
        raise _damaged(file, f"no column {name!r} among {', '.join(table.column_names)}")
    return table.column(name)


def _image(hosted: Hosted, image: object, where: str) -> UInt8[np.ndarray, "height width *colour"]:
    from PIL import Image

    data = image.get("bytes") if isinstance(image, dict) else None
    if not isinstance(data, bytes):
        raise DataError(
            f"{where}: no encoded image in column {hosted.column!r}, but {image!r:.80}",
            f"it must hold images as https://huggingface.co/datasets/{hosted.hub_name} does",
        )
    try:
        with Image.open(io.BytesIO(data)) as opened:
            pixels, mode = np.asarray(opened), opened.mode
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for a damaged image
        raise DataError(f"{where} cannot be decoded: {_first_line(error)}", _AGAIN) from error
    if pixels.shape != hosted.shape or mode != hosted.mode:
        raise DataError(
            f"{where} has shape {pixels.shape}, mode {mode}; {hosted.folder} has images of shape "
            f"{hosted.shape}, mode {hosted.mode}",
            _AGAIN,
        )
    return pixels


_AGAIN = "the file is damaged or of another data set; remove it and fetch it again"


def _damaged(file: Path, cause: str) -> DataError:
    return DataError(f"{file} cannot be read: {cause}", _AGAIN)


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """``datasets`` without progress bars and log lines: its errors are reported by ours."""
    import datasets

    verbosity, bars = datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
