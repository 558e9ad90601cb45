"""The leaderboard as one HTML file that needs nothing else, not even a network.

The page is a template, a style, a script and a plotting library from the folder ``page``, and the
leaderboard as JSON. Nothing that comes from results is made into markup, here or in the browser:
in the JSON no tag can begin, and the script writes text. A content security policy allows these
scripts alone and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from seqbench.boards import text
from seqbench.boards.board import Board, Leaderboard, Overall, Row, Transfer
from seqbench.boards.overall import by_preference
from seqbench.boards.published import Published
from seqbench.boards.ranking import RunKey
from seqbench.boards.scores import scores_of
from seqbench.command import command_of
from seqbench.result import Epoch, Learned, Result

LIBRARY = "plotly-basic-4.1.1.min.js"
PUBLISHED = "published"
COSTS = (
    "parameters",
    "flops",
    "train_seconds",
    "examples_per_second",
    "latency_seconds",
    "throughput",
    "peak_bytes",
)
DIGITS = 6
"""Significant digits of numbers to sort and plot by; of curves there are four."""

_THEME = """\
try { document.documentElement.dataset.theme = localStorage.getItem("theme") ?? ""; } catch { }"""


def render_html(leaderboard: Leaderboard, runs: Mapping[RunKey, Result]) -> str:
    """A page with every row, its runs and their curves; the same text for the same results.

    ``runs`` are the results that the rows were made from (``ranking.counted``).
    """
    scripts = {"theme": _THEME, "library": _part(LIBRARY), "script": _part("page.js")}
    template = string.Template(_part("page.html"))
    return template.substitute(
        scripts,
        hashes=" ".join(_integrity(script) for script in scripts.values()),
        style=_part("page.css"),
        data=_embedded(_content(leaderboard, runs)),
    )


def _part(name: str) -> str:
    return (resources.files("seqbench.boards") / "page" / name).read_text(encoding="utf-8")


def _integrity(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embedded(data: object) -> str:
    """JSON in which no tag can begin or end."""
    dumped = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return dumped.replace("<", r"\u003c")


class _Pool:
    """Values that many rows share, each once; a row has the index of its value."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._indices: dict[str, int] = {}

    def add(self, value: Any) -> int | None:
        """The index of a JSON value; nothing stays nothing."""
        if value is None:
            return None
        key = json.dumps(value, sort_keys=True)
        if key not in self._indices:
            self._indices[key] = len(self.values)
            self.values.append(value)
        return self._indices[key]


def _content(leaderboard: Leaderboard, runs: Mapping[RunKey, Result]) -> dict[str, Any]:
    pool = _Pool()
    every = [*leaderboard.boards, *leaderboard.superseded]
    families = sorted({row.model.name for board in every for row in board.rows})
    boards = [_board(board, runs, families, pool) for board in every]
    for number, board in enumerate(boards):
        board["superseded"] = number >= len(leaderboard.boards)
    _name_anchors(boards)
    return {
        "overall": [_overall(table, leaderboard.boards) for table in leaderboard.overall],
        "transfers": [_transfer(table) for table in leaderboard.transfers],
        "boards": boards,
        "families": families,
        "columns": text.COLUMNS,
        "notes": text.footnotes(every) + text.statistics_notes(every),
        "pool": pool.values,
    }


def _name_anchors(boards: Sequence[dict[str, Any]]) -> None:
    """What an address says of a board: its title, in letters that need no escape."""
    taken: set[str] = set()
    for board in boards:
        prefix = "superseded" if board["superseded"] else "board"
        anchor = f"{prefix}-{re.sub(r'[^a-z0-9.]+', '-', board['title'].lower()).strip('-')}"
        while anchor in taken:
            anchor += "-"
        taken.add(anchor)
        board["anchor"] = anchor


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """A table by its columns, so that no name is said twice; one that is empty is left out."""
    names = sorted({name for row in rows for name, value in row.items() if value is not None})
    return {name: [row.get(name) for row in rows] for name in names}


def _overall(table: Overall, boards: Sequence[Board]) -> dict[str, Any]:
    letters = text.letters(table.groups)
    scores = scores_of(table, boards)
    rows = [
        row.model_dump(mode="json")
        | {"groups": letters.get(row.name, ""), "mean_rank": text.mean_rank(row)}
        | {"scores": [cell for cell, _ in scores.cells[row.name]]}
        for row in table.rows
    ]
    told = table.model_dump(mode="json", exclude={"rows", "groups"})
    return told | {"rows": rows, "metrics": scores.metrics}


def _transfer(table: Transfer) -> dict[str, Any]:
    rows = [
        {
            "name": row.name,
            "trained": row.trained,
            "cells": text.transfer_cells(table, row),
            "means": [_short(score.mean) if score else None for score in row.scores],
        }
        for row in table.rows
    ]
    return {
        "title": text.transfer_heading(table),
        "heading": text.score_heading(table),
        "note": text.TRANSFER_NOTE,
        "scale": 100 if text.in_percent(table) else 1,
        "columns": text.transfer_columns(table),
        "rates": table.rates,
        "names": [text.rate(rate) for rate in table.rates],
        "rows": rows,
    }


