"""The conservation count notices what was lost, counted twice, or settled without being held."""

import pytest

from streams.counts import FATES, Counts


def test_every_fate_balances():
    counts = Counts()
    for fate in FATES:
        counts.consume("feedback")
        counts.settle("feedback", fate)
    counts.consume("feedback")
    counts.hold("feedback")
    assert counts.exact
    assert counts.pending == {"feedback": 1}
    counts.settle("feedback", "applied", held=True)
    assert counts.exact
    assert counts.pending == {}
    assert counts.to_dict()["feedback"]["applied"] == 2


@pytest.mark.parametrize(
    "counted",
    [
        {"consumed": 1},
        {"applied": 1},
        {"consumed": 1, "applied": 1, "late": 1},
        {"consumed": 1, "applied": 2, "pending": -1},
    ],
)
def test_what_does_not_balance_is_not_exact(counted):
    assert not Counts({"tick": {"consumed": 3, "applied": 3}, "feedback": counted}).exact


def test_counts_are_copied_and_compared_by_value():
    counts = Counts()
    counts.consume("tick")
    copy = Counts(counts.to_dict())
    counts.settle("tick", "applied")
    assert copy != counts
    assert "'applied': 1" in repr(counts)
    assert Counts(counts.to_dict()) == counts
