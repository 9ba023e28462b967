"""The adapters that are compared: f in closed form, or trained from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.adapter import embed, train_adapter
from reconpatch.distances import nearest_rows
from reconpatch.schedule import AdapterConfig
from reconpatch.similarity import similarity
from reconpatch.starts import start_map

_POOL = 20_000  # patches among which neighbours are looked for
_TOGETHER = 8  # a patch and its nearest of other images in a batch of neighbours


@dataclass(frozen=True)
class Adapter:
    """f: the closed-form start alone (`steps` 0) or trained from it.

    Attributes:
        start: of `start_map`.
        steps: of training.
        dim: D; None for C'. Without training, a random orthogonal D x C' matrix after the start, where it is given.
        draw: 'epochs', batches of an epoch's shuffled patches; 'neighbours', of patches with their nearest ones of
            other images; 'images', of four images' patches.
        shuffled: the control: ω with its rows' and columns' partners drawn at random, so that it says nothing.
    """

    start: str = "raw"
    steps: int = 0
    dim: int | None = None
    lr: float = 1e-3
    sigma: float | None = None
    neighbours: int = 5
    alpha: float = 0.5
    margin: float = 1.0
    gamma: float = 0.99
    batch_size: int = 1024
    normalize: bool = False
    draw: str = "epochs"
    shuffled: bool = False


def weight_of(
    rows: npt.NDArray[np.float16], adapter: Adapter, per_image: int, seed: int
) -> npt.NDArray[np.float32] | None:
    """f's weight, as `embed` takes it; None for the identity."""
    channels = rows.shape[1]
    if adapter.steps == 0:
        if adapter.start == "raw" and adapter.dim is None:
            return None
        start = start_map(rows, adapter.start, per_image=per_image, seed=seed)
        if adapter.dim is None:
            return start
        generator = torch.Generator().manual_seed(seed)
        turn = torch.nn.init.orthogonal_(torch.empty(adapter.dim, channels), generator=generator)
        return (turn @ torch.from_numpy(start)).numpy()
    per_epoch = math.ceil(len(rows) / adapter.batch_size)
    epochs = math.ceil(adapter.steps / per_epoch)
    raised = epochs * per_epoch / adapter.steps  # which the schedule multiplies rates by
    config = AdapterConfig(
        start=adapter.start,
        dim=adapter.dim or channels,
        epochs=epochs,
        max_steps=adapter.steps,
        lr=adapter.lr / raised,
        batch_size=adapter.batch_size,
        batch_images=4 if adapter.draw == "images" else 0,
        sigma=adapter.sigma,
        neighbours=adapter.neighbours,
        alpha=adapter.alpha,
        margin=adapter.margin,
        gamma=1.0 - (1.0 - adapter.gamma) / raised,
        normalize=adapter.normalize,
        seed=seed,
    )
    weigh = _shuffled(config) if adapter.shuffled else None
    draw = _draw(rows, adapter, per_image, seed)
    return train_adapter(rows, config, per_image=per_image, draw=draw, weigh=weigh).weight


def _shuffled(config: AdapterConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(config.seed)

    def weigh(z_bar: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = similarity(z_bar, config.sigma, config.neighbours, config.alpha)
        order = torch.randperm(len(weights), generator=generator)
        return weights[order][:, order]

    return weigh


def _draw(
    rows: npt.NDArray[np.float16], adapter: Adapter, per_image: int, seed: int
) -> Callable[[int], npt.NDArray[np.int64]] | None:
    if adapter.draw != "neighbours":
        return None
    random = np.random.default_rng(seed)
    size = adapter.batch_size
    pool = np.sort(random.choice(len(rows), min(_POOL, len(rows)), replace=False))
    start = start_map(rows, adapter.start, per_image=per_image, seed=seed)
    together = _neighbours(embed(rows[pool], start), pool // per_image)

    def neighbours(step: int) -> npt.NDArray[np.int64]:
        anchors = random.choice(len(pool), size // _TOGETHER, replace=False)
        return np.asarray(pool[np.unique(np.concatenate([anchors, together[anchors].ravel()]))])

    return neighbours


def _neighbours(rows: npt.NDArray[np.float32], image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, _TOGETHER - 1): each row's nearest rows of other images."""
    most = min(len(rows), 4 * _TOGETHER)
    near = nearest_rows(torch.from_numpy(rows), torch.from_numpy(rows), most)[0].numpy()
    others = image[near] != image[:, None]
    order = np.argsort(~others, axis=1, kind="stable")[:, : _TOGETHER - 1]
    found: npt.NDArray[np.int64] = np.take_along_axis(near, order, axis=1)
    return found
