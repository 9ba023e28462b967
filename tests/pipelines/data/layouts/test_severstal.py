"""Layout of the Severstal steel defects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch, write_csv

COLUMNS = ("ImageId", "ClassId", "EncodedPixels")


def make(root: Path, rows: Sequence[Sequence[object]]) -> Path:
    """Write three training images, a test image and the table."""
    touch(root, *(f"train_images/{name}.jpg" for name in "abc"), "test_images/d.jpg", "sample_submission.csv")
    write_csv(root / "train.csv", rows, COLUMNS)
    return root


def test_images_that_the_table_does_not_list_are_good(tmp_path: Path) -> None:
    rows = [("b.jpg", 3, "1 2 10 5"), ("b.jpg", 1, "257 3"), ("c.jpg", 4, ""), ("gone.jpg", 1, "1 1")]
    listing = look(make(tmp_path, rows))
    assert listing.layout == "severstal"
    assert fields_by_path(listing) == {
        "train_images/a.jpg": ("severstal", "train", "good", 0, None),
        "train_images/b.jpg": ("severstal", "test", "class 1+class 3", 1, "train.csv"),
        "train_images/c.jpg": ("severstal", "train", "good", 0, None),
        "test_images/d.jpg": ("severstal", "test", None, None, None),
    }
    (shapes,) = (image.shapes for image in listing.images if image.shapes)
    assert shapes == '[{"rle":[0,2,9,5]},{"rle":[256,3]}]'  # the table counts from 1
    assert listing.warnings == ("gone.jpg: listed in train.csv, but not in train_images. The rows are ignored.",)
    assert fields_by_path(look(tmp_path)) == fields_by_path(listing)


@pytest.mark.parametrize("runs", ["1", "0 3", "1 0", "1 2 3", "a b"])
def test_invalid_run_lengths_are_an_error(tmp_path: Path, runs: str) -> None:
    with pytest.raises(UsageError, match=r"train.csv, row 2: EncodedPixels is not a sequence of pairs of start"):
        look(make(tmp_path, [("b.jpg", 1, "1 1"), ("b.jpg", 1, runs)]))


def test_a_table_that_lists_all_images_is_refused(tmp_path: Path) -> None:
    rows = [(f"{name}.jpg", 1, "1 1") for name in "abc"]
    with pytest.raises(
        UsageError, match=r"train.csv lists all 3 images of train_images as defective. Add good images."
    ):
        look(make(tmp_path, rows))


def test_another_table_is_not_claimed(tmp_path: Path) -> None:
    make(tmp_path, [])
    write_csv(tmp_path / "train.csv", [("a.jpg", "0")], ("id", "label"))
    with pytest.raises(UsageError, match=r"no category found in layout 'severstal'"):
        look(tmp_path, layout="severstal")
