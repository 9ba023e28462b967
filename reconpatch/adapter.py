"""Training the representation layer f on one category's patch features (section 3.2, eqs. 7 and 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from adamp import AdamP

from reconpatch.arrays import Array, as_tensor
from reconpatch.losses import relaxed_contrastive_loss
from reconpatch.similarity import similarity

_LARGEST_RAISED_LR = 3e-3
_LARGEST_RAISED_UPDATE = 0.1  # of 1 - gamma
_BLOCK = 1 << 14  # rows that `embed` takes at a time


@dataclass(frozen=True)
class AdapterConfig:
    """How f is trained. What the paper leaves open (N, sigma, k, alpha, m, gamma, initialisation) has its default here.

    Attributes:
        dim: D, the width of f(p) and of z.
        epochs: how often the paper's schedule sees every patch.
        max_steps: no more steps than this (see `schedule`); 0 for all of them.
        lr: learning rate at the start, annealed to 0 by a cosine.
        batch_size: N, patches a step.
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

    dim: int = 512
    epochs: int = 120
    max_steps: int = 3000
    lr: float = 1e-5
    batch_size: int = 512
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
            "dim": (self.dim >= 1, "at least 1"),
            "epochs": (self.epochs >= 0, "0 or more"),
            "max_steps": (self.max_steps >= 0, "0 (no limit) or more"),
            "lr": (0.0 < self.lr <= 1.0, "above 0 and at most 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, for a loss over pairs"),
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


@dataclass(frozen=True)
class Adapter:
    """A trained representation layer.

    Attributes:
        weight: (min(D, C'), C') float32, for `embed`. Where D > C' it is not f's own weight, but its R of a QR
            decomposition, which gives the same distances in C' dimensions.
        schedule: what was done.
        losses: (steps,) float32, eq. 7 before each step. They may rise: the teacher, and with it the target, moves.
    """

    weight: np.ndarray
    schedule: Schedule
    losses: np.ndarray


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


