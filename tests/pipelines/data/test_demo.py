"""The demo's data: a fixed subset of the package's real images, linked, never copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.data.dataset import list_images
from pipelines.data.demo import CELL_KINDS, FIT_GOOD, TEST_DEFECT, TEST_GOOD, prepare_demo
from pipelines.data.examine import examine
from pipelines.errors import UsageError
from pipelines.storage.store import Store


def test_the_subset_is_real_disjoint_and_the_same_each_time(tmp_path: Path) -> None:
    listing = list_images(Store.of(str(prepare_demo(tmp_path / "run"))))
    assert listing.categories == tuple(CELL_KINDS.values())
    assert listing.warnings == ()
    for category in listing.categories:
        mine = [image for image in listing.images if image.category == category]
        counts = {(split, defect): 0 for split, defect in (("train", "good"), ("test", "good"), ("test", "defect"))}
        for image in mine:
            counts[image.split, image.defect] += 1
        assert list(counts.values()) == [FIT_GOOD, TEST_GOOD, TEST_DEFECT]
        assert len({Path(image.image_path).name for image in mine}) == len(mine)
    again = list_images(Store.of(str(prepare_demo(tmp_path / "run"))))
    assert again.images == listing.images
    found = examine(Store.of(str(tmp_path / "run-data")), listing.images[0], 16)
    assert found.error is None
    assert (found.image.width, found.image.height) == (300, 300)
    assert all(path.is_symlink() for path in (tmp_path / "run-data").rglob("*.png"))


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "run-data" / "elpv_mono" / "train" / "good" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"x")
    with pytest.raises(UsageError, match="is not one of the demo's links"):
        prepare_demo(tmp_path / "run")
    assert mine.exists()


def test_a_missing_package_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.data.demo.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'reconpatch-ray\[demo\]'"):
        prepare_demo(tmp_path / "run")
