"""Pictures: from a file's bytes to float pixels as shown, and on to the network's input."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn.functional import interpolate

from reconpatch.arrays import Array, as_tensor
from reconpatch.geometry import Geometry, resize_for

__all__ = [
    "SUFFIXES",
    "Geometry",
    "ImageError",
    "image_size",
    "preprocess",
    "preprocess_mask",
    "read_image",
    "read_mask",
    "resize_for",
]

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

_FORMATS = ("PNG", "JPEG", "MPO", "BMP", "TIFF", "WEBP")  # MPO is Pillow's name for a JPEG of several frames
_MEGAPIXELS = 200
_ORIENTATION = 0x0112  # tag of EXIF and of TIFF
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED = (5, 6, 7, 8)  # these swap height and width
# Chunks of a PNG that may hold its orientation; the text ones begin with a keyword.
_PNG_ORIENTATION = (b"eXIf", b"tEXtRaw profile type exif", b"zTXtRaw profile type exif", b"iTXtXML:com.adobe.xmp")


class ImageError(ValueError):
    """A file that cannot be read: one sentence, what is wrong and how to mend it. The path is the caller's to add."""


def image_size(data: bytes) -> tuple[int, int]:
    """(height, width) of the picture as shown, EXIF orientation applied, without decoding the pixels.

    Raises:
        ImageError: as `read_image`, wherever the header tells.
    """
    with _opened(data) as picture:
        _refuse_mode(picture, data)
        width, height = picture.size
        if picture.format == "PNG" and _orientation_is_late(data):
            _decode(picture)
        # Pillow has swapped the sides of a TIFF already if it is the TIFF's own tag that says so.
        swapped = picture.format == "TIFF" and _tiff_tag(picture, _ORIENTATION) in _TURNED
        if (_orientation(picture) in _TURNED) != swapped:
            return width, height
        return height, width


def read_image(data: bytes) -> npt.NDArray[np.float32]:
    """The picture as shown: PNG, JPEG, BMP, TIFF or WebP, by content; 1-bit, 8-bit grey, RGB or an opaque palette.

    Args:
        data: the whole file.

    Returns:
        (H, W, 3) float32 in [0, 1], EXIF orientation applied; grey is repeated over the three channels.

    Raises:
        ImageError: the file is empty, no picture, truncated, of another format, above 200 megapixels, of several
            frames, CMYK, floating-point, transparent, or has more than 8 bits a channel.
    """
    with _opened(data) as picture:
        _refuse_mode(picture, data)
        values = np.asarray(_upright(_decode(picture)).convert("RGB")).astype(np.float32)
    values /= 255
    return values


def read_mask(data: bytes) -> npt.NDArray[np.bool_]:
    """The defective pixels of a mask: those above half of the mask's maximum; a maximum of 0 means none.

    0/1, 0/255 and noisy grey masks all come out right. Any mode is read: a colour or palette mask by its luminance,
    one with transparency by its luminance times its opacity, 16-bit and floating-point grey as they are (NaN is
    not defective).

    Returns:
        (H, W) bool, EXIF orientation applied.

    Raises:
        ImageError: as `read_image`, except for the mode; 16-bit *colour* is refused too (Pillow drops its low byte).
    """
    with _opened(data) as picture:
        bits = _bits(picture, data)
        if bits > 8 and not picture.mode.startswith(("I", "F")):
            raise ImageError(f"The mask has {bits} bits a colour channel; save it as grey.")
        picture = _upright(_decode(picture))
        with _damage_named():
            values = _mask_values(picture)
    maximum = np.fmax.reduce(values, axis=None)
    return np.asarray((values > maximum / 2) & (maximum > 0), dtype=np.bool_)


def preprocess(image: Array, geometry: Geometry) -> torch.Tensor:
    """The network's input, before the backbone's own normalisation: antialiased bilinear resize, centre crop.

    Args:
        image: (H, W, 3) floating point, in [0, 1], of the geometry's height and width.

    Returns:
        (3, S, S) float32 in [0, 1].

    Raises:
        ValueError: the image has another shape, or is of integers.
    """
    pixels = as_tensor(image).float()
    if not _is_floating(image):
        raise ValueError(f"The image is of {image.dtype}; scale it to [0, 1] as float32.")
    if pixels.shape != (geometry.height, geometry.width, 3):
        raise ValueError(f"The image is {tuple(pixels.shape)}, but ({geometry.height}, {geometry.width}, 3) is needed.")
    size = (geometry.resize, geometry.resize)
    resized = interpolate(pixels.permute(2, 0, 1)[None], size=size, mode="bilinear", antialias=True)[0]
    inside = slice(geometry.offset, geometry.offset + geometry.crop)
    return resized[:, inside, inside].clamp(0.0, 1.0).contiguous()


