"""Reading pictures and masks, and where each pixel goes."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from reconpatch.geometry import Geometry, resize_for
from reconpatch.images import (
    SUFFIXES,
    ImageError,
    preprocess,
    preprocess_mask,
    read_image,
    read_mask,
    read_picture,
)
from reconpatch.maps import anomaly_map, to_original

# How a picture must be stored for orientation o to show it upright: the inverse of what o asks for.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
ORIENTABLE = ["PNG", "JPEG", "TIFF", "TIFF-LZW", "WEBP"]


def encode(picture: Image.Image, fmt: str, orientation: int = 1, **options) -> bytes:
    fmt, _, compression = fmt.partition("-")
    if compression:
        options["compression"] = "tiff_lzw"
    if fmt == "WEBP":
        options["lossless"] = True
    if fmt == "JPEG":
        options |= {"quality": 97, "subsampling": 0}
    if orientation != 1:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    data = io.BytesIO()
    picture.save(data, fmt, **options)
    return data.getvalue()


def noise(height: int, width: int, *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, *channels), dtype=np.uint8)


def png(width: int, height: int, depth: int, colour: int, *, body: bytes = b"", extra: bytes = b"") -> bytes:
    """A PNG written by hand: Pillow writes no 16-bit colour, and no picture too large to hold."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(body))
        + extra
        + chunk(b"IEND", b"")
    )


def tiff_rgb16(values: np.ndarray, orientation: int = 1) -> bytes:
    height, width = values.shape[:2]
    pixels = values.astype("<u2").tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 0), (259, 3, 1, 1), (262, 3, 1, 2)]
    entries += [(273, 4, 1, 0), (274, 3, 1, orientation), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(pixels))]
    after = 8 + 2 + 12 * len(entries) + 4
    places = {258: after, 273: after + 6}
    rows = b"".join(struct.pack("<HHII", tag, kind, n, places.get(tag, value)) for tag, kind, n, value in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries))
    return head + rows + bytes(4) + struct.pack("<HHH", 16, 16, 16) + pixels


# ---- reading


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF", "TIFF-LZW", "WEBP"])
def test_colours_are_their_8_bit_values_over_255(fmt):
    pixels = noise(11, 17, 3)
    image = read_image(encode(Image.fromarray(pixels), fmt))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, pixels.astype(np.float32) / 255)


def test_jpeg_is_near_its_pixels():
    pixels = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    assert np.abs(read_image(encode(Image.fromarray(pixels), "JPEG")) - pixels / 255).max() < 0.03


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF", "TIFF-LZW"])
def test_grey_is_repeated_over_three_channels(fmt):
    pixels = noise(11, 17)
    image = read_image(encode(Image.fromarray(pixels), fmt))
    np.testing.assert_array_equal(image, np.repeat(pixels[:, :, None], 3, 2).astype(np.float32) / 255)


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(fmt):
    white = noise(11, 17) > 127
    image = read_image(encode(Image.fromarray(white), fmt))
    np.testing.assert_array_equal(image, np.repeat(white[:, :, None], 3, 2))


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF"])
def test_a_palette_is_read_as_its_colours(fmt):
    indices = noise(11, 17) % 4
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 255, 7], [90, 90, 250]], np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    assert picture.mode == "P"
    np.testing.assert_array_equal(read_image(encode(picture, fmt)), palette[indices].astype(np.float32) / 255)


def test_four_bit_grey_spans_black_to_white():
    data = png(2, 1, 4, 0, body=b"\x00\x0f")
    np.testing.assert_array_equal(read_image(data)[0, :, 0], [0.0, 1.0])


