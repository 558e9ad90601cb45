"""seqbench: how well a sequence model handles long-range structure, and at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqbench.api import leaderboard as leaderboard
    from seqbench.api import run as run

__version__ = "0.1.0"
__all__ = ["leaderboard", "run"]


def __getattr__(name: str) -> Any:
    """The functions ``run`` and ``leaderboard``, imported when they are first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'seqbench' has no attribute {name!r}")
    from seqbench import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """With the functions that are not imported yet."""
    return sorted({*globals(), *__all__})
