"""State of every category after the last nightly run, sorted by urgency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from pipelines.errors import error_line
from pipelines.registry.drift_log import read_drift
from pipelines.registry.night_table import CategoryNight
from pipelines.registry.registry import Registry
from pipelines.registry.statuses import ScoringResult
from pipelines.storage.store import side_by_side
from reconpatch.evaluation.acceptance import AcceptanceStatus
from reconpatch.evaluation.drift import DRIFTED


class Urgency(StrEnum):
    """Reason why a category needs attention, the most urgent first.

    Attributes:
        FAILED: Training or scoring failed, or a file of the category in the registry is damaged.
        REJECTED: The last nightly run rejected a candidate.
        ON_HOLD: The version for the current images was rejected, rolled back or set aside earlier.
        DEFERRED: Training or scoring did not fit before the deadline.
        DRIFTED: The distribution of the last scores differs from that of the calibration images.
        UNREADABLE: Some of the new images could not be read.
        NO_MODEL: The category has no active model.
        NO_IMAGES: There were no new images.
        INCONCLUSIVE: The acceptance test of the active model had too few calibration images for a decision.
        NONE: The category needs no attention.
    """

    FAILED = "failed"
    REJECTED = "rejected"
    ON_HOLD = "on hold"
    DEFERRED = "deferred"
    DRIFTED = "drifted"
    UNREADABLE = "unreadable images"
    NO_MODEL = "no model"
    NO_IMAGES = "no images"
    INCONCLUSIVE = "inconclusive"
    NONE = ""

    @property
    def rank(self) -> int:
        """Position in the order of urgency; 0 is the most urgent."""
        return list(Urgency).index(self)


_WORST_FIRST = (Urgency.FAILED, Urgency.REJECTED, Urgency.ON_HOLD, Urgency.DEFERRED)


@dataclass(frozen=True, kw_only=True)
class CategoryState:
    """Row of `reconpatch-run status`. Values that are not known are None.

    Attributes:
        category: Name of the category.
        model: Name of the active version.
        days: Age of the active version in the registry in days.
        status: Result of the acceptance test of the active version.
        learned, judged, reasons, images, anomalies, unreadable: Values of the last nightly run; see `CategoryNight`.
        ks, ks_p_value, above_threshold, rare: Values of the last drift comparison; see `DriftRow`.
        attention: Reason why the category needs attention.
    """

    category: str
    model: str | None = None
    days: int | None = None
    status: AcceptanceStatus | None = None
    learned: str | None = None
    judged: str | None = None
    reasons: str | None = None
    images: int | None = None
    anomalies: int | None = None
    unreadable: int | None = None
    ks: float | None = None
    ks_p_value: float | None = None
    above_threshold: float | None = None
    rare: float | None = None
    attention: Urgency

    def to_json(self) -> dict[str, Any]:
        """Return the state as a JSON object of `reconpatch-run status --json`."""
        return asdict(self)


def states_of(registry: Registry, night: Mapping[str, CategoryNight], now: datetime) -> list[CategoryState]:
    """Return the state of every category.

    A category with damaged files has the state `Urgency.FAILED`.

    Args:
        registry: Registry of the models.
        night: category -> its row of night.parquet of the last nightly run.
        now: Current time with a time zone, for the age of the models.

    Returns:
        States of the categories in the registry or in `night`, the most urgent first, then by name.
    """

    def state_of(category: str) -> CategoryState:
        try:
            return _state(registry, night.get(category) or CategoryNight(category=category), now)
        except Exception as error:
            return CategoryState(category=category, reasons=error_line(error), attention=Urgency.FAILED)

    states = side_by_side(state_of, sorted({*registry.categories(), *night}))
    return sorted(states, key=lambda state: (state.attention.rank, state.category))


def urgency_of(night: CategoryNight, *, status: AcceptanceStatus | str | None, ks_p_value: float | None) -> Urgency:
    """Return the most urgent reason why a category needs attention.

    Args:
        night: Results of the last nightly run for the category.
        status: Result of the acceptance test of the active version; None if there is none.
        ks_p_value: Kolmogorov-Smirnov p-value of the last drift comparison, in [0, 1]; None if there is none.
    """
    results = (night.learned, night.judged)
    for urgency in _WORST_FIRST:
        if urgency in results:
            return urgency
    if ks_p_value is not None and ks_p_value < DRIFTED:
        return Urgency.DRIFTED
    if night.unreadable:
        return Urgency.UNREADABLE
    if status == AcceptanceStatus.INCONCLUSIVE:
        return Urgency.INCONCLUSIVE
    return Urgency(night.judged) if night.judged in (ScoringResult.NO_MODEL, ScoringResult.NO_IMAGES) else Urgency.NONE


def _state(registry: Registry, night: CategoryNight, now: datetime) -> CategoryState:
    category = night.category
    version = next((version for version in registry.versions(category) if version.current), None)
    comparisons = read_drift(registry, category, last=1)
    drift = comparisons[0] if comparisons else None
    status = None if version is None else version.status
    age = None if version is None else now - datetime.fromisoformat(version.created_at)
    return CategoryState(
        category=category,
        model=registry.current(category),
        days=None if age is None else round(age.total_seconds() / 86400),
        status=status,
        learned=night.learned,
        judged=night.judged,
        reasons=night.reasons,
        images=night.images,
        anomalies=night.anomalies,
        unreadable=night.unreadable,
        ks=None if drift is None else drift.ks,
        ks_p_value=None if drift is None else drift.ks_p_value,
        above_threshold=None if drift is None else drift.above_threshold,
        rare=None if drift is None else drift.rare,
        attention=urgency_of(night, status=status, ks_p_value=None if drift is None else drift.ks_p_value),
    )
