"""The page of the study: tables between the marks of docs/accuracy.md; the text around them is kept."""

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
        trials: part → results.

    Raises:
        ValueError: the page lacks the marks of a table.
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
        blocks: name → new text.

    Raises:
        ValueError: the page lacks the marks of a block.
    """
    text = page.read_text()
    for name, block in blocks.items():
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page}: has no {marks[0]} … {marks[1]} for the table.")
        before, after = pattern.split(text, maxsplit=1)
        text = f"{before}{marks[0]}\n{block.strip()}\n{marks[1]}{after}"
    page.write_text(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column aligned to the left and the others to the right.

    Args:
        header: a cell a column.
        rows: a cell a column each.
    """
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(results: Sequence[TrialResult]) -> str:
    """Return image AUROC, d' and, where there are masks, pixel AUROC: means over the results."""
    pixels = [result.pixel_auroc for result in results if result.pixel_auroc is not None]
    auroc, d_prime = mean(result.image_auroc for result in results), mean(result.d_prime for result in results)
    return " / ".join([f"{100 * auroc:.1f}", f"{d_prime:.2f}"] + ([f"{100 * mean(pixels):.1f}"] if pixels else []))


def by_category(trials: ResultsByRecipe, against: str | None = None) -> str:
    """Return a table with a row a recipe, a column a category, and the mean AUROC over categories.

    Args:
        trials: results by recipe.
        against: recipe of which the gains over it are added; None for none.
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
    """Return a table of a recipe's gains over each other recipe, by category and in the mean.

    Args:
        trials: results by recipe.
        ours: the recipe.
    """
    categories = _categories(trials)
    lines = []
    for name, results in trials.items():
        if name != ours:
            by_name = [gain(_of(trials[ours], category), _of(results, category)) for category in categories]
            lines.append([name, *map(str, by_name), str(gain(trials[ours], results))])
    return table([f"{ours} against", *categories, "mean"], lines)


def by_seed(trials: ResultsByRecipe) -> str:
    """Return a table of the image AUROC of every seed."""
    categories = _categories(trials)
    lines = []
    for name, results in trials.items():
        for seed in sorted({result.seed for result in results}):
            auroc = {result.category: f"{100 * result.image_auroc:.2f}" for result in results if result.seed == seed}
            lines.append([f"{name}, seed {seed}", *(auroc[category] for category in categories)])
    return table(["recipe", *categories], lines)


def costs(trials: ResultsByRecipe) -> str:
    """Return a table of the recipes' costs, means over categories."""
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
    return table(["recipe", "mean AUROC", "extract, ms", "score, ms", "fit, s", "bank, MB"], lines)


def over_categories(results: Sequence[TrialResult]) -> float:
    """Return the mean over categories of the image AUROC, in hundredths."""
    names = {result.category for result in results}
    return float(100 * mean(mean(result.image_auroc for result in _of(results, name)) for name in names))


def _holdout(trials: ResultsByRecipe) -> str:
    folds = [result for name, results in trials.items() if name.startswith("20 %") for result in results]
    thresholds = {
        "10 % held out": with_holdout(trials["10 %"]),
        "20 % held out": with_holdout(trials["20 %, fold 0"]),
        "own entries left out": with_holdout(trials["none"]),
        "cross-fitted": cross_fitted(trials["none"], folds),
    }
    lines = [_observed(name, rate) for name, rates in thresholds.items() for rate in rates]
    accuracy = by_category({name: trials[name] for name in ("none", "10 %", "20 %, fold 0")}, against="none")
    header = ["thresholds", "category", "target", "good images", "bound", "observed", "95 % interval", "defects found"]
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
    """Return a table with a column a recipe: AUROC of pasted defects among held-out images, and of the test set."""
    lines = []
    for category in _categories(trials):
        results = {name: _of(by_recipe, category)[0] for name, by_recipe in trials.items()}
        pasted = {name: pasted_auroc(result) for name, result in results.items()}
        tested = {name: result.image_auroc for name, result in results.items()}
        picked, best = (max(aurocs, key=lambda name: aurocs[name]) for aurocs in (pasted, tested))
        cells = [f"{100 * pasted[name]:.1f} / {100 * tested[name]:.1f}" for name in results]
        lines.append([category, *cells, "yes" if picked == best else "no"])
    return table(["category", *trials, "picks the best"], lines)


def pasted_auroc(result: TrialResult) -> float:
    """Return the AUROC of copies with pasted defects against the held-out images that they are copies of."""
    good, defective = result.holdout_scores, result.pasted_scores
    auroc = image_auroc(np.array(good + defective), np.array([0] * len(good) + [1] * len(defective)))
    assert auroc is not None
    return auroc


def _categories(trials: ResultsByRecipe) -> list[str]:
    return sorted({result.category for results in trials.values() for result in results})


def _of(results: Sequence[TrialResult], category: str) -> list[TrialResult]:
    return [result for result in results if result.category == category]
