"""The tables of the pages are those of the committed leaderboard."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

TABLES = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "figures" / "tables.py"))


@pytest.mark.parametrize("page", TABLES["PAGES"], ids=lambda page: page.name)
def test_tables_are_those_of_the_leaderboard(page: Path) -> None:
    """Nobody's copy of a number is older than the leaderboard: `python docs/figures/tables.py`."""
    text = page.read_text(encoding="utf-8")
    assert "<!-- table " in text
    assert TABLES["filled"](text, TABLES["tables"](TABLES["load"]())) == text
