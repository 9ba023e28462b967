"""Queue of a nightly run: categories by priority, in waves that fit the scratch space and the remaining time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipelines.nightly.deadline import Costs, affordable, by_importance
from pipelines.nightly.steps import NightTask
from pipelines.planning.plan import cut_waves
from pipelines.storage.store import Store


class BudgetedJob(Protocol):
    """Job that trains or scores one category."""

    @property
    def category(self) -> str:
        """Name of the category."""

    @property
    def n_images(self) -> int:
        """Number of images; the wall time of a wave is divided among its jobs in proportion to it."""

    @property
    def scratch_bytes(self) -> int:
        """Bytes of scratch space for the features that must exist at the same time."""


J = TypeVar("J", bound=BudgetedJob)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Wall time of a group of categories.

    Attributes:
        seconds: Wall time of the whole group in seconds.
        images: category -> number of its images.
    """

    seconds: float
    images: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class BudgetedQueue:
    """Queue that runs jobs in waves until the time is used up.

    Attributes:
        task: Task that the jobs perform.
        costs: Costs of earlier runs; the cost of each wave is added.
        store: Folder in which costs.json is written after each wave.
        scratch_bytes: Largest sum of `BudgetedJob.scratch_bytes` in a wave, in bytes. A job that exceeds it runs in a
            wave of its own.
        seconds_left: Function that returns the seconds until the deadline, or None without a deadline. It is called
            before each wave.
        deferred: Categories that the previous run deferred; they have the highest priority.
    """

    task: NightTask
    costs: Costs
    store: Store
    scratch_bytes: float
    seconds_left: Callable[[], float | None]
    deferred: Sequence[str] = ()

    def run(
        self, jobs: Sequence[J], run_wave: Callable[[list[J], int], Iterable[Measurement]], *, new: Sequence[str] = ()
    ) -> list[str]:
        """Run jobs by priority, as long as they can finish before the deadline.

        Args:
            jobs: Jobs to run, one per category.
            run_wave: Function that runs the jobs of a wave; its second argument is the number of the wave, from 1. It
                returns those measurements that are representative of later runs.
            new: Categories without a model; they come after the deferred categories and before all others.

        Returns:
            Names of the categories that were not run because of the deadline, by priority.
        """
        by_category = {job.category: job for job in jobs}
        waiting = by_importance(list(by_category), self.deferred, new)
        number = 0
        while waiting:
            images = {category: by_category[category].n_images for category in waiting}
            chosen = [by_category[name] for name in affordable(self.costs, self.task, images, self.seconds_left())]
            if not chosen:
                break
            wave = cut_waves(chosen, [job.scratch_bytes for job in chosen], self.scratch_bytes)[0]
            number += 1
            for measurement in run_wave(wave, number):
                self.costs.note(self.task, measurement.seconds, measurement.images)
            self.costs.write(self.store)
            done = {job.category for job in wave}
            waiting = [category for category in waiting if category not in done]
        return waiting
