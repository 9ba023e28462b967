"""Results made visible: small pictures, coloured maps, outlines of regions, close-ups of a place. For eyes alone."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

# Its brightness alone says how high a value is: nobody has to tell red from green.
_INFERNO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]


def small_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side is at most `side`; never enlarged, at least one pixel."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def small(pixels: npt.NDArray[np.float32], side: int) -> npt.NDArray[np.uint8]:
    """A picture for the screen.

    Args:
        pixels: (H, W, 3) in [0, 1].
        side: of the result, at most.

    Returns:
        (h, w, 3) uint8, as `small_size` says; every pixel the mean of those it stands for.
    """
    height, width = small_size(pixels.shape[0], pixels.shape[1], side)
    resized = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=cv2.INTER_AREA)
    return _eight_bits(np.asarray(resized, np.float32))


def coloured(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.uint8]:
    """A map in colours to be laid over its picture: dark and clear at `low`, light and opaque at `high` and above.

    Args:
        values: (H, W); NaN is as clear as `low`.

    Returns:
        (H, W, 4) uint8, red, green, blue and opacity.

    Raises:
        ValueError: `high` is not above `low`.
    """
    if not high > low:
        raise ValueError(f"A colour scale from {low} to {high} has no room; its end must be above its start.")
    share = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0.0, 1.0)
    level = np.rint(share * 255.0).astype(np.uint8)
    return np.concatenate([_INFERNO[level], level[:, :, None]], axis=2)


def outlines(mask: npt.NDArray[np.bool_], tolerance: float = 0.0) -> list[npt.NDArray[np.float64]]:
    """The borders of a mask's regions and of their holes, a sixth of a pixel inside the pixels' edges.

    Args:
        mask: (H, W).
        tolerance: pixels by which a border may be off, to be drawn with fewer corners.

    Returns:
        Closed polygons, (n, 2) float64 of (column, row); pixel i covers [i, i + 1).
    """
    # OpenCV's contours go through pixels' centres: on nine pixels in place of one, these are near the edges.
    finer = np.pad(np.repeat(np.repeat(mask, 3, axis=0), 3, axis=1), 1).astype(np.uint8)
    found, _ = cv2.findContours(finer, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for points in found:
        corners = cv2.approxPolyDP(points, max(3.0 * tolerance, 1.0), closed=True)[:, 0]
        if len(corners) >= 3:
            polygons.append(np.asarray((corners - 0.5) / 3.0, np.float64))
    return polygons


def close_up(pixels: npt.NDArray[np.float32], row: int, col: int, side: int, size: int) -> npt.NDArray[np.uint8]:
    """The place around a pixel, from the picture's own resolution.

    Args:
        pixels: (H, W, 3) in [0, 1].
        row, col: of the pixel in the middle; near a border the window moves inwards.
        side: of the window, in pixels of the picture; what lies beyond a smaller picture is grey.
        size: of the result.

    Returns:
        (size, size, 3) uint8.
    """
    height, width = pixels.shape[:2]
    top, left = (_start(middle, side, length) for middle, length in ((row, height), (col, width)))
    window = np.full((side, side, 3), 0.5, np.float32)
    seen = pixels[max(top, 0) : top + side, max(left, 0) : left + side]
    place = max(-top, 0), max(-left, 0)
    window[place[0] : place[0] + seen.shape[0], place[1] : place[1] + seen.shape[1]] = seen
    kind = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return _eight_bits(np.asarray(cv2.resize(window, (size, size), interpolation=kind), np.float32))


def counts(scores: npt.NDArray[np.float64], low: float, high: float, bins: int) -> npt.NDArray[np.int64]:
    """How many scores fall into each of `bins` equal steps from low to high; those beyond count in the outermost.

    Args:
        scores: (n,) finite.
        low, high: ends of the first and of the last step.
        bins: at least 1.

    Returns:
        (bins,) int64, n in all.
    """
    found, _ = np.histogram(np.clip(scores, low, high), bins=bins, range=(low, max(high, low + 1e-9)))
    return np.asarray(found, np.int64)


def _start(middle: int, side: int, length: int) -> int:
    """First pixel of a window; centred where the picture is smaller than the window."""
    if length <= side:
        return -((side - length) // 2)
    return min(max(middle - side // 2, 0), length - side)


def _eight_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(np.clip(values, 0.0, 1.0) * 255.0), np.uint8)
