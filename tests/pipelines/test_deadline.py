"""Deadlines: what is started can be finished, and what is not is first tomorrow."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from pipelines.deadline import JUDGE, LEARN, Costs, affordable, by_importance, next_time
from pipelines.storage import Store
from pipelines.usage import UsageError

NOON = datetime(2026, 3, 1, 12, 0, 5)


def costs() -> Costs:
    found = Costs()
    found.note(LEARN, 30.0, {"small": 10, "large": 20})
    return found


def test_a_waves_seconds_are_shared_out_by_images() -> None:
    assert costs().predict(LEARN, "small", 10) == pytest.approx(1.25 * 10.0)
    assert costs().predict(LEARN, "large", 20) == pytest.approx(1.25 * 20.0)
    assert costs().predict(LEARN, "small", 30) == pytest.approx(1.25 * 30.0)
    assert costs().predict(LEARN, "small", 1) == pytest.approx(1.25 * 10.0)  # most of it is start-up
    assert costs().predict(LEARN, "unheard of", 5) == pytest.approx(1.25 * 5.0)
    assert costs().predict(JUDGE, "small", 10) is None


def test_they_come_back_from_their_file(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    assert Costs.read(store).found == {}
    costs().write(store)
    assert Costs.read(store) == costs()


def test_without_a_deadline_all_are_started() -> None:
    assert affordable(Costs(), LEARN, {"a": 5, "b": 6}, None) == ("a", "b")


def test_what_cannot_be_finished_is_not_started_and_smaller_ones_take_the_room() -> None:
    known = Costs({LEARN: {"large": (100.0, 10), "small": (8.0, 1), "tiny": (4.0, 1)}})
    images = {"large": 10, "small": 1, "tiny": 1}
    assert affordable(known, LEARN, images, 16.0) == ("small", "tiny")
    assert affordable(known, LEARN, images, 3.0) == ()
    assert affordable(known, LEARN, images, 1000.0) == ("large", "small", "tiny")


def test_on_the_first_night_the_smallest_tells_of_the_others() -> None:
    assert affordable(Costs(), LEARN, {"a": 50, "b": 3, "c": 9}, 60.0) == ("b",)
    assert affordable(Costs(), LEARN, {"a": 50, "b": 3}, -1.0) == ()


def test_a_deadline_is_the_next_time_clocks_show_it() -> None:
    assert next_time("18:30", NOON) == datetime(2026, 3, 1, 18, 30).astimezone()
    assert next_time("06:00", NOON) == datetime(2026, 3, 2, 6, 0).astimezone()
    assert next_time("12:00", NOON) == datetime(2026, 3, 2, 12, 0).astimezone()


@pytest.mark.parametrize("clock", ["6", "25:00", "six", "06:00:00", ""])
def test_what_is_no_time_of_day_is_refused(clock: str) -> None:
    with pytest.raises(UsageError, match="give a time of day such as 06:00"):
        next_time(clock, NOON)


def test_what_was_put_off_is_first_and_then_what_has_no_model() -> None:
    assert by_importance(["a", "b", "c", "d"], deferred=["d"], new=["c", "d"]) == ["d", "c", "a", "b"]
