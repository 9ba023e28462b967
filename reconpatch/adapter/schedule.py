"""Options of the training of f, and the steps and rates computed from them (section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconpatch.adapter.initialization import INITIALIZATIONS, current_initialization
from reconpatch.deprecated_arguments import RenamedAttribute, renamed_arguments

_LARGEST_RAISED_LR = 3e-3
_LARGEST_RAISED_UPDATE = 0.1  # of 1 - gamma


@renamed_arguments({"start": "init", "neighbours": "contrastive_neighbors"})
@dataclass(frozen=True)
class AdapterConfig:
    """Options of the training of f, with defaults for what the paper leaves open (N, sigma, k, alpha, m, gamma, init).

    Attributes:
        init: kind of the linear map applied to the features before f's own weights, see `initial_map`.
        dim: D, the width of f(p) and of z.
        epochs: passes over all patches in the paper's schedule.
        max_steps: largest number of steps (see `schedule`); 0 for no limit.
        lr: initial learning rate, annealed to 0 by a cosine.
        batch_size: N, patches per step.
        batch_images: number of images that a step's patches are drawn from, at most ⌊N / batch_images⌋ of each; 0 for
            an epoch's shuffled patches of any image.
        sigma: width of eq. 1; None for each batch's mean squared distance to the k-th neighbor.
        contrastive_neighbors: k of eqs. 2-5, at least 4.
        alpha: share of the pairwise similarity in eq. 6, in [0, 1].
        margin: m of eq. 7.
        gamma: share of itself that the teacher keeps at each step in eq. 8, in [0, 1].
        normalize: whether z̄ is L2-normalized before the similarities.
        weight_decay: weight decay of AdamP.
        seed: seed of the initial weights and of the order of the patches.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> from reconpatch import AdapterConfig
        >>> AdapterConfig(epochs=10, contrastive_neighbors=7).margin
        1.0
    """

    init: str = "raw"
    dim: int = 512
    epochs: int = 120
    max_steps: int = 3000
    lr: float = 1e-5
    batch_size: int = 512
    batch_images: int = 0
    sigma: float | None = None
    contrastive_neighbors: int = 5
    alpha: float = 0.5
    margin: float = 1.0
    gamma: float = 0.999
    normalize: bool = False
    weight_decay: float = 1e-2
    seed: int = 0

    start = RenamedAttribute("init")
    neighbours = RenamedAttribute("contrastive_neighbors")

    def __post_init__(self) -> None:
        object.__setattr__(self, "init", current_initialization(self.init))
        ranges = {
            "init": (self.init in INITIALIZATIONS, f"one of {', '.join(INITIALIZATIONS)}"),
            "dim": (self.dim >= 1, "at least 1"),
            "epochs": (self.epochs >= 0, "0 or more"),
            "max_steps": (self.max_steps >= 0, "0 (no limit) or more"),
            "lr": (0.0 < self.lr <= 1.0, "above 0 and at most 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, for a loss over pairs"),
            "batch_images": (
                0 <= self.batch_images <= self.batch_size // 2,
                f"0 (patches of any image) or more, and at most {self.batch_size // 2}, half of batch_size",
            ),
            "sigma": (self.sigma is None or 0.0 < self.sigma < math.inf, "above 0, or None for the batch's scale"),
            "contrastive_neighbors": (self.contrastive_neighbors >= 4, "at least 4, for eq. 4 looks at half of them"),
            "alpha": (0.0 <= self.alpha <= 1.0, "in [0, 1]"),
            "margin": (0.0 <= self.margin < math.inf, "0 or more"),
            "gamma": (0.0 <= self.gamma <= 1.0, "in [0, 1]"),
            "weight_decay": (0.0 <= self.weight_decay < math.inf, "0 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (valid, wanted) in ranges.items():
            if not valid:
                raise ValueError(f"{name} must be {wanted}; it is {getattr(self, name)}.")


@dataclass(frozen=True)
class Schedule:
    """Steps and rates of a training, with the limit `max_steps` applied.

    Attributes:
        steps: number of steps.
        full_steps: number of steps of the paper's schedule.
        lr: learning rate at the first step.
        gamma: γ of eq. 8.
        lr_capped: whether lr would have been raised above its cap.
    """

    steps: int
    full_steps: int
    lr: float
    gamma: float
    lr_capped: bool


def schedule(n: int, config: AdapterConfig) -> Schedule:
    """Return steps, learning rate and gamma for n patches.

    The paper's schedule has epochs · ⌈n/N⌉ steps. Where `max_steps` allows only a q-th of them, the rates are raised:
    lr · q, at most max(lr, 3e-3), and (1 - gamma) · q, at most max(1 - gamma, 0.1).

    Args:
        n: number of patches.
        config: options of the training.

    Raises:
        ValueError: there are no patches.
    """
    if n < 1:
        raise ValueError("There are no patch features to train on; give at least one image that can be read.")
    full = config.epochs * math.ceil(n / config.batch_size)
    if config.max_steps == 0 or full <= config.max_steps:
        return Schedule(full, full, config.lr, config.gamma, lr_capped=False)
    q = full / config.max_steps
    update = 1.0 - config.gamma
    cap = max(config.lr, _LARGEST_RAISED_LR)
    return Schedule(
        steps=config.max_steps,
        full_steps=full,
        lr=min(config.lr * q, cap),
        gamma=1.0 - min(update * q, max(update, _LARGEST_RAISED_UPDATE)),
        lr_capped=config.lr * q > cap,
    )
