"""Synthetic defects on good images, which allow a comparison of models if no labeled real defects exist.

For a patch or a scar, a part of the image is pasted at another position of the same image (Li et al. 2021, CutPaste). A
stain is a smooth random shape that is darker or brighter than the image. Metrics on synthetic defects do not predict
metrics on real defects; they only show whether a model still responds to changes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

KINDS = ("patch", "scar", "stain")
LEAST_SIDE = 16  # minimum side of an image, in pixels
_PLACES = 8  # random positions; the one with the most texture is used, because defects on a plain background are easy
_LEAST = 0.03  # minimum mean change of the defective pixels; a weaker defect is replaced
_TRIES = 20  # maximum number of attempts; the second half of them makes stains, which become stronger each time


def paste_defect(
    image: npt.NDArray[np.float32], seed: int, kind: str | None = None
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Paste one defect into a copy of an image.

    A defect that is not visible is replaced by a stronger one. On an image of a single color, the defect is a stain.

    Args:
        image: Good image, (H, W, 3) float32 in [0, 1], at least 16 pixels per side.
        seed: Seed of the kind, position, size and appearance of the defect; equal seeds give equal defects.
        kind: Kind of the defect, one of `KINDS`; None for a random kind.

    Returns:
        The image with the defect, (H, W, 3) float32 in [0, 1], and the mask of the changed pixels, (H, W) bool. The
        mask covers 0.1 to 10 % of the pixels.

    Raises:
        ValueError: The image has another shape or is too small, or the kind is unknown.
    """
    if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < LEAST_SIDE:
        raise ValueError(
            f"The image has shape {image.shape}; expected (H, W, 3), at least {LEAST_SIDE} pixels per side."
        )
    if kind is not None and kind not in KINDS:
        raise ValueError(f"The kind is '{kind}'; use one of {', '.join(KINDS)}.")
    random = np.random.default_rng(seed)
    drawn = kind or KINDS[random.integers(len(KINDS))]
    for attempt in range(_TRIES):
        if drawn == "stain" or attempt >= _TRIES // 2:
            changed, mask = _stain(image, random, attempt)
        else:
            changed, mask = _moved(image, random, scar=drawn == "scar")
        if mask.any() and np.abs(changed - image)[mask].mean() >= _LEAST:
            break
    return changed, mask


def _moved(
    image: npt.NDArray[np.float32], random: np.random.Generator, scar: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Fill a rotated rectangle with another part of the image, slightly brighter or darker; return image and mask."""
    height, width = image.shape[:2]
    area = height * width * random.uniform(*((0.002, 0.01) if scar else (0.005, 0.06)))
    aspect = random.uniform(6.0, 20.0) if scar else np.exp(random.uniform(-1.0, 1.0))
    length, breadth = np.sqrt(area * aspect), max(2.0, np.sqrt(area / aspect))
    row, col = _textured_position(image, random, int(np.sqrt(area)))
    angle = random.uniform(0.0, np.pi)
    down, right = np.mgrid[:height, :width].astype(np.float32) - np.array([row, col], np.float32)[:, None, None]
    along, across = (
        np.cos(angle) * right + np.sin(angle) * down,
        np.cos(angle) * down - np.sin(angle) * right,
    )
    mask = (np.abs(along) <= length / 2) & (np.abs(across) <= breadth / 2)
    shift = [int(random.integers(side // 4, 3 * side // 4 + 1)) for side in (height, width)]
    elsewhere = np.roll(image, shift, axis=(0, 1)) * np.float32(random.uniform(0.7, 1.3))
    changed = np.where(mask[:, :, None], np.clip(elsewhere, 0.0, 1.0), image)
    return changed.astype(np.float32), mask


def _stain(
    image: npt.NDArray[np.float32], random: np.random.Generator, attempt: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Shift the pixels of a smooth random shape toward black or white; return image and mask."""
    height, width = image.shape[:2]
    side = max(8, int(np.sqrt(height * width * random.uniform(0.01, 0.12))))
    row, col = _textured_position(image, random, side)
    noise = gaussian_filter(random.normal(size=(height, width)), side / 8)
    down, right = np.mgrid[:height, :width] - np.array([row, col])[:, None, None]
    near = np.exp(-(down**2 + right**2) / (2 * (side / 3) ** 2))
    shape = noise / noise.std() + 4.0 * near
    most = int(0.08 * height * width)
    mask = (shape > 3.0) & (shape > np.partition(shape.ravel(), -most)[-most])
    opacity = np.float32(min(1.0, random.uniform(0.3, 0.8) + 0.1 * attempt))
    dark = image[mask].mean() > 0.5 if mask.any() and random.random() < 0.7 else random.random() < 0.5
    target = np.float32(random.uniform(0.0, 0.3) if dark else random.uniform(0.7, 1.0))
    changed = np.where(mask[:, :, None], image + opacity * (target - image), image)
    return changed.astype(np.float32), mask


def _textured_position(image: npt.NDArray[np.float32], random: np.random.Generator, side: int) -> tuple[int, int]:
    """Return the position with the largest standard deviation around it, out of `_PLACES` random positions."""
    height, width = image.shape[:2]
    margin = max(1, side // 4)
    best, position = -1.0, (height // 2, width // 2)
    for _ in range(_PLACES):
        row = int(random.integers(min(margin, height // 2), max(height - margin, height // 2 + 1)))
        col = int(random.integers(min(margin, width // 2), max(width - margin, width // 2 + 1)))
        around = image[max(0, row - margin) : row + margin, max(0, col - margin) : col + margin, 0]
        if around.std() > best:
            best, position = float(around.std()), (row, col)
    return position
