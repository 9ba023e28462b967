"""Rows of scores/fused and audit.parquet with the columns that a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingPatch:
    """A training patch that is an entry of a member's memory bank.

    Attributes:
        backbone: timm name of the member's backbone.
        image_path: Path of the training image, relative to the root of the training images.
        row, col: Position of the patch on the grid of the member, from 0.
    """

    backbone: str
    image_path: str
    row: int
    col: int


@dataclass(frozen=True)
class Peak:
    """The position with the highest score of an image, and the training patch nearest to it.

    Attributes:
        pixel: (row, col) in pixels of the image; None if no patch has a score.
        nearest: Nearest bank entry of the member with the highest score at this position; None if there is none.
    """

    pixel: tuple[int, int] | None = None
    nearest: TrainingPatch | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Peak:
        """Return the peak from the columns that scores/fused and audit.parquet have in common.

        Args:
            row: Row of scores/fused or audit.parquet, as column → value.
        """
        names = ("nearest_backbone", "nearest_image", "nearest_row", "nearest_col")
        return cls(
            None if row["peak_row"] is None else (row["peak_row"], row["peak_col"]),
            None if row["nearest_image"] is None else TrainingPatch(*(row[name] for name in names)),
        )


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """A scored image: a row of scores/fused.

    Attributes:
        image_path: Path of the image, relative to the root of the scored images.
        split: 'train', 'validation', 'test' or 'new'.
        label: 0 for a good image, 1 for a defective image, None if the label is unknown.
        score: Fused anomaly score.
        p_value: p-value of the score among those of the calibration images, in (0, 1]; None without calibration
            images.
        is_anomaly: Whether the score is above the threshold; None without a threshold.
        model_version: Version of the model that computed the score.
        peak: Position with the highest score.
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
        """Return the scored image of a row.

        Args:
            row: Row of scores/fused, as column → value.
        """
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
    """A good training image with its outlier score: a row of audit.parquet.

    Attributes:
        image_path: Path of the image, relative to the root of the training images.
        suspicion: Outlier score: how far the largest distance to bank entries of other images is above the median of
            the category's images, in robust standard deviations, as a mean over the members.
        is_suspicious: Whether the image is a training outlier.
        peak: Position of the patch with the largest distance, and the bank entry nearest to it.
    """

    image_path: str
    suspicion: float
    is_suspicious: bool
    peak: Peak

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> AuditedImage:
        """Return the training image of a row.

        Args:
            row: Row of audit.parquet, as column → value.
        """
        return cls(
            image_path=row["image_path"],
            suspicion=row["suspicion"],
            is_suspicious=row["is_suspicious"],
            peak=Peak.of_row(row),
        )
