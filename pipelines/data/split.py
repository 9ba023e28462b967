"""Assignment of good training images to the parts 'fit' and 'holdout', and grouping of images by category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.data.records import ImageRecord
from reconpatch.detector.thresholds import held_out


def assign_parts(images: Sequence[ImageRecord], holdout: float) -> list[ImageRecord]:
    """Return images with `part` set for the good training images, by their contents alone (see `held_out`).

    Args:
        images: of any splits, hashed.
        holdout: share of each category's good training images that is held out.
    """
    parts: dict[str, str] = {}
    for train in by_category([image for image in images if image.split == "train"]).values():
        is_held_out = held_out([str(image.content_sha256) for image in train], holdout)
        parts |= {
            image.image_path: "holdout" if held else "fit"
            for image, held in zip(train, is_held_out.tolist(), strict=True)
        }
    return [replace(image, part=parts.get(image.image_path)) for image in images]


def by_category(images: Sequence[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Return category -> its images; categories and images are in the order given."""
    groups: dict[str, list[ImageRecord]] = {}
    for image in images:
        groups.setdefault(image.category, []).append(image)
    return groups
