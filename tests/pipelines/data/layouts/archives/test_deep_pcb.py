"""The archive of DeepPCB: templates are good, and boxes lie in text files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.pipelines.trees import fields_by_path, look, touch


def archive(root: Path, boxes: str = "8 12 24 26 3\n") -> Path:
    """Write an archive of one circuit."""
    circuit = root / "PCBData/group00041"
    touch(circuit, "00041/00041000_temp.jpg", "00041/00041000_test.jpg")
    (circuit / "00041_not").mkdir()
    (circuit / "00041_not/00041000.txt").write_text(boxes)
    (root / "PCBData/trainval.txt").write_text("group00041/00041/00041000.jpg group00041/00041_not/00041000.txt\n")
    return root


@pytest.mark.parametrize("below", ["", "PCBData", "PCBData/group00041"])
def test_templates_are_good_and_tested_boards_defective(tmp_path: Path, below: str) -> None:
    listing = look(archive(tmp_path) / below)
    prefix = "PCBData/group00041/".removeprefix(below).lstrip("/")
    assert listing.layout == "deep_pcb"
    label = f"{prefix}00041_not/00041000.txt"
    assert fields_by_path(listing) == {
        f"{prefix}00041/00041000_temp.jpg": ("deep_pcb", "train", "good", 0, None),
        f"{prefix}00041/00041000_test.jpg": ("deep_pcb", "test", "mousebite", 1, label),
    }


@pytest.mark.parametrize("boxes", ["8 12 24 26 3\n1 2 3 4 1\n", "8,12,24,26,3\r\n1,2,3,4,1"])
def test_boxes_are_separated_by_spaces_or_commas(tmp_path: Path, boxes: str) -> None:
    image = look(archive(tmp_path, boxes)).images[1]
    assert image.defect == "mousebite+open"
    assert json.loads(str(image.shapes)) == [{"box": [8, 12, 24, 26]}, {"box": [1, 2, 3, 4]}]


def test_an_image_with_invalid_labels_is_excluded_and_named(tmp_path: Path) -> None:
    listing = look(archive(tmp_path, "8 12 24\n"))
    assert [image.label for image in listing.images] == [0]
    assert listing.warnings == (
        "PCBData/group00041/00041/00041000_test.jpg: excluded, because row 1, '8 12 24', is not a box (x1 y1 x2 y2 "
        "type) in its file of labels.",
    )


def test_an_image_without_labels_has_no_label(tmp_path: Path) -> None:
    touch(archive(tmp_path), "PCBData/group00041/00041/00041001_test.jpg", "PCBData/group00041/00041/other.jpg")
    listing = look(tmp_path)
    assert [image.label for image in listing.images] == [0, 1, None]
    assert [warning.partition(": ")[2] for warning in listing.warnings] == [
        "the file of labels is missing, so the image has no label.",
        "not used, because the name ends neither in _temp nor _test.",
    ]
