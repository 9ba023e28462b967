"""Split, label, mask, workpiece and view of images by the names of their folders."""

from __future__ import annotations

from pathlib import Path

from pipelines.data.discovery import Walk
from pipelines.data.layouts.categories import Place
from pipelines.data.layouts.defect_folders import walk_folders
from pipelines.storage.store import Store
from tests.pipelines.trees import fields_by_path, look, touch


def walked(root: Path, *, has_halves: bool = True, place: Place | None = None) -> Walk:
    return walk_folders(Store.of(str(root)), place or Place("nut", "nut"), has_halves=has_halves)


def told(walk: Walk) -> dict[str, tuple[str, str | None, int | None]]:
    """Return path -> (split, defect, label)."""
    return {image.image_path: (image.split, image.defect, image.label) for image in walk.images}


def test_halves_and_good_images_may_have_any_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "nut/Train/OK/a.png", "nut/val/Normal/b.png", "nut/Test/GOOD/c.png", "nut/test_public/bent/d.png")
    touch(tmp_path, "nut/train/good/monday/e.png", "nut/test_private/f.png")
    walk = walked(tmp_path)
    assert told(walk) == {
        "nut/Train/OK/a.png": ("train", "good", 0),
        "nut/train/good/monday/e.png": ("train", "good", 0),
        "nut/val/Normal/b.png": ("validation", "good", 0),
        "nut/Test/GOOD/c.png": ("test", "good", 0),
        "nut/test_private/f.png": ("test", None, None),
        "nut/test_public/bent/d.png": ("test", "bent", 1),
    }
    assert [image.split for image in walk.images] == ["train", "train", "validation", "test", "test", "test"]
    assert walk.warnings == []


def test_defective_images_of_other_halves_and_images_in_no_half_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/train/bad/b.png", "nut/valid/bad/c.png", "nut/train/d.png")
    touch(tmp_path, "nut/extra/e.png", "nut/f.png", "nut/incoming/g.png", "nut/valid/h.png")
    walk = walked(tmp_path)
    assert told(walk) == {"nut/train/good/a.png": ("train", "good", 0)}
    assert sorted(walk.warnings) == [
        "nut/extra/e.png, nut/f.png: not used, because it is in no folder train, validation or test.",
        "nut/train/bad/b.png: excluded from training, because its folder is not called good, ok or normal.",
        "nut/train/d.png, nut/valid/h.png: not used, because it is in no folder that tells whether it is good.",
        "nut/valid/bad/c.png: excluded from validation, because its folder is not called good, ok or normal.",
    ]


def test_without_halves_good_images_are_for_training_and_the_others_for_testing(tmp_path: Path) -> None:
    touch(tmp_path, "nut/Good/a.png", "nut/bent/b.png", "nut/Masks/bent/b.png", "nut/validation/good/c.png")
    touch(tmp_path, "nut/test/good/d.png", "nut/e.png")
    walk = walked(tmp_path, has_halves=False)
    assert told(walk) == {
        "nut/Good/a.png": ("train", "good", 0),
        "nut/validation/good/c.png": ("validation", "good", 0),
        "nut/bent/b.png": ("test", "bent", 1),
        "nut/test/good/d.png": ("test", "good", 0),
    }
    assert [image.mask_path for image in walk.images if image.label] == ["nut/Masks/bent/b.png"]
    assert walk.warnings == ["nut/e.png: not used, because it is in no folder that tells whether it is good."]


def test_all_masks_of_an_image_are_its_masks_and_those_of_good_images_are_ignored(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/a.png", "nut/test/cut/b.png", "nut/test/good/c.png", "nut/ground_truth/good/c.png")
    touch(tmp_path, "nut/ground_truth/cut/b/0.png", "nut/ground_truth/cut/b/1.png")
    walk = walked(tmp_path)
    assert {image.image_path: image.mask_paths for image in walk.images} == {
        "nut/train/good/a.png": (),
        "nut/test/cut/b.png": ("nut/ground_truth/cut/b/0.png", "nut/ground_truth/cut/b/1.png"),
        "nut/test/good/c.png": (),
    }
    assert walk.warnings == []


def test_numbers_and_lights_of_mvtec_ad_2_are_workpieces_and_views(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/000_regular.png", "nut/test_public/good/000_regular.png")
    touch(tmp_path, "nut/test_public/good/000_shift_1.png", "nut/test_private/000_overexposed.png")
    walk = walked(tmp_path)
    assert {image.image_path: (image.part_id, image.view) for image in walk.images} == {
        "nut/train/good/000_regular.png": ("train/good/000", "regular"),
        "nut/test_public/good/000_regular.png": ("test_public/good/000", "regular"),
        "nut/test_public/good/000_shift_1.png": ("test_public/good/000", "shift_1"),
        "nut/test_private/000_overexposed.png": ("test_private/000", "overexposed"),
    }


def test_in_other_datasets_such_names_say_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/000_regular.png", "nut/test/good/001_regular.png")
    assert {(image.part_id, image.view) for image in walked(tmp_path).images} == {(None, None)}
    touch(tmp_path, "nut/test_public/good/x.png")
    assert {(image.part_id, image.view) for image in walked(tmp_path).images} == {(None, None)}


def test_the_notes_of_a_place_are_warnings(tmp_path: Path) -> None:
    touch(tmp_path, "train/good/a.png")
    walk = walked(tmp_path, place=Place("nut", "", ("bolt: not used.",)))
    assert (told(walk), walk.warnings) == ({"train/good/a.png": ("train", "good", 0)}, ["bolt: not used."])


def test_good_images_can_be_in_folders_of_lots(tmp_path: Path) -> None:
    touch(tmp_path, "nut/train/good/0.png", "nut/train/lot 1/good/1.png")
    touch(tmp_path, "nut/test/lot 1/good/2.png", "nut/test/lot 1/3.png")
    assert {path: (split, defect) for path, (_, split, defect, *_) in fields_by_path(look(tmp_path)).items()} == {
        "nut/train/good/0.png": ("train", "good"),
        "nut/train/lot 1/good/1.png": ("train", "good"),
        "nut/test/lot 1/good/2.png": ("test", "good"),
        "nut/test/lot 1/3.png": ("test", "lot 1"),
    }
