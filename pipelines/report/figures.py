"""Figures for papers and slides: the scores (the paper's Figure 3), the curves, and examples (its Figure 4)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image as Pillow

from pipelines.report.gallery import Gallery
from pipelines.report.render import Card, Scale
from pipelines.rundir import folder_name
from pipelines.storage import Store
from reconpatch.metrics import precision_and_recall, roc

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

FOLDER = "figures"
# Okabe and Ito's colours, which everybody can tell apart.
_COLOURS = {"heldout": "#5b6570", "good": "#0072b2", "defective": "#d55e00", "unlabelled": "#cc79a7"}
_LABELS = {"heldout": "good, held out", "good": "good", "defective": "defective", "unlabelled": "not labelled"}
_TRUTH, _REGION, _STAR = "#e69f00", "#00c48f", "#ffd400"
_EXAMPLES = 5


def draw_figures(
    report: Store,
    category: str,
    formats: Sequence[str],
    groups: Mapping[str, Sequence[float]],
    threshold: float | None,
    separation: Mapping[str, float | None],
    beside: Mapping[str, Sequence[float]] | None,
    cards: Sequence[tuple[Gallery, Sequence[Card]]],
    scale: Scale,
) -> None:
    """Write <category>-scores, -curves and -examples in each format, as far as there is something to draw."""
    drawn = {"scores": _scores(category, groups, threshold, separation, beside)}
    if groups["good"] and groups["defective"]:
        drawn["curves"] = _curves(category, groups)
    shown = _chosen(cards)
    if shown:
        drawn["examples"] = _examples(report, category, shown, scale)
    for what, figure in drawn.items():
        for kind in formats:
            buffer = io.BytesIO()
            # Neither date nor version: the same scores make the same file.
            figure.savefig(
                buffer, format=kind, dpi=110, metadata={"png": {"Software": None}, "svg": {"Date": None}}.get(kind)
            )
            report.write(f"{FOLDER}/{folder_name(category)}-{what}.{kind}", buffer.getvalue())
        plt.close(figure)


def _scores(
    category: str,
    groups: Mapping[str, Sequence[float]],
    threshold: float | None,
    separation: Mapping[str, float | None],
    beside: Mapping[str, Sequence[float]] | None,
) -> Figure:
    panels = [(category, groups, threshold, separation["here"])]
    if beside is not None:
        panels.append(("the other run", beside, None, separation["beside"]))
    figure, axes = plt.subplots(1, len(panels), figsize=(5.5 * len(panels), 3.4), layout="constrained", squeeze=False)
    for axis, (title, shown, line, d_prime) in zip(axes[0], panels, strict=True):
        every = [score for scores in shown.values() for score in scores]
        edges = np.linspace(min(every), max(every), 51)
        for name, scores in shown.items():
            if scores:
                share = np.full(len(scores), 1.0 / len(scores))
                kind = "step" if name == "heldout" else "stepfilled"
                label = f"{_LABELS[name]} ({len(scores)})"
                axis.hist(scores, edges, weights=share, histtype=kind, alpha=0.55, color=_COLOURS[name], label=label)
        if line is not None:
            axis.axvline(line, color="black", linestyle="--", linewidth=1.0, label="threshold")
        told = title if d_prime is None else f"{title}, d′ = {d_prime:.2f}"
        axis.set_title(told, fontsize=10, parse_math=False)  # a category's name may hold a $
        axis.set_xlabel("score")
        axis.set_ylabel("share of images")
        axis.legend(fontsize=8, frameon=False)
    return figure


def _curves(category: str, groups: Mapping[str, Sequence[float]]) -> Figure:
    good, defective = groups["good"], groups["defective"]
    scores = np.array([*good, *defective])
    labels = np.repeat([0, 1], [len(good), len(defective)])
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.6), layout="constrained")
    left.plot(*roc(scores, labels), color=_COLOURS["good"])
    left.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=0.8)
    left.set_xlabel("good called")
    left.set_ylabel("defective called")
    precision, recall = precision_and_recall(scores, labels)
    right.plot(recall, precision, color=_COLOURS["good"])
    right.set_xlabel("defective called")
    right.set_ylabel("of the called, defective")
    for axis in (left, right):
        axis.set_xlim(-0.01, 1.01)
        axis.set_ylim(-0.01, 1.01)
        axis.set_aspect("equal")
    figure.suptitle(category, fontsize=10, parse_math=False)
    return figure


def _chosen(cards: Sequence[tuple[Gallery, Sequence[Card]]]) -> list[tuple[str, Card]]:
    """The first of each gallery, then the second, as far as there is room, hits first; nothing is picked by hand."""
    cards = sorted(cards, key=lambda each: each[0].title not in ("Hits", "Alarms"))
    longest = max((len(shown) for _, shown in cards), default=0)
    ranked = [
        (gallery.title, shown[rank])
        for rank in range(longest)
        for gallery, shown in cards
        if rank < len(shown) and shown[rank].picture and shown[rank].map
    ][:_EXAMPLES]
    order = [gallery.title for gallery, _ in cards]
    return sorted(ranked, key=lambda each: order.index(each[0]))


def _examples(report: Store, category: str, shown: Sequence[tuple[str, Card]], scale: Scale) -> Figure:
    tallest = max(card.height / card.width for _, card in shown)
    figure, axes = plt.subplots(
        3,
        len(shown),
        figsize=(2.3 * len(shown) + 0.6, 3 * 2.3 * min(tallest, 1.6)),
        layout="constrained",
        squeeze=False,
    )
    for column, (title, card) in zip(axes.T, shown, strict=True):
        picture, heat = (_read(report, name) for name in (card.picture, card.map))
        place = (0, card.width, card.height, 0)
        for axis in column:
            axis.imshow(picture, extent=place)
            axis.set_axis_off()
        column[1].imshow(heat, extent=place, alpha=0.9)
        for outline, colour in ((card.region, _REGION), (card.truth, _TRUTH)):
            for polygon in _polygons(outline):
                column[2].fill(*polygon.T, fill=False, edgecolor=colour, linewidth=1.6)
        if card.star is not None:
            column[2].plot(*card.star, marker="*", color=_STAR, markersize=12, markeredgecolor="black", linewidth=0)
        told = card.row.get("score")
        words = title.lower().rstrip("s") if told is None else f"{title.lower().rstrip('s')}, {told:.1f}"
        column[0].set_title(words, fontsize=9, loc="left")
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(scale.low, scale.high), "inferno")
    bar = figure.colorbar(colours, ax=axes, fraction=0.02, pad=0.01, shrink=0.4)
    bar.ax.tick_params(labelsize=7)
    figure.suptitle(
        f"{category}: the picture, its anomaly map, and what is masked (orange) and above the threshold (green)",
        fontsize=9,
        parse_math=False,
    )
    return figure


def _read(report: Store, name: str | None) -> np.ndarray[Any, Any]:
    return np.asarray(Pillow.open(io.BytesIO(report.read(str(name)))))


def _polygons(path: str) -> list[np.ndarray[Any, Any]]:
    """The corners of an SVG path's polygons, (n, 2)."""
    found = re.findall(r"M([^Z]*)Z", path)
    return [np.array([point.split(",") for point in each.split()], np.float64) for each in found]
