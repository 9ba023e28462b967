"""Progress reports from Ray tasks to the driver.

The classes have their own module because the process of the actor imports it and should import nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any


class ProgressActor:
    """A class for a Ray actor that collects the progress of tasks."""

    def __init__(self) -> None:
        self._shares: dict[Any, float] = {}

    def report(self, name: Any, share: float) -> None:
        """Set the progress of a task.

        Args:
            name: Name of the task.
            share: Share of the task's work that is done, 0 to 1.
        """
        self._shares[name] = share

    def reached(self, finished: Sequence[Any]) -> float:
        """Return the number of finished tasks plus the shares of the running tasks.

        Args:
            finished: Names of the finished tasks.
        """
        return len(finished) + sum(share for name, share in self._shares.items() if name not in finished)


class ProgressReporter:
    """A callable that reports the progress of a task to a `ProgressActor`, at most twice per second.

    It is sent to the Ray task, and called there after each step.
    """

    def __init__(self, actor: Any, name: Any) -> None:
        """Create a reporter for a task.

        Args:
            actor: Handle of an actor of the class `ProgressActor`.
            name: Name of the task.
        """
        self._actor, self._name = actor, name
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Report the progress, unless the last report is less than half a second old.

        Args:
            done: Number of finished steps.
            total: Number of steps of the task, at least 1.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.5
            self._actor.report.remote(self._name, done / total)
