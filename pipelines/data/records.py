"""Row of the image index: labels, paths, sizes and hashes of an image."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from pipelines.storage.schemas import Row

GOOD = "good"  # value of `defect` for good images, independent of the name of their folder


@dataclass(frozen=True)
class ImageRecord(Row):
    """An image of a dataset; a row of index.parquet. Paths are relative to the data root, with '/' as separator.

    Attributes:
        category: Category of the image.
        split: 'train', 'test', or 'new' for images that a stored model scores.
        defect: `GOOD`, the name of the defect, or None if it is not known.
        image_path: Path of the image file.
        mask_path: Path of the mask of its defect; None if it has no mask.
        label: 0 for good, 1 for defective, None if it is not known.
        part: 'fit' for good images that train the model, 'holdout' for calibration images; None for other splits.
        width: Width in pixels; None until the image has been read.
        height: Height in pixels; None until the image has been read.
        content_sha256: SHA-256 of the image file, hexadecimal; None until the image has been read.
        mask_sha256: SHA-256 of the mask file, hexadecimal; None without a mask or until it has been read.
        fingerprint: Sizes and modification times of the image and its mask. As long as they are equal, the files count
            as unchanged. None if the image does not exist.
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
