"""The compared adapters: f in closed form, or trained with a closed form as initialization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.adapter.initialization import initial_map
from reconpatch.adapter.schedule import AdapterConfig
from reconpatch.adapter.similarity import similarity
from reconpatch.adapter.training import TrainingVariant, embed, train_adapter
from reconpatch.neighbors.distances import nearest_rows

_POOL = 20_000  # number of patches among which neighbors are searched
_TOGETHER = 8  # patches in a group: one patch, and its nearest neighbors in other images


@dataclass(frozen=True)
class AdapterRecipe:
    """Settings of f.

    Attributes:
        config: Configuration of the training, except for the seed. With 0 epochs, f is the initialization. None makes f
            the identity.
        turned: Whether the initialization is multiplied by a random semi-orthogonal (D, C') matrix instead of trained.
        neighbors: Whether a batch consists of patches and their nearest neighbors in other images.
        shuffled: Whether the rows and columns of ω are permuted at random, as a control: it then has no information
            about the pairs.
    """

    config: AdapterConfig | None = None
    turned: bool = False
    neighbors: bool = False
    shuffled: bool = False


def weight_of(
    rows: npt.NDArray[np.float16], adapter: AdapterRecipe, per_image: int, seed: int
) -> npt.NDArray[np.float32] | None:
    """Return the weight of f for `embed`.

    Args:
        rows: Patch features of the training images, (n, C') float16, ordered by image.
        adapter: Settings of f.
        per_image: Number of patches per image.
        seed: Seed of the initialization and of the training.

    Returns:
        (D, C') float32; None for the identity.
    """
    if adapter.config is None:
        return None
    config = replace(adapter.config, seed=seed)
    if adapter.turned:
        initial = initial_map(rows, config.init, per_image=per_image, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        turn = torch.nn.init.orthogonal_(torch.empty(config.dim, len(initial)), generator=generator)
        return (turn @ torch.from_numpy(initial)).numpy()
    draw = _neighbors(rows, config, per_image) if adapter.neighbors else None
    weigh = _shuffled(config) if adapter.shuffled else None
    return train_adapter(rows, config, per_image=per_image, variant=TrainingVariant(draw=draw, weigh=weigh)).weight


def _shuffled(config: AdapterConfig) -> Callable[[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(config.seed)

    def weigh(z_bar: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = similarity(z_bar, config.sigma, config.contrastive_neighbors, config.alpha)
        order = torch.randperm(len(weights), generator=generator)
        return weights[order][:, order]

    return weigh


def _neighbors(
    rows: npt.NDArray[np.float16], config: AdapterConfig, per_image: int
) -> Callable[[int], npt.NDArray[np.int64]]:
    random = np.random.default_rng(config.seed)
    pool = np.sort(random.choice(len(rows), min(_POOL, len(rows)), replace=False))
    initial = initial_map(rows, config.init, per_image=per_image, seed=config.seed)
    together = _nearest_of_other_images(embed(rows[pool], initial), pool // per_image)

    def draw(step: int) -> npt.NDArray[np.int64]:
        anchors = random.choice(len(pool), config.batch_size // _TOGETHER, replace=False)
        return np.asarray(pool[np.unique(np.concatenate([anchors, together[anchors].ravel()]))])

    return draw


def _nearest_of_other_images(rows: npt.NDArray[np.float32], image: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the indices of the nearest rows of other images for each row, (n, _TOGETHER - 1)."""
    most = min(len(rows), 4 * _TOGETHER)
    near = nearest_rows(torch.from_numpy(rows), torch.from_numpy(rows), most)[0].numpy()
    is_other_image = image[near] != image[:, None]
    order = np.argsort(~is_other_image, axis=1, kind="stable")[:, : _TOGETHER - 1]
    nearest: npt.NDArray[np.int64] = np.take_along_axis(near, order, axis=1)
    return nearest
