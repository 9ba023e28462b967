"""Options of the training of f, and the number of steps and the rates that follow from them (section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconpatch.adapter.initialization import INITIALIZATIONS, current_initialization
from reconpatch.deprecated_arguments import RenamedAttribute, renamed_arguments

_LARGEST_RAISED_LR = 3e-3  # cap of a learning rate that is raised because max_steps limits the training
_LARGEST_RAISED_UPDATE = 0.1  # cap of a raised 1 - gamma


@renamed_arguments({"start": "init", "neighbours": "contrastive_neighbors"})
@dataclass(frozen=True)
class AdapterConfig:
    """Options of the training of f. The paper does not specify N, sigma, k, alpha, m, gamma and the initialization.

    Attributes:
        init: Initialization: the linear map that is applied to the features before f's own weights. One of 'raw',
            'standard', 'white' and 'neighbors', see `initial_map`.
        dim: D, the width of f(p) and of z, at least 1.
        epochs: Number of passes over all patches in the paper's schedule, 0 or more.
        max_steps: Largest number of steps, see `schedule`; 0 means no limit.
        lr: Initial learning rate, above 0 and at most 1. A cosine schedule anneals it to 0.
        batch_size: N, the number of patches per step, at least 2.
        batch_images: Number of images from which the patches of a step are drawn, at most N / 2; each image
            contributes up to ⌊N / batch_images⌋ patches. 0 draws from all images: every epoch shuffles all patches.
        sigma: Kernel width of eq. 1, above 0, in units of a squared distance. None uses each batch's mean squared
            distance to the k-th neighbor.
        contrastive_neighbors: k, the number of neighbors in eqs. 2-5, at least 4.
        alpha: Weight of the pairwise similarity in eq. 6, in [0, 1].
        margin: Margin m of eq. 7, 0 or more, in units of the mean distance.
        gamma: Share of its weights that the teacher keeps at each step (eq. 8), in [0, 1].
        normalize: Whether z̄ is L2-normalized before the similarities are computed.
        weight_decay: Weight decay of AdamP, 0 or more.
        seed: Seed of the initial weights and of the order of the patches, 0 or more.

    Raises:
        ValueError: A value is out of its range.

    Examples:
        >>> from reconpatch import AdapterConfig
        >>> config = AdapterConfig(dim=256, epochs=10, contrastive_neighbors=7)
        >>> config.dim, config.contrastive_neighbors, config.margin
        (256, 7, 1.0)
        >>> AdapterConfig(alpha=1.5)
        Traceback (most recent call last):
            ...
        ValueError: alpha must be in [0, 1]; got 1.5.
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
            "batch_size": (self.batch_size >= 2, "at least 2, because the loss compares pairs"),
            "batch_images": (
                0 <= self.batch_images <= self.batch_size // 2,
                f"between 0 (draw from all images) and {self.batch_size // 2} (half of batch_size)",
            ),
            "sigma": (self.sigma is None or 0.0 < self.sigma < math.inf, "above 0, or None for each batch's own scale"),
            "contrastive_neighbors": (self.contrastive_neighbors >= 4, "at least 4, because eq. 4 uses half of them"),
            "alpha": (0.0 <= self.alpha <= 1.0, "in [0, 1]"),
            "margin": (0.0 <= self.margin < math.inf, "0 or more"),
            "gamma": (0.0 <= self.gamma <= 1.0, "in [0, 1]"),
            "weight_decay": (0.0 <= self.weight_decay < math.inf, "0 or more"),
            "seed": (self.seed >= 0, "0 or more"),
        }
        for name, (valid, requirement) in ranges.items():
            if not valid:
                raise ValueError(f"{name} must be {requirement}; got {getattr(self, name)}.")


@dataclass(frozen=True)
class Schedule:
    """Number of steps and rates of a training, with the limit `max_steps` applied.

    Attributes:
        steps: Number of steps, at most `full_steps`.
        full_steps: Number of steps of the paper's schedule.
        lr: Learning rate at the first step.
        gamma: γ of eq. 8, in [0, 1].
        lr_capped: Whether the cap limited the raised learning rate.
    """

    steps: int
    full_steps: int
    lr: float
    gamma: float
    lr_capped: bool


def schedule(n: int, config: AdapterConfig) -> Schedule:
    """Return the number of steps, the learning rate and gamma for a category with n patches.

    The paper's schedule has epochs · ⌈n/N⌉ steps. If that is q > 1 times `max_steps`, the rates are raised to
    compensate for the missing steps: lr becomes lr · q, capped at max(lr, 3e-3), and 1 - gamma becomes
    (1 - gamma) · q, capped at max(1 - gamma, 0.1).

    Args:
        n: Number of patches of the category, at least 1.
        config: Options of the training.

    Returns:
        The schedule.

    Raises:
        ValueError: n is 0.
    """
    if n < 1:
        raise ValueError("There are no patch features to train on. Provide at least one readable image.")
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
