"""A category's image scores, grouped by what the images are known to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from pipelines.report.rows import ScoredImage
from reconpatch.evaluation.metrics import d_prime


@dataclass(frozen=True)
class ScoreGroups:
    """Image scores by what the images are known to be, each group in ascending order.

    Attributes:
        heldout: calibration images, scored when the model was made.
        good: images with label 0.
        defective: images with label 1.
        unlabeled: images without a label.
    """

    heldout: tuple[float, ...] = ()
    good: tuple[float, ...] = ()
    defective: tuple[float, ...] = ()
    unlabeled: tuple[float, ...] = ()

    @classmethod
    def of(cls, images: Iterable[ScoredImage], holdout_scores: Iterable[float]) -> ScoreGroups:
        """Group the scores of images.

        Args:
            images: scored images other than training images.
            holdout_scores: of the model's calibration images.
        """
        scores: dict[int | None, list[float]] = {0: [], 1: [], None: []}
        for image in images:
            scores[image.label].append(image.score)
        good, defective, unlabeled = (tuple(sorted(scores[label])) for label in (0, 1, None))
        return cls(tuple(sorted(holdout_scores)), good, defective, unlabeled)

    def by_name(self) -> dict[str, Sequence[float]]:
        """Return the groups by their names, in the order in which they are drawn."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def every(self) -> list[float]:
        """Return the scores of all groups."""
        return [*self.heldout, *self.good, *self.defective, *self.unlabeled]

    def labeled(self) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and labels of the images whose labels are known."""
        labels = np.repeat([0, 1], [len(self.good), len(self.defective)])
        return np.array([*self.good, *self.defective]), labels

    @property
    def d_prime(self) -> float | None:
        """d' of the labeled images; None where it is undefined."""
        return d_prime(*self.labeled())
