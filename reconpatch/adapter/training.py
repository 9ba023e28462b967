"""Training the representation layer f on one category's patch features (section 3.2, eqs. 7 and 8)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from reconpatch.adapter.collapse import Spread, require_spread, spread
from reconpatch.adapter.initialization import initial_map
from reconpatch.adapter.losses import relaxed_contrastive_loss
from reconpatch.adapter.schedule import AdapterConfig, Schedule, schedule
from reconpatch.adapter.similarity import similarity
from reconpatch.adapter.training_state import State, initial_state, state_of, tensors_of
from reconpatch.arrays import Array, as_tensor
from reconpatch.deprecated_arguments import renamed_arguments

LOOK_EVERY = 100  # steps between two measurements of the spread
KEEP_EVERY = 30.0  # seconds between two checkpoints
_BLOCK = 1 << 14  # rows that `embed` processes at a time


@dataclass(frozen=True, kw_only=True)
class TrainingVariant:
    """Replacements for parts of the paper's training step, for experiments.

    Attributes:
        draw: function from a step's number, from 0, to the rows of its batch. By default every epoch visits every row
            once or, with `batch_images`, every step draws images and patches at random.
        weigh: function from (N, D) z̄ to (N, N) ω; by default eq. 6.
    """

    draw: Callable[[int], np.ndarray] | None = None
    weigh: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Reporting of a training, and its checkpoints.

    Attributes:
        on_step: called after each step with its number, from 1, and the number of steps.
        checkpoint: what `save_checkpoint` was given in an interrupted training of the same features and configuration
            on the same kind of device. The training resumes there and returns the same f.
        save_checkpoint: called every `KEEP_EVERY` seconds with the arrays that are sufficient to resume.
    """

    on_step: Callable[[int, int], None] | None = None
    checkpoint: Mapping[str, np.ndarray] | None = None
    save_checkpoint: Callable[[dict[str, np.ndarray]], None] | None = None


_GROUPED = {  # arguments of version 0.1
    "draw": "variant.draw",
    "weigh": "variant.weigh",
    "on_step": "progress.on_step",
    "begun": "progress.checkpoint",
    "keep": "progress.save_checkpoint",
}


@dataclass(frozen=True)
class Adapter:
    """A trained representation layer.

    Attributes:
        weight: (min(D, C'), C') float32, for `embed`. Where D > C' it is not f's own weight but the R of its QR
            decomposition, which gives the same distances in C' dimensions. The initial map is part of it; with epochs
            0 it is the initial map alone, (C', C').
        schedule: steps, learning rate and gamma of the training.
        losses: (steps,) float32, eq. 7 before each step. They may rise: the teacher, and with it the target, moves.
        spreads: step → spread of the teacher's z̄, every `LOOK_EVERY` steps and before the last.
    """

    weight: np.ndarray
    schedule: Schedule
    losses: np.ndarray
    spreads: dict[int, Spread]


