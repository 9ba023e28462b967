"""Masks of defects, resized and cropped like the input images of the backbones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np

from pipelines.data.discovery import named
from pipelines.data.records import ImageRecord
from pipelines.errors import IMAGE_READ_ERRORS, ImageError, error_line
from pipelines.storage.store import Store
from reconpatch.detector.model import Model
from reconpatch.imaging.images import preprocess_mask, read_mask_file
from reconpatch.imaging.mask_rule import Mask
from reconpatch.imaging.shapes import draw


def mask_contents(data: Store, image: ImageRecord) -> list[bytes]:
    """Return the contents of the mask files of an image, or its shapes as the only element.

    Args:
        data: Data root.
        image: Image from a listing.

    Returns:
        One element per mask; empty if the image has none.

    Raises:
        StoreUnavailableError: The object store did not return a mask.
        OSError: A mask does not exist or cannot be read.
    """
    if image.shapes is not None:
        return [image.shapes.encode()]
    return [data.read_picture(path) for path in image.mask_paths]


def read_mask_of(data: Store, image: ImageRecord) -> Mask:
    """Read the mask of an image: the union of its mask files, or its shapes drawn at the size of the image.

    Args:
        data: Data root.
        image: Image with a mask. Shapes need its width and height.

    Returns:
        The mask, (H, W) of the mask files, which may differ from the size of the image. A pixel that one file ignores
        and another one marks as defective is defective. The values are those of all files.

    Raises:
        ImageError: A mask cannot be read, the masks differ in size, the mask is not rotated like its image, or the
            shapes are malformed.
        StoreUnavailableError: The object store did not return a mask.
        OSError: A mask does not exist or cannot be read.
        ValueError: The image has no mask, or it has shapes and its size is not known.
    """
    if image.mask_path is None:
        raise ValueError(f"{image.image_path} has no mask.")
    if image.shapes is not None:
        if image.width is None or image.height is None:
            raise ValueError(f"{image.image_path}: the size of the image is not known, so its mask cannot be drawn.")
        drawn = draw(image.shapes, image.height, image.width)
        return Mask(drawn, np.zeros_like(drawn), tuple(float(value) for value in np.unique(drawn)))
    masks = [read_mask_file(content) for content in mask_contents(data, image)]
    first, *others = (mask.defective.shape for mask in masks)
    for path, shape in zip(image.more_masks, others, strict=True):
        if shape != first:
            raise ImageError(
                f"The mask has {_size(first)} pixels and another mask of the image, {path}, {_size(shape)}. "
                "Save them in the same size."
            )
    if image.width != image.height and first == (image.width, image.height):
        raise ImageError(
            f"The mask has {_size(first)} pixels and its image {image.width} x {image.height}, so the mask is not "
            "rotated like the image. Rotate the mask."
        )
    return masks[0] if not others else _union(masks)


def _union(masks: Sequence[Mask]) -> Mask:
    """Return the union of masks of the same size."""
    defective = reduce(np.logical_or, (mask.defective for mask in masks))
    ignored = reduce(np.logical_or, (mask.ignored for mask in masks)) & ~defective
    is_few = all(mask.values for mask in masks)
    values = sorted({value for mask in masks for value in mask.values}) if is_few else []
    return Mask(defective, ignored, tuple(values))


def _size(shape: Sequence[int | None]) -> str:
    return f"{shape[1]} x {shape[0]}"


def read_masks(data: Store, images: Sequence[ImageRecord], model: Model) -> tuple[dict[str, Mask], list[str]]:
    """Read the masks of test images.

    Args:
        data: Data root.
        images: Images of one category. Images of other splits and images without a mask are ignored.
        model: Model of the category; S is its `image_size`.

    Returns:
        image_path -> mask with (S, S) pixels; and warnings about masks that cannot be read or used, are empty, ignore
        pixels, differ in size from their image, or have no pixel left after resizing and cropping.

    Raises:
        StoreUnavailableError: The object store did not return a mask.
    """
    masks: dict[str, Mask] = {}
    notes = _Notes()
    for image in images:
        if image.split != "test" or image.mask_path is None:
            continue
        try:
            mask = read_mask_of(data, image)
        except (*IMAGE_READ_ERRORS, ValueError) as error:
            notes.add(image, f"{error_line(error)} The image is excluded from the pixel metrics.")
            continue
        geometry = model.geometry(*mask.defective.shape)
        cropped = replace(
            mask,
            defective=preprocess_mask(mask.defective, geometry),
            ignored=preprocess_mask(mask.ignored, geometry),
        )
        masks[image.image_path] = cropped
        notes.add_all(image, mask, cropped)
    return masks, notes.sentences(model, len(masks))


@dataclass
class _Notes:
    """What is to be said about the masks of a category.

    Attributes:
        warnings: Sentences about single masks.
        cut_off: Number of masks that have no pixel left after resizing and cropping.
        ignoring: Names of the masks that ignore pixels.
    """

    warnings: list[str] = field(default_factory=list)
    cut_off: int = 0
    ignoring: list[str] = field(default_factory=list)

    def add(self, image: ImageRecord, sentence: str) -> None:
        """Add a sentence about the mask of an image."""
        self.warnings.append(f"{image.mask_path}: {sentence}")

    def add_all(self, image: ImageRecord, mask: Mask, cropped: Mask) -> None:
        """Add what is to be said about a mask that is used."""
        if mask.defective.shape != (image.height, image.width):
            self.add(
                image,
                f"the mask has {_size(mask.defective.shape)} pixels and its image {image.width} x {image.height}. The "
                "mask is stretched to the size of the image.",
            )
        if not mask.defective.any():
            self.add(image, "the mask is empty, although the image is labeled as defective.")
        elif not cropped.defective.any():
            self.cut_off += 1
        if mask.ignored.any():
            self.ignoring.append(str(image.mask_path))

    def sentences(self, model: Model, count: int) -> list[str]:
        """Return all sentences; `count` is the number of masks that are used."""
        sentences = list(self.warnings)
        if self.ignoring:
            sentences.append(
                f"{model.category}: in {len(self.ignoring)} of {count} masks, the value 255 beside class indices marks "
                f"pixels to ignore; the pixel metrics exclude them: {named(self.ignoring)}."
            )
        if self.cut_off:
            why = (
                f"the mask has no pixel left at {model.image_size} x {model.image_size} pixels. Use a larger "
                "--image-size."
                if model.full_frame
                else "the defect is entirely outside the center crop. Use --full-frame to evaluate the whole image."
            )
            sentences.append(f"{model.category}: in {self.cut_off} of {count} images with masks, {why}")
        return sentences
