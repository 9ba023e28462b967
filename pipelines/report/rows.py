"""Rows of scores/fused and audit.parquet, with the columns that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingPatch:
    """An entry of a member's memory bank.

    Attributes:
        backbone: of the member.
        image_path: training image of the patch, relative to the root of the training images.
        row, col: of the patch, on the member's grid.
    """

    backbone: str
    image_path: str
    row: int
    col: int


@dataclass(frozen=True)
class Peak:
    """Where an image scores highest, and the training patch that it was compared with there.

    Attributes:
        pixel: (row, col) on the picture; None where no patch has a score.
        nearest: nearest entry in the memory bank of the member with the highest score there; None without one.
    """

    pixel: tuple[int, int] | None = None
    nearest: TrainingPatch | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Peak:
        """Read the columns that scores/fused and audit.parquet share."""
        names = ("nearest_backbone", "nearest_image", "nearest_row", "nearest_col")
        return cls(
            None if row["peak_row"] is None else (row["peak_row"], row["peak_col"]),
            None if row["nearest_image"] is None else TrainingPatch(*(row[name] for name in names)),
        )


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """A row of scores/fused.

    Attributes:
        image_path: relative to the root of the scored images.
        split: 'train', 'test' or 'new'.
        label: 0 good, 1 defective, None where it is not known.
        score: fused anomaly score.
        p_value: of the score among the calibration images; None without calibration images.
        is_anomaly: whether the score is above the threshold; None without a threshold.
        model_version: of the model that made the score.
        peak: where the score comes from.
    """

    image_path: str
    split: str
    label: int | None
    score: float
    p_value: float | None
    is_anomaly: bool | None
    model_version: str
    peak: Peak

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> ScoredImage:
        """Read a row of scores/fused."""
        return cls(
            image_path=row["image_path"],
            split=row["split"],
            label=row["label"],
            score=row["score"],
            p_value=row["p_value"],
            is_anomaly=row["is_anomaly"],
            model_version=row["model_version"],
            peak=Peak.of_row(row),
        )


@dataclass(frozen=True, kw_only=True)
class AuditedImage:
    """A row of audit.parquet: a good training image, and how unlike the others it is.

    Attributes:
        image_path: relative to the root of the training images.
        suspicion: deviations from the usual distance to other images.
        is_suspicious: whether the image counts as a training outlier.
        peak: the patch that is least like the other images.
    """

    image_path: str
    suspicion: float
    is_suspicious: bool
    peak: Peak

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> AuditedImage:
        """Read a row of audit.parquet."""
        return cls(
            image_path=row["image_path"],
            suspicion=row["suspicion"],
            is_suspicious=row["is_suspicious"],
            peak=Peak.of_row(row),
        )
