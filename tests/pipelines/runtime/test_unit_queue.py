"""The queue of units: largest first, and nothing is lost or done twice when a worker dies, or the queue itself."""

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
    """Begins a queue, or begins it anew after its process has died."""
    return lambda: UnitQueue(SIZES, Store.of(str(tmp_path)), "queues/fit.json", 3)


def rest_of(queue: UnitQueue) -> list[tuple[str, str]]:
    """What is handed out until nothing is left."""
    handed = []
    while (name := queue.take(0)) is not None:
        queue.finish(0, FitResult(name))
        handed.append(name)
    return handed


def test_the_largest_unit_goes_first(begin: Begin) -> None:
    assert rest_of(begin()) == [LARGE, MIDDLE, SMALL]


def test_what_dead_workers_held_is_handed_out_again_first(begin: Begin) -> None:
    queue = begin()
    held = [queue.take(0), queue.take(1)]
    queue.join(0, 2)
    queue.join(1, 2)
    assert [queue.take(0), queue.take(1)] == held == [LARGE, MIDDLE]


def groups_that(kill: tuple[str, str], begin: Begin, workers: int) -> list[FitResult]:
    """What becomes of all units where one of them kills its process; a group of workers ends with one."""
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
    raise AssertionError("it does not end")


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("kill", list(SIZES))
def test_a_unit_that_kills_its_process_fails_and_no_other(begin: Begin, kill: tuple[str, str], workers: int) -> None:
    told = {fitted.unit: fitted.error for fitted in groups_that(kill, begin, workers)}
    assert told.pop(kill) == "The process that trained it ended 4 times before it was done."
    assert told == dict.fromkeys(SIZES.keys() - {kill})


def test_accounts_that_cannot_be_read_now_can_be_later(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: object) -> None:
        raise OSError("no answer")

    queue = begin()
    with monkeypatch.context() as outage:
        outage.setattr(Store, "read_json", silent)
        with pytest.raises(OSError, match="no answer"):
            queue.take(0)
    assert queue.take(0) == LARGE


def test_what_ranks_held_that_are_no_more_is_handed_out_again(begin: Begin) -> None:
    queue = begin()
    held = [queue.take(rank) for rank in range(2)]
    queue.join(0, 1)
    assert sorted(rest_of(queue)[:2]) == sorted(held)


def test_a_finished_unit_is_never_handed_out_again(begin: Begin) -> None:
    queue = begin()
    assert queue.take(0) == LARGE
    queue.finish(0, FitResult(LARGE))
    assert queue.done() == [FitResult(LARGE)]
    queue.join(0, 1)
    assert rest_of(queue) == [MIDDLE, SMALL]


def test_what_a_worker_of_an_ended_group_says_late_takes_nothing_from_who_has_the_unit_now(begin: Begin) -> None:
    queue = begin()
    queue.take(0)
    queue.join(0, 2)
    queue.join(1, 2)
    assert queue.take(1) == LARGE
    queue.finish(0, FitResult(LARGE, seconds=1.0))
    queue.finish(1, FitResult(LARGE, seconds=2.0))
    assert queue.done() == [FitResult(LARGE, seconds=2.0)]


def test_a_queue_that_died_goes_on_with_what_is_held_and_done(begin: Begin) -> None:
    fitted = FitResult(LARGE, {"steps": 40, "lr": 1e-3, "lr_capped": False}, 0.25, 3.5, 2**30)
    queue = begin()
    queue.take(0)
    queue.finish(0, fitted)
    assert queue.take(0) == MIDDLE
    anew = begin()
    assert anew.done() == [fitted]
    assert anew.take(1) == SMALL
    anew.finish(0, FitResult(MIDDLE, error="ValueError: no"))
    assert begin().done() == [fitted, FitResult(MIDDLE, error="ValueError: no")]
    assert begin().take(0) is None


def test_what_is_said_twice_since_the_answer_was_lost_counts_once(begin: Begin) -> None:
    assert begin().take(0) == LARGE
    queue = begin()
    assert queue.take(0) == LARGE
    queue.finish(0, FitResult(LARGE))
    queue = begin()
    queue.finish(0, FitResult(LARGE))
    assert queue.done() == [FitResult(LARGE)]
    assert rest_of(queue) == [MIDDLE, SMALL]


def test_accounts_that_cannot_be_kept_end_no_training(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write", full)
    assert rest_of(begin()) == [LARGE, MIDDLE, SMALL]


def test_a_process_that_holds_it_does_not_load_pytorch() -> None:
    look = "import sys, pipelines.runtime.unit_queue; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look]).returncode == 0
