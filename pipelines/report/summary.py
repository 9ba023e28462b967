"""What the overview shows of a category: kept as JSON, so that an unchanged category is not rendered again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sparkline:
    """A small histogram of a category's scores.

    Attributes:
        good: counts of calibration images and good images, from the lowest score to the highest.
        others: counts of all other images, in the same bins.
        threshold: position of the threshold, as a share of the width; None without a threshold.
    """

    good: tuple[int, ...]
    others: tuple[int, ...]
    threshold: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the histogram as values of JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CategorySummary:
    """A category's row of the overview, and its entry in pages.json, whose keys are the names of these fields.

    Attributes:
        category: its name.
        page: file of its page in the report; None without a page.
        images: number of scored images, training images not counted.
        alarms: flagged images; None without a threshold.
        missed: defective images that are not flagged; None without defective images.
        false_alarms: good images that are flagged; None without good images.
        good, defective: number of images with these labels.
        threshold, bound, version: of the model; `bound` is the guaranteed bound of the false-positive rate.
        held_out: number of calibration images.
        image_auroc, image_ap, image_f1max, d_prime, pixel_auroc, aupro: metrics of the ensemble.
        learned, judged, ks, ks_p_value, unreadable: columns of night.parquet; None for other reports.
        spark: histogram of the scores.
        scale: scores of the darkest and of the lightest color of the anomaly maps.
    """

    category: str
    page: str | None = None
    images: int = 0
    alarms: int | None = None
    missed: int | None = None
    false_alarms: int | None = None
    good: int = 0
    defective: int = 0
    threshold: float | None = None
    bound: float | None = None
    held_out: int = 0
    version: str | None = None
    image_auroc: float | None = None
    image_ap: float | None = None
    image_f1max: float | None = None
    d_prime: float | None = None
    pixel_auroc: float | None = None
    aupro: float | None = None
    learned: str | None = None
    judged: str | None = None
    ks: float | None = None
    ks_p_value: float | None = None
    unreadable: int | None = None
    spark: Sparkline | None = None
    scale: tuple[float, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the summary as values of JSON."""
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> CategorySummary:
        """Read what `as_json` returned.

        Args:
            stored: an entry of pages.json.

        Raises:
            TypeError: fields are missing or unknown.
            LookupError: `stored` is not a summary.
        """
        spark, scale = stored["spark"], stored["scale"]
        if spark is not None:
            spark = Sparkline(tuple(spark["good"]), tuple(spark["others"]), spark["threshold"])
        return cls(**{**stored, "spark": spark, "scale": None if scale is None else tuple(scale)})
