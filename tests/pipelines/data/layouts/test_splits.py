"""MVTec AD's layout and the datasets in its form: which folders are categories, and what is passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.storage.store import Store
from tests.pipelines.trees import fields_by_path, look, paths, touch


def make_category(root: Path, folder: str, *names: str, good: str = "good", mask: str = "{}_mask.png") -> None:
    """Write a category in MVTec AD's form with a training image, a good test image and a defective one."""
    touch(root, f"{folder}/train/{good}/1.png", f"{folder}/test/{good}/1.png", f"{folder}/test/bent/1.png")
    touch(root, f"{folder}/ground_truth/bent/{mask.format('1')}", *names)


@pytest.mark.parametrize("good", ["good", "Good", "normal", "NORMAL"])
@pytest.mark.parametrize("mask", ["{}_mask.png", "{}.png", "{}/000.png"])
def test_good_images_and_masks_may_have_any_of_their_names(tmp_path: Path, good: str, mask: str) -> None:
    make_category(tmp_path, "nut", good=good, mask=mask)
    listing = look(tmp_path)
    assert (listing.layout, listing.warnings) == ("mvtec", ())
    assert fields_by_path(listing) == {
        f"nut/train/{good}/1.png": ("nut", "train", "good", 0, None),
        f"nut/test/{good}/1.png": ("nut", "test", "good", 0, None),
        "nut/test/bent/1.png": ("nut", "test", "bent", 1, f"nut/ground_truth/bent/{mask.format('1')}"),
    }


@pytest.mark.parametrize("good", ["ok", "OK"])
def test_if_all_good_training_images_are_called_ok_the_layout_is_that_of_btad(tmp_path: Path, good: str) -> None:
    make_category(tmp_path, "01", good=good, mask="{}.bmp")
    touch(tmp_path, f"01/ground_truth/{good}/1.bmp", "01/ground_truth/bent/9.bmp")
    listing = look(tmp_path)
    assert listing.layout == "btad"
    assert listing.warnings == (
        "01/ground_truth/bent/9.bmp: mask not used, because no image in the matching folder has that name.",
    )
    assert fields_by_path(listing) == {
        f"01/train/{good}/1.png": ("01", "train", "good", 0, None),
        f"01/test/{good}/1.png": ("01", "test", "good", 0, None),
        "01/test/bent/1.png": ("01", "test", "bent", 1, "01/ground_truth/bent/1.bmp"),
    }


def test_one_train_good_folder_makes_the_layout_mvtec(tmp_path: Path) -> None:
    touch(tmp_path, "a/train/ok/1.png", "b/train/good/1.png", "c/test/good/1.png")
    listing = look(tmp_path)
    assert (listing.layout, listing.categories) == ("mvtec", ("a", "b", "c"))
    assert paths(listing) == ["a/train/ok/1.png", "b/train/good/1.png", "c/test/good/1.png"]


def test_a_root_with_halves_is_a_category_with_the_name_of_its_folder(tmp_path: Path) -> None:
    make_category(tmp_path, "nut")
    assert fields_by_path(look(tmp_path / "nut")) == {
        "train/good/1.png": ("nut", "train", "good", 0, None),
        "test/good/1.png": ("nut", "test", "good", 0, None),
        "test/bent/1.png": ("nut", "test", "bent", 1, "ground_truth/bent/1_mask.png"),
    }


def test_categories_may_be_grouped_in_folders(tmp_path: Path) -> None:
    make_category(tmp_path, "farming/nut")
    make_category(tmp_path, "machines/bolt")
    touch(tmp_path, "notes/old/a.png", "readme/a.txt")
    listing = look(tmp_path)
    assert (listing.layout, listing.categories) == ("mvtec", ("bolt", "nut"))
    assert fields_by_path(listing)["farming/nut/test/bent/1.png"] == (
        "nut",
        "test",
        "bent",
        1,
        "farming/nut/ground_truth/bent/1_mask.png",
    )
    assert listing.warnings == ("notes: not used, because no category was found in it.",)
    assert look(tmp_path / "farming").categories == ("nut",)


