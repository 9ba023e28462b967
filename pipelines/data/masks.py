"""The masks of defects, resized and cropped like the images that the network sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.data.records import ImageRecord
from pipelines.errors import IMAGE_READ_ERRORS, error_line
from pipelines.storage.store import Store
from reconpatch.detector.model import Model
from reconpatch.imaging.images import preprocess_mask, read_mask


def read_masks(data: Store, images: Sequence[ImageRecord], model: Model) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read the masks of test images.

    Args:
        data: the data root.
        images: of one category.
        model: of the category; S is its image size.

    Returns:
        image_path -> (S, S) bool, and sentences about masks that are unreadable, empty, of another size, or cut off.

    Raises:
        StoreUnavailableError: the object store did not return a mask.
    """
    masks: dict[str, np.ndarray] = {}
    cut_off = 0
    warnings: list[str] = []
    for image in images:
        if image.split != "test" or image.mask_path is None:
            continue
        try:
            mask = read_mask(data.read_picture(image.mask_path))
        except (*IMAGE_READ_ERRORS, ValueError) as error:
            warnings.append(f"{image.mask_path}: {error_line(error)} Its image is left out of the pixel metrics.")
            continue
        if mask.shape != (image.height, image.width):
            warnings.append(
                f"{image.mask_path}: the mask is {mask.shape[1]} x {mask.shape[0]} and its image {image.width} x "
                f"{image.height}; it is stretched over the image."
            )
        cropped = preprocess_mask(mask, model.geometry(*mask.shape))
        masks[image.image_path] = cropped
        if not mask.any():
            warnings.append(f"{image.mask_path}: the mask of a defect is empty.")
        elif not cropped.any():
            cut_off += 1
    if cut_off:
        why = (
            f"the mask of a defect has no pixel left at {model.image_size} px; a larger --image-size would show it."
            if model.full_frame
            else "the center crop hides the whole defect; --full-frame looks at the whole picture."
        )
        warnings.append(f"{model.category}: in {cut_off} of {len(masks)} images with masks {why}")
    return masks, warnings