def _board(
    board: Board, runs: Mapping[RunKey, Result], families: Sequence[str], pool: _Pool
) -> dict[str, Any]:
    data = (board.fingerprint, board.test_fingerprint, board.official)
    own = [[runs[run, *data] for run in row.runs] for row in board.rows]
    letters = text.letters(board.groups)
    preference = {row.id: place for place, row in enumerate(by_preference(board))}
    rows = [
        _row(board, row, own[number], pool)
        | {
            "groups": letters.get(row.id),
            "number": number,
            "preference": preference.get(row.id),
        }
        for number, row in enumerate(board.rows)
    ]
    return {
        "title": board.title,
        "about": text.about(board),
        "heading": text.score_heading(board),
        "metric": board.metric.name,
        "higher": board.metric.higher_is_better,
        "scale": 100 if text.in_percent(board) else 1,
        "budget": board.budget,
        "official": board.official,
        "task": board.task.model_dump(mode="json"),
        "rows": _columns(_placed(board, rows, families, pool)),
        "runs": _columns(
            [_run(run, pool) | {"row": number} for number, group in enumerate(own) for run in group]
        ),
    }


def _placed(
    board: Board, rows: Sequence[dict[str, Any]], families: Sequence[str], pool: _Pool
) -> list[dict[str, Any]]:
    """The rows, and the published ones where their score would stand among competing ones."""
    placed = list(rows)
    sign = -1 if board.metric.higher_is_better else 1
    for published in sorted(board.published, key=lambda one: (sign * one.score, one.model)):
        worse = (
            at
            for at, row in enumerate(placed)
            if row["standing"] != PUBLISHED
            and (row["position"] is None or board.better(published.score, row["mean"]))
        )
        placed.insert(next(worse, len(placed)), _published(board, published, families, pool))
    return placed


def _row(board: Board, row: Row, runs: Sequence[Result], pool: _Pool) -> dict[str, Any]:
    first = runs[0]
    cost = row.cost.model_dump() if row.cost else {}
    return {
        "anchor": _permalink(board, row),
        "label": row.label,
        "name": row.preset_name,
        "family": row.model.name,
        "standing": row.standing.value,
        "settings": row.settings,
        "cells": text.cells(board, row),
        "position": row.position,
        "mean": _short(row.mean),
        "low": _short(row.interval.low if row.interval else None),
        "high": _short(row.interval.high if row.interval else None),
        "seeds": len(row.scores),
        "lost": row.lost or None,
        "val": _short(row.val_mean),
        "minus_published": _short(row.minus_published),
        **{name: _short(cost.get(name)) for name in COSTS},
        "model": pool.add(row.model.model_dump(mode="json")),
        "train": pool.add(row.train.model_dump(mode="json") if row.train else None),
        "overrides": pool.add(row.overrides or None),
        "recipe": pool.add(row.recipe_source),
        "weights": pool.add(row.weights.model_dump(mode="json") if row.weights else None),
        "weights_sha256": row.weights_sha256,
        "parent": pool.add(row.parent.model_dump(mode="json") if row.parent else None),
        "command": command_of(first).removesuffix(f" --seed {first.spec.seed}"),
        "path": first.path.as_posix(),
        "cause": pool.add(row.cause),
        "below": row.below.model_dump(mode="json") if row.below else None,
    }


def _permalink(board: Board, row: Row) -> str:
    """What an address says of a row: its id and, if that is not official, its data."""
    prints = () if board.official else (board.fingerprint, board.test_fingerprint)
    return "-".join(["row", row.id, *((print_ or "unknown")[:8] for print_ in prints)])


def _published(
    board: Board, published: Published, families: Sequence[str], pool: _Pool
) -> dict[str, Any]:
    """A published number as a row; of the family that it names, if there is one."""
    words = [published.row.partition(":")[0]] if published.row else published.model.lower().split()
    said = json.dumps(published.model_dump(mode="json"), sort_keys=True)
    return {
        "anchor": f"row-published-{hashlib.sha256(said.encode()).hexdigest()[:16]}",
        "label": published.model,
        "name": published.model,
        "family": next((word for word in words if word in families), None),
        "standing": PUBLISHED,
        "mean": _short(published.score),
        "score": text.number(board, published.score),
        "parameters": published.parameters,
        "published": pool.add(published.model_dump(mode="json")),
    }


def _run(run: Result, pool: _Pool) -> dict[str, Any]:
    """One run; its machine and data are said once for all that share them."""
    where = run.provenance.model_dump(mode="json")
    data = run.data.model_dump(mode="json") if run.data else None
    return {
        "id": run.id,
        "seed": run.spec.seed,
        "status": run.status.value,
        "started_at": where.pop("started_at"),
        "seconds": _short(where.pop("seconds")),
        "provenance": pool.add(where),
        "data": pool.add(data),
        "error": pool.add(run.error),
        "epoch": run.chosen_epoch,
        "val": _short(run.val.mean if run.val else None),
        "test": _short(run.test.mean if run.test else None),
        "standard_error": _short(run.test.standard_error if run.test else None),
        "learned": _rounded(run.learned),
        "curve": _curve(run.curve),
    }


def _curve(curve: Sequence[Epoch]) -> dict[str, list[Any]] | None:
    """What the page draws of a learning curve, one list a quantity."""
    if not curve:
        return None
    drawn: dict[str, list[Any]] = {
        name: [_short(getattr(point, name), 4) for point in curve]
        for name in ("val_score", "val_loss", "train_loss")
    }
    learned = [_rounded(point.learned) for point in curve]
    return drawn | ({"learned": learned} if any(learned) else {})


def _rounded(learned: Learned | None) -> dict[str, list[float | None]] | None:
    if learned is None:
        return None
    return {name: [_short(value, 4) for value in values] for name, values in learned.items()}


def _short(value: float | None, digits: int = DIGITS) -> float | None:
    """To significant digits; a whole number without a point."""
    if value is None:
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