def test_suffixes_are_lower_case():
    assert {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"} == SUFFIXES


# ---- orientation


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


# ---- refusals


def grey(mode: str) -> Image.Image:
    return Image.fromarray(noise(6, 5)).convert(mode)


def see_through(picture: Image.Image, transparency: int | tuple[int, ...]) -> bytes:
    return encode(picture, "PNG", transparency=transparency)


def frames(fmt: str) -> bytes:
    data = io.BytesIO()
    grey("RGB").save(data, fmt, save_all=True, append_images=[Image.fromarray(255 - noise(6, 5)).convert("RGB")])
    return data.getvalue()


REFUSED = {
    "empty": (b"", "The file is empty; copy or export it again."),
    "text": (b"version https://git-lfs.github.com/spec/v1\n", "not a picture that can be recognised"),
    "header cut": (encode(grey("L"), "PNG")[:20], "cut off within its header"),
    "gif": (encode(grey("L"), "GIF"), "GIF pictures are not read; save it as PNG"),
    "ppm": (encode(grey("L"), "PPM"), "PPM pictures are not read"),
    "32-bit tiff": (
        encode(Image.fromarray(np.ones((3, 3), np.int32)), "TIFF"),
        "32 bits a channel; save it with 16 or 8.",
    ),
    "float": (encode(grey("F"), "TIFF"), "floating-point values; scale them and save it as 8-bit grey"),
    "lab": (encode(Image.new("LAB", (3, 3)), "TIFF"), "mode LAB; convert it to RGB"),
    "too large": (png(20_000, 10_001, 8, 0), "20000 x 10001 pixels, above the limit of 200 megapixels; scale it down"),
}


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


# ---- more than 8 bits


def deep(values: np.ndarray, kind: str) -> bytes:
    """16-bit values (H, W) or (H, W, C) in a file of that kind."""
    if kind in ("PNG", "TIFF", "TIFF-LZW"):
        return encode(Image.fromarray(values), kind)
    height, width = values.shape[:2]
    channels = values.reshape(height, width, -1)
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in channels)
    return png(width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels.shape[2]], body=body)


@pytest.mark.parametrize(("kind", "channels"), [("PNG", ()), ("TIFF", ()), ("TIFF-LZW", ()), ("by hand", (3,))])
def test_16_bits_are_divided_by_65535_and_no_bit_is_lost(kind, channels):
    values = np.random.default_rng(1).integers(0, 65536, (7, 9, *channels), dtype=np.uint16)
    found = read_picture(deep(values, kind))
    expected = np.broadcast_to(values.reshape(7, 9, -1), (7, 9, 3)) / 65535
    np.testing.assert_allclose(found.pixels, expected, rtol=1e-6)
    assert (found.bits, found.largest) == (16, values.max() / 65535)
    assert len(np.unique(found.pixels)) > 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "by hand"])
def test_a_picture_of_257_times_the_8_bit_values_is_the_8_bit_picture_to_the_bit(kind):
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    twin = read_image(deep(values.astype(np.uint16) * 257, kind))
    np.testing.assert_array_equal(twin, read_image(encode(Image.fromarray(values), "PNG")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_16_bit_colour_is_read_in_full_and_as_shown(orientation):
    shown = np.random.default_rng(2).integers(0, 65536, (4, 7, 3), dtype=np.uint16)
    found = read_image(tiff_rgb16(np.ascontiguousarray(STORED[orientation](shown)), orientation))
    np.testing.assert_allclose(found, shown / 65535, rtol=1e-6)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "by hand"])
