"""The archive of Eyecandies: one of six lights is read, and the metadata are the label."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipelines.trees import fields_by_path, look, touch


def part(root: Path, stem: str, metadata: str | None) -> None:
    """Write the files of a part."""
    touch(root, f"{stem}_image_0.png", f"{stem}_image_1.png", f"{stem}_depth.png", f"{stem}_bumps_mask.png")
    touch(root, f"{stem}_mask.png")
    if metadata is not None:
        (root / f"{stem}_metadata.yaml").write_text(metadata)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    candy = tmp_path / "CandyCane"
    part(candy, "train/data/000", "anomalous: 0\n")
    part(candy, "val/data/000", "anomalous: 0\n")
    part(candy, "test_public/data/000", "anomalous: 0\nbumps: 0\n")
    part(candy, "test_public/data/001", "anomalous: 1\nbumps: 1\ndents: 1\ncolors: 0\n")
    part(candy, "test_private/data/000", None)
    return tmp_path


@pytest.mark.parametrize("below", ["", "CandyCane"])
def test_splits_and_labels(archive: Path, below: str) -> None:
    listing, c = look(archive / below), "" if below else "CandyCane/"
    mask = f"{c}test_public/data/001_mask.png"
    assert listing.layout == "eyecandies"
    assert fields_by_path(listing) == {
        f"{c}train/data/000_image_0.png": ("CandyCane", "train", "good", 0, None),
        f"{c}val/data/000_image_0.png": ("CandyCane", "validation", "good", 0, None),
        f"{c}test_public/data/000_image_0.png": ("CandyCane", "test", "good", 0, None),
        f"{c}test_public/data/001_image_0.png": ("CandyCane", "test", "bumps+dents", 1, mask),
        f"{c}test_private/data/000_image_0.png": ("CandyCane", "test", None, None, None),
    }


def test_the_other_files_are_named_in_one_sentence(archive: Path) -> None:
    (warning,) = look(archive).warnings
    assert warning.endswith(" and 10 more: not used; only <number>_image_0.png and <number>_mask.png are read.")


def test_a_defective_training_image_and_one_with_invalid_metadata_are_excluded(archive: Path) -> None:
    part(archive / "CandyCane", "train/data/001", "anomalous: 1\n")
    part(archive / "CandyCane", "train/data/002", "bumps: 1\n")
    listing = look(archive)
    assert [path for path in fields_by_path(listing) if "/train/" in path] == ["CandyCane/train/data/000_image_0.png"]
    assert listing.warnings[:2] == (
        "CandyCane/train/data/002_image_0.png: excluded, because CandyCane/train/data/002_metadata.yaml has no field "
        "'anomalous' with the value 0 or 1.",
        "CandyCane/train/data/001_image_0.png: excluded, because its metadata say that it is defective.",
    )
