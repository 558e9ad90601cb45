"""The leaderboard for a terminal, by rich."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from seqbench.boards import text
from seqbench.boards.board import Board, Leaderboard, Overall, Transfer

_COLUMNS = ("rank", "model", "score", "group", "budget", "seeds", "params", "train")
_MODEL_WIDTH = 18
_LEFT = {"model", "group"}


def terminal(leaderboard: Leaderboard) -> Iterator[RenderableType]:
    """Tables and lines to print, one after the other: the boards, notes, the overall table."""
    for board in leaderboard.boards:
        yield from _board(board)
    for note in text.footnotes(leaderboard.boards):
        yield Text(note, style="dim")
    if leaderboard.superseded:
        titles = ", ".join(board.title for board in leaderboard.superseded)
        yield Text(f"superseded by newer versions, not ranked: {titles}", style="dim")
    for transfer in leaderboard.transfers:
        yield from _transfer(transfer)
    for table in leaderboard.overall:
        yield from _overall(table)


def _board(board: Board) -> Iterator[RenderableType]:
    yield _title(board.title, text.about(board))
    used = set(text.used_columns(board))
    columns = [column for column in _COLUMNS if column in used]
    if any(row.weights_sha256 for row in board.rows):
        columns.append("settings")  # what they were selected on
    table = _table()
    for column in columns:
        heading = text.score_heading(board) if column == "score" else column
        least = _MODEL_WIDTH if column == "model" else None
        justify: Literal["left", "right"] = "left" if column in _LEFT else "right"
        table.add_column(
            Text(heading),
            justify=justify,
            overflow="fold",
            no_wrap=column != "model",
            min_width=least,
        )
    labels = text.short_labels(board)
    for row in board.rows:
        cells = dict(zip(text.COLUMNS, text.cells(board, row), strict=True))
        cells["model"] = labels[row.id]
        best = "bold" if row.position == 1 else ""
        table.add_row(*(Text(cells[column]) for column in columns), style=best)
    yield table
    for line in text.failures(board):
        yield Text(line, style="red")
    if board.published:
        line = f"published, not ranked: {text.published_line(board)}"
        yield Text(line, style="dim italic")


def _transfer(transfer: Transfer) -> Iterator[RenderableType]:
    yield _title(text.transfer_heading(transfer), text.score_heading(transfer))
    table = _table()
    for column in text.transfer_columns(transfer):
        table.add_column(column, justify="left" if column in _LEFT else "right")
    for row in transfer.rows:
        table.add_row(*map(Text, text.transfer_cells(transfer, row)))
    yield table
    yield Text(text.TRANSFER_NOTE, style="dim")


def _overall(overall: Overall) -> Iterator[RenderableType]:
    yield _title(
        f"overall{text.step_budgets(overall)}", f"mean rank over {', '.join(overall.boards)}"
    )
    letters = text.letters(overall.groups)
    table = _table()
    for column in ("rank", "model", "mean rank", "group"):
        table.add_column(column, justify="left" if column in _LEFT else "right")
    for row in overall.rows:
        table.add_row(
            text.overall_place(row),
            Text(row.name),
            text.mean_rank(row),
            letters.get(row.name, ""),
        )
    yield table
    yield Text(text.overall_note(overall), style="dim")
    for name in overall.missing:
        yield Text(f"not in it: {text.left_out(overall, name)}", style="dim")


def _title(title: str, about: str) -> Text:
    return Text.assemble("\n", (title, "bold"), (f"  {about}", "dim"))


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
