"""Tests of the page: text between its marks, and figures of its tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.page import by_category, by_seed, costs, fill, gains, table
from study.results import TrialResult
from tests.study.results import result


def trial(category: str, auroc: float, seed: int = 0, pixel: float | None = None) -> TrialResult:
    """Return a result.

    Args:
        category: Name of the category.
        auroc: Image AUROC; d' is twice this value.
        seed: Seed of the trial.
        pixel: Pixel AUROC; None without masks.
    """
    return result(
        category,
        seed=seed,
        image_auroc=auroc,
        d_prime=2.0 * auroc,
        pixel_auroc=pixel,
        scores=[0.0, 1.0, auroc, 2.0],
    )


def test_only_the_text_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- one -->\nold\n<!-- end of one -->\nbetween\n<!-- two -->\n<!-- end of two -->\nafter\n"
    )
    fill(page, {"one": "new\n", "two": "\\1"})
    assert page.read_text() == (
        "before\n<!-- one -->\n\nnew\n\n<!-- end of one -->\nbetween\n"
        "<!-- two -->\n\n\\1\n\n<!-- end of two -->\nafter\n"
    )
    with pytest.raises(ValueError, match="has no marks <!-- three --> and <!-- end of three -->"):
        fill(page, {"three": ""})


def test_means_are_over_seeds_and_then_over_categories() -> None:
    trials = {
        "plain": [trial("a", 0.5), trial("a", 0.7, 1), trial("b", 0.9, pixel=0.8), trial("b", 0.9, 1, pixel=0.6)],
        "better": [trial("a", 0.7), trial("a", 0.9, 1), trial("b", 0.9, pixel=0.8), trial("b", 0.9, 1, pixel=0.8)],
    }
    plain, better = by_category(trials, against="plain").splitlines()[2:]
    assert plain == "| plain | 60.0 / 1.20 | 90.0 / 1.80 / 70.0 | 75.00 |  |"
    assert better.startswith("| better | 80.0 / 1.60 | 90.0 / 1.80 / 80.0 | 85.00 | +0.00 [")
    assert by_seed(trials).splitlines()[2:4] == [
        "| plain, seed 0 | 50.00 | 90.00 |",
        "| plain, seed 1 | 70.00 | 90.00 |",
    ]
    assert costs(trials).splitlines()[2] == "| plain | 75.00 | 500 | 500 | 1 | 2.0 |"


def test_gains_are_listed_by_category() -> None:
    right, wrong = [0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 0.0, 1.0]
    trials = {
        "ours": [result("a", scores=right), result("b", scores=wrong)],
        "the other": [result("a", scores=wrong), result("b", scores=wrong)],
    }
    (line,) = gains(trials, "ours").splitlines()[2:]
    assert line == "| the other | +100.00 [+100.00, +100.00] | +0.00 [+0.00, +0.00] | +50.00 [+50.00, +50.00] |"


def test_a_table_is_markdown() -> None:
    assert table(["what", "n"], [["a", "1"]]) == "| what | n |\n| --- | --: |\n| a | 1 |"
