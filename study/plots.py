"""Plots of the study's page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import matplotlib as mpl

from study.page import over_categories
from study.results import ResultsByRecipe

mpl.use("Agg")
import matplotlib.pyplot as plt


def front(trials: ResultsByRecipe, file: Path) -> None:
    """Plot the accuracy as a function of the time per image and of the size of the memory bank.

    A line connects the recipes for which no recipe of the same or a lower cost is more accurate.

    Args:
        trials: Results by recipe. Recipes that use all good images are not comparable and are omitted.
        file: PNG file to write.
    """
    trials = {name: results for name, results in trials.items() if not name.endswith("all good images")}
    figure, sides = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained", sharey=True)
    auroc = {name: over_categories(results) for name, results in trials.items()}
    milliseconds = {
        name: 1000
        * (
            mean(result.costs.extract_seconds_per_image for result in results)
            + mean(result.costs.score_seconds_per_image for result in results)
        )
        for name, results in trials.items()
    }
    megabytes = {name: mean(result.costs.bank_bytes for result in results) / 1e6 for name, results in trials.items()}
    for axes, cost, label in zip(sides, (milliseconds, megabytes), ("milliseconds per image", "bank, MB"), strict=True):
        best = _undominated(cost, auroc)
        axes.plot([cost[name] for name in best], [auroc[name] for name in best], color="0.7", zorder=0)
        for name in trials:
            axes.scatter(cost[name], auroc[name], s=16, color="C0" if name in best else "0.5")
            if name in best:
                axes.annotate(name, (cost[name], auroc[name]), (4, -9), textcoords="offset points", fontsize=7)
        axes.set(xscale="log", xlabel=label)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="x", which="minor", labelsize=7)
    sides[0].set_ylabel("image AUROC, mean of categories, %")
    _save(figure, file)


def banks(trials: ResultsByRecipe, file: Path) -> None:
    """Plot the accuracy as a function of the share of patches in the memory bank, with the center crop.

    Args:
        trials: Results by recipe. The plot has one line for each category.
        file: PNG file to write.
    """
    shares = {name: float(match[1]) for name in trials if (match := re.fullmatch(r"crop 224, ([\d.]+) %", name))}
    categories = sorted({result.category for results in trials.values() for result in results})
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for category in categories:
        results = [next(result for result in trials[name] if result.category == category) for name in shares]
        aurocs = [100 * result.image_auroc for result in results]
        axes.plot(list(shares.values()), aurocs, marker="o", label=category)
    axes.set(xscale="log", xlabel="bank, % of the patches", ylabel="image AUROC, %")
    axes.set_xticks(list(shares.values()), [f"{share:g}" for share in shares.values()])
    axes.legend(frameon=False)
    _save(figure, file)


def _undominated(cost: Mapping[str, float], gain: Mapping[str, float]) -> list[str]:
    """Return the names that no other name of the same or a lower cost exceeds in gain, in order of cost."""
    best: list[str] = []
    for name in sorted(cost, key=lambda name: (cost[name], -gain[name])):
        if not best or gain[name] > gain[best[-1]]:
            best.append(name)
    return best


def _save(figure: mpl.figure.Figure, file: Path) -> None:
    figure.savefig(file, dpi=110)
    plt.close(figure)
