"""Images: from the content of a file to pixels in [0, 1], as displayed, and to the input of a backbone."""

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
_PHOTOMETRIC = 0x0106  # TIFF tag: meaning of the values; 0 if the value 0 is white
_PIECE = 1 << 18  # pixels that are converted to floating point at a time, which keeps temporary copies small


@dataclass(frozen=True)
class Picture:
    """An image as displayed, with properties of its file.

    Attributes:
        pixels: (H, W, 3) float32 in [0, 1], with the EXIF orientation applied and transparent parts blended with
            white. A gray image has three equal channels.
        mode: Pillow's mode; above 8 bits per channel, the number of bits is appended ("I;16, 16 bits").
        bits: Bits per channel that the file stores.
        largest: Largest value of the image before blending, in [0, 1]; 1 is the largest value of the bit depth.
        frames: Number of images in the file, at most 65,536; only the first one is read.
    """

    pixels: npt.NDArray[np.float32]
    mode: str
    bits: int
    largest: float
    frames: int


def read_image(data: bytes, bit_depth: int = 16) -> npt.NDArray[np.float32]:
    """Return the pixels of an image file as displayed; `read_picture` describes the formats and the conversion.

    Args:
        data: Content of the file.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).

    Returns:
        (H, W, 3) float32 in [0, 1].

    Raises:
        ImageError: The file cannot be read.
        ValueError: The bit depth is out of range.

    Examples:
        >>> from io import BytesIO
        >>> from PIL import Image
        >>> from reconpatch import read_image
        >>> file = BytesIO()  # for a file on disk: data = Path("part.png").read_bytes()
        >>> Image.new("RGB", (4, 2), color=(255, 0, 51)).save(file, "PNG")
        >>> pixels = read_image(file.getvalue())
        >>> pixels.shape
        (2, 4, 3)
        >>> pixels[0, 0]
        array([1. , 0. , 0.2], dtype=float32)
    """
    return read_picture(data, bit_depth).pixels


def read_picture(data: bytes, bit_depth: int = 16) -> Picture:
    """Read an image as displayed: PNG, JPEG, BMP, TIFF or WebP, recognized by the content of the file.

    Of a file with several images, the first is read. 8-bit values are divided by 255, and values of more than 8 bits
    by 2^bits - 1, where bits is at most `bit_depth`. The divisor never depends on the values of the image.

    Args:
        data: Content of the file.
        bit_depth: Significant bits per channel of images with more than 8 bits (9-16).

    Raises:
        ImageError: The file is empty, not an image, damaged, of an unsupported format, above 200 megapixels,
            floating-point, of more than 16 bits per channel, or of mode LAB. Or a value needs more bits than
            `bit_depth`, or decoding takes much more memory or time than the number of pixels requires.
        ValueError: The bit depth is out of range.
    """
    if not 9 <= bit_depth <= 16:
        raise ValueError(f"The bit depth is {bit_depth}; it must be 9 to 16.")
    with opened(data) as picture:
        bits, mode = stored_bits(picture, data), picture.mode
        if mode == "F":
            raise ImageError("The image has floating-point values; scale them and save it as 8-bit gray.")
        if bits > 16:
            raise ImageError(f"The image has {bits} bits per channel; save it with 16 or 8.")
        with damage_named():
            frames = frame_count(picture, data)
        decode(picture)
        with damage_named():
            if bits > 8:
                values, largest = _deep(picture, data, min(bits, bit_depth))
            else:
                values, largest = _shallow(upright(picture))
    # A gray image stores one channel, which the three channels share.
    pixels = values if values.shape[2] == 3 else np.broadcast_to(values, (*values.shape[:2], 3))
    return Picture(pixels, f"{mode}, {bits} bits" if bits > 8 else mode, bits, largest, frames)


def _shallow(picture: Image.Image) -> tuple[npt.NDArray[np.float32], float]:
    """Return (H, W, 1 or 3) values in [0, 1] of an image with at most 8 bits per channel, and the largest value."""
    see_through = picture.has_transparency_data
    if not see_through and picture.mode not in _MODES:
        raise ImageError(f"The image has the unsupported mode {picture.mode}; convert it to RGB or gray.")
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
    """Return (H, W, 1 or 3) values in [0, 1] of an image with 9 to 16 bits per channel, and the largest value."""
    full, key, alpha = 2**depth - 1, None, None
    if picture.mode.startswith("I"):
        stored, key = np.asarray(picture)[:, :, None], picture.info.get("transparency")
    else:  # Pillow reads only the high bytes of 16-bit color
        channels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if channels is None or channels.dtype != np.uint16 or channels.ndim != 3:
            raise ImageError(f"16-bit values of mode {picture.mode} cannot be read from this file; save it as PNG.")
        stored = channels[:, :, 2::-1]
        alpha = channels[:, :, 3:] if channels.shape[2] > 3 else None
    largest = int(stored.max())
    if largest > full:
        raise ImageError(
            f"The image has the value {largest}; --bit-depth {depth} allows at most {full}. Raise --bit-depth."
        )
    inverted = picture.format == "TIFF" and tiff_tag(picture, _PHOTOMETRIC) == 0  # the value 0 is white
    values = np.empty(stored.shape, np.float32)
    for rows in _pieces(*stored.shape[:2]):
        part, opacity = stored[rows], None
        if alpha is not None:
            opacity = alpha[rows].astype(np.float32) / np.float32(65535)
        elif isinstance(key, int):
            opacity = (part != key).astype(np.float32)
        # In float32, 257 v / 65535 and v / 255 are bitwise equal.
        _fill(values[rows], full - part if inverted else part, full, opacity)
    return _turn(values, orientation(picture)), largest / full


