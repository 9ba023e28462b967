"""Tests of the progress reports of Ray tasks."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.runtime import progress_actor
from pipelines.runtime.progress_actor import ProgressActor, ProgressReporter


def test_progress_is_the_number_of_finished_tasks_plus_the_shares_of_running_tasks() -> None:
    actor = ProgressActor()
    actor.report("a", 0.25)
    actor.report("b", 0.1)
    actor.report("b", 0.5)
    assert actor.reached([]) == 0.75
    assert actor.reached(["b"]) == 1.25
    assert actor.reached(["a", "b"]) == 2.0


def test_a_task_reports_at_most_twice_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(progress_actor.time, "monotonic", lambda: now)
    reports: list[tuple[Any, float]] = []

    class Actor:
        class report:  # noqa: N801 (named like the method of a Ray handle)
            @staticmethod
            def remote(name: Any, share: float) -> None:
                reports.append((name, share))

    reporter = ProgressReporter(Actor, "unit")
    for step in range(1, 21):
        reporter(step, 20)
        now += 0.25
    assert reports == [("unit", step / 20) for step in range(1, 21, 2)]
