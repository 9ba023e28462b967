"""Deadlines: only categories that can be finished are started, and deferred ones have priority in the next run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.nightly.deadline import Cost, Costs, affordable, by_importance, next_time
from pipelines.nightly.steps import NightTask
from pipelines.storage.store import Store

NOON = datetime(2026, 3, 1, 12, 0, 5)


def costs() -> Costs:
    measured = Costs()
    measured.note(NightTask.TRAIN, 30.0, {"small": 10, "large": 20})
    return measured


def test_the_wall_time_of_a_wave_is_divided_in_proportion_to_images() -> None:
    assert costs().predict(NightTask.TRAIN, "small", 10) == pytest.approx(1.25 * 10.0)
    assert costs().predict(NightTask.TRAIN, "large", 20) == pytest.approx(1.25 * 20.0)
    assert costs().predict(NightTask.TRAIN, "small", 30) == pytest.approx(1.25 * 30.0)
    assert costs().predict(NightTask.TRAIN, "small", 1) == pytest.approx(
        1.25 * 10.0
    )  # fewer images do not lower the estimate: most of it is start-up
    assert costs().predict(NightTask.TRAIN, "unknown", 5) == pytest.approx(1.25 * 5.0)
    assert costs().predict(NightTask.SCORE, "small", 10) is None


def test_costs_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    assert Costs.read(store).measured == {}
    costs().write(store)
    assert Costs.read(store) == costs()


def test_without_a_deadline_every_category_is_affordable() -> None:
    assert affordable(Costs(), NightTask.TRAIN, {"a": 5, "b": 6}, None) == ("a", "b")


def test_a_category_that_does_not_fit_is_skipped_and_smaller_ones_use_its_time() -> None:
    known = Costs({NightTask.TRAIN: {"large": Cost(100.0, 10), "small": Cost(8.0, 1), "tiny": Cost(4.0, 1)}})
    images = {"large": 10, "small": 1, "tiny": 1}
    assert affordable(known, NightTask.TRAIN, images, 16.0) == ("small", "tiny")
    assert affordable(known, NightTask.TRAIN, images, 3.0) == ()
    assert affordable(known, NightTask.TRAIN, images, 1000.0) == ("large", "small", "tiny")


def test_without_known_costs_only_the_smallest_category_is_affordable() -> None:
    assert affordable(Costs(), NightTask.TRAIN, {"a": 50, "b": 3, "c": 9}, 60.0) == ("b",)
    assert affordable(Costs(), NightTask.TRAIN, {"a": 50, "b": 3}, -1.0) == ()


def test_the_deadline_is_the_next_occurrence_of_the_time_of_day() -> None:
    assert next_time("18:30", NOON) == datetime(2026, 3, 1, 18, 30).astimezone()
    assert next_time("06:00", NOON) == datetime(2026, 3, 2, 6, 0).astimezone()
    assert next_time("12:00", NOON) == datetime(2026, 3, 2, 12, 0).astimezone()


@pytest.mark.parametrize("clock", ["6", "25:00", "six", "06:00:00", ""])
def test_a_value_that_is_not_a_time_of_day_is_an_error(clock: str) -> None:
    with pytest.raises(UsageError, match=r"not a time of day\. Give HH:MM, for example 06:00\."):
        next_time(clock, NOON)


def test_deferred_categories_are_first_and_then_those_without_a_model() -> None:
    assert by_importance(["a", "b", "c", "d"], deferred=["d"], new=["c", "d"]) == ["d", "c", "a", "b"]
