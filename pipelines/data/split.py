"""Assignment of good training images to the parts 'fit' and 'holdout', and grouping of images by category."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.data.records import TRAIN, VALIDATION, ImageRecord
from reconpatch.detector.thresholds import ENOUGH_VALIDATION, held_out


def assign_parts(images: Sequence[ImageRecord], holdout: float) -> list[ImageRecord]:
    """Return the images with `part` set for all training and validation images.

    The assignment depends only on the contents of the files and on their workpieces (see `held_out`). Validation images
    are calibration images. From 19 distinct ones of a category, all of its training images are fitted on; otherwise,
    training images are held out besides. A training image that is a copy of a validation image is never fitted on.

    Args:
        images: Images of any split; training and validation images must have `content_sha256`.
        holdout: Share of each category's good training images that is held out for calibration, in [0, 1).

    Returns:
        Copies in the given order; `part` is None for test images and new images.

    Raises:
        ValueError: `holdout` is out of range.
    """
    parts: dict[str, str] = {}
    for good in by_category([image for image in images if image.makes_model]).values():
        train = [image for image in good if image.split == TRAIN]
        validation = {image.content_sha256 for image in good if image.split == VALIDATION}
        share = 0.0 if len(validation) >= ENOUGH_VALIDATION else holdout
        is_held_out = held_out(
            [str(image.content_sha256) for image in train], share, [image.part_id for image in train]
        )
        parts |= {image.image_path: "holdout" for image in good if image.split == VALIDATION}
        parts |= {
            image.image_path: "holdout" if held or image.content_sha256 in validation else "fit"
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
