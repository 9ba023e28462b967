"""The content of a category's page and figures."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.report.gallery import Gallery
from pipelines.report.render import Card, Scale
from pipelines.report.rows import ScoredImage
from pipelines.report.score_groups import ScoreGroups
from reconpatch.detector.model import Model


@dataclass(frozen=True)
class ShownGallery:
    """A gallery with its rendered images.

    Attributes:
        gallery: The images, and why they are shown.
        cards: One card for each image of the gallery, in the same order.
    """

    gallery: Gallery
    cards: tuple[Card, ...]


@dataclass(frozen=True, kw_only=True)
class CategoryContent:
    """The content of a category's page and figures.

    Attributes:
        category: Name of the category.
        model: Model that computed the scores.
        images: All scored images except training images, the highest score first.
        groups: Scores of these images and of the calibration images.
        beside: Scores of the same images in the run for comparison; None for no comparison.
        scale: Color scale of the anomaly maps.
        galleries: Rendered images, grouped by why they are shown.
    """

    category: str
    model: Model
    images: tuple[ScoredImage, ...]
    groups: ScoreGroups
    beside: ScoreGroups | None
    scale: Scale
    galleries: tuple[ShownGallery, ...]
