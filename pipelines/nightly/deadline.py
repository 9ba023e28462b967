"""What can be finished before a deadline, estimated from what earlier nightly runs took."""

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
_CAUTION = 1.25  # runs differ: other work on the machine, colder caches


class Cost(NamedTuple):
    """What a category took when it was last trained or scored.

    Attributes:
        seconds: wall time, the start-up included.
        images: how many images there were, at least 1.
    """

    seconds: float
    images: int


@dataclass
class Costs:
    """What categories took in earlier nightly runs, in costs.json of the work folder.

    Attributes:
        measured: task -> category -> cost. The seconds of a wave are divided among its categories by images.
    """

    measured: dict[str, dict[str, Cost]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> Costs:
        """Return the costs that earlier runs left; none where the file is damaged.

        Args:
            store: the work folder.
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
            store: the work folder.
        """
        store.write_json(COSTS, self.measured)

    def note(self, task: NightTask, seconds: float, images: Mapping[str, int]) -> None:
        """Divide the seconds of a wave among its categories.

        Args:
            task: what was done.
            seconds: wall time of the wave.
            images: category -> number of its images.
        """
        total = sum(images.values())
        for category, count in images.items():
            if count:
                self.measured.setdefault(task, {})[category] = Cost(seconds * count / total, count)

    def predict(self, task: NightTask, category: str, images: int) -> float | None:
        """Return the seconds that a category will take; None where nothing is known of any category.

        A category without a cost gets the median cost per image of the others. Small categories cost more per image
        than large ones, so that the median is rather too high.

        Args:
            task: what will be done.
            category: the category.
            images: how many images it has now.
        """
        known = self.measured.get(task, {})
        if category in known:
            last = known[category]
            return _CAUTION * last.seconds * max(1.0, images / last.images)
        if not known:
            return None
        return _CAUTION * images * median(cost.seconds / cost.images for cost in known.values())


def affordable(costs: Costs, task: NightTask, images: Mapping[str, int], seconds_left: float | None) -> tuple[str, ...]:
    """Return those categories that can be finished in the time that is left, in the order given.

    Where no cost is known at all, only the smallest is returned: what it takes shows how long the others will take.

    Args:
        costs: of earlier runs and waves.
        task: what is to be done.
        images: category -> number of its images, the most important category first.
        seconds_left: until the deadline; None without a deadline, which affords all.
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
    """Return the next moment at which clocks show a time of day.

    Args:
        clock: HH:MM.
        now: local time without a time zone, since clocks may be changed between two nights.

    Raises:
        UsageError: `clock` is no time of day.
    """
    try:
        hour, minute = (int(part) for part in clock.split(":"))
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError:
        raise UsageError(f"--deadline {clock}: give a time of day such as 06:00.") from None
    return (at if at > now else at + timedelta(days=1)).astimezone()


def by_importance(categories: Sequence[str], deferred: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return categories in the order in which they are done; those of equal importance stay in the order given.

    Args:
        categories: what is to be done.
        deferred: those that the last run deferred: they are first.
        new: those without a model: they are next.
    """
    return sorted(categories, key=lambda name: (name not in deferred, name not in new))
