"""Figures for papers and slides: scores (as in Figure 3 of the paper), curves, and examples (as in its Figure 4)."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image as Pillow

from pipelines.report.content import CategoryContent, ShownGallery
from pipelines.report.gallery import DETECTED, FLAGGED
from pipelines.report.render import Card
from pipelines.report.rows import ScoredImage
from pipelines.storage.paths import folder_name
from pipelines.storage.store import Store
from reconpatch.evaluation.metrics import precision_and_recall, roc

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

FOLDER = "figures"
# Colors of Okabe and Ito, which color-blind people can distinguish.
_COLORS = {"heldout": "#5b6570", "good": "#0072b2", "defective": "#d55e00", "unlabeled": "#cc79a7"}
_LABELS = {"heldout": "calibration", "good": "good", "defective": "defective", "unlabeled": "unlabeled"}
_TRUTH, _REGION, _STAR = "#e69f00", "#00c48f", "#ffd400"
_EXAMPLES = 5


def draw_figures(report: Store, content: CategoryContent, formats: Sequence[str]) -> None:
    """Write the figures <category>-scores, <category>-curves and <category>-examples in each format.

    Curves require good and defective images. Examples require images with anomaly maps.

    Args:
        report: Folder of the report, which contains the rendered images.
        content: Content of the category's page.
        formats: File formats, from `FIGURE_FORMATS`.
    """
    drawn = {"scores": _scores(content)}
    if content.groups.good and content.groups.defective:
        drawn["curves"] = _curves(content)
    examples = _chosen(content.galleries)
    if examples:
        drawn["examples"] = _examples(report, content, examples)
    for name, figure in drawn.items():
        for file_format in formats:
            buffer = io.BytesIO()
            # Without date and version, the same scores result in the same file.
            metadata = {"png": {"Software": None}, "svg": {"Date": None}}.get(file_format)
            figure.savefig(buffer, format=file_format, dpi=110, metadata=metadata)
            report.write(f"{FOLDER}/{folder_name(content.category)}-{name}.{file_format}", buffer.getvalue())
        plt.close(figure)


def _scores(content: CategoryContent) -> Figure:
    """Draw the histograms of the scores, with those of the run for comparison beside them."""
    panels = [(content.category, content.groups, content.model.threshold)]
    if content.beside is not None:
        panels.append(("comparison run", content.beside, None))
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 3.4), layout="constrained", squeeze=False)
    for axis, (title, groups, threshold) in zip(axes[0], panels, strict=True):
        every = groups.every()
        edges = np.linspace(min(every), max(every), 51)
        for name, scores in groups.by_name().items():
            if scores:
                share = np.full(len(scores), 1.0 / len(scores))
                kind = "step" if name == "heldout" else "stepfilled"
                label = f"{_LABELS[name]} ({len(scores)})"
                axis.hist(scores, edges, weights=share, histtype=kind, alpha=0.55, color=_COLORS[name], label=label)
        if threshold is not None:
            axis.axvline(threshold, color="black", linestyle="--", linewidth=1.0, label="threshold")
        heading = title if groups.d_prime is None else f"{title}, d′ = {groups.d_prime:.2f}"
        axis.set_title(heading, fontsize=10, parse_math=False)  # The name of a category can contain a $.
        axis.set_xlabel("score")
        axis.set_ylabel("share of images")
        axis.legend(fontsize=8, frameon=False)
    return figure


def _curves(content: CategoryContent) -> Figure:
    """Draw the ROC curve and the precision-recall curve of the labeled images."""
    scores, labels = content.groups.labeled()
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), layout="constrained")
    left.plot(*roc(scores, labels), color=_COLORS["good"])
    left.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    left.set_xlabel("false-positive rate")
    left.set_ylabel("true-positive rate")
    precision, recall = precision_and_recall(scores, labels)
    right.plot(recall, precision, color=_COLORS["good"])
    right.set_xlabel("recall")
    right.set_ylabel("precision")
    for axis in (left, right):
        axis.set_xlim(-0.01, 1.01)
        axis.set_ylim(-0.01, 1.01)
        axis.set_aspect("equal")
    figure.suptitle(content.category, fontsize=10, parse_math=False)
    return figure


def _chosen(galleries: Sequence[ShownGallery]) -> list[tuple[str, Card]]:
    """Return (title of the gallery, card) of at most `_EXAMPLES` images that are chosen by rank.

    The first images of all galleries are chosen, then the second images, and so on. Flagged images that are defective
    or unlabeled come first.
    """
    ordered = sorted(galleries, key=lambda shown: shown.gallery.title not in (DETECTED, FLAGGED))
    longest = max((len(shown.cards) for shown in ordered), default=0)
    chosen = [
        (shown.gallery.title, shown.cards[rank])
        for rank in range(longest)
        for shown in ordered
        if rank < len(shown.cards) and shown.cards[rank].picture and shown.cards[rank].map
    ][:_EXAMPLES]
    titles = [shown.gallery.title for shown in ordered]
    return sorted(chosen, key=lambda titled: titles.index(titled[0]))


def _examples(report: Store, content: CategoryContent, examples: Sequence[tuple[str, Card]]) -> Figure:
    """Draw each example as an image, an anomaly map, and outlines of the mask and the region above the threshold."""
    tallest = max(card.height / card.width for _, card in examples)
    figure, axes = plt.subplots(
        3,
        len(examples),
        figsize=(2.3 * len(examples) + 0.6, 3 * 2.3 * min(tallest, 1.6)),
        layout="constrained",
        squeeze=False,
    )
    for column, (title, card) in zip(axes.T, examples, strict=True):
        picture, heat = (_read(report, name) for name in (card.picture, card.map))
        extent = (0, card.width, card.height, 0)
        for axis in column:
            axis.imshow(picture, extent=extent)
            axis.set_axis_off()
        column[1].imshow(heat, extent=extent, alpha=0.9)
        for outline, color in ((card.region, _REGION), (card.truth, _TRUTH)):
            for polygon in _polygons(outline):
                column[2].fill(*polygon.T, fill=False, edgecolor=color, linewidth=1.6)
        if card.star is not None:
            column[2].plot(*card.star, marker="*", color=_STAR, markersize=12, markeredgecolor="black", linewidth=0)
        words = title.lower().rstrip("s")
        if isinstance(card.image, ScoredImage):
            words = f"{words}, {card.image.score:.1f}"
        column[0].set_title(words, fontsize=9, loc="left")
    colors = mpl.cm.ScalarMappable(mpl.colors.Normalize(content.scale.low, content.scale.high), "inferno")
    bar = figure.colorbar(colors, ax=axes, fraction=0.02, pad=0.01, shrink=0.4)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(
        f"{content.category}: image, anomaly map, mask (orange) and region above the threshold (green)",
        fontsize=9,
        parse_math=False,
    )
    return figure


def _read(report: Store, name: str | None) -> np.ndarray[Any, Any]:
    """Return the pixels of an image file of the report."""
    return np.asarray(Pillow.open(io.BytesIO(report.read(str(name)))))


def _polygons(path: str) -> list[np.ndarray[Any, Any]]:
    """Return the corners (x, y) of each polygon of an SVG path, each of shape (n, 2)."""
    polygons = re.findall(r"M([^Z]*)Z", path)
    return [np.array([point.split(",") for point in polygon.split()], np.float64) for polygon in polygons]
