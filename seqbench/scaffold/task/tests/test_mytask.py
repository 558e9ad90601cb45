"""The task keeps the promises of seqbench's interface."""

from seqbench.testing import check_task


def test_conforms() -> None:
    """Data, splits, loss and scores pass the conformance suite."""
    check_task("mytask")
