"""The queue that Ray Train's workers pull their units from.

A module of its own, since the actor's process imports it and should import little else: PyTorch is 0.7 GB.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelines.storage import Store


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

    The queue's own process may die too, in the middle of an answer: begun anew it goes on from the file in which it
    keeps its accounts, and what is said to it twice counts once.

    Args:
        sizes: a unit's name, (category, backbone) → how many images it is fitted on.
        name: of the file in the store, which is there only where a queue has died.
    """

    def __init__(self, sizes: Mapping[tuple[str, str], int], store: Store, name: str) -> None:
        self._store, self._name = store, name
        kept = store.read_json(name) or {"held": [], "done": []}
        self._held: dict[int, tuple[str, str]] = {rank: (unit[0], unit[1]) for rank, unit in kept["held"]}
        self._done = [Fitted(**{**each, "unit": tuple(each["unit"])}) for each in kept["done"]]
        left = sizes.keys() - self._held.values() - {fitted.unit for fitted in self._done}
        self._waiting = sorted(left, key=lambda unit: (-sizes[unit], unit))

    def join(self, rank: int, size: int) -> None:
        """A worker begins, in a group of that size."""
        for lost in [held for held in self._held if held == rank or held >= size]:
            self._waiting.insert(0, self._held.pop(lost))
        self._keep()

    def take(self, rank: int) -> tuple[str, str] | None:
        """The next unit's name, or that of the one that the rank has in hand; None where none is waiting."""
        if rank not in self._held:
            if not self._waiting:
                return None
            self._held[rank] = self._waiting.pop(0)
            self._keep()
        return self._held[rank]

    def finish(self, rank: int, fitted: Fitted) -> None:
        """What became of the unit that a worker had in hand."""
        if self._held.get(rank) == fitted.unit:
            del self._held[rank]
            self._done.append(fitted)
            self._keep()

    def done(self) -> list[Fitted]:
        """What has been finished, in the order of finishing."""
        return list(self._done)

    def _keep(self) -> None:
        # On a full disk, or of a store that is out, the accounts are in memory alone: no reason to end a training.
        with suppress(OSError):
            self._store.write_json(
                self._name, {"held": list(self._held.items()), "done": [asdict(fitted) for fitted in self._done]}
            )
