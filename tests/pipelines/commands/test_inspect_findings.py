"""What `inspect` finds in a category: images and masks that are unlike the others or likely to be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.commands.inspect_findings import Findings, findings_of
from pipelines.data.examine import Examined, examine
from pipelines.data.records import ImageRecord
from pipelines.storage.store import Store

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def made(
    root: Path, name: str, pixels: np.ndarray, mask: np.ndarray | None = None, *, split: str = "train"
) -> Examined:
    """Write an image and its mask, and return its examination."""
    Image.fromarray(pixels).save(root / name)
    record = ImageRecord("nut", split, "good" if mask is None else "bent", name, label=int(mask is not None))
    if mask is not None:
        Image.fromarray(mask).save(root / f"mask_{name}")
        record = replace(record, mask_path=f"mask_{name}")
    return examine(Store.of(str(root)), record, 16)


def find(root: Path, results: list[Examined]) -> Findings:
    images = [result.image for result in results if result.error is None]
    return findings_of(Store.of(str(root)), "nut", results, images, bit_depth=16)


def different(number: int) -> np.ndarray:
    """Return an image unlike those of other numbers."""
    return np.roll(PIXELS, number, axis=1)


def test_a_size_or_format_that_differs_from_the_rest_is_named(tmp_path: Path) -> None:
    results = [made(tmp_path, f"{number}.png", different(number)) for number in range(8)]
    results.append(made(tmp_path, "small.png", different(9)[:15]))
    results.append(made(tmp_path, "gray.png", different(10)[:, :, 0]))
    findings = find(tmp_path, results)
    assert findings.problems == {
        "image whose format differs from the rest (RGB, 3 channels)": ["gray.png (L, 1 channel)"],
        "image whose size differs from the rest (30 x 20)": ["small.png (30 x 15)"],
    }
    assert findings.sizes == {"30 x 20": 9, "30 x 15": 1}


def test_sizes_that_all_differ_are_no_problem(tmp_path: Path) -> None:
    results = [made(tmp_path, f"{number}.png", PIXELS[: 10 + number]) for number in range(8)]
    assert find(tmp_path, results).problems == {}


def test_empty_frames_and_copies_are_named(tmp_path: Path) -> None:
    results = [made(tmp_path, "a.png", different(1)), made(tmp_path, "b.png", np.full_like(PIXELS, 7))]
    results += [made(tmp_path, "c.png", different(1)), made(tmp_path, "d.png", different(1), split="test")]
    assert find(tmp_path, results).problems == {
        "image of one single color": ["b.png"],
        "identical images in train and test (leakage)": ["a.png = c.png = d.png"],
    }


def spot(value: int, background: int = 0) -> np.ndarray:
    mask = np.full((20, 30), background, np.uint8)
    mask[3:8, 4:9] = value
    return mask


@pytest.mark.parametrize(
    ("mask", "values", "kind"),
    [
        (spot(255), "0/255", None),
        (spot(0), "0", "empty mask of a defective image"),
        (spot(0, 255), "0/255", "mask that covers more than half of its image; is it black on white?"),
        (spot(255)[:10, :15], "0/255", "mask whose size differs from its image"),
    ],
)
def test_a_mask_that_is_likely_to_be_wrong_is_named(
    tmp_path: Path, mask: np.ndarray, values: str, kind: str | None
) -> None:
    findings = find(tmp_path, [made(tmp_path, "a.png", PIXELS, mask, split="test")])
    assert findings.problems == ({} if kind is None else {kind: ["mask_a.png"]})
    assert findings.mask_values == {values: 1}


def test_the_values_of_a_mask_with_several_classes_are_named(tmp_path: Path) -> None:
    mask = spot(1)
    mask[12:16, 4:9] = 2
    mask[0] = 255
    findings = find(tmp_path, [made(tmp_path, "a.png", PIXELS, mask, split="test")])
    assert findings.problems == {
        "mask with several values; all of them but the background count": ["mask_a.png (0/1/2/255)"],
        "mask with a value that is ignored, so its pixels are left out of pixel metrics": ["mask_a.png"],
    }


def test_a_mask_that_is_not_rotated_like_its_image_is_named(tmp_path: Path) -> None:
    findings = find(tmp_path, [made(tmp_path, "a.png", PIXELS, spot(255).T.copy(), split="test")])
    (kind, (place,)) = next(iter(findings.problems.items()))
    assert kind == "mask cannot be used"
    assert "so the mask is not rotated like the image" in place


def test_images_without_a_label_are_counted_as_such(tmp_path: Path) -> None:
    result = made(tmp_path, "a.png", PIXELS, split="test")
    unlabeled = replace(result, image=replace(result.image, defect=None, label=None))
    assert find(tmp_path, [unlabeled]).counts == {("test", "no label"): 1}
