"""Layout of LabelMe files."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch


def write(root: Path, image: str, *shapes: dict[str, Any]) -> None:
    """Write an image and the JSON file beside it."""
    touch(root, image)
    content = {"imagePath": image.rpartition("/")[2], "imageHeight": 9, "imageWidth": 10, "shapes": list(shapes)}
    (root / image).with_suffix(".json").write_text(json.dumps(content))


def shape(kind: str, *points: list[float], **more: Any) -> dict[str, Any]:
    """Return a shape with the label dent."""
    return {"label": "dent", "shape_type": kind, "points": list(points), **more}


def shapes_of(root: Path, *shapes: dict[str, Any]) -> Any:
    """Return the shapes that are read for an image."""
    touch(root, "good.jpg")
    write(root, "a.jpg", *shapes)
    (text,) = (image.shapes for image in look(root).images if image.label)
    return None if text is None else json.loads(text)


def test_json_files_beside_the_images(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    write(tmp_path, "b.jpg")
    write(tmp_path, "c.jpg", shape("polygon", [1, 2], [5, 2], [5, 6]))
    listing = look(tmp_path)
    assert listing.layout == "labelme"
    assert fields_by_path(listing) == {
        "a.jpg": (tmp_path.name, "train", "good", 0, None),
        "b.jpg": (tmp_path.name, "train", "good", 0, None),
        "c.jpg": (tmp_path.name, "test", "dent", 1, "c.json"),
    }


def test_polygons_and_rectangles(tmp_path: Path) -> None:
    shapes = shapes_of(tmp_path, shape("polygon", [1, 2], [5, 2], [5, 6]), shape("rectangle", [7, 2], [5, 8]))
    assert shapes == [{"polygon": [[1, 2], [5, 2], [5, 6]]}, {"box": [5, 2, 7, 8]}]


@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_four_corners_are_a_polygon(tmp_path: Path, kind: str) -> None:
    shapes = shapes_of(tmp_path, shape(kind, [1, 2], [5, 2], [5, 6], [1, 6]))
    assert shapes == [{"polygon": [[1, 2], [5, 2], [5, 6], [1, 6]]}]


def test_a_circle_is_a_polygon(tmp_path: Path) -> None:
    (circle,) = shapes_of(tmp_path, shape("circle", [5, 5], [5, 8]))
    corners = np.array(circle["polygon"])
    assert np.allclose(np.hypot(*(corners - 5).T), 3)
    x, y = corners.T
    assert abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 == pytest.approx(9 * np.pi, rel=0.01)


def test_a_mask_covers_its_box(tmp_path: Path) -> None:
    mask = np.array([[0, 255, 0], [255, 255, 0]], np.uint8)
    file = io.BytesIO()
    Image.fromarray(mask).save(file, "png")
    shapes = shapes_of(tmp_path, shape("mask", [2, 4], [4, 5], mask=base64.b64encode(file.getvalue()).decode()))
    assert shapes == [{"rle": [2 * 9 + 5, 1, 3 * 9 + 4, 2]}]  # column 2 from row 5, column 3 from row 4


def test_lines_and_points_have_no_area(tmp_path: Path) -> None:
    assert shapes_of(tmp_path, shape("linestrip", [1, 2], [3, 4]), shape("point", [1, 2])) is None
    assert look(tmp_path).warnings == (
        "a.jpg: annotations without an area (points, lines, image labels) are not drawn.",
    )


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ([{"label": "dent"}], "the key 'points' is missing"),
        ([shape("polygon", [1, 2], [3, 4])], "a polygon has 4 values"),
        ([shape("rectangle", [1, 2], [3, 4], [5, 6])], "a rectangle has 6 values, not two corners"),
        ([shape("mask", [1, 2], [3, 4], mask="%")], ""),
    ],
)
def test_an_invalid_file_is_an_error(tmp_path: Path, shapes: list[dict[str, Any]], reason: str) -> None:
    write(tmp_path, "a.jpg", *shapes)
    with pytest.raises(UsageError, match=rf"a.json is not a valid LabelMe file \({reason}") as raised:
        look(tmp_path)
    assert "\n" not in str(raised.value)


def test_other_json_files_are_not_claimed(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "a.json").write_text('{"exposure": 3}')
    with pytest.raises(UsageError, match=r"no category found in layout 'labelme'"):
        look(tmp_path, layout="labelme")


def test_datumaro_with_masks_and_outlines(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{half}/{name}.jpg" for half in ("train", "test") for name in "ab"))
    touch(tmp_path, *(f"Masks/test/{name}.png" for name in ("a_mask_0", "a_mask_1", "gone_mask_0")))
    corners = "".join(f"<pt><x>{x}</x><y>{y}</y></pt>" for x, y in ((1, 2), (5, 2), (5, 6)))
    objects = {
        "train/a": "",
        "test/a": "<object><name>dent</name><deleted>0</deleted><segm><mask>a_mask_0.png</mask></segm></object>",
        "test/b": f"<object><name>dent</name><deleted>0</deleted><polygon>{corners}</polygon></object>"
        "<object><name>old</name><deleted>1</deleted></object>",
    }
    for name, text in objects.items():
        (tmp_path / f"{name}.xml").write_text(f"<annotation><filename>x.jpg</filename>{text}</annotation>")
    listing = look(tmp_path)
    assert listing.layout == "labelme"
    assert {image.image_path: (image.split, image.defect, image.mask_paths) for image in listing.images} == {
        "train/a.jpg": ("train", "good", ()),
        "train/b.jpg": ("train", "good", ()),
        "test/a.jpg": ("test", "dent", ("Masks/test/a_mask_0.png", "Masks/test/a_mask_1.png")),
        "test/b.jpg": ("test", "dent", ()),
    }
    assert [image.shapes for image in listing.images if image.shapes] == [
        '[{"polygon":[[1.0,2.0],[5.0,2.0],[5.0,6.0]]}]'
    ]
    assert listing.warnings == ("Masks/test/gone_mask_0.png: mask not used, because there is no image of that name.",)
