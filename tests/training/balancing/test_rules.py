"""Which rules there are."""

from pathlib import Path

import pytest

from keras_mtl import balancing

pytestmark = pytest.mark.once("torch", "a list knows no backend")

CONTRACTS = {"BalancingRule", "GradientWeighting", "LossBalancing", "LossWeighting"}
CONTRACTS |= {"TrackedGradients", "RULES"}


def test_every_rule_is_listed_and_documented():
    """`RULES` is what the scripts and the search offer."""
    names = [rule.__name__ for rule in balancing.RULES]
    assert set(names) == set(balancing.__all__) - CONTRACTS
    page = (Path(__file__).parents[3] / "docs" / "balancing.md").read_text()
    rows = [line.split("|")[1].strip(" `") for line in page.splitlines() if line.startswith("| `")]
    assert sorted(rows) == sorted(names)
