"""A category's page, and its line in the overview: a Ray task each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.report.gallery import Gallery, galleries
from pipelines.report.pages import render_page
from pipelines.report.render import MEDIA, Card, Renderer, Scale
from pipelines.report.subject import Subject
from pipelines.resources import use_threads
from pipelines.rundir import AUDIT_FILE, folder_name
from pipelines.storage import Store
from pipelines.tables import rows_if_there
from reconpatch.metrics import d_prime, image_metrics
from reconpatch.model import MODEL_FILE, Model, from_json
from reconpatch.pictures import counts

_BINS = 24  # of a sparkline
_LISTED = 2000  # images in the page's table
GROUPS = ("heldout", "good", "defective", "unlabelled")


@dataclass(frozen=True)
class PageOrder:
    """What one category's page is made of.

    Attributes:
        index: image_path → its row of the index.
        metrics: its rows of metrics.parquet, the ensemble's first.
        night: its row of night.parquet; empty for others.
        neighbours: the categories before and after it, by name.
        beside: another run, which has scores of this category, to be shown beside; None for none.
        before: the folder of an earlier report's pictures.
        figures: formats of the figures that are drawn; none by default.
    """

    subject: Subject
    category: str
    index: Mapping[str, Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    night: Mapping[str, Any]
    neighbours: tuple[str | None, str | None]
    beside: Subject | None
    before: Store | None
    figures: tuple[str, ...] = ()


def page_name(category: str) -> str:
    """Its page's file in the report."""
    return f"categories/{folder_name(category)}.html"


def write_category(order: PageOrder, report: Store) -> dict[str, Any]:
    """Write a category's page and pictures; returns what the overview says of it."""
    use_threads(1)
    subject, category = order.subject, order.category
    every = subject.rows(category)
    place = subject.model(category, every[0]["model_version"]) if every else None
    if place is None:
        return {"category": category, "page": None, "images": 0}
    model = from_json(place.read(MODEL_FILE))
    rows = [row for row in every if row["split"] != "train"]
    audit = rows_if_there(place, AUDIT_FILE)
    groups = _groups(rows, model)
    scale = _scale(groups, model)
    renderer = Renderer(subject, category, model, scale, order.index, report.below(MEDIA), order.before)
    shown = galleries(rows, audit)
    renderer.prepare([row["image_path"] for gallery in shown for row in gallery.rows])
    cards = [(gallery, [renderer.card(row) for row in gallery.rows]) for gallery in shown]
    summary = _summary(order, model, rows, groups, scale)
    beside = _beside(order, rows)
    separation = {"here": _d_prime(groups), "beside": None if beside is None else _d_prime(beside)}
    page = _page(order, model, rows, groups, scale, cards, summary, beside, separation)
    report.write(page_name(category), page.encode())
    if order.figures:
        from pipelines.report.figures import draw_figures  # matplotlib takes a second to import: only who wants it pays

        draw_figures(report, category, order.figures, groups, model.threshold, separation, beside, cards, scale)
    return summary


def _beside(order: PageOrder, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[float]] | None:
    """The other run's scores of the same images, by what the images are known to be."""
    if order.beside is None:
        return None
    theirs = {row["image_path"]: row for row in order.beside.rows(order.category)}
    both = [theirs[row["image_path"]] for row in rows if row["image_path"] in theirs]
    if not both:
        return None
    return _groups(both, from_json(order.beside.model(order.category, both[0]["model_version"]).read(MODEL_FILE)))


def _groups(rows: Sequence[Mapping[str, Any]], model: Model) -> dict[str, list[float]]:
    """Scores by what the images are known to be, sorted."""
    found: dict[str, list[float]] = {name: [] for name in GROUPS}
    found["heldout"] = sorted(model.holdout_scores)
    for row in rows:
        name = {0: "good", 1: "defective", None: "unlabelled"}[row["label"]]
        found[name].append(row["score"])
    return {name: sorted(scores) for name, scores in found.items()}


def _scale(groups: Mapping[str, Sequence[float]], model: Model) -> Scale:
    """From the middle of the good images' patches, which equation 11 makes 0, to what the loudest images reach."""
    every = [score for scores in groups.values() for score in scores]
    loudest = float(np.percentile(every, 98)) if every else 1.0
    return Scale(0.0, max(loudest, 1.5 * (model.threshold or 0.0), 1.0))


