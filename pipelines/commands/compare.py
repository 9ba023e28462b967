"""`reconpatch-run compare`: compare two runs of the same images.

The differences are printed as a table and written as Parquet files and an HTML page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipelines.data.records import MODEL_SPLITS, ImageRecord
from pipelines.errors import UsageError
from pipelines.report.pages import render_page
from pipelines.report.rows import ScoredImage
from pipelines.report.subject import ReportSource
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import COMPARE
from pipelines.storage.schemas import MetricsRow, Row
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from reconpatch.evaluation.comparison import Difference, auroc_difference, mean_difference, resampled_differences
from reconpatch.evaluation.metrics import image_metrics

_AUROC = "image_auroc"
_RESAMPLED = {"ap": "image_ap", "f1max": "image_f1max", "d_prime": "d_prime"}
_PIXELS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")
_LISTED = 200  # maximum number of images with a changed verdict on the page


@dataclass(frozen=True, kw_only=True)
class MetricDifference(Row):
    """The difference B - A of one metric: a row of the comparison's metrics.parquet.

    Attributes:
        category: Name of the category, or '(mean)' for the mean over categories.
        metric: Name of the metric, as a column of a run's metrics.parquet.
        a, b: Values of the metric in run A and run B; None if undefined.
        difference: b - a; None if a value is undefined.
        low, high: Bounds of the 95 % confidence interval of the difference; None if no interval is computed.
        deviation: Standard error of the difference; None if no interval is computed.
        interval: Method that computed the interval, 'DeLong' or 'bootstrap'; None if no interval is computed.
        p_value: p-value of the hypothesis that A and B do not differ, in [0, 1]; None if no interval is computed or
            the standard error is 0.
    """

    category: str
    metric: str
    a: float | None
    b: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    interval: str | None = None
    p_value: float | None = None


COMPARISON = pa.schema(
    [
        ("category", pa.string()),
        ("metric", pa.string()),
        ("a", pa.float64()),
        ("b", pa.float64()),
        ("difference", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("deviation", pa.float64()),
        ("interval", pa.string()),
        ("p_value", pa.float64()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class ChangedImage(Row):
    """An image that one run flags and the other does not: a row of changed.parquet.

    Attributes:
        category: Category of the image.
        image_path: Path of the image, relative to the data root.
        label: 0 for a good image, 1 for a defective image, None if the label is unknown.
        score_a, score_b: Anomaly scores of the image in run A and run B.
        is_anomaly_a, is_anomaly_b: Whether run A and run B flag the image.
        is_better: Whether the verdict of run B is correct; None if the label is unknown.
    """

    category: str
    image_path: str
    label: int | None
    score_a: float
    score_b: float
    is_anomaly_a: bool
    is_anomaly_b: bool
    is_better: bool | None


CHANGED = pa.schema(
    [
        ("category", pa.string()),
        ("image_path", pa.string()),
        ("label", pa.int8()),
        ("score_a", pa.float64()),
        ("score_b", pa.float64()),
        ("is_anomaly_a", pa.bool_()),
        ("is_anomaly_b", pa.bool_()),
        ("is_better", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Pair:
    """An image that both runs have scored.

    Attributes:
        a, b: Rows of the image in scores/fused of run A and run B.
    """

    a: ScoredImage
    b: ScoredImage

    @property
    def has_changed(self) -> bool:
        """Whether the verdicts of the two runs differ; False if a run has no threshold."""
        return None not in (self.a.is_anomaly, self.b.is_anomaly) and self.a.is_anomaly != self.b.is_anomaly


def compare(run_a: str, run_b: str, console: Console, out: str | None = None) -> int:
    """Compare the metrics and verdicts of two runs, and write the differences B - A.

    Args:
        run_a: Path or URI of run A: a run directory, or the scores of `nightly` or `score`.
        run_b: Path or URI of run B, which scored the same images.
        console: Console for progress, warnings and the table of differences.
        out: Path or URI of the output folder; None writes to the folder `compare` in `run_b`.

    Returns:
        The exit code, always 0.

    Raises:
        UsageError: A folder has no scores, or no image is scored in both runs.
    """
    a, b = ReportSource.of(run_a), ReportSource.of(run_b)
    shared = sorted({*a.categories()} & {*b.categories()})
    rows: list[MetricDifference] = []
    changed: list[ChangedImage] = []
    skipped = 0
    metrics_a, metrics_b, index_a, index_b = a.metrics(), b.metrics(), a.index(), b.index()
    with console.progress("compare", len(shared), "categories") as progress:
        for category in shared:
            pairs = _pairs(a.scored_images(category), b.scored_images(category))
            same = _same_contents(pairs, index_a.get(category, {}), index_b.get(category, {}))
            skipped += len(pairs) - len(same)
            if same:
                rows += _image_differences(category, same)
                rows += _pixel_differences(category, metrics_a.get(category), metrics_b.get(category))
                changed += [_changed_image(category, pair) for pair in same if pair.has_changed]
            progress.advance()
    if not rows:
        raise UsageError(f"{run_a} and {run_b} have no scored image in common. Compare two runs of the same images.")
    if skipped:
        console.warn(f"{skipped} images are not compared: the contents of their files differ between the runs.")
    folder = b.out.below(COMPARE) if out is None else Store.of(out)
    rows.append(_mean([row for row in rows if row.metric == _AUROC]))
    write_rows(folder, "metrics.parquet", rows, COMPARISON)
    write_rows(folder, "changed.parquet", changed, CHANGED)
    values = {"a": a, "b": b, "rows": rows, "changed": changed[:_LISTED], "total": len(changed)}
    folder.write("index.html", render_page("compare.html", root=".", title="Comparison of two runs", **values).encode())
    _print(console, rows, len(changed))
    console.say(f"page     {folder.below('index.html').uri}")
    return 0


def _pairs(a: Sequence[ScoredImage], b: Sequence[ScoredImage]) -> list[Pair]:
    """Return the images that both runs have scored, without training images."""
    by_path = {image.image_path: image for image in b if image.split not in MODEL_SPLITS}
    return [
        Pair(image, by_path[image.image_path])
        for image in a
        if image.split not in MODEL_SPLITS and image.image_path in by_path
    ]


def _same_contents(
    pairs: Sequence[Pair], index_a: Mapping[str, ImageRecord], index_b: Mapping[str, ImageRecord]
) -> list[Pair]:
    """Return the images whose contents are not known to differ between the two indexes."""

    def is_same(path: str) -> bool:
        records = (index_a.get(path), index_b.get(path))
        contents = {record.content_sha256 for record in records if record is not None}
        return len(contents - {None}) <= 1

    return [pair for pair in pairs if is_same(pair.a.image_path)]


def _image_differences(category: str, pairs: Sequence[Pair]) -> list[MetricDifference]:
    """Return the differences of image metrics; an empty list for fewer than two good or two defective images."""
    labeled = [pair for pair in pairs if pair.a.label is not None]
    labels = np.array([pair.a.label for pair in labeled], np.int64)
    scores_a = np.array([pair.a.score for pair in labeled], np.float64)
    scores_b = np.array([pair.b.score for pair in labeled], np.float64)
    if min((labels == 0).sum(), (labels == 1).sum()) < 2:
        return []
    metrics_a, metrics_b = image_metrics(scores_a, labels), image_metrics(scores_b, labels)
    auroc = MetricDifference(category=category, metric=_AUROC, a=metrics_a.auroc, b=metrics_b.auroc)
    rows = [_with_interval(auroc, auroc_difference(scores_b, scores_a, labels), "DeLong")]
    resampled = resampled_differences(_resampled, scores_b, scores_a, labels)
    for name, column in _RESAMPLED.items():
        if name in resampled:
            values = MetricDifference(
                category=category, metric=column, a=getattr(metrics_a, name), b=getattr(metrics_b, name)
            )
            rows.append(_with_interval(values, resampled[name], "bootstrap"))
    return rows


def _pixel_differences(
    category: str, metrics_a: Sequence[MetricsRow] | None, metrics_b: Sequence[MetricsRow] | None
) -> list[MetricDifference]:
    """Return the differences of pixel metrics, without intervals; an empty list if a run has no metrics of them."""
    if not metrics_a or not metrics_b:
        return []
    rows = []
    for name in _PIXELS:
        a, b = getattr(metrics_a[0], name), getattr(metrics_b[0], name)
        if a is not None and b is not None:
            rows.append(MetricDifference(category=category, metric=name, a=a, b=b, difference=b - a))
    return rows


def _resampled(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """Return metric → value of one bootstrap sample."""
    metrics = image_metrics(scores, labels)
    return {name: getattr(metrics, name) for name in _RESAMPLED}


def _with_interval(row: MetricDifference, difference: Difference, interval: str) -> MetricDifference:
    """Return the row with the values of a difference and the name of its interval."""
    return replace(
        row,
        difference=difference.value,
        low=difference.low,
        high=difference.high,
        deviation=difference.deviation,
        interval=interval,
        p_value=difference.p_value,
    )


def _mean(aurocs: Sequence[MetricDifference]) -> MetricDifference:
    """Return the mean of the differences over categories, whose images are independent samples.

    Args:
        aurocs: Rows of the image AUROC, one per category, each with an interval.
    """
    if not aurocs:
        return MetricDifference(category="(mean)", metric=_AUROC, a=None, b=None)
    differences = []
    for row in aurocs:
        values = (row.difference, row.low, row.high, row.deviation)
        differences.append(Difference(*(value for value in values if value is not None)))
    a, b = (float(np.mean([getattr(row, run) for row in aurocs])) for run in ("a", "b"))
    mean = MetricDifference(category="(mean)", metric=_AUROC, a=a, b=b)
    return _with_interval(mean, mean_difference(differences), "DeLong")


def _changed_image(category: str, pair: Pair) -> ChangedImage:
    """Return the row of changed.parquet for an image whose verdict differs."""
    label = pair.a.label
    return ChangedImage(
        category=category,
        image_path=pair.a.image_path,
        label=label,
        score_a=pair.a.score,
        score_b=pair.b.score,
        is_anomaly_a=bool(pair.a.is_anomaly),
        is_anomaly_b=bool(pair.b.is_anomaly),
        is_better=None if label is None else bool(pair.b.is_anomaly) == bool(label),
    )


def _print(console: Console, rows: Sequence[MetricDifference], changed: int) -> None:
    """Print the table of differences and the number of changed verdicts."""
    lines = [
        [row.category, row.metric, *(_number(value) for value in (row.a, row.b, row.difference)), _interval(row)]
        for row in rows
    ]
    console.table(["category", "metric", "A", "B", "B - A", "95 % interval"], lines, names=2)
    console.say(f"{changed} images have different verdicts in A and B")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(row: MetricDifference) -> str:
    return "-" if row.low is None else f"{row.low:+.4f} .. {row.high:+.4f} ({row.interval})"
