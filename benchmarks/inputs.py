"""Real inputs: the demo's solar cells, their patch features, and folders of some of them."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from pipelines.demo import cells_folder
from reconpatch.backbones import load_backbone
from reconpatch.geometry import Geometry
from reconpatch.images import preprocess, read_image
from reconpatch.patches import extract_features, patch_features

BACKBONE = "tf_efficientnet_lite0"
SIZE = 224
_BATCH = 16


def elpv_images() -> list[Path]:
    """All 2,624 images of the package elpv-dataset, by name.

    Raises:
        UsageError: the package is not installed.
    """
    return sorted((cells_folder() / "images").glob("*.png"))


def batch_of(paths: list[Path]) -> np.ndarray:
    """(B, 3, 224, 224) float32, the paper's crop."""
    images = [read_image(path.read_bytes()) for path in paths]
    return np.stack([preprocess(image, Geometry.of(image.shape[0], image.shape[1], SIZE)).numpy() for image in images])


@lru_cache(maxsize=1)
def real_features(n: int) -> np.ndarray:
    """(n, 152) float16 patch features of solar cells, as a run makes them; mapped from a file, as a run maps them."""
    backbone = load_backbone(BACKBONE, image_size=SIZE)
    paths = elpv_images()
    with tempfile.TemporaryFile() as file:
        for start in range(0, -(-n // 784), _BATCH):
            found, _ = extract_features(backbone, batch_of(paths[start : start + _BATCH]), 3, "concat")
            file.write(found.data)
        file.flush()
        return np.memmap(file, np.float16, "r", shape=(n, 152))


def wide_features(n: int, channels: int) -> torch.Tensor:
    """(n, channels) float32 patch features of solar cells, three levels, patchcore's aggregation."""
    backbone = load_backbone(BACKBONE, (1, 2, 3), image_size=SIZE)
    paths = elpv_images()
    parts: list[torch.Tensor] = []
    while sum(map(len, parts)) < n:
        maps = backbone(torch.from_numpy(batch_of(paths[len(parts) : len(parts) + 1])))
        parts.append(torch.as_tensor(patch_features(maps, 3, "patchcore", channels))[0])
    return torch.cat(parts)[:n].half().float().clone()


def folder_of(root: Path, categories: int, good: int, test: int = 16) -> Path:
    """A folder of categories with `good` images to learn from and `test` others, as links to the package's images."""
    paths = iter(elpv_images())
    for number in range(categories):
        for part, count in (("train/good", good), ("test/good", test)):
            folder = root / f"cells_{number:02d}" / part
            folder.mkdir(parents=True)
            for _ in range(count):
                path = next(paths)
                (folder / path.name).symlink_to(path)
    return root