def _summary(
    order: PageOrder,
    model: Model,
    rows: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Sequence[float]],
    scale: Scale,
) -> dict[str, Any]:
    """What the overview says: plain values, kept as JSON for the next report."""
    judged = [row for row in rows if row["is_anomaly"] is not None]
    good = np.array([*groups["heldout"], *groups["good"]])
    others = np.array([*groups["defective"], *groups["unlabelled"]])
    first = order.metrics[0] if order.metrics else _of_labelled(groups)
    names = ("image_auroc", "image_ap", "image_f1max", "d_prime", "pixel_auroc", "aupro")
    every = np.concatenate([good, others])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    return {
        "category": order.category,
        "page": page_name(order.category),
        "images": len(rows),
        "alarms": sum(bool(row["is_anomaly"]) for row in judged) if judged else None,
        "missed": sum(row["label"] == 1 and not row["is_anomaly"] for row in judged) if groups["defective"] else None,
        "false_alarms": sum(row["label"] == 0 and row["is_anomaly"] for row in judged) if groups["good"] else None,
        "good": len(groups["good"]),
        "defective": len(groups["defective"]),
        "threshold": model.threshold,
        "bound": model.false_alarm_bound,
        "held_out": len(model.holdout_scores),
        "version": model.version,
        **{name: first.get(name) for name in names},
        **{name: order.night.get(name) for name in ("learned", "judged", "ks", "ks_p_value", "unreadable")},
        "spark": {
            "good": counts(good, low, high, _BINS).tolist(),
            "others": counts(others, low, high, _BINS).tolist(),
            "threshold": None if model.threshold is None else (model.threshold - low) / max(high - low, 1e-9),
        },
        "scale": [scale.low, scale.high],
    }


def _page(
    order: PageOrder,
    model: Model,
    rows: Sequence[Mapping[str, Any]],
    groups: Mapping[str, Sequence[float]],
    scale: Scale,
    cards: Sequence[tuple[Gallery, Sequence[Card]]],
    summary: Mapping[str, Any],
    beside: Mapping[str, Sequence[float]] | None,
    separation: Mapping[str, float | None],
) -> str:
    ranked = sorted(rows, key=lambda row: (-row["score"], row["image_path"]))
    data: dict[str, Any] = {
        "threshold": None if model.threshold is None else _short(model.threshold),
        "groups": {name: [_short(score) for score in scores] for name, scores in groups.items()},
        "images": [[row["image_path"], _short(row["score"]), row["label"]] for row in ranked[:_LISTED]],
        "beside": None,
    }
    if beside is not None:
        data["beside"] = {name: [_short(score) for score in scores] for name, scores in beside.items()}
    return render_page(
        "category.html",
        root="..",
        title=order.category,
        order=order,
        model=asdict(model),
        summary=summary,
        metrics=order.metrics,
        scale=scale,
        cards=cards,
        data=data,
        separation=separation,
        listed=min(len(ranked), _LISTED),
        names=[member.backbone for member in model.members],
        previous=_link(order.neighbours[0]),
        following=_link(order.neighbours[1]),
    )


def _of_labelled(groups: Mapping[str, Sequence[float]]) -> dict[str, float | None]:
    """What a night's scores, which have no metrics.parquet, say of the images whose labels are known."""
    found = image_metrics(*_labelled(groups))
    return {"image_auroc": found.auroc, "image_ap": found.ap, "image_f1max": found.f1max, "d_prime": found.d_prime}


def _labelled(groups: Mapping[str, Sequence[float]]) -> tuple[np.ndarray, np.ndarray]:
    good, defective = groups["good"], groups["defective"]
    return np.array([*good, *defective]), np.repeat([0, 1], [len(good), len(defective)])


def _d_prime(groups: Mapping[str, Sequence[float]]) -> float | None:
    return d_prime(*_labelled(groups))


def _link(category: str | None) -> dict[str, str] | None:
    return None if category is None else {"name": category, "page": page_name(category)}


def _short(score: float) -> float:
    """Nine digits: as many as tell one single-precision score from the next."""
    return float(f"{score:.9g}")
