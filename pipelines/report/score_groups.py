"""The image scores of a category, grouped by the labels of the images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from pipelines.report.rows import ScoredImage
from reconpatch.evaluation.metrics import d_prime


@dataclass(frozen=True)
class ScoreGroups:
    """The image scores of a category in groups, each in ascending order.

    Attributes:
        heldout: Scores of the calibration images, stored in the model.
        good: Scores of the images with label 0.
        defective: Scores of the images with label 1.
        unlabeled: Scores of the images without a label.
    """

    heldout: tuple[float, ...] = ()
    good: tuple[float, ...] = ()
    defective: tuple[float, ...] = ()
    unlabeled: tuple[float, ...] = ()

    @classmethod
    def of(cls, images: Iterable[ScoredImage], holdout_scores: Iterable[float]) -> ScoreGroups:
        """Return the groups of the scores of images.

        Args:
            images: Scored images, without training images.
            holdout_scores: Scores of the model's calibration images, in any order.
        """
        scores: dict[int | None, list[float]] = {0: [], 1: [], None: []}
        for image in images:
            scores[image.label].append(image.score)
        good, defective, unlabeled = (tuple(sorted(scores[label])) for label in (0, 1, None))
        return cls(tuple(sorted(holdout_scores)), good, defective, unlabeled)

    def by_name(self) -> dict[str, Sequence[float]]:
        """Return name of the group → scores, in the order in which the groups are drawn."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def every(self) -> list[float]:
        """Return the scores of all groups."""
        return [*self.heldout, *self.good, *self.defective, *self.unlabeled]

    def labeled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores (n,) and labels (n,), 0 or 1, of the labeled images."""
        labels = np.repeat([0, 1], [len(self.good), len(self.defective)])
        return np.array([*self.good, *self.defective]), labels

    @property
    def d_prime(self) -> float | None:
        """The separation d' of good and defective scores; None if it is undefined."""
        return d_prime(*self.labeled())
