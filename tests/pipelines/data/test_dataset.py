"""Listing of a data root: categories, splits, defects and labels, and new images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.data.dataset import as_new, find_new_images, list_images, new_images
from pipelines.data.records import ImageRecord
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from tests.pipelines.trees import look, touch


def listed(root: Path) -> dict[str, ImageRecord]:
    return {image.image_path: image for image in look(root).images}


def test_splits_defects_and_labels_come_from_the_folders(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/good/b.png", "nut/test/bent/c.png")
    images = listed(tmp_path)
    assert {path: (i.split, i.part, i.defect, i.label) for path, i in images.items()} == {
        "nut/train/good/a.png": ("train", None, "good", 0),
        "nut/test/good/b.png": ("test", None, "good", 0),
        "nut/test/bent/c.png": ("test", None, "bent", 1),
    }


def test_a_folder_with_train_good_alone_is_a_category(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png")
    assert look(tmp_path).categories == ("nut",)


def test_categories_are_sorted_and_can_be_selected(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/train/good/a.png" for name in ("zebra", "a=b", "x y", "x%20y", "lot#7")))
    assert look(tmp_path).categories == ("a=b", "lot#7", "x y", "x%20y", "zebra")
    assert look(tmp_path, "x y").categories == ("x y",)


@pytest.mark.parametrize(
    ("root", "categories", "sentence"),
    [
        ("nowhere", (), "nowhere: the folder does not exist"),
        ("notes", (), "no category found"),
        (".", ("nut", "bolt"), r"--category bolt: not found in .*\. Available: nut\.$"),
    ],
)
def test_a_missing_root_or_category_is_an_error(
    tmp_path: Path, root: str, categories: tuple[str, ...], sentence: str
) -> None:
    touch(tmp_path, "nut/train/good/a.png", "notes/readme.md")
    with pytest.raises(UsageError, match=sentence):
        look(tmp_path / root, *categories)


def test_new_images_are_found_at_any_depth_and_have_no_label(tmp_path: Path) -> None:
    touch(tmp_path, "x.png", "monday/y.JPG", "monday/notes.txt", ".z.png")
    store = Store.of(str(tmp_path))
    images = new_images(store, "nut", find_new_images(store)[0])
    assert [image.image_path for image in images] == ["monday/y.JPG", "x.png"]
    assert {(i.category, i.split, i.label, i.part, i.mask_path) for i in images} == {("nut", "new", None, None, None)}
    assert find_new_images(Store.of(str(tmp_path / "empty"))) == ([], [])


def test_new_images_in_the_test_folder_of_a_category_are_labeled_by_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "nut/test/good/a.png", "nut/test/bent/deep/b.png", "nut/test/c.png", "nut/d.png")
    store = Store.of(str(tmp_path))
    images = new_images(store, "nut", find_new_images(store, "nut")[0])
    assert {(image.image_path, image.defect, image.label) for image in images} == {
        ("nut/test/good/a.png", "good", 0),
        ("nut/test/bent/deep/b.png", "bent", 1),
        ("nut/test/c.png", None, None),
        ("nut/d.png", None, None),
    }


def test_masks_and_other_modalities_are_no_new_images_and_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/a.png", "nut/a_mask.png", "nut/b/rgb/1.png", "nut/b/xyz/1.tiff", "nut/b/gt/1.png")
    store = Store.of(str(tmp_path))
    files, warnings = find_new_images(store, "nut")
    assert [store.name_of(info) for info in files] == ["nut/a.png", "nut/b/rgb/1.png"]
    assert warnings == [
        "nut/b/xyz/1.tiff: not used, because only images of color or brightness are read.",
        "nut/a_mask.png: taken as a mask of the image beside it that has the same name.",
        "nut/b/gt/1.png: not scored, because it is a mask of another image.",
    ]
    (image,), _ = find_new_images(store, "nut/b")
    assert store.name_of(image) == "nut/b/rgb/1.png"


@pytest.mark.parametrize(
    ("path", "defect", "label"),
    [
        ("nut/test/Normal/a.png", "good", 0),
        ("nut/test_public/bent/a.png", "bent", 1),
        ("nut/test_private/a.png", None, None),
        ("nut/validation/good/a.png", None, None),
    ],
)
def test_the_folders_of_new_images_have_the_names_of_all_layouts(
    tmp_path: Path, path: str, defect: str | None, label: int | None
) -> None:
    touch(tmp_path, path)
    store = Store.of(str(tmp_path))
    (image,) = new_images(store, "nut", find_new_images(store, "nut")[0])
    assert (image.image_path, image.defect, image.label) == (path, defect, label)


def test_a_test_image_becomes_a_new_image_without_its_masks() -> None:
    image = ImageRecord(
        "nut", "test", "bent", "a.png", "a_mask1.png", 1, mask_sha256="cd", more_masks=("a_mask2.png",), view="top"
    )
    image = replace(image, fingerprint="1-2|3-4|5-6", shapes="[]")
    assert as_new(image) == ImageRecord("nut", "new", "bent", "a.png", label=1, fingerprint="1-2", view="top")


@pytest.mark.parametrize("root", ["local", "s3"])
def test_a_data_root_can_be_in_an_object_store(request: pytest.FixtureRequest, tmp_path: Path, root: str) -> None:
    store = Store.of(str(tmp_path) if root == "local" else request.getfixturevalue("bucket")).below("data x=y")
    for name in (
        "a=b/train/good/1.png",
        "a=b/test/cut/2.png",
        "a=b/ground_truth/cut/2_mask.png",
        "x%20y/test/good/3.png",
    ):
        store.write(name, b"x")
    listing = list_images(store)
    assert listing.categories == ("a=b", "x%20y")
    assert [(image.image_path, image.mask_path) for image in listing.images] == [
        ("a=b/train/good/1.png", None),
        ("a=b/test/cut/2.png", "a=b/ground_truth/cut/2_mask.png"),
        ("x%20y/test/good/3.png", None),
    ]
