"""From results to a leaderboard and its pages; needs neither torch nor the plugins."""

from __future__ import annotations

from pathlib import Path

from seqbench.boards.board import Board, Leaderboard, Overall, OverallRow, Row, Standing
from seqbench.boards.csv import render_csv
from seqbench.boards.html import render_html
from seqbench.boards.json import render_json
from seqbench.boards.latex import render_latex
from seqbench.boards.markdown import render_markdown
from seqbench.boards.published import Published, load_published
from seqbench.boards.ranking import counted, rank
from seqbench.boards.terminal import terminal
from seqbench.errors import ResultError
from seqbench.files import Location, write_file
from seqbench.result import read_results, write_atomically

__all__ = [
    "Board",
    "Leaderboard",
    "Overall",
    "OverallRow",
    "Published",
    "Row",
    "Standing",
    "counted",
    "load_published",
    "rank",
    "render_csv",
    "render_html",
    "render_json",
    "render_latex",
    "render_markdown",
    "stale_pages",
    "terminal",
    "write_leaderboard",
]

_PAGES = {
    "leaderboard.json": render_json,
    "leaderboard.md": render_markdown,
    "leaderboard.csv": render_csv,
    "leaderboard.tex": render_latex,
}


def write_leaderboard(
    directory: Location, output_dir: Location
) -> tuple[Leaderboard, list[ResultError]]:
    """Rank the results below ``directory`` and write the pages; give an error for each bad file.

    Raises:
        ResultError: there is no result that can be read.
        OutputError: a page cannot be written.

    """
    leaderboard, pages, unreadable = _rendered(directory)
    for name, page in pages.items():
        if isinstance(output_dir, Path):
            write_atomically(output_dir / name, page)
        else:
            write_file(output_dir, name, page)
    return leaderboard, unreadable


def stale_pages(directory: Location, output_dir: Path) -> tuple[list[Path], list[ResultError]]:
    """The pages that are missing or not what would be written, and an error for each bad file.

    Raises:
        ResultError: there is no result that can be read.

    """
    _, pages, unreadable = _rendered(directory)
    paths = {output_dir / name: page for name, page in pages.items()}
    stale = [path for path, page in paths.items() if not path.exists() or path.read_bytes() != page]
    return stale, unreadable


def _rendered(directory: Location) -> tuple[Leaderboard, dict[str, bytes], list[ResultError]]:
    """The leaderboard of the results below a directory, its pages, and what could not be read."""
    results, unreadable = read_results(directory)
    if not results:
        found = f"; none of {len(unreadable)} files there can be read" if unreadable else ""
        raise ResultError(
            f"there are no results below {directory}{found}",
            unreadable[0].message if unreadable else "expected results/TASK/*.json in it",
        )
    leaderboard = rank(results, load_published())
    pages = {name: render(leaderboard) for name, render in _PAGES.items()}
    pages["index.html"] = render_html(leaderboard, counted(results))
    return leaderboard, {name: page.encode() for name, page in pages.items()}, unreadable
