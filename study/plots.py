"""The page's plots."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import matplotlib as mpl

from study.page import Rows, over_categories

mpl.use("Agg")
import matplotlib.pyplot as plt

_SCORING = ("extract_seconds_per_image", "score_seconds_per_image")


def front(trials: Mapping[str, Rows], file: Path) -> None:
    """Accuracy against seconds an image, and against bytes of the bank; the recipes that none beats in both are
    joined by a line. Only recipes that learn from as many images are comparable."""
    trials = {name: rows for name, rows in trials.items() if not name.endswith("all good images")}
    figure, sides = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained", sharey=True)
    auroc = {name: over_categories(rows) for name, rows in trials.items()}
    milliseconds = {
        name: 1000 * sum(mean(row["costs"][what] for row in rows) for what in _SCORING) for name, rows in trials.items()
    }
    megabytes = {name: mean(row["costs"]["bank_bytes"] for row in rows) / 1e6 for name, rows in trials.items()}
    for axes, cost, what in zip(sides, (milliseconds, megabytes), ("milliseconds an image", "bank, MB"), strict=True):
        best = _undominated(cost, auroc)
        axes.plot([cost[name] for name in best], [auroc[name] for name in best], color="0.7", zorder=0)
        for name in trials:
            axes.scatter(cost[name], auroc[name], s=16, color="C0" if name in best else "0.5")
            if name in best:
                axes.annotate(name, (cost[name], auroc[name]), (4, -9), textcoords="offset points", fontsize=7)
        axes.set(xscale="log", xlabel=what)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="minor", labelsize=7)
    sides[0].set_ylabel("image AUROC, mean of categories, %")
    _save(figure, file)


def banks(trials: Mapping[str, Rows], file: Path) -> None:
    """Accuracy against the bank's share, a line a category, for the crop."""
    shares = {name: float(found[1]) for name in trials if (found := re.fullmatch(r"crop 224, ([\d.]+) %", name))}
    categories = sorted({row["category"] for rows in trials.values() for row in rows})
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for category in categories:
        lines = [next(row for row in trials[name] if row["category"] == category) for name in shares]
        axes.plot(list(shares.values()), [100 * row["image_auroc"] for row in lines], marker="o", label=category)
    axes.set(xscale="log", xlabel="bank, % of the patches", ylabel="image AUROC, %")
    axes.set_xticks(list(shares.values()), [f"{share:g}" for share in shares.values()])
    axes.legend(frameon=False)
    _save(figure, file)


def _undominated(cost: Mapping[str, float], gain: Mapping[str, float]) -> list[str]:
    """Names in order of cost, of those that nothing as cheap beats."""
    found: list[str] = []
    for name in sorted(cost, key=lambda each: (cost[each], -gain[each])):
        if not found or gain[name] > gain[found[-1]]:
            found.append(name)
    return found


def _save(figure: mpl.figure.Figure, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)
