"""Masks of defects, resized and cropped like the input images of the backbones."""

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
        data: Data root.
        images: Images of one category. Images of other splits and images without a mask are ignored.
        model: Model of the category; S is its `image_size`.

    Returns:
        image_path -> mask, (S, S) bool, true at defective pixels; and warnings about masks that cannot be read, are
        empty, differ in size from their image, or have no pixel left after resizing and cropping.

    Raises:
        StoreUnavailableError: The object store did not return a mask.
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
            warnings.append(f"{image.mask_path}: {error_line(error)} The image is excluded from the pixel metrics.")
            continue
        if mask.shape != (image.height, image.width):
            warnings.append(
                f"{image.mask_path}: the mask has {mask.shape[1]} x {mask.shape[0]} pixels and its image "
                f"{image.width} x {image.height}. The mask is stretched to the size of the image."
            )
        cropped = preprocess_mask(mask, model.geometry(*mask.shape))
        masks[image.image_path] = cropped
        if not mask.any():
            warnings.append(f"{image.mask_path}: the mask is empty, although the image is labeled as defective.")
        elif not cropped.any():
            cut_off += 1
    if cut_off:
        why = (
            f"the mask has no pixel left at {model.image_size} x {model.image_size} pixels. Use a larger --image-size."
            if model.full_frame
            else "the defect is entirely outside the center crop. Use --full-frame to evaluate the whole image."
        )
        warnings.append(f"{model.category}: in {cut_off} of {len(masks)} images with masks, {why}")
    return masks, warnings
