"""The published figures agree with each other and with the means that the paper prints."""

from __future__ import annotations

from statistics import fmean

import pytest

from pipelines.commands.paper.published import CATEGORIES, GROUPS, TABLES, PaperTable, TableRow
from pipelines.commands.paper.tables import RUNS

BY_CATEGORY = [(table, row) for table in TABLES if table.by_category for row in table.rows if row.published]


@pytest.mark.parametrize(("table", "row"), BY_CATEGORY, ids=lambda value: str(getattr(value, "label", "")))
def test_the_printed_means_are_the_means_of_the_printed_categories(table: PaperTable, row: TableRow) -> None:
    """The textures include zipper. The paper prints the mean of PatchCore over all categories with one decimal."""
    published = row.published[table.metrics[0]]
    for group, members in {**GROUPS, "mean": CATEGORIES}.items():
        digits = 0.05 if row.label.startswith("PatchCore") and group == "mean" else 0.005
        assert fmean(published[category] for category in members) == pytest.approx(published[group], abs=digits + 1e-9)


def test_a_run_has_the_same_published_mean_in_every_table() -> None:
    printed: dict[tuple[str, str], set[float]] = {}
    for table in TABLES:
        for row in table.rows:
            for metric, figures in row.published.items():
                printed.setdefault((row.run, metric), set()).add(figures["mean"])
    assert all(len(means) == 1 for means in printed.values()), printed
    assert {run for run, _ in printed} | {row.run for table in TABLES for row in table.rows} == set(RUNS)
