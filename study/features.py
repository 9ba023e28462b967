"""Patch features of the study's categories, extracted once and stored in files."""

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

from pipelines.data.records import ImageRecord
from reconpatch.features.backbones import Backbone, load_backbone
from reconpatch.features.patches import extract_features
from reconpatch.imaging.anomaly_maps import to_original
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image
from reconpatch.imaging.synthetic_defects import paste_defect
from study.data import Category, digest
from study.keys import file_name

LITE = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
_BATCH = 16


@dataclass(frozen=True)
class FeatureSpec:
    """How patch features are made from an image.

    Attributes:
        backbone: timm's name.
        size: of the network's input, in pixels.
        frame: 'crop' is the paper's center crop; 'whole' resizes the whole image to a square; 'padded' first pads it to
            a square by repeating its border, which keeps the aspect ratio.
        layers: timm's `out_indices`.
        patch_size: s.
        aggregation: 'concat' or 'patchcore'.
    """

    backbone: str = LITE[0]
    size: int = 224
    frame: str = "crop"
    layers: tuple[int, ...] = (2, 3)
    patch_size: int = 3
    aggregation: str = "concat"


@dataclass(frozen=True)
class Features:
    """Patch features of some images.

    Attributes:
        values: (n, H·W, C') float16, memory-mapped.
        grid: (H, W).
        shapes: (height, width) of each image.
        seconds_per_image: time of reading, resizing and the network, all threads together.
    """

    values: npt.NDArray[np.float16]
    grid: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]
    seconds_per_image: float


@dataclass(frozen=True)
class FeatureStore:
    """A category's patch features, extracted when they are first requested.

    Attributes:
        category: whose images.
        folder: of the files.
    """

    category: Category
    folder: Path

    def features(self, spec: FeatureSpec, images: Sequence[ImageRecord], *, defects: bool = False) -> Features:
        """Return the features of some of the category's images.

        Args:
            spec: how the features are made.
            images: of the category.
            defects: whether to use copies of the images with one pasted defect each.
        """
        paths = [image.image_path for image in images]
        name = file_name([self.category.name, asdict(spec), paths, *(["defects"] if defects else [])])
        values, summary = self.folder / f"{name}.npy", self.folder / f"{name}.json"
        if not summary.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            summary.write_text(json.dumps(self._extract(spec, images, values, defects=defects)))
        stored = json.loads(summary.read_text())
        shapes = tuple((height, width) for height, width in stored["shapes"])
        return Features(np.load(values, mmap_mode="r"), tuple(stored["grid"]), shapes, stored["seconds"] / len(shapes))

    def _extract(
        self, spec: FeatureSpec, images: Sequence[ImageRecord], file: Path, *, defects: bool
    ) -> dict[str, object]:
        """Write the features to a file; returns their grid, the images' shapes and the seconds."""
        backbone = _backbone(spec.backbone, spec.layers, spec.size)
        shapes: list[tuple[int, int]] = []
        started = time.perf_counter()
        stored = None
        grid = (0, 0)

        def read(image: ImageRecord) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
            picture = read_image(self.category.read(image))
            if defects:
                picture, _ = paste_defect(picture, int(digest(image.image_path)[:12], 16))
            padded = _pad(picture) if spec.frame == "padded" else picture
            return preprocess(padded, geometry(spec, *padded.shape[:2])).numpy(), picture.shape[:2]

        with ThreadPoolExecutor(2) as pool:
            for start in range(0, len(images), _BATCH):
                batch = list(pool.map(read, images[start : start + _BATCH]))
                shapes += [shape for _, shape in batch]
                pixels = np.stack([pixels for pixels, _ in batch])
                extracted, grid = extract_features(backbone, pixels, spec.patch_size, spec.aggregation)
                if stored is None:
                    shape = (len(images), *extracted.shape[1:])
                    stored = np.lib.format.open_memmap(file, "w+", np.float16, shape)
                stored[start : start + len(extracted)] = extracted
        return {"grid": grid, "shapes": shapes, "seconds": time.perf_counter() - started}


@lru_cache(maxsize=3)
def _backbone(name: str, layers: tuple[int, ...], size: int) -> Backbone:
    return load_backbone(name, layers, image_size=size)


def geometry(spec: FeatureSpec, height: int, width: int) -> Geometry:
    """Return the mapping between an image and the network's input.

    Args:
        spec: how features are made.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    return Geometry.of(height, width, spec.size, full_frame=spec.frame != "crop")


def on_picture(
    network_map: npt.NDArray[np.float32], spec: FeatureSpec, shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return an anomaly map in the image's own pixels; NaN outside the center crop.

    Args:
        network_map: (size, size), in pixels of the network's input.
        spec: how the features were made.
        shape: (height, width) of the image.
    """
    height, width = shape
    if spec.frame != "padded":
        return np.asarray(to_original(network_map, geometry(spec, height, width)))
    side = max(shape)
    top, left = (side - height) // 2, (side - width) // 2
    whole = np.asarray(to_original(network_map, geometry(spec, side, side)))
    return whole[top : top + height, left : left + width]


def _pad(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a square: the border is repeated on the shorter side."""
    height, width = picture.shape[:2]
    side = max(height, width)
    margins = [((side - length) // 2, side - length - (side - length) // 2) for length in (height, width)]
    return np.pad(picture, [*margins, (0, 0)], mode="edge")
