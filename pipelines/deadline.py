"""What can be finished before a deadline, by what earlier nights have cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from pipelines.storage import Store
from pipelines.usage import UsageError

COSTS = "costs.json"
LEARN, JUDGE = "learn", "judge"
_CAUTION = 1.25  # nights differ: other work on the machine, colder caches


@dataclass
class Costs:
    """Wall seconds and images of each category, when it was last learned and last judged.

    A wave's seconds are shared out by images, its start-up included.
    """

    found: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    @classmethod
    def read(cls, store: Store) -> Costs:
        """What earlier nights have left; where that is damaged, nothing is known."""
        found = cls()
        try:
            for what, rows in (store.read_json(COSTS) or {}).items():
                for name, (seconds, images) in rows.items():
                    if seconds >= 0 and images > 0:
                        found.found.setdefault(what, {})[name] = (float(seconds), int(images))
        except (ValueError, TypeError, AttributeError, OverflowError):
            return cls()
        return found

    def write(self, store: Store) -> None:
        """Where `read` finds it."""
        store.write_json(COSTS, self.found)

    def note(self, what: str, seconds: float, images: Mapping[str, int]) -> None:
        """A wave's seconds, and the images of its categories."""
        total = sum(images.values())
        for category, n in images.items():
            if n:
                self.found.setdefault(what, {})[category] = (seconds * n / total, n)

    def predict(self, what: str, category: str, images: int) -> float | None:
        """Seconds that a category will take; that of the median category an image where it is new, None where all are.

        Small categories cost more an image than large ones, so the median errs on the side of caution.
        """
        known = self.found.get(what, {})
        if category in known:
            seconds, before = known[category]
            return _CAUTION * seconds * max(1.0, images / before)
        if not known:
            return None
        return _CAUTION * images * median(seconds / n for seconds, n in known.values())


def affordable(costs: Costs, what: str, images: Mapping[str, int], seconds_left: float | None) -> tuple[str, ...]:
    """Of the categories in order, those that can be finished in the seconds that are left.

    Where no cost is known at all, one is tried, the smallest, and tells of the others.

    Args:
        images: how many each has; the order is the order of importance.
        seconds_left: None without a deadline: all are started.
    """
    names = tuple(images)
    if seconds_left is None:
        return names
    now: list[str] = []
    for name in names:
        predicted = costs.predict(what, name, images[name])
        if predicted is None and seconds_left > 0:
            return (min(names, key=lambda each: (images[each], each)),)
        if predicted is not None and predicted <= seconds_left:
            now.append(name)
            seconds_left -= predicted
    return tuple(now)


def next_time(clock: str, now: datetime) -> datetime:
    """The next moment at which clocks show HH:MM.

    Args:
        now: local time, naive: between two nights clocks may be changed.

    Raises:
        UsageError: it is no time of day.
    """
    try:
        hour, minute = (int(part) for part in clock.split(":"))
        at = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    except ValueError:
        raise UsageError(f"--deadline {clock}: give a time of day such as 06:00.") from None
    return (at if at > now else at + timedelta(days=1)).astimezone()


def by_importance(categories: Sequence[str], deferred: Sequence[str], new: Sequence[str]) -> list[str]:
    """What was put off last night first, then what has no model yet, then the others; each in the order given."""
    return sorted(categories, key=lambda name: (name not in deferred, name not in new))
