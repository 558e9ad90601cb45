"""The leaderboard as one frozen value: boards of rows, made by ``rank``, read by renderers."""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field, JsonValue

from seqbench.boards.published import Published
from seqbench.result import Cost, Metric, RateChange, Weights
from seqbench.spec import Component, Frozen, RunSpec, TrainSpec, canonical_json

SCHEMA_VERSION = 2

Settings = Literal["published", "searched", "custom"]
Budget = Literal["full", "steps"]
"""``steps``: training was cut at a number of optimiser steps that no published recipe names."""


class Standing(StrEnum):
    """Whether a row competes.

    ``ranked`` takes 3 seeds that ended well, ``provisional`` has fewer; ``evaluated`` are weights
    from elsewhere; a ``failed`` row has no score; ``superseded`` ones are of an older version.
    """

    RANKED = "ranked"
    PROVISIONAL = "provisional"
    EVALUATED = "evaluated"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class SeedScore(Frozen):
    """One run that ended well: its scores, and the standard error of the test score."""

    run: str
    seed: int
    val: float | None
    test: float
    standard_error: float
    n: int


class Interval(Frozen):
    """A 95% interval, in the metric's units."""

    low: float
    high: float


class Comparison(Frozen):
    """A paired test of a row against another, over the same test examples.

    ``other`` is the other row's id, ``test`` the test in words, ``n`` the number of examples,
    ``difference`` the mean over examples of this row minus the other, in the metric's units.
    ``p`` is two-sided; ``p_adjusted`` is Holm's, over all such tests of the board.
    """

    other: str
    test: str
    n: int
    difference: float
    p: float
    p_adjusted: float


class Row(Frozen):
    """The runs of one model with one training, which differ in nothing but the seed.

    ``id`` is a hash of the spec but for the seed. ``name`` is ``MODEL:PRESET`` with the model
    settings made by hand; ``variant`` tells rows of one name on one board apart. ``rank`` counts
    ranked rows alone, ``position`` provisional ones too; ties share both. ``mean`` and ``sd``
    (n - 1) are over seeds, ``standard_error`` is of the only seed's score over examples. ``cost``
    holds medians over the runs that ended well, except for the peak, which is the highest.
    ``settings`` is the least strict mark of any seed. ``weights`` is what is known of weights
    that were only evaluated. ``parent`` is what the weights were trained by before, at seed 0, and
    ``rate_change`` what was done with the network where its task has another rate. ``runs`` are
    the ids of all runs, failed ones too, by seed.
    ``interval`` is that of the mean; ``below`` compares the row with the competing
    one placed next below it. ``minus_published`` is the mean minus the published number.
    """

    id: str
    name: str
    variant: str | None
    standing: Standing
    rank: int | None = None
    position: int | None = None
    model: Component
    preset: str
    overrides: dict[str, JsonValue]
    settings: Settings
    recipe_source: str | None
    train: TrainSpec | None
    weights_sha256: str | None
    weights: Weights | None = None
    parent: RunSpec | None
    rate_change: RateChange | None = None
    runs: tuple[str, ...]
    scores: tuple[SeedScore, ...]
    mean: float | None
    sd: float | None
    standard_error: float | None
    interval: Interval | None = None
    below: Comparison | None = None
    minus_published: float | None = None
    val_mean: float | None
    cost: Cost | None
    statuses: dict[str, int]
    cause: str | None
    machines: tuple[str, ...]

    @property
    def preset_name(self) -> str:
        """``MODEL:PRESET``: the model over several tasks, whose settings may differ by task."""
        return self.name.partition(" ")[0]

    @property
    def label(self) -> str:
        """What a table calls the row."""
        return f"{self.name} {self.variant}" if self.variant else self.name

    def setting(self, path: str) -> Any:
        """The value of ``model.FIELD`` or ``train.FIELD``, of fields of fields by dots."""
        part, *fields = path.split(".")
        value: Any = self.model.config if part == "model" else self.train
        value = value.model_dump(mode="json") if isinstance(value, TrainSpec) else value
        for field in fields:
            value = value.get(field) if isinstance(value, dict) else None
        return value

    @property
    def competes(self) -> bool:
        """Whether it takes part in the order of its board."""
        return self.standing in {Standing.RANKED, Standing.PROVISIONAL}

    @property
    def lost(self) -> int:
        """How many runs did not end well."""
        return sum(self.statuses.values()) - len(self.scores)


