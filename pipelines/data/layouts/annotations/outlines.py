"""Outlines of annotation files as JSON text of `reconpatch.imaging.shapes`, and their run-length encodings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Shape = Mapping[str, Any]  # {"polygon": [[x, y], ...]}, {"box": [x0, y0, x1, y1]} or {"rle": [start, length, ...]}


def shapes_text(shapes: Iterable[Shape]) -> str | None:
    """Return shapes as canonical JSON.

    Args:
        shapes: Shapes of one image.

    Returns:
        The JSON text; None if there is no shape.
    """
    listed = list(shapes)
    return json.dumps(listed, sort_keys=True, separators=(",", ":")) if listed else None


def polygon(points: Sequence[Any]) -> Shape:
    """Return a polygon.

    Args:
        points: Corners as x, y, x, y, ..., in pixels; at least three.

    Returns:
        The shape.

    Raises:
        ValueError: There are fewer than three corners, or a value is not a finite number.
    """
    if len(points) < 6 or len(points) % 2:
        raise ValueError(f"a polygon has {len(points)} values, not x and y of at least 3 corners")
    values = numbers(points)
    return {"polygon": [list(corner) for corner in zip(values[::2], values[1::2], strict=True)]}


def box(values: Sequence[Any]) -> Shape:
    """Return a box.

    Args:
        values: x, y, width and height, in pixels.

    Returns:
        The shape.

    Raises:
        ValueError: There are not four values, or a value is not a finite number.
    """
    if len(values) != 4:
        raise ValueError(f"a box has {len(values)} values, not x, y, width and height")
    x, y, width, height = numbers(values)
    return {"box": [x, y, x + width, y + height]}


def numbers(values: Sequence[Any]) -> list[float]:
    """Return values that are finite numbers, unchanged.

    Args:
        values: Values from a JSON file.

    Returns:
        The values.

    Raises:
        ValueError: A value is not a finite number.
    """
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{value!r} is not a number")
    return list(values)


def coco_runs(encoded: Mapping[str, Any], size: Sequence[Any] | None = None) -> Shape:
    """Return the run-length encoding of COCO: lengths of runs along the columns, the first of them outside the area.

    Args:
        encoded: `counts`, a list of lengths or their compressed text, and `size`, [height, width].
        size: [height, width] of the image; None if it is not known.

    Returns:
        The shape.

    Raises:
        ValueError: The lengths do not add up to the size, or the size is not the image's.
    """
    counts, (height, width) = encoded["counts"], encoded["size"]
    lengths = _decompressed(counts) if isinstance(counts, str) else [int(value) for value in numbers(counts)]
    if sum(lengths) != height * width or min(lengths) < 0:
        raise ValueError(f"run lengths add up to {sum(lengths)} pixels, not to {width} x {height}")
    if size is not None and [height, width] != list(size):
        raise ValueError(f"run lengths for {width} x {height} pixels belong to an image of {size[1]} x {size[0]}")
    runs, start = [], 0
    for number, length in enumerate(lengths):
        if number % 2 and length:
            runs += [start, length]
        start += length
    return {"rle": runs}


def _decompressed(text: str) -> list[int]:
    """Return the run lengths in a compressed text of COCO.

    A number is written in groups of five bits, lowest first, as characters from '0' on; bit 5 means that another group
    follows, and bit 4 of the last group is the sign. From the fourth number on, the number is the difference to the
    length two places before.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - ord("0")
        if not 0 <= group < 64:
            raise ValueError(f"{character!r} is not a character of compressed run lengths")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("the compressed run lengths end within a number")
    return lengths


def mask_runs(mask: np.ndarray, *, left: int, top: int, height: int) -> Shape:
    """Return the runs of a mask that covers a part of an image.

    Args:
        mask: (h, w) bool, true at defective pixels.
        left: Column of the image at which the mask begins.
        top: Row of the image at which the mask begins.
        height: Height of the image in pixels.

    Returns:
        The shape.
    """
    runs: list[int] = []
    for column in range(mask.shape[1]):
        edges = np.flatnonzero(np.diff(mask[:, column].astype(np.int8), prepend=0, append=0))
        for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            runs += [(left + column) * height + top + first, end - first]
    return {"rle": runs}
