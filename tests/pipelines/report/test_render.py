"""Rendered images of a report: outlines of masks at the size of the reduced image."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.data.records import ImageRecord
from pipelines.report.render import Card, Renderer, Scale
from pipelines.report.rows import AuditedImage, Peak
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, Model

MODEL = Model("nut", "v1", (), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
IMAGE = AuditedImage(image_path="a.png", suspicion=0.0, is_suspicious=False, peak=Peak())
RECORD = ImageRecord("nut", "test", "blot", "a.png", "mask.png")


def card(folder: Path, mask: np.ndarray, record: ImageRecord = RECORD) -> Card:
    """Render a black image of the same size as the mask, with the mask."""
    for name, pixels in (("a.png", np.zeros_like(mask)), ("mask.png", mask)):
        buffer = io.BytesIO()
        Pillow.fromarray(pixels.astype(np.uint8) * 255).save(buffer, "PNG", compress_level=1)
        (folder / name).write_bytes(buffer.getvalue())
    store = Store.of(str(folder))
    source: Any = SimpleNamespace(images=store, training_images=store)
    renderer = Renderer(
        source=source,
        category="nut",
        model=MODEL,
        scale=Scale(0.0, 1.0),
        index={"a.png": record},
        media=store.below("media"),
        before=None,
    )
    return renderer.card(IMAGE)


def corners(path: str) -> list[np.ndarray]:
    """Return the corners (x, y) of each polygon of an SVG path, each of shape (n, 2)."""
    polygons = re.findall(r"M([^Z]*)Z", path)
    return [np.array([point.split(",") for point in polygon.split()], float) for polygon in polygons]


@pytest.mark.parametrize("scale", [1, 2, 3.3])
def test_the_outline_of_a_mask_has_the_coordinates_of_the_reduced_image(tmp_path: Path, scale: float) -> None:
    rows, cols = (np.mgrid[: int(300 * scale), : int(480 * scale)] + 0.5) / scale
    shown = card(tmp_path, (np.abs(rows - 100) < 50) & (np.abs(cols - 300) < 80))
    assert (shown.width, shown.height) == (480, 300)
    (outline,) = corners(shown.truth)
    np.testing.assert_allclose(outline.min(axis=0), [220, 50], atol=0.8)
    np.testing.assert_allclose(outline.max(axis=0), [380, 150], atol=0.8)


def test_a_thin_scratch_on_a_large_image_is_outlined(tmp_path: Path) -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[996:1004, 600:2400] = True
    (outline,) = corners(card(tmp_path, mask).truth)
    np.testing.assert_allclose(outline[:, 1], 160, atol=1.0)
    np.testing.assert_allclose([outline[:, 0].min(), outline[:, 0].max()], [96, 384], atol=0.8)


def test_the_outline_of_shapes_is_that_of_the_drawn_mask(tmp_path: Path) -> None:
    mask = np.zeros((300, 480), bool)
    mask[50:150, 220:380] = True
    shapes = '[{"box":[220,50,380,150]}]'
    drawn = card(tmp_path, mask, replace(RECORD, mask_path="a.txt", shapes=shapes, width=480, height=300))
    assert drawn.truth == card(tmp_path, mask).truth != ""


def test_the_outline_of_a_noisy_mask_is_computed_fast_and_has_limited_size(tmp_path: Path) -> None:
    start = time.process_time()
    path = card(tmp_path, np.random.default_rng(0).random((2000, 2000)) < 0.5).truth
    assert time.process_time() - start < 3.0
    assert 0 < len(path) < 1_000_000
