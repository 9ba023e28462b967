"""Stored result of a version's acceptance test: ruling.json.

The keys stay those of schema version 1, because other programs read them. Old values of statuses are read; new values
are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.registry.history import now, require_text
from reconpatch.evaluation.acceptance import AcceptanceResult, AcceptanceStatus, Comparison


@dataclass(frozen=True, kw_only=True)
class StoredRuling:
    """Result of a version's acceptance test; content of ruling.json.

    Attributes:
        at: Time of the test, UTC in ISO 8601.
        status: Result of the test.
        reasons: Sentences that state why the version was rejected or why the test is inconclusive.
        images: Number of calibration images that were scored; None if it is not known.
        comparisons: Comparisons with the version that was active during the test; empty if there was none.
        active: Name of that version; None if there was none.
        run_id: Id of the nightly run that ran the test; None if it is not known.
    """

    at: str
    status: AcceptanceStatus
    reasons: tuple[str, ...] = ()
    images: int | None = None
    comparisons: tuple[Comparison, ...] = ()
    active: str | None = None
    run_id: str | None = None

    @classmethod
    def of(cls, result: AcceptanceResult, *, active: str | None, run_id: str) -> StoredRuling:
        """Return the ruling of an acceptance test, with the current time.

        Args:
            result: Result of the test.
            active: Name of the active version that the candidate was compared with; None if there was none.
            run_id: Id of the nightly run.
        """
        return cls(
            at=now(),
            status=result.status,
            reasons=result.reasons,
            images=result.images,
            comparisons=result.comparisons,
            active=active,
            run_id=run_id,
        )

    @classmethod
    def from_json(cls, stored: Any) -> StoredRuling:
        """Return the ruling that is stored in ruling.json.

        Args:
            stored: Content of ruling.json, of any schema version.

        Raises:
            ValueError: `stored` is not a ruling, or its time or status is missing or wrong.
        """
        if not isinstance(stored, dict):
            raise ValueError("expected a JSON object")
        return cls(
            at=require_text(stored, "at"),
            status=AcceptanceStatus(require_text(stored, "status")),
            reasons=tuple(stored.get("reasons") or ()),
            images=stored.get("images"),
            comparisons=tuple(_comparison(entry) for entry in stored.get("comparisons") or ()),
            active=stored.get("champion"),
            run_id=stored.get("run_id"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of ruling.json."""
        return {
            "at": self.at,
            "status": self.status,
            "reasons": list(self.reasons),
            "images": self.images,
            "comparisons": [
                {"of": pair.of, "candidate": pair.candidate, "champion": pair.active, "worse": pair.worse}
                for pair in self.comparisons
            ],
            "champion": self.active,
            "run_id": self.run_id,
        }


@dataclass(frozen=True)
class Version:
    """Version of a category's model.

    Attributes:
        category: Name of the category.
        name: Name of the version.
        created_at: Time of its acceptance test, UTC in ISO 8601.
        status: Result of its acceptance test.
        current: Whether it is the active version.
    """

    category: str
    name: str
    created_at: str
    status: AcceptanceStatus
    current: bool


def _comparison(entry: Any) -> Comparison:
    try:
        return Comparison(entry["of"], entry["candidate"], entry["champion"], entry["worse"])
    except (KeyError, TypeError):
        raise ValueError("expected the keys 'of', 'candidate', 'champion' and 'worse' in each comparison") from None