def test_a_bit_depth_is_a_fixed_factor_and_what_is_above_it_is_refused(kind):
    values = np.array([[0, 1, 4095]], np.uint16)
    found = read_picture(deep(values, kind), 12)
    np.testing.assert_allclose(found.pixels[0, :, 0], [0, 1 / 4095, 1], rtol=1e-6)
    dark = read_picture(deep(values // 2, kind), 12)  # the same factor for a darker picture
    np.testing.assert_allclose(dark.pixels[0, :, 0], [0, 0, 2047 / 4095], rtol=1e-6)
    assert read_picture(deep(values, kind)).largest < 1 / 16
    with pytest.raises(ImageError, match="a value of 4095, above the 2047 of --bit-depth 11; raise it"):
        read_image(deep(values, kind), 11)


def test_8_bit_pictures_do_not_care_about_the_bit_depth():
    data = encode(Image.fromarray(noise(5, 6)), "PNG")
    np.testing.assert_array_equal(read_image(data, 12), read_image(data))


@pytest.mark.parametrize("depth", [8, 17])
def test_a_bit_depth_that_no_camera_has_is_refused(depth):
    with pytest.raises(ValueError, match="give 9 to 16"):
        read_image(encode(grey("L"), "PNG"), depth)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_16_bit_pictures_come_as_shown(orientation, fmt):
    shown = np.arange(60, dtype=np.uint16).reshape(5, 12) * 1000
    data = encode(Image.fromarray(np.ascontiguousarray(STORED[orientation](shown))), fmt, orientation)
    np.testing.assert_allclose(read_image(data)[:, :, 1], shown / 65535, rtol=1e-6)


def test_where_a_tiffs_0_is_white_so_is_ours():
    values = np.array([[0, 100, 65535]], np.uint16)
    data = bytearray(encode(Image.fromarray(values), "TIFF"))
    place = data.index(struct.pack("<HHIH", 262, 3, 1, 1))
    data[place + 8] = 0
    np.testing.assert_allclose(read_image(bytes(data))[0, :, 0], [1.0, 65435 / 65535, 0.0], rtol=1e-6)


# ---- transparency


def over_white(colour: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    return (colour * opacity[:, :, None] + 255.0 * (1 - opacity[:, :, None])) / 255


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_what_is_see_through_lies_over_white(fmt):
    pixels = noise(9, 8, 4)
    found = read_image(encode(Image.fromarray(pixels), fmt, **({"exact": True} if fmt == "WEBP" else {})))
    np.testing.assert_allclose(found, over_white(pixels[:, :, :3], pixels[:, :, 3] / 255.0), atol=1e-6)


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_an_opaque_picture_with_transparency_is_the_one_without_to_the_bit(fmt):
    pixels = noise(9, 8, 3)
    picture = Image.fromarray(pixels)
    opaque = picture.copy()
    opaque.putalpha(255)
    np.testing.assert_array_equal(read_image(encode(opaque, fmt)), read_image(encode(picture, fmt)))


def test_what_lies_under_transparent_pixels_does_not_matter():
    pixels = noise(9, 8, 4)
    pixels[:, :, 3] = np.where(pixels[:, :, 3] > 127, 255, 0)
    other = pixels.copy()
    other[pixels[:, :, 3] == 0, :3] = 7
    one, two = (read_image(encode(Image.fromarray(each), "PNG")) for each in (pixels, other))
    np.testing.assert_array_equal(one, two)
    assert (one[pixels[:, :, 3] == 0] == 1.0).all()


def test_a_picture_that_lives_in_its_opacity_is_seen():
    opacity = noise(9, 8)
    picture = Image.merge("LA", (Image.new("L", (8, 9), 0), Image.fromarray(opacity)))
    np.testing.assert_allclose(read_image(encode(picture, "PNG"))[:, :, 0], 1 - opacity / 255.0, atol=1e-6)


def test_a_palettes_transparent_entry_and_a_transparent_colour_are_white():
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = np.array([[[255, 255, 255], [40, 50, 60], [70, 80, 90]]]) / 255
    np.testing.assert_allclose(read_image(see_through(picture, 0)), expected, atol=1e-6)
    np.testing.assert_allclose(read_image(see_through(picture.convert("RGB"), (10, 20, 30))), expected, atol=1e-6)
    levels = Image.fromarray(np.array([[3, 4]], np.uint8))
    np.testing.assert_allclose(read_image(see_through(levels, 3))[0, :, 0], [1.0, 4 / 255], atol=1e-6)


def test_16_bit_opacity_counts_in_full():
    values = np.zeros((2, 3, 4), np.uint16)
    values[:, :, 3] = [[0, 1, 300], [32768, 65534, 65535]]
    np.testing.assert_allclose(read_image(deep(values, "by hand"))[:, :, 0], 1 - values[:, :, 3] / 65535, atol=1e-7)
    grey_alpha = values[:, :, 2:]
    np.testing.assert_array_equal(read_image(deep(grey_alpha, "by hand")), read_image(deep(values, "by hand")))


def test_a_transparent_grey_level_of_16_bits_is_white():
    chunk = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 500)
    chunk += struct.pack(">I", zlib.crc32(b"tRNS" + struct.pack(">H", 500)))
    data = png(2, 1, 16, 0, body=b"\0" + struct.pack(">HH", 500, 501))
    place = data.index(b"IDAT") - 4
    np.testing.assert_allclose(read_image(data[:place] + chunk + data[place:])[0, :, 0], [1, 501 / 65535], rtol=1e-6)


# ---- other modes, several pictures


@pytest.mark.parametrize("fmt", ["JPEG", "TIFF"])
def test_cmyk_is_converted_as_pillow_does(fmt):
    picture = Image.fromarray(noise(8, 8, 3)).convert("CMYK")
    data = encode(picture, fmt)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(stored.convert("RGB")).astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(data), expected)


@pytest.mark.parametrize("fmt", ["TIFF", "WEBP", "PNG", "MPO"])
def test_of_several_pictures_the_first_is_read_and_their_number_told(fmt):
    found = read_picture(frames(fmt))
    assert found.frames == 2
    np.testing.assert_allclose(
        found.pixels, np.asarray(grey("RGB")) / 255, atol=0.01 if fmt in ("TIFF", "PNG") else 0.2
    )


def test_later_pages_of_another_kind_do_not_matter():
    data = io.BytesIO()
    later = [Image.fromarray(np.ones((4, 3), np.uint16)), Image.new("RGBA", (50, 2)), grey("1")]
    grey("L").save(data, "TIFF", save_all=True, append_images=later)
    found = read_picture(data.getvalue())
    assert found.frames == 4
    np.testing.assert_array_equal(found.pixels, read_image(encode(grey("L"), "PNG")))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (encode(grey("L"), "PNG"), ("L", 8, 1)),
        (encode(grey("P"), "PNG"), ("P", 8, 1)),
        (encode(grey("CMYK"), "JPEG"), ("CMYK", 8, 1)),
        (png(2, 1, 16, 2, body=bytes(13)), ("RGB, 16 bits", 16, 1)),
        (encode(Image.fromarray(np.ones((3, 3), np.uint16)), "PNG"), ("I;16, 16 bits", 16, 1)),
    ],
)
def test_a_picture_tells_what_it_is(data, told):
    found = read_picture(data)
    assert (found.mode, found.bits, found.frames) == told


