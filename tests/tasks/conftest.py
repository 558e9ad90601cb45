"""Images are decoded once for all tests of tasks, into a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _decoded_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQBENCH_CACHE", str(tmp_path_factory.mktemp("decoded")))
        patch.delenv("SEQBENCH_DATA", raising=False)
        yield
