"""Decoding of image files: errors for unreadable files, and the EXIF orientation."""

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
def test_images_and_masks_are_read_as_displayed(fmt, orientation):
    shown = np.zeros((24, 40, 3), np.uint8)
    shown[:8, :16] = (250, 30, 30)  # every flip and rotation of this image is different
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
def test_16_bit_masks_are_read_as_displayed(orientation):
    shown = np.zeros((5, 9), np.uint16)
    shown[0, :3] = 40_000
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](shown))), "PNG", orientation)
    np.testing.assert_array_equal(read_mask(data), shown > 0)


def test_exif_after_the_pixels_of_a_png_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()[6:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    data = png(3, 1, 8, 0, body=bytes([0, 10, 20, 30]), extra=chunk)
    assert read_image(data).shape[:2] == (3, 1)
    np.testing.assert_array_equal(np.rint(read_image(data)[:, 0, 0] * 255), [10, 20, 30])


def test_orientation_in_xmp_is_applied():
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="8"/>')
    data = encode(Image.fromarray(noise(4, 7)), "PNG", pnginfo=xmp)
    assert read_image(data).shape[:2] == (7, 4)


def test_a_damaged_or_unknown_orientation_is_ignored():
    picture = Image.fromarray(noise(4, 7))
    for data in (encode(picture, "PNG", 9), encode(picture, "PNG", exif=b"Exif\0\0not a directory")):
        assert read_image(data).shape[:2] == (4, 7)


@pytest.mark.parametrize("case", REFUSED)
def test_an_unreadable_file_raises_one_sentence_with_a_remedy(case):
    data, sentence = REFUSED[case]
    with pytest.raises(ImageError) as refused:
        read_image(data)
    message = str(refused.value)
    assert sentence in message
    assert message.endswith(".")
    assert ";" in message
    assert "\n" not in message


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "BMP", "TIFF", "TIFF-LZW", "WEBP"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns about the TIFF directory
def test_truncated_images_are_never_decoded_in_part(fmt):
    data = encode(Image.fromarray(noise(40, 30, 3)), fmt)
    whole, refused = read_image(data), 0
    for length in range(0, len(data), max(1, len(data) // 150)):
        try:
            part = read_image(data[:length])
        except ImageError:
            refused += 1
        else:
            np.testing.assert_array_equal(part, whole)  # only bytes after the pixels are missing
    assert refused > 100


def test_the_error_of_a_truncated_image_names_the_cause():
    data = encode(Image.fromarray(noise(40, 30, 3)), "PNG")
    data = data[: len(data) // 2]
    with pytest.raises(ImageError, match=r"damaged or truncated .*truncated.*; copy or export it again\."):
        read_image(data)


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "TIFF-LZW", "WEBP"])
def test_pillows_pixel_limit_has_no_effect_and_is_restored(fmt, monkeypatch):
    data = encode(Image.fromarray(noise(40, 30, 3)), fmt)
    for limit in (1000, 10):  # Pillow would warn at the first limit and raise at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_image(data).shape[:2] == (40, 30)
            with pytest.raises(ImageError):
                read_image(data[:60])
        assert limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("fmt", ["JPEG", "JPEG2000"])
def test_a_truncated_image_that_is_filled_up_with_zeros_is_an_error(fmt: str) -> None:
    """A copy that was interrupted leaves zeros behind in a file whose size was reserved."""
    buffer = io.BytesIO()
    Image.fromarray(noise(192, 256, 3)).save(buffer, fmt)
    data = buffer.getvalue()
    half = len(data) // 2
    with pytest.raises(ImageError, match="damaged or truncated"):
        read_image(data[:half] + bytes(len(data) - half))
