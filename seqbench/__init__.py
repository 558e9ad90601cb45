"""seqbench: how well a sequence model handles long-range structure, and at what cost."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqbench.api import leaderboard as leaderboard
    from seqbench.api import run as run

__version__ = "0.1.0"


class _Package(ModuleType):
    """The functions ``run`` and ``leaderboard``, imported when they are first asked for.

    Submodules have the same names; ``from seqbench.run import ...`` finds them, but they are not
    attributes of the package, which they would be from their first import on.
    """

    def __getattr__(self, name: str) -> Any:
        if name not in {"leaderboard", "run"}:
            raise AttributeError(f"module 'seqbench' has no attribute {name!r}")
        from seqbench import api

        return getattr(api, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in {"leaderboard", "run"} and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
