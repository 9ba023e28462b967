"""Headers: the size and bits that they state are those of the encoded image."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from reconpatch.imaging.formats.headers import (
    JpegFrame,
    exif_orientation,
    jpeg2000_header,
    jpeg_frame,
    jpeg_orientation,
    jpegxl_header,
    require_jpeg_end,
)
from tests.reconpatch.picture_files import encode, noise


def test_frames_of_jpeg_and_jpegls():
    color = noise(6, 5, 3)
    assert jpeg_frame(encode(Image.fromarray(color), "JPEG")) == JpegFrame(0, 8, 6, 5, 3)
    assert jpeg_frame(encode(Image.fromarray(color), "JPEG", progressive=True)) == JpegFrame(2, 8, 6, 5, 3)
    deep = imagecodecs.jpeg8_encode(color.astype(np.uint16), bitspersample=12)
    assert jpeg_frame(deep) == JpegFrame(1, 12, 6, 5, 3)
    assert jpeg_frame(imagecodecs.jpegls_encode(color)) == JpegFrame(55, 8, 6, 5, 3)
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xc0\x00\x04", b"\xff\xd8\xff\xff\xff\xda\0\0"):
        assert jpeg_frame(data) is None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_jpeg(orientation):
    assert jpeg_orientation(encode(Image.fromarray(noise(6, 5)), "JPEG", orientation)) == orientation


def test_a_damaged_exif_block_has_no_orientation():
    assert exif_orientation(b"Exif\0\0not a directory") == 1
    assert jpeg_orientation(encode(Image.fromarray(noise(6, 5)), "JPEG")) == 1


def test_jpeg_data_end_with_a_marker():
    data = encode(Image.fromarray(noise(6, 5)), "JPEG")
    require_jpeg_end(data)
    for broken in (data[:-2], data[: data.index(b"\xff\xda")], b""):
        with pytest.raises(ValueError, match="the JPEG data are truncated"):
            require_jpeg_end(broken)


@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (5, 6), (256, 256), (300, 200), (1000, 16), (333, 250), (64, 32)]
)
@pytest.mark.parametrize("bits", [8, 10, 16])
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl(width, height, bits, container):
    values = np.zeros((height, width, 4), np.uint8 if bits == 8 else np.uint16)
    header = jpegxl_header(imagecodecs.jpegxl_encode(values, bitspersample=bits, lossless=True, usecontainer=container))
    assert (header.width, header.height, header.bits) == (width, height, bits)
    assert (header.floating, header.animated, header.extra) == (False, False, ("opacity",))


def test_jpeg_xl_of_other_kinds():
    assert jpegxl_header(imagecodecs.jpegxl_encode(np.zeros((4, 5), np.float32))).floating
    assert jpegxl_header(imagecodecs.jpegxl_encode(np.zeros((2, 4, 5), np.uint8), photometric="gray")).animated
    with pytest.raises(ValueError, match="no codestream"):
        jpegxl_header(b"\0\0\0\x0cJXL \r\n\x87\n")
    with pytest.raises(ValueError, match="truncated header"):
        jpegxl_header(b"\xff\x0a")


@pytest.mark.parametrize("codec", ["jp2", "j2k"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_2000(codec, channels):
    values = np.zeros((6, 5, channels), np.uint16)[:, :, slice(None) if channels > 1 else 0]
    header = jpeg2000_header(imagecodecs.jpeg2k_encode(values, bitspersample=12, level=0, codecformat=codec))
    assert (header.width, header.height, header.bits) == (5, 6, (12,) * channels)
    assert (header.signed, header.subsampled, header.reversible, header.palette) == (False, False, True, False)
    assert header.opacity == (1 if channels in (2, 4) else 0)
    assert jpeg2000_header(imagecodecs.jpeg2k_encode(np.zeros((6, 5), np.int16))).signed
    for data in (b"\xff\x4f\xff\x51", b""):
        with pytest.raises(ValueError, match="no codestream"):
            jpeg2000_header(data)
