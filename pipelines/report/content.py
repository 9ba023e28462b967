"""Everything that a category's page and its figures show."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.report.gallery import Gallery
from pipelines.report.render import Card, Scale
from pipelines.report.rows import ScoredImage
from pipelines.report.score_groups import ScoreGroups
from reconpatch.detector.model import Model


@dataclass(frozen=True)
class ShownGallery:
    """A gallery, and its images as they are shown.

    Attributes:
        gallery: which images, and why.
        cards: one of each image of the gallery.
    """

    gallery: Gallery
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class CategoryContent:
    """What a category's page and its figures show.

    Attributes:
        category: its name.
        model: the model of the scores.
        images: scored images other than training images, the highest score first.
        groups: their scores, and those of the calibration images.
        beside: the other run's scores of the same images; None without one.
        scale: colors of the anomaly maps.
        galleries: the images that are shown.
    """

    category: str
    model: Model
    images: tuple[ScoredImage, ...]
    groups: ScoreGroups
    beside: ScoreGroups | None
    scale: Scale
    galleries: tuple[ShownGallery, ...]
