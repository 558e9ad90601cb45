"""The leaderboard as Markdown: a table a board, failures, and what the marks mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from seqbench.boards import text
from seqbench.boards.board import Board, Leaderboard, Overall, Row, Transfer
from seqbench.boards.scores import Scores, scores_of

_LEFT = {"model", "group", "settings", "selected on", "variant", "source"}


def render_markdown(leaderboard: Leaderboard) -> str:
    """A page of GitHub-flavoured Markdown."""
    sections = ["# Leaderboard"]
    for table in leaderboard.overall:
        sections += [_overall(table), _scores(scores_of(table, leaderboard.boards))]
    sections += [_transfer(table) for table in leaderboard.transfers]
    sections += [_board(board) for board in leaderboard.boards]
    if leaderboard.superseded:
        sections.append(
            "# Superseded\n\nOf an older version of the task or the model: kept, not ranked."
        )
        sections += [_board(board) for board in leaderboard.superseded]
    every = [*leaderboard.boards, *leaderboard.superseded]
    notes = text.footnotes(every) + text.statistics_notes(every)
    sections.append("\n".join(["---", "", *(f"- {_escaped(note)}" for note in notes)]))
    return "\n\n".join(sections) + "\n"


def _overall(table: Overall) -> str:
    boards = [f"- {_escaped(title)}" for title in table.boards]
    letters = text.letters(table.groups)
    rows = [
        (text.overall_place(row), row.name, text.mean_rank(row), letters.get(row.name, ""))
        for row in table.rows
    ]
    parts = [
        f"## Overall{text.step_budgets(table)}",
        f"Mean rank over {len(table.boards)} boards, among the models that stand on all of them:",
        "\n".join(boards),
        _table(("rank", "model", "mean rank", "group"), [_all_escaped(row) for row in rows]),
        _escaped(f"{text.overall_note(table)}."),
    ]
    if any(row.provisional for row in table.rows):
        parts.append("(n): provisional, fewer than 3 seeds on a board.")
    if table.missing:
        left_out = [f"- {_escaped(text.left_out(table, name))}" for name in sorted(table.missing)]
        parts += ["Not in it:", "\n".join(left_out)]
    return "\n\n".join(parts)


def _scores(scores: Scores) -> str:
    headings = [_escaped(", ".join(lines)) for lines in scores.headings]
    rows = [
        [
            _escaped(name),
            *(f"**{_escaped(cell)}**" if best else _escaped(cell) for cell, best in cells),
        ]
        for name, cells in scores.cells.items()
    ]
    return f"Scores on them, {_escaped(scores.note)}:\n\n{_table(('model', *headings), rows)}"


def _transfer(table: Transfer) -> str:
    rows = [_all_escaped(text.transfer_cells(table, row)) for row in table.rows]
    return "\n\n".join(
        [
            f"## {_escaped(text.transfer_heading(table))}",
            f"{text.score_heading(table)}; {_escaped(text.TRANSFER_NOTE)}.",
            _table(text.transfer_columns(table), rows),
        ]
    )


def _board(board: Board) -> str:
    columns = [column for column in text.used_columns(board) if column != "interval"]
    headings = [text.score_heading(board) if column == "score" else column for column in columns]
    rows = [_row(board, row, columns) for row in board.rows]
    parts = [
        f"## {_escaped(board.title)}",
        _escaped(f"{text.about(board)}."),
        _table(headings, rows),
    ]
    if failures := text.failures(board):
        parts.append("Runs that did not end well:")
        parts.append("\n".join(f"- {_escaped(line)}" for line in failures))
    if board.published:
        numbers = [_all_escaped(text.published_cells(board, one)) for one in board.published]
        best = _escaped(text.published_line(board))
        summary = f"<summary><i>Published, not measured here, never ranked:</i> {best}</summary>"
        parts += [
            f"<details>{summary}",
            _table(text.PUBLISHED_COLUMNS, numbers),
            "</details>",
        ]
    return "\n\n".join(parts)


def _row(board: Board, row: Row, columns: Iterable[str]) -> list[str]:
    """The cells of some columns; the interval stands behind the score."""
    cells = dict(zip(text.COLUMNS, text.cells(board, row), strict=True))
    interval = cells.pop("interval")
    escaped = {column: _escaped(cell) for column, cell in cells.items()}
    if row.interval:
        escaped["score"] += f" {interval}"
    return [escaped[column] for column in columns]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    rule = [":--" if column in _LEFT else "--:" for column in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, rule, *rows])


def _all_escaped(cells: Iterable[str]) -> list[str]:
    return [_escaped(cell) for cell in cells]


def _escaped(value: str) -> str:
    """Text in which nothing is markup and which stays in its table cell."""
    for mark in ("\\", "|", "*", "_", "`", "[", "]", "<"):
        value = value.replace(mark, f"\\{mark}")
    return " ".join(value.split())
