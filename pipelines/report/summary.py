"""The data of a category in the overview, stored as JSON so that unchanged categories are not rendered again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Sparkline:
    """A small histogram of a category's scores.

    Attributes:
        good: Number of calibration images and good images per bin, from the lowest score to the highest.
        others: Number of defective and unlabeled images in the same bins.
        threshold: Position of the threshold as a share of the width (0 is the lowest score, 1 the highest; values
            outside are possible); None without a threshold.
    """

    good: tuple[int, ...]
    others: tuple[int, ...]
    threshold: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the histogram as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class CategorySummary:
    """The row of a category in the overview. The keys of its entry in pages.json are the names of these fields.

    Attributes:
        category: Name of the category.
        page: File of the page, relative to the folder of the report; None if there is no page.
        images: Number of scored images, without training images.
        alarms: Number of flagged images; None without a threshold.
        missed: Number of defective images that are not flagged; None without defective images.
        false_alarms: Number of good images that are flagged; None without good images.
        good, defective: Number of images with this label.
        threshold: Threshold of the model; None if the model has none.
        bound: Guaranteed bound of the false-positive rate, in (0, 1]; None without a threshold.
        held_out: Number of calibration images.
        version: Version of the model.
        image_auroc, image_ap, image_f1max, d_prime, pixel_auroc, aupro: Metrics of the ensemble; None if undefined.
        learned, judged, ks, ks_p_value, unreadable: Columns of night.parquet; None if the report is not of a nightly
            run.
        spark: Histogram of the scores; None without a page.
        scale: Scores of the darkest and the lightest color of the anomaly maps; None without a page.
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
        """Return the summary as a JSON object."""
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> CategorySummary:
        """Return the summary that `as_json` has converted to JSON.

        Args:
            stored: Summary of a category in pages.json.

        Raises:
            TypeError: A field is missing or unknown.
            LookupError: `stored` is not a summary.
        """
        spark, scale = stored["spark"], stored["scale"]
        if spark is not None:
            spark = Sparkline(tuple(spark["good"]), tuple(spark["others"]), spark["threshold"])
        return cls(**{**stored, "spark": spark, "scale": None if scale is None else tuple(scale)})
