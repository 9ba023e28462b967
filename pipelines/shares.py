"""How Ray tasks tell the driver how far they are.

A module of its own, since the actor's process imports it and should import nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any


class Shares:
    """An actor that Ray tasks tell how far they are."""

    def __init__(self) -> None:
        self._shares: dict[Any, float] = {}

    def tell(self, name: Any, share: float) -> None:
        """A task has done that share of its work, 0 to 1."""
        self._shares[name] = share

    def reached(self, finished: Sequence[Any]) -> float:
        """How many tasks are done: those that are finished, and the shares of those in hand."""
        return len(finished) + sum(share for name, share in self._shares.items() if name not in finished)


class Teller:
    """Called with (done, of) after every small step of a task, tells `Shares` twice a second; travels to the task."""

    def __init__(self, shares: Any, name: Any) -> None:
        self._shares, self._name = shares, name
        self._next = 0.0

    def __call__(self, done: int, of: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.5
            self._shares.tell.remote(self._name, done / of)
