"""Masks of defects: cropped like their images, with a warning for each problem."""

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


def test_a_mask_is_resized_to_the_input_size_of_the_backbones(tmp_path: Path) -> None:
    masks, warnings = read_masks(save(tmp_path, slice(0, 40)), [IMAGE], FULL)
    assert masks["1.png"].shape == (96, 96)
    assert masks["1.png"][:47].all()
    assert not masks["1.png"][49:].any()
    assert warnings == []


def test_masks_of_training_images_are_not_read(tmp_path: Path) -> None:
    images = [ImageRecord("nut", "test", "good", "2.png"), ImageRecord("nut", "train", "good", "3.png", "m.png")]
    assert read_masks(save(tmp_path, slice(0, 40)), images, FULL) == ({}, [])


def test_a_mask_of_another_size_is_stretched_with_a_warning(tmp_path: Path) -> None:
    masks, (warning,) = read_masks(save(tmp_path, slice(0, 20), (40, 50)), [IMAGE], FULL)
    assert masks["1.png"].any()
    assert warning.startswith("m.png: the mask has 50 x 40 pixels and its image 100 x 80.")


def test_a_warning_names_an_empty_mask(tmp_path: Path) -> None:
    masks, (warning,) = read_masks(save(tmp_path, slice(0, 0)), [IMAGE], FULL)
    assert not masks["1.png"].any()
    assert warning == "m.png: the mask is empty, although the image is labeled as defective."


def test_a_defect_outside_the_center_crop_is_counted(tmp_path: Path) -> None:
    _, (warning,) = read_masks(save(tmp_path, slice(0, 2)), [IMAGE], CROPPED)
    assert warning.startswith("nut: in 1 of 1 images with masks, the defect is entirely outside the center crop.")


def test_a_defect_that_disappears_in_resizing_is_counted(tmp_path: Path) -> None:
    store, image = save(tmp_path, slice(1, 2), (800, 1000)), replace(IMAGE, width=1000, height=800)
    _, (warning,) = read_masks(store, [image], replace(FULL, image_size=16))
    assert warning.startswith("nut: in 1 of 1 images with masks, the mask has no pixel left at 16 x 16 pixels.")


def test_a_warning_names_a_mask_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"no image")
    masks, (warning,) = read_masks(Store.of(str(tmp_path)), [IMAGE], FULL)
    assert masks == {}
    assert warning.startswith("m.png: ")
    assert warning.endswith(" The image is excluded from the pixel metrics.")


def test_a_warning_names_a_mask_that_does_not_fit_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_memory(*arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pipelines.data.masks.read_mask", fill_memory)
    masks, warnings = read_masks(save(tmp_path, slice(0, 40)), [IMAGE], FULL)
    assert masks == {}
    reason = "Out of memory. Scale the image down or cut it into tiles."
    assert warnings == [f"m.png: {reason} The image is excluded from the pixel metrics."]
