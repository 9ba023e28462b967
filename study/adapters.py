"""The adapters that are compared: f in closed form, or trained from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

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
class AdapterRecipe:
    """f.

    Attributes:
        config: of training, the seed aside; 0 epochs are the start alone. None: the identity.
        turned: instead of training, a random semi-orthogonal D x C' matrix after the start.
        neighbours: whether a batch has patches and their nearest ones of other images.
        shuffled: the control: ω with its rows' and columns' partners drawn at random, so that it says nothing.
    """

    config: AdapterConfig | None = None
    turned: bool = False
    neighbours: bool = False
    shuffled: bool = False


def weight_of(
    rows: npt.NDArray[np.float16], adapter: AdapterRecipe, per_image: int, seed: int
) -> npt.NDArray[np.float32] | None:
    """f's weight, as `embed` takes it; None for the identity."""
    if adapter.config is None:
        return None
    config = replace(adapter.config, seed=seed)
    if adapter.turned:
        start = start_map(rows, config.start, per_image=per_image, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        turn = torch.nn.init.orthogonal_(torch.empty(config.dim, len(start)), generator=generator)
        return (turn @ torch.from_numpy(start)).numpy()
    draw = _neighbours(rows, config, per_image) if adapter.neighbours else None
    weigh = _shuffled(config) if adapter.shuffled else None
    return train_adapter(rows, config, per_image=per_image, draw=draw, weigh=weigh).weight


def _shuffled(config: AdapterConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(config.seed)

    def weigh(z_bar: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = similarity(z_bar, config.sigma, config.neighbours, config.alpha)
        order = torch.randperm(len(weights), generator=generator)
        return weights[order][:, order]

    return weigh


def _neighbours(
    rows: npt.NDArray[np.float16], config: AdapterConfig, per_image: int
) -> Callable[[int], npt.NDArray[np.int64]]:
    random = np.random.default_rng(config.seed)
    pool = np.sort(random.choice(len(rows), min(_POOL, len(rows)), replace=False))
    start = start_map(rows, config.start, per_image=per_image, seed=config.seed)
    together = _nearest_of_others(embed(rows[pool], start), pool // per_image)

    def draw(step: int) -> npt.NDArray[np.int64]:
        anchors = random.choice(len(pool), config.batch_size // _TOGETHER, replace=False)
        return np.asarray(pool[np.unique(np.concatenate([anchors, together[anchors].ravel()]))])

    return draw


def _nearest_of_others(rows: npt.NDArray[np.float32], image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n, _TOGETHER - 1): each row's nearest rows of other images."""
    most = min(len(rows), 4 * _TOGETHER)
    near = nearest_rows(torch.from_numpy(rows), torch.from_numpy(rows), most)[0].numpy()
    others = image[near] != image[:, None]
    order = np.argsort(~others, axis=1, kind="stable")[:, : _TOGETHER - 1]
    found: npt.NDArray[np.int64] = np.take_along_axis(near, order, axis=1)
    return found