# ---- masks


@pytest.mark.parametrize("top", [1, 2, 128, 255])
def test_a_mask_counts_above_half_of_its_maximum(top):
    values = (noise(9, 7).astype(int) % (top + 1)).astype(np.uint8)
    values[0, 0] = top
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(values), "PNG")), values > top / 2)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I", "F", "CMYK", "YCbCr"])
def test_masks_of_any_mode(mode):
    marked = np.zeros((9, 7), bool)
    marked[2:5, 1:3] = True
    for top in (1, 255):
        values = marked.astype(np.uint8) * top
        if mode == "1":
            picture = Image.fromarray(marked)
        elif mode in ("I;16", "I"):
            picture = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32) * 257)
        else:
            picture = Image.fromarray(values).convert(mode)
        assert picture.mode == mode
        data = encode(picture, "TIFF" if mode in ("F", "CMYK", "I", "YCbCr") else "PNG")
        mask = read_mask(data)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, marked)


def test_a_coloured_palette_mask_is_read_by_its_luminance():
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0, 20, 0, 0])
    np.testing.assert_array_equal(read_mask(encode(picture, "PNG")), [[False, True, False]])


def test_what_is_see_through_is_not_marked():
    pixels = np.full((2, 3, 4), 255, np.uint8)
    pixels[0, :, 3] = 0
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(pixels), "PNG")), [[False] * 3, [True] * 3])
    data = see_through(Image.fromarray(np.array([[0, 255]], np.uint8)), 255)
    np.testing.assert_array_equal(read_mask(data), [[False, False]])


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.uint16, np.int32, np.float32])
def test_a_maximum_of_0_means_no_defect(dtype):
    data = encode(Image.fromarray(np.zeros((4, 3), dtype)), "TIFF")
    assert not read_mask(data).any()
    assert read_mask(data).shape == (4, 3)


def test_nan_in_a_mask_is_no_defect():
    values = np.array([[np.nan, 0.0, 1.0]], np.float32)
    np.testing.assert_array_equal(read_mask(encode(Image.fromarray(values), "TIFF")), [[False, False, True]])


@pytest.mark.parametrize("data", [png(2, 1, 16, 2, body=bytes(13)), tiff_rgb16(np.zeros((1, 2, 3), np.uint16))])
def test_16_bit_colour_masks_are_refused_as_their_low_byte_would_be_lost(data):
    with pytest.raises(ImageError, match=r"16 bits a colour channel; save it as grey\."):
        read_mask(data)


