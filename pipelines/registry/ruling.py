"""The result of a version's acceptance test: ruling.json.

Its keys are those of schema version 1 and do not change, since others read them. Statuses are read in old and new words
and written in new ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.registry.history import now, require_text
from reconpatch.evaluation.acceptance import AcceptanceResult, AcceptanceStatus, Comparison


@dataclass(frozen=True, kw_only=True)
class StoredRuling:
    """The result of a version's acceptance test, ruling.json.

    Attributes:
        at: when it was made, UTC in ISO 8601.
        status: the result.
        reasons: sentences: why the version was rejected, or what could not be proven.
        images: held-out good images that were scored; None where that is not known.
        comparisons: with the version that was active then, if any.
        active: the name of that version.
        run_id: the nightly run that made the test.
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
        """Return what is stored of an acceptance test that has just been made.

        Args:
            result: of the test.
            active: the name of the version that is active, if any.
            run_id: of the nightly run.
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
        """Return the ruling of a stored file.

        Args:
            stored: ruling.json, in the words of any schema version.

        Raises:
            ValueError: it is no ruling, or lacks its time or status.
        """
        if not isinstance(stored, dict):
            raise ValueError("a ruling must be an object")
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
        """Return the ruling as ruling.json holds it."""
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


def _comparison(entry: Any) -> Comparison:
    try:
        return Comparison(entry["of"], entry["candidate"], entry["champion"], entry["worse"])
    except (KeyError, TypeError):
        raise ValueError("a comparison must have 'of', 'candidate', 'champion' and 'worse'") from None
