"""Which images of a category are shown: those that need a person's attention, the most urgent first, a few of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.report.rows import AuditedImage, ScoredImage

_MANY, _SOME = 12, 8


@dataclass(frozen=True)
class Gallery:
    """Some images of a category, and why they are shown.

    Attributes:
        title: heading of the gallery.
        why: what its images have in common, and their order.
        images: those that are shown.
        total: number of images that have this in common.
    """

    title: str
    why: str
    images: tuple[ScoredImage | AuditedImage, ...]
    total: int


def galleries(images: Sequence[ScoredImage], audit: Sequence[AuditedImage]) -> list[Gallery]:
    """Return missed defects, false alarms, other flagged images, hits, the nearest to the threshold, training outliers.

    Galleries without images are left out.

    Args:
        images: scored images other than training images.
        audit: of the training images, the most suspicious first.
    """
    ranked = sorted(images, key=lambda image: (-image.score, image.image_path))
    flagged = [image for image in ranked if image.is_anomaly]
    not_flagged = [image for image in ranked if not image.is_anomaly]
    has_threshold = any(image.is_anomaly is not None for image in images)
    missed = [image for image in reversed(not_flagged) if image.label == 1] if has_threshold else []
    false_alarms = [image for image in flagged if image.label == 0]
    hits = [image for image in flagged if image.label == 1]
    alarms = [image for image in flagged if image.label is None]
    shown = [
        _gallery("Missed defects", "defective, and not flagged: the lowest score first", missed, _MANY),
        _gallery("False alarms", "good, and flagged: the highest score first", false_alarms, _MANY),
        _gallery("Alarms", "flagged, without a label: the highest score first", alarms, _MANY),
        _gallery("Hits", "defective, and flagged: the highest score first", hits, _SOME),
    ]
    if has_threshold:
        rest = [image for image in not_flagged if image.label != 1]
        shown.append(_gallery("Nearly flagged", "not flagged, and nearest to the threshold", rest, _SOME))
    else:
        shown.append(_gallery("Highest scores", "without a threshold no image is flagged", ranked, _MANY))
    outliers = [image for image in audit if image.is_suspicious]
    why = "used as good training images, but unlike the other ones: check whether they are good"
    shown.append(_gallery("Training outliers", why, outliers, _SOME))
    return [gallery for gallery in shown if gallery.images]


def _gallery(title: str, why: str, images: Sequence[ScoredImage | AuditedImage], most: int) -> Gallery:
    return Gallery(title, why, tuple(images[:most]), len(images))
