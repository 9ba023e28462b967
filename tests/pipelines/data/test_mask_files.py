"""Which files are masks: the names of files and folders that tell it, and files that only look like masks."""

from __future__ import annotations

from unicodedata import normalize

import pytest

from pipelines.data.mask_files import half_of, is_good_name, is_mask_folder, separate_masks


def separated(*names: str, below: str = "") -> tuple[list[str], dict[str, tuple[str, ...]], list[str]]:
    """Return the names of the images, image -> masks, and the notes."""
    result = separate_masks([(name, None) for name in sorted(names)], below)
    masks = {image: tuple(name for name, _ in files) for image, files in result.masks_of.items()}
    return [name for name, _ in result.images], masks, result.notes


@pytest.mark.parametrize(
    ("folder", "half"),
    [
        *((name, "train") for name in ("train", "Train", "TRAIN")),
        *((name, "validation") for name in ("val", "Valid", "validation")),
        *((name, "test") for name in ("test", "Test", "test_public", "test_private", "test_private_mixed")),
        *((name, None) for name in ("trains", "test_", "good", "")),
    ],
)
def test_halves_are_named_in_any_case(folder: str, half: str | None) -> None:
    assert half_of(folder) == half


def test_good_and_masks_are_named_in_any_case() -> None:
    assert all(is_good_name(name) for name in ("good", "OK", "Normal", "GOOD"))
    assert not any(is_good_name(name) for name in ("goods", "normals", "bad", ""))
    assert all(is_mask_folder(name) for name in ("gt", "GT", "Masks", "mask", "label", "Labels", "ground_truth"))
    assert all(is_mask_folder(name) for name in ("GroundTruth", "annotations", "segmentation", "Segmentations"))
    assert not any(is_mask_folder(name) for name in ("masked", "gts", ""))


@pytest.mark.parametrize(
    "name",
    [
        *("a_mask.png", "a_label.bmp", "a_GT.png", "a_gt.png", "a_mask1.png", "a_mask_12.png", "a_Mask.PNG"),
        *("a-mask.png", "a_masks.png", "a_seg.png", "a_segmentation.png", "a_annotation.png", "mask_a.png"),
    ],
)
def test_a_file_named_like_the_mask_of_an_image_beside_it_is_its_mask(name: str) -> None:
    assert separated("cut/a.jpg", f"cut/{name}", "cut/b.jpg") == (
        ["cut/a.jpg", "cut/b.jpg"],
        {"cut/a.jpg": (f"cut/{name}",)},
        [f"cut/{name}: taken as a mask of the image beside it that has the same name."],
    )


@pytest.mark.parametrize(
    "name",
    ["b_mask.png", "a_masked.png", "amask.png", "_mask.png", "a_mask_new.png", "mask_b.png", "mask_.png", "b_seg.png"],
)
def test_a_file_that_only_looks_like_a_mask_is_an_image(name: str) -> None:
    assert separated("cut/a.jpg", f"cut/{name}", "other/b.jpg") == (
        sorted(["cut/a.jpg", f"cut/{name}", "other/b.jpg"]),
        {},
        [],
    )


def test_png_files_are_masks_if_each_has_the_stem_of_a_jpg_in_its_folder() -> None:
    images, masks, notes = separated(
        "free/1.jpg", "free/1.png", "free/2.jpg", "free/2.png", "crack/3.jpg", "crack/3.PNG"
    )
    assert images == ["crack/3.jpg", "free/1.jpg", "free/2.jpg"]
    assert masks == {"crack/3.jpg": ("crack/3.PNG",), "free/1.jpg": ("free/1.png",), "free/2.jpg": ("free/2.png",)}
    assert notes == [
        "crack/3.PNG, free/1.png, free/2.png: taken as a mask of the image beside it that has the same name."
    ]


def test_png_files_are_images_if_one_of_them_has_no_jpg() -> None:
    names = ["cut/1.jpg", "cut/1.png", "cut/2.png", "other/2.jpg"]
    assert separated(*names) == (names, {}, [])


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("test/bent/1.png", "ground_truth/bent/1_mask.png"),  # MVTec AD
        ("test/bent/1.jpg", "GroundTruth/bent/1.png"),
        ("test_public/bad/000_regular.png", "test_public/ground_truth/bad/000_regular_mask.png"),  # MVTec AD 2
        ("test/logical_anomalies/000.png", "ground_truth/logical_anomalies/000/000.png"),  # MVTec LOCO
        ("test/crack/rgb/000.png", "test/crack/gt/000.png"),  # MVTec 3D-AD
        ("test/crack/rgb/000.png", "test/crack/ground_truth/000.png"),  # 3D-ADAM
        ("Data/Images/Anomaly/000.JPG", "Data/Masks/Anomaly/000.png"),  # VisA
        ("test/Ungood/img/1.png", "test/Ungood/label/1.png"),  # BMAD
        ("test/bad/1.png", "ground_truth/test/bad/1.png"),
        ("Scratch/1.png", "Masks/scratch/1.png"),
        ("scratch/deep/1.png", "masks/scratch/deep/1_mask.png"),
        ("images/1.jpg", "labels/1.png"),
        ("1.jpg", "mask/1_mask_2.png"),
        ("test/label/1.png", "ground_truth/label/1_mask.png"),  # a defect called `label`
        ("f/é1.png".replace("é", normalize("NFD", "é")), "gt/f/é1.png"),
    ],
)
def test_a_mask_has_the_path_of_its_image_with_a_folder_of_masks(image: str, mask: str) -> None:
    assert separated(image, mask, "train/good/x.png")[:2] == (sorted([image, "train/good/x.png"]), {image: (mask,)})


