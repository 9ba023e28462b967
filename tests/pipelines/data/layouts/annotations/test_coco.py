"""Layout of COCO exports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch

POLYGON = {"segmentation": [[1, 2, 5, 2, 5, 6]], "bbox": [1, 2, 4, 4]}


def write(path: Path, images: Sequence[str], notes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a COCO file with images of 6 x 4 pixels; `notes` is image -> annotation."""
    listed = [{"id": n, "file_name": name, "width": 6, "height": 4} for n, name in enumerate(images)]
    annotations = [{"image_id": images.index(name), "category_id": 3, **note} for name, note in notes.items()]
    content = {"images": listed, "annotations": annotations, "categories": [{"id": 3, "name": "dent"}]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_cvat(tmp_path: Path) -> None:
    touch(tmp_path, "images/default/a.jpg", "images/default/s/b.jpg", "images/default/c.jpg")
    table = tmp_path / "annotations" / "instances_default.json"
    write(table, ["a.jpg", "s/b.jpg", "gone.jpg"], {"s/b.jpg": POLYGON})
    listing = look(tmp_path)
    assert listing.layout == "coco"
    assert fields_by_path(listing) == {
        "images/default/a.jpg": (tmp_path.name, "train", "good", 0, None),
        "images/default/s/b.jpg": (tmp_path.name, "test", "dent", 1, "annotations/instances_default.json"),
    }
    assert [image.shapes for image in listing.images] == [None, '[{"polygon":[[1,2],[5,2],[5,6]]}]']
    assert listing.warnings == (
        "gone.jpg: listed in annotations/instances_default.json, but the file does not exist.",
        "images/default/c.jpg: excluded, because no COCO file lists it.",
    )


def test_roboflow(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{half}/{name}.jpg" for half in ("train", "valid", "test") for name in "ab"))
    for half, notes in (("train", {}), ("valid", {}), ("test", {"b.jpg": {"segmentation": [], "bbox": [1, 2, 3, 1]}})):
        write(tmp_path / half / "_annotations.coco.json", ["a.jpg", "b.jpg"], notes)
    listing = look(tmp_path)
    assert listing.layout == "coco"
    assert {image.image_path: (image.split, image.label, image.shapes) for image in listing.images} == {
        "train/a.jpg": ("train", 0, None),
        "train/b.jpg": ("train", 0, None),
        "valid/a.jpg": ("validation", 0, None),
        "valid/b.jpg": ("validation", 0, None),
        "test/a.jpg": ("test", 0, None),
        "test/b.jpg": ("test", 1, '[{"box":[1,2,4,3]}]'),
    }


@pytest.mark.parametrize("folder", ["train2017", "images/train2017"])
def test_folders_of_coco_itself(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, f"{folder}/a.jpg", "val2017/b.jpg")
    write(tmp_path / "annotations" / "instances_train2017.json", ["a.jpg"], {})
    write(tmp_path / "annotations" / "instances_val2017.json", ["b.jpg"], {})
    (tmp_path / "annotations" / "captions_val2017.json").write_text("not read")
    splits = {image.image_path: image.split for image in look(tmp_path).images}
    assert splits == {f"{folder}/a.jpg": "train", "val2017/b.jpg": "validation"}


@pytest.mark.parametrize(
    ("counts", "shapes"),
    [([2, 3, 4, 4, 11], '[{"rle":[2,3,9,4]}]'), ("23417", '[{"rle":[2,3,9,4]}]')],
)
def test_run_lengths(tmp_path: Path, counts: object, shapes: str) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    note = {"segmentation": {"counts": counts, "size": [4, 6]}, "iscrowd": 1}
    write(tmp_path / "result.json", ["images/a.jpg", "images/b.jpg"], {"images/b.jpg": note})
    assert [image.shapes for image in look(tmp_path).images] == [None, shapes]


def test_an_annotation_without_an_area_is_a_defect_without_a_mask(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path / "annotations" / "instances_default.json", ["a.jpg", "b.jpg"], {"b.jpg": {}})
    listing = look(tmp_path)
    assert fields_by_path(listing)["images/b.jpg"] == (tmp_path.name, "test", "dent", 1, None)
    assert listing.warnings == (
        "images/b.jpg: annotations without an area (points, lines, image labels) are not drawn.",
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "Expecting property name"),
        ('{"images": [{"id": 1}], "annotations": []}', "the key 'file_name' is missing"),
        (
            '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "category_id": 2}]}',
            "category_id 2 is not listed in categories",
        ),
        ('{"images": [], "annotations": [{"image_id": 7}]}', "an annotation belongs to image 7, which is not listed"),
    ],
)
def test_an_invalid_file_is_an_error(tmp_path: Path, content: str, reason: str) -> None:
    touch(tmp_path, "images/a.jpg", "annotations/instances_default.json")
    (tmp_path / "annotations" / "instances_default.json").write_text(content)
    with pytest.raises(
        UsageError, match=rf"annotations/instances_default.json is not a valid COCO file \({reason}"
    ) as e:
        look(tmp_path)
    assert "\n" not in str(e.value)


