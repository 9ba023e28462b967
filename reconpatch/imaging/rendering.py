"""Images for people to look at: thumbnails, colored anomaly maps, outlines of regions, close-ups."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from reconpatch.deprecated_arguments import renamed_arguments

# A map whose brightness alone encodes the value, readable without color vision.
_INFERNO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]


def small_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Return the height and width of a thumbnail; never larger than the image, at least one pixel.

    Args:
        height: height of the image, in pixels.
        width: width of the image, in pixels.
        side: largest length of the longer side, in pixels.
    """
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def small(pixels: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.uint8]:
    """Return a thumbnail of an image.

    Args:
        pixels: (H, W, 3) in [0, 1].
        side: largest length of the longer side of the result, in pixels.

    Returns:
        (h, w, 3) uint8 of the size `small_size` returns; every pixel is the mean of the pixels it covers.
    """
    height, width = small_size(pixels.shape[0], pixels.shape[1], side)
    resized = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    return _eight_bits(np.asarray(resized, np.float32))


def colored(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Color an anomaly map as an overlay: dark and transparent at `low`, bright and opaque at `high` and above.

    Args:
        values: (H, W); NaN is as transparent as `low`.
        low: value at the start of the color scale.
        high: value at the end of the color scale.

    Returns:
        (H, W, 4) uint8: red, green, blue and opacity.

    Raises:
        ValueError: `high` is not above `low`.
    """
    if not high > low:
        raise ValueError(f"The color scale is from {low} to {high}; its end must be above its start.")
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0.0, 1.0)
    level = np.rint(share * 255.0).astype(np.uint8)
    return np.concatenate([_INFERNO[level], level[:, :, None]], axis=2)


def outlines(mask: npt.NDArray[np.bool_], tolerance: float = 0.0) -> list[npt.NDArray[np.float64]]:
    """Return the borders of a mask's regions and of their holes, a sixth of a pixel inside the pixels' edges.

    Args:
        mask: (H, W) bool.
        tolerance: largest deviation of a border, in pixels; larger values give polygons with fewer corners.

    Returns:
        Closed polygons, (n, 2) float64 of (column, row); pixel i covers [i, i + 1).
    """
    # OpenCV's contours pass through the pixels' centers: with nine pixels for each one, those are near the edges.
    finer = np.pad(np.repeat(np.repeat(mask, 3, axis=0), 3, axis=1), 1).astype(np.uint8)
    contours, _ = cv2.findContours(finer, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for points in contours:
        corners = cv2.approxPolyDP(points, max(3.0 * tolerance, 1.0), closed=True)[:, 0]
        if len(corners) >= 3:
            polygons.append(np.asarray((corners - 0.5) / 3.0, np.float64))
    return polygons


@renamed_arguments({})
def close_up(pixels: npt.NDArray[np.float32], row: int, col: int, *, side: int, size: int) -> npt.NDArray[np.uint8]:
    """Return a square window around a pixel, at the image's own resolution.

    Args:
        pixels: (H, W, 3) in [0, 1].
        row: row of the pixel in the middle; near a border the window moves inwards.
        col: column of the pixel in the middle, likewise.
        side: side of the window, in pixels of the image; where the image is smaller, the rest is gray.
        size: side of the result, in pixels.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = pixels.shape[:2]
    top, left = (_start(middle, side, length) for middle, length in ((row, height), (col, width)))
    window = np.full((side, side, 3), 0.5, np.float32)
    visible = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
    first_row, first_col = max(-top, 0), max(-left, 0)
    window[first_row : first_row + visible.shape[0], first_col : first_col + visible.shape[1]] = visible
    kind = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return _eight_bits(np.asarray(cv2.resize(window, (size, size), interpolation=kind), np.float32))


def counts(scores: npt.NDArray[np.float64], low: float, high: float, bins: int) -> npt.NDArray[np.int64]:
    """Return a histogram of scores; scores outside of the range count in the first or last bin.

    Args:
        scores: (n,) finite.
        low: lower edge of the first bin.
        high: upper edge of the last bin.
        bins: number of bins, at least 1.

    Returns:
        (bins,) int64 with sum n.
    """
    histogram, _ = np.histogram(np.clip(scores, low, high), bins=bins, range=(low, max(high, low + 1e-9)))
    return np.asarray(histogram, np.int64)


def _start(middle: int, side: int, length: int) -> int:
    """Return the first pixel of a window; the image is centered in a window that is larger."""
    if length <= side:
        return -((side - length) // 2)
    return min(max(middle - side // 2, 0), length - side)


def _eight_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0), np.uint8)
