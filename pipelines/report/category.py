"""The page of a category and its row in the overview, written by one Ray task per category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.data.records import MODEL_SPLITS, ImageRecord
from pipelines.registry.night_table import CategoryNight
from pipelines.report.content import CategoryContent, ShownGallery
from pipelines.report.gallery import galleries
from pipelines.report.pages import render_page
from pipelines.report.render import MEDIA, Renderer, Scale
from pipelines.report.rows import AuditedImage, ScoredImage
from pipelines.report.score_groups import ScoreGroups
from pipelines.report.subject import ReportSource
from pipelines.report.summary import CategorySummary, Sparkline
from pipelines.runtime.resources import use_threads
from pipelines.storage.parquet import rows_if_there
from pipelines.storage.paths import AUDIT_FILE, folder_name
from pipelines.storage.schemas import MetricsRow
from pipelines.storage.store import Store
from reconpatch.detector.model import Model
from reconpatch.evaluation.metrics import image_metrics
from reconpatch.imaging.rendering import counts

_BINS = 24  # number of bins of a sparkline
_LISTED = 2000  # maximum number of images in the table of a page
_METRICS = ("image_auroc", "image_ap", "image_f1max", "d_prime", "pixel_auroc", "aupro")
_NIGHT = ("learned", "judged", "ks", "ks_p_value", "unreadable")


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """The inputs of a category's page.

    Attributes:
        source: Scores, images and models that the page shows.
        category: Name of the category.
        index: image_path → row of the index; empty if there is no index.
        metrics: Rows of the category in metrics.parquet, that of the ensemble first; empty if there are none.
        night: Row of the category in night.parquet; None if the report is not of a nightly run.
        neighbors: Previous and next category in the order of names; None at either end.
        beside: Another run with scores of this category, shown for comparison; None for no comparison.
        before: Folder with the image files of an earlier report; None for no earlier report.
        figures: File formats of additional figures; empty for no figures.
    """

    source: ReportSource
    category: str
    index: Mapping[str, ImageRecord]
    metrics: Sequence[MetricsRow]
    night: CategoryNight | None
    neighbors: tuple[str | None, str | None]
    beside: ReportSource | None
    before: Store | None
    figures: tuple[str, ...] = ()


@dataclass(frozen=True)
class PageLink:
    """A link to another category's page.

    Attributes:
        name: Name of the category.
        page: File of its page, relative to the folder of the report.
    """

    name: str
    page: str


def page_name(category: str) -> str:
    """Return the file of a category's page.

    Args:
        category: Name of the category.

    Returns:
        The path relative to the folder of the report.
    """
    return f"categories/{folder_name(category)}.html"


def write_category(request: PageRequest, report: Store) -> CategorySummary:
    """Write the page of a category, its image files and its figures.

    Args:
        request: Inputs of the page.
        report: Folder of the report.

    Returns:
        Summary of the category for the overview.
    """
    use_threads(1)
    content = _content(request, report)
    if content is None:
        return CategorySummary(category=request.category)
    summary = _summary(request, content)
    report.write(page_name(request.category), _page(request, content, summary).encode())
    if request.figures:
        from pipelines.report.figures import draw_figures  # Imported here, because importing matplotlib takes a second.

        draw_figures(report, content, request.figures)
    return summary


def _content(request: PageRequest, report: Store) -> CategoryContent | None:
    """Read and render the content of the page; return None for a category without scores."""
    source, category = request.source, request.category
    every = source.scored_images(category)
    if not every:
        return None
    stored = source.stored_model(category, every[0].model_version)
    model = stored.model
    images = [image for image in every if image.split not in MODEL_SPLITS]
    groups = ScoreGroups.of(images, model.holdout_scores)
    scale = _scale(groups, model)
    renderer = Renderer(
        source=source,
        category=category,
        model=model,
        scale=scale,
        index=request.index,
        media=report.below(MEDIA),
        before=request.before,
    )
    chosen = galleries(images, [AuditedImage.of_row(row) for row in rows_if_there(stored.folder, AUDIT_FILE)])
    renderer.prepare([image.image_path for gallery in chosen for image in gallery.images])
    return CategoryContent(
        category=category,
        model=model,
        images=tuple(sorted(images, key=lambda image: (-image.score, image.image_path))),
        groups=groups,
        beside=_beside(request, images),
        scale=scale,
        galleries=tuple(
            ShownGallery(gallery, tuple(renderer.card(image) for image in gallery.images)) for gallery in chosen
        ),
    )


def _beside(request: PageRequest, images: Sequence[ScoredImage]) -> ScoreGroups | None:
    """Return the scores of the same images in the run for comparison; None if there are none."""
    if request.beside is None:
        return None
    by_path = {image.image_path: image for image in request.beside.scored_images(request.category)}
    same = [by_path[image.image_path] for image in images if image.image_path in by_path]
    if not same:
        return None
    stored = request.beside.stored_model(request.category, same[0].model_version)
    return ScoreGroups.of(same, stored.model.holdout_scores)


def _scale(groups: ScoreGroups, model: Model) -> Scale:
    """Return a scale from 0, the median of the good patches by equation 11, to the highest image scores."""
    scores = groups.every()
    highest = float(np.percentile(scores, 98)) if scores else 1.0
    return Scale(0.0, max(highest, 1.5 * (model.threshold or 0.0), 1.0))


def _summary(request: PageRequest, content: CategoryContent) -> CategorySummary:
    """Return the summary of a category."""
    model, groups = content.model, content.groups
    judged = [image for image in content.images if image.is_anomaly is not None]
    metrics = request.metrics[0] if request.metrics else _metrics_of(content)
    return CategorySummary(
        category=content.category,
        page=page_name(content.category),
        images=len(content.images),
        alarms=sum(bool(image.is_anomaly) for image in judged) if judged else None,
        missed=sum(image.label == 1 and not image.is_anomaly for image in judged) if groups.defective else None,
        false_alarms=sum(image.label == 0 and bool(image.is_anomaly) for image in judged) if groups.good else None,
        good=len(groups.good),
        defective=len(groups.defective),
        threshold=model.threshold,
        bound=model.false_alarm_bound,
        held_out=len(model.holdout_scores),
        version=model.version,
        **{name: getattr(metrics, name) for name in _METRICS},
        **{name: getattr(request.night, name) for name in _NIGHT if request.night is not None},
        spark=_sparkline(groups, model.threshold),
        scale=(content.scale.low, content.scale.high),
    )


def _sparkline(groups: ScoreGroups, threshold: float | None) -> Sparkline:
    """Return the histogram of a category's scores for the overview."""
    good = np.array([*groups.heldout, *groups.good])
    others = np.array([*groups.defective, *groups.unlabeled])
    every = np.concatenate([good, others])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    return Sparkline(
        good=tuple(counts(good, low, high, _BINS).tolist()),
        others=tuple(counts(others, low, high, _BINS).tolist()),
        threshold=None if threshold is None else (threshold - low) / max(high - low, 1e-9),
    )


