"""Images for reports: thumbnails, colored anomaly maps, outlines of regions, close-ups, and histograms of scores."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import contourpy
import numpy as np
import numpy.typing as npt
import torch
from scipy.interpolate import CubicSpline
from scipy.sparse import csr_array
from torch.nn.functional import interpolate

from reconpatch.deprecated_arguments import renamed_arguments

# Every 15th of the 256 colors of the color map inferno of matplotlib, from black through red to pale yellow. In it the
# brightness alone encodes the value, so it is readable without color vision. The other colors are interpolated by cubic
# splines; no value differs from that of matplotlib by more than 2.
_ANCHORS = bytes.fromhex(
    "000004 0a0722 1e0c45 380962 510e6c 69166e 801f6c 982766 b0315b "
    "c63d4d d94d3d e9612b f47918 fa9407 fcb014 f8cd37 f2ea69 fcffa4"
)
_SPLINE = CubicSpline(np.arange(0, 256, 15), np.frombuffer(_ANCHORS, np.uint8).reshape(-1, 3))
_INFERNO = np.asarray(np.rint(np.clip(_SPLINE(np.arange(256)), 0, 255)), np.uint8)

_SMALL = 4.0  # tolerances; a thin polygon that is not longer is left out, because noisy masks have thousands of them
_ROUNDING = 1e-6  # pixels; the distance between points on a straight border, which is not exactly 0


def small_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return the height and width of a thumbnail: not larger than the image, and at least 1 pixel each.

    Args:
        height: Height of the image, in pixels, at least 1.
        width: Width of the image, in pixels, at least 1.
        side: Maximum length of the longer side of the thumbnail, in pixels, at least 1.
    """
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def small(pixels: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.uint8]:
    """Return a thumbnail of an image.

    Args:
        pixels: Image, (H, W, 3) float32 in [0, 1].
        side: Maximum length of the longer side of the thumbnail, in pixels, at least 1.

    Returns:
        (h, w, 3) uint8 of the size that `small_size` returns. Each pixel is the mean of the pixels that it covers; a
        pixel that it covers in part counts with the covered share.
    """
    return _eight_bits(_means(pixels, *small_size(pixels.shape[0], pixels.shape[1], side)))


