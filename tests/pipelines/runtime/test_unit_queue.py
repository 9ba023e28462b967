"""Tests of the queue of units: order, and recovery after the death of a worker or of the queue itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.runtime.unit_queue import FitResult, UnitQueue
from pipelines.storage.store import Store

SMALL, LARGE, MIDDLE = ("bolt", "lite0"), ("cloth", "lite0"), ("nut", "lite0")
SIZES = {SMALL: 5, LARGE: 50, MIDDLE: 20}

Begin = Callable[[], UnitQueue]


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """A function that creates a queue, or resumes it as after the death of its process."""
    return lambda: UnitQueue(SIZES, Store.of(str(tmp_path)), "queues/fit.json", 3)


def rest_of(queue: UnitQueue) -> list[tuple[str, str]]:
    """Take and finish units until none is left, and return them in order."""
    handed = []
    while (name := queue.take(0)) is not None:
        queue.finish(0, FitResult(name))
        handed.append(name)
    return handed


def test_the_largest_unit_comes_first(begin: Begin) -> None:
    assert rest_of(begin()) == [LARGE, MIDDLE, SMALL]


def test_units_of_dead_workers_are_given_out_first(begin: Begin) -> None:
    queue = begin()
    held = [queue.take(0), queue.take(1)]
    queue.join(0, 2)
    queue.join(1, 2)
    assert [queue.take(0), queue.take(1)] == held == [LARGE, MIDDLE]


def groups_that(kill: tuple[str, str], begin: Begin, workers: int) -> list[FitResult]:
    """Return the results of all units if one unit kills its process, which ends the worker group each time."""
    ended = 0
    while ended < 20:
        queue = begin()
        for rank in range(workers):
            queue.join(rank, workers)
        at_work = dict.fromkeys(range(workers), True)
        while any(at_work.values()):
            held = {rank: queue.take(rank) for rank in at_work if at_work[rank]}
            if kill in held.values():
                ended += 1
                break
            at_work = {rank: held.get(rank) is not None for rank in at_work}
            for rank, unit in held.items():
                if unit is not None:
                    queue.finish(rank, FitResult(unit))
        else:
            return queue.done()
    raise AssertionError("the queue does not abandon the unit")


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("kill", list(SIZES))
def test_only_the_unit_that_kills_its_process_fails(begin: Begin, kill: tuple[str, str], workers: int) -> None:
    errors = {result.unit: result.error for result in groups_that(kill, begin, workers)}
    assert errors.pop(kill) == "The training process died in all 4 attempts."
    assert errors == dict.fromkeys(SIZES.keys() - {kill})


def test_a_state_that_cannot_be_read_is_read_later(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no answer")

    queue = begin()
    with monkeypatch.context() as outage:
        outage.setattr(Store, "read_json", fail)
        with pytest.raises(OSError, match="no answer"):
            queue.take(0)
    assert queue.take(0) == LARGE


def test_units_of_ranks_that_no_longer_exist_are_given_out_again(begin: Begin) -> None:
    queue = begin()
    held = [queue.take(rank) for rank in range(2)]
    queue.join(0, 1)
    assert sorted(rest_of(queue)[:2]) == sorted(held)


def test_a_finished_unit_is_not_given_out_again(begin: Begin) -> None:
    queue = begin()
    assert queue.take(0) == LARGE
    queue.finish(0, FitResult(LARGE))
    assert queue.done() == [FitResult(LARGE)]
    queue.join(0, 1)
    assert rest_of(queue) == [MIDDLE, SMALL]


def test_a_late_result_of_an_ended_group_is_ignored(begin: Begin) -> None:
    queue = begin()
    queue.take(0)
    queue.join(0, 2)
    queue.join(1, 2)
    assert queue.take(1) == LARGE
    queue.finish(0, FitResult(LARGE, seconds=1.0))
    queue.finish(1, FitResult(LARGE, seconds=2.0))
    assert queue.done() == [FitResult(LARGE, seconds=2.0)]


def test_a_queue_that_died_resumes_with_held_and_finished_units(begin: Begin) -> None:
    fitted = FitResult(LARGE, {"steps": 40, "lr": 1e-3, "lr_capped": False}, 0.25, 3.5, 2**30)
    queue = begin()
    queue.take(0)
    queue.finish(0, fitted)
    assert queue.take(0) == MIDDLE
    resumed = begin()
    assert resumed.done() == [fitted]
    assert resumed.take(1) == SMALL
    resumed.finish(0, FitResult(MIDDLE, error="ValueError: no"))
    assert begin().done() == [fitted, FitResult(MIDDLE, error="ValueError: no")]
    assert begin().take(0) is None


def test_a_repeated_call_has_no_further_effect(begin: Begin) -> None:
    assert begin().take(0) == LARGE
    queue = begin()
    assert queue.take(0) == LARGE
    queue.finish(0, FitResult(LARGE))
    queue = begin()
    queue.finish(0, FitResult(LARGE))
    assert queue.done() == [FitResult(LARGE)]
    assert rest_of(queue) == [MIDDLE, SMALL]


def test_a_state_that_cannot_be_written_does_not_end_the_training(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    assert rest_of(begin()) == [LARGE, MIDDLE, SMALL]


def test_the_process_of_the_queue_loads_neither_torch_nor_ray() -> None:
    program = "import sys, pipelines.runtime.unit_queue; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