def _metrics_of(content: CategoryContent) -> MetricsRow:
    """Return the metrics of the labeled images of a nightly run, which has no metrics.parquet."""
    metrics = image_metrics(*content.groups.labeled())
    return MetricsRow(
        category=content.category,
        model="ensemble",
        image_auroc=metrics.auroc,
        image_ap=metrics.ap,
        image_f1max=metrics.f1max,
        d_prime=metrics.d_prime,
    )


def _page(request: PageRequest, content: CategoryContent, summary: CategorySummary) -> str:
    """Return the HTML of the page."""
    model, beside = content.model, content.beside
    listed = content.images[:_LISTED]
    return render_page(
        "category.html",
        root="..",
        title=content.category,
        model=model,
        summary=summary,
        metrics=request.metrics,
        scale=content.scale,
        galleries=content.galleries,
        data={
            "threshold": None if model.threshold is None else _short(model.threshold),
            "groups": _shortened(content.groups),
            "images": [[image.image_path, _short(image.score), image.label] for image in listed],
            "beside": None if beside is None else _shortened(beside),
        },
        d_prime=content.groups.d_prime,
        d_prime_beside=None if beside is None else beside.d_prime,
        listed=len(listed),
        names=[member.backbone for member in model.members],
        previous=_link(request.neighbors[0]),
        following=_link(request.neighbors[1]),
    )


def _link(category: str | None) -> PageLink | None:
    """Return the link to the page of a category; None for no category."""
    return None if category is None else PageLink(category, page_name(category))


def _shortened(groups: ScoreGroups) -> dict[str, list[float]]:
    """Return name of the group → rounded scores."""
    return {name: [_short(score) for score in scores] for name, scores in groups.by_name().items()}


def _short(score: float) -> float:
    """Round a score to nine digits, which distinguish all single-precision values."""
    return float(f"{score:.9g}")