def colored(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return a colored overlay of an anomaly map: dark and transparent at `low`, bright and opaque at `high`.

    Args:
        values: Anomaly map, (H, W) float32. Values outside of [low, high] are clipped; NaN is treated as `low`.
        low: Value at the start of the color scale.
        high: Value at the end of the color scale, above `low`.

    Returns:
        (H, W, 4) uint8: red, green and blue of the color map inferno, and opacity.

    Raises:
        ValueError: `high` is not above `low`.
    """
    if not high > low:
        raise ValueError(f"The color scale is from {low} to {high}; its end must be above its start.")
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0.0, 1.0)
    level = np.rint(share * 255.0).astype(np.uint8)
    return np.concatenate([_INFERNO[level], level[:, :, None]], axis=2)


def outlines(mask: npt.NDArray[np.bool_], tolerance: float = 0.0) -> list[npt.NDArray[np.float64]]:
    """Return the borders of the regions of a mask and of the holes in them.

    Args:
        mask: (H, W) bool, true inside the regions.
        tolerance: Largest deviation from the polygon with all corners, in pixels, at least 0. Larger values give fewer
            corners.

    Returns:
        Closed polygons, (n, 2) float64 each with n at least 3, with the column and row of every corner; pixel i covers
        [i, i + 1). The polygons are a sixth of a pixel inside the edges of the regions, and cut off their corners.
        Regions that touch only at a corner have separate polygons. A region or hole that is thinner than the tolerance
        and at most four times as long is left out.
    """
    # Contours run between pixel centers. In a mask of zeros and ones, the level 2/3 is a third of a pixel from the
    # centers inside. The border of zeros, which closes the polygons at the edges of the image, shifts centers by 1.
    values = np.pad(mask, 1).astype(np.float64)
    contours = contourpy.contour_generator(z=values, name="serial", line_type="Separate").lines(2 / 3)
    simplified = (
        _simplified(np.asarray(contour, np.float64).view(np.complex128)[:, 0], tolerance) for contour in contours
    )
    return [np.stack([corners.real, corners.imag], axis=1) - 0.5 for corners in simplified if len(corners)]


@renamed_arguments({})
def close_up(pixels: npt.NDArray[np.float32], row: int, col: int, *, side: int, size: int) -> npt.NDArray[np.uint8]:
    """Return a square window of an image around a pixel, resized to a given size.

    Args:
        pixels: Image, (H, W, 3) float32 in [0, 1].
        row: Row of the pixel in the center of the window. Near the border of the image, the window is moved inward.
        col: Column of the pixel in the center of the window. Near the border, the window is moved inward.
        side: Side of the window, in pixels of the image, at least 1. The parts of the window outside of a smaller
            image are gray.
        size: Side of the result, in pixels, at least 1.

    Returns:
        (size, size, 3) uint8. Each pixel is the mean of the pixels that it covers if the window is reduced, and is
        interpolated bilinearly if it is enlarged.
    """
    height, width = pixels.shape[:2]
    top, left = (_start(middle, side, length) for middle, length in ((row, height), (col, width)))
    window = np.full((side, side, 3), 0.5, np.float32)
    visible = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
    first_row, first_col = max(-top, 0), max(-left, 0)
    window[first_row : first_row + visible.shape[0], first_col : first_col + visible.shape[1]] = visible
    if side > size:
        return _eight_bits(_means(window, size, size))
    enlarged = interpolate(torch.from_numpy(window).permute(2, 0, 1)[None], size=(size, size), mode="bilinear")[0]
    return _eight_bits(enlarged.permute(1, 2, 0).numpy())


def counts(scores: npt.NDArray[np.float64], low: float, high: float, bins: int) -> npt.NDArray[np.int64]:
    """Return a histogram of scores with bins of equal width; scores outside of the range count in the nearest bin.

    Args:
        scores: Anomaly scores, (n,) float64, finite.
        low: Lower edge of the first bin.
        high: Upper edge of the last bin, at least `low`.
        bins: Number of bins, at least 1.

    Returns:
        (bins,) int64 with sum n.
    """
    histogram, _ = np.histogram(np.clip(scores, low, high), bins=bins, range=(low, max(high, low + 1e-9)))
    return np.asarray(histogram, np.int64)


def _start(middle: int, side: int, length: int) -> int:
    """Return the first row or column of a window; it is negative if the window is larger than the image."""
    if length <= side:
        return -((side - length) // 2)
    return min(max(middle - side // 2, 0), length - side)


def _means(pixels: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Return an image reduced to (height, width, 3), whose pixels are the means of the pixels that they cover."""
    # The three channels of a gray image share their memory, so one is reduced instead of three.
    stored = pixels[:, :, :1] if pixels.strides[2] == 0 else pixels
    rows, cols, channels = stored.shape
    lower = (_shares(rows, height) @ stored.reshape(rows, -1)).reshape(height, cols, channels)
    reduced = _shares(cols, width) @ lower.swapaxes(0, 1).reshape(cols, -1)
    return np.broadcast_to(reduced.reshape(width, height, channels).swapaxes(0, 1), (height, width, 3))


@lru_cache(maxsize=16)
def _shares(length: int, parts: int) -> csr_array:
    """Return the share of each pixel of a line in the mean of each of equal parts, (parts, length) float32."""
    starts = np.arange(parts)[:, None] * (length / parts)
    pixels = np.arange(length)
    overlaps = np.minimum(starts + length / parts, pixels + 1) - np.maximum(starts, pixels)
    return csr_array(np.maximum(overlaps * (parts / length), 0).astype(np.float32))


def _simplified(corners: npt.NDArray[np.complex128], tolerance: float) -> npt.NDArray[np.complex128]:
    """Return a closed polygon with fewer corners, by the algorithm of Douglas and Peucker.

    Args:
        corners: (n,) complex128 corners, column + row·i, with the first one again at the end.
        tolerance: Largest distance of a removed corner from the new polygon, at least 0.

    Returns:
        At least 3 corners; none if the polygon is left out because it is small and thin.
    """
    lengths = np.abs(corners - corners[0])
    opposite = int(lengths.argmax())
    widths = _distances(corners, corners[0], corners[opposite])
    aside = int(widths.argmax())
    if widths[aside] <= tolerance and lengths[opposite] <= _SMALL * tolerance:
        return corners[:0]
    kept = [0, *sorted((opposite, aside)), len(corners) - 1]
    pending = list(pairwise(kept))
    while pending:
        first, last = pending.pop()
        if last - first < 2:
            continue
        distances = _distances(corners[first : last + 1], corners[first], corners[last])
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance + _ROUNDING:
            kept.append(first + farthest)
            pending += [(first, first + farthest), (first + farthest, last)]
    return corners[sorted(kept)[:-1]]


def _distances(points: npt.NDArray[np.complex128], start: complex, end: complex) -> npt.NDArray[np.float64]:
    """Return the distances of points from the segment between two different points, all as complex numbers."""
    moved = (points - start) / (end - start)  # the segment is that from 0 to 1
    return np.asarray(np.abs(moved - np.minimum(np.maximum(moved.real, 0.0), 1.0)) * abs(end - start))


def _eight_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Convert values in [0, 1] to 8 bits; values outside are clipped."""
    return np.asarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0), np.uint8)