def test_masks_are_refused_where_no_mode_helps():
    for case in ("empty", "text", "gif", "too large"):
        with pytest.raises(ImageError):
            read_mask(REFUSED[case][0])


# ---- geometry


def test_patches_are_as_many_pixels_wide_as_their_share_of_the_crop():
    geometry = Geometry.of(512, 1024, 224)  # 4 pixels of the picture's longer side to one of the resized picture
    assert geometry.patches_side(1, (28, 28)) == 32.0
    assert geometry.patches_side(5, (28, 28)) == 160.0


def test_resize_for():
    assert [resize_for(s) for s in (224, 320, 480, 448, 7)] == [256, 366, 512, 512, 8]
    assert all(resize_for(s) >= s for s in range(1, 2000))
    with pytest.raises(ValueError, match="at least 1"):
        resize_for(0)


@pytest.mark.parametrize("size", [224, 320, 480, 225, 21, 47])
def test_the_crop_is_torchvisions(size):
    transforms = pytest.importorskip("torchvision.transforms.functional")
    geometry = Geometry.of(100, 80, size)
    numbers = torch.arange(geometry.resize**2).reshape(1, geometry.resize, geometry.resize)
    cut = transforms.center_crop(numbers, [size, size])
    assert divmod(int(cut[0, 0, 0]), geometry.resize) == (geometry.offset, geometry.offset)


def test_full_frame_cuts_nothing_off():
    geometry = Geometry.of(100, 80, 224, full_frame=True)
    assert (geometry.resize, geometry.crop, geometry.offset) == (224, 224, 0)
    assert geometry.looked_at() == (slice(0, 100), slice(0, 80))
    assert geometry.to_original(224, 224) == (100, 80)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 600), st.booleans())
def test_to_network_and_back(height, width, size, full_frame):
    geometry = Geometry.of(height, width, size, full_frame)
    rows, cols = geometry.to_network(np.array([0.0, 0.5, height]), np.array([0.0, width / 3, width]))
    np.testing.assert_allclose([rows[0], rows[-1]], [-geometry.offset, geometry.resize - geometry.offset])
    np.testing.assert_allclose([cols[0], cols[-1]], [-geometry.offset, geometry.resize - geometry.offset])
    back = geometry.to_original(rows, cols)
    np.testing.assert_allclose(back[0], [0.0, 0.5, height], atol=1e-9 * height)
    np.testing.assert_allclose(back[1], [0.0, width / 3, width], atol=1e-9 * width)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([28, 224, 320, 480]), st.integers(1, 80), st.data())
def test_patch_centre_is_the_pixel_that_holds_the_centre(height, width, size, cells, data):
    geometry = Geometry.of(height, width, size)
    row, col = data.draw(st.integers(0, cells - 1)), data.draw(st.integers(0, cells - 1))
    pixel = geometry.patch_centre(row, col, (cells, cells))
    exact = geometry.to_original((row + 0.5) * size / cells, (col + 0.5) * size / cells)
    for side, place, centre in zip((height, width), pixel, exact, strict=True):
        assert 0 <= place < side
        assert place - 1e-6 <= centre <= place + 1 + 1e-6


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([28, 224, 320]))
def test_looked_at_are_the_pixels_whose_centres_the_crop_holds(height, width, size):
    geometry = Geometry.of(height, width, size)
    for side, seen in zip((height, width), geometry.looked_at(), strict=True):
        for i in range(side):
            twice = (2 * i + 1) * geometry.resize - 2 * side * geometry.offset  # 2 · side · network coordinate
            assert (seen.start <= i < seen.stop) == (0 <= twice < 2 * side * size)


@pytest.mark.parametrize("sides", [(0, 5, 8, 7), (5, 0, 8, 7), (5, 5, 8, 0), (5, 5, 7, 8)])
def test_impossible_geometries(sides):
    with pytest.raises(ValueError, match="impossible"):
        Geometry(*sides)


# ---- the network's input


