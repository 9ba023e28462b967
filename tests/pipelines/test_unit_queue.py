"""The queue of units: largest first, and nothing is lost when a worker dies."""

from __future__ import annotations

import subprocess
import sys

from pipelines.unit_queue import Fitted, UnitQueue

SMALL, LARGE, MIDDLE = ("bolt", "lite0"), ("cloth", "lite0"), ("nut", "lite0")
SIZES = {SMALL: 5, LARGE: 50, MIDDLE: 20}


def test_the_largest_unit_goes_first() -> None:
    queue = UnitQueue(SIZES)
    assert [queue.take(0) for _ in range(4)] == [LARGE, MIDDLE, SMALL, None]


def test_what_a_dead_worker_held_is_handed_out_again_first() -> None:
    queue = UnitQueue(SIZES)
    held, other = queue.take(0), queue.take(1)
    queue.join(0, 2)
    queue.join(1, 2)
    assert [queue.take(0), queue.take(1)] == [other, held]


def test_what_ranks_held_that_are_no_more_is_handed_out_again() -> None:
    queue = UnitQueue(SIZES)
    held = {queue.take(rank) for rank in range(2)}
    queue.join(0, 1)
    assert {queue.take(0), queue.take(0)} == held


def test_a_finished_unit_is_never_handed_out_again() -> None:
    queue = UnitQueue(SIZES)
    assert queue.take(0) == LARGE
    queue.finish(0, Fitted(LARGE))
    assert queue.done() == [Fitted(LARGE)]
    queue.join(0, 1)
    assert [queue.take(0) for _ in range(3)] == [MIDDLE, SMALL, None]


def test_a_process_that_holds_it_does_not_load_pytorch() -> None:
    look = "import sys, pipelines.unit_queue; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look]).returncode == 0
