"""Masks of defects: cropped like their images, with a warning for each problem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.data.masks import mask_contents, read_mask_of, read_masks
from pipelines.data.records import ImageRecord
from pipelines.errors import ImageError
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
    assert masks["1.png"].defective.shape == masks["1.png"].ignored.shape == (96, 96)
    assert masks["1.png"].defective[:47].all()
    assert not masks["1.png"].defective[49:].any()
    assert warnings == []


def test_masks_of_training_images_are_not_read(tmp_path: Path) -> None:
    images = [ImageRecord("nut", "test", "good", "2.png"), ImageRecord("nut", "train", "good", "3.png", "m.png")]
    assert read_masks(save(tmp_path, slice(0, 40)), images, FULL) == ({}, [])


def test_a_mask_of_another_size_is_stretched_with_a_warning(tmp_path: Path) -> None:
    masks, (warning,) = read_masks(save(tmp_path, slice(0, 20), (40, 50)), [IMAGE], FULL)
    assert masks["1.png"].defective.any()
    assert warning.startswith("m.png: the mask has 50 x 40 pixels and its image 100 x 80.")


def test_a_warning_names_an_empty_mask(tmp_path: Path) -> None:
    masks, (warning,) = read_masks(save(tmp_path, slice(0, 0)), [IMAGE], FULL)
    assert not masks["1.png"].defective.any()
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

    monkeypatch.setattr("pipelines.data.masks.read_mask_file", fill_memory)
    masks, warnings = read_masks(save(tmp_path, slice(0, 40)), [IMAGE], FULL)
    assert masks == {}
    reason = "Out of memory. Scale the image down or cut it into tiles."
    assert warnings == [f"m.png: {reason} The image is excluded from the pixel metrics."]


def save_mask(folder: Path, name: str, values: np.ndarray) -> None:
    Pillow.fromarray(values.astype(np.uint8)).save(folder / name)


def spot(rows: slice, cols: slice, value: int = 255, shape: tuple[int, int] = (80, 100)) -> np.ndarray:
    """Return a mask with a rectangle of one value."""
    mask = np.zeros(shape, np.uint8)
    mask[rows, cols] = value
    return mask


def test_several_masks_are_united(tmp_path: Path) -> None:
    first, second = spot(slice(0, 10), slice(0, 10)), spot(slice(5, 20), slice(90, 100), 254)
    save_mask(tmp_path, "m.png", first)
    save_mask(tmp_path, "n.png", second)
    image = replace(IMAGE, more_masks=("n.png",))
    mask = read_mask_of(Store.of(str(tmp_path)), image)
    np.testing.assert_array_equal(mask.defective, (first > 0) | (second > 0))
    assert mask.values == (0, 254, 255)
    assert mask_contents(Store.of(str(tmp_path)), image) == [
        (tmp_path / name).read_bytes() for name in image.mask_paths
    ]


def test_a_pixel_that_one_mask_ignores_and_another_marks_is_defective(tmp_path: Path) -> None:
    ring = spot(slice(10, 30), slice(10, 30))
    ring[11:29, 11:29] = 1
    save_mask(tmp_path, "m.png", ring)
    save_mask(tmp_path, "n.png", spot(slice(0, 12), slice(0, 100)))
    mask = read_mask_of(Store.of(str(tmp_path)), replace(IMAGE, more_masks=("n.png",)))
    second = spot(slice(0, 12), slice(0, 100)) > 0
    np.testing.assert_array_equal(mask.defective, (ring == 1) | second)
    np.testing.assert_array_equal(mask.ignored, (ring == 255) & ~second)


def test_masks_of_different_sizes_are_named(tmp_path: Path) -> None:
    save_mask(tmp_path, "m.png", spot(slice(0, 10), slice(0, 10)))
    save_mask(tmp_path, "n.png", spot(slice(0, 10), slice(0, 10), shape=(40, 50)))
    masks, (warning,) = read_masks(Store.of(str(tmp_path)), [replace(IMAGE, more_masks=("n.png",))], FULL)
    assert masks == {}
    assert warning == (
        "m.png: The mask has 100 x 80 pixels and another mask of the image, n.png, 50 x 40. Save them in the same "
        "size. The image is excluded from the pixel metrics."
    )


def test_shapes_are_drawn_at_the_size_of_the_image(tmp_path: Path) -> None:
    drawn = replace(IMAGE, mask_path="boxes.txt", shapes='[{"box":[0,0,100,40]}]')
    mask = read_mask_of(Store.of(str(tmp_path)), drawn)
    np.testing.assert_array_equal(mask.defective, spot(slice(0, 40), slice(0, 100)) > 0)
    assert mask.values == (0, 1)
    assert not mask.ignored.any()
    masks, warnings = read_masks(Store.of(str(tmp_path)), [drawn], FULL)
    assert masks["1.png"].defective[:47].all()
    assert not masks["1.png"].defective[49:].any()
    assert warnings == []


def test_malformed_shapes_are_named(tmp_path: Path) -> None:
    drawn = replace(IMAGE, mask_path="boxes.txt", shapes='[{"box":[0,0,100]}]')
    masks, (warning,) = read_masks(Store.of(str(tmp_path)), [drawn], FULL)
    assert masks == {}
    assert warning.startswith("boxes.txt: Shape 1 of the outlines of the defects is malformed: ")


def test_a_mask_that_is_not_rotated_like_its_image_is_not_used(tmp_path: Path) -> None:
    store = save(tmp_path, slice(0, 40), (100, 80))
    masks, (warning,) = read_masks(store, [IMAGE], FULL)
    assert masks == {}
    assert warning == (
        "m.png: The mask has 80 x 100 pixels and its image 100 x 80, so the mask is not rotated like the image. Rotate "
        "the mask. The image is excluded from the pixel metrics."
    )
    square = save(tmp_path, slice(0, 40), (90, 90))
    assert read_masks(square, [replace(IMAGE, width=90, height=90)], FULL)[1] == []


def test_ignored_pixels_are_resized_like_the_mask_and_said_once(tmp_path: Path) -> None:
    values = spot(slice(0, 40), slice(0, 100), 1)
    values[60:] = 255
    save_mask(tmp_path, "m.png", values)
    images = [replace(IMAGE, image_path=f"{number}.png") for number in range(3)]
    masks, (warning,) = read_masks(Store.of(str(tmp_path)), images, FULL)
    for mask in masks.values():
        assert mask.defective[:47].all()
        assert not mask.defective[49:].any()
        assert mask.ignored[73:].all()
        assert not mask.ignored[:71].any()
    assert warning == (
        "nut: in 3 of 3 masks, the value 255 beside class indices marks pixels to ignore; the pixel metrics exclude "
        "them: m.png, m.png, m.png."
    )


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (replace(IMAGE, mask_path=None), r"^1.png has no mask\.$"),
        (replace(IMAGE, shapes="[]", width=None), r"^1.png: the size of the image is not known, so its mask cannot be"),
    ],
)
def test_a_mask_that_cannot_be_made_is_a_mistake_of_the_caller(
    tmp_path: Path, image: ImageRecord, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read_mask_of(save(tmp_path, slice(0, 40)), image)
    assert not isinstance(raised.value, ImageError)


def test_a_mask_file_is_read_if_the_size_of_the_image_is_not_known(tmp_path: Path) -> None:
    mask = read_mask_of(save(tmp_path, slice(0, 40)), replace(IMAGE, width=None, height=None))
    np.testing.assert_array_equal(mask.defective, spot(slice(0, 40), slice(0, 100)) > 0)
