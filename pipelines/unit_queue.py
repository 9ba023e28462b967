"""The queue that Ray Train's workers pull their units from.

A module of its own, since the actor's process imports it and should import little else: PyTorch is 0.7 GB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
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


@dataclass(frozen=True)
class _Accounts:
    """Rank → the unit that it has in hand, unit → how often it was lost, and what became of units."""

    held: dict[int, tuple[str, str]]
    lost: Counter[tuple[str, str]]
    done: list[Fitted]


class UnitQueue:
    """Hands units to workers by name, largest first, and takes back what a dead worker held.

    A worker of a group that was restarted says `join` first: what its rank had in hand when the group ended was never
    finished, nor was what ranks had that the group, now smaller, has no more: it waits again. Whether it has ended the
    group or was another's victim is not known, so what is lost twice comes last, and alone; lost once more than
    `retries`, it has failed.

    The queue's own process may die too, in the middle of an answer: begun anew it goes on from the file in which it
    keeps its accounts, and what is said to it twice counts once.

    Args:
        sizes: a unit's name, (category, backbone) → how many images it is fitted on.
        name: of the file in the store, which is there only where a queue has died.
        retries: of a unit that is lost.
    """

    def __init__(self, sizes: Mapping[tuple[str, str], int], store: Store, name: str, retries: int) -> None:
        self._sizes, self._store, self._name, self._retries = sizes, store, name, retries

    @cached_property
    def _accounts(self) -> _Accounts:
        """Read when they are first asked for: an actor that cannot be made is not made again."""
        kept = self._store.read_json(self._name) or {"held": [], "lost": [], "done": []}
        held = {rank: (unit[0], unit[1]) for rank, unit in kept["held"]}
        lost = Counter({(unit[0], unit[1]): times for unit, times in kept["lost"]})
        done = [Fitted(**{**each, "unit": tuple(each["unit"])}) for each in kept["done"]]
        return _Accounts(held, lost, done)

    def join(self, rank: int, size: int) -> None:
        """A worker begins, in a group of that size."""
        accounts = self._accounts
        for dead in [held for held in accounts.held if held == rank or held >= size]:
            unit = accounts.held.pop(dead)
            accounts.lost[unit] += 1
            if accounts.lost[unit] > self._retries:
                error = f"The process that trained it ended {accounts.lost[unit]} times before it was done."
                accounts.done.append(Fitted(unit, error=error))
        self._keep()

    def take(self, rank: int) -> tuple[str, str] | None:
        """The next unit's name, or that of the one that the rank has in hand; None where none is for it."""
        accounts = self._accounts
        if rank not in accounts.held:
            unit = self._next()
            if unit is None:
                return None
            accounts.held[rank] = unit
            self._keep()
        return accounts.held[rank]

    def _next(self) -> tuple[str, str] | None:
        accounts = self._accounts
        held = accounts.held.values()
        waiting = self._sizes.keys() - held - {fitted.unit for fitted in accounts.done}
        suspects = {unit for unit in self._sizes if accounts.lost[unit] > 1}
        if waiting <= suspects and held:  # whoever holds one takes the suspects when it has done with it
            return None
        return min(waiting, key=lambda unit: (unit in suspects, -self._sizes[unit], unit), default=None)

    def finish(self, rank: int, fitted: Fitted) -> None:
        """What became of the unit that a worker had in hand."""
        accounts = self._accounts
        if accounts.held.get(rank) == fitted.unit:
            del accounts.held[rank]
            accounts.done.append(fitted)
            self._keep()

    def done(self) -> list[Fitted]:
        """What has been finished, in the order of finishing."""
        return list(self._accounts.done)

    def _keep(self) -> None:
        # On a full disk, or of a store that is out, the accounts are in memory alone: no reason to end a training.
        with suppress(OSError):
            told = {
                "held": list(self._accounts.held.items()),
                "lost": list(self._accounts.lost.items()),
                "done": [asdict(fitted) for fitted in self._accounts.done],
            }
            self._store.write_json(self._name, told)