class Board(Frozen):
    """Rows that may be compared: one task identity on the same data with one kind of budget.

    ``trained_on`` are the tasks that the weights come from, if that is another run: the last one
    first. Those of full trainings on the task itself are on a board without.
    ``fingerprint`` is over the data of training and validation, ``test_fingerprint`` over those
    of the test; they and ``official`` are ``None`` as far as no run got to see the data. ``label``
    names data that are not official. ``groups`` are the maximal sets of adjacent competing rows
    not shown to differ, as row ids; they may overlap. ``published`` stand beside the rows.
    """

    title: str
    task: Component
    trained_on: tuple[Component, ...] = ()
    metric: Metric
    budget: Budget
    official: bool | None
    fingerprint: str | None
    test_fingerprint: str | None
    label: str | None
    rows: tuple[Row, ...]
    groups: tuple[tuple[str, ...], ...] = ()
    published: tuple[Published, ...] = ()

    def better(self, one: float, other: float) -> bool:
        """Whether one score is strictly better than another."""
        return one > other if self.metric.higher_is_better else one < other


class OverallRow(Frozen):
    """A model on all boards: its rank on each, equal scores at their mean, and the mean rank."""

    name: str
    rank: int
    mean_rank: float
    ranks: tuple[float, ...]
    provisional: bool


class Overall(Frozen):
    """Mean rank over official boards with one kind of budget.

    The boards and models are the largest set in which every model has a score on every board: not
    all boards, where some have but few models. ``missing`` gives, for each other model on them,
    the boards without a score of it. ``friedman_p`` is of Friedman's test that no two
    models differ, ``critical_difference`` is Nemenyi's for mean ranks at level 0.05; ``groups``
    are the maximal sets of adjacent rows not shown to differ, by name.
    """

    budget: Budget
    boards: tuple[str, ...]
    rows: tuple[OverallRow, ...]
    friedman_p: float | None = None
    critical_difference: float | None = None
    groups: tuple[tuple[str, ...], ...] = ()
    missing: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class TransferScore(Frozen):
    """The score of a row, by its id: the mean and deviation over so many seeds."""

    row: str
    mean: float
    sd: float | None
    seeds: int


class TransferRow(Frozen):
    """A network that was trained at one rate: its scores, one for each rate of the table.

    ``name`` says whether it was fine-tuned at the rate it is tested at, and whether its model has
    a way to change its rate.
    """

    name: str
    trained: float
    scores: tuple[TransferScore | None, ...]


class Transfer(Frozen):
    """Networks on a task at other sampling rates than they were trained at.

    ``rates`` are relative to the task's own; ``task`` is without its rate.
    """

    title: str
    task: Component
    metric: Metric
    budget: Budget
    official: bool | None
    label: str | None
    rates: tuple[float, ...]
    rows: tuple[TransferRow, ...]


class Leaderboard(Frozen):
    """All boards; those of older versions of a task or model apart."""

    schema_version: int = SCHEMA_VERSION
    overall: tuple[Overall, ...]
    transfers: tuple[Transfer, ...] = ()
    boards: tuple[Board, ...]
    superseded: tuple[Board, ...]


def row_id(spec: RunSpec, metric: Metric) -> str:
    """What a row of runs is called, which are this one at any seed."""
    key = canonical_json(spec.at_seed(0)) + canonical_json(metric)
    return hashlib.sha256(key.encode()).hexdigest()[:16]
