"""Write the tables of the study into docs/accuracy.md, between its marks; the text around them is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from reconpatch.evaluation.metrics import image_auroc
from study.guarantees import ObservedRate, cross_fitted, with_holdout
from study.intervals import gain
from study.results import ResultsByRecipe, TrialResult


def write(page: Path, trials: Mapping[str, ResultsByRecipe]) -> None:
    """Write the tables of all parts into the page.

    Args:
        page: Markdown file.
        trials: Name of a part → its results.

    Raises:
        ValueError: The page does not have the marks of a table.
    """
    adapters = trials["adapter"]
    fill(
        page,
        {
            "recipe": by_category(trials["recipe"]),
            "front": costs(trials["recipe"]),
            "adapter": by_category(adapters, against="identity"),
            "steps": by_category(trials["steps"], against="60 epochs, all steps"),
            "holdout": _holdout(trials["holdout"]),
            "dirty": by_category(trials["dirty"]),
            "choice": _choice(trials["choice"]),
            "final": by_category(trials["final"], against=next(iter(trials["final"]))),
            "gains": gains(trials["final"], "default ensemble"),
            "seeds": by_seed(trials["final"]),
        },
    )


def fill(page: Path, blocks: Mapping[str, str]) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- end of NAME -->`.

    Args:
        page: Markdown file.
        blocks: Name of a block → its new text.

    Raises:
        ValueError: The page does not have the marks of a block.
    """
    text = page.read_text()
    for name, block in blocks.items():
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page}: has no marks {marks[0]} and {marks[1]}. Add them where the table belongs.")
        before, after = pattern.split(text, maxsplit=1)
        text = f"{before}{marks[0]}\n\n{block.strip()}\n\n{marks[1]}{after}"
    page.write_text(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with the first column aligned to the left and the others to the right.

    Args:
        header: Column headings.
        rows: Rows, with one cell for each column.
    """
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(results: Sequence[TrialResult]) -> str:
    """Return the means of image AUROC in %, d', and pixel AUROC in % (only if there are masks), as one cell.

    Args:
        results: Results of one recipe.
    """
    pixels = [result.pixel_auroc for result in results if result.pixel_auroc is not None]
    auroc, d_prime = mean(result.image_auroc for result in results), mean(result.d_prime for result in results)
    return " / ".join([f"{100 * auroc:.1f}", f"{d_prime:.2f}"] + ([f"{100 * mean(pixels):.1f}"] if pixels else []))


def by_category(trials: ResultsByRecipe, against: str | None = None) -> str:
    """Return a table with a row for each recipe, a column for each category, and the mean image AUROC in %.

    Args:
        trials: Results by recipe.
        against: Reference recipe for a column of gains; None adds no such column.
    """
    categories = _categories(trials)
    lines = []
    for name, results in trials.items():
        cells = [figures(_of(results, category)) for category in categories]
        line = [name, *cells, f"{over_categories(results):.2f}"]
        if against is not None:
            line.append("" if name == against else str(gain(results, trials[against])))
        lines.append(line)
    more = [] if against is None else [f"gain over {against}"]
    return table(["recipe", *categories, "mean", *more], lines)


def gains(trials: ResultsByRecipe, ours: str) -> str:
    """Return a table of the gains of one recipe over each other recipe, for each category and their mean.

    Args:
        trials: Results by recipe.
        ours: Name of the recipe.
    """
    categories = _categories(trials)
    lines = []
    for name, results in trials.items():
        if name != ours:
            by_name = [gain(_of(trials[ours], category), _of(results, category)) for category in categories]
            lines.append([name, *map(str, by_name), str(gain(trials[ours], results))])
    return table([f"gain of {ours} over", *categories, "mean"], lines)


def by_seed(trials: ResultsByRecipe) -> str:
    """Return a table of the image AUROC of each seed, in %.

    Args:
        trials: Results by recipe.
    """
    categories = _categories(trials)
    lines = []
    for name, results in trials.items():
        for seed in sorted({result.seed for result in results}):
            auroc = {result.category: f"{100 * result.image_auroc:.2f}" for result in results if result.seed == seed}
            lines.append([f"{name}, seed {seed}", *(auroc[category] for category in categories)])
    return table(["recipe", *categories], lines)


def costs(trials: ResultsByRecipe) -> str:
    """Return a table of the costs of the recipes, means over categories.

    Args:
        trials: Results by recipe.
    """
    lines = []
    for name, results in trials.items():
        extract = mean(result.costs.extract_seconds_per_image for result in results)
        score = mean(result.costs.score_seconds_per_image for result in results)
        train = mean(result.costs.train_seconds for result in results)
        select = mean(result.costs.select_seconds for result in results)
        bank = mean(result.costs.bank_bytes for result in results)
        lines.append(
            [
                name,
                f"{over_categories(results):.2f}",
                f"{1000 * extract:.0f}",
                f"{1000 * score:.0f}",
                f"{train + select:.0f}",
                f"{bank / 1e6:.1f}",
            ]
        )
    header = [
        "recipe",
        "mean AUROC",
        "extraction, ms/image",
        "scoring, ms/image",
        "training + selection, s",
        "bank, MB",
    ]
    return table(header, lines)


def over_categories(results: Sequence[TrialResult]) -> float:
    """Return the mean over categories of the image AUROC, in %.

    Args:
        results: Results of one recipe.
    """
    names = {result.category for result in results}
    return float(100 * mean(mean(result.image_auroc for result in _of(results, name)) for name in names))


def _holdout(trials: ResultsByRecipe) -> str:
    folds = [result for name, results in trials.items() if name.startswith("20 %") for result in results]
    thresholds = {
        "10 % held out": with_holdout(trials["10 %"]),
        "20 % held out": with_holdout(trials["20 %, fold 0"]),
        "own entries excluded": with_holdout(trials["no hold-out"]),
        "cross-fitted": cross_fitted(trials["no hold-out"], folds),
    }
    lines = [_observed(name, rate) for name, rates in thresholds.items() for rate in rates]
    shown = ("no hold-out", "10 %", "20 %, fold 0")
    accuracy = by_category({name: trials[name] for name in shown}, against="no hold-out")
    header = ["thresholds", "category", "target rate", "calibration images", "guaranteed bound"]
    header += ["observed rate", "95 % interval", "defects flagged"]
    return f"{accuracy}\n\n{table(header, lines)}"


def _observed(name: str, rate: ObservedRate) -> list[str]:
    low, high = rate.interval
    return [
        name,
        rate.category,
        f"{rate.rate:.0%}",
        str(rate.held_out),
        f"{rate.bound:.1%}",
        f"{rate.alarms / rate.images:.1%} ({rate.alarms} of {rate.images})",
        f"{low:.1%} to {high:.1%}",
        f"{rate.detected:.0%}",
    ]


def _choice(trials: ResultsByRecipe) -> str:
    """Return the table of the part `choice`: AUROC with pasted defects / AUROC of the test set, for each recipe."""
    lines = []
    for category in _categories(trials):
        results = {name: _of(by_recipe, category)[0] for name, by_recipe in trials.items()}
        pasted = {name: pasted_auroc(result) for name, result in results.items()}
        tested = {name: result.image_auroc for name, result in results.items()}
        picked, best = (max(aurocs, key=lambda name: aurocs[name]) for aurocs in (pasted, tested))
        cells = [f"{100 * pasted[name]:.1f} / {100 * tested[name]:.1f}" for name in results]
        lines.append([category, *cells, "yes" if picked == best else "no"])
    return table(["category", *trials, "best recipe picked"], lines)


def pasted_auroc(result: TrialResult) -> float:
    """Return the image AUROC of copies with pasted defects and the held-out images from which they were made, 0 to 1.

    Args:
        result: Result of a trial that scored both.
    """
    good, defective = result.holdout_scores, result.pasted_scores
    auroc = image_auroc(np.array(good + defective), np.array([0] * len(good) + [1] * len(defective)))
    assert auroc is not None
    return auroc


def _categories(trials: ResultsByRecipe) -> list[str]:
    return sorted({result.category for results in trials.values() for result in results})


def _of(results: Sequence[TrialResult], category: str) -> list[TrialResult]:
    return [result for result in results if result.category == category]
