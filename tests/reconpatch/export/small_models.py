"""Models with small untrained backbones, and images for them, for the tests of the export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import torch

from reconpatch.adapter.training import embed
from reconpatch.detector.detector import Detector, LoadedMember
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model, calibrate, normalize
from reconpatch.export.onnx_check import trial_pictures
from reconpatch.export.onnx_graph import without_features
from reconpatch.features.backbones import Backbone
from reconpatch.features.patches import extract_features
from reconpatch.neighbors.coreset import select_coreset
from reconpatch.neighbors.memory_bank import MemoryBank

SIDE = 48


class Layers(torch.nn.Module):
    """Convolutions, each of which is a layer of the backbone."""

    def __init__(self, seed: int, strides: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(seed)
        widths = [3, 8, 12, 10][: len(strides) + 1]
        self.steps = torch.nn.ModuleList(
            torch.nn.Conv2d(before, after, 3, stride, 1)
            for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = [images]
        for step in self.steps:
            maps.append(torch.relu(step(maps[-1])))
        return maps[1:]


def network(seed: int, strides: Sequence[int] = (4, 2)) -> Backbone:
    """Return a backbone with random weights and one layer per stride."""
    channels = (8, 12, 10)[: len(strides)]
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    layers = tuple(range(len(strides)))
    module = Layers(seed, strides).eval().requires_grad_(False)
    return Backbone(f"net{seed}", layers, mean, std, "", "", module, False, torch.device("cpu"), channels, (4, 8))


def weave(seed: int, height: int = 60, width: int = 55) -> np.ndarray:
    """Return a synthetic image of a fabric."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    threads = np.sin(rows / 3 + random.uniform(0, 6)) + np.sin(columns / 4 + random.uniform(0, 6))
    values = 0.5 + 0.12 * threads[:, :, None] + random.normal(0, 0.02, (height, width, 3))
    return np.clip(values, 0, 1).astype(np.float32)


def fitted(
    *backbones: Backbone,
    aggregation: str = "concat",
    patch_size: int = 3,
    adapter: int = 0,
    entries: int = 40,
    **changes: object,
) -> Detector:
    """Return a model that is fitted on six images and calibrated on four, with the given fields changed."""
    descriptions = tuple(
        MemberModel(backbone.name, backbone.layers, patch_size, aggregation, adapter, "", "", "")
        for backbone in backbones
    )
    model = Model("nut=1", "v1", descriptions, SIDE, True, 16, 16, "patch", 9, 0.1, CODE_VERSION)
    model = replace(model, **changes)  # type: ignore[arg-type]
    empty = Detector(model, 1, ())
    images = np.concatenate([empty.network_input(weave(seed))[0] for seed in range(6)])
    members, maps = [], []
    for backbone in backbones:
        features, grid = extract_features(backbone, images, patch_size, aggregation)
        rows = features.reshape(-1, features.shape[2])
        weight = None
        if adapter:
            weight = np.random.default_rng(0).normal(size=(adapter, rows.shape[1])).astype(np.float32)
        rows = embed(rows, weight)
        chosen = select_coreset(rows, ratio=entries / len(rows)).indices
        bank = MemoryBank(rows[chosen], model.score_neighbors)
        bank_index = {"image_path": ["x"] * len(chosen), "row": [0] * len(chosen), "col": [0] * len(chosen)}
        members.append(LoadedMember(backbone, weight, bank, bank_index))
        maps.append(bank.score(rows).reshape(6, *grid))
    model, _ = normalize(model, maps)
    detector = Detector(model, 1, tuple(members))
    return replace(detector, model=calibrate(model, [detector.score(weave(seed)).score for seed in range(6, 10)]))


IMAGES = [weave(20), weave(21, 97, 200), np.broadcast_to(weave(22)[:, :, :1], (60, 55, 3)), *trial_pictures(SIDE)]


def run(graph: onnx.ModelProto, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores and patch maps that a graph computes for a batch of images."""
    session = onnxruntime.InferenceSession(without_features(graph))
    score, patches = session.run(["score", "map"], {"image": image})
    return score, patches
