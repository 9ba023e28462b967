"""The archive of DAGM 2007: labels lie in a table, and defects also in the training half."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from tests.pipelines.trees import fields_by_path, look, touch

TABLE = "1\n1\t0\t0576.PNG\t0\t0\n2\t1\t0577.PNG\t0\t0577_label.PNG\n"


def make_class(root: Path, table: str = TABLE) -> None:
    """Write the two halves of a class with one good and one defective image each."""
    for half in ("Train", "Test"):
        touch(root / half, "0576.PNG", "0577.PNG", "Label/0577_label.PNG")
        (root / half / "Label/Labels.txt").write_text(table)


@pytest.mark.parametrize(("made", "given", "prefix"), [("Class1", "", "Class1/"), ("Class1", "Class1", "")])
def test_defects_of_the_training_half_are_left_out_and_named(
    tmp_path: Path, made: str, given: str, prefix: str
) -> None:
    make_class(tmp_path / made)
    listing = look(tmp_path / given)
    assert listing.layout == "dagm"
    assert fields_by_path(listing) == {
        f"{prefix}Train/0576.PNG": ("Class1", "train", "good", 0, None),
        f"{prefix}Test/0576.PNG": ("Class1", "test", "good", 0, None),
        f"{prefix}Test/0577.PNG": ("Class1", "test", "defect", 1, f"{prefix}Test/Label/0577_label.PNG"),
    }
    assert listing.warnings == (
        f"{prefix}Train/0577.PNG: excluded from training, because Label/Labels.txt says that it is defective.",
    )


def test_a_class_in_a_folder_of_its_name_is_found(tmp_path: Path) -> None:
    make_class(tmp_path / "Class2/Class2")
    assert {image.category for image in look(tmp_path).images} == {"Class2"}


def test_an_image_that_the_table_does_not_list_is_excluded_and_named(tmp_path: Path) -> None:
    make_class(tmp_path / "Class1")
    touch(tmp_path, "Class1/Test/0999.PNG")
    listing = look(tmp_path)
    assert "Class1/Test/0999.PNG: excluded, because Label/Labels.txt does not list the image." in listing.warnings
    assert "Class1/Test/0999.PNG" not in fields_by_path(listing)


def test_listed_files_that_do_not_exist_are_named(tmp_path: Path) -> None:
    make_class(tmp_path / "Class1")
    for name in ("Train/0576.PNG", "Test/Label/0577_label.PNG"):
        (tmp_path / "Class1" / name).unlink()
    touch(tmp_path, "Class1/Train/0578.PNG")
    (tmp_path / "Class1/Train/Label/Labels.txt").write_text(f"{TABLE}3\t0\t0578.PNG\t0\t0\n")
    listing = look(tmp_path)
    assert listing.warnings[-1] == (
        "Class1/Train/0576.PNG, Class1/Test/Label/0577_label.PNG: not used, because the file does not exist; "
        "Label/Labels.txt lists it."
    )
    assert fields_by_path(listing)["Class1/Test/0577.PNG"] == ("Class1", "test", "defect", 1, None)


def test_a_class_without_training_images_is_no_category(tmp_path: Path) -> None:
    make_class(tmp_path / "Class1")
    shutil.rmtree(tmp_path / "Class1/Train")
    with pytest.raises(UsageError, match="no category found"):
        look(tmp_path)


def test_an_invalid_row_is_an_error_that_names_it(tmp_path: Path) -> None:
    make_class(tmp_path / "Class1", "1\n1\tgood\t0576.PNG\n")
    with pytest.raises(UsageError, match=r"Labels\.txt, row 2: .* is not valid"):
        look(tmp_path)
