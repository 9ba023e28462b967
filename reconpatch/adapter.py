"""Training the representation layer f on one category's patch features (section 3.2, eqs. 7 and 8)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from reconpatch.arrays import Array, as_tensor
from reconpatch.collapse import Spread, require_spread, spread
from reconpatch.losses import relaxed_contrastive_loss
from reconpatch.schedule import AdapterConfig, Schedule, schedule
from reconpatch.similarity import similarity
from reconpatch.starts import start_map
from reconpatch.training_state import State, initial_state, state_of, tensors_of

LOOK_EVERY = 100
KEEP_EVERY = 30.0  # seconds: what a training that is interrupted may lose
_BLOCK = 1 << 14  # rows that `embed` takes at a time


@dataclass(frozen=True)
class Adapter:
    """A trained representation layer.

    Attributes:
        weight: (min(D, C'), C') float32, for `embed`. Where D > C' it is not f's own weight, but its R of a QR
            decomposition, which gives the same distances in C' dimensions. The start is part of it; with epochs 0 it
            is the start alone, (C', C').
        schedule: what was done.
        losses: (steps,) float32, eq. 7 before each step. They may rise: the teacher, and with it the target, moves.
        spreads: how far apart the teacher's z̄ were, by the step, every `LOOK_EVERY` steps and before the last.
    """

    weight: np.ndarray
    schedule: Schedule
    losses: np.ndarray
    spreads: dict[int, Spread]


def train_adapter(
    features: np.ndarray,
    config: AdapterConfig,
    *,
    per_image: int | None = None,
    draw: Callable[[int], np.ndarray] | None = None,
    weigh: Callable[[torch.Tensor], torch.Tensor] | None = None,
    device: str | torch.device = "cpu",
    on_step: Callable[[int, int], None] | None = None,
    begun: Mapping[str, np.ndarray] | None = None,
    keep: Callable[[dict[str, np.ndarray]], None] | None = None,
) -> Adapter:
    """Train f on the patch features of one category. The same seed on the same device gives the same f.

    Args:
        features: (n, C') float16 or float32 array, in memory or memory-mapped; only the rows of a batch are read.
        config: see `AdapterConfig`.
        per_image: patches of an image, images under each other; only the start 'neighbours' and `batch_images` ask.
            None: one image.
        draw: from a step's number, from 0, to its rows; by default every epoch sees every row once, or, with
            `batch_images`, images and patches are drawn anew at each step.
        weigh: from (N, D) z̄ to (N, N) ω; by default eq. 6.
        device: where to compute.
        on_step: called after each step with its number, from 1, and the number of steps.
        begun: what `keep` was given by a training of the same features and configuration on the same kind of device,
            which was interrupted: it goes on there, and ends with the same f.
        keep: called every `KEEP_EVERY` seconds with all that is needed to go on from here.

    Returns:
        The trained layer, see `Adapter`.

    Raises:
        ValueError: there are no features, epochs is 0 and the start is raw (the identity adapter needs no training:
            `embed(features, None)`), the loss is not finite, or training has collapsed (see `require_spread`).
    """
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must be (n, C'), one patch a row; their shape is {features.shape}.")
    if config.epochs == 0 and config.start == "raw":
        raise ValueError("epochs is 0: the identity adapter is not trained; embed the features with weight None.")
    plan = schedule(len(features), config)
    start = None
    per_image = per_image or len(features)
    if config.start != "raw":
        matrix = start_map(features, config.start, per_image=per_image, seed=config.seed)
        start = torch.from_numpy(matrix).to(device)
        if plan.steps == 0:
            return Adapter(matrix, plan, np.empty(0, np.float32), {})
    if begun is None:
        state = initial_state(features.shape[1], config, torch.device(device))
    else:
        state = state_of(begun, config, torch.device(device))
    weigh = weigh or partial(similarity, sigma=config.sigma, k=config.neighbours, alpha=config.alpha)
    if draw is None and config.batch_images:
        draw = partial(_of_images, len(features), per_image, config)
    steps = range(len(state.losses), plan.steps)
    kept_at = time.monotonic()
    for rows in _batches(len(features), config, steps) if draw is None else map(draw, steps):
        patches = torch.from_numpy(features[rows]).to(device, torch.float32)
        _step(state, patches if start is None else patches @ start.T, config, plan, weigh)
        if on_step is not None:
            on_step(len(state.losses), plan.steps)
        if keep is not None and time.monotonic() >= kept_at + KEEP_EVERY:
            keep(tensors_of(state))
            kept_at = time.monotonic()
    weight = state.f.detach() if start is None else state.f.detach() @ start
    return Adapter(_narrowest(weight), plan, np.array(state.losses, dtype=np.float32), state.spreads)


def embed(features: Array, weight: np.ndarray | None, device: str | torch.device = "cpu") -> Array:
    """f(p), the target-oriented features.

    Args:
        features: (n, C') array or tensor, any real dtype.
        weight: (D, C') as in `Adapter`; None is the identity, D = C'.
        device: where to compute with an array; a tensor is computed with where it is.

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
    projection = torch.from_numpy(weight).to(device, torch.float32).T
    embedded = np.empty((len(features), len(weight)), dtype=np.float32)
    for start in range(0, len(features), _BLOCK):  # a memory-mapped category need not fit in memory as float32
        block = as_tensor(features[start : start + _BLOCK]).to(device, torch.float32)
        embedded[start : start + _BLOCK] = (block @ projection).cpu().numpy()
    return embedded


def _batches(n: int, config: AdapterConfig, steps: range) -> Iterator[np.ndarray]:
    """The rows of each step. An epoch's order depends on the seed and its number, on nothing before."""
    per_epoch = math.ceil(n / config.batch_size)
    for step in steps:
        epoch, batch = divmod(step, per_epoch)
        if batch == 0 or step == steps.start:
            order = np.random.default_rng((config.seed, epoch)).permutation(n)
        # The loss does not see the order within a batch; a memory-mapped file is read faster forwards.
        yield np.sort(order[batch * config.batch_size : (batch + 1) * config.batch_size])


def _of_images(n: int, per_image: int, config: AdapterConfig, step: int) -> np.ndarray:
    """As many rows of each of a few images; like patches lie close together in an image, so that a batch has them."""
    random = np.random.default_rng((config.seed, step))
    images = n // per_image
    some = min(config.batch_images, images)
    each = min(config.batch_size // some, per_image)
    chosen = random.choice(images, some, replace=False)
    return np.sort(
        np.concatenate([image * per_image + random.choice(per_image, each, replace=False) for image in chosen])
    )


def _step(
    state: State,
    patches: torch.Tensor,
    config: AdapterConfig,
    plan: Schedule,
    weigh: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """One step: teacher's similarities, student's loss, AdamP, then the teacher follows (eq. 8)."""
    with torch.no_grad():
        # Copies of a patch are ties, so their z̄ must agree to the last digit: a matrix product does not promise that.
        distinct, copy_of = torch.unique(patches, dim=0, return_inverse=True)
        z_bar = (distinct @ state.f_bar.T @ state.g_bar.T)[copy_of]
        if config.normalize:
            z_bar = torch.nn.functional.normalize(z_bar, dim=1)
        weights = weigh(z_bar)
        step = len(state.losses) + 1
        if len(z_bar) > 1 and (step % LOOK_EVERY == 1 or step == plan.steps):
            state.spreads[step] = spread(z_bar, config.sigma, config.neighbours)
            require_spread(state.spreads[step], state.spreads[1], step)
    z = patches @ state.f.T @ state.g.T
    loss = relaxed_contrastive_loss(z, weights, config.margin)
    if not torch.isfinite(loss):
        raise ValueError(_not_finite(patches, step, plan))
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
