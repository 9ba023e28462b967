"""The queue that Ray Train's workers pull their units from.

A module of its own, since the actor's process imports it and should import nothing else: PyTorch is 0.7 GB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Fitted:
    """What became of a unit's adapter: its schedule and cost, or the error that ended it."""

    unit: tuple[str, str]
    schedule: dict[str, Any] = field(default_factory=dict)
    last_loss: float | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    error: str | None = None


class UnitQueue:
    """Hands units to workers by name, largest first, and takes back what a dead worker held.

    A worker of a group that was restarted says `join` first: what its rank had in hand when the group ended was never
    finished, nor was what ranks had that the group, now smaller, has no more. It goes to the front of the queue again.

    Args:
        sizes: a unit's name, (category, backbone) → how many images it is fitted on.
    """

    def __init__(self, sizes: Mapping[tuple[str, str], int]) -> None:
        self._waiting = sorted(sizes, key=lambda name: (-sizes[name], name))
        self._held: dict[int, tuple[str, str]] = {}
        self._done: list[Fitted] = []

    def join(self, rank: int, size: int) -> None:
        """A worker begins, in a group of that size."""
        for lost in [held for held in self._held if held == rank or held >= size]:
            self._waiting.insert(0, self._held.pop(lost))

    def take(self, rank: int) -> tuple[str, str] | None:
        """The next unit's name; None where none is waiting."""
        if not self._waiting:
            return None
        self._held[rank] = self._waiting.pop(0)
        return self._held[rank]

    def finish(self, rank: int, fitted: Fitted) -> None:
        """What became of the unit that a worker had in hand."""
        self._held.pop(rank, None)
        self._done.append(fitted)

    def done(self) -> list[Fitted]:
        """What has been finished, in the order of finishing."""
        return list(self._done)
