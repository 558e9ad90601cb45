"""Where data sets and caches lie, and what data that are not the official ones are called."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import platformdirs

from seqbench.errors import DataError


def data_root(data_dir: Path | None) -> Path:
    """The directory of all data sets: ``data_dir``, else SEQBENCH_DATA, else the user's cache."""
    root = data_dir or os.environ.get("SEQBENCH_DATA")
    return Path(root or platformdirs.user_cache_path("seqbench") / "data")


def cache_root() -> Path:
    """The directory of what is made from data sets: SEQBENCH_CACHE, else the user's cache."""
    return Path(os.environ.get("SEQBENCH_CACHE") or platformdirs.user_cache_path("seqbench"))


def label_of(folder: Path) -> str | None:
    """The name of data that are not official, from ``card.toml`` beside them, if there is one.

    Raises:
        DataError: there is a card, and it says no label.

    """
    card = folder / "card.toml"
    try:
        label = tomllib.loads(card.read_text(encoding="utf-8")).get("label")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{card} cannot be read: {error}", 'it should say label = "..."') from error
    if not isinstance(label, str) or not label:
        raise DataError(f"{card} has label {label!r}", 'it should say label = "..."')
    return label
