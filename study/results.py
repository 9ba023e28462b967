"""The results of trials: a row each, stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a member or an ensemble costs.

    Attributes:
        extract_seconds_per_image: reading, resizing and the network, all threads together.
        score_seconds_per_image: nearest-neighbor search and scores.
        train_seconds: the adapter's training.
        select_seconds: the selection of the memory bank's entries.
        bank_bytes: size of the memory bank.
        bank_entries: entries of the memory bank.
    """

    extract_seconds_per_image: float
    score_seconds_per_image: float
    train_seconds: float
    select_seconds: float
    bank_bytes: float
    bank_entries: float

    @classmethod
    def total(cls, costs: Sequence[Costs]) -> Costs:
        """Return the sum over members."""
        return cls(**{field.name: sum(getattr(cost, field.name) for cost in costs) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """What a recipe reached on one half of a category's test images, with one seed.

    Attributes:
        category: its name.
        seed: of the trial.
        half: of the test images, 'A' or 'B'.
        image_auroc, image_ap, d_prime: of the image scores; None where undefined.
        pixel_auroc: of the anomaly maps; None without masks.
        costs: summed over the members.
        paths: of the test images.
        labels: of the test images, 0 good, 1 defective.
        scores: of the test images.
        holdout_scores: of the held-out good images.
        pasted_scores: of their copies with pasted defects.
    """

    category: str
    seed: int
    half: str
    image_auroc: float
    image_ap: float | None
    d_prime: float
    pixel_auroc: float | None
    costs: Costs
    paths: list[str]
    labels: list[int]
    scores: list[float]
    holdout_scores: list[float]
    pasted_scores: list[float]

    def as_json(self) -> dict[str, Any]:
        """Return the result as values of JSON."""
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> TrialResult:
        """Read what `as_json` returned; other keys are ignored."""
        values = {field.name: stored[field.name] for field in fields(cls)}
        return cls(**{**values, "costs": Costs(**stored["costs"])})


# Results of a part of the study, by recipe.
ResultsByRecipe = Mapping[str, Sequence[TrialResult]]
