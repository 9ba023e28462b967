"""Summaries are read as they were written; other data are rejected."""

from __future__ import annotations

import json

import pytest

from pipelines.report.summary import CategorySummary, Sparkline

SUMMARY = CategorySummary(
    category="cloth",
    page="categories/cloth.html",
    images=3,
    alarms=1,
    spark=Sparkline((1, 0), (0, 2), 0.5),
    scale=(0.0, 2.0),
)


@pytest.mark.parametrize("summary", [SUMMARY, CategorySummary(category="empty")])
def test_a_summary_is_read_as_it_was_written(summary: CategorySummary) -> None:
    assert CategorySummary.of_json(json.loads(json.dumps(summary.as_json()))) == summary


@pytest.mark.parametrize("stored", [{}, {"category": "cloth"}, {**SUMMARY.as_json(), "color": "red"}])
def test_missing_and_unknown_fields_are_an_error(stored: dict) -> None:
    with pytest.raises((TypeError, LookupError)):
        CategorySummary.of_json(stored)
