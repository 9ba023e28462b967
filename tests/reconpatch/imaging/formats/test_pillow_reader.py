"""Formats that Pillow decodes: few bits, transparent levels, opacity, and the settings of Pillow."""

from __future__ import annotations

import io
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from reconpatch.exceptions import ImageError
from reconpatch.imaging.decoding import stored_values
from reconpatch.imaging.formats.pillow_reader import opened, read_with_pillow
from reconpatch.imaging.images import read_picture
from tests.reconpatch.picture_files import bmp32, encode, noise, png


def with_chunk(data: bytes, name: bytes, content: bytes) -> bytes:
    """Return a PNG file with a chunk before its pixels."""
    place = data.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
    return data[:place] + chunk + data[place:]


def gray_png(levels: np.ndarray, bits: int) -> bytes:
    """Return a gray PNG of 1 to 8 bits, built by hand."""
    digits = ((levels[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    body = b"".join(b"\0" + np.packbits(row).tobytes() for row in digits)
    return png(levels.shape[1], levels.shape[0], bits, 0, body=body)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_png_of_few_bits_spans_black_to_white(bits):
    levels = np.arange(9 * 7).reshape(9, 7) % (1 << bits)
    found = read_picture(gray_png(levels, bits))
    np.testing.assert_allclose(found.pixels[:, :, 0], levels / (2**bits - 1), atol=1e-7)
    assert found.bits == bits
    np.testing.assert_array_equal(stored_values(gray_png(levels, bits)).values[:, :, 0], levels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_gray_level_is_white_and_no_other(bits):
    levels = np.arange(9 * 7).reshape(9, 7) % (1 << bits)
    for level in {0, 1, (1 << bits) // 2, (1 << bits) - 1}:
        found = read_picture(with_chunk(gray_png(levels, bits), b"tRNS", struct.pack(">H", level)))
        expected = np.where(levels == level, 1.0, levels / (2**bits - 1))
        np.testing.assert_allclose(found.pixels[:, :, 0], expected, atol=1e-7)
        assert not found.alpha_ignored


def test_a_transparent_level_of_all_pixels_is_ignored_and_reported():
    found = read_picture(with_chunk(gray_png(np.full((40, 7), 3), 4), b"tRNS", struct.pack(">H", 3)))
    assert found.alpha_ignored
    assert found.single_color
    np.testing.assert_allclose(found.pixels, 3 / 15, atol=1e-7)


def test_a_transparent_16_bit_level_is_compared_in_16_bits():
    data = png(3, 1, 16, 0, body=b"\0" + struct.pack(">3H", 500, 501, 500 + 256))
    found = read_picture(with_chunk(data, b"tRNS", struct.pack(">H", 500)))
    np.testing.assert_allclose(found.pixels[0, :, 0] * 65535, [65535, 501, 756], atol=0.01)


def test_entries_of_a_palette_have_an_opacity():
    picture = Image.fromarray(np.array([[0, 1, 2, 0]], np.uint8))
    picture.putpalette([10, 20, 30, 200, 100, 0, 70, 80, 90])
    data = encode(picture, "PNG", transparency=bytes([255, 51, 0]))
    colors = np.array([[10, 20, 30], [200, 100, 0], [70, 80, 90], [10, 20, 30]]) / 255
    opacity = np.array([1, 0.2, 0, 1])[:, None]
    np.testing.assert_allclose(read_picture(data).pixels[0], colors * opacity + 1 - opacity, atol=1e-6)
    stored = stored_values(data)
    np.testing.assert_array_equal(stored.values[0, :, 0], [0, 1, 2, 0])
    np.testing.assert_allclose(stored.opacity[0], [1, 0.2, 0, 1], atol=1e-7)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_opacity_of_0_everywhere_is_ignored_and_reported(mode):
    color = noise(9, 8) if mode != "RGBA" else noise(9, 8, 3)
    picture = Image.fromarray(color)
    if mode == "P":
        picture = picture.convert("P")
        data = encode(picture, "PNG", transparency=bytes(256))
    else:
        picture.putalpha(0)
        data = encode(picture, "PNG")
    found = read_picture(data)
    assert found.alpha_ignored
    np.testing.assert_allclose(found.pixels, np.broadcast_to(color.reshape(9, 8, -1), (9, 8, 3)) / 255, atol=1e-7)


def test_bitmaps_with_an_alpha_mask():
    color = noise(6, 5, 3)
    found = read_picture(bmp32(np.dstack([color, np.zeros((6, 5), np.uint8)])))
    assert found.alpha_ignored
    np.testing.assert_allclose(found.pixels, color / 255, atol=1e-7)
    opacity = np.linspace(1, 255, 30).reshape(6, 5).astype(np.uint8)
    found = read_picture(bmp32(np.dstack([color, opacity])))
    share = opacity[:, :, None] / 255
    assert not found.alpha_ignored
    np.testing.assert_allclose(found.pixels, color / 255 * share + 1 - share, atol=1e-6)


def test_bitmaps_without_a_file_header():
    color = noise(6, 5, 3)
    np.testing.assert_allclose(read_picture(encode(Image.fromarray(color), "DIB")).pixels, color / 255, atol=1e-7)


@pytest.mark.parametrize("compression", [None, "tga_rle"])
def test_tga(compression):
    for values in (noise(6, 5), noise(6, 5, 3)):
        data = encode(Image.fromarray(values), "TGA", **({"compression": compression} if compression else {}))
        expected = np.broadcast_to(values.reshape(6, 5, -1), (6, 5, 3)) / 255
        np.testing.assert_allclose(read_picture(data).pixels, expected, atol=1e-7)


def test_a_fourth_channel_of_tga_is_opacity_if_the_header_says_so():
    values = noise(6, 5, 4)
    data = bytearray(encode(Image.fromarray(values), "TGA"))
    share = values[:, :, 3:] / 255
    expected = values[:, :, :3] / 255 * share + 1 - share
    np.testing.assert_allclose(read_picture(bytes(data)).pixels, expected, atol=1e-6)
    data[17] &= 0xF0
    found = read_picture(bytes(data))
    np.testing.assert_allclose(found.pixels, values[:, :, :3] / 255, atol=1e-7)
    assert found.channels == 4


def test_the_first_frame_of_a_gif_and_the_number_of_frames():
    first, data = noise(6, 5), io.BytesIO()
    later = [Image.fromarray(255 - first), Image.fromarray(first // 2)]
    Image.fromarray(first).save(data, "GIF", save_all=True, append_images=later)
    found = read_picture(data.getvalue())
    assert found.frames == 3
    np.testing.assert_allclose(found.pixels[:, :, 0], first / 255, atol=1e-7)
    assert read_picture(encode(Image.fromarray(first), "GIF")).frames == 1


def test_frames_of_a_gif_are_counted_without_being_decoded():
    data = encode(Image.fromarray(noise(6, 5)), "GIF")
    frame = data[data.index(b"\x2c\0\0\0\0", 13 + (3 << ((data[10] & 7) + 1))) : -1]
    start = time.process_time()
    assert read_picture(data[:-1] + frame * 70_000 + b";").frames == 65_536
    assert time.process_time() - start < 2.0


def test_compressions_that_can_change_values():
    picture = Image.fromarray(noise(6, 5, 3))
    for fmt, options, lossy in (("JPEG", {}, True), ("PNG", {}, False), ("BMP", {}, False)):
        assert stored_values(encode(picture, fmt, **options)).lossy == lossy
    for lossless in (False, True):
        data = io.BytesIO()
        picture.save(data, "WEBP", lossless=lossless)
        assert stored_values(data.getvalue()).lossy != lossless


def test_a_variant_that_pillow_does_not_support_is_not_called_damaged():
    data = bytearray(bmp32(noise(6, 5, 4)))
    data[54:58] = struct.pack("<I", 0x3FF)  # 10 bits of red
    with pytest.raises(ImageError, match=r"^The BMP file is of a variant that is not supported \(.*\); save it as"):
        read_picture(bytes(data))


def test_a_damaged_header_is_named_with_its_format():
    for data, name in ((png(3, 3, 8, 0)[:20], "PNG"), (b"RIFF\x10\0\0\0WEBPVP8L", "WebP"), (b"GIF89a", "GIF")):
        with pytest.raises(ImageError, match=f"^The {name} file is damaged, or its header is truncated"):
            read_picture(data)


def test_damaged_exif_warns_nothing_and_filters_are_restored():
    data = encode(Image.fromarray(noise(4, 7, 3)), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\0")
    before = list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_with_pillow(data, "JPEG").height == 4
    assert list(warnings.filters) == before


def test_settings_of_pillow_are_restored_after_the_last_of_several_threads():
    data = encode(Image.fromarray(noise(4, 7, 3)), "PNG")
    limit, filters, entered, leave = (
        Image.MAX_IMAGE_PIXELS,
        list(warnings.filters),
        threading.Event(),
        threading.Event(),
    )

    def hold() -> None:
        with opened(data, "PNG"):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    with opened(data, "PNG"):
        leave.set()
        thread.join()
        assert Image.MAX_IMAGE_PIXELS is None
    assert limit == Image.MAX_IMAGE_PIXELS
    assert list(warnings.filters) == filters
