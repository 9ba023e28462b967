"""State that a nightly run stores for the next one: run.json in the work folder of the registry."""

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
from pipelines.tracking.run_info import RunStatus

INTERRUPTED = (RunStatus.RUNNING, RunStatus.INTERRUPTED)  # the stored status of a killed run is RUNNING


@dataclass(frozen=True, kw_only=True)
class NightScope:
    """New images of a nightly run, how they are read, and where their scores are written.

    Attributes:
        run_id: Id of the run; empty if it is not known. The scores are in `scores`/`run_id`.
        scores: Path or URI of the scores folder, without credentials.
        images: Path or URI of the new images, without credentials.
        bit_depth: Significant bits per channel of images with more than 8 bits (`--bit-depth`).
        categories: Categories that were selected; empty for all.
    """

    run_id: str = ""
    scores: str
    images: str
    bit_depth: int
    categories: tuple[str, ...] = ()

    @classmethod
    def of(cls, options: NightOptions, config: RunConfig, run_id: str = "") -> NightScope:
        """Return the scope of a nightly run.

        Args:
            options: Nightly options of the run.
            config: Configuration of the run.
            run_id: Id of the run; empty if it has none yet.
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
        """Return the scope that `to_json` stored.

        Args:
            stored: JSON value with one key per field.

        Returns:
            The scope; None if `stored` is not an object with these keys.
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
        """Return the scope as a JSON object."""
        return {**vars(self), "categories": list(self.categories)}

    def is_same_work(self, other: NightScope | None) -> bool:
        """Return whether another run has the same scope except for its id. If it was interrupted, it can be resumed.

        Args:
            other: Scope of the other run; None if it is not known.
        """
        return other is not None and replace(self, run_id="") == replace(other, run_id="")

    def has_same_images(self, other: NightScope) -> bool:
        """Return whether another run has the same images, bit depth and scores folder.

        Args:
            other: Scope of the other run.
        """
        return (self.scores, self.images, self.bit_depth) == (other.scores, other.images, other.bit_depth)


@dataclass(frozen=True, kw_only=True)
class NightInfo:
    """State of a nightly run, read by the next run. With all defaults, no earlier run is known.

    Attributes:
        run_id: Id of the run, 32 hexadecimal digits.
        status: Status of the run; None if no run is known.
        started_at: Start of the run, UTC in ISO 8601.
        data: Path or URI of the training images, without credentials; `known_images` compares it.
        bit_depth: Value of `--bit-depth`; `known_images` compares it. None if it is not known.
        scope: Scope of the run; None if it is not known.
        deferred: task -> categories that the last finished run deferred.
        finished: Scopes of finished runs whose scores can be reused, newest first: one for all categories, and one for
            each selection of categories that was run since.
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
        """Read run.json.

        Args:
            work: Work folder of the registry.

        Returns:
            The stored state; all defaults if there is no such file.

        Raises:
            UsageError: run.json is damaged or was written by another program.
        """
        stored = work.read_json(RUN)
        if stored is None:
            return cls()
        try:
            return cls.from_json(stored)
        except ValueError as error:
            raise UsageError(f"{work.below(RUN).uri} is damaged ({error}).") from error

    @classmethod
    def from_json(cls, stored: Any) -> NightInfo:
        """Return the state that `to_json` stored, without scopes that cannot be read.

        Args:
            stored: Content of run.json, of any schema version.

        Raises:
            ValueError: `stored` is not the state of a run, or 'finished' or 'deferred' have the wrong type.
        """
        kinds = {"run_id": str, "status": str, "config": dict}
        if not isinstance(stored, dict) or not all(isinstance(stored.get(name), kind) for name, kind in kinds.items()):
            raise ValueError("expected the keys run_id, status and config")
        deferred = stored.get("deferred") or {}
        status = RunStatus(stored["status"])
        try:
            scopes = [NightScope.from_json(scope) for scope in stored.get("finished") or ()]
            lists = {task: tuple(deferred.get(task, ())) for task in NightTask}
        except (TypeError, AttributeError):
            raise ValueError("expected lists in 'finished' and 'deferred'") from None
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
        """Return the content of run.json."""
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
        """Return the scope of the last finished run of the same categories or, if there is none, of all categories.

        Args:
            categories: Categories that this run selects; empty for all.

        Returns:
            The scope; None if there is no such run.
        """
        same = [scope for scope in self.finished if scope.categories == categories]
        of_all = [scope for scope in self.finished if not scope.categories]
        return next(iter([*same, *of_all]), None)
