"""Images for reports: thumbnails, colored anomaly maps, outlines of regions, close-ups, and histograms of scores."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from reconpatch.deprecated_arguments import renamed_arguments

# In this color map the brightness alone encodes the value, so it is readable without color vision.
_INFERNO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]


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
        (h, w, 3) uint8 of the size that `small_size` returns; each pixel is the mean of the pixels that it covers.
    """
    height, width = small_size(pixels.shape[0], pixels.shape[1], side)
    resized = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    return _eight_bits(np.asarray(resized, np.float32))


def colored(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Return a colored overlay of an anomaly map: dark and transparent at `low`, bright and opaque at `high`.

    Args:
        values: Anomaly map, (H, W) float32. Values outside of [low, high] are clipped; NaN is treated as `low`.
        low: Value at the start of the color scale.
        high: Value at the end of the color scale, above `low`.

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
    """Return the borders of the regions of a mask and of the holes in them.

    Args:
        mask: (H, W) bool, true inside the regions.
        tolerance: Largest deviation from the exact border, in pixels, at least 0. Larger values give fewer corners.

    Returns:
        Closed polygons, (n, 2) float64 each, with the column and row of every corner; pixel i covers [i, i + 1). The
        polygons are a sixth of a pixel inside the edges of the regions.
    """
    # OpenCV's contours pass through pixel centers. After each pixel is divided into 3 x 3 pixels, the outermost centers
    # are close to the edges of the original pixel.
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
    """Return a square window of an image around a pixel, resized to a given size.

    Args:
        pixels: Image, (H, W, 3) float32 in [0, 1].
        row: Row of the pixel in the center of the window. Near the border of the image, the window is moved inward.
        col: Column of the pixel in the center of the window. Near the border, the window is moved inward.
        side: Side of the window, in pixels of the image, at least 1. The parts of the window outside of a smaller
            image are gray.
        size: Side of the result, in pixels, at least 1.

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


def _eight_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Convert values in [0, 1] to 8 bits; values outside are clipped."""
    return np.asarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0), np.uint8)
