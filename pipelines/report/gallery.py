"""Selection of the images that a category's page shows: those that need attention, at most a few of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.rows import AuditedImage, ScoredImage

DETECTED, FLAGGED = "Detected defects", "Flagged images"
_MANY, _SOME = 12, 8  # maximum number of images of a gallery


@dataclass(frozen=True)
class Gallery:
    """A group of images of a category that a page shows for the same reason.

    Attributes:
        title: Heading of the gallery.
        why: What the images have in common, and the order in which they are shown.
        images: Images that are shown.
        total: Number of images of the category that meet the same condition.
    """

    title: str
    why: str
    images: tuple[ScoredImage | AuditedImage, ...]
    total: int


def galleries(images: Sequence[ScoredImage], audit: Sequence[AuditedImage]) -> list[Gallery]:
    """Return the galleries of a category's page, without those that have no image.

    With a threshold these are, in this order: missed defects, false positives, flagged images without a label, detected
    defects, images that are nearly flagged, and training outliers. Without a threshold they are the images with the
    highest scores, and training outliers.

    Args:
        images: Scored images of the category, without training images.
        audit: Rows of the good training images in audit.parquet, the highest suspicion first.

    Returns:
        Galleries with at least one image each.
    """
    ranked = sorted(images, key=lambda image: (-image.score, image.image_path))
    flagged = [image for image in ranked if image.is_anomaly]
    not_flagged = [image for image in ranked if not image.is_anomaly]
    has_threshold = any(image.is_anomaly is not None for image in images)
    missed = [image for image in reversed(not_flagged) if image.label == 1] if has_threshold else []
    false_positives = [image for image in flagged if image.label == 0]
    detected = [image for image in flagged if image.label == 1]
    unlabeled = [image for image in flagged if image.label is None]
    shown = [
        _gallery("Missed defects", "defective and not flagged, the lowest score first", missed, _MANY),
        _gallery("False positives", "good and flagged, the highest score first", false_positives, _MANY),
        _gallery(FLAGGED, "flagged, without a label, the highest score first", unlabeled, _MANY),
        _gallery(DETECTED, "defective and flagged, the highest score first", detected, _SOME),
    ]
    if has_threshold:
        rest = [image for image in not_flagged if image.label != 1]
        shown.append(
            _gallery("Nearly flagged", "good or unlabeled and not flagged, the highest score first", rest, _SOME)
        )
    else:
        shown.append(
            _gallery(
                "Highest scores",
                "no image is flagged, because the model has no threshold; the highest score first",
                ranked,
                _MANY,
            )
        )
    outliers = [image for image in audit if image.is_suspicious]
    why = "good training images that differ from the others; check that they are good"
    shown.append(_gallery("Training outliers", why, outliers, _SOME))
    return [gallery for gallery in shown if gallery.images]


def _gallery(title: str, why: str, images: Sequence[ScoredImage | AuditedImage], most: int) -> Gallery:
    """Return a gallery of the first `most` images."""
    return Gallery(title, why, tuple(images[:most]), len(images))
