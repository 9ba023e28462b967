"""Progress reports of Ray tasks to the driver.

A module of its own, because the actor's process imports it and should import nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any


class ProgressActor:
    """An actor that collects the progress of Ray tasks."""

    def __init__(self) -> None:
        self._shares: dict[Any, float] = {}

    def report(self, name: Any, share: float) -> None:
        """Set the progress of a task.

        Args:
            name: of the task.
            share: of its work that is done, 0 to 1.
        """
        self._shares[name] = share

    def reached(self, finished: Sequence[Any]) -> float:
        """Return how many tasks are done, with the shares of the running ones.

        Args:
            finished: names of the finished tasks.
        """
        return len(finished) + sum(share for name, share in self._shares.items() if name not in finished)


class ProgressReporter:
    """Reports a task's progress to a `ProgressActor`, at most twice a second; travels to the task."""

    def __init__(self, actor: Any, name: Any) -> None:
        """Report to an actor.

        Args:
            actor: handle of a `ProgressActor`.
            name: of the task.
        """
        self._actor, self._name = actor, name
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Report the progress; called in the task after each step.

        Args:
            done: steps that are done.
            total: steps of the task.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.5
            self._actor.report.remote(self._name, done / total)
