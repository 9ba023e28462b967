"""What is refused, in one sentence, and how a picture is turned: as it is shown."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from reconpatch.exceptions import ImageError
from reconpatch.imaging.images import read_image, read_mask
from tests.reconpatch.picture_files import ORIENTABLE, REFUSED, STORED, encode, noise, png


@pytest.mark.parametrize("fmt", ORIENTABLE)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_and_masks_come_as_shown(fmt, orientation):
    shown = np.zeros((24, 40, 3), np.uint8)
    shown[:8, :16] = (250, 30, 30)  # no flip or turn of it equals another
    shown[16:, :8] = (30, 30, 250)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown)))
    data = encode(stored, fmt, orientation)
    image = read_image(data)
    assert image.shape[:2] == (24, 40)
    np.testing.assert_allclose(image, shown / 255, atol=0.1 if fmt == "JPEG" else 1e-7)
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(image, np.asarray(ImageOps.exif_transpose(picture)).astype(np.float32) / 255)

    marked = Image.fromarray(np.ascontiguousarray(STORED[orientation](shown.max(2) > 0)).astype(np.uint8) * 255)
    np.testing.assert_array_equal(read_mask(encode(marked, fmt, orientation)), shown.max(2) > 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_masks_come_as_shown(orientation):
    shown = np.zeros((5, 9), np.uint16)
    shown[0, :3] = 40_000
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](shown))), "PNG", orientation)
    np.testing.assert_array_equal(read_mask(data), shown > 0)


def test_exif_after_the_pixels_of_a_png_counts():
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    data = png(3, 1, 8, 0, body=bytes([0, 10, 20, 30]), extra=chunk)
    assert read_image(data).shape[:2] == (3, 1)
    np.testing.assert_array_equal(np.rint(read_image(data)[:, 0, 0] * 255), [10, 20, 30])


def test_orientation_in_xmp_counts():
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="8"/>')
    data = encode(Image.fromarray(noise(4, 7)), "PNG", pnginfo=xmp)
    assert read_image(data).shape[:2] == (7, 4)


def test_a_broken_or_unknown_orientation_is_none():
    picture = Image.fromarray(noise(4, 7))
    for data in (encode(picture, "PNG", 9), encode(picture, "PNG", exif=b"Exif\0\0not a directory")):
        assert read_image(data).shape[:2] == (4, 7)


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_sentence_that_says_how_to_mend_it(case):
    data, sentence = REFUSED[case]
    with pytest.raises(ImageError) as refused:
        read_image(data)
    message = str(refused.value)
    assert sentence in message
    assert message.endswith(".")
    assert ";" in message
    assert "\n" not in message


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "BMP", "TIFF", "TIFF-LZW", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of the TIFF directory
def test_truncated_pictures_are_never_half_decoded(fmt):
    data = encode(Image.fromarray(noise(40, 30, 3)), fmt)
    whole, refused = read_image(data), 0
    for length in range(0, len(data), max(1, len(data) // 150)):
        try:
            part = read_image(data[:length])
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(part, whole)  # only what comes after the pixels was cut off
    assert refused > 100


def test_a_truncated_picture_says_so():
    data = encode(Image.fromarray(noise(40, 30, 3)), "PNG")
    data = data[: len(data) // 2]
    with pytest.raises(ImageError, match=r"damaged or cut off .*truncated.*; copy or export it again\."):
        read_image(data)


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "TIFF-LZW", "WEBP"])
def test_pillows_own_limit_is_not_in_the_way_and_stays_as_it_was(fmt, monkeypatch):
    data = encode(Image.fromarray(noise(40, 30, 3)), fmt)
    for limit in (1000, 10):  # Pillow would warn of the first and refuse the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_image(data).shape[:2] == (40, 30)
            with pytest.raises(ImageError):
                read_image(data[:60])
        assert limit == Image.MAX_IMAGE_PIXELS
