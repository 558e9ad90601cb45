"""The leaderboard as JSON: everything, at full precision, the same text for the same results."""

from __future__ import annotations

import json

from seqbench.boards.board import Leaderboard


def render_json(leaderboard: Leaderboard) -> str:
    """JSON with sorted keys; ``Leaderboard.model_validate_json`` reads it back."""
    return json.dumps(leaderboard.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
