"""What differs between two values, by dotted path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

Differences = dict[str, tuple[Any, Any]]
"""By dotted path, what one value and the other have there; ``None`` where one has nothing."""


def differences(one: BaseModel, other: BaseModel) -> Differences:
    """Where two values differ, leaf by leaf, in the order of the first."""
    left, right = (dict(_leaves(value.model_dump(mode="json"))) for value in (one, other))
    return {
        path: (left.get(path), right.get(path))
        for path in {**left, **right}
        if left.get(path) != right.get(path)
    }


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
