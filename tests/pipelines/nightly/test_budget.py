"""The queue of a nightly run: the most important first, no more than fits, and what was measured is remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.nightly.budget import BudgetedQueue, Measurement
from pipelines.nightly.deadline import Cost, Costs
from pipelines.nightly.steps import NightTask
from pipelines.storage.store import Store

TRAIN = NightTask.TRAIN


@dataclass(frozen=True)
class Job:
    category: str
    n_images: int = 10
    scratch_bytes: int = 1


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.of(str(tmp_path))


def queue(
    store: Store,
    costs: Costs | None = None,
    seconds_left: Callable[[], float | None] = lambda: None,
    *,
    scratch_bytes: float = 100,
    deferred: tuple[str, ...] = (),
) -> BudgetedQueue:
    return BudgetedQueue(
        task=TRAIN,
        costs=costs or Costs(),
        store=store,
        scratch_bytes=scratch_bytes,
        seconds_left=seconds_left,
        deferred=deferred,
    )


class Waves:
    """Does waves, each of which takes a number of seconds a job, and lists them."""

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.left = 0.0
        self.done: list[tuple[int, list[str]]] = []

    def __call__(self, wave: list[Job], number: int) -> list[Measurement]:
        self.done.append((number, [job.category for job in wave]))
        took = self.seconds * len(wave)
        self.left -= took
        return [Measurement(seconds=took, images={job.category: job.n_images for job in wave})]


def test_without_a_deadline_all_are_done_in_waves_that_fit_scratch(store: Store) -> None:
    waves = Waves()
    jobs = [Job("a", scratch_bytes=60), Job("b", scratch_bytes=50), Job("c", scratch_bytes=40), Job("d", 10, 500)]
    assert queue(store).run(jobs, waves) == []
    assert waves.done == [(1, ["a"]), (2, ["b", "c"]), (3, ["d"])]


def test_what_the_last_run_deferred_is_first_and_then_what_has_no_model(store: Store) -> None:
    waves = Waves()
    queue(store, deferred=("d",)).run([Job(name) for name in "abcd"], waves, new=("c",))
    assert waves.done == [(1, ["d", "c", "a", "b"])]


def test_what_does_not_fit_the_time_that_is_left_is_returned(store: Store) -> None:
    costs = Costs({TRAIN: {name: Cost(10.0, 10) for name in "abc"}})
    waves = Waves(seconds=10.0)
    waves.left = 30.0  # 12.5 s are predicted for each
    assert queue(store, costs, lambda: waves.left).run([Job(name) for name in "abc"], waves) == ["c"]
    assert waves.done == [(1, ["a", "b"])]


def test_the_first_wave_shows_how_long_the_others_take(store: Store) -> None:
    waves = Waves(seconds=10.0)
    waves.left = 36.0
    assert queue(store, None, lambda: waves.left).run([Job("a"), Job("b", 5), Job("c")], waves) == ["c"]
    assert waves.done == [(1, ["b"]), (2, ["a"])]  # 25 s are predicted for a, then 18.75 s for c


def test_without_time_nothing_is_started(store: Store) -> None:
    waves = Waves()
    assert queue(store, None, lambda: -1.0, deferred=("b",)).run([Job("a"), Job("b")], waves) == ["b", "a"]
    assert waves.done == []
    assert not store.exists("costs.json")


def test_costs_are_written_after_each_wave(store: Store) -> None:
    written: list[dict[str, dict[str, Cost]]] = []

    def wave(jobs: list[Job], number: int) -> list[Measurement]:
        written.append(Costs.read(store).measured)
        return [Measurement(seconds=4.0, images={job.category: job.n_images for job in jobs})]

    queue(store, scratch_bytes=1).run([Job("a"), Job("b", 20)], wave)
    assert written == [{}, {TRAIN: {"a": Cost(4.0, 10)}}]
    assert Costs.read(store).measured == {TRAIN: {"a": Cost(4.0, 10), "b": Cost(4.0, 20)}}


def test_a_wave_that_says_nothing_of_its_cost_changes_none(store: Store) -> None:
    costs = Costs({TRAIN: {"a": Cost(10.0, 10)}})
    queue(store, costs).run([Job("a")], lambda jobs, number: [])
    assert Costs.read(store).measured == {TRAIN: {"a": Cost(10.0, 10)}}
