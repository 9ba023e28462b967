"""Inputs of the benchmarks: the demo's solar cells, their patch features, and datasets made of them."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from pipelines.data.demo import cells_folder
from reconpatch.features.backbones import load_backbone
from reconpatch.features.patches import extract_features, patch_features
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess, read_image

BACKBONE = "tf_efficientnet_lite0"
SIZE = 224
_BATCH = 16


def elpv_images() -> list[Path]:
    """Return the paths of all 2,624 images of the package elpv-dataset, sorted by name.

    Raises:
        UsageError: The package is not installed.
    """
    return sorted((cells_folder() / "images").glob("*.png"))


def batch_of(paths: list[Path]) -> np.ndarray:
    """Return preprocessed images with the paper's center crop, (B, 3, 224, 224) float32.

    Args:
        paths: B image files.
    """
    images = [read_image(path.read_bytes()) for path in paths]
    return np.stack([preprocess(image, Geometry.of(image.shape[0], image.shape[1], SIZE)).numpy() for image in images])


@lru_cache(maxsize=1)
def real_features(n: int) -> np.ndarray:
    """Return patch features of solar cells, (n, 152) float16, memory-mapped from a file as in a run.

    Args:
        n: Number of patches.
    """
    backbone = load_backbone(BACKBONE, image_size=SIZE)
    paths = elpv_images()
    with tempfile.TemporaryFile() as file:
        for start in range(0, -(-n // 784), _BATCH):
            features, _ = extract_features(backbone, batch_of(paths[start : start + _BATCH]), 3, "concat")
            file.write(features.data)
        file.flush()
        return np.memmap(file, np.float16, "r", shape=(n, 152))


def wide_features(n: int, channels: int) -> torch.Tensor:
    """Return patch features of solar cells from three layers with PatchCore's aggregation, (n, channels) float32.

    Args:
        n: Number of patches.
        channels: Number of channels of a patch feature.
    """
    backbone = load_backbone(BACKBONE, (1, 2, 3), image_size=SIZE)
    paths = elpv_images()
    parts: list[torch.Tensor] = []
    while sum(map(len, parts)) < n:
        maps = backbone(torch.from_numpy(batch_of(paths[len(parts) : len(parts) + 1])))
        parts.append(torch.as_tensor(patch_features(maps, 3, "patchcore", channels))[0])
    return torch.cat(parts)[:n].half().float().clone()


def folder_of(root: Path, categories: int, good: int, test: int = 16) -> Path:
    """Create a dataset of links to solar cells in MVTec AD's layout and return its folder.

    Args:
        root: Folder of the dataset.
        categories: Number of categories.
        good: Number of training images of each category.
        test: Number of test images of each category, all in the folder of good ones.
    """
    paths = iter(elpv_images())
    for number in range(categories):
        for part, count in (("train/good", good), ("test/good", test)):
            folder = root / f"cells_{number:02d}" / part
            folder.mkdir(parents=True)
            for _ in range(count):
                path = next(paths)
                (folder / path.name).symlink_to(path)
    return root
