"""Reader of the formats that need imagecodecs, because Pillow returns fewer bits than the file holds or no pixels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats.headers import (
    JpegFrame,
    jpeg2000_header,
    jpeg_orientation,
    jpegxl_header,
    require_jpeg_end,
)
from reconpatch.imaging.formats.pillow_reader import opened, orientation, read_with_pillow
from reconpatch.imaging.formats.png_chunks import decode_passes, is_interlaced
from reconpatch.imaging.formats.samples import (
    FRAMES,
    Samples,
    array_rows,
    damage_named,
    require_few_scans,
    require_size,
    transparent_level,
    unsupported,
)
from reconpatch.imaging.formats.tiff_color import cmyk_to_rgb


def read_deep_png(data: bytes) -> Samples:
    """Read a PNG file of 16-bit color, or of 16-bit gray with opacity.

    Args:
        data: Content of the file.

    Raises:
        ImageError: The file is damaged or too large.
    """
    with opened(data, "PNG") as picture, damage_named():
        picture.load()  # the orientation can lie after the pixels
        turned, key, frames = (
            orientation(picture),
            picture.info.get("transparency"),
            int(getattr(picture, "n_frames", 1)),
        )
        decode = _imagecodecs().png_decode
        stored = decode_passes(data, decode) if is_interlaced(data) else decode(data)
    samples = _samples(stored, 16, colors=3 if data[25] & 2 else 1, frames=min(frames, FRAMES), orientation=turned)
    if data[25] == 2 and isinstance(key, tuple) and stored.shape[2] == 3:
        rows, ignored = transparent_level(samples.rows, key, samples.height)
        return replace(samples, rows=rows, alpha_ignored=ignored)
    return samples


def read_jpeg(data: bytes, frame: JpegFrame) -> Samples:
    """Read a JPEG file whose channels have another number of bits than 8.

    Args:
        data: Content of the file.
        frame: Its frame header.

    Raises:
        ImageError: The file is damaged or too large, or has other channels than gray or color.
    """
    require_size(frame.width, frame.height)
    require_few_scans(data)
    _require_gray_or_color(frame)
    with damage_named():
        require_jpeg_end(data)
        stored = _imagecodecs().jpeg8_decode(data)
    turned = jpeg_orientation(data)
    return _samples(stored, frame.bits, colors=frame.channels, lossy=frame.process != 3, orientation=turned)


def read_jpegls(data: bytes, frame: JpegFrame) -> Samples:
    """Read a JPEG-LS file.

    Args:
        data: Content of the file.
        frame: Its frame header.

    Raises:
        ImageError: The file is damaged or too large, or has other channels than gray or color.
    """
    require_size(frame.width, frame.height)
    _require_gray_or_color(frame)
    with damage_named():
        require_jpeg_end(data)
        stored = _imagecodecs().jpegls_decode(data)
        if stored.ndim == 3 and stored.shape[0] == frame.channels and stored.shape[1:] == (frame.height, frame.width):
            stored = np.moveaxis(stored, 0, 2)  # the channels follow one another
        scan = data.index(b"\xff\xda")
        tolerance = data[scan + 5 + 2 * data[scan + 4]]
    return _samples(stored, frame.bits, colors=frame.channels, lossy=tolerance > 0)


def read_jpeg2000(data: bytes) -> Samples:
    """Read a JPEG 2000 file or codestream.

    Args:
        data: Content of the file.

    Raises:
        ImageError: The file is damaged or too large, or of a variant that is not supported.
    """
    with damage_named():
        header = jpeg2000_header(data)
        if not 0 <= data.rfind(b"\xff\x93") < data.rfind(b"\xff\xd9"):
            raise ValueError("the end of the codestream is missing")
    require_size(header.width, header.height)
    if header.signed:
        raise ImageError("The image has signed values; add an offset and save it as unsigned 8- or 16-bit values.")
    bits = max(header.bits)
    if bits > 16:
        raise ImageError(f"The image has {bits} bits per channel; save it with 16 or 8.")
    if bits == 8 or header.palette:
        return read_with_pillow(data, "JPEG 2000", not header.reversible)
    if header.subsampled or header.colorspace == 18 or len(set(header.bits)) > 1:
        raise unsupported(f"a JPEG 2000 variant of {bits} bits with YCbCr, subsampled or unequal channels")
    with damage_named():
        stored = _imagecodecs().jpeg2k_decode(data, numthreads=1)
    if header.colorspace == 12:
        stored = cmyk_to_rgb(stored, bits)
    colors = 1 if len(header.bits) < 3 else 3
    extra = {0: "other", 1: "opacity", 2: "premultiplied"}[header.opacity]
    return _samples(stored, bits, colors=colors, extra=(extra,), lossy=not header.reversible)


def read_jpegxl(data: bytes) -> Samples:
    """Read a JPEG XL file; the decoder applies the orientation.

    Args:
        data: Content of the file.

    Raises:
        ImageError: The file is damaged or too large, or is floating-point or animated.
    """
    with damage_named():
        header = jpegxl_header(data)
    require_size(header.width, header.height)
    if header.animated:
        raise unsupported("several frames in JPEG XL", "save the first one as PNG")
    if header.floating:
        raise ImageError("The image has floating-point values; scale them and save it as 8-bit gray.")
    if header.bits > 16:
        raise ImageError(f"The image has {header.bits} bits per channel; save it with 16 or 8.")
    with damage_named():
        stored = _imagecodecs().jpegxl_decode(data, numthreads=1)
        channels = 1 if stored.ndim == 2 else stored.shape[2]
    return _samples(stored, header.bits, colors=channels - len(header.extra), extra=header.extra)


def read_avif(data: bytes) -> Samples:
    """Read an AVIF file of 8, 10 or 12 bits.

    Args:
        data: Content of the file.

    Raises:
        ImageError: The file is damaged or too large, or is a sequence of more than 8 bits.
    """
    flags = data[(data.find(b"av1C") + 6) % len(data)]
    if not flags & 0x40:  # 8 bits
        return read_with_pillow(data, "AVIF", lossy=True)
    with opened(data, "AVIF") as picture, damage_named():
        turned, sequence = orientation(picture), getattr(picture, "n_frames", 1) > 1
    if sequence:  # imagecodecs cannot decode the first frame alone
        raise unsupported("several frames of more than 8 bits in AVIF", "save the first one as PNG")
    with damage_named():
        stored = _imagecodecs().avif_decode(data, numthreads=1)
        colors = 3 if stored.ndim == 3 and stored.shape[2] > 2 else 1
    return _samples(stored, 12 if flags & 0x20 else 10, colors=colors, lossy=True, orientation=turned)


def _samples(stored: Array, bits: int, *, colors: int, extra: tuple[str, ...] = ("opacity",), **fields: Any) -> Samples:
    """Return the samples of a decoded array, (H, W) or (H, W, C).

    Args:
        stored: The array; a channel after the color is described by `extra`.
        bits: Bits per channel.
        colors: Number of color channels.
        extra: Kinds of the channels after the color: "opacity", "premultiplied" or "other".
        **fields: Further fields of the samples.
    """
    values = stored.reshape(*stored.shape[:2], -1)
    channels = values.shape[2]
    if colors not in (1, 3) or channels < colors:
        raise unsupported(f"{colors} color channels of {bits} bits", "convert it to RGB or gray")
    place = next((k for k, kind in enumerate(extra[: channels - colors]) if kind != "other"), None)
    alpha = None if place is None else values[:, :, colors + place]
    rows, ignored = array_rows(values[:, :, :colors], alpha, 2**bits - 1)
    return Samples(
        height=values.shape[0],
        width=values.shape[1],
        kind="gray" if colors == 1 else "color",
        mode=("L" if colors == 1 else "RGB") + "A" * (alpha is not None),
        channels=channels,
        bits=bits,
        full=2**bits - 1,
        rows=rows,
        premultiplied=place is not None and extra[place] == "premultiplied",
        alpha_ignored=ignored,
        **fields,
    )


def _require_gray_or_color(frame: JpegFrame) -> None:
    """Raise ImageError if a JPEG has neither one nor three channels."""
    if frame.channels not in (1, 3):
        raise unsupported(f"{frame.channels} channels of {frame.bits} bits", "convert it to RGB or gray")


def _imagecodecs() -> Any:
    """Return the package imagecodecs, which is imported on first use."""
    import imagecodecs

    return imagecodecs
