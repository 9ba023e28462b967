"""Layout of YOLO exports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch

BOX = "1 0.5 0.5 0.25 0.5\n"


def write(root: Path, files: Mapping[str, str]) -> None:
    """Write text files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_images_and_labels(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.jpg", "images/train/b.jpg", "images/val/c.jpg", "images/test/d.jpg", "thumb.png")
    labels = {"labels/train/a.txt": "", "labels/test/d.txt": BOX, "labels/test/gone.txt": BOX}
    write(tmp_path, {**labels, "data.yaml": "names: [dent, scratch]\ntrain: images/train\n"})
    listing = look(tmp_path)
    assert listing.layout == "yolo"
    assert fields_by_path(listing) == {
        "images/train/a.jpg": (tmp_path.name, "train", "good", 0, None),
        "images/train/b.jpg": (tmp_path.name, "train", "good", 0, None),
        "images/val/c.jpg": (tmp_path.name, "validation", "good", 0, None),
        "images/test/d.jpg": (tmp_path.name, "test", "scratch", 1, "labels/test/d.txt"),
    }
    assert [image.shapes for image in listing.images if image.label] == [
        '[{"box":[0.375,0.25,0.625,0.75],"relative":true}]'
    ]
    assert listing.warnings == (
        "thumb.png: excluded, because it is not in a folder of images of the YOLO export.",
        "labels/test/gone.txt: not used, because there is no image of that name.",
    )


def test_roboflow(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg")
    write(tmp_path, {"train/labels/a.txt": "\n", "test/labels/c.txt": "0 0 0 0.5 0 0.5 1 0 1\n" + BOX})
    write(tmp_path, {"data.yaml": "names: {0: dent, 1: scratch}"})
    images = {image.image_path: (image.split, image.defect) for image in look(tmp_path).images}
    assert images == {
        "train/images/a.jpg": ("train", "good"),
        "valid/images/b.jpg": ("validation", "good"),
        "test/images/c.jpg": ("test", "dent+scratch"),
    }
    shapes = [image.shapes for image in look(tmp_path).images if image.shapes]
    assert shapes == [
        '[{"polygon":[[0.0,0.0],[0.5,0.0],[0.5,1.0],[0.0,1.0]],"relative":true},'
        '{"box":[0.375,0.25,0.625,0.75],"relative":true}]'
    ]


def test_datumaro(tmp_path: Path) -> None:
    touch(tmp_path, "obj_train_data/a.jpg", "obj_train_data/s/b.jpg", "obj_test_data/c.jpg")
    write(tmp_path, {"obj_train_data/a.txt": "", "obj_train_data/s/b.txt": BOX, "obj_test_data/c.txt": BOX})
    write(tmp_path, {"obj.names": "dent\nscratch\n", "train.txt": "data/obj_train_data/a.jpg\n"})
    listing = look(tmp_path)
    assert listing.layout == "yolo"
    assert fields_by_path(listing) == {
        "obj_train_data/a.jpg": (tmp_path.name, "train", "good", 0, None),
        "obj_test_data/c.jpg": (tmp_path.name, "test", "scratch", 1, "obj_test_data/c.txt"),
    }
    assert listing.warnings == (
        "obj_train_data/s/b.jpg: excluded from training, because it has annotations of defects.",
    )


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path, {"labels/b.txt": "3 0.5 0.5 0.1 0.1 0.99"})
    assert {image.defect for image in look(tmp_path).images} == {"good", "class 3"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("dent 0.5 0.5 0.1 0.1", "line 2: invalid literal for int"),
        ("1 0.5 0.5 0.1", "line 2: 3 values after the class are neither a box nor a polygon"),
        ("1 0 0 1 0 1 1 0", "line 2: 7 values after the class"),
        ("1 nan 0 0.5 0.5", "line 2: nan is not a number"),
    ],
)
def test_an_invalid_line_is_an_error(tmp_path: Path, line: str, reason: str) -> None:
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    write(tmp_path, {"labels/b.txt": f"{BOX}{line}"})
    with pytest.raises(UsageError, match=rf"labels/b.txt is not a valid YOLO file \({reason}"):
        look(tmp_path)


def test_an_invalid_table_of_names_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg")
    write(tmp_path, {"labels/a.txt": BOX, "data.yaml": "names: [dent"})
    with pytest.raises(UsageError, match=r"data.yaml is not a valid YOLO file \(while parsing") as raised:
        look(tmp_path)
    assert "\n" not in str(raised.value)


def test_labels_that_are_not_text_files_are_not_claimed(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.jpg", "labels/a.png")
    with pytest.raises(UsageError, match=r"no category found in layout 'yolo'"):
        look(tmp_path, layout="yolo")
