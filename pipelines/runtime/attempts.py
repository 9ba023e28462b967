"""A limit of retries for work that can kill its process, so that such work fails alone.

The classes have their own module because the process of the actor imports it and should import little else.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import ray


class AttemptCounter:
    """A class for a Ray actor that counts the attempts at each piece of work."""

    def __init__(self) -> None:
        self._attempts: Counter[Any] = Counter()

    def begin(self, work: Any) -> int:
        """Count an attempt.

        Args:
            work: Hashable name of the piece of work.

        Returns:
            The number of attempts at this piece of work, including this one.
        """
        self._attempts[work] += 1
        return self._attempts[work]


class RetryLimit:
    """A callable that counts attempts and enforces a limit of retries.

    It is sent to the Ray task that does the work, and called there at the start of each attempt.
    """

    def __init__(self, attempts: Any, retries: int) -> None:
        """Create the limit.

        Args:
            attempts: Handle of an actor of the class `AttemptCounter`.
            retries: Number of allowed attempts after the first, 0 or more.
        """
        self._attempts, self._retries = attempts, retries

    def __call__(self, work: Any) -> str:
        """Count an attempt.

        Args:
            work: Hashable name of the piece of work.

        Returns:
            An empty text if the attempt may proceed, else the reason why the work is abandoned.
        """
        if ray.get(self._attempts.begin.remote(work)) <= 1 + self._retries:
            return ""
        return f"The process died in all {1 + self._retries} attempts."
