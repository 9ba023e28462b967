"""Reading an image before anything is computed: it is hashed, decoded and measured, or known from an earlier index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.data.records import ImageRecord
from pipelines.errors import IMAGE_READ_ERRORS, StoreUnavailableError, error_line
from pipelines.runtime.resources import measured
from pipelines.storage.store import Store
from reconpatch.imaging.images import Picture, read_picture


def trust(image: ImageRecord, known: Mapping[str, Mapping[str, Any]]) -> ImageRecord | None:
    """Return the image with hashes and size from an earlier index; None where it has changed or is not in the index.

    Args:
        image: as it was listed.
        known: image_path -> row of the earlier index.
    """
    row = known.get(image.image_path)
    if (
        row is None
        or image.fingerprint is None
        or row["fingerprint"] != image.fingerprint
        or row["mask_path"] != image.mask_path
    ):
        return None
    names = ("width", "height", "content_sha256", "mask_sha256")
    return replace(image, **{name: row[name] for name in names})


@dataclass(frozen=True)
class Examined:
    """What reading an image has shown.

    Attributes:
        image: with hashes and size, as far as it could be read.
        error: why it cannot be read; None where it can.
        store_unavailable: whether that is because an object store did not return it, which says nothing about it.
        mode: kind of image, for people.
        frames: number of images in the file.
        lowest_sixteenth: whether all values are in the lowest sixteenth of the range; None for images with 8 bits.
    """

    image: ImageRecord
    error: str | None = None
    store_unavailable: bool = False
    mode: str = ""
    frames: int = 1
    lowest_sixteenth: bool | None = None


def examine_all(data: Store, images: Sequence[ImageRecord], bit_depth: int) -> tuple[list[Examined], int]:
    """Examine several images, and measure the largest resident size of the process in bytes.

    When the object store does not return an image, the rest of its category is not requested: each request would take
    as long.

    Args:
        data: the data root.
        images: as they were listed.
        bit_depth: significant bits per channel of images with more than 8.
    """
    examined: list[Examined] = []
    unavailable: dict[str, str | None] = {}  # category -> the error of its first image that was not returned
    with measured() as usage:
        for image in images:
            if image.category in unavailable:
                examined.append(Examined(image, unavailable[image.category], store_unavailable=True))
                continue
            examined.append(examine(data, image, bit_depth))
            if examined[-1].store_unavailable:
                unavailable[image.category] = examined[-1].error
    return examined, usage.peak_bytes


def examine(data: Store, image: ImageRecord, bit_depth: int) -> Examined:
    """Hash an image and its mask and decode it whole, so that broken files are known before anything is trained.

    Args:
        data: the data root.
        image: as it was listed.
        bit_depth: significant bits per channel of images with more than 8.
    """
    try:
        content = data.read_picture(image.image_path)
        image = replace(image, content_sha256=hashlib.sha256(content).hexdigest())
        if image.mask_path is not None:
            image = replace(image, mask_sha256=hashlib.sha256(data.read_picture(image.mask_path)).hexdigest())
        picture = read_picture(content, bit_depth)
    except (*IMAGE_READ_ERRORS, StoreUnavailableError) as error:
        return Examined(image, error_line(error), store_unavailable=isinstance(error, StoreUnavailableError))
    height, width = picture.pixels.shape[:2]
    return Examined(
        replace(image, width=width, height=height),
        mode=picture.mode,
        frames=picture.frames,
        lowest_sixteenth=_lowest_sixteenth(picture),
    )


def _lowest_sixteenth(picture: Picture) -> bool | None:
    return None if picture.bits <= 8 else picture.largest < 1 / 16
