"""Results and pages in a directory, or at a URL of any kind that fsspec knows; needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from seqbench.errors import ConfigError, OutputError

Location = Path | str
"""A directory, or the URL of one that is no part of the file system."""


@dataclass(frozen=True)
class File:
    """A file by what users call it and by its path relative to where it was looked for."""

    name: str
    relative: Path
    read: Callable[[], bytes]


def location(text: str) -> Location:
    """What a user means by a path or URL; ``file://`` is a directory like any other."""
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return text.rstrip("/") if "://" in text else Path(text)


def files_below(directory: Location, folder: str) -> Iterator[File]:
    """The JSON files in a folder of a directory, at any depth, by path.

    Raises:
        ConfigError: it is a file, or a folder of results; the URL is of no kind that can be read
            here.
        OutputError: what is there cannot be listed.

    """
    if isinstance(directory, Path):
        _check_is_whole(directory)
        for path in sorted(directory.glob(f"{folder}/**/*.json")):
            yield File(str(path), path.relative_to(directory), path.read_bytes)
        return
    system, root = _system(directory)
    try:
        names = sorted(system.find(f"{root}/{folder}"))
    except FileNotFoundError:
        names = []
    except Exception as error:  # every kind of store has its own
        raise OutputError(
            f"cannot list {directory}/{folder}: {type(error).__name__}: {error}"
        ) from error
    for name in names:
        if name.endswith(".json"):
            relative = Path(PurePosixPath(name).relative_to(root))
            yield File(f"{directory}/{relative}", relative, partial(system.cat_file, name))


def _check_is_whole(directory: Path) -> None:
    """Refuse what is named by mistake for the directory that has ``results`` in it."""
    if directory.is_file():
        raise ConfigError(f"{directory} is a file; a directory is expected")
    here, files = directory.resolve(), "*-seed*-*.json"
    if here.parent.name == "results" and any(here.glob(files)):
        what, whole = "results of one task", here.parent.parent
    elif here.name == "results" and any(here.glob(f"*/{files}")):
        what, whole = "results of each task", here.parent
    else:
        return
    raise ConfigError(f"{directory} holds {what}", f"name the directory above results/, {whole}")


def read_file(url: str, name: str) -> bytes | None:
    """A file at a URL; ``None`` if there is none.

    Raises:
        ConfigError: the URL is of no kind that can be read here.
        OutputError: it cannot be read.

    """
    system, root = _system(url)
    try:
        content: bytes = system.cat_file(f"{root}/{name}")
    except FileNotFoundError:
        return None
    except Exception as error:  # every kind of store has its own
        raise OutputError(f"cannot read {url}/{name}: {type(error).__name__}: {error}") from error
    return content


def write_file(url: str, name: str, content: bytes) -> None:
    """Write a file at a URL. Object stores do that whole or not at all, others as they can.

    Raises:
        ConfigError: the URL is of no kind that can be written here.
        OutputError: it cannot be written.

    """
    system, root = _system(url)
    path = f"{root}/{name}"
    try:
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        system.pipe_file(path, content)
    except Exception as error:  # every kind of store has its own
        raise OutputError(
            f"cannot write {url}/{name}: {type(error).__name__}: {error}",
            "what was done is kept in the directory of the checkpoints; the same command sends it",
        ) from error


def _system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec

    try:
        system, root = fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ConfigError(
            f"cannot use {url}: {error}",
            "fsspec needs a package for each kind of URL, such as s3fs for s3:// and gcsfs for "
            "gs://",
        ) from error
    return system, root.rstrip("/")
