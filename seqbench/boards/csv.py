"""The leaderboard as CSV: one line a row, over all boards, at full precision."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from seqbench.boards.board import Board, Leaderboard, Row
from seqbench.boards.text import UNKNOWN, letters


def render_csv(leaderboard: Leaderboard) -> str:
    """CSV with a header; what does not apply is empty, FLOPs that are not known are ``n/a``."""
    boards = [(board, False) for board in leaderboard.boards]
    boards += [(board, True) for board in leaderboard.superseded]
    lines = [
        _of_board(board) | {"superseded": _json(old)} | _of_row(row) | _of_comparison(board, row)
        for board, old in boards
        for row in board.rows
    ]
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _of_board(board: Board) -> dict[str, Any]:
    return {
        "board": board.title,
        "task": board.task.name,
        "task_version": board.task.version,
        "task_config": _json(board.task.config),
        "trained_on": _json([task.model_dump() for task in board.trained_on] or None),
        "metric": board.metric.name,
        "higher_is_better": _json(board.metric.higher_is_better),
        "budget": board.budget,
        "official_data": _json(board.official),
        "data_fingerprint": board.fingerprint,
        "test_fingerprint": board.test_fingerprint,
        "data_label": board.label,
    }


def _of_row(row: Row) -> dict[str, Any]:
    cost = row.cost.model_dump() if row.cost else {}
    if row.cost and row.cost.flops is None:
        cost["flops"] = UNKNOWN
    return {
        "standing": row.standing.value,
        "rank": row.rank,
        "position": row.position,
        "label": row.label,
        "model": row.model.name,
        "model_version": row.model.version,
        "preset": row.preset,
        "model_config": _json(row.model.config),
        "settings": row.settings,
        "rate_ratio": row.rate_change.ratio if row.rate_change else None,
        "rate_adapted": _json(row.rate_change.adapted if row.rate_change else None),
        "weights_selection": row.weights.selection if row.weights else None,
        "weights_source": row.weights.source if row.weights else None,
        "mean": row.mean,
        "sd": row.sd,
        "standard_error": row.standard_error,
        "val_mean": row.val_mean,
        "seeds": " ".join(str(score.seed) for score in row.scores),
        "n_seeds": len(row.scores),
        "n_lost": row.lost,
        **{name: cost.get(name) for name in _COSTS},
        "statuses": " ".join(f"{status}:{n}" for status, n in row.statuses.items()),
        "cause": row.cause,
        "machines": "; ".join(row.machines),
        "row_id": row.id,
    }


def _of_comparison(board: Board, row: Row) -> dict[str, Any]:
    published = {one.row: one for one in board.published}.get(row.preset_name)
    compared = published if row.minus_published is not None else None
    return {
        "interval_low": row.interval.low if row.interval else None,
        "interval_high": row.interval.high if row.interval else None,
        "group": letters(board.groups).get(row.id),
        "below_row_id": row.below.other if row.below else None,
        "test": row.below.test if row.below else None,
        "test_n": row.below.n if row.below else None,
        "difference": row.below.difference if row.below else None,
        "p": row.below.p if row.below else None,
        "p_adjusted": row.below.p_adjusted if row.below else None,
        "published": compared.score if compared else None,
        "published_kind": compared.source_kind if compared else None,
        "minus_published": row.minus_published,
        "runs": " ".join(row.runs),
    }


_COSTS = (
    "parameters",
    "flops",
    "train_seconds",
    "train_cpu_seconds",
    "examples_per_second",
    "latency_seconds",
    "throughput",
    "throughput_batch",
    "peak_bytes",
)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, sort_keys=True)
