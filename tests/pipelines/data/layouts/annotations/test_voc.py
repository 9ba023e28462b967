"""Layout of VOC exports: masks and boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch


def mask(root: Path, name: str, value: int) -> None:
    """Write a palette mask of 6 x 4 pixels with one marked pixel; value 0 marks none."""
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1, 2] = value
    image = Image.fromarray(pixels).convert("P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    path = root / "SegmentationClass" / f"{name}.png"
    path.parent.mkdir(exist_ok=True, parents=True)
    image.save(path)


def boxes(root: Path, name: str, *objects: Sequence[object]) -> None:
    """Write an XML file; each object is its name and xmin, ymin, xmax, ymax."""
    words = ("xmin", "ymin", "xmax", "ymax")
    text = ""
    for label, *corners in objects:
        place = "".join(f"<{word}>{value}</{word}>" for word, value in zip(words, corners, strict=True))
        text += f"<object><name>{label}</name><bndbox>{place}</bndbox></object>"
    (root / name).parent.mkdir(exist_ok=True, parents=True)
    (root / name).write_text(f"<annotation><filename>x.jpg</filename>{text}</annotation>")


def subset(root: Path, name: str, *stems: str) -> None:
    """Write ImageSets/Segmentation/<name>.txt."""
    path = root / "ImageSets" / "Segmentation" / f"{name}.txt"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("\n".join(stems))


def test_an_image_without_a_mask_or_with_a_black_one_is_good(tmp_path: Path) -> None:
    touch(tmp_path, *(f"JPEGImages/{name}.jpg" for name in "abcd"), "SegmentationObject/c.png")
    mask(tmp_path, "b", 0)
    mask(tmp_path, "c", 2)
    mask(tmp_path, "gone", 1)
    subset(tmp_path, "default", "a", "b", "c")
    listing = look(tmp_path)
    assert listing.layout == "voc"
    assert fields_by_path(listing) == {
        "JPEGImages/a.jpg": (tmp_path.name, "train", "good", 0, None),
        "JPEGImages/b.jpg": (tmp_path.name, "train", "good", 0, None),
        "JPEGImages/c.jpg": (tmp_path.name, "test", "defect", 1, "SegmentationClass/c.png"),
    }
    assert [image.shapes for image in listing.images] == [None] * 3
    assert listing.warnings == (
        "SegmentationClass/gone.png: mask not used, because there is no image of that name.",
        "JPEGImages/d.jpg: excluded, because no file of ImageSets lists it.",
    )


def test_subsets_are_splits(tmp_path: Path) -> None:
    touch(tmp_path, *(f"JPEGImages/{name}.jpg" for name in "abcd"))
    mask(tmp_path, "d", 1)
    subset(tmp_path, "trainval", "a", "b")
    for name, stems in (("train", "a"), ("val", "b"), ("test", "cd")):
        subset(tmp_path, name, *stems)
    splits = {image.image_path[-5]: (image.split, image.label) for image in look(tmp_path).images}
    assert splits == {"a": ("train", 0), "b": ("validation", 0), "c": ("test", 0), "d": ("test", 1)}


def test_an_unreadable_mask_excludes_its_image(tmp_path: Path) -> None:
    touch(tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/b.png")
    listing = look(tmp_path)
    assert [image.image_path for image in listing.images] == ["JPEGImages/a.jpg"]
    (warning,) = listing.warnings
    assert warning.startswith("JPEGImages/b.jpg: excluded, because its mask cannot be read: ")


@pytest.mark.parametrize(("images", "tables"), [("JPEGImages", "Annotations"), ("images", "annotations")])
def test_boxes(tmp_path: Path, images: str, tables: str) -> None:
    """Corners count from 1, and both pixels belong to the box."""
    touch(tmp_path, *(f"{images}/{name}.jpg" for name in "abc"))
    boxes(tmp_path, f"{tables}/b.xml")
    boxes(tmp_path, f"{tables}/c.xml", ("dent", 1, 2, 3, 4), ("crack", 5, 1, 6, 1))
    listing = look(tmp_path)
    assert listing.layout == "voc"
    assert fields_by_path(listing) == {
        f"{images}/a.jpg": (tmp_path.name, "train", "good", 0, None),
        f"{images}/b.jpg": (tmp_path.name, "train", "good", 0, None),
        f"{images}/c.jpg": (tmp_path.name, "test", "crack+dent", 1, f"{tables}/c.xml"),
    }
    assert listing.images[2].shapes == '[{"box":[0.0,1.0,3.0,4.0]},{"box":[4.0,0.0,6.0,1.0]}]'


def test_masks_go_before_boxes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"JPEGImages/{name}.jpg" for name in "abc"))
    mask(tmp_path, "b", 1)
    for name in "bc":
        boxes(tmp_path, f"Annotations/{name}.xml", ("dent", 1, 2, 3, 4))
    images = {image.image_path[-5]: (image.defect, image.mask_path) for image in look(tmp_path).images}
    expected = {"a": ("good", None), "b": ("dent", "SegmentationClass/b.png"), "c": ("dent", "Annotations/c.xml")}
    assert images == expected


def test_halves_with_images_and_annotations(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/dent/a.jpg", "train/images/none/b.jpg", "validation/images/none/c.jpg")
    boxes(tmp_path, "train/annotations/a.xml", ("dent", 1, 2, 3, 4))
    (tmp_path / "validation" / "annotations").mkdir()
    listing = look(tmp_path, layout="voc")
    splits = {image.image_path: image.split for image in listing.images}
    assert splits == {"train/images/none/b.jpg": "train", "validation/images/none/c.jpg": "validation"}
    assert listing.warnings == (
        "train/images/dent/a.jpg: excluded from training, because it has annotations of defects.",
    )


def test_a_dataset_in_which_every_image_has_boxes_is_refused(tmp_path: Path) -> None:
    for half in ("train", "validation"):
        touch(tmp_path, f"{half}/images/crazing/{half}_1.jpg")
        boxes(tmp_path, f"{half}/annotations/{half}_1.xml", ("crazing", 1, 2, 3, 4))
    with pytest.raises(UsageError, match=r"none of the 2 images of the VOC export is a good training image"):
        look(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<annotation>", "no element found"),
        ("<annotation><object><name>dent</name></object></annotation>", "an object has no bndbox"),
        ("<annotation><object><bndbox/></object></annotation>", "object has no name"),
    ],
)
def test_an_invalid_xml_file_is_an_error(tmp_path: Path, text: str, reason: str) -> None:
    touch(tmp_path, "JPEGImages/a.jpg", "Annotations/a.xml")
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    with pytest.raises(UsageError, match=rf"Annotations/a.xml is not a valid VOC file \({reason}"):
        look(tmp_path)
