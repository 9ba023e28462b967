"""The queue from which Ray Train's workers pull units: member jobs, named by category and backbone.

A module of its own, because the actor's process imports it and should import little else: PyTorch takes 0.7 GB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from pipelines.storage.store import Store


@dataclass(frozen=True)
class FitResult:
    """The result of training a unit's adapter.

    Attributes:
        unit: category and backbone.
        schedule: of the training, as run.json shows it.
        last_loss: of the training.
        seconds: wall time.
        peak_bytes: highest resident size of the process.
        error: one line; None where the training succeeded.
    """

    unit: tuple[str, str]
    schedule: dict[str, Any] = field(default_factory=dict)
    last_loss: float | None = None
    seconds: float = 0.0
    peak_bytes: int = 0
    error: str | None = None


@dataclass(frozen=True)
class _State:
    """The state of a queue.

    Attributes:
        held: rank of a worker -> the unit that it trains.
        lost: unit -> how often the group ended while a worker trained it.
        done: results, in the order of finishing.
    """

    held: dict[int, tuple[str, str]]
    lost: Counter[tuple[str, str]]
    done: list[FitResult]


class UnitQueue:
    """Gives units to workers, largest first, and takes back those of dead workers.

    Each worker of a restarted group calls `join` first: the unit that its rank held when the group ended was not
    finished, and waits again. So do the units of ranks that the group, now smaller, no longer has. Which of them has
    ended the group is not known, so units that were lost twice come last and one at a time; lost more often than
    `retries`, a unit has failed.

    The queue's process may die as well, in the middle of a call. It resumes from the file that holds its state, and a
    call that is repeated counts once.
    """

    def __init__(self, sizes: Mapping[tuple[str, str], int], store: Store, name: str, retries: int) -> None:
        """Create a queue, or resume one that died.

        Args:
            sizes: unit -> number of images that it is fitted on.
            store: the folder of the state's file.
            name: of the file, which exists already only where a queue has died.
            retries: of a unit that is lost.
        """
        self._sizes, self._store, self._name, self._retries = sizes, store, name, retries

    @cached_property
    def _state(self) -> _State:
        """The state, read on first use: Ray does not restart an actor whose constructor fails."""
        stored = self._store.read_json(self._name) or {"held": [], "lost": [], "done": []}
        held = {rank: (unit[0], unit[1]) for rank, unit in stored["held"]}
        lost = Counter({(unit[0], unit[1]): times for unit, times in stored["lost"]})
        done = [FitResult(**{**result, "unit": tuple(result["unit"])}) for result in stored["done"]]
        return _State(held, lost, done)

    def join(self, rank: int, size: int) -> None:
        """Take back what a worker's predecessors held.

        Args:
            rank: of the worker, which begins.
            size: of its group.
        """
        state = self._state
        for dead in [holder for holder in state.held if holder == rank or holder >= size]:
            unit = state.held.pop(dead)
            state.lost[unit] += 1
            if state.lost[unit] > self._retries:
                error = f"The process that trained it ended {state.lost[unit]} times before it was done."
                state.done.append(FitResult(unit, error=error))
        self._store_state()

    def take(self, rank: int) -> tuple[str, str] | None:
        """Return the unit that a worker holds, or else the next one, which it then holds; None where there is none.

        Args:
            rank: of the worker.
        """
        state = self._state
        if rank not in state.held:
            unit = self._next()
            if unit is None:
                return None
            state.held[rank] = unit
            self._store_state()
        return state.held[rank]

    def _next(self) -> tuple[str, str] | None:
        state = self._state
        held = state.held.values()
        waiting = self._sizes.keys() - held - {result.unit for result in state.done}
        suspects = {unit for unit in self._sizes if state.lost[unit] > 1}
        if waiting <= suspects and held:  # a worker that holds a unit takes the suspects afterwards
            return None
        return min(waiting, key=lambda unit: (unit in suspects, -self._sizes[unit], unit), default=None)

    def finish(self, rank: int, result: FitResult) -> None:
        """Store the result of the unit that a worker holds.

        Args:
            rank: of the worker.
            result: of any other unit it is ignored.
        """
        state = self._state
        if state.held.get(rank) == result.unit:
            del state.held[rank]
            state.done.append(result)
            self._store_state()

    def done(self) -> list[FitResult]:
        """Return the results so far, in the order of finishing."""
        return list(self._state.done)

    def _store_state(self) -> None:
        # On a full disk, or with an unavailable store, the state is in memory only: no reason to end a training.
        with suppress(OSError):
            state = {
                "held": list(self._state.held.items()),
                "lost": list(self._state.lost.items()),
                "done": [asdict(result) for result in self._state.done],
            }
            self._store.write_json(self._name, state)
