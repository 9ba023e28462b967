"""The queue of a nightly run: categories in order of importance, in waves that can be finished before the deadline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pipelines.nightly.deadline import Costs, affordable, by_importance
from pipelines.nightly.steps import NightTask
from pipelines.planning.plan import cut_waves
from pipelines.storage.store import Store


class BudgetedJob(Protocol):
    """What is done for one category."""

    @property
    def category(self) -> str:
        """The category."""

    @property
    def n_images(self) -> int:
        """How many images it has: its share of a wave's cost."""

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the features that have to exist at the same time."""


J = TypeVar("J", bound=BudgetedJob)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What some categories took.

    Attributes:
        seconds: wall time of all of them.
        images: category -> number of its images.
    """

    seconds: float
    images: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class BudgetedQueue:
    """Does jobs in waves for as long as the time and the scratch space last.

    Attributes:
        task: what is done with the categories.
        costs: of earlier runs; what the waves take is added.
        store: the folder that the costs are written to after each wave.
        scratch_bytes: how many bytes the jobs of a wave may take together; a larger job is a wave of its own.
        seconds_left: returns the seconds until the deadline, None without one; asked before each wave.
        deferred: categories that the last run deferred.
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
        """Do jobs, the most important first.

        Args:
            jobs: one a category.
            run_wave: does the jobs of a wave, given with its number (1 is the first), and returns what they took, as
                far as that says what they will take the next time.
            new: categories without a model, which are more important than others.

        Returns:
            The categories for which no time was left, in the order of importance.
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
