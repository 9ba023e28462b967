"""Images with 8 bits per channel, and the input of the backbones."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image, read_picture
from tests.reconpatch.picture_files import encode, frames, gray, noise, png


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF", "TIFF-LZW", "WEBP"])
def test_colors_are_their_8_bit_values_over_255(fmt):
    pixels = noise(11, 17, 3)
    image = read_image(encode(Image.fromarray(pixels), fmt))
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image, pixels.astype(np.float32) / 255)


def test_jpeg_pixels_are_close_to_the_original():
    pixels = np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[None, :, None], 16, 0).repeat(3, 2)
    assert np.abs(read_image(encode(Image.fromarray(pixels), "JPEG")) - pixels / 255).max() < 0.03


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF", "TIFF-LZW"])
def test_gray_has_three_equal_channels(fmt):
    pixels = noise(11, 17)
    image = read_image(encode(Image.fromarray(pixels), fmt))
    np.testing.assert_array_equal(image, np.repeat(pixels[:, :, None], 3, 2).astype(np.float32) / 255)


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF"])
def test_one_bit_is_black_and_white(fmt):
    white = noise(11, 17) > 127
    image = read_image(encode(Image.fromarray(white), fmt))
    np.testing.assert_array_equal(image, np.repeat(white[:, :, None], 3, 2))


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF"])
def test_a_palette_is_read_as_its_colors(fmt):
    indices = noise(11, 17) % 4
    palette = np.array([[10, 20, 30], [200, 0, 0], [0, 255, 7], [90, 90, 250]], np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(palette.tobytes())
    assert picture.mode == "P"
    np.testing.assert_array_equal(read_image(encode(picture, fmt)), palette[indices].astype(np.float32) / 255)


def test_four_bit_gray_spans_black_to_white():
    data = png(2, 1, 4, 0, body=b"\x00\x0f")
    np.testing.assert_array_equal(read_image(data)[0, :, 0], [0.0, 1.0])


@pytest.mark.parametrize("fmt", ["JPEG", "TIFF"])
def test_cmyk_is_converted_as_pillow_does(fmt):
    picture = Image.fromarray(noise(8, 8, 3)).convert("CMYK")
    data = encode(picture, fmt)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(stored.convert("RGB")).astype(np.float32) / 255
    np.testing.assert_array_equal(read_image(data), expected)


@pytest.mark.parametrize("fmt", ["TIFF", "WEBP", "PNG", "MPO"])
def test_the_first_of_several_images_is_read_and_all_are_counted(fmt):
    found = read_picture(frames(fmt))
    assert found.frames == 2
    np.testing.assert_allclose(
        found.pixels, np.asarray(gray("RGB")) / 255, atol=0.01 if fmt in ("TIFF", "PNG") else 0.2
    )


def test_later_pages_may_have_other_modes_and_sizes():
    data = io.BytesIO()
    later = [Image.fromarray(np.ones((4, 3), np.uint16)), Image.new("RGBA", (50, 2)), gray("1")]
    gray("L").save(data, "TIFF", save_all=True, append_images=later)
    found = read_picture(data.getvalue())
    assert found.frames == 4
    np.testing.assert_array_equal(found.pixels, read_image(encode(gray("L"), "PNG")))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encode(gray("L"), "PNG"), ("L", 8, 1)),
        (encode(gray("P"), "PNG"), ("P", 8, 1)),
        (encode(gray("CMYK"), "JPEG"), ("CMYK", 8, 1)),
        (png(2, 1, 16, 2, body=bytes(13)), ("RGB, 16 bits", 16, 1)),
        (encode(Image.fromarray(np.ones((3, 3), np.uint16)), "PNG"), ("L, 16 bits", 16, 1)),
        (encode(Image.fromarray(np.ones((3, 3), np.uint16)), "TIFF"), ("L, 16 bits", 16, 1)),
        (encode(Image.fromarray(np.eye(3) > 0), "TIFF"), ("1", 1, 1)),
        (encode(gray("RGBA"), "TIFF"), ("RGBA", 8, 1)),
    ],
)
def test_mode_bits_and_frames(data, expected):
    found = read_picture(data)
    assert (found.mode, found.bits, found.frames) == expected


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "BMP", "GIF"])
def test_an_image_of_a_single_color_is_reported(fmt):
    values = np.full((700, 900), 90, np.uint8)  # more than one piece of rows
    assert read_picture(encode(Image.fromarray(values), fmt)).single_color
    for row, col in ((0, 1), (699, 899), (300, 0)):
        other = values.copy()
        other[row, col] = 91
        assert not read_picture(encode(Image.fromarray(other), fmt)).single_color


def test_an_image_that_is_transparent_where_it_differs_is_of_a_single_color():
    pixels = np.full((4, 5, 4), 255, np.uint8)
    pixels[1, 1] = (10, 20, 30, 0)
    found = read_picture(encode(Image.fromarray(pixels), "PNG"))
    assert (found.single_color, found.alpha_ignored, found.channels) == (True, False, 4)


@pytest.mark.parametrize("size", [(300, 500), (40, 30), (1, 1), (256, 256)])
def test_preprocess_resizes_with_antialiasing_and_crops(size):
    image = noise(*size, 3).astype(np.float32) / 255
    image.setflags(write=False)  # images in shared memory are read-only
    result = preprocess(image, Geometry.of(*size, 224))
    assert result.shape == (3, 224, 224)
    assert result.dtype == torch.float32
    assert 0.0 <= float(result.min()) <= float(result.max()) <= 1.0
    planes = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    whole = interpolate(planes, size=(256, 256), mode="bilinear", antialias=True, align_corners=False)[0]
    torch.testing.assert_close(result, whole[:, 16:240, 16:240])


def test_gray_stores_one_channel_and_is_bitwise_equal_to_three():
    gray = np.random.default_rng(0).integers(0, 256, (40, 31), dtype=np.uint8)
    seen = read_image(encode(Image.fromarray(gray), "PNG"))
    color = read_image(encode(Image.fromarray(np.dstack([gray] * 3)), "PNG"))
    assert seen.strides[2] == 0
    assert np.array_equal(seen, color)
    geometry = Geometry.of(40, 31, 32, False)
    assert torch.equal(preprocess(seen, geometry), preprocess(color, geometry))


def test_fine_stripes_become_gray_without_moire():
    image = np.zeros((1120, 1120, 3), np.float32)
    image[:, ::2] = 1.0
    result = preprocess(image, Geometry.of(1120, 1120, 224, full_frame=True))
    assert float((result - 0.5).abs()[:, :, 2:-2].max()) < 0.11


def test_preprocess_raises_for_another_shape_or_dtype():
    geometry = Geometry.of(8, 6, 224)
    with pytest.raises(ValueError, match=r"the geometry expects \(8, 6, 3\)"):
        preprocess(np.zeros((6, 8, 3), np.float32), geometry)
    with pytest.raises(ValueError, match=r"uint8; scale it to \[0, 1\]"):
        preprocess(np.zeros((8, 6, 3), np.uint8), geometry)