def test_several_masks_belong_to_one_image() -> None:
    names = ["test/cut/1.png", "ground_truth/cut/1/000.png", "ground_truth/cut/1/001.png"]
    assert separated(*names)[1] == {"test/cut/1.png": tuple(names[1:])}
    names = ["cut/1.png", "cut/1_mask1.png", "cut/1_mask2.png"]
    assert separated(*names)[1] == {"cut/1.png": tuple(names[1:])}


def test_a_mask_belongs_to_the_test_image_if_a_training_image_has_the_same_name() -> None:
    names = ["train/cut/1.png", "test/cut/1.png", "ground_truth/cut/1.png"]
    assert separated(*names)[1] == {"test/cut/1.png": ("ground_truth/cut/1.png",)}


def test_a_mask_whose_image_is_not_clear_is_not_used() -> None:
    names = ["test/cut/1.png", "test_private/cut/1.png", "test/cut/2.png", *(f"gt/cut/{n}.png" for n in (1, 2))]
    images, masks, notes = separated(*names)
    assert (images, masks) == (
        ["test/cut/1.png", "test/cut/2.png", "test_private/cut/1.png"],
        {"test/cut/2.png": ("gt/cut/2.png",)},
    )
    assert notes == ["gt/cut/1.png: mask not used, because no image in the matching folder has that name."]


@pytest.mark.parametrize("folder", ["label", "gt", "Masks"])
def test_a_folder_whose_files_pair_with_no_image_is_a_folder_like_any_other(folder: str) -> None:
    names = ["good/1.png", "good/2.png", f"{folder}/3.png"]
    assert separated(*names) == (
        sorted(names),
        {},
        [
            f"{folder}: a folder of this name usually contains masks, but none of its files has the name of another "
            "image. It is treated like any other folder."
        ],
    )


def test_a_defect_called_label_is_no_folder_of_masks_because_of_equal_numbers() -> None:
    names = [f"test/{name}/{number}.png" for name in ("color", "good", "label") for number in range(2)]
    assert separated(*names)[:2] == (names, {})


def test_masks_in_one_folder_for_all_defects_pair_by_stem_except_with_good_images() -> None:
    names = ["good/1.png", "cut/1.png", "bent/2.png", "masks/1.png", "masks/2_mask.png"]
    assert separated(*names)[:2] == (
        ["bent/2.png", "cut/1.png", "good/1.png"],
        {"bent/2.png": ("masks/2_mask.png",), "cut/1.png": ("masks/1.png",)},
    )
    assert separated("good/1.png", "cut/1.png", "bent/1.png", "masks/1.png")[1] == {}


def test_other_modalities_beside_the_images_are_named_and_left_out() -> None:
    names = [f"good/{folder}/{n}" for folder, n in (("rgb", "1.png"), ("xyz", "1.tiff"), ("Depth", "9.png"))]
    assert separated(*names) == (
        ["good/rgb/1.png"],
        {},
        ["good/Depth/9.png, good/xyz/1.tiff: not used, because only images of color or brightness are read."],
    )
    assert separated("1.png", "depth/1.png")[0] == ["1.png"]
    assert separated("color/1.png", "depth/2.png")[0] == ["color/1.png"]


def test_a_folder_named_like_a_modality_without_images_beside_it_is_a_defect() -> None:
    names = ["test/depth/1.png", "test/good/1.png"]
    assert separated(*names) == (names, {}, [])


def test_a_category_may_be_called_like_a_folder_of_masks() -> None:
    names = ["label/test/cut/1.png", "label/ground_truth/cut/1.png", "label/train/good/1.png"]
    assert separated(*names, below="label/") == (
        ["label/test/cut/1.png", "label/train/good/1.png"],
        {"label/test/cut/1.png": ("label/ground_truth/cut/1.png",)},
        [],
    )


def test_a_note_names_at_most_five_files() -> None:
    (note,) = separated(*(f"{number}{end}.png" for number in range(9) for end in ("", "_mask")))[2]
    assert note.startswith("0_mask.png, 1_mask.png, 2_mask.png, 3_mask.png, 4_mask.png and 4 more: ")


def test_files_without_the_suffix_of_an_image_are_ignored() -> None:
    assert separated("a.png", "labels/a.txt", "a.json", ".png", "png") == (["a.png"], {}, [])
