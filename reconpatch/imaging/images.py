"""Images: from a file's content to float pixels as displayed, and to the network's input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import interpolate

from reconpatch.arrays import Array, as_tensor
from reconpatch.exceptions import ImageError
from reconpatch.imaging.decoding import (
    damage_named,
    decode,
    frame_count,
    opened,
    orientation,
    stored_bits,
    tiff_tag,
    upright,
)
from reconpatch.imaging.geometry import Geometry

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_MODES = ("1", "L", "P", "RGB", "CMYK", "YCbCr", "HSV")
_PHOTOMETRIC = 0x0106
_PIECE = 1 << 18  # pixels converted to floating point at a time, so that copies of a large image stay small


@dataclass(frozen=True)
class Picture:
    """An image as displayed.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], EXIF orientation applied, transparent parts over white; gray is repeated
            over the three channels.
        mode: Pillow's mode, with the bits per channel where there are more than 8.
        bits: stored bits per channel.
        largest: largest value as a share of what the bits can hold, before transparency.
        frames: number of images in the file, counted up to 65,536; this is the first.
    """

    pixels: npt.NDArray[np.float32]
    mode: str
    bits: int
    largest: float
    frames: int


def read_image(data: bytes, bit_depth: int = 16) -> npt.NDArray[np.float32]:
    """Return the pixels of `read_picture`, which see.

    Args:
        data: content of the file.
        bit_depth: significant bits per channel of images with more than 8 bits (9-16).

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ImageError: the file cannot be read.
        ValueError: the bit depth is out of range.

    Example:
        >>> from pathlib import Path
        >>> from reconpatch import read_image
        >>> read_image(Path("bolt/test/good/000.png").read_bytes()).shape  # doctest: +SKIP
        (1024, 1024, 3)
    """
    return read_picture(data, bit_depth).pixels


def read_picture(data: bytes, bit_depth: int = 16) -> Picture:
    """Read an image as displayed: PNG, JPEG, BMP, TIFF or WebP, by content, of any mode; of several frames the first.

    8-bit values are divided by 255, values of more bits by 2^bits - 1. The factor never depends on the values.

    Args:
        data: content of the file.
        bit_depth: significant bits per channel of images with more than 8 bits (9-16).

    Raises:
        ImageError: the file is empty, not an image, truncated, of another format, above 200 megapixels,
            floating-point, of more than 16 bits or of mode LAB; it has a value above `bit_depth`, or tiles or scans
            that would take far more memory or time than its pixels.
        ValueError: the bit depth is out of range.
    """
    if not 9 <= bit_depth <= 16:
        raise ValueError(f"The bit depth is {bit_depth}; give 9 to 16.")
    with opened(data) as picture:
        bits, mode = stored_bits(picture, data), picture.mode
        if mode == "F":
            raise ImageError("The picture has floating-point values; scale them and save it as 8-bit grey.")
        if bits > 16:
            raise ImageError(f"The picture has {bits} bits a channel; save it with 16 or 8.")
        with damage_named():
            frames = frame_count(picture, data)
        decode(picture)
        with damage_named():
            if bits > 8:
                values, largest = _deep(picture, data, min(bits, bit_depth))
            else:
                values, largest = _shallow(upright(picture))
    # Grey stays one channel in memory.
    pixels = values if values.shape[2] == 3 else np.broadcast_to(values, (*values.shape[:2], 3))
    return Picture(pixels, f"{mode}, {bits} bits" if bits > 8 else mode, bits, largest, frames)


def _shallow(picture: Image.Image) -> tuple[npt.NDArray[np.float32], float]:
    """Return values (H, W, 1 or 3) in [0, 1], and the largest, of an image of at most 8 bits per channel."""
    see_through = picture.has_transparency_data
    if not see_through and picture.mode not in _MODES:
        raise ImageError(f"The picture is of mode {picture.mode}; convert it to RGB or grey.")
    mode = "RGBA" if see_through else "L" if picture.mode in ("1", "L") else "RGB"
    width, height = picture.size
    values, largest = np.empty((height, width, 1 if mode == "L" else 3), np.float32), 0.0
    for rows in _pieces(height, width):
        part = picture.crop((0, rows.start, width, rows.stop))
        stored = np.asarray(part if part.mode == mode else part.convert(mode)).reshape(-1, width, len(mode))
        opacity = stored[:, :, 3:].astype(np.float32) / np.float32(255) if see_through else None
        largest = max(largest, _fill(values[rows], stored[:, :, :3], 255, opacity))
    return values, largest


def _deep(picture: Image.Image, data: bytes, depth: int) -> tuple[npt.NDArray[np.float32], float]:
    """Return values (H, W, 1 or 3) in [0, 1], and the largest, of an image of 9 to 16 bits per channel."""
    full, key, alpha = 2**depth - 1, None, None
    if picture.mode.startswith("I"):
        stored, key = np.asarray(picture)[:, :, None], picture.info.get("transparency")
    else:  # of 16-bit color Pillow reads the high byte only
        channels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if channels is None or channels.dtype != np.uint16 or channels.ndim != 3:
            raise ImageError(f"The picture's 16-bit {picture.mode} cannot be read in full; save it as PNG.")
        stored = channels[:, :, 2::-1]
        alpha = channels[:, :, 3:] if channels.shape[2] > 3 else None
    largest = int(stored.max())
    if largest > full:
        raise ImageError(f"The picture has a value of {largest}, above the {full} of --bit-depth {depth}; raise it.")
    inverted = picture.format == "TIFF" and tiff_tag(picture, _PHOTOMETRIC) == 0  # its 0 is white
    values = np.empty(stored.shape, np.float32)
    for rows in _pieces(*stored.shape[:2]):
        part, opacity = stored[rows], None
        if alpha is not None:
            opacity = alpha[rows].astype(np.float32) / np.float32(65535)
        elif isinstance(key, int):
            opacity = (part != key).astype(np.float32)
        # In float32, 257 v / 65535 is v / 255 to the bit.
        _fill(values[rows], full - part if inverted else part, full, opacity)
    return _turn(values, orientation(picture)), largest / full


def _pieces(height: int, width: int) -> Iterator[slice]:
    """Yield all rows in blocks."""
    step = max(1, _PIECE // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _fill(values: npt.NDArray[np.float32], stored: Array, full: int, opacity: npt.NDArray[np.float32] | None) -> float:
    """Write stored values as values in [0, 1] over white; return the largest of them before transparency."""
    values[:] = stored
    values /= full
    largest = float(values.max())
    if opacity is not None:  # where all is opaque nothing changes, to the bit
        values *= opacity
        values += 1.0 - opacity
    return largest


def _turn(values: npt.NDArray[np.float32], orientation: int) -> npt.NDArray[np.float32]:
    """Apply an EXIF orientation to values, as `upright` does to an image."""
    match orientation:
        case 2:
            return values[:, ::-1]
        case 3:
            return values[::-1, ::-1]
        case 4:
            return values[::-1]
        case 5:
            return values.swapaxes(0, 1)
        case 6:
            return np.rot90(values, -1)
        case 7:
            return values[::-1, ::-1].swapaxes(0, 1)
        case 8:
            return np.rot90(values, 1)
    return values


def read_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """Read the defective pixels of a mask: those above half of the mask's maximum; none where the maximum is 0.

    This reads 0/1, 0/255 and noisy gray masks alike. Any mode is supported: a color or palette mask by its luminance,
    one with transparency by its luminance times its opacity, 16-bit and floating-point gray as they are (NaN is
    not defective).

    Args:
        data: content of the file.

    Returns:
        (H, W) bool, EXIF orientation applied.

    Raises:
        ImageError: as `read_image`, except for the mode; 16-bit *color* is an error too (Pillow drops its low byte).
    """
    with opened(data) as picture:
        bits = stored_bits(picture, data)
        if bits > 8 and not picture.mode.startswith(("I", "F")):
            raise ImageError(f"The mask has {bits} bits a color channel; save it as grey.")
        picture = upright(decode(picture))
        with damage_named():
            values = _mask_values(picture)
    maximum = np.fmax.reduce(values, axis=None)
    return np.asarray((values > maximum / 2) & (maximum > 0), dtype=np.bool_)


def preprocess(image: Array, geometry: Geometry) -> torch.Tensor:
    """Return the network's input before the backbone's normalization: antialiased bilinear resize, center crop.

    Args:
        image: (H, W, 3) floating point, in [0, 1], of the geometry's height and width.
        geometry: resize and crop.

    Returns:
        (3, S, S) float32 in [0, 1].

    Raises:
        ValueError: the image has another shape, or is of integers.

    Example:
        >>> import numpy as np
        >>> from reconpatch import Geometry, preprocess
        >>> tuple(preprocess(np.zeros((300, 200, 3), np.float32), Geometry.of(300, 200, 224)).shape)
        (3, 224, 224)
    """
    if not _is_floating(image):
        raise ValueError(f"The image is of {image.dtype}; scale it to [0, 1] as float32.")
    if tuple(image.shape) != (geometry.height, geometry.width, 3):
        raise ValueError(f"The image is {tuple(image.shape)}, but ({geometry.height}, {geometry.width}, 3) is needed.")
    # Grey from `read_picture` is one channel seen three times: it is resized once.
    grey = isinstance(image, np.ndarray) and image.strides[2] == 0
    pixels = as_tensor(image[:, :, :1] if grey else image).float()
    size = (geometry.resize, geometry.resize)
    resized = interpolate(pixels.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True)[0]
    inside = slice(geometry.offset, geometry.offset + geometry.crop)
    return resized[:, inside, inside].clamp(0.0, 1.0).expand(3, -1, -1).contiguous()


def preprocess_mask(mask: npt.NDArray[np.bool_], geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Return the mask on the network's input: each pixel is the mask's pixel under its center, without interpolation.

    Args:
        mask: (H, W) bool.
        geometry: resize and crop, with the mask's own height and width, which may differ from the image's.

    Returns:
        (S, S) bool.

    Raises:
        ValueError: the mask has another shape.
    """
    if mask.shape != (geometry.height, geometry.width):
        raise ValueError(f"The mask is {mask.shape}, but ({geometry.height}, {geometry.width}) is needed.")
    size = geometry.crop
    centers = [geometry.patch_center(i, i, (size, size)) for i in range(size)]
    rows, cols = zip(*centers, strict=True)
    return mask[np.ix_(rows, cols)]


def _mask_values(picture: Image.Image) -> Array:
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    if picture.has_transparency_data:
        picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        return np.asarray(picture.convert("L")).astype(np.uint16) * np.asarray(picture.getchannel("A"))
    if picture.mode not in ("1", "L"):
        picture = picture.convert("RGB").convert("L")
    return np.asarray(picture).astype(np.uint8)


def _is_floating(image: Array) -> bool:
    return image.dtype.is_floating_point if isinstance(image, torch.Tensor) else np.issubdtype(image.dtype, np.floating)