def train_adapter(
    features: np.ndarray,
    config: AdapterConfig,
    *,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, int], None] | None = None,
) -> Adapter:
    """Train f on the patch features of one category. The same seed on the same device gives the same f.

    Args:
        features: (n, C') float16 or float32 array, in memory or memory-mapped; only the rows of a batch are read.
        config: see `AdapterConfig`.
        device: where to compute.
        on_step: called after each step with its number, from 1, and the number of steps.

    Returns:
        The trained layer, see `Adapter`.

    Raises:
        ValueError: there are no features, epochs is 0 (the identity adapter needs no training: `embed(features,
            None)`), or the loss is not finite.
    """
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must be (n, C'), one patch a row; their shape is {features.shape}.")
    if config.epochs == 0:
        raise ValueError("epochs is 0: the identity adapter is not trained; embed the features with weight None.")
    plan = schedule(len(features), config)
    state = _initial_state(features.shape[1], config, torch.device(device))
    for rows in _batches(len(features), config, start=len(state.losses), stop=plan.steps):
        patches = torch.from_numpy(features[rows]).to(device, torch.float32)
        _step(state, patches, config, plan)
        if on_step is not None:
            on_step(len(state.losses), plan.steps)
    return Adapter(_narrowest(state.f.detach()), plan, np.array(state.losses, dtype=np.float32))


def embed(features: Array, weight: np.ndarray | None) -> Array:
    """f(p), the target-oriented features.

    Args:
        features: (n, C') array or tensor, any real dtype.
        weight: (D, C') as in `Adapter`; None is the identity, D = C'.

    Returns:
        (n, D) float32 of the features' kind and on their device, never the same memory.

    Raises:
        ValueError: the widths do not agree.
    """
    if features.ndim != 2 or (weight is not None and features.shape[1] != weight.shape[1]):
        wanted = "(n, C')" if weight is None else f"(n, {weight.shape[1]})"
        raise ValueError(f"features must be {wanted} for this adapter; their shape is {tuple(features.shape)}.")
    if isinstance(features, torch.Tensor):
        if weight is None:
            return features.to(torch.float32, copy=True)
        return features.to(torch.float32) @ torch.from_numpy(weight).to(features.device, torch.float32).T
    if weight is None:
        return np.array(features, dtype=np.float32)
    projection = torch.from_numpy(weight).float().T
    embedded = np.empty((len(features), len(weight)), dtype=np.float32)
    for start in range(0, len(features), _BLOCK):  # a memory-mapped category need not fit in memory as float32
        embedded[start : start + _BLOCK] = (as_tensor(features[start : start + _BLOCK]).float() @ projection).numpy()
    return embedded


@dataclass(frozen=True)
class _State:
    """All that a step changes; with the configuration, all that is needed to go on from here.

    len(losses) is the number of steps done. f is (D, C'), g is (D, D); the bars are their EMA copies.
    """

    f: torch.Tensor
    g: torch.Tensor
    f_bar: torch.Tensor
    g_bar: torch.Tensor
    optimiser: Any
    losses: list[float] = field(default_factory=list)


def _initial_state(width: int, config: AdapterConfig, device: torch.device) -> _State:
    """Semi-orthogonal layers: for D ≥ C' training starts at the distances of the features themselves."""
    generator = torch.Generator().manual_seed(config.seed)
    f, g = (
        torch.nn.init.orthogonal_(torch.empty(shape), generator=generator).to(device)
        for shape in ((config.dim, width), (config.dim, config.dim))
    )
    parameters = [f.requires_grad_(), g.requires_grad_()]
    optimiser = AdamP(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return _State(f, g, f.detach().clone(), g.detach().clone(), optimiser)


def _batches(n: int, config: AdapterConfig, start: int, stop: int) -> Iterator[np.ndarray]:
    """The rows of steps start ... stop - 1. An epoch's order depends on the seed and its number, on nothing before."""
    per_epoch = math.ceil(n / config.batch_size)
    for step in range(start, stop):
        epoch, batch = divmod(step, per_epoch)
        if batch == 0 or step == start:
            order = np.random.default_rng((config.seed, epoch)).permutation(n)
        # The loss does not see the order within a batch; a memory-mapped file is read faster forwards.
        yield np.sort(order[batch * config.batch_size : (batch + 1) * config.batch_size])


def _step(state: _State, patches: torch.Tensor, config: AdapterConfig, plan: Schedule) -> None:
    """One step: teacher's similarities, student's loss, AdamP, then the teacher follows (eq. 8)."""
    with torch.no_grad():
        # Copies of a patch are ties, so their z̄ must agree to the last digit: a matrix product does not promise that.
        distinct, copy_of = torch.unique(patches, dim=0, return_inverse=True)
        z_bar = (distinct @ state.f_bar.T @ state.g_bar.T)[copy_of]
        if config.normalize:
            z_bar = torch.nn.functional.normalize(z_bar, dim=1)
        weights = similarity(z_bar, config.sigma, config.neighbours, config.alpha)
    z = patches @ state.f.T @ state.g.T
    loss = relaxed_contrastive_loss(z, weights, config.margin)
    if not torch.isfinite(loss):
        raise ValueError(_not_finite(patches, len(state.losses) + 1, plan))
    state.optimiser.zero_grad()
    loss.backward()
    annealed = plan.lr * 0.5 * (1.0 + math.cos(math.pi * len(state.losses) / plan.steps))
    for group in state.optimiser.param_groups:
        group["lr"] = annealed
    state.optimiser.step()
    with torch.no_grad():
        for teacher, student in ((state.f_bar, state.f), (state.g_bar, state.g)):
            teacher.mul_(plan.gamma).add_(student, alpha=1.0 - plan.gamma)
    state.losses.append(float(loss.detach()))


def _not_finite(patches: torch.Tensor, step: int, plan: Schedule) -> str:
    where = f"The loss is not finite at step {step} of {plan.steps}"
    if not torch.isfinite(patches).all():
        return f"{where}: the patch features hold NaN or infinite values; extract them again."
    largest = float(patches.abs().max())
    return f"{where}: try a lower lr than {plan.lr:g}, or smaller patch features (up to {largest:g} in this batch)."


def _narrowest(weight: torch.Tensor) -> np.ndarray:
    """The weight, or its R where that has fewer rows: ‖Wp - Wq‖ = ‖Rp - Rq‖, for W = QR and Q keeps lengths."""
    if weight.shape[0] > weight.shape[1]:
        weight = torch.linalg.qr(weight.double(), mode="r").R.float()
    return weight.cpu().numpy()
