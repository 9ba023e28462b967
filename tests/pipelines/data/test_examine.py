"""Examination of images before training; an unchanged image is taken from an earlier index."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pipelines.data.examine import examine, examine_all, trust
from pipelines.data.records import ImageRecord
from pipelines.errors import StoreUnavailableError
from pipelines.storage.store import Store


def test_an_image_is_hashed_and_measured(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "a/b.png")
    examined = examine(Store.of(str(tmp_path)), ImageRecord("a", "train", "good", "a/b.png"), 16)
    assert examined.error is None
    assert (examined.image.height, examined.image.width) == (20, 30)
    assert examined.image.content_sha256 == hashlib.sha256((tmp_path / "a/b.png").read_bytes()).hexdigest()
    assert (examined.frames, examined.lowest_sixteenth) == (1, None)


@pytest.mark.parametrize("content", [b"", b"text, not a picture", None])
def test_the_error_of_an_unreadable_file_is_returned(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "b.png").write_bytes(content)
    examined = examine(Store.of(str(tmp_path)), ImageRecord("a", "train", "good", "b.png"), 16)
    assert examined.image.width is None
    assert examined.error


def test_a_truncated_image_is_found_before_training(tmp_path: Path) -> None:
    Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)).save(tmp_path / "b.png")
    content = (tmp_path / "b.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) * 6 // 10])
    examined = examine(Store.of(str(tmp_path)), ImageRecord("a", "train", "good", "b.png"), 16)
    assert examined.error is not None
    assert "damaged" in examined.error


def test_a_file_that_is_too_large_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(3_100_000_000)  # a sparse file, which takes no disk space
    Pillow.fromarray(np.zeros((20, 30), np.uint8)).save(tmp_path / "ok.png")
    store, sentence = Store.of(str(tmp_path)), "The file has 3.1 GB, above the limit of 2 GB"
    assert str(examine(store, ImageRecord("nut", "train", "good", "huge.png"), 16).error).startswith(sentence)
    with_huge_mask = ImageRecord("nut", "test", "cut", "ok.png", "huge.png")
    assert str(examine(store, with_huge_mask, 16).error).startswith(sentence)


@pytest.mark.parametrize(("lowest", "expected"), [(4000, True), (60000, False)])
def test_an_image_with_more_than_8_bits_is_checked_for_unused_bits(
    tmp_path: Path, *, lowest: int, expected: bool
) -> None:
    Pillow.fromarray(np.full((20, 30), lowest, np.uint16)).save(tmp_path / "b.png")
    examined = examine(Store.of(str(tmp_path)), ImageRecord("a", "train", "good", "b.png"), 16)
    assert (examined.error, examined.lowest_sixteenth) == (None, expected)


def test_an_image_that_does_not_fit_in_memory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_memory(*arguments: object) -> None:
        raise MemoryError

    (tmp_path / "b.png").write_bytes(b"x")
    monkeypatch.setattr("pipelines.data.examine.read_picture", fill_memory)
    examined = examine(Store.of(str(tmp_path)), ImageRecord("a", "train", "good", "b.png"), 16)
    assert str(examined.error).startswith("Out of memory.")


def test_when_a_store_is_unavailable_the_rest_of_the_category_is_not_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    def read(self: Store, name: str) -> bytes:
        requested.append(name)
        raise StoreUnavailableError("no answer")

    monkeypatch.setattr(Store, "read_picture", read)
    images = [ImageRecord(category, "train", "good", f"{category}/{n}.png") for category in "ab" for n in range(3)]
    examined, peak_bytes = examine_all(Store.of("data"), images, 16)
    assert requested == ["a/0.png", "b/0.png"]
    assert all(image.store_unavailable and image.error == "no answer" for image in examined)
    assert peak_bytes > 0


def test_an_unchanged_fingerprint_is_trusted_and_a_changed_one_is_not() -> None:
    row = {"fingerprint": "1-2", "mask_path": None, "width": 3, "height": 4, "content_sha256": "s", "mask_sha256": None}
    image = ImageRecord("a", "test", "good", "a/b.png", fingerprint="1-2")
    known = trust(image, {"a/b.png": row})
    assert known is not None
    assert (known.width, known.height, known.content_sha256) == (3, 4, "s")
    assert trust(image, {"a/b.png": {**row, "fingerprint": "1-3"}}) is None
    assert trust(image, {"a/b.png": {**row, "mask_path": "m"}}) is None
    assert trust(image, {}) is None
