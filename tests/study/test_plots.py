"""Tests of the study's plots."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from study.plots import _undominated, banks, front
from tests.study.results import result


def test_the_front_contains_recipes_that_no_cheaper_recipe_exceeds() -> None:
    cost = {"cheap": 1.0, "worse": 2.0, "better": 3.0, "as good": 3.0}
    gain = {"cheap": 80.0, "worse": 79.0, "better": 90.0, "as good": 90.0}
    assert _undominated(cost, gain) == ["cheap", "better"]


def test_both_plots_are_written(tmp_path: Path) -> None:
    slow = replace(result().costs, score_seconds_per_image=2.0)
    trials = {
        "crop 224, 1 %": [result(image_auroc=0.8)],
        "crop 224, 5 %": [result(image_auroc=0.9, costs=slow)],
        "crop 224, 1 %, all good images": [result(image_auroc=0.95)],
    }
    front(trials, tmp_path / "front.png")
    banks(trials, tmp_path / "banks.png")
    assert {path.read_bytes()[:4] for path in tmp_path.iterdir()} == {b"\x89PNG"}
