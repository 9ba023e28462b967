"""Rule that decides which pixels of a mask are defective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconpatch.arrays import Array

_MOST_VALUES = 16  # distinct values of a mask whose values are classes; with more of them, they are gray levels
_MANY_VALUES = 8  # with more distinct values than this, each must mark several pixels, or they are noise
_PIXELS_PER_VALUE = 4
_IGNORE = 255  # value of a border to ignore, as in PASCAL VOC
_LARGEST_CLASS = 31  # beside 255, for 255 to be a border to ignore
_PIECE = 1 << 18  # values that are sorted at a time


@dataclass(frozen=True)
class Mask:
    """A mask of defects.

    Attributes:
        defective: (H, W) bool; true at defective pixels.
        ignored: (H, W) bool; true at pixels that are neither defective nor good. Pixel metrics leave them out.
        values: Distinct values of the mask in ascending order, if there are at most 16; empty if there are more.
    """

    defective: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_]
    values: tuple[float, ...]


def mask_of(values: Array, *, bits: int, lossy: bool) -> Mask:
    """Return the defective pixels of a mask with the given values.

    - In a mask with a single value, no pixel is defective if the value is 0; otherwise, all are.
    - In a mask that is compressed with loss, has more than 16 values, or has more than 8 values with less than 4 pixels
      each on average (noise around a small spot; the background is not counted), the values above half of the largest
      possible one are defective. The largest possible value is that of the bit depth, or the maximum of the mask if its
      values are floating-point.
    - In other masks, a value is defective if it is above that half, or if one of its pixels has no larger value among
      its 8 neighbors. Class indices have such a pixel; the gray levels of a soft edge do not. The background is never
      defective: it is the value 0, or, if the mask has no 0, the most frequent value. If 255 occurs and all other
      values are class indices of at most 31, at least one of which is not the background, 255 marks pixels to ignore.

    Args:
        values: (H, W) values of the mask, integers or floating point, at least one. NaN counts as 0; values below 0 are
            never defective.
        bits: Bits per value that the file stores, at least 1; unused if the values are floating-point.
        lossy: Whether the compression can change values.

    Returns:
        The defective pixels, the ignored pixels and the distinct values.
    """
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), values.dtype.type(0), values)
    found = _distinct(values)
    names = () if found is None else tuple(float(value) for value in found)
    none = np.zeros(values.shape, np.bool_)
    if len(names) == 1:
        return Mask(np.full(values.shape, names[0] > 0), none, names)
    half = _half(values, bits)
    if found is None or lossy or _is_noise(values, found):
        return Mask(values > half, none, names)
    background = _background(values, found)
    ignored = values == _IGNORE if _has_border(found, background) else none
    # A class can be so thin that all of its pixels touch the border; the border does not make them a soft edge.
    levels = np.where(ignored, values.dtype.type(0), values) if ignored.any() else values
    whole = _distinct(levels[_is_peak(levels)])
    defective = none.copy()
    for value in found:
        if value > 0 and value != background and (value > half or (whole is not None and value in whole)):
            defective |= levels == value
    return Mask(defective, ignored, names)


def _half(values: Array, bits: int) -> float:
    """Return half of the largest possible value."""
    if values.dtype.kind == "f":
        return float(np.max(values, where=np.isfinite(values), initial=0.0)) / 2
    return float(2 ** (bits - (values.dtype.kind == "i")) - 1) / 2


def _distinct(values: Array) -> Array | None:
    """Return the distinct values in ascending order, (n,); None if there are more than `_MOST_VALUES`."""
    flat = values.reshape(-1)
    found = flat[:0]
    for start in range(0, len(flat), _PIECE):
        found = np.union1d(found, flat[start : start + _PIECE])
        if len(found) > _MOST_VALUES:
            return None
    return found


def _background(values: Array, found: Array) -> float:
    """Return 0 if it occurs, else the most frequent one of the distinct values; the smallest one if several are."""
    if 0 in found:
        return 0.0
    return float(found[np.argmax([np.count_nonzero(values == value) for value in found])])


def _is_noise(values: Array, found: Array) -> bool:
    """Return whether the values are too many for the number of pixels that are not background."""
    if len(found) <= _MANY_VALUES:
        return False
    marked = np.count_nonzero(values != _background(values, found))
    return bool(marked < _PIXELS_PER_VALUE * (len(found) - 1))


def _has_border(found: Array, background: float) -> bool:
    """Return whether 255 marks pixels to ignore: all other values are class indices, not only the background."""
    classes = found[found != _IGNORE]
    return len(classes) < len(found) and bool((classes <= _LARGEST_CLASS).all() and (classes != background).any())


def _is_peak(values: Array) -> npt.NDArray[np.bool_]:
    """Return whether each pixel has no larger value among its 8 neighbors, (H, W) bool."""
    rows = values.copy()
    np.maximum(rows[1:], values[:-1], out=rows[1:])
    np.maximum(rows[:-1], values[1:], out=rows[:-1])
    largest = rows.copy()
    np.maximum(largest[:, 1:], rows[:, :-1], out=largest[:, 1:])
    np.maximum(largest[:, :-1], rows[:, 1:], out=largest[:, :-1])
    return np.asarray(largest == values)