@renamed_arguments(_GROUPED, {"variant": TrainingVariant, "progress": TrainingProgress})
def train_adapter(
    features: np.ndarray,
    config: AdapterConfig,
    *,
    per_image: int | None = None,
    device: str | torch.device = "cpu",
    variant: TrainingVariant | None = None,
    progress: TrainingProgress | None = None,
) -> Adapter:
    """Train f on the patch features of one category. The same seed on the same device gives the same f.

    Args:
        features: (n, C') float16 or float32 array, in memory or memory-mapped; only the rows of a batch are read.
        config: training options.
        per_image: patches per image, rows grouped by image; used by `init` 'neighbors' and by `batch_images`. None
            treats all rows as one image.
        device: device of the computation.
        variant: replacements for parts of the training step; None for none.
        progress: reporting and checkpoints; None for none.

    Returns:
        The trained layer.

    Raises:
        ValueError: there are no features, epochs is 0 with `init` 'raw' (the identity adapter needs no training:
            `embed(features, None)`), the loss is not finite, or training has collapsed (see `require_spread`).

    Example:
        >>> import numpy as np
        >>> from reconpatch import AdapterConfig, train_adapter
        >>> features = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
        >>> train_adapter(features, AdapterConfig(dim=4, epochs=1, batch_size=16)).weight.shape
        (4, 8)
    """
    variant, progress = variant or TrainingVariant(), progress or TrainingProgress()
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must be (n, C'), one patch a row; their shape is {features.shape}.")
    if config.epochs == 0 and config.init == "raw":
        raise ValueError("epochs is 0: the identity adapter is not trained; embed the features with weight None.")
    plan = schedule(len(features), config)
    initial = None
    per_image = per_image or len(features)
    if config.init != "raw":
        matrix = initial_map(features, config.init, per_image=per_image, seed=config.seed)
        initial = torch.from_numpy(matrix).to(device)
        if plan.steps == 0:
            return Adapter(matrix, plan, np.empty(0, np.float32), {})
    if progress.checkpoint is None:
        state = initial_state(features.shape[1], config, torch.device(device))
    else:
        state = state_of(progress.checkpoint, config, torch.device(device))
    weigh = variant.weigh or partial(similarity, sigma=config.sigma, k=config.contrastive_neighbors, alpha=config.alpha)
    draw, steps = variant.draw, range(len(state.losses), plan.steps)
    if draw is None and config.batch_images:
        draw = partial(_of_images, len(features), per_image, config)
    saved_at = time.monotonic()
    for rows in _batches(len(features), config, steps) if draw is None else map(draw, steps):
        patches = torch.from_numpy(features[rows]).to(device, torch.float32)
        _step(state, patches if initial is None else patches @ initial.T, config, plan=plan, weigh=weigh)
        if progress.on_step is not None:
            progress.on_step(len(state.losses), plan.steps)
        if progress.save_checkpoint is not None and time.monotonic() >= saved_at + KEEP_EVERY:
            progress.save_checkpoint(tensors_of(state))
            saved_at = time.monotonic()
    weight = state.f.detach() if initial is None else state.f.detach() @ initial
    return Adapter(_narrowest(weight), plan, np.array(state.losses, dtype=np.float32), state.spreads)


def embed(features: Array, weight: np.ndarray | None, device: str | torch.device = "cpu") -> Array:
    """Return f(p), the target-oriented features.

    Args:
        features: (n, C') array or tensor, any real dtype.
        weight: (D, C') as in `Adapter`; None is the identity, D = C'.
        device: device of the computation for an array; a tensor stays on its own device.

    Returns:
        (n, D) float32 of the features' kind and on their device, always a copy.

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
    """Yield the rows of each step. An epoch's order depends on the seed and its number alone."""
    per_epoch = math.ceil(n / config.batch_size)
    for step in steps:
        epoch, batch = divmod(step, per_epoch)
        if batch == 0 or step == steps.start:
            order = np.random.default_rng((config.seed, epoch)).permutation(n)
        # The loss does not see the order within a batch; a memory-mapped file is read faster forwards.
        yield np.sort(order[batch * config.batch_size : (batch + 1) * config.batch_size])


def _of_images(n: int, per_image: int, config: AdapterConfig, step: int) -> np.ndarray:
    """Return equally many rows of each of a few images, so that a batch contains similar patches."""
    random = np.random.default_rng((config.seed, step))
    images = n // per_image
    drawn_images = min(config.batch_images, images)
    patches = min(config.batch_size // drawn_images, per_image)
    chosen = random.choice(images, drawn_images, replace=False)
    return np.sort(
        np.concatenate([image * per_image + random.choice(per_image, patches, replace=False) for image in chosen])
    )


def _step(
    state: State,
    patches: torch.Tensor,
    config: AdapterConfig,
    *,
    plan: Schedule,
    weigh: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    """Do one step: the teacher's similarities, the student's loss, AdamP, and the teacher's update (eq. 8)."""
    with torch.no_grad():
        # Copies of a patch are ties, so their z̄ must be bit-identical, which a matrix product does not guarantee.
        distinct, copy_of = torch.unique(patches, dim=0, return_inverse=True)
        z_bar = (distinct @ state.f_bar.T @ state.g_bar.T)[copy_of]
        if config.normalize:
            z_bar = torch.nn.functional.normalize(z_bar, dim=1)
        weights = weigh(z_bar)
        step = len(state.losses) + 1
        if len(z_bar) > 1 and (step % LOOK_EVERY == 1 or step == plan.steps):
            state.spreads[step] = spread(z_bar, config.sigma, config.contrastive_neighbors)
            require_spread(state.spreads[step], state.spreads[1], step)
    z = patches @ state.f.T @ state.g.T
    loss = relaxed_contrastive_loss(z, weights, config.margin)
    if not torch.isfinite(loss):
        raise ValueError(_not_finite(patches, step, plan))
    state.optimizer.zero_grad()
    loss.backward()
    annealed = plan.lr * 0.5 * (1.0 + math.cos(math.pi * len(state.losses) / plan.steps))
    for group in state.optimizer.param_groups:
        group["lr"] = annealed
    state.optimizer.step()
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
    """Return the weight, or its R where that has fewer rows: with W = QR, ‖Wp - Wq‖ = ‖Rp - Rq‖."""
    if weight.shape[0] > weight.shape[1]:
        weight = torch.linalg.qr(weight.double(), mode="r").R.float()
    return weight.cpu().numpy()
