"""A planted dot is found where it is, whatever happened to the picture on its way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from reconpatch.geometry import Geometry
from reconpatch.images import preprocess, read_image
from reconpatch.maps import anomaly_map, to_original
from tests.reconpatch.picture_files import ORIENTABLE, STORED, encode

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


@settings(max_examples=120)
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