@pytest.mark.parametrize("size", [(300, 500), (40, 30), (1, 1), (256, 256)])
def test_preprocess_resizes_antialiased_and_crops(size):
    image = noise(*size, 3).astype(np.float32) / 255
    image.setflags(write=False)  # as it comes from shared memory
    result = preprocess(image, Geometry.of(*size, 224))
    assert result.shape == (3, 224, 224)
    assert result.dtype == torch.float32
    assert 0.0 <= float(result.min()) <= float(result.max()) <= 1.0
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    whole = interpolate(planes, size=(256, 256), mode="bilinear", antialias=True, align_corners=False)[0]
    torch.testing.assert_close(result, whole[:, 16:240, 16:240])


def test_grey_is_one_channel_in_memory_and_the_same_to_the_bit_as_three():
    grey = np.random.default_rng(0).integers(0, 256, (40, 31), dtype=np.uint8)
    seen = read_image(encode(Image.fromarray(grey), "PNG"))
    colour = read_image(encode(Image.fromarray(np.dstack([grey] * 3)), "PNG"))
    assert seen.strides[2] == 0
    assert np.array_equal(seen, colour)
    geometry = Geometry.of(40, 31, 32, False)
    assert torch.equal(preprocess(seen, geometry), preprocess(colour, geometry))


def test_fine_stripes_become_grey_not_moire():
    image = np.zeros((1120, 1120, 3), np.float32)
    image[:, ::2] = 1.0
    result = preprocess(image, Geometry.of(1120, 1120, 224, full_frame=True))
    assert float((result - 0.5).abs()[:, :, 2:-2].max()) < 0.11


def test_preprocess_refuses_what_it_would_misread():
    geometry = Geometry.of(8, 6, 224)
    with pytest.raises(ValueError, match=r"\(8, 6, 3\) is needed"):
        preprocess(np.zeros((6, 8, 3), np.float32), geometry)
    with pytest.raises(ValueError, match=r"uint8; scale it to \[0, 1\]"):
        preprocess(np.zeros((8, 6, 3), np.uint8), geometry)


@pytest.mark.parametrize("size", [(300, 500), (40, 30), (1, 1), (224, 224)])
@pytest.mark.parametrize("full_frame", [False, True])
def test_masks_are_sampled_never_blended(size, full_frame):
    mask = noise(*size) > 127
    geometry = Geometry.of(*size, 224, full_frame)
    result = preprocess_mask(mask, geometry)
    assert result.shape == (224, 224)
    assert result.dtype == bool
    for i in range(0, 224, 13):
        for j in range(0, 224, 17):
            row, col = geometry.to_original(i + 0.5, j + 0.5)
            assert result[i, j] == mask[int(row + 1e-9), int(col + 1e-9)]


def test_a_mask_of_another_size_than_said_is_refused():
    with pytest.raises(ValueError, match=r"\(8, 6\) is needed"):
        preprocess_mask(np.zeros((6, 8), bool), Geometry.of(8, 6, 224))


# ---- a planted dot is found where it is, whatever happened to the picture on its way

WRITTEN = {
    "L": ["PNG", "JPEG", "BMP", "TIFF", "TIFF-LZW"],
    "RGB": ["PNG", "JPEG", "BMP", "TIFF", "TIFF-LZW", "WEBP"],
    "P": ["PNG", "BMP", "TIFF"],
    "1": ["PNG", "BMP", "TIFF"],
    "I;16": ["TIFF", "TIFF-LZW", "PNG"],
    "RGBA": ["PNG", "TIFF", "WEBP"],
    "LA": ["PNG", "TIFF"],
    "CMYK": ["TIFF", "JPEG"],
}


def planted(shape: tuple[int, int], dot: tuple[slice, slice], mode: str, fmt: str, orientation: int) -> bytes:
    """A file that shows a flat ground and on it a bright dot."""
    ground, bright = {"RGB": ((30, 90, 60), (250, 200, 220))}.get(mode, (60, 250))
    if mode == "P":
        ground, bright = 3, 1
    shown = np.empty((*shape, 3) if mode == "RGB" else shape, np.uint8)
    shown[:], shown[dot] = ground, bright
    stored = np.ascontiguousarray(STORED[orientation](shown))
    picture = Image.fromarray(stored > 128 if mode == "1" else stored)
    if mode == "P":
        picture.putpalette([0, 0, 0, 240, 20, 240, 9, 9, 9, 20, 120, 20])
    if mode == "I;16":
        picture = Image.fromarray(stored.astype(np.uint16) * 257)
    if mode in ("CMYK", "RGBA", "LA"):
        picture = picture.convert(mode)
    assert picture.mode == mode
    return encode(picture, fmt, orientation)


