"""`reconpatch-run compare`: two runs of the same images, category by category, as a table, Parquet and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.progress import Screen
from pipelines.report.pages import render_page
from pipelines.report.subject import Subject
from pipelines.rundir import CHANGED, COMPARE, COMPARISON
from pipelines.storage import Store
from pipelines.tables import write_rows
from pipelines.usage import UsageError
from reconpatch.comparison import Difference, auroc_difference, mean_difference, resampled_differences
from reconpatch.metrics import image_metrics

_RESAMPLED = {"ap": "image_ap", "f1max": "image_f1max", "d_prime": "d_prime"}
_PIXELS = ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")
_LISTED = 200  # images that changed sides, on the page


def compare(run_a: str, run_b: str, screen: Screen, out: str | None = None) -> int:
    """Say what B has gained over A.

    Args:
        run_a, run_b: two runs, or nights, with scores of the same images.
        out: where the files go; by default RUN_B/compare.

    Returns:
        The exit code.

    Raises:
        UsageError: no runs, or no image that both have scored.
    """
    a, b = Subject.of(run_a), Subject.of(run_b)
    shared = sorted({*a.categories()} & {*b.categories()})
    rows, changed, skipped = [], [], 0
    metrics_a, metrics_b, index_a, index_b = a.metrics(), b.metrics(), a.index(), b.index()
    with screen.stage("compare", len(shared), "categories") as stage:
        for category in shared:
            pairs, others = _pairs(a.rows(category), b.rows(category), index_a.get(category), index_b.get(category))
            skipped += others
            if pairs:
                rows += _differences(category, pairs, metrics_a.get(category), metrics_b.get(category))
                changed += [_side(category, *pair) for pair in pairs if _verdicts(*pair)]
            stage.advance()
    if not rows:
        raise UsageError(f"{run_a} and {run_b}: no image that both have scored.")
    if skipped:
        screen.warn(f"{skipped} images are left out: their contents have changed between the runs.")
    place = b.out.below(COMPARE) if out is None else Store.of(out)
    rows.append(_mean([row for row in rows if row["metric"] == "image_auroc"]))
    write_rows(place, "metrics.parquet", rows, COMPARISON)
    write_rows(place, "changed.parquet", changed, CHANGED)
    told = {"a": a, "b": b, "rows": rows, "changed": changed[:_LISTED], "total": len(changed)}
    place.write("index.html", render_page("compare.html", root=".", title="Two runs", **told).encode())
    _print(screen, rows, len(changed))
    screen.say(f"page     {place.below('index.html').uri}")
    return 0


def _pairs(
    a: Sequence[Mapping[str, Any]],
    b: Sequence[Mapping[str, Any]],
    index_a: Mapping[str, Mapping[str, Any]] | None,
    index_b: Mapping[str, Mapping[str, Any]] | None,
) -> tuple[list[tuple[Mapping[str, Any], Mapping[str, Any]]], int]:
    """Rows of the same images, those learned from left out, and how many have other contents now."""
    theirs = {row["image_path"]: row for row in b if row["split"] != "train"}
    both = [(row, theirs[row["image_path"]]) for row in a if row["split"] != "train" and row["image_path"] in theirs]

    def is_same(path: str) -> bool:
        contents = {(index or {}).get(path, {}).get("content_sha256") for index in (index_a, index_b)}
        return len(contents - {None}) <= 1  # what one of them does not know counts as the same

    same = [pair for pair in both if is_same(pair[0]["image_path"])]
    return same, len(both) - len(same)


def _differences(
    category: str,
    pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]],
    metrics_a: Sequence[Mapping[str, Any]] | None,
    metrics_b: Sequence[Mapping[str, Any]] | None,
) -> list[dict[str, Any]]:
    """Rows of `COMPARISON`: B less A."""
    labelled = [pair for pair in pairs if pair[0]["label"] is not None]
    labels = np.array([pair[0]["label"] for pair in labelled], np.int64)
    scores = [np.array([pair[side]["score"] for pair in labelled], np.float64) for side in (0, 1)]
    found: list[dict[str, Any]] = []
    if min((labels == 0).sum(), (labels == 1).sum()) >= 2:
        whole = [image_metrics(each, labels) for each in scores]
        difference = auroc_difference(scores[1], scores[0], labels)
        found.append(_row(category, "image_auroc", whole[0].auroc, whole[1].auroc, difference, "DeLong"))
        resampled = resampled_differences(_resampled, scores[1], scores[0], labels)
        for name, column in _RESAMPLED.items():
            if name in resampled:
                values = getattr(whole[0], name), getattr(whole[1], name)
                found.append(_row(category, column, *values, resampled[name], "bootstrap"))
    first, second = ((rows or [{}])[0] for rows in (metrics_a, metrics_b))
    for name in _PIXELS:
        values = first.get(name), second.get(name)
        if None not in values:
            found.append(_row(category, name, *values, None, None))
    return found


def _resampled(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    metrics = image_metrics(scores, labels)
    return {name: getattr(metrics, name) for name in _RESAMPLED}


def _row(
    category: str, metric: str, a: float | None, b: float | None, difference: Difference | None, interval: str | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"category": category, "metric": metric, "a": a, "b": b, "interval": interval}
    if difference is None:
        return {**row, "difference": None if a is None or b is None else b - a}
    ends = {"low": difference.low, "high": difference.high, "deviation": difference.deviation}
    return {**row, **ends, "difference": difference.value, "p_value": difference.p_value}


def _mean(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Over categories, whose images have nothing to do with each other."""
    if not rows:
        return _row("(mean)", "image_auroc", None, None, None, None)
    names = ("difference", "low", "high", "deviation")
    mean = mean_difference([Difference(*(row[name] for name in names)) for row in rows])
    a, b = (float(np.mean([row[side] for row in rows])) for side in ("a", "b"))
    return _row("(mean)", "image_auroc", a, b, mean, "DeLong")


def _verdicts(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether an image has changed sides."""
    return None not in (a["is_anomaly"], b["is_anomaly"]) and a["is_anomaly"] != b["is_anomaly"]


def _side(category: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    better = None if a["label"] is None else bool(b["is_anomaly"]) == bool(a["label"])
    sides = {f"{name}_{side}": row[name] for side, row in (("a", a), ("b", b)) for name in ("score", "is_anomaly")}
    return {"category": category, "image_path": a["image_path"], "label": a["label"], **sides, "is_better": better}


def _print(screen: Screen, rows: Sequence[Mapping[str, Any]], changed: int) -> None:
    lines = [
        [row["category"], row["metric"], *(_number(row[name]) for name in ("a", "b", "difference")), _interval(row)]
        for row in rows
    ]
    screen.table(["category", "metric", "A", "B", "B - A", "95 % interval"], lines)
    screen.say(f"{changed} images are judged otherwise by B")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _interval(row: Mapping[str, Any]) -> str:
    return "-" if row.get("low") is None else f"{row['low']:+.4f} .. {row['high']:+.4f} ({row['interval']})"
