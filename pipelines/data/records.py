"""The row of the image index: what is known of an image."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pipelines.storage.schemas import Row

GOOD = "good"  # the defect of a good image, whatever its folder is called


@dataclass(frozen=True)
class ImageRecord(Row):
    """What is known of an image; a row of index.parquet. Paths are relative to the data root and '/'-separated.

    Attributes:
        category: the category that the image belongs to.
        split: 'train', 'test', or 'new' for images that a stored model scores.
        defect: `GOOD`, the name of the defect, or None where it is not known.
        image_path: of the image.
        mask_path: of the mask of its defect, if it has one.
        label: 0 good, 1 defective, None where it is not known.
        part: 'fit' or 'holdout' for good training images, else None.
        width: in pixels; None until the image has been read, like what follows.
        height: in pixels.
        content_sha256: of the file.
        mask_sha256: of the mask's file.
        fingerprint: sizes and modification times of the image and its mask: while they are the same, so are the files.
    """

    category: str
    split: str
    defect: str | None
    image_path: str
    mask_path: str | None = None
    label: int | None = None
    part: str | None = None
    width: int | None = None
    height: int | None = None
    content_sha256: str | None = None
    mask_sha256: str | None = None
    fingerprint: str | None = None


INDEX = pa.schema(
    [
        ("category", pa.string()),
        ("split", pa.string()),
        ("part", pa.string()),
        ("defect", pa.string()),
        ("label", pa.int8()),
        ("image_path", pa.string()),
        ("mask_path", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("content_sha256", pa.string()),
        ("mask_sha256", pa.string()),
        ("fingerprint", pa.string()),
    ]
)
