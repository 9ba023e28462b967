"""The masks of defects: cropped like their images, with a warning for whatever is wrong with one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.data.masks import read_masks
from pipelines.data.records import ImageRecord
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, Model

FULL = Model("nut", "v", (), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
CROPPED = Model("nut", "v", (), 96, False, 16, 16, "patch", 9, 0.01, CODE_VERSION)
IMAGE = ImageRecord("nut", "test", "bent", "1.png", "m.png", 1, width=100, height=80)


def save(folder: Path, rows: slice, shape: tuple[int, int] = (80, 100)) -> Store:
    mask = np.zeros(shape, np.uint8)
    mask[rows] = 255
    Pillow.fromarray(mask).save(folder / "m.png")
    return Store.of(str(folder))


def test_a_mask_is_laid_on_the_network_s_grid(tmp_path: Path) -> None:
    masks, warnings = read_masks(save(tmp_path, slice(0, 40)), [IMAGE], FULL)
    assert masks["1.png"].shape == (96, 96)
    assert masks["1.png"][:47].all()
    assert not masks["1.png"][49:].any()
    assert warnings == []


def test_images_without_masks_and_training_images_have_none(tmp_path: Path) -> None:
    images = [ImageRecord("nut", "test", "good", "2.png"), ImageRecord("nut", "train", "good", "3.png", "m.png")]
    assert read_masks(save(tmp_path, slice(0, 40)), images, FULL) == ({}, [])


def test_a_mask_of_another_size_is_stretched_and_named(tmp_path: Path) -> None:
    masks, (warning,) = read_masks(save(tmp_path, slice(0, 20), (40, 50)), [IMAGE], FULL)
    assert masks["1.png"].any()
    assert warning.startswith("m.png: the mask is 50 x 40 and its image 100 x 80")


def test_an_empty_mask_is_named(tmp_path: Path) -> None:
    masks, (warning,) = read_masks(save(tmp_path, slice(0, 0)), [IMAGE], FULL)
    assert not masks["1.png"].any()
    assert warning == "m.png: the mask of a defect is empty."


def test_a_defect_outside_the_center_crop_is_counted(tmp_path: Path) -> None:
    _, (warning,) = read_masks(save(tmp_path, slice(0, 2)), [IMAGE], CROPPED)
    assert warning.startswith("nut: in 1 of 1 images with masks the center crop hides the whole defect")


def test_a_defect_between_the_network_s_pixels_is_counted(tmp_path: Path) -> None:
    store, image = save(tmp_path, slice(1, 2), (800, 1000)), replace(IMAGE, width=1000, height=800)
    _, (warning,) = read_masks(store, [image], replace(FULL, image_size=16))
    assert warning.startswith("nut: in 1 of 1 images with masks the mask of a defect has no pixel left at 16 px")


def test_a_mask_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"no image")
    masks, (warning,) = read_masks(Store.of(str(tmp_path)), [IMAGE], FULL)
    assert masks == {}
    assert warning.startswith("m.png: ")
    assert warning.endswith(" Its image is left out of the pixel metrics.")


def test_a_mask_that_memory_has_no_room_for_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pipelines.data.masks.read_mask", fill_memory)
    masks, warnings = read_masks(save(tmp_path, slice(0, 40)), [IMAGE], FULL)
    assert masks == {}
    reason = "It takes more memory than there is; scale the picture down or cut it into tiles."
    assert warnings == [f"m.png: {reason} Its image is left out of the pixel metrics."]
