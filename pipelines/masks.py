"""Masks of defects, as the metrics want them: on the network's grid, resized and cropped like their images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.storage import Store
from pipelines.walk import UNREADABLE, Image, reason_of
from reconpatch.images import preprocess_mask, read_mask
from reconpatch.model import Model


def read_masks(data: Store, images: Sequence[Image], model: Model) -> tuple[dict[str, np.ndarray], list[str]]:
    """image_path → (S, S) bool, and sentences about masks that are unreadable, empty, of another size, or cut off.

    Raises:
        UnansweredError: the object store does not give one.
    """
    masks: dict[str, np.ndarray] = {}
    cut = 0
    warnings: list[str] = []
    for image in images:
        if image.split != "test" or image.mask_path is None:
            continue
        try:
            mask = read_mask(data.read_picture(image.mask_path))
        except (*UNREADABLE, ValueError) as error:
            warnings.append(f"{image.mask_path}: {reason_of(error)} Its image is left out of the pixel metrics.")
            continue
        if mask.shape != (image.height, image.width):
            warnings.append(
                f"{image.mask_path}: the mask is {mask.shape[1]} x {mask.shape[0]} and its image {image.width} x "
                f"{image.height}; it is stretched over the image."
            )
        seen = preprocess_mask(mask, model.geometry(*mask.shape))
        masks[image.image_path] = seen
        if not mask.any():
            warnings.append(f"{image.mask_path}: the mask of a defect is empty.")
        elif not seen.any():
            cut += 1
    if cut:
        why = (
            f"the mask of a defect has no pixel left at {model.image_size} px; a larger --image-size would show it."
            if model.full_frame
            else "the centre crop hides the whole defect; --full-frame looks at the whole picture."
        )
        warnings.append(f"{model.category}: in {cut} of {len(masks)} images with masks {why}")
    return masks, warnings