def _pieces(height: int, width: int) -> Iterator[slice]:
    """Yield slices that divide the rows into blocks of about `_PIECE` pixels."""
    step = max(1, _PIECE // width)
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))


def _fill(values: npt.NDArray[np.float32], stored: Array, full: int, opacity: npt.NDArray[np.float32] | None) -> float:
    """Write stored values, scaled to [0, 1] and blended with white, to `values`; return the largest before blending."""
    values[:] = stored
    values /= full
    largest = float(values.max())
    if opacity is not None:  # an opacity of 1 leaves the values bitwise unchanged
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
    """Read a mask: a pixel is defective if its value is above half of the mask's maximum.

    The same rule works for masks with the values 0 and 1, masks with the values 0 and 255, and noisy gray masks. If
    the maximum is 0, no pixel is defective. The value of a pixel is its luminance in color and palette masks, its
    luminance times its opacity in masks with transparency, and the stored value in 16-bit and floating-point gray
    masks, where NaN is not defective.

    Args:
        data: Content of the file.

    Returns:
        (H, W) bool with the EXIF orientation applied; true where defective.

    Raises:
        ImageError: The file is empty, not an image, damaged, of an unsupported format, above 200 megapixels, or has
            16-bit color, of which Pillow reads only the high bytes.
    """
    with opened(data) as picture:
        bits = stored_bits(picture, data)
        if bits > 8 and not picture.mode.startswith(("I", "F")):
            raise ImageError(f"The mask has {bits} bits per color channel; save it as gray.")
        picture = upright(decode(picture))
        with damage_named():
            values = _mask_values(picture)
    maximum = np.fmax.reduce(values, axis=None)
    return np.asarray((values > maximum / 2) & (maximum > 0), dtype=np.bool_)


def preprocess(image: Array, geometry: Geometry) -> torch.Tensor:
    """Return a backbone's input for an image: antialiased bilinear resize, then center crop.

    The backbone itself normalizes the mean and standard deviation of its input.

    Args:
        image: (H, W, 3) floating point in [0, 1], NumPy array or tensor, with the geometry's height and width.
        geometry: Geometry of the image; it defines the resize and the crop.

    Returns:
        (3, S, S) float32 in [0, 1].

    Raises:
        ValueError: The image has another shape or an integer dtype.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import Geometry, preprocess
        >>> image = np.full((300, 200, 3), 0.5, np.float32)
        >>> inputs = preprocess(image, Geometry.of(300, 200, image_size=224))
        >>> inputs.shape
        torch.Size([3, 224, 224])
        >>> round(float(inputs.mean()), 3)
        0.5
    """
    if not _is_floating(image):
        raise ValueError(f"The image has dtype {image.dtype}; scale it to [0, 1] as float32.")
    if tuple(image.shape) != (geometry.height, geometry.width, 3):
        expected = (geometry.height, geometry.width, 3)
        raise ValueError(f"The image has shape {tuple(image.shape)}; the geometry expects {expected}.")
    # The three channels of a gray image from `read_picture` share their memory, so one is resized instead of three.
    gray = isinstance(image, np.ndarray) and image.strides[2] == 0
    pixels = as_tensor(image[:, :, :1] if gray else image).float()
    size = (geometry.resize, geometry.resize)
    resized = interpolate(pixels.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True)[0]
    inside = slice(geometry.offset, geometry.offset + geometry.crop)
    return resized[:, inside, inside].clamp(0.0, 1.0).expand(3, -1, -1).contiguous()


def preprocess_mask(mask: npt.NDArray[np.bool_], geometry: Geometry) -> npt.NDArray[np.bool_]:
    """Return a mask at the size of the backbone's input, sampled at the pixel centers without interpolation.

    Args:
        mask: (H, W) bool, true where defective.
        geometry: Resize and crop, with the height and width of the mask, which may differ from those of the image.

    Returns:
        (S, S) bool.

    Raises:
        ValueError: The shape of the mask is not that of the geometry.
    """
    if mask.shape != (geometry.height, geometry.width):
        expected = (geometry.height, geometry.width)
        raise ValueError(f"The mask has shape {mask.shape}; the geometry expects {expected}.")
    size = geometry.crop
    centers = [geometry.patch_center(i, i, (size, size)) for i in range(size)]
    rows, cols = zip(*centers, strict=True)
    return mask[np.ix_(rows, cols)]


def _mask_values(picture: Image.Image) -> Array:
    """Return the (H, W) values of a mask that `read_mask` compares with their maximum."""
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture)
    if picture.has_transparency_data:
        picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
        return np.asarray(picture.convert("L")).astype(np.uint16) * np.asarray(picture.getchannel("A"))
    if picture.mode not in ("1", "L"):
        picture = picture.convert("RGB").convert("L")
    return np.asarray(picture).astype(np.uint8)


def _is_floating(image: Array) -> bool:
    """Return whether an array or tensor has a floating-point dtype."""
    return image.dtype.is_floating_point if isinstance(image, torch.Tensor) else np.issubdtype(image.dtype, np.floating)
