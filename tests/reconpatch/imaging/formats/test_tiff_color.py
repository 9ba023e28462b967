"""Conversion of CMYK and YCbCr values."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from reconpatch.imaging.formats.tiff_color import cmyk_to_rgb, conversion, is_subsampled, palette, ycbcr_to_rgb
from tests.reconpatch.picture_files import noise


def page_of(values: np.ndarray, **options: object) -> tifffile.TiffPage:
    """Return tifffile's page of a file that it writes."""
    data = io.BytesIO()
    tifffile.imwrite(data, values, **options)
    return tifffile.TiffFile(io.BytesIO(data.getvalue())).pages[0]


def test_cmyk_is_bitwise_that_of_pillow():
    ink = noise(60, 70, 4)
    expected = np.asarray(Image.fromarray(ink, "CMYK").convert("RGB"))
    np.testing.assert_array_equal(cmyk_to_rgb(ink, 8), expected)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_cmyk_of_16_bits(dtype):
    ink = np.random.default_rng(0).integers(0, 65536, (9, 8, 4)).astype(dtype)
    share = ink / 65535
    expected = (1 - share[:, :, :3]) * (1 - share[:, :, 3:]) * 65535
    assert np.abs(cmyk_to_rgb(ink, 16) - expected).max() <= 1.01
    np.testing.assert_array_equal(cmyk_to_rgb(np.zeros((1, 1, 4), dtype), 16), [[[65535] * 3]])


def test_ycbcr_of_gray_and_of_the_primary_colors():
    gray = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    coded = gray.copy()
    coded[:, :, 1:] = 128
    np.testing.assert_array_equal(ycbcr_to_rgb(coded), gray)
    picture = Image.fromarray(noise(40, 30, 3))
    back = ycbcr_to_rgb(np.asarray(picture.convert("YCbCr")))
    assert np.abs(back.astype(int) - np.asarray(picture)).max() <= 3  # Pillow rounds YCbCr first


def test_black_and_white_of_video_levels():
    coded = np.array([[[16, 128, 128], [235, 128, 128]]], np.uint8)
    found = ycbcr_to_rgb(coded, reference=(16, 235, 128, 240, 128, 240))
    np.testing.assert_array_equal(found, [[[0, 0, 0], [255, 255, 255]]])


def test_what_a_page_needs():
    rgb = page_of(noise(6, 5, 3), photometric="rgb")
    assert conversion(rgb, 2) is None
    assert not is_subsampled(rgb, 2)
    assert conversion(page_of(noise(6, 5, 4), photometric="separated"), 5) is not None
    jpeg = page_of(noise(16, 16, 3), photometric="rgb", compression="jpeg", subsampling=(2, 2))
    assert conversion(jpeg, 6) is None
    assert not is_subsampled(jpeg, 6)


def test_a_dark_palette_of_8_bits_is_not_scaled_as_16_bits():
    colors = np.arange(768, dtype=np.uint16).reshape(3, 256) % 256
    for scale in (1, 256, 257):
        page = page_of(noise(6, 5), photometric="palette", colormap=(colors * scale).astype(np.uint16))
        np.testing.assert_allclose(palette(page, 8), colors.T / 255, rtol=1e-6)
    odd = (colors * 256 + 3).astype(np.uint16)
    np.testing.assert_allclose(palette(page_of(noise(6, 5), photometric="palette", colormap=odd), 8), odd.T / 65535)
