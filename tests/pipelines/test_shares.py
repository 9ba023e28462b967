"""Tasks tell how far they are, now and then, and what is finished counts no more."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines import shares
from pipelines.shares import Shares, Teller


def test_what_is_in_hand_counts_by_its_share_and_what_is_finished_as_one() -> None:
    told = Shares()
    told.tell("a", 0.25)
    told.tell("b", 0.1)
    told.tell("b", 0.5)
    assert told.reached([]) == 0.75
    assert told.reached(["b"]) == 1.25
    assert told.reached(["a", "b"]) == 2.0


def test_a_task_tells_twice_a_second_whatever_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(shares.time, "monotonic", lambda: now)
    heard: list[tuple[Any, float]] = []

    class Actor:
        class tell:  # noqa: N801 (as Ray's handles have it)
            @staticmethod
            def remote(name: Any, share: float) -> None:
                heard.append((name, share))

    teller = Teller(Actor, "unit")
    for step in range(1, 21):
        teller(step, 20)
        now += 0.25
    assert heard == [("unit", step / 20) for step in range(1, 21, 2)]
