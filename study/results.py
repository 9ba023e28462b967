"""Results of trials, which are stored as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Costs of a member or an ensemble.

    Attributes:
        extract_seconds_per_image: Wall time per image of reading, resizing and the backbone.
        score_seconds_per_image: Wall time per image of the nearest-neighbor search and the scores.
        train_seconds: Wall time of the adapter's training.
        select_seconds: Wall time of the selection of the bank entries.
        bank_bytes: Size of the memory bank in bytes.
        bank_entries: Number of bank entries.
    """

    extract_seconds_per_image: float
    score_seconds_per_image: float
    train_seconds: float
    select_seconds: float
    bank_bytes: float
    bank_entries: float

    @classmethod
    def total(cls, costs: Sequence[Costs]) -> Costs:
        """Return the sum of the costs of several members.

        Args:
            costs: Costs of each member.
        """
        return cls(**{field.name: sum(getattr(cost, field.name) for cost in costs) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Result of a recipe on one half of a category's test images, with one seed.

    Attributes:
        category: Name of the category.
        seed: Seed of the trial.
        half: Half of the test images, 'A' or 'B'.
        image_auroc: Image AUROC, 0 to 1.
        image_ap: Average precision of the images, 0 to 1; None if it is not defined.
        d_prime: d′ of the image scores.
        pixel_auroc: AUROC of the pixels of the anomaly maps, 0 to 1; None without masks.
        costs: Sum of the costs of the members.
        paths: Paths of the test images.
        labels: Labels of the test images, 0 for good, 1 for defective.
        scores: Anomaly scores of the test images.
        holdout_scores: Anomaly scores of the held-out good images.
        pasted_scores: Anomaly scores of the held-out images with pasted defects.
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
        """Return the result as a dict of JSON values."""
        return asdict(self)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> TrialResult:
        """Return the result that `as_json` converted.

        Args:
            stored: Dict of JSON values; other keys are ignored.
        """
        values = {field.name: stored[field.name] for field in fields(cls)}
        return cls(**{**values, "costs": Costs(**stored["costs"])})


# Name of a recipe -> its results, for one part of the study.
ResultsByRecipe = Mapping[str, Sequence[TrialResult]]
