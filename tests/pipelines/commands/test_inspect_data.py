"""The command `inspect`: the contents and the likely problems of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.pipelines.runs import call, make_category, save, texture, with_defect


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("inspect")
    make_category(root / "cloth", seed=0)
    cloth = root / "cloth"
    save(cloth / "test" / "good" / "leak.png", texture(3))
    save(cloth / "train" / "good" / "copy.png", texture(3))
    save(cloth / "test" / "blot" / "maskless.png", with_defect(texture(900), 40, 40)[0])
    save(cloth / "ground_truth" / "blot" / "imageless_mask.png", with_defect(texture(900), 40, 40)[1])
    save(cloth / "test" / "blot" / "empty.png", texture(901))
    save(cloth / "ground_truth" / "blot" / "empty_mask.png", np.zeros((120, 110), np.uint8))
    save(cloth / "test" / "blot" / "small.png", texture(902))
    save(cloth / "ground_truth" / "blot" / "small_mask.png", np.full((30, 30), 255, np.uint8))
    (cloth / "train" / "good" / "text.jpg").write_text("not an image")
    (cloth / "train" / "good" / "moving.gif").write_bytes(b"GIF89a")
    for number in range(3):
        save(root / "dim" / "train" / "good" / f"{number}.png", texture(number).astype(np.uint16) * 10)
    (root / "bare" / "test" / "good").mkdir(parents=True)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    done = call("inspect", "--data", str(root))
    assert done.code == 1  # One category has no training image.
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "sentence",
    [
        "  test/blot: 8\n",
        "  test/good: 6\n",
        "  train/good: 13 (",
        "  formats: L, 1 channel (27)\n",
        "  sizes: 110 x 120 (27)\n",
        "! image cannot be read: 2\n",
        "      cloth/train/good/text.jpg (",
        "! identical images in train and test (leakage): 1\n",
        "cloth/train/good/003.png = cloth/train/good/copy.png = cloth/test/good/leak.png",
        "! defective image without a mask: 1\n      cloth/test/blot/maskless.png",
        "! empty mask of a defective image: 1\n      cloth/ground_truth/blot/empty_mask.png",
        "! mask whose size differs from its image: 1\n      cloth/ground_truth/blot/small_mask.png",
        "cloth/ground_truth/blot/imageless_mask.png: mask not used, because no image in the matching folder has ",
        "cloth/train/good/moving.gif (",
        "  mask values: 0/255 (5), 0 (1), 255 (1)\n",
        "! mask that covers more than half of its image; is it black on white?: 1\n      "
        "cloth/ground_truth/blot/small_mask.png",
        "! all values below 4096, so the images are dark; for a camera of 12 bits, set --bit-depth 12: 1\n"
        "      3 images",
        "! no calibration images, therefore no threshold: 1\n",
        "bare\n  cannot be fitted: no good training image can be read",
    ],
)
def test_a_problem_is_listed_with_the_place_where_it_occurs(printed: str, sentence: str) -> None:
    assert sentence in printed


def test_no_problem_is_listed_for_a_correct_dataset(tmp_path: Path) -> None:
    make_category(tmp_path / "cloth", seed=0)
    done = call("inspect", "--data", str(tmp_path))
    assert done.code == 0
    assert "!" not in done.stdout
    assert "for fitting, " in done.stdout


def test_a_dataset_without_masks_is_one_remark_and_not_a_list_of_images(tmp_path: Path) -> None:
    make_category(tmp_path / "cloth", seed=0, train=12, good=2, defects=3)
    shutil.rmtree(tmp_path / "cloth" / "ground_truth")
    done = call("inspect", "--data", str(tmp_path))
    assert "! no masks, so pixel metrics will be empty: 1\n      3 defective images\n" in done.stdout
    assert "without a mask" not in done.stdout
