"""The model keeps the promises of seqbench's interface."""

from seqbench.testing import check_model


def test_conforms() -> None:
    """Every preset passes the conformance suite."""
    check_model("mynet")
