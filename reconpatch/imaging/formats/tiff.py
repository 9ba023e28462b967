"""Reader of TIFF files: what the tags of the first image say, and its samples."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from reconpatch.arrays import Array
from reconpatch.exceptions import ImageError
from reconpatch.imaging.formats import tiff_color, tiff_segments
from reconpatch.imaging.formats.samples import (
    FRAMES,
    Kind,
    Opacity,
    Samples,
    array_rows,
    damage_named,
    require_size,
    silenced,
    unsupported,
)

_BLACK_IS_0, _RGB, _PALETTE, _CMYK, _YCBCR = 1, 2, 3, 5, 6
_PHOTOMETRIC: dict[int, tuple[Kind, str, int]] = {  # → kind, mode and number of color channels
    0: ("gray", "L", 1),
    _BLACK_IS_0: ("gray", "L", 1),
    _RGB: ("color", "RGB", 3),
    _PALETTE: ("palette", "P", 1),
    _CMYK: ("color", "CMYK", 4),
    _YCBCR: ("color", "YCbCr", 3),
}
_OTHERS = {
    4: "a transparency mask",
    32803: "a Bayer mosaic (raw data of a color sensor)",
    32844: "floating-point luminance (LogL)",
    32845: "floating-point colors (LogLuv)",
    34892: "raw data of a camera",
    51177: "a depth map",
}
# The tags that decide how an image is read. tifffile skips tags that it cannot read.
_USED = {254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325, 330, 332, 338}
_USED |= {339, 347, 529, 530, 532, 32997, 32998, 50706}
_TAGS = 4096  # limit of tags in a directory
_VALUES = 1 << 20  # limit of values of a tag; each value needs some 40 bytes while it is read
_LAB = (8, 9, 10)
_DNG, _SUB_IMAGES = 50706, 330
_FLAGS: dict[str, Any] = {
    f"is_{kind}": False for kind in ("ome", "lsm", "scanimage", "ndpi", "stk", "imagej", "shaped", "eer")
}


def read_tiff(data: bytes, mask: bool = False) -> Samples:
    """Read the first image of a TIFF or BigTIFF file.

    Args:
        data: Content of the file.
        mask: Whether signed and floating-point values and more than 16 bits are read, as masks can have them.

    Raises:
        ImageError: The file is damaged, or the image is too large or of a kind that is not supported.
    """
    with silenced("tifffile"):
        page = _first_page(data)
        frames = frame_count(data)
        with damage_named():
            require_size(page.imagewidth, page.imagelength)
            tiff_segments.require_bounded(page)
            photometric = _photometric(page)
            _require_image(page, photometric, frames)
            if not mask:
                _require_unsigned(page)
            _require_decodable(page, photometric)
            return _samples(page, data, photometric, frames)


def frame_count(data: bytes) -> int:
    """Return the number of images in a TIFF file, at least 1; counting stops at 65,536.

    The links between the directories are followed, and the directories are not read.

    Args:
        data: Content of the file.
    """
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    link, number, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    position, seen = 8 if big else 4, set[int]()
    try:
        while len(seen) < FRAMES:
            (start,) = struct.unpack_from(link, data, position)
            if start == 0 or start in seen:
                break
            (entries,) = struct.unpack_from(number, data, start)
            position = start + struct.calcsize(number) + entry * entries
            seen.add(start)
    except (struct.error, OverflowError):  # the link points outside of the file
        pass
    return max(1, len(seen))


def _first_page(data: bytes) -> Any:
    """Return tifffile's first page; it does not look for the series of OME-TIFF, ImageJ or microscopes."""
    from tifffile import TiffFile, TiffPage

    try:
        counts = _entries(data)
        if (most := max((counts[tag] for tag in _USED & counts.keys()), default=0)) > _VALUES:
            raise unsupported(f"a TIFF tag of {most} values", "save it with fewer strips or tiles")
        page = TiffFile(BytesIO(data), **_FLAGS).pages[0]
        if not isinstance(page, TiffPage):
            raise ValueError("no directory")
        if unread := sorted(_USED & counts.keys() - page.tags.keys()):
            raise ValueError(f"the value of tag {unread[0]} is outside of the file")
        return page
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # for damaged headers, the reader raises exceptions of almost any type
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(
            f"The TIFF file is damaged, or its header is truncated ({reason}); copy or export it again."
        ) from error


def _entries(data: bytes) -> dict[int, int]:
    """Return the number of values of each tag in the first directory."""
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    link, number, entry = (
        (f"{order}Q", f"{order}Q", f"{order}HHQ") if big else (f"{order}I", f"{order}H", f"{order}HHI")
    )
    size = 20 if big else 12
    (start,) = struct.unpack_from(link, data, 8 if big else 4)
    (count,) = struct.unpack_from(number, data, start)
    first = start + struct.calcsize(number)
    found = (struct.unpack_from(entry, data, first + size * place) for place in range(min(count, _TAGS)))
    return {tag: values for tag, _, values in found}