def preprocess_mask(mask: npt.NDArray[np.bool_], geometry: Geometry) -> npt.NDArray[np.bool_]:
    """The mask as the network sees it: each network pixel takes the mask's pixel under its centre, nothing is blended.

    Args:
        mask: (H, W) bool.
        geometry: its height and width are the mask's own, which may differ from the image's.

    Returns:
        (S, S) bool.

    Raises:
        ValueError: the mask has another shape.
    """
    if mask.shape != (geometry.height, geometry.width):
        raise ValueError(f"The mask is {mask.shape}, but ({geometry.height}, {geometry.width}) is needed.")
    size = geometry.crop
    centres = [geometry.patch_centre(i, i, (size, size)) for i in range(size)]
    rows, cols = zip(*centres, strict=True)
    return mask[np.ix_(rows, cols)]


_reading = threading.Lock()
_readers = 0
_pillow_limit: int | None = None


@contextmanager
def _limit_lifted() -> Iterator[None]:
    """Pillow's limit on pixels, a global that warns at 89 and raises at 179 megapixels, is off while we read."""
    global _readers, _pillow_limit
    with _reading:
        if _readers == 0:
            _pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _readers += 1
    try:
        yield
    finally:
        with _reading:
            _readers -= 1
            if _readers == 0:
                Image.MAX_IMAGE_PIXELS = _pillow_limit


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """The picture, header read, of a format, size and number of frames that are read."""
    if not data:
        raise ImageError("The file is empty; copy or export it again.")
    with _limit_lifted():
        try:
            picture: Image.Image = Image.open(BytesIO(data))
        except MemoryError:
            raise
        except Exception as error:  # Pillow's readers raise nearly everything on a broken header
            raise ImageError(
                "The file is not a picture that can be recognised, or it is cut off within its header; "
                "export it again as PNG, JPEG, BMP, TIFF or WebP."
            ) from error
        with picture:
            if picture.format not in _FORMATS:
                raise ImageError(f"{picture.format} pictures are not read; save it as PNG, JPEG, BMP, TIFF or WebP.")
            width, height = picture.size
            if width * height > _MEGAPIXELS * 1_000_000:
                raise ImageError(
                    f"The picture has {width} x {height} pixels, above the limit of {_MEGAPIXELS} megapixels; "
                    "scale it down or cut it into tiles."
                )
            with _damage_named():
                frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                raise ImageError(f"The file holds {frames} frames; save the one that counts as a file of its own.")
            yield picture


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # as in _opened
        reason = str(error) or type(error).__name__
        raise ImageError(
            f"The picture is damaged or cut off and cannot be decoded ({reason}); copy or export it again."
        ) from error


def _refuse_mode(picture: Image.Image, data: bytes) -> None:
    mode, bits = picture.mode, _bits(picture, data)
    if mode == "F":
        raise ImageError("The picture has floating-point values; scale them and save it as 8-bit grey.")
    if mode == "CMYK":
        raise ImageError("The picture is CMYK; convert it to RGB.")
    if bits > 8:
        raise ImageError(f"The picture has {bits} bits a channel; save it with 8 bits a channel.")
    if picture.has_transparency_data:
        raise ImageError(f"The picture has transparency (mode {mode}); flatten it and save it as RGB or grey.")
    if mode not in ("1", "L", "P", "RGB"):
        raise ImageError(f"The picture is of mode {mode}; convert it to RGB or grey.")


def _bits(picture: Image.Image, data: bytes) -> int:
    """Bits a channel as stored: of 16-bit colour Pillow reads the high byte and calls the result RGB."""
    if picture.format == "PNG" and data[12:16] == b"IHDR":
        return data[24]
    if picture.format == "TIFF":
        return max(_tiff_tag(picture, 0x0102) or (8,))
    return 8


def _tiff_tag(picture: Image.Image, tag: int) -> Array:
    return picture.tag_v2.get(tag)  # type: ignore[attr-defined]


def _decode(picture: Image.Image) -> Image.Image:
    with _damage_named():
        picture.load()
    return picture


def _orientation(picture: Image.Image) -> int:
    try:
        # Not the PNG reader's own getexif: it decodes the pixels first.
        return int(Image.Image.getexif(picture).get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the pixels: every viewer shows them as they are
        return 1


def _orientation_is_late(data: bytes) -> bool:
    """Whether a PNG has its orientation after its pixels, as it may."""
    place, pixels_seen = 8, False
    while place < len(data):
        pixels_seen |= data.startswith(b"IDAT", place + 4)
        if pixels_seen and data.startswith(_PNG_ORIENTATION, place + 4):
            return True
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return False


def _upright(picture: Image.Image) -> Image.Image:
    """The decoded picture as shown. (Of a TIFF Pillow has done this in decoding, and taken the tag away.)"""
    turn = _UPRIGHT.get(_orientation(picture))
    return picture if turn is None else picture.transpose(turn)


def _mask_values(picture: Image.Image) -> Array:
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture).astype(np.float64)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return np.asarray(picture.convert("L")) * (np.asarray(picture.getchannel("A")) / 255)
    if picture.mode not in ("1", "L"):
        picture = picture.convert("RGB").convert("L")
    return np.asarray(picture).astype(np.uint8)


def _is_floating(image: Array) -> bool:
    return image.dtype.is_floating_point if isinstance(image, torch.Tensor) else np.issubdtype(image.dtype, np.floating)