def test_a_category_in_several_groups_is_an_error_that_names_them(tmp_path: Path) -> None:
    make_category(tmp_path, "1cls/candle")
    make_category(tmp_path, "2cls_highshot/candle")
    with pytest.raises(UsageError) as raised:
        look(tmp_path)
    assert str(raised.value) == (
        f"--data {tmp_path}: the category candle is in several folders: 1cls, 2cls_highshot. "
        f"Give one of them, for example --data {tmp_path}/1cls."
    )


def test_folders_that_contain_other_categories_are_named(tmp_path: Path) -> None:
    make_category(tmp_path, "nut")
    make_category(tmp_path, "old/bolt")
    touch(tmp_path, "screw/good/a.png", "screw/bent/a.png", "notes/old/a.png")
    listing = look(tmp_path, "nut")
    assert listing.categories == ("nut",)
    assert listing.warnings == (
        "screw: not used, because it has no folder train or test. Give it as --data of another run.",
        "old: not used, because its categories are one level deeper. Give it as --data of another run.",
    )


def test_a_category_without_good_training_images_is_listed_beside_others(tmp_path: Path) -> None:
    make_category(tmp_path, "nut")
    touch(tmp_path, "runs/train/exp/1.png", "bolt/test/good/1.png", "split/validation/good/1.png")
    (tmp_path / "gear/train/good").mkdir(parents=True)
    listing = look(tmp_path)
    assert listing.categories == ("bolt", "gear", "nut", "runs")
    assert listing.warnings == (
        "runs/train/exp/1.png: excluded from training, because its folder is not called good, ok or normal.",
    )


@pytest.mark.parametrize("names", [("runs/train/exp/1.png",), ("nut/test/good/1.png",), ("nut/train/1.png",)])
def test_a_root_without_good_training_images_has_another_layout(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    (tmp_path / "empty/train/good").mkdir(parents=True)
    with pytest.raises(UsageError, match="no category found"):
        look(tmp_path)
    touch(tmp_path, "screw/good/a.png")
    assert (look(tmp_path).layout, look(tmp_path).categories) == ("folders", ("screw",))


def test_folders_two_levels_below_that_must_not_be_read_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_category(tmp_path, "group/nut")
    touch(tmp_path, "group/private/a.png")
    folders = Store.folders

    def some_folders(store: Store, folder: str = "") -> list[str]:
        if folder == "group/private":
            raise PermissionError(folder)
        return folders(store, folder)

    monkeypatch.setattr(Store, "folders", some_folders)
    assert look(tmp_path).categories == ("nut",)


def test_a_complete_category_may_be_named_like_a_half_or_like_masks(tmp_path: Path) -> None:
    names = ["label", "masks", "screw", "test", "train"]
    for name in names:
        touch(tmp_path, f"{name}/train/good/0.png", f"{name}/test/good/1.png", f"{name}/test/bent/2.png")
    assert sorted({image.category for image in look(tmp_path).images}) == names


def test_masks_beside_the_categories_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/0.png", "nut/test/bent/1.png", "masks/nut/bent/1_mask.png")
    listing = look(tmp_path)
    assert [image.mask_path for image in listing.images] == [None, None]
    assert listing.warnings == (
        "masks: not used, because masks are read from the folder of their category. Move them there.",
    )


@pytest.mark.parametrize("images", ["images", "Data", "RGB"])
def test_masks_beside_a_folder_of_images_are_no_category(tmp_path: Path, images: str) -> None:
    make_category(tmp_path, images)
    touch(tmp_path, "masks/train/good/1.png", "masks/test/bent/1.png")
    listing = look(tmp_path)
    assert listing.categories == (images,)
    assert listing.warnings == (
        "masks: not used, because masks are read from the folder of their category. Move them there.",
    )


def test_a_root_that_is_a_category_stays_one_with_masks_in_the_form_of_a_category(tmp_path: Path) -> None:
    make_category(tmp_path, "nut")
    touch(tmp_path, "nut/masks/train/good/1.png")
    listing = look(tmp_path / "nut")
    assert listing.categories == ("nut",)
    assert "masks/train/good/1.png" not in paths(listing)
