"""The leaderboard as Markdown: a table a board, failures, and what the marks mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seqbench.leaderboard import text
from seqbench.leaderboard.board import Board, Leaderboard, Overall

_LEFT = {"model", "settings"}


def render_markdown(leaderboard: Leaderboard) -> str:
    """A page of GitHub-flavoured Markdown."""
    sections = ["# Leaderboard"]
    sections += [_overall(table) for table in leaderboard.overall]
    sections += [_board(board) for board in leaderboard.boards]
    if leaderboard.superseded:
        sections.append(
            "# Superseded\n\nOf an older version of the task or the model: kept, not ranked."
        )
        sections += [_board(board) for board in leaderboard.superseded]
    notes = text.footnotes([*leaderboard.boards, *leaderboard.superseded])
    sections.append("\n".join(["---", "", *(f"- {_escaped(note)}" for note in notes)]))
    return "\n\n".join(sections) + "\n"


def _overall(table: Overall) -> str:
    boards = [f"- {_escaped(title)}" for title in table.boards]
    heading = "## Overall" if table.budget == "full" else "## Overall, step budgets"
    rows = [
        (f"({row.rank})" if row.provisional else str(row.rank), row.name, f"{row.mean_rank:.2f}")
        for row in table.rows
    ]
    parts = [
        heading,
        f"Mean rank over {len(table.boards)} boards, among the models that stand on all of them:",
        "\n".join(boards),
        _table(("rank", "model", "mean rank"), rows),
    ]
    if any(row.provisional for row in table.rows):
        parts.append("(n): provisional, fewer than 3 seeds on a board.")
    parts += [
        f"Not in it: {_escaped(name)}, without a score on {_escaped(', '.join(titles))}."
        for name, titles in sorted(table.missing.items())
    ]
    return "\n\n".join(parts)


def _board(board: Board) -> str:
    columns = [text.score_heading(board) if c == "score" else c for c in text.COLUMNS]
    parts = [
        f"## {_escaped(board.title)}",
        _escaped(f"{text.about(board)}."),
        _table(columns, [text.cells(board, row) for row in board.rows]),
    ]
    if failures := text.failures(board):
        parts.append("Runs that did not end well:")
        parts.append("\n".join(f"- {_escaped(line)}" for line in failures))
    return "\n\n".join(parts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = [":--" if column in _LEFT else "--:" for column in columns]
    lines = [columns, rule, *([_escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(value: str) -> str:
    """Text in which nothing is markup and which stays in its table cell."""
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "<"):
        value = value.replace(mark, f"\\{mark}")
    return " ".join(value.split())
