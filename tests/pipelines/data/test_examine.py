"""Examination of images before training; an unchanged image is taken from an earlier index."""

from __future__ import annotations

import hashlib
from dataclasses import replace
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
    assert (examined.frames, examined.needed_bits, examined.is_single_color) == (1, None, True)


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


@pytest.mark.parametrize("bit_depth", [14, 16])
@pytest.mark.parametrize(("largest", "bits"), [(0, 0), (1023, 10), (1024, 11), (4095, 12), (4096, 13), (16383, 14)])
def test_the_bits_that_the_values_of_a_16_bit_image_need(
    tmp_path: Path, largest: int, bits: int, bit_depth: int
) -> None:
    pixels = np.zeros((20, 30), np.uint16)
    pixels[3, 4] = largest
    Pillow.fromarray(pixels).save(tmp_path / "b.png")
    examined = examine(Store.of(str(tmp_path)), ImageRecord("a", "train", "good", "b.png"), bit_depth)
    assert (examined.error, examined.needed_bits, examined.is_single_color) == (None, bits, largest == 0)


def test_an_opacity_of_0_everywhere_is_reported(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 4), np.uint8)
    for name, opacity in (("none", 0), ("some", 1)):
        pixels[:, :, 3] = 0
        pixels[0, 0, 3] = opacity
        Pillow.fromarray(pixels).save(tmp_path / f"{name}.png")
    store = Store.of(str(tmp_path))
    ignored = [examine(store, ImageRecord("a", "train", "good", f"{name}.png"), 16) for name in ("none", "some")]
    assert [examined.is_opacity_ignored for examined in ignored] == [True, False]


def test_the_digest_of_several_masks_covers_all_of_them(tmp_path: Path) -> None:
    for name in ("b", "m1", "m2", "m3"):
        Pillow.fromarray(np.full((20, 30), ord(name[-1]), np.uint8)).save(tmp_path / f"{name}.png")
    image = ImageRecord("a", "test", "bent", "b.png", "m1.png", 1)
    digests = [
        examine(Store.of(str(tmp_path)), replace(image, more_masks=more), 16).image.mask_sha256
        for more in ((), ("m2.png",), ("m3.png",))
    ]
    assert digests[0] == hashlib.sha256((tmp_path / "m1.png").read_bytes()).hexdigest()
    assert len(set(digests)) == 3


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
    assert trust(image, {"a/b.png": {**row, "more_masks": ["m"]}}) is None
    assert trust(image, {"a/b.png": {**row, "shapes": "[]"}}) is None
    assert trust(image, {}) is None
