"""What a nightly run leaves for the next one: run.json in the work folder of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.config.nightly_options import NightOptions
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.nightly.steps import NightTask
from pipelines.storage.paths import RUN
from pipelines.storage.redaction import redact
from pipelines.storage.store import Store
from pipelines.tracking.run_record import RunStatus

INTERRUPTED = (RunStatus.RUNNING, RunStatus.INTERRUPTED)  # a killed run stays RUNNING


@dataclass(frozen=True, kw_only=True)
class NightScope:
    """Which images a nightly run scores, how they are read, and where the scores are.

    Attributes:
        run_id: of the run; its scores are in a folder of that name.
        scores: the folder above that one.
        images: the root of the new images, without credentials.
        bit_depth: of `--bit-depth`.
        categories: those that were asked for; empty for all.
    """

    run_id: str = ""
    scores: str
    images: str
    bit_depth: int
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: NightOptions, config: RunConfig, run_id: str = "") -> NightScope:
        """Return what a nightly run is asked for.

        Args:
            options: of the run.
            config: of the run.
            run_id: of the run, where it is known.
        """
        return cls(
            run_id=run_id,
            scores=Store.of(options.scores).uri,
            images=redact(options.images or config.data),
            bit_depth=config.bit_depth,
            categories=config.categories,
        )

    @classmethod
    def from_json(cls, stored: Any) -> NightScope | None:
        """Return a stored scope; None where something else was stored.

        Args:
            stored: an object with the names of the fields.
        """
        try:
            return cls(
                run_id=stored["run_id"],
                scores=stored["scores"],
                images=stored["images"],
                bit_depth=stored["bit_depth"],
                categories=tuple(stored["categories"]),
            )
        except (TypeError, LookupError):
            return None

    def to_json(self) -> dict[str, Any]:
        """Return the scope as it is stored."""
        return {**vars(self), "categories": list(self.categories)}

    def is_same_work(self, other: NightScope | None) -> bool:
        """Return whether another run was asked for the same: an interrupted one is resumed then.

        Args:
            other: the scope of that run.
        """
        return other is not None and replace(self, run_id="") == replace(other, run_id="")

    def has_same_images(self, other: NightScope) -> bool:
        """Return whether another run scored images of the same root, read the same way, into the same folder.

        Args:
            other: the scope of that run.
        """
        return (self.scores, self.images, self.bit_depth) == (other.scores, other.images, other.bit_depth)


@dataclass(frozen=True, kw_only=True)
class NightInfo:
    """State of a nightly run, of which the next run reads what it continues. All defaults: no run is known.

    Attributes:
        run_id: of the run.
        status: how far the run is.
        started_at: UTC in ISO 8601.
        data: the root of the training images, without credentials, for `known_images`.
        bit_depth: of `--bit-depth`, for `known_images`.
        scope: what the run was asked for.
        deferred: task -> categories for which no time was left, of the last run that came to its end.
        finished: scopes of the runs that came to their end and whose scores the next run may take over, the newest
            first: one for all categories, or one for each selection of them.
    """

    run_id: str = ""
    status: RunStatus | None = None
    started_at: str = ""
    data: str = ""
    bit_depth: int | None = None
    scope: NightScope | None = None
    deferred: Mapping[NightTask, tuple[str, ...]] = field(default_factory=dict)
    finished: tuple[NightScope, ...] = ()

    @classmethod
    def read(cls, work: Store) -> NightInfo:
        """Read run.json of a registry's work folder; all defaults where there is none.

        Args:
            work: the work folder.

        Raises:
            UsageError: the file is damaged or another program's.
        """
        stored = work.read_json(RUN)
        if stored is None:
            return cls()
        try:
            return cls.from_json(stored)
        except ValueError as error:
            raise UsageError(f"{work.below(RUN).uri}: is damaged ({error}).") from error

    @classmethod
    def from_json(cls, stored: Any) -> NightInfo:
        """Return the state that `to_json` stored. Scopes that cannot be read are left out.

        Args:
            stored: run.json, of any version.

        Raises:
            ValueError: it is no run's, or a list of names is none.
        """
        kinds = {"run_id": str, "status": str, "config": dict}
        if not isinstance(stored, dict) or not all(isinstance(stored.get(name), kind) for name, kind in kinds.items()):
            raise ValueError("it must have run_id, status and config")
        deferred = stored.get("deferred") or {}
        status = RunStatus(stored["status"])
        try:
            scopes = [NightScope.from_json(scope) for scope in stored.get("finished") or ()]
            lists = {task: tuple(deferred.get(task, ())) for task in NightTask}
        except (TypeError, AttributeError):
            raise ValueError("'finished' and 'deferred' must hold lists") from None
        return cls(
            run_id=stored["run_id"],
            status=status,
            started_at=str(stored.get("started_at", "")),
            data=str(stored["config"].get("data", "")),
            bit_depth=stored["config"].get("bit_depth"),
            scope=NightScope.from_json(stored.get("place")),
            deferred=lists,
            finished=tuple(scope for scope in scopes if scope is not None),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the state as run.json holds it."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "started_at": self.started_at,
            "config": {"data": self.data, "bit_depth": self.bit_depth},
            "place": None if self.scope is None else self.scope.to_json(),
            "deferred": {task: list(self.deferred.get(task, ())) for task in NightTask},
            "finished": [scope.to_json() for scope in self.finished],
        }

    def last_finished(self, categories: tuple[str, ...]) -> NightScope | None:
        """Return the scope of the last run for the same categories that came to its end, else for all of them.

        Args:
            categories: that this run was asked for; empty for all.
        """
        same = [scope for scope in self.finished if scope.categories == categories]
        of_all = [scope for scope in self.finished if not scope.categories]
        return next(iter([*same, *of_all]), None)
