"""Estimates of which categories can be finished before a deadline, from the wall times of earlier nightly runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from pipelines.errors import UsageError
from pipelines.nightly.steps import NightTask
from pipelines.storage.store import Store

COSTS = "costs.json"
_CAUTION = 1.25  # safety factor: other processes on the machine or cold caches make a run slower than earlier ones


class Cost(NamedTuple):
    """Wall time of a category when it was last trained or scored.

    Attributes:
        seconds: Wall time in seconds, including the start-up.
        images: Number of images, at least 1.
    """

    seconds: float
    images: int


@dataclass
class Costs:
    """Costs of the categories in earlier nightly runs, stored in costs.json of the work folder.

    Attributes:
        measured: task -> category -> cost. The wall time of a wave is divided among its categories in proportion to
            their images.
    """

    measured: dict[str, dict[str, Cost]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> Costs:
        """Read costs.json.

        Args:
            store: Work folder of the registry.

        Returns:
            The costs of earlier runs; empty if the file is missing or damaged.
        """
        costs = cls()
        try:
            for task, rows in (store.read_json(COSTS) or {}).items():
                for category, (seconds, images) in rows.items():
                    if seconds >= 0 and images > 0:
                        costs.measured.setdefault(task, {})[category] = Cost(float(seconds), int(images))
        except (ValueError, TypeError, AttributeError, OverflowError):
            return cls()
        return costs

    def write(self, store: Store) -> None:
        """Write costs.json.

        Args:
            store: Work folder of the registry.
        """
        store.write_json(COSTS, self.measured)

    def note(self, task: NightTask, seconds: float, images: Mapping[str, int]) -> None:
        """Record the cost of each category of a wave; a category without images is skipped.

        Args:
            task: Task that the wave performed.
            seconds: Wall time of the wave in seconds. It is divided among the categories in proportion to their
                images.
            images: category -> number of its images.
        """
        total = sum(images.values())
        for category, count in images.items():
            if count:
                self.measured.setdefault(task, {})[category] = Cost(seconds * count / total, count)

    def predict(self, task: NightTask, category: str, images: int) -> float | None:
        """Estimate the wall time of a category.

        A category that has not been measured is assumed to have the median cost per image of the others. Small
        categories cost more per image than large ones, so this estimate tends to be too high.

        Args:
            task: Task that is to be performed.
            category: Name of the category.
            images: Current number of images of the category.

        Returns:
            Estimate in seconds, including a safety factor; None if no category has a cost for this task.
        """
        known = self.measured.get(task, {})
        if category in known:
            last = known[category]
            return _CAUTION * last.seconds * max(1.0, images / last.images)
        if not known:
            return None
        return _CAUTION * images * median(cost.seconds / cost.images for cost in known.values())


def affordable(costs: Costs, task: NightTask, images: Mapping[str, int], seconds_left: float | None) -> tuple[str, ...]:
    """Return the categories that can be finished before the deadline.

    If no cost is known for the task, only the category with the fewest images is returned. Once it has been measured,
    the others can be estimated.

    Args:
        costs: Costs of earlier runs and waves.
        task: Task that is to be performed.
        images: category -> number of its images, by priority.
        seconds_left: Seconds until the deadline; None without a deadline.

    Returns:
        Names of the categories, in the order given. A category that does not fit is skipped, and its time is available
        to those after it. Without a deadline, all categories.
    """
    categories = tuple(images)
    if seconds_left is None:
        return categories
    chosen: list[str] = []
    for category in categories:
        predicted = costs.predict(task, category, images[category])
        if predicted is None and seconds_left > 0:
            return (min(categories, key=lambda name: (images[name], name)),)
        if predicted is not None and predicted <= seconds_left:
            chosen.append(category)
            seconds_left -= predicted
    return tuple(chosen)


def next_time(clock: str, now: datetime) -> datetime:
    """Return the next point in time at which local clocks show a given time of day.

    Args:
        clock: Time of day, HH:MM on the 24-hour clock.
        now: Current local time without a time zone, because the offset from UTC may change before the deadline
            (daylight saving time).

    Returns:
        The first such time after `now`, with the local time zone.

    Raises:
        UsageError: `clock` is not a time of day.
    """
    try:
        hour, minute = (int(part) for part in clock.split(":"))
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError:
        raise UsageError(f"--deadline {clock}: not a time of day. Give HH:MM, for example 06:00.") from None
    return (at if at > now else at + timedelta(days=1)).astimezone()


def by_importance(categories: Sequence[str], deferred: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return categories sorted by priority: deferred ones, then those without a model, then the others.

    Args:
        categories: Names of the categories; the order is kept among categories of the same priority.
        deferred: Categories that the previous run deferred.
        new: Categories without a model.
    """
    return sorted(categories, key=lambda name: (name not in deferred, name not in new))
