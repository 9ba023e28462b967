"""Examination of images before training: hash, decode and measure them, or take the results of an earlier index."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.data.masks import mask_contents
from pipelines.data.records import ImageRecord, mask_digest
from pipelines.errors import IMAGE_READ_ERRORS, StoreUnavailableError, error_line
from pipelines.runtime.resources import measured
from pipelines.storage.store import Store
from reconpatch.imaging.images import Picture, read_picture


def trust(image: ImageRecord, known: Mapping[str, Mapping[str, Any]]) -> ImageRecord | None:
    """Return the image with hashes and size from an earlier index, without reading it.

    Args:
        image: Image from a listing, without hashes and size.
        known: image_path -> row of the earlier index.

    Returns:
        The completed image; None if it has changed, does not exist or is not in the index.
    """
    row = known.get(image.image_path)
    if row is None or image.fingerprint is None or row["fingerprint"] != image.fingerprint:
        return None
    masks = row["mask_path"], tuple(row.get("more_masks") or ()), row.get("shapes")
    if masks != (image.mask_path, image.more_masks, image.shapes):
        return None
    names = ("width", "height", "content_sha256", "mask_sha256")
    return replace(image, **{name: row[name] for name in names})


@dataclass(frozen=True)
class Examined:
    """Result of the examination of an image.

    Attributes:
        image: The image, with hashes and size if it could be read.
        error: Why the image or its mask cannot be read, in one line; None if both can be read.
        store_unavailable: Whether an object store did not return the file. The file itself may be intact.
        mode: Pillow's mode, such as 'RGB', with the bits per channel if they are more than 8; empty if the image cannot
            be read.
        frames: Number of images in the file.
        channels: Channels that the file stores, opacity included; 0 if the image cannot be read.
        needed_bits: Bits that the largest value of an image with 16 bits per channel needs, which can suggest a smaller
            `--bit-depth`; None for images with fewer bits and for images that cannot be read.
        is_single_color: Whether all pixels have the same color.
        is_opacity_ignored: Whether the opacity is 0 everywhere and is therefore ignored.
    """

    image: ImageRecord
    error: str | None = None
    store_unavailable: bool = False
    mode: str = ""
    frames: int = 1
    channels: int = 0
    needed_bits: int | None = None
    is_single_color: bool = False
    is_opacity_ignored: bool = False


def examine_all(data: Store, images: Sequence[ImageRecord], bit_depth: int) -> tuple[list[Examined], int]:
    """Examine several images and measure the peak memory of the process.

    If the object store does not return an image, the remaining images of its category are not requested, because each
    request would wait for the same timeout.

    Args:
        data: Data root.
        images: Images from a listing.
        bit_depth: Significant bits per channel of images with more than 8 bits, 9 to 16.

    Returns:
        One result per image, in the same order, and the largest resident size of the process in bytes.
    """
    examined: list[Examined] = []
    unavailable: dict[str, str | None] = {}  # category -> error of the first image that was not returned
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
    """Hash an image and its mask, and decode the whole image, so that damaged files are found before training.

    Args:
        data: Data root.
        image: Image from a listing.
        bit_depth: Significant bits per channel of images with more than 8 bits, 9 to 16.

    Returns:
        The image with hashes and size, or the reason why it cannot be read.
    """
    try:
        content = data.read_picture(image.image_path)
        image = replace(image, content_sha256=hashlib.sha256(content).hexdigest())
        if masks := mask_contents(data, image):
            image = replace(image, mask_sha256=mask_digest(masks))
        picture = read_picture(content, bit_depth)
    except (*IMAGE_READ_ERRORS, StoreUnavailableError) as error:
        return Examined(image, error_line(error), store_unavailable=isinstance(error, StoreUnavailableError))
    height, width = picture.pixels.shape[:2]
    return Examined(
        replace(image, width=width, height=height),
        mode=picture.mode,
        frames=picture.frames,
        channels=picture.channels,
        needed_bits=_needed_bits(picture, bit_depth),
        is_single_color=picture.single_color,
        is_opacity_ignored=picture.alpha_ignored,
    )


def _needed_bits(picture: Picture, bit_depth: int) -> int | None:
    """Return the bits that the largest value needs; None unless the file has 16 bits per channel.

    A file that stores 10, 12 or 14 bits per channel is read with exactly these bits, so `--bit-depth` cannot be wrong.
    """
    if picture.bits < 16:
        return None
    needed: int = round(picture.largest * (2**bit_depth - 1)).bit_length()
    return needed
