"""The page of the study: tables and plots put between the marks of docs/accuracy.md; the words around them stay."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

Rows = Sequence[Mapping[str, Any]]


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


def by_category(trials: Mapping[str, Rows]) -> str:
    """A row a recipe, a column a category, and the mean over categories."""
    categories = sorted({row["category"] for rows in trials.values() for row in rows})
    lines = []
    for name, rows in trials.items():
        cells = [figures([row for row in rows if row["category"] == category]) for category in categories]
        lines.append([name, *cells, f"{100 * _over_categories(rows):.2f}"])
    return table(["recipe", *categories, "mean AUROC"], lines)


def _over_categories(rows: Rows) -> float:
    categories = {row["category"] for row in rows}
    return float(mean(mean(row["image_auroc"] for row in rows if row["category"] == name) for name in categories))
