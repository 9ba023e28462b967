"""Outlines of annotation files: their JSON text, and the run-length encodings of COCO."""

from __future__ import annotations

import json
from itertools import groupby

import numpy as np
import pytest

from pipelines.data.layouts.annotations.outlines import box, coco_runs, mask_runs, polygon, shapes_text


def counts_of(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a mask along its columns, the first of them for pixels outside."""
    pixels = [bool(mask[row, column]) for column in range(mask.shape[1]) for row in range(mask.shape[0])]
    runs = [(value, len(list(group))) for value, group in groupby(pixels)]
    return [0] * bool(runs[0][0]) + [length for _, length in runs]


def compressed(counts: list[int]) -> str:
    """Return run lengths as COCO's text: differences in groups of five bits, lowest first, in two's complement."""
    text = ""
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        size = 5
        while not -(2 ** (size - 1)) <= value < 2 ** (size - 1):
            size += 5
        bits = format(value % 2**size, f"0{size}b")
        groups = [bits[start : start + 5] for start in range(0, size, 5)][::-1]
        flags = [1] * (len(groups) - 1) + [0]
        text += "".join(chr(48 + 32 * flag + int(group, 2)) for flag, group in zip(flags, groups, strict=True))
    return text


def drawn(runs: list[int], height: int, width: int) -> np.ndarray:
    """Return the mask of runs (start, length), pixel by pixel."""
    mask = np.zeros((height, width), bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        for pixel in range(start, start + length):
            mask[pixel % height, pixel // height] = True
    return mask


MASKS = [np.random.default_rng(seed).random((7, 90)) < share for seed, share in enumerate((0.02, 0.5, 0.98, 0.0, 1.0))]
MASKS += [np.pad(np.ones((200, 3), bool), ((50, 50), (40, 7)))]  # long runs take several groups of bits


@pytest.mark.parametrize("mask", MASKS, ids=range(len(MASKS)))
@pytest.mark.parametrize("is_compressed", [False, True])
def test_run_lengths_give_the_mask(mask: np.ndarray, is_compressed: bool) -> None:
    counts = counts_of(mask)
    shape = coco_runs({"counts": compressed(counts) if is_compressed else counts, "size": list(mask.shape)})
    assert (drawn(shape["rle"], *mask.shape) == mask).all()


def test_a_known_text() -> None:
    """Runs of 2, 3, 4, 4 and 11 pixels: the last two are written as the differences 1 and 7."""
    assert coco_runs({"counts": "23417", "size": [4, 6]}) == {"rle": [2, 3, 9, 4]}


@pytest.mark.parametrize(
    ("counts", "size", "sentence"),
    [
        ([2, 3], None, "run lengths add up to 5 pixels, not to 6 x 4"),
        ([30, -6], None, "run lengths add up to 24"),
        ("2é", None, "'é' is not a character of compressed run lengths"),
        ("h", None, "the compressed run lengths end within a number"),
        ([24], [6, 4], "run lengths for 6 x 4 pixels belong to an image of 4 x 6"),
        (["a"], None, "'a' is not a number"),
    ],
)
def test_invalid_run_lengths_are_an_error(counts: str | list[int], size: list[int] | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        coco_runs({"counts": counts, "size": [4, 6]}, size)


def test_runs_of_a_mask_that_covers_a_part_of_an_image() -> None:
    mask = np.random.default_rng(0).random((5, 4)) < 0.5
    shape = mask_runs(mask, left=3, top=2, height=9)
    assert (drawn(shape["rle"], 9, 10) == np.pad(mask, ((2, 2), (3, 3)))).all()


def test_the_text_is_canonical() -> None:
    shapes = [polygon([0, 1, 2.5, 1, 2, 3]), box([1, 2, 10, 20])]
    text = shapes_text(shapes)
    assert text == '[{"polygon":[[0,1],[2.5,1],[2,3]]},{"box":[1,2,11,22]}]'
    assert json.loads(text) == shapes
    assert shapes_text([]) is None


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ([0, 0, 1, 1], "a polygon has 4 values, not x and y of at least 3 corners"),
        ([0, 0, 1, 1, 2, 2, 3], "a polygon has 7 values"),
        ([0, 0, 1, 1, 2, float("nan")], "nan is not a number"),
        ([0, 0, 1, 1, 2, None], "None is not a number"),
    ],
)
def test_an_invalid_polygon_is_an_error(points: list[float], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        polygon(points)
    with pytest.raises(ValueError, match="a box has 3 values, not x, y, width and height"):
        box([1, 2, 3])
