"""Published numbers, which stand beside measured ones and are never ranked with them."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from seqbench.spec import Frozen

SourceKind = Literal["paper", "author-readme", "author-log", "third-party", "unverified"]


class Published(Frozen):
    """One number that somebody published for one task.

    ``model`` is the name as printed, ``row`` our ``MODEL:PRESET`` if that is the same network.
    ``task`` is the name of the task it belongs to, ``task_variant`` how the published one differs
    or what it leaves open. ``score`` is in the metric's units: an accuracy is between 0 and 1.
    ``source`` is where the number stands; ``unverified`` ones are recalled, not read there.
    ``selection`` names the data by which the epoch was chosen: with ``test``, the score is an
    upper bound on what the strict protocol gives. ``augmentation`` and ``n_seeds`` are ``None``
    where nothing was found.
    """

    model: str
    row: str | None = None
    task: str
    task_variant: str | None = None
    score: float
    parameters: PositiveInt | None = None
    params_source: str | None = None
    source: str
    source_kind: SourceKind
    selection: Literal["validation", "test", "unknown"] = "unknown"
    augmentation: str | None = None
    n_seeds: PositiveInt | None = None
    notes: str | None = None
