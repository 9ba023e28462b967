"""Masks drawn from the outlines of defects, as annotation tools store them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from reconpatch.exceptions import ImageError

_Mask = npt.NDArray[np.bool_]


def draw(shapes: str, height: int, width: int) -> _Mask:
    """Return the mask of an image whose defects are given by their outlines.

    Coordinates are in pixels: the pixel in row r and column c extends from (c, r) to (c + 1, r + 1). A pixel is
    defective if its center is inside a shape. Parts of polygons and boxes outside of the image are ignored.

    Args:
        shapes: JSON list of objects. Each has one of the keys "polygon", [[x, y], ...] with at least three corners,
            whose inside is determined by the even-odd rule; "box", [x0, y0, x1, y1]; or "rle", [start, length, start,
            length, ...], 0-based runs of pixels column by column. With "relative": true, x and y of a polygon or a box
            are shares of the width and height.
        height: Height of the image in pixels, at least 1.
        width: Width of the image in pixels, at least 1.

    Returns:
        (height, width) bool; true at defective pixels.

    Raises:
        ImageError: The text does not have this form, or a run is not within the image.

    Examples:
        >>> from reconpatch.imaging.shapes import draw
        >>> draw('[{"box": [1, 0, 3, 1]}, {"rle": [1, 1]}]', height=2, width=3).astype(int)
        array([[0, 1, 1],
               [1, 0, 0]])
    """
    try:
        listed = json.loads(shapes)
    except (ValueError, RecursionError) as error:
        raise ImageError(
            f"The outlines of the defects are not valid JSON ({error}). Correct the annotations."
        ) from error
    if not isinstance(listed, list):
        raise ImageError("The outlines of the defects are not a JSON list. Correct the annotations.")
    mask = np.zeros((height, width), np.bool_)
    for number, shape in enumerate(listed, 1):
        try:
            _add(mask, shape)
        except (ValueError, TypeError) as error:
            sentence = f"Shape {number} of the outlines of the defects is malformed: {error}. Correct the annotations."
            raise ImageError(sentence) from error
    return mask


def _add(mask: _Mask, shape: Any) -> None:
    """Add one shape to a mask."""
    kinds = [kind for kind in _KINDS if kind in shape] if isinstance(shape, Mapping) else []
    if len(kinds) != 1 or shape.keys() - {kinds[0], "relative"}:
        raise ValueError(f"it must have one of the keys {', '.join(_KINDS)}, and can have relative")
    height, width = mask.shape
    if shape.get("relative"):
        if kinds == ["rle"]:
            raise ValueError("the runs of an rle cannot be relative")
        _KINDS[kinds[0]](mask, shape[kinds[0]], (float(width), float(height)))
    else:
        _KINDS[kinds[0]](mask, shape[kinds[0]], (1.0, 1.0))


def _add_box(mask: _Mask, values: Any, unit: tuple[float, float]) -> None:
    """Add a box [x0, y0, x1, y1]; `unit` is that of x and y in pixels."""
    x0, y0, x1, y1 = _numbers(values, 4)
    cols, rows = (
        slice(*(_first_center(value * scale, side) for value in sorted(ends)))
        for ends, scale, side in (((x0, x1), unit[0], mask.shape[1]), ((y0, y1), unit[1], mask.shape[0]))
    )
    mask[rows, cols] = True


def _first_center(position: float, side: int) -> int:
    """Return the first pixel whose center is at or after a position, 0 to `side`."""
    return min(max(math.ceil(position - 0.5), 0), side)


def _add_polygon(mask: _Mask, corners: Any, unit: tuple[float, float]) -> None:
    """Add a polygon [[x, y], ...]; `unit` is that of x and y in pixels."""
    if not isinstance(corners, Sequence) or len(corners) < 3:
        raise ValueError("a polygon must have at least three corners")
    points = np.array([_numbers(corner, 2) for corner in corners]) * unit
    height, width = mask.shape
    top, bottom = (_first_center(value, height) for value in (points[:, 1].min(), points[:, 1].max()))
    left, right = (_first_center(value, width) for value in (points[:, 0].min(), points[:, 0].max()))
    # A pixel is inside if the number of edges that cross its row to the left of its center is odd.
    crossings = np.zeros((bottom - top, right - left + 1), np.uint8)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        # An edge has its upper end and not its lower one, so that a corner counts once.
        rows = np.arange(_first_center(min(y0, y1), height), _first_center(max(y0, y1), height))
        x = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        cols = np.clip(np.ceil(x - 0.5), left, right).astype(np.int64)
        crossings[rows - top, cols - left] += 1
    inside = np.cumsum(crossings, axis=1, dtype=np.uint8)[:, :-1] % 2 == 1
    mask[top:bottom, left:right] |= inside


def _add_runs(mask: _Mask, values: Any, unit: tuple[float, float]) -> None:
    """Add runs of pixels [start, length, ...], column by column; `unit` is not used."""
    runs = _numbers(values, None)
    if len(runs) % 2:
        raise ValueError("an rle must have a length for every start")
    filled = np.zeros(mask.size, np.bool_)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        if start != int(start) or length != int(length) or min(start, length) < 0 or start + length > mask.size:
            raise ValueError(f"the run of {length:g} pixels from pixel {start:g} is not within {mask.size} pixels")
        filled[int(start) : int(start + length)] = True
    mask |= filled.reshape(mask.shape[::-1]).T


def _numbers(values: Any, count: int | None) -> list[float]:
    """Return values that are finite numbers, `count` of them unless it is None; raise ValueError otherwise."""
    is_list = isinstance(values, Sequence) and not isinstance(values, str) and count in (None, len(values))
    if not is_list or not all(_is_number(value) for value in values):
        raise ValueError(f"{_shown(values)} is not a list of {'' if count is None else f'{count} '}finite numbers")
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _shown(values: Any) -> str:
    text = repr(values)
    return text if len(text) <= 60 else f"{text[:57]}..."


_KINDS: Mapping[str, Callable[[_Mask, Any, tuple[float, float]], None]] = {
    "polygon": _add_polygon,
    "box": _add_box,
    "rle": _add_runs,
}
