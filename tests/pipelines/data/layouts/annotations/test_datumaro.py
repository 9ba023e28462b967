"""Layout of Datumaro exports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch


def item(name: str, *annotations: dict[str, Any], **media: Any) -> dict[str, Any]:
    """Return an item of a Datumaro file; its image is <name>.jpg unless `media` says otherwise."""
    return {"id": name, "annotations": list(annotations), "image": {"path": f"{name}.jpg", "size": [4, 6], **media}}


def write(root: Path, subset: str, items: Sequence[dict[str, Any]]) -> None:
    """Write annotations/<subset>.json with the labels good, dent and scratch."""
    labels = [{"name": name} for name in ("good", "dent", "scratch")]
    (root / "annotations").mkdir(exist_ok=True)
    content = {"info": {}, "categories": {"label": {"labels": labels}}, "items": list(items)}
    (root / "annotations" / f"{subset}.json").write_text(json.dumps(content))


def test_one_subset(tmp_path: Path) -> None:
    touch(tmp_path, *(f"images/default/{name}.jpg" for name in ("a", "b", "lot_c", "d", "e", "f", "unlisted")))
    mask = {"type": "mask", "label_id": 2, "rle": {"counts": "23417", "size": [4, 6]}}
    items = [
        item("a"),
        item("b", {"type": "label", "label_id": 0}),
        item("lot/c", {"type": "polygon", "label_id": 1, "points": [1, 2, 5, 2, 5, 3]}, mask, path=""),
        item("d", {"type": "bbox", "label_id": None, "bbox": [1, 2, 3, 1]}),
        item("e", {"type": "label", "label_id": 1}),
        item("f", {"type": "polyline", "label_id": 1, "points": [1, 2, 5, 2]}),
        item("gone"),
    ]
    write(tmp_path, "default", items)
    listing, table = look(tmp_path), "annotations/default.json"
    assert listing.layout == "datumaro"
    assert fields_by_path(listing) == {
        "images/default/a.jpg": (tmp_path.name, "train", "good", 0, None),
        "images/default/b.jpg": (tmp_path.name, "train", "good", 0, None),
        "images/default/lot_c.jpg": (tmp_path.name, "test", "dent+scratch", 1, table),
        "images/default/d.jpg": (tmp_path.name, "test", "defect", 1, table),
        "images/default/e.jpg": (tmp_path.name, "test", "dent", 1, None),
        "images/default/f.jpg": (tmp_path.name, "test", "dent", 1, None),
    }
    assert [image.shapes for image in listing.images if image.shapes] == [
        '[{"polygon":[[1,2],[5,2],[5,3]]},{"rle":[2,3,9,4]}]',
        '[{"box":[1,2,4,3]}]',
    ]
    assert listing.warnings == (
        "images/default/e.jpg, images/default/f.jpg: annotations without an area (points, lines, image labels) are "
        "not drawn.",
        "gone: listed in annotations/default.json, but the image does not exist.",
        "images/default/unlisted.jpg: excluded, because no Datumaro file lists it.",
    )


def test_subsets_are_splits(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.jpg", "images/validation/b.jpg", "images/test/a.jpg")
    for subset, name in (("train", "a"), ("validation", "b"), ("test", "a")):
        write(tmp_path, subset, [item(name)])
    splits = {image.image_path: image.split for image in look(tmp_path).images}
    assert splits == {
        "images/train/a.jpg": "train",
        "images/validation/b.jpg": "validation",
        "images/test/a.jpg": "test",
    }


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"type": "polygon", "label_id": 9, "points": []}, "label_id 9 is not one of the 3 labels"),
        ({"type": "bbox", "label_id": 1}, "the key 'bbox' is missing"),
        ({"type": "polygon", "label_id": 1, "points": [1, 2]}, "a polygon has 2 values"),
    ],
)
def test_an_invalid_file_is_an_error(tmp_path: Path, annotation: dict[str, Any], reason: str) -> None:
    touch(tmp_path, "images/default/a.jpg")
    write(tmp_path, "default", [item("a", annotation)])
    with pytest.raises(UsageError, match=rf"annotations/default.json is not a valid Datumaro file \({reason}"):
        look(tmp_path)


@pytest.mark.parametrize("path", ["lot\\a.jpg", "LOT/A.JPG", "Lot\\a.JPG"])
def test_paths_with_other_separators_and_in_another_case_are_found(tmp_path: Path, path: str) -> None:
    touch(tmp_path, "images/default/lot/a.jpg")
    write(tmp_path, "default", [item("1", path=path)])
    assert fields_by_path(look(tmp_path)) == {"images/default/lot/a.jpg": (tmp_path.name, "train", "good", 0, None)}


def test_if_no_listed_image_exists_the_refusal_names_some(tmp_path: Path) -> None:
    touch(tmp_path, "images/default/a.jpg")
    write(tmp_path, "default", [item("gone"), item("lost")])
    with pytest.raises(UsageError) as raised:
        look(tmp_path)
    assert str(raised.value) == (
        f"--data {tmp_path}: 2 of the images that the Datumaro export lists do not exist: gone, lost. Correct their "
        "paths in the annotation files, or add the images."
    )
