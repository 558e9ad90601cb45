"""The leaderboard as LaTeX: a document of booktabs tables to copy from, one a board with notes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from seqbench.boards import text
from seqbench.boards.board import Board, Leaderboard, Overall, Transfer
from seqbench.boards.scores import Scores, scores_of

_PREAMBLE = r"""% pdflatex leaderboard.tex; tables need the packages booktabs and array,
% those of boards longtable
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{array,booktabs,longtable}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\setlength{\tabcolsep}{4pt}
\setlength{\belowcaptionskip}{6pt}
\newcolumntype{L}[1]{>{\raggedright\arraybackslash}p{#1}}
\begin{document}
\small"""

_COLUMNS = {
    "rank": "r",
    "model": "L{65mm}",
    "score": "r",
    "interval": "r",
    "group": "l",
    "p": "r",
    "\N{MINUS SIGN} published": "r",
    "budget": "r",
    "seeds": "r",
    "params": "r",
    "FLOPs": "r",
    "train": "r",
    "settings": "L{22mm}",
}
"""The columns of a board, a part of those of the page, and how each is set."""

_BOARDS = 6
"""So many columns of accuracies fit over both columns of a paper that has two."""

_FLOATING = 35
"""So many rows of a table that floats fit on a page."""

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "\N{PLUS-MINUS SIGN}": r"$\pm$",
    "\N{UPWARDS ARROW}": r"$\uparrow$",
    "\N{DOWNWARDS ARROW}": r"$\downarrow$",
    "\N{MICRO SIGN}": r"\textmu{}",
    "\N{DAGGER}": r"\textdagger{}",
    "\N{DOUBLE DAGGER}": r"\textdaggerdbl{}",
    "\N{SECTION SIGN}": r"\textsection{}",
    "\N{PILCROW SIGN}": r"\textparagraph{}",
    **{mark: f"\\{mark}" for mark in "{}$&#_%"},
    **{mark: f"{{{mark}}}" for mark in "[]"},
}


def render_latex(leaderboard: Leaderboard) -> str:
    """A document that compiles by itself; superseded boards are left to the other pages."""
    parts = [_PREAMBLE]
    for table in leaderboard.overall:
        parts += [_overall(table), *_scores(table, scores_of(table, leaderboard.boards))]
    parts += [_transfer(table) for table in leaderboard.transfers]
    parts.append(r"\clearpage")
    parts += [_board(board) for board in leaderboard.boards]
    parts.append(r"\end{document}")
    return "\n\n".join(parts) + "\n"


def _overall(table: Overall) -> str:
    budget = text.step_budgets(table)
    letters = text.letters(table.groups)
    rows = [
        (text.overall_place(row), row.name, text.mean_rank(row), letters.get(row.name, ""))
        for row in table.rows
    ]
    caption = (
        f"Overall{budget}: mean rank over {', '.join(table.boards)}. {text.overall_note(table)}."
    )
    body = [_line(row) for row in rows]
    columns = ("rank", "model", "mean rank", "group")
    return _short(f"overall{budget}", caption, "rlrl", _line(columns), body)


def _scores(table: Overall, scores: Scores) -> list[str]:
    """In as many tables as the width of the page asks for."""
    budget = text.step_budgets(table)
    pieces = list(scores.pieces(_BOARDS))
    tables = []
    for number, piece in enumerate(pieces, start=1):
        part = f", part {number} of {len(pieces)}" if len(pieces) > 1 else ""
        title = f"Scores{budget}{part}"
        headings = ["model", *map(_stacked, piece.headings)]
        body = [
            _joined([_escaped(name), *(_emphasised(cell, best) for cell, best in cells)])
            for name, cells in piece.cells.items()
        ]
        layout = "l" + "r" * len(piece.headings)
        caption = f"{title}: {piece.note}."
        tables.append(_short(title, caption, layout, _joined(headings), body))
    return tables


def _stacked(lines: Iterable[str]) -> str:
    stacked = r" \\ ".join(_escaped(line) for line in lines)
    return rf"\begin{{tabular}}[b]{{@{{}}r@{{}}}}{stacked}\end{{tabular}}"


def _emphasised(cell: str, best: bool) -> str:
    return rf"\textbf{{{_escaped(cell)}}}" if best else _escaped(cell)


def _transfer(table: Transfer) -> str:
    caption = f"{text.transfer_heading(table)}: {text.score_heading(table)}; {text.TRANSFER_NOTE}."
    body = [_line(text.transfer_cells(table, row)) for row in table.rows]
    columns = text.transfer_columns(table)
    layout = "L{65mm}" + "r" * (len(columns) - 1)
    return _long(text.transfer_heading(table), caption, layout, _line(columns), body)


def _board(board: Board) -> str:
    columns = [column for column in text.used_columns(board) if column in _COLUMNS]
    headings = [text.score_heading(board) if column == "score" else column for column in columns]
    body = []
    for row in board.rows:
        cells = dict(zip(text.COLUMNS, text.cells(board, row), strict=True))
        body.append(_line(cells[column] for column in columns))
    if board.published:
        body += [r"\midrule", *_published(board, columns)]
    caption = f"{board.title}: {text.about(board)}."
    layout = "".join(_COLUMNS[column] for column in columns)
    notes = text.footnotes([board]) + text.statistics_notes([board])
    notes += [f"published {one.model}: {one.source}" for one in board.published]
    said = ". ".join(note[:1].upper() + note[1:] for note in notes)
    below = rf"{{\footnotesize {_escaped(said)}.\par}}"
    return "\n\n".join([_long(board.title, caption, layout, _line(headings), body), below])


def _published(board: Board, columns: Sequence[str]) -> list[str]:
    """Published numbers in italics, below a line that says what they are."""
    title = rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{published, not ranked}}}} \\"
    lines = []
    for one in board.published:
        cells = dict(zip(text.PUBLISHED_COLUMNS, text.published_cells(board, one), strict=True))
        cells["settings"] = f"selected on {one.selection}" if one.selection != "unknown" else ""
        lines.append(_line((cells.get(column, "") for column in columns), r"\emph"))
    return [title, *lines]


def _short(title: str, caption: str, layout: str, headings: str, body: Sequence[str]) -> str:
    """A table of one row a model, which floats unless there are too many for a page."""
    place = _float if len(body) <= _FLOATING else _long
    return place(title, caption, layout, headings, body)


def _float(title: str, caption: str, layout: str, headings: str, body: Iterable[str]) -> str:
    """A table that floats, over both columns of a paper that has two."""
    lines = [
        r"\begin{table*}",
        r"\centering\small",
        _caption(title, caption),
        rf"\begin{{tabular}}{{@{{}}{layout}@{{}}}}",
        r"\toprule",
        headings,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
    ]
    return "\n".join(lines)


def _long(title: str, caption: str, layout: str, headings: str, body: Iterable[str]) -> str:
    """A table that goes on over pages."""
    lines = [
        rf"\begin{{longtable}}{{@{{}}{layout}@{{}}}}",
        rf"{_caption(title, caption)} \\",
        r"\toprule",
        headings,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *body,
        r"\end{longtable}",
    ]
    return "\n".join(lines)


def _caption(title: str, caption: str) -> str:
    label = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return rf"\caption{{{_escaped(caption)}}}\label{{tab:{label}}}"


def _line(cells: Iterable[str], style: str = "") -> str:
    set_ = [_escaped(cell) for cell in cells]
    styled = [f"{style}{{{cell}}}" if style and cell else cell for cell in set_]
    return _joined(styled)


def _joined(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _escaped(value: str) -> str:
    """Text in which nothing is markup; a character that the font may lack is named by its code."""

    def escaped(mark: str) -> str:
        if mark in _SPECIAL:
            return _SPECIAL[mark]
        latin = mark.isascii() or (
            mark.isalpha() and mark <= "\N{LATIN SMALL LETTER Y WITH DIAERESIS}"
        )
        return mark if latin else f"(U+{ord(mark):04X})"

    return "".join(escaped(mark) for mark in " ".join(value.split()))
