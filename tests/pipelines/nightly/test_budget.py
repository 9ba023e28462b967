"""Queue of a nightly run: categories run by priority, only those that fit the time run, and costs are recorded."""

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
    """Fake `run_wave` that records the waves.

    Attributes:
        seconds: Simulated wall time per job in seconds.
        left: Simulated seconds until the deadline.
        done: Number and categories of each wave.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self.seconds = seconds
        self.left = 0.0
        self.done: list[tuple[int, list[str]]] = []

    def __call__(self, wave: list[Job], number: int) -> list[Measurement]:
        self.done.append((number, [job.category for job in wave]))
        took = self.seconds * len(wave)
        self.left -= took
        return [Measurement(seconds=took, images={job.category: job.n_images for job in wave})]


def test_without_a_deadline_all_jobs_run_in_waves_that_fit_the_scratch_space(store: Store) -> None:
    waves = Waves()
    jobs = [Job("a", scratch_bytes=60), Job("b", scratch_bytes=50), Job("c", scratch_bytes=40), Job("d", 10, 500)]
    assert queue(store).run(jobs, waves) == []
    assert waves.done == [(1, ["a"]), (2, ["b", "c"]), (3, ["d"])]


def test_deferred_categories_run_first_and_then_those_without_a_model(store: Store) -> None:
    waves = Waves()
    queue(store, deferred=("d",)).run([Job(name) for name in "abcd"], waves, new=("c",))
    assert waves.done == [(1, ["d", "c", "a", "b"])]


def test_categories_that_do_not_fit_the_remaining_time_are_returned(store: Store) -> None:
    costs = Costs({TRAIN: {name: Cost(10.0, 10) for name in "abc"}})
    waves = Waves(seconds=10.0)
    waves.left = 30.0  # the estimate is 12.5 s per category
    assert queue(store, costs, lambda: waves.left).run([Job(name) for name in "abc"], waves) == ["c"]
    assert waves.done == [(1, ["a", "b"])]


def test_without_known_costs_the_smallest_category_is_measured_first(store: Store) -> None:
    waves = Waves(seconds=10.0)
    waves.left = 36.0
    assert queue(store, None, lambda: waves.left).run([Job("a"), Job("b", 5), Job("c")], waves) == ["c"]
    assert waves.done == [(1, ["b"]), (2, ["a"])]  # the estimate for a is 25 s, then that for c is 18.75 s


def test_after_the_deadline_no_job_is_started(store: Store) -> None:
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


def test_a_wave_without_measurements_changes_no_cost(store: Store) -> None:
    costs = Costs({TRAIN: {"a": Cost(10.0, 10)}})
    queue(store, costs).run([Job("a")], lambda jobs, number: [])
    assert Costs.read(store).measured == {TRAIN: {"a": Cost(10.0, 10)}}
