"""The page of the study: tables and plots put between the marks of docs/accuracy.md; the words around them stay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from reconpatch.metrics import image_auroc
from study.intervals import gain
from study.promises import Met, cross_fitted, with_holdout

Rows = Sequence[Mapping[str, Any]]
Found = dict[str, list[dict[str, Any]]]  # rows by recipe


def write(page: Path, trials: Mapping[str, Found]) -> None:
    """Fill the page's marks from all parts' trials.

    Raises:
        ValueError: the page lacks the marks of a block.
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
    """Replace what stands between `<!-- NAME -->` and `<!-- end of NAME -->`.

    Raises:
        ValueError: the page lacks the marks of a block.
    """
    text = page.read_text()
    for name, block in blocks.items():
        marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"{page}: has no {marks[0]} … {marks[1]} to put the table into.")
        before, after = pattern.split(text, maxsplit=1)
        text = f"{before}{marks[0]}\n{block.strip()}\n{marks[1]}{after}"
    page.write_text(text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is words, the others are figures."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(rows: Rows) -> str:
    """Image AUROC, d' and, where there are masks, pixel AUROC: means over the rows."""
    pixels = [row["pixel_auroc"] for row in rows if row["pixel_auroc"] is not None]
    parts = [f"{100 * mean(row['image_auroc'] for row in rows):.1f}", f"{mean(row['d_prime'] for row in rows):.2f}"]
    return " / ".join(parts + ([f"{100 * mean(pixels):.1f}"] if pixels else []))


def by_category(trials: Mapping[str, Rows], against: str | None = None) -> str:
    """A row a recipe, a column a category, and the mean AUROC over categories; the gain over a recipe where one is
    named."""
    categories = _categories(trials)
    lines = []
    for name, rows in trials.items():
        cells = [figures(_of(rows, category)) for category in categories]
        line = [name, *cells, f"{over_categories(rows):.2f}"]
        if against is not None:
            line.append("" if name == against else str(gain(rows, trials[against])))
        lines.append(line)
    more = [] if against is None else [f"gain over {against}"]
    return table(["recipe", *categories, "mean", *more], lines)


def gains(trials: Mapping[str, Rows], ours: str) -> str:
    """A row a rival: by how much a recipe is above it, category by category and in the mean."""
    categories = _categories(trials)
    lines = []
    for name, rows in trials.items():
        if name != ours:
            each = [gain(_of(trials[ours], category), _of(rows, category)) for category in categories]
            lines.append([name, *map(str, each), str(gain(trials[ours], rows))])
    return table([f"{ours} against", *categories, "mean"], lines)


def by_seed(trials: Mapping[str, Rows]) -> str:
    """Image AUROC of every seed."""
    categories = _categories(trials)
    lines = []
    for name, rows in trials.items():
        for seed, mine in groupby(sorted(rows, key=lambda row: int(row["seed"])), key=lambda row: row["seed"]):
            found = {row["category"]: f"{100 * row['image_auroc']:.2f}" for row in mine}
            lines.append([f"{name}, seed {seed}", *(found[category] for category in categories)])
    return table(["recipe", *categories], lines)


def costs(trials: Mapping[str, Rows]) -> str:
    """What a recipe costs: means over categories."""
    lines = []
    for name, rows in trials.items():
        cost = {what: mean(row["costs"][what] for row in rows) for what in rows[0]["costs"]}
        lines.append(
            [
                name,
                f"{over_categories(rows):.2f}",
                f"{1000 * cost['extract_seconds_per_image']:.0f}",
                f"{1000 * cost['score_seconds_per_image']:.0f}",
                f"{cost['train_seconds'] + cost['select_seconds']:.0f}",
                f"{cost['bank_bytes'] / 1e6:.1f}",
            ]
        )
    return table(["recipe", "mean AUROC", "extract, ms", "score, ms", "learn, s", "bank, MB"], lines)


def over_categories(rows: Rows) -> float:
    """The mean over categories of the image AUROC in hundredths."""
    names = {row["category"] for row in rows}
    return float(100 * mean(mean(row["image_auroc"] for row in _of(rows, name)) for name in names))


def _holdout(trials: Mapping[str, Rows]) -> str:
    folds = [row for name, rows in trials.items() if name.startswith("20 %") for row in rows]
    found = {
        "10 % held out": with_holdout(trials["10 %"]),
        "20 % held out": with_holdout(trials["20 %, fold 0"]),
        "own entries left out": with_holdout(trials["none"]),
        "cross-fitted": cross_fitted(trials["none"], folds),
    }
    lines = [_met(name, met) for name, mets in found.items() for met in mets]
    costly = by_category({name: trials[name] for name in ("none", "10 %", "20 %, fold 0")}, against="none")
    header = ["thresholds", "category", "wished", "good images", "promised", "met", "95 % interval", "defects found"]
    return f"{costly}\n\n{table(header, lines)}"


def _met(name: str, met: Met) -> list[str]:
    low, high = met.interval
    return [
        name,
        met.category,
        f"{met.rate:.0%}",
        str(met.held_out),
        f"{met.promised:.1%}",
        f"{met.alarms / met.images:.1%} ({met.alarms} of {met.images})",
        f"{low:.1%} to {high:.1%}",
        f"{met.found:.0%}",
    ]


def _choice(trials: Mapping[str, Rows]) -> str:
    """A column a recipe: AUROC of pasted defects among held-out images, and of the test set."""
    lines = []
    for category in _categories(trials):
        rows = {name: _of(mine, category)[0] for name, mine in trials.items()}
        pasted = {name: pasted_auroc(row) for name, row in rows.items()}
        picked, best = (max(each, key=lambda name: each[name]) for each in (pasted, _aurocs(rows)))
        cells = [f"{100 * pasted[name]:.1f} / {100 * row['image_auroc']:.1f}" for name, row in rows.items()]
        lines.append([category, *cells, "yes" if picked == best else "no"])
    return table(["category", *trials, "picks the best"], lines)


def pasted_auroc(row: Mapping[str, Any]) -> float:
    """How well copies with pasted defects are told from the held-out images they are copies of."""
    good, defective = row["holdout_scores"], row["pasted_scores"]
    found = image_auroc(np.array(good + defective), np.array([0] * len(good) + [1] * len(defective)))
    assert found is not None
    return found


def _aurocs(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    return {name: row["image_auroc"] for name, row in rows.items()}


def _categories(trials: Mapping[str, Rows]) -> list[str]:
    return sorted({row["category"] for rows in trials.values() for row in rows})


def _of(rows: Rows, category: str) -> Rows:
    return [row for row in rows if row["category"] == category]
