"""Messages for a data root that no layout fits: what is in it, and what to give instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.data.dataset import list_images
from pipelines.errors import UsageError
from pipelines.storage.store import Store
from tests.pipelines.trees import look, touch

WAYS = (
    "ReConPatch learns from good images alone. Put them into <category>/train/good or <category>/good, or give a CSV "
    "or Parquet file that lists the images with their labels as --data."
)


def refused(data: Path) -> str:
    """Return the message without the part that all messages begin with."""
    with pytest.raises(UsageError) as raised:
        look(data)
    start = f"--data {data}: "
    assert str(raised.value).startswith(start)
    return str(raised.value).removeprefix(start)


@pytest.mark.parametrize("names", [(), ("notes/readme.md",), ("a/b/c.txt",)])
def test_a_folder_without_images(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    assert refused(tmp_path) == f"no category found, and no image. {WAYS}"


def test_of_many_folders_only_the_first_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number:03d}/a.txt" for number in range(205)), "204/deep/a.png")
    assert refused(tmp_path) == f"no category found, and no image in its first 200 folders. {WAYS}"


def test_images_in_no_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.JPG")
    assert refused(tmp_path) == (
        f"no category found. The images are directly in this folder, so nothing tells which of them are good. {WAYS}"
    )


def test_folders_of_defects_alone(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{kind}/{kind}.jpg" for kind in range(1, 8)))
    assert refused(tmp_path) == (
        "no category found. Nothing in it is marked as good: it contains images in 1, 2, 3, 4, 5 and 2 more, no folder "
        f"with images is called good, ok or normal, and no file with labels was recognized. {WAYS}"
    )


@pytest.mark.parametrize("half", ["test", "val"])
def test_good_images_that_are_not_for_training(tmp_path: Path, half: str) -> None:
    touch(tmp_path, f"nut/{half}/good/a.png", f"nut/{half}/bent/a.png")
    assert refused(tmp_path) == (
        f"no category found. It contains images in nut/{half}/bent, nut/{half}/good, but no good training images. "
        f"{WAYS}"
    )


@pytest.mark.parametrize("half", ["train", "test", "validation"])
def test_a_half_is_refused_with_the_folders_above(tmp_path: Path, half: str) -> None:
    touch(tmp_path, *(f"set/nut/{name}/good/a.png" for name in ("train", "test", "validation")))
    touch(tmp_path, f"set/nut/{half}/bent/b.png")
    category = tmp_path / "set/nut"
    assert refused(category / half) == (
        f"this is the half '{half}' of {category}. Give --data {category}, or --data {category.parent} for all "
        "categories beside it."
    )
    with pytest.raises(UsageError, match=r"^--data .*: no category found\. Give --data "):
        look(category / half / "good")


def test_a_folder_called_train_without_another_half_beside_it_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "set/train/good/a.png", "set/train/bent/b.png")
    assert look(tmp_path / "set/train").layout == "folders"


@pytest.mark.parametrize("below", ["train/good", "ground_truth/bent", "ground_truth", "test/bent/rgb"])
def test_a_folder_of_a_category_is_refused_with_the_category(tmp_path: Path, below: str) -> None:
    touch(tmp_path, "set/nut/train/good/a.png", "set/nut/test/bent/a.png", f"set/nut/{below}/a.png")
    assert refused(tmp_path / "set/nut" / below) == (
        f"no category found. Give --data {tmp_path}/set/nut, in which categories are found."
    )


@pytest.mark.parametrize("below", ["a", "a/b"])
def test_a_folder_far_above_a_dataset_is_refused_with_the_folder_below(tmp_path: Path, below: str) -> None:
    touch(tmp_path, f"{below}/group/nut/train/good/a.png", "x/readme.md")
    assert refused(tmp_path) == f"no category found. Give --data {tmp_path}/{below}, in which categories are found."


def test_a_half_in_an_object_store_is_refused_with_the_uri_of_the_folder_above(bucket: str) -> None:
    base, query = bucket.split("?")
    store = Store.of(f"{base}/set?{query}")
    for name in ("nut/train/good/1.png", "nut/test/good/1.png"):
        store.write(name, b"x")
    with pytest.raises(UsageError, match=rf"this is the half 'train' of {base}/set/nut\. Give --data {base}/set/nut, "):
        list_images(Store.of(f"{base}/set/nut/train?{query}"))
    assert list_images(Store.of(f"{base}/set/nut?{query}")).categories == ("nut",)


def test_with_a_layout_given_the_message_names_it(tmp_path: Path) -> None:
    touch(tmp_path, "nut/good/a.png")
    with pytest.raises(UsageError, match=r"no category found in layout 'mvtec'\. Omit --layout to detect it\.$"):
        look(tmp_path, layout="mvtec")
