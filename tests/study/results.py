"""Example results of trials for the tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from study.results import Costs, TrialResult

_COSTS = Costs(
    extract_seconds_per_image=0.5,
    score_seconds_per_image=0.5,
    train_seconds=0.5,
    select_seconds=0.5,
    bank_bytes=2e6,
    bank_entries=100.0,
)
_RESULT = TrialResult(
    category="a",
    seed=0,
    half="A",
    image_auroc=0.5,
    image_ap=0.5,
    d_prime=1.0,
    pixel_auroc=None,
    costs=_COSTS,
    paths=["a", "b", "c", "d"],
    labels=[0, 0, 1, 1],
    scores=[0.0, 1.0, 0.5, 2.0],
    holdout_scores=[],
    pasted_scores=[],
)


def result(category: str = "a", **changes: Any) -> TrialResult:
    """Return an example result with some fields changed.

    Args:
        category: Name of the category.
        **changes: Field of `TrialResult` -> its value.
    """
    return replace(_RESULT, category=category, **changes)
