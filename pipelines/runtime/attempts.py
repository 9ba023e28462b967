"""Limit of retries for work that may end its process: after some attempts it is given up, and nothing else with it.

A module of its own, because the actor's process imports it and should import little else.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import ray


class AttemptCounter:
    """An actor that counts the attempts at each piece of work."""

    def __init__(self) -> None:
        self._attempts: Counter[Any] = Counter()

    def begin(self, work: Any) -> int:
        """Count an attempt; return how many there were, this one included.

        Args:
            work: names the piece of work.
        """
        self._attempts[work] += 1
        return self._attempts[work]


class RetryLimit:
    """Decides whether work is given up. It is called when an attempt begins, and travels to the task that makes it."""

    def __init__(self, attempts: Any, retries: int) -> None:
        """Use a counter.

        Args:
            attempts: handle of an `AttemptCounter` actor.
            retries: attempts after the first.
        """
        self._attempts, self._retries = attempts, retries

    def __call__(self, work: Any) -> str:
        """Count an attempt; return why the work is given up, or an empty text where it is not.

        Args:
            work: names the piece of work.
        """
        if ray.get(self._attempts.begin.remote(work)) <= 1 + self._retries:
            return ""
        return f"The process that worked on it ended {1 + self._retries} times before it was done."
