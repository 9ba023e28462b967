"""Patch features of the categories, which are extracted once and stored in files."""

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
    """Settings of the patch features.

    Attributes:
        backbone: Name of the backbone in timm.
        size: Side of the backbone's input in pixels.
        frame: 'crop' is the paper's center crop; 'whole' resizes the whole image to a square; 'padded' first pads it to
            a square by repeating its border, which keeps the aspect ratio.
        layers: Layers of the backbone, `out_indices` of timm.
        patch_size: s, the side of a patch in cells of a feature map.
        aggregation: Aggregation of layers and cells, 'concat' or 'patchcore'.
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
        values: Patch features, (n, H·W, C') float16, memory-mapped.
        grid: (H, W), numbers of rows and columns of patches in an image.
        shapes: (height, width) of each image in pixels.
        seconds_per_image: Wall time per image of reading, resizing and the backbone, in seconds.
    """

    values: npt.NDArray[np.float16]
    grid: tuple[int, int]
    shapes: tuple[tuple[int, int], ...]
    seconds_per_image: float


@dataclass(frozen=True)
class FeatureStore:
    """Patch features of a category, which are extracted when they are first requested.

    Attributes:
        category: Category of the images.
        folder: Folder of the stored features.
    """

    category: Category
    folder: Path

    def features(self, spec: FeatureSpec, images: Sequence[ImageRecord], *, defects: bool = False) -> Features:
        """Return the features of some images of the category.

        Args:
            spec: Settings of the features.
            images: Images of the category.
            defects: Whether one defect is pasted into each image before extraction.
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
        """Write the features to a file and return their grid, the shapes of the images, and the seconds."""
        backbone = _backbone(spec.backbone, spec.layers, spec.size)
        shapes: list[tuple[int, int]] = []
        started = time.perf_counter()
        stored = None
        grid = (0, 0)

        def read(image: ImageRecord) -> tuple[npt.NDArray[np.float32], tuple[int, int]]:
            original = read_image(self.category.read(image))
            if defects:
                original, _ = paste_defect(original, int(digest(image.image_path)[:12], 16))
            padded = _pad(original) if spec.frame == "padded" else original
            return preprocess(padded, geometry(spec, *padded.shape[:2])).numpy(), original.shape[:2]

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
    """Return the mapping between the pixels of an image and those of the backbone's input.

    Args:
        spec: Settings of the features.
        height: Height of the image in pixels.
        width: Width of the image in pixels.
    """
    return Geometry.of(height, width, spec.size, full_frame=spec.frame != "crop")


def on_picture(
    network_map: npt.NDArray[np.float32], spec: FeatureSpec, shape: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return an anomaly map in the pixels of the image.

    Args:
        network_map: Anomaly map in the pixels of the backbone's input, (size, size) float32.
        spec: Settings of the features.
        shape: (height, width) of the image in pixels.

    Returns:
        (height, width) float32; NaN outside the center crop.
    """
    height, width = shape
    if spec.frame != "padded":
        return np.asarray(to_original(network_map, geometry(spec, height, width)))
    side = max(shape)
    top, left = (side - height) // 2, (side - width) // 2
    whole = np.asarray(to_original(network_map, geometry(spec, side, side)))
    return whole[top : top + height, left : left + width]


def _pad(image: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return a square image, which repeats the border of the original one in the shorter dimension."""
    height, width = image.shape[:2]
    side = max(height, width)
    margins = [((side - length) // 2, side - length - (side - length) // 2) for length in (height, width)]
    return np.pad(image, [*margins, (0, 0)], mode="edge")
