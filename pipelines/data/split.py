"""Assignment of good training images to the parts 'fit' and 'holdout', and grouping of images by category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.data.records import ImageRecord
from reconpatch.detector.thresholds import held_out


def assign_parts(images: Sequence[ImageRecord], holdout: float) -> list[ImageRecord]:
    """Return the images with `part` set for all images of split 'train'.

    The assignment depends only on the contents of the files (see `held_out`).

    Args:
        images: Images of any split; those of split 'train' must have `content_sha256`.
        holdout: Share of each category's good training images that is held out for calibration, in [0, 1).

    Returns:
        Copies in the given order; `part` is None for images of other splits.

    Raises:
        ValueError: `holdout` is out of range.
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
    """Group images by category.

    Args:
        images: Images of any categories.

    Returns:
        Category -> its images; categories and images keep the given order.
    """
    groups: dict[str, list[ImageRecord]] = {}
    for image in images:
        groups.setdefault(image.category, []).append(image)
    return groups
