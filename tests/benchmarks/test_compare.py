"""Tests of the ratios, targets and turns of the benchmarks."""

from __future__ import annotations

import pytest

from benchmarks.compare import Case, Row, faster, medians

CASE = Case("name", "what", "sizes")


@pytest.mark.parametrize(
    ("ratio", "target", "met"),
    [(20.0, "≥ 20", True), (19.9, "≥ 20", False), (1.3, "≤ 1.3", True), (1.31, "≤ 1.3", False), (5.0, "", None)],
)
def test_a_target_is_met_or_not(ratio: float, target: str, met: bool | None) -> None:
    assert Row(CASE, 1.0, other=ratio, rival="other", ratio=ratio, target=target).met is met


def test_the_ratio_is_how_many_times_faster_ours_is() -> None:
    assert faster(CASE, 2.0, 50.0, rival="other").ratio == 25.0


def test_functions_are_timed_in_alternating_turns() -> None:
    turns: list[str] = []
    seconds = medians({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, rounds=3)
    assert turns == ["a", "b"] * 3
    assert set(seconds) == {"a", "b"}