def test_an_image_in_two_files_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    for name in ("x", "y"):
        write(tmp_path / "annotations" / f"{name}.json", ["a.jpg"], {})
    with pytest.raises(
        UsageError, match=r"y.json is not .* \(images/a.jpg is also listed in annotations/x.json; keep one"
    ):
        look(tmp_path)


def test_other_json_files_are_not_claimed(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    (tmp_path / "result.json").write_text('{"images": 3}')
    with pytest.raises(UsageError, match=r"^--data "):
        look(tmp_path)


@pytest.mark.parametrize(
    "listed",
    ["C:\\data\\images\\0.png", "/abs/images/0.png", "0.PNG", "lot\\0.png", "/abs/0.PNG", "Lot/0.png"],
)
def test_paths_of_another_machine_and_in_another_case_are_found(tmp_path: Path, listed: str) -> None:
    touch(tmp_path, "images/lot/0.png" if listed.lower().startswith("lot") else "images/0.png", "images/1.png")
    write(tmp_path / "annotations" / "instances_default.json", [listed, "1.png"], {"1.png": POLYGON})
    labels = {image.image_path: (image.split, image.label) for image in look(tmp_path).images}
    name = next(name for name in labels if name.endswith("0.png"))
    assert labels == {name: ("train", 0), "images/1.png": ("test", 1)}


def test_an_image_that_is_found_by_its_base_name_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/lot/b.png")
    write(tmp_path / "annotations" / "x.json", ["a.png", "D:\\old\\b.png"], {})
    listing = look(tmp_path)
    assert {image.image_path for image in listing.images} == {"images/a.png", "images/lot/b.png"}
    assert listing.warnings == (
        "images/lot/b.png: found by its base name, because its path in annotations/x.json is another.",
    )


def test_a_base_name_that_is_not_clear_or_belongs_to_another_image_finds_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "train/a.jpg", "val/b.jpg", "images/x/c.jpg", "images/y/c.jpg")
    write(tmp_path / "annotations" / "instances_train.json", ["a.jpg", "/old/b.jpg", "/old/c.jpg"], {})
    write(tmp_path / "annotations" / "instances_val.json", ["b.jpg"], {})
    listing = look(tmp_path)
    assert {image.image_path: image.split for image in listing.images} == {
        "train/a.jpg": "train",
        "val/b.jpg": "validation",
    }
    assert listing.warnings[0] == (
        "/old/b.jpg, /old/c.jpg: listed in annotations/instances_train.json, but the file does not exist."
    )


@pytest.mark.parametrize(
    ("notes", "start"),
    [
        (
            {"a.png": POLYGON},
            "none of the 1 images of the COCO export is a good training image, that is one without an ",
        ),
        (None, "1 of the images that the COCO export lists do not exist: gone.png. Correct their paths in the "),
    ],
)
def test_a_refusal_names_listed_images_that_do_not_exist(
    tmp_path: Path, notes: Mapping[str, Mapping[str, Any]] | None, start: str
) -> None:
    touch(tmp_path, "images/a.png")
    write(tmp_path / "annotations" / "x.json", [*(notes or {}), "gone.png"], notes or {})
    with pytest.raises(UsageError) as raised:
        look(tmp_path)
    assert str(raised.value).startswith(f"--data {tmp_path}: {start}")
    assert "1 of the images that the COCO export lists do not exist: gone.png." in str(raised.value)
    assert str(raised.value).endswith("Correct their paths in the annotation files, or add the images.")


@pytest.mark.parametrize(("listed", "referred"), [(0, "0"), ("0", 0), (0, 0.0), ("x", "x")])
def test_ids_are_compared_as_text(tmp_path: Path, listed: object, referred: object) -> None:
    touch(tmp_path, "images/a.png", "images/b.png")
    images = [{"id": listed, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    note = {"image_id": referred, "category_id": referred, **POLYGON}
    content = {"images": images, "annotations": [note], "categories": [{"id": listed, "name": "dent"}]}
    (tmp_path / "result.json").write_text(json.dumps(content))
    defects = {image.image_path: image.defect for image in look(tmp_path).images}
    assert defects == {"images/a.png": "dent", "images/b.png": "good"}
