"""Headers of JPEG, JPEG 2000 and JPEG XL data: size, channels and bits, read before anything is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from PIL import Image

_ORIENTATION = 0x0112  # EXIF tag


@dataclass(frozen=True)
class JpegFrame:
    """The frame header of a JPEG or JPEG-LS file.

    Attributes:
        process: Number n of the marker SOFn: 0 to 2 for DCT, 3 for lossless JPEG, 55 for JPEG-LS.
        bits: Bits per channel.
        height: Number of rows; 0 if the file states it after the pixels.
        width: Number of columns.
        channels: Number of channels.
    """

    process: int
    bits: int
    height: int
    width: int
    channels: int


def jpeg_frame(data: bytes) -> JpegFrame | None:
    """Return the frame header of JPEG data, None if there is none.

    Args:
        data: Data that start with the marker SOI.
    """
    for marker, start, end in _jpeg_segments(data):
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            if end - start < 6:
                return None
            bits, height, width, channels = struct.unpack_from(">BHHB", data, start)
            return JpegFrame(marker - 0xC0, bits, height, width, channels)
    return None


def require_jpeg_end(data: bytes) -> None:
    """Raise ValueError if JPEG or JPEG-LS data are truncated: imagecodecs fills up what is missing, or never returns.

    Args:
        data: Data that start with the marker SOI.

    Raises:
        ValueError: There is no scan, or the marker EOI is missing after the last one.
    """
    if not 0 <= data.rfind(b"\xff\xda") < data.rfind(b"\xff\xd9"):
        raise ValueError("the JPEG data are truncated")


def jpeg_orientation(data: bytes) -> int:
    """Return the EXIF orientation of JPEG data, 1 if it has none.

    Args:
        data: Data that start with the marker SOI.
    """
    for marker, start, end in _jpeg_segments(data):
        if marker == 0xE1 and data[start : start + 6] == b"Exif\0\0":
            return exif_orientation(data[start:end])
    return 1


def exif_orientation(block: bytes) -> int:
    """Return the orientation of an EXIF block: 1 to 8 in a valid block, 1 if it has none or is damaged.

    Args:
        block: The block, which starts with "Exif" or with the TIFF header.
    """
    exif = Image.Exif()
    try:
        exif.load(block)
        return int(exif.get(_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block does not make the pixels unreadable; image viewers ignore it as well
        return 1


def _jpeg_segments(data: bytes) -> list[tuple[int, int, int]]:
    """Return marker, start and end of each segment before the first scan."""
    segments, place = [], 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker == 0xDA:
            break
        (length,) = struct.unpack_from(">H", data, place + 2)
        segments.append((marker, place + 4, min(place + 2 + length, len(data))))
        place += 2 + max(length, 2)
    return segments


@dataclass(frozen=True)
class Jpeg2000Header:
    """The header of a JPEG 2000 file.

    Attributes:
        width: Number of columns.
        height: Number of rows.
        bits: Bits of each channel.
        signed: Whether a channel has signed values.
        subsampled: Whether channels have different sizes.
        reversible: Whether the wavelet transform is the reversible one, which lossless files need.
        opacity: Type of the last channel: 1 for opacity, 2 for opacity by which the colors are multiplied, or 0.
        colorspace: Number of the color space: 12 for CMYK, 16 for sRGB, 17 for gray, 18 for YCbCr; 0 if not stated.
        palette: Whether the values are indices of a palette.
    """

    width: int
    height: int
    bits: tuple[int, ...]
    signed: bool
    subsampled: bool
    reversible: bool
    opacity: int
    colorspace: int
    palette: bool


def jpeg2000_header(data: bytes) -> Jpeg2000Header:
    """Return the header of a JPEG 2000 file or codestream.

    Args:
        data: Content of the file.

    Raises:
        ValueError: There is no codestream, or its header is truncated.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or len(data) < start + 42:
        raise ValueError("no codestream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, start + 8)
    (channels,) = struct.unpack_from(">H", data, start + 40)
    sizes = [data[place : place + 3] for place in range(start + 42, start + 42 + 3 * channels, 3)]
    if not sizes or len(sizes[-1]) < 3:
        raise ValueError("truncated header")
    boxes = data[:start]
    opacity, colorspace = 0, 0
    if not boxes or (b"cdef" not in boxes):
        opacity = 1 if channels in (2, 4) else 0  # channels that are not described, as image viewers show them
    elif (place := boxes.find(b"cdef")) > 0 and len(boxes) >= place + 6:
        (count,) = struct.unpack_from(">H", boxes, place + 4)
        entries = boxes[place + 6 : place + 6 + 6 * count]
        kinds = dict(struct.unpack_from(">HH", entries, k) for k in range(0, len(entries) - 5, 6))
        opacity = kinds.get(channels - 1, 0)
    if (place := boxes.find(b"colr")) > 0 and boxes[place + 4 : place + 5] == b"\1":
        colorspace = int.from_bytes(boxes[place + 7 : place + 11], "big")
    style = data.find(b"\xff\x52", start)
    return Jpeg2000Header(
        width=right - left,
        height=bottom - top,
        bits=tuple((size[0] & 0x7F) + 1 for size in sizes),
        signed=any(size[0] & 0x80 for size in sizes),
        subsampled=len({size[1:] for size in sizes}) > 1,
        reversible=style > 0 and data[style + 13 : style + 14] == b"\1",
        opacity=opacity if opacity in (1, 2) else 0,
        colorspace=colorspace,
        palette=b"pclr" in boxes,
    )


@dataclass(frozen=True)
class JpegXlHeader:
    """The header of a JPEG XL file.

    Attributes:
        width: Number of columns as stored.
        height: Number of rows as stored.
        bits: Bits per channel.
        floating: Whether the values are floating-point numbers.
        animated: Whether the file has several frames.
        extra: Kind of each channel after the color: "opacity", "premultiplied" for opacity that the colors are
            multiplied by, or "other".
    """

    width: int
    height: int
    bits: int = 8
    floating: bool = False
    animated: bool = False
    extra: tuple[str, ...] = ()


class _Bits:
    """Reader of the bits of a JPEG XL header, the lowest bit of each byte first."""

    def __init__(self, data: bytes) -> None:
        self.number, self.length, self.place = int.from_bytes(data, "little"), 8 * len(data), 0

    def read(self, count: int) -> int:
        """Return the next bits as a number."""
        if self.place + count > self.length:
            raise ValueError("truncated header")
        value = (self.number >> self.place) & ((1 << count) - 1)
        self.place += count
        return value

    def choose(self, *choices: tuple[int, int]) -> int:
        """Return a number of a variable length: two bits select the offset and the number of further bits."""
        offset, count = choices[self.read(2)]
        return offset + self.read(count)

    def size(self) -> tuple[int, int]:
        """Return the width and height of a size header."""
        small = self.read(1)
        height = 8 * (self.read(5) + 1) if small else self._side()
        ratio = self.read(3)
        if ratio:
            top, bottom = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
            return height * top // bottom, height
        return 8 * (self.read(5) + 1) if small else self._side(), height

    def _side(self) -> int:
        return self.choose((1, 9), (1, 13), (1, 18), (1, 30))

    def depth(self) -> tuple[int, bool]:
        """Return bits per channel and whether the values are floating-point numbers."""
        if self.read(1):
            bits = self.choose((32, 0), (16, 0), (24, 0), (1, 6))
            self.read(4)
            return bits, True
        return self.choose((8, 0), (10, 0), (12, 0), (1, 6)), False

    def extra_channel(self) -> str:
        """Return the kind of an extra channel."""
        if self.read(1):  # the default
            return "opacity"
        kind = self.choose((0, 0), (1, 0), (2, 4), (18, 6))
        self.depth()
        self.choose((0, 0), (3, 0), (4, 0), (1, 3))  # a factor by which the channel is smaller
        self.read(8 * self.choose((0, 0), (0, 4), (16, 5), (48, 10)))  # its name
        if kind != 0:
            if kind == 2:
                self.read(4 * 16)  # the color of a spot channel
            elif kind == 5:
                self.choose((1, 0), (0, 2), (3, 4), (19, 8))  # the position in a pattern of color filters
            return "other"
        return "premultiplied" if self.read(1) else "opacity"


def jpegxl_header(data: bytes) -> JpegXlHeader:
    """Return the header of a JPEG XL file or codestream.

    Args:
        data: Content of the file.

    Raises:
        ValueError: There is no codestream, or its header is truncated.
    """
    bits = _Bits(_jpegxl_codestream(data)[2:1024])
    width, height = bits.size()
    if bits.read(1):  # all metadata are the defaults
        return JpegXlHeader(width, height)
    animated = False
    if bits.read(1):
        bits.read(3)  # orientation, which the decoder applies
        if bits.read(1):
            bits.size()  # intrinsic size
        if bits.read(1):
            raise ValueError("a preview, which is not supported")
        animated = bool(bits.read(1))
    if animated:
        return JpegXlHeader(width, height, animated=True)
    depth, floating = bits.depth()
    bits.read(1)  # whether 16 bits are enough for the decoder
    extra = tuple(bits.extra_channel() for _ in range(bits.choose((0, 0), (1, 0), (2, 4), (1, 12))))
    return JpegXlHeader(width, height, depth, floating, extra=extra)


def _jpegxl_codestream(data: bytes) -> bytes:
    """Return the first part of the codestream of a JPEG XL file."""
    if data[:2] == b"\xff\x0a":
        return data
    place = 0
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        head = 16 if length == 1 else 8
        if length == 1:
            length = int.from_bytes(data[place + 8 : place + 16], "big")
        if name in (b"jxlc", b"jxlp"):
            return data[place + head + (4 if name == b"jxlp" else 0) :][:1024]
        if length < head:
            break
        place += length
    raise ValueError("no codestream")
