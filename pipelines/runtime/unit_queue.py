"""The queue from which the workers of Ray Train take units: trainings, named by category and backbone.

The classes have their own module because the process of the actor imports it and should import little else (PyTorch
takes 0.7 GB).
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
    """The result of training the adapter of a unit.

    Attributes:
        unit: Category and backbone.
        schedule: Schedule of the training, as stored in run.json.
        last_loss: Loss of the last step; None if nothing was trained.
        seconds: Wall time in seconds.
        peak_bytes: Peak resident memory of the process, in bytes.
        error: Error in one line; None if the training succeeded.
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
        held: Rank of a worker -> unit that it trains.
        lost: Unit -> number of times that the worker group ended while a worker trained the unit.
        done: Results in the order in which the units finished.
    """

    held: dict[int, tuple[str, str]]
    lost: Counter[tuple[str, str]]
    done: list[FitResult]


class UnitQueue:
    """A queue that gives units to workers, largest first, and takes back the units of dead workers.

    When a worker group is restarted, each worker first calls `join`. The unit that its rank held when the group ended
    is not finished and returns to the queue, and so do the units of ranks that a smaller group no longer has. The queue
    cannot know which of these units ended the group. Therefore units that were lost twice come last, and one at a time.
    A unit that is lost more than `retries` times fails.

    The process of the queue can also die, even during a call. The queue then resumes from the file that holds its
    state. A call that is repeated has no further effect.
    """

    def __init__(self, sizes: Mapping[tuple[str, str], int], store: Store, name: str, retries: int) -> None:
        """Create a queue, or resume one that died.

        Args:
            sizes: Unit -> number of images that it is fitted on.
            store: Store that holds the file with the state of the queue.
            name: Name of the file. If the file exists, the queue resumes from it.
            retries: Number of retries of a unit that is lost, 0 or more.
        """
        self._sizes, self._store, self._name, self._retries = sizes, store, name, retries

    @cached_property
    def _state(self) -> _State:
        """State of the queue. It is read on first use because Ray does not restart an actor whose constructor fails."""
        stored = self._store.read_json(self._name) or {"held": [], "lost": [], "done": []}
        held = {rank: (unit[0], unit[1]) for rank, unit in stored["held"]}
        lost = Counter({(unit[0], unit[1]): times for unit, times in stored["lost"]})
        done = [FitResult(**{**result, "unit": tuple(result["unit"])}) for result in stored["done"]]
        return _State(held, lost, done)

    def join(self, rank: int, size: int) -> None:
        """Take back the units that were held by the previous worker of a rank and by ranks that no longer exist.

        Args:
            rank: Rank of the worker that starts.
            size: Number of workers in its group.
        """
        state = self._state
        for dead in [holder for holder in state.held if holder == rank or holder >= size]:
            unit = state.held.pop(dead)
            state.lost[unit] += 1
            if state.lost[unit] > self._retries:
                error = f"The training process died in all {state.lost[unit]} attempts."
                state.done.append(FitResult(unit, error=error))
        self._store_state()

    def take(self, rank: int) -> tuple[str, str] | None:
        """Return the unit that a worker holds; if it holds none, give it the next unit.

        Args:
            rank: Rank of the worker.

        Returns:
            Category and backbone; None if there is no unit for the worker.
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
        if waiting <= suspects and held:  # a worker that holds a unit will take the suspects later
            return None
        return min(waiting, key=lambda unit: (unit in suspects, -self._sizes[unit], unit), default=None)

    def finish(self, rank: int, result: FitResult) -> None:
        """Store the result of the unit that a worker holds.

        Args:
            rank: Rank of the worker.
            result: Result of the unit; ignored if the worker does not hold the unit.
        """
        state = self._state
        if state.held.get(rank) == result.unit:
            del state.held[rank]
            state.done.append(result)
            self._store_state()

    def done(self) -> list[FitResult]:
        """Return the results so far, in the order in which the units finished."""
        return list(self._state.done)

    def _store_state(self) -> None:
        # If the disk is full or the store is unavailable, the state is kept in memory only and the training continues.
        with suppress(OSError):
            state = {
                "held": list(self._state.held.items()),
                "lost": list(self._state.lost.items()),
                "done": [asdict(result) for result in self._state.done],
            }
            self._store.write_json(self._name, state)