def find_dot(geometry: Geometry, image: np.ndarray, cells: int) -> tuple[tuple[int, int], np.ndarray]:
    """Mean pooling as the network, the deviation from the ground as the score: the peak's pixel, and the map."""
    pooled = adaptive_avg_pool2d(preprocess(image, geometry), cells)
    ground = np.median(image.reshape(-1, 3), 0)
    scores = (pooled - torch.from_numpy(ground)[:, None, None]).abs().mean(0)
    row, col = divmod(int(scores.argmax()), cells)
    peak = geometry.patch_centre(row, col, (cells, cells))
    return peak, to_original(anomaly_map(scores, geometry.crop).numpy(), geometry)


def place_dot(geometry: Geometry, cells: int, fractions: tuple[float, float]) -> tuple[slice, slice]:
    """A dot of a patch's size, in whole pixels, as far into what the crop looks at as `fractions` say."""
    dot = []
    for side, seen, fraction in zip((geometry.height, geometry.width), geometry.looked_at(), fractions, strict=True):
        extent = max(1, round(geometry.crop / cells * side / geometry.resize))
        start = seen.start + round(fraction * max(0, seen.stop - seen.start - extent))
        dot.append(slice(start, start + extent))
    return dot[0], dot[1]


def check_dot(shape, size, cells, full_frame, mode, fmt, orientation, fractions):
    geometry = Geometry.of(*shape, size, full_frame)
    dot = place_dot(geometry, cells, fractions)
    data = planted(shape, dot, mode, fmt, orientation)
    peak, original = find_dot(geometry, read_image(data), cells)
    highest = np.unravel_index(np.nanargmax(original), original.shape)
    for side, extent, found, highest_at in zip(shape, dot, peak, highest, strict=True):
        patch = max(1.0, size / cells * side / geometry.resize)
        centre = (extent.start + extent.stop) / 2
        assert abs(found + 0.5 - centre) <= patch
        # The map is that of the patches, blurred by 4 network pixels: its peak is not finer than theirs.
        assert abs(highest_at + 0.5 - centre) <= patch + 1.0

    seen = np.zeros(shape, bool)
    seen[geometry.looked_at()] = True
    assert original.shape == shape
    np.testing.assert_array_equal(np.isfinite(original), seen)


fraction = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_a_planted_dot_is_found(data):
    side = st.one_of(st.integers(1, 40), st.integers(41, 700))
    mode = data.draw(st.sampled_from(sorted(WRITTEN)), "mode")
    fmt = data.draw(st.sampled_from(WRITTEN[mode]), "format")
    check_dot(
        (data.draw(side, "height"), data.draw(side, "width")),
        *data.draw(st.sampled_from([(224, 28), (224, 14), (320, 40)]), "size and grid"),
        data.draw(st.booleans(), "full frame"),
        mode,
        fmt,
        data.draw(st.integers(1, 8), "orientation") if fmt in ORIENTABLE else 1,
        (data.draw(fraction, "down"), data.draw(fraction, "across")),
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "fmt"), [(mode, kinds[0]) for mode, kinds in WRITTEN.items()])
def test_a_planted_dot_is_found_in_every_mode_and_orientation(mode, fmt, orientation):
    check_dot((90, 260), 224, 28, False, mode, fmt, orientation, (0.9, 0.15))


@pytest.mark.parametrize(
    ("shape", "size", "cells"),
    [((2400, 1600), 224, 28), ((1000, 3000), 480, 60), ((8, 9), 224, 28), ((3, 500), 480, 60), ((256, 256), 224, 28)],
)
@pytest.mark.parametrize("fractions", [(0.0, 1.0), (0.37, 0.61)])
def test_a_planted_dot_is_found_in_large_and_tiny_pictures(shape, size, cells, fractions):
    check_dot(shape, size, cells, False, "RGB", "TIFF", 6, fractions)