def _photometric(page: Any) -> int:
    """Return the meaning of the samples; where the tag is missing, that of most readers."""
    if 262 in page.tags:
        return int(page.photometric)
    return _RGB if page.samplesperpixel >= 3 else 0 if page.compression in (2, 3, 4) else _BLACK_IS_0


def _require_image(page: Any, photometric: int, frames: int) -> None:
    """Raise ImageError if the page is no ordinary image."""
    if _DNG in page.tags:
        raise unsupported("raw data of a camera (DNG)")
    if photometric in _LAB:
        raise ImageError("The image has the unsupported mode LAB; convert it to RGB.")
    if photometric not in _PHOTOMETRIC:
        raise unsupported(_OTHERS.get(photometric, f"the photometric interpretation {photometric}"))
    if page.subfiletype & 1 and (frames > 1 or _SUB_IMAGES in page.tags):
        raise unsupported("a thumbnail as the first image of the file, as raw files of cameras have")
    depth = max(page.imagedepth, page.tiledepth if page.is_tiled else 1)
    if depth > 1:
        raise unsupported(f"{depth} layers (a volume)", "save each layer as an image")
    if photometric == _CMYK and int(page.tags.valueof(332, 1)) != 1:
        raise unsupported("inks other than CMYK", "convert it to RGB")


def _require_decodable(page: Any, photometric: int) -> None:
    """Raise ImageError if the samples are stored in a form that is not read."""
    if isinstance(page.bitspersample, tuple):
        bits = ", ".join(map(str, page.bitspersample))
        raise unsupported(f"channels of different numbers of bits ({bits})")
    if isinstance(page.sampleformat, tuple) or int(page.sampleformat) not in (1, 2, 3, 4) or page.dtype is None:
        raise unsupported(f"samples of the format {page.sampleformat} with {page.bitspersample} bits per channel")
    if not tiff_segments.is_decoded(page.compression):
        raise unsupported(f"the TIFF compression {int(page.compression)}", "save it with LZW, deflate or none")
    tiff_segments.require_predictor(page)
    if photometric == _YCBCR and page.bitspersample != 8:
        raise unsupported(f"YCbCr colors of {page.bitspersample} bits", "convert it to RGB")


def _require_unsigned(page: Any) -> None:
    """Raise ImageError if the values are not unsigned integers of at most 16 bits."""
    if page.sampleformat == 3:
        raise ImageError("The image has floating-point values; scale them and save it as 8-bit gray.")
    if isinstance(page.bitspersample, int) and page.bitspersample > 16 and page.sampleformat in (1, 2, 4):
        raise ImageError(f"The image has {page.bitspersample} bits per channel; save it with 16 or 8.")
    if page.sampleformat == 2:
        raise ImageError("The image has signed values; add an offset and save it as unsigned 8- or 16-bit values.")


def _samples(page: Any, data: bytes, photometric: int, frames: int) -> Samples:
    """Return the samples of a supported page."""
    kind, mode, colors = _PHOTOMETRIC[photometric]
    bits, channels = int(page.bitspersample), int(page.samplesperpixel)
    if channels < colors:
        raise ValueError(f"{channels} channels instead of {colors} for {mode}")
    meanings = [*page.extrasamples, *([0] * channels)][: channels - colors]
    extra = next((place for place, meaning in enumerate(meanings) if meaning in (1, 2)), None)
    if photometric in (0, _CMYK) and extra is not None and meanings[extra] == 1:
        # Whether ink or light was multiplied is not defined.
        what = "CMYK" if photometric else "gray whose 0 is white"
        raise unsupported(f"premultiplied opacity in {what}", "convert it to RGB or to gray whose 0 is black")
    stored = tiff_color.subsampled(page, data) if tiff_color.is_subsampled(page, photometric) else None
    if stored is None:
        stored = tiff_segments.decoded(page, data)
    alpha = None if extra is None else stored[:, :, colors + extra]
    plain, ignored = array_rows(stored[:, :, :colors], alpha, 2**bits - 1)
    convert = tiff_color.conversion(page, photometric)

    def rows(part: slice) -> tuple[Array, Opacity | None]:
        values, opacity = plain(part)
        return (values if convert is None else convert(values)), opacity

    return Samples(
        height=int(page.imagelength),
        width=int(page.imagewidth),
        kind=kind,
        mode="1" if bits == 1 and mode == "L" else mode + "A" * (alpha is not None),
        channels=channels,
        bits=bits,
        full=2**bits - 1,
        rows=rows,
        palette=tiff_color.palette(page, bits) if kind == "palette" else None,
        inverted=photometric == 0,
        premultiplied=extra is not None and meanings[extra] == 1,
        alpha_ignored=ignored,
        lossy=tiff_segments.is_lossy(page, data),
        frames=frames,
        orientation=int(page.tags.valueof(274, 1)),
    )
