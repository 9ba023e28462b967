"""Patch features of the study's categories, extracted once and kept in files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.walk import Image
from reconpatch.backbones import Backbone, load_backbone
from reconpatch.defects import paste_defect
from reconpatch.geometry import Geometry
from reconpatch.images import preprocess, read_image
from reconpatch.maps import to_original
from reconpatch.patches import extract_features
from study.data import Category, digest

LITE = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
_BATCH = 16


@dataclass(frozen=True)
class View:
    """How a network looks at a picture.

    Attributes:
        frame: 'crop' is the paper's centre crop; 'whole' resizes all of the picture to a square; 'padded' first makes
            it one by repeating its border, so that its aspect is kept.
    """

    backbone: str = LITE[0]
    size: int = 224
    frame: str = "crop"
    levels: tuple[int, ...] = (2, 3)
    patch_size: int = 3
    aggregation: str = "concat"


@dataclass(frozen=True)
class Features:
    """One split's patch features.

    Attributes:
        values: (n, H·W, C') float16, mapped from a file.
        grid: (H, W).
        shapes: (height, width) of each picture.
        seconds_per_image: what reading, resizing and the network took, all threads together.
    """

    values: npt.NDArray[np.float16]
    grid: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]
    seconds_per_image: float


def features(
    category: Category, view: View, images: Sequence[Image], folder: Path, *, defects: bool = False
) -> Features:
    """The features of some of a category's images, from their file or made now; with `defects`, of copies of them
    with one pasted defect each."""
    paths = [image.image_path for image in images]
    name = digest(json.dumps([category.name, asdict(view), paths, *(["defects"] if defects else [])]))[:24]
    values, story = folder / f"{name}.npy", folder / f"{name}.json"
    if not story.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _extract(category, view, images, defects, values, story)
    told = json.loads(story.read_text())
    shapes = tuple((height, width) for height, width in told["shapes"])
    return Features(np.load(values, mmap_mode="r"), tuple(told["grid"]), shapes, told["seconds"] / len(shapes))


def _extract(category: Category, view: View, images: Sequence[Image], defects: bool, values: Path, story: Path) -> None:
    backbone = _backbone(view.backbone, view.levels, view.size)
    shapes: list[tuple[int, int]] = []
    started = time.perf_counter()
    stored = None
    grid = (0, 0)

    def read(image: Image) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
        picture = read_image(category.read(image))
        if defects:
            picture, _ = paste_defect(picture, int(digest(image.image_path)[:12], 16))
        padded = _pad(picture) if view.frame == "padded" else picture
        return preprocess(padded, geometry(view, *padded.shape[:2])).numpy(), picture.shape[:2]

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(images), _BATCH):
            batch = list(pool.map(read, images[start : start + _BATCH]))
            shapes += [shape for _, shape in batch]
            found, grid = extract_features(
                backbone, np.stack([pixels for pixels, _ in batch]), view.patch_size, view.aggregation
            )
            if stored is None:
                shape = (len(images), *found.shape[1:])
                stored = np.lib.format.open_memmap(values, "w+", np.float16, shape)
            stored[start : start + len(found)] = found
    seconds = time.perf_counter() - started
    story.write_text(json.dumps({"grid": grid, "shapes": shapes, "seconds": seconds}))


@lru_cache(maxsize=3)
def _backbone(name: str, levels: tuple[int, ...], size: int) -> Backbone:
    return load_backbone(name, levels, image_size=size)


def geometry(view: View, height: int, width: int) -> Geometry:
    return Geometry.of(height, width, view.size, full_frame=view.frame != "crop")


def on_picture(network_map: npt.NDArray[np.float32], view: View, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """An anomaly map on the picture's own pixels; NaN where the view did not look."""
    height, width = shape
    if view.frame != "padded":
        return np.asarray(to_original(network_map, geometry(view, height, width)))
    side = max(shape)
    top, left = (side - height) // 2, (side - width) // 2
    whole = np.asarray(to_original(network_map, geometry(view, side, side)))
    return whole[top : top + height, left : left + width]


def _pad(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A square: the border repeated on the shorter side."""
    height, width = picture.shape[:2]
    side = max(height, width)
    margins = [((side - length) // 2, side - length - (side - length) // 2) for length in (height, width)]
    return np.pad(picture, [*margins, (0, 0)], mode="edge")
