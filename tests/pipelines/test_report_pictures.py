"""The report's pictures and figures by themselves: outlines at the size that is seen, names that are only names."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.report.render import Card, Renderer, Scale
from pipelines.storage import Store
from reconpatch.model import CODE_VERSION, Model

MODEL = Model("nut", "v1", (), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
ROW = {"image_path": "a.png", "peak_row": None, "nearest_image": None, "nearest_backbone": None}


def card(folder: Path, mask: np.ndarray) -> Card:
    """An image of the mask's size, and the mask."""
    for name, pixels in (("a.png", np.zeros_like(mask)), ("mask.png", mask)):
        buffer = io.BytesIO()
        Pillow.fromarray(pixels.astype(np.uint8) * 255).save(buffer, "PNG", compress_level=1)
        (folder / name).write_bytes(buffer.getvalue())
    store = Store.of(str(folder))
    subject: Any = SimpleNamespace(pictures=store, learned=store)
    index = {"a.png": {"mask_path": "mask.png"}}
    return Renderer(subject, "nut", MODEL, Scale(0.0, 1.0), index, store.below("media"), None).card(ROW)


def corners(path: str) -> list[np.ndarray]:
    """(n, 2) of each polygon of an SVG path."""
    return [np.array([point.split(",") for point in each.split()], float) for each in re.findall(r"M([^Z]*)Z", path)]


@pytest.mark.parametrize("scale", [1, 2, 3.3])
def test_a_mask_is_outlined_where_it_is_shown_whatever_its_size(tmp_path: Path, scale: float) -> None:
    rows, cols = (np.mgrid[: int(300 * scale), : int(480 * scale)] + 0.5) / scale
    shown = card(tmp_path, (np.abs(rows - 100) < 50) & (np.abs(cols - 300) < 80))
    assert (shown.width, shown.height) == (480, 300)
    (outline,) = corners(shown.truth)
    np.testing.assert_allclose(outline.min(axis=0), [220, 50], atol=0.8)
    np.testing.assert_allclose(outline.max(axis=0), [380, 150], atol=0.8)


def test_a_fine_scratch_on_a_large_picture_is_still_seen(tmp_path: Path) -> None:
    mask = np.zeros((2000, 3000), bool)
    mask[996:1004, 600:2400] = True
    (outline,) = corners(card(tmp_path, mask).truth)
    np.testing.assert_allclose(outline[:, 1], 160, atol=1.0)
    np.testing.assert_allclose([outline[:, 0].min(), outline[:, 0].max()], [96, 384], atol=0.8)


def test_a_mask_of_noise_is_drawn_as_coarsely_as_it_is_seen(tmp_path: Path) -> None:
    start = time.process_time()
    path = card(tmp_path, np.random.default_rng(0).random((2000, 2000)) < 0.5).truth
    assert time.process_time() - start < 3.0
    assert 0 < len(path) < 1_000_000


def test_a_name_with_dollars_is_no_formula(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from pipelines.report.figures import draw_figures
    from pipelines.report.gallery import Gallery

    store, name = Store.of(str(tmp_path)), r"part $\frac$ x"
    shown = card(tmp_path, np.zeros((20, 30), bool))
    picture = Card({"score": 1.0}, shown.picture, shown.picture, None, None, 30, 20)
    groups = {"heldout": [], "good": [0.0, 1.0], "defective": [2.0], "unlabelled": []}
    hits = [(Gallery("Hits", "", (), 1), [picture])]
    draw_figures(store, name, ["svg"], groups, 1.5, {"here": 2.0, "beside": None}, groups, hits, Scale(0.0, 1.0))
    drawn = {path.name.rsplit("-", 1)[1] for path in (tmp_path / "figures").iterdir()}
    assert drawn == {"scores.svg", "curves.svg", "examples.svg"}
