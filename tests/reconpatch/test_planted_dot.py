"""A bright dot in an image is found at its position, for every format, mode, orientation and geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d

from reconpatch.imaging.anomaly_maps import anomaly_map, to_original
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image
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


@dataclass(frozen=True, kw_only=True)
class Case:
    """An image, how its file stores it, and the geometry that reads it.

    Attributes:
        shape: Height and width of the image as displayed, in pixels.
        size: Side of the backbone's input, in pixels.
        cells: Number of patches per side of the input.
        full_frame: Whether nothing is cropped.
        mode: Pillow's mode of the image.
        fmt: Format of the file, a key of `encode`.
        orientation: EXIF orientation, 1 to 8.
    """

    shape: tuple[int, int]
    size: int
    cells: int
    full_frame: bool = False
    mode: str
    fmt: str
    orientation: int


def planted(case: Case, dot: tuple[slice, slice]) -> bytes:
    """Return the content of a file with a bright dot on a uniform background."""
    shape, mode = case.shape, case.mode
    ground, bright = {"RGB": ((30, 90, 60), (250, 200, 220))}.get(mode, (60, 250))
    if mode == "P":
        ground, bright = 3, 1
    shown = np.empty((*shape, 3) if mode == "RGB" else shape, np.uint8)
    shown[:], shown[dot] = ground, bright
    stored = np.ascontiguousarray(STORED[case.orientation](shown))
    picture = Image.fromarray(stored > 128 if mode == "1" else stored)
    if mode == "P":
        picture.putpalette([0, 0, 0, 240, 20, 240, 9, 9, 9, 20, 120, 20])
    if mode == "I;16":
        picture = Image.fromarray(stored.astype(np.uint16) * 257)
    if mode in ("CMYK", "RGBA", "LA"):
        picture = picture.convert(mode)
    assert picture.mode == mode
    return encode(picture, case.fmt, case.orientation)


def find_dot(geometry: Geometry, image: np.ndarray, cells: int) -> tuple[tuple[int, int], np.ndarray]:
    """Return the pixel of the highest-scoring patch, and the anomaly map at the size of the image.

    Mean pooling replaces the backbone. The score of a patch is its deviation from the background.
    """
    pooled = adaptive_avg_pool2d(preprocess(image, geometry), cells)
    ground = np.median(image.reshape(-1, 3), 0)
    scores = (pooled - torch.from_numpy(ground)[:, None, None]).abs().mean(0)
    row, col = divmod(int(scores.argmax()), cells)
    peak = geometry.patch_center(row, col, (cells, cells))
    return peak, to_original(anomaly_map(scores, geometry.crop).numpy(), geometry)


def place_dot(geometry: Geometry, cells: int, fractions: tuple[float, float]) -> tuple[slice, slice]:
    """Return the rows and columns of a dot as large as a patch, at fractions of the crop's height and width."""
    dot = []
    for side, inside, fraction in zip((geometry.height, geometry.width), geometry.looked_at(), fractions, strict=True):
        extent = max(1, round(geometry.crop / cells * side / geometry.resize))
        start = inside.start + round(fraction * max(0, inside.stop - inside.start - extent))
        dot.append(slice(start, start + extent))
    return dot[0], dot[1]


def check_dot(case: Case, fractions: tuple[float, float]) -> None:
    """Assert that the dot is found within one patch, and that the map covers exactly the crop."""
    shape, size, cells = case.shape, case.size, case.cells
    geometry = Geometry.of(*shape, size, case.full_frame)
    dot = place_dot(geometry, cells, fractions)
    peak, original = find_dot(geometry, read_image(planted(case, dot)), cells)
    highest = np.unravel_index(np.nanargmax(original), original.shape)
    for side, extent, peak_at, highest_at in zip(shape, dot, peak, highest, strict=True):
        patch = max(1.0, size / cells * side / geometry.resize)
        center = (extent.start + extent.stop) / 2
        assert abs(peak_at + 0.5 - center) <= patch
        # The map is upsampled from the patches and blurred, so its maximum is not more precise than a patch.
        assert abs(highest_at + 0.5 - center) <= patch + 1.0

    inside = np.zeros(shape, bool)
    inside[geometry.looked_at()] = True
    assert original.shape == shape
    np.testing.assert_array_equal(np.isfinite(original), inside)


fraction = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0.0, 1.0))


@settings(max_examples=120)
@given(st.data())
def test_a_dot_is_found(data):
    side = st.one_of(st.integers(1, 40), st.integers(41, 700))
    mode = data.draw(st.sampled_from(sorted(WRITTEN)), "mode")
    fmt = data.draw(st.sampled_from(WRITTEN[mode]), "format")
    shape = data.draw(side, "height"), data.draw(side, "width")
    size, cells = data.draw(st.sampled_from([(224, 28), (224, 14), (320, 40)]), "size and grid")
    case = Case(
        shape=shape,
        size=size,
        cells=cells,
        full_frame=data.draw(st.booleans(), "full frame"),
        mode=mode,
        fmt=fmt,
        orientation=data.draw(st.integers(1, 8), "orientation") if fmt in ORIENTABLE else 1,
    )
    check_dot(case, (data.draw(fraction, "down"), data.draw(fraction, "across")))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("mode", "fmt"), [(mode, kinds[0]) for mode, kinds in WRITTEN.items()])
def test_a_dot_is_found_in_every_mode_and_orientation(mode, fmt, orientation):
    case = Case(shape=(90, 260), size=224, cells=28, mode=mode, fmt=fmt, orientation=orientation)
    check_dot(case, (0.9, 0.15))


@pytest.mark.parametrize(
    ("shape", "size", "cells"),
    [((2400, 1600), 224, 28), ((1000, 3000), 480, 60), ((8, 9), 224, 28), ((3, 500), 480, 60), ((256, 256), 224, 28)],
)
@pytest.mark.parametrize("fractions", [(0.0, 1.0), (0.37, 0.61)])
def test_a_dot_is_found_in_large_and_tiny_images(shape, size, cells, fractions):
    check_dot(Case(shape=shape, size=size, cells=cells, mode="RGB", fmt="TIFF", orientation=6), fractions)
