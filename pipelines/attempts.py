"""How often a piece of work has been begun: what ends its process every time is given up, and nothing else with it.

A module of its own, since the actor's process imports it and should import little else.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import ray


class Attempts:
    """An actor that counts how often each piece of work has been begun."""

    def __init__(self) -> None:
        self._begun: Counter[Any] = Counter()

    def begin(self, work: Any) -> int:
        """How often it has been begun, with this time."""
        self._begun[work] += 1
        return self._begun[work]


class GiveUp:
    """Called when a piece of work begins, says in a sentence that its process has ended over it too often; an empty one
    where it has not. Travels to the task.

    Args:
        attempts: the actor.
        retries: after the first attempt.
    """

    def __init__(self, attempts: Any, retries: int) -> None:
        self._attempts, self._retries = attempts, retries

    def __call__(self, work: Any) -> str:
        if ray.get(self._attempts.begin.remote(work)) <= 1 + self._retries:
            return ""
        return f"The process that worked on it ended {1 + self._retries} times before it was done."
