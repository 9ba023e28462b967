"""Row of the image index: labels, paths, sizes and hashes of an image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import pyarrow as pa

from pipelines.storage.schemas import Row

GOOD = "good"  # value of `defect` for good images, independent of the name of their folder
TRAIN, VALIDATION, TEST, NEW = "train", "validation", "test", "new"  # values of `split`
MODEL_SPLITS = (TRAIN, VALIDATION)  # of the good images that a model is fitted on or calibrated with


@dataclass(frozen=True)
class ImageRecord(Row):
    """An image of a dataset; a row of index.parquet. Paths are relative to the data root, with '/' as separator.

    Attributes:
        category: Category of the image.
        split: 'train', 'validation' for good images that only calibrate, 'test', or 'new' for images that a stored
            model scores.
        defect: `GOOD`, the name of the defect, or None if it is not known.
        image_path: Path of the image file.
        mask_path: Path of the mask of its defect, or of the annotation file that `shapes` is from; None if the image
            has no mask.
        label: 0 for good, 1 for defective, None if it is not known.
        part: 'fit' for good images that train the model, 'holdout' for calibration images; None for other splits.
        width: Width in pixels; None until the image has been read.
        height: Height in pixels; None until the image has been read.
        content_sha256: SHA-256 of the image file, hexadecimal; None until the image has been read.
        mask_sha256: SHA-256 of the mask file, hexadecimal; None without a mask or until it has been read. With several
            masks, the SHA-256 of their digests; with `shapes`, the SHA-256 of that text.
        fingerprint: Sizes and modification times of the image and its masks. As long as they are equal, the files count
            as unchanged. None if the image does not exist.
        more_masks: Paths of further masks of the image; its mask is the union of all of them.
        shapes: Outlines of the defects from an annotation file, JSON of `reconpatch.imaging.shapes`; None if the mask
            is an image file or there is no mask.
        part_id: Workpiece that the image shows. Images of one workpiece are held out together. None if each image
            shows another one.
        view: Camera, side or lighting that the workpiece is seen with; None if it is not known.
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
    more_masks: tuple[str, ...] = ()
    shapes: str | None = None
    part_id: str | None = None
    view: str | None = None

    @property
    def mask_paths(self) -> tuple[str, ...]:
        """All mask files of the image; empty if it has none, or if `shapes` gives its mask."""
        return () if self.mask_path is None or self.shapes is not None else (self.mask_path, *self.more_masks)

    @property
    def makes_model(self) -> bool:
        """Whether the image is one of the good images that the model is fitted on or calibrated with."""
        return self.split in MODEL_SPLITS

    def row(self) -> dict[str, Any]:
        """Return the row as a dict, column by column."""
        return {**vars(self), "more_masks": list(self.more_masks)}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Return the row of an index as an object; columns that older versions did not write may be missing.

        Args:
            row: Column -> value.

        Returns:
            The record.

        Raises:
            KeyError: A column that every version writes is missing.
        """
        cells: dict[str, Any] = {
            field.name: row.get(field.name) if field.name in _ADDED else row[field.name] for field in fields(cls)
        }
        return cls(**{**cells, "more_masks": tuple(cells["more_masks"] or ())})


_ADDED = frozenset({"more_masks", "shapes", "part_id", "view"})  # columns that older indices do not have


def mask_digest(contents: Sequence[bytes]) -> str:
    """Return `mask_sha256` of the masks of an image.

    Args:
        contents: Contents of the mask files, or the text of `shapes` as the only element; at least one.

    Returns:
        SHA-256, hexadecimal: of the content if there is one, else of the digests of all contents.
    """
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


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
        ("more_masks", pa.list_(pa.string())),
        ("shapes", pa.string()),
        ("part_id", pa.string()),
        ("view", pa.string()),
    ]
)
