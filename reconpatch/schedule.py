"""How f is trained: the options, and the steps and rates that follow from them (section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconpatch.starts import STARTS

_LARGEST_RAISED_LR = 3e-3
_LARGEST_RAISED_UPDATE = 0.1  # of 1 - gamma


@dataclass(frozen=True)
class AdapterConfig:
    """How f is trained. What the paper leaves open (N, sigma, k, alpha, m, gamma, initialisation) has its default here.

    Attributes:
        start: of `start_map`: the linear map that the features go through before f's own weights.
        dim: D, the width of f(p) and of z.
        epochs: how often the paper's schedule sees every patch.
        max_steps: no more steps than this (see `schedule`); 0 for all of them.
        lr: learning rate at the start, annealed to 0 by a cosine.
        batch_size: N, patches a step.
        batch_images: how many images a step's patches come from, ⌊N / batch_images⌋ of each at most; 0 for an epoch's
            shuffled patches, whatever their images.
        sigma: width of eq. 1; None for each batch's mean squared distance to the k-th neighbour.
        neighbours: k of eqs. 2-5, at least 4.
        alpha: of eq. 6, the share of the pairwise similarity.
        margin: m of eq. 7.
        gamma: of eq. 8, the share the teacher keeps of itself at each step.
        normalize: whether z̄ is L2-normalised before the similarities.
        weight_decay: AdamP's.
        seed: of the initial weights and of the order of the patches.

    Raises:
        ValueError: a value is out of its range.
    """

    start: str = "raw"
    dim: int = 512
    epochs: int = 120
    max_steps: int = 3000
    lr: float = 1e-5
    batch_size: int = 512
    batch_images: int = 0
    sigma: float | None = None
    neighbours: int = 5
    alpha: float = 0.5
    margin: float = 1.0
    gamma: float = 0.999
    normalize: bool = False
    weight_decay: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        ranges = {
            "start": (self.start in STARTS, f"one of {', '.join(STARTS)}"),
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
            "neighbours": (self.neighbours >= 4, "at least 4, for eq. 4 looks at half of them"),
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
    """What a training run does in fact, once `max_steps` has had its say.

    Attributes:
        steps: steps that are made.
        full_steps: steps of the paper's schedule.
        lr: learning rate at the first step.
        gamma: of eq. 8.
        lr_capped: whether lr would have been raised above its cap.
    """

    steps: int
    full_steps: int
    lr: float
    gamma: float
    lr_capped: bool


def schedule(n: int, config: AdapterConfig) -> Schedule:
    """Steps, learning rate and gamma for n patches.

    The paper's schedule is epochs · ⌈n/N⌉ steps. Where `max_steps` leaves only a q-th of them, each goes further:
    lr · q, at most max(lr, 3e-3), and (1 - gamma) · q, at most max(1 - gamma, 0.1).

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
