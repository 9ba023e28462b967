"""The benchmarks' table: ratios, targets and turns."""

from __future__ import annotations

import pytest

from benchmarks.compare import Row, faster, medians


@pytest.mark.parametrize(
    ("ratio", "target", "met"),
    [(20.0, "≥ 20", True), (19.9, "≥ 20", False), (1.3, "≤ 1.3", True), (1.31, "≤ 1.3", False), (5.0, "", None)],
)
def test_a_target_is_met_or_not(ratio: float, target: str, met: bool | None) -> None:
    assert Row("name", "what", "sizes", 1.0, ratio, "other", ratio, target).met is met


def test_faster_says_how_many_times() -> None:
    assert faster("name", "what", "sizes", 2.0, 50.0, "other").ratio == 25.0


def test_ways_take_turns() -> None:
    turns: list[str] = []
    found = medians({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, rounds=3)
    assert turns == ["a", "b"] * 3
    assert set(found) == {"a", "b"}
