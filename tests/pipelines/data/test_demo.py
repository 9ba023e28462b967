"""Data of the demo: a fixed subset of the real images in a package, linked instead of copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.data.dataset import list_images
from pipelines.data.demo import CELL_KINDS, FIT_GOOD, TEST_DEFECT, TEST_GOOD, prepare_demo
from pipelines.data.examine import examine
from pipelines.errors import UsageError
from pipelines.storage.store import Store


def test_the_subset_has_distinct_real_images_and_is_reproducible(tmp_path: Path) -> None:
    listing = list_images(Store.of(str(prepare_demo(tmp_path / "run"))))
    assert listing.categories == tuple(CELL_KINDS.values())
    assert listing.warnings == ()
    for category in listing.categories:
        images = [image for image in listing.images if image.category == category]
        counts = {(split, defect): 0 for split, defect in (("train", "good"), ("test", "good"), ("test", "defect"))}
        for image in images:
            counts[image.split, image.defect] += 1
        assert list(counts.values()) == [FIT_GOOD, TEST_GOOD, TEST_DEFECT]
        assert len({Path(image.image_path).name for image in images}) == len(images)
    again = list_images(Store.of(str(prepare_demo(tmp_path / "run"))))
    assert again.images == listing.images
    examined = examine(Store.of(str(tmp_path / "run-data")), listing.images[0], 16)
    assert examined.error is None
    assert (examined.image.width, examined.image.height) == (300, 300)
    assert all(path.is_symlink() for path in (tmp_path / "run-data").rglob("*.png"))


def test_a_folder_with_other_files_is_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "run-data" / "elpv_mono" / "train" / "good" / "mine.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match=r"mine\.png is not a link created by the demo"):
        prepare_demo(tmp_path / "run")
    assert file.exists()


def test_the_error_for_a_missing_package_contains_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.data.demo.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'reconpatch-ray\[demo\]'"):
        prepare_demo(tmp_path / "run")
