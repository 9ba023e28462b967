"""Training of the representation layer f on one category's patch features (section 3.2, eqs. 7 and 8)."""

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

LOOK_EVERY = 100  # number of steps between two measurements of the spread
KEEP_EVERY = 30.0  # seconds between two checkpoints
_BLOCK = 1 << 14  # number of rows that `embed` processes at a time


@dataclass(frozen=True, kw_only=True)
class TrainingVariant:
    """Replacements for parts of the paper's training step, for experiments.

    Attributes:
        draw: Function that takes the number of a step, counted from 0, and returns the (N,) integer row numbers of its
            batch. None uses every row once per epoch or, with `batch_images`, draws images and patches at random in
            every step.
        weigh: Function that takes the teacher's (N, D) embeddings z̄ and returns their (N, N) similarities in [0, 1].
            None uses `similarity` (eq. 6).
    """

    draw: Callable[[int], np.ndarray] | None = None
    weigh: Callable[[torch.Tensor], torch.Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Callbacks and checkpoint of a training.

    Attributes:
        on_step: Function that is called after each step with the number of the step, counted from 1, and the total
            number of steps. None calls nothing.
        checkpoint: Arrays that `save_checkpoint` received in an interrupted training with the same features,
            configuration and kind of device. The training resumes there and returns the same f as without the
            interruption. None starts a new training.
        save_checkpoint: Function that is called every `KEEP_EVERY` seconds with the arrays that are needed to resume
            the training, by name. None saves no checkpoints.
    """

    on_step: Callable[[int, int], None] | None = None
    checkpoint: Mapping[str, np.ndarray] | None = None
    save_checkpoint: Callable[[dict[str, np.ndarray]], None] | None = None


_GROUPED = {  # names of the arguments in version 0.1
    "draw": "variant.draw",
    "weigh": "variant.weigh",
    "on_step": "progress.on_step",
    "begun": "progress.checkpoint",
    "keep": "progress.save_checkpoint",
}


@dataclass(frozen=True)
class Adapter:
    """A trained representation layer f.

    Attributes:
        weight: (min(D, C'), C') float32 weight for `embed`, including the initial map. If D > C', it is the factor R
            of the QR decomposition of f's weight, which gives the same distances in C' dimensions. If epochs is 0, it
            is the (C', C') initial map.
        schedule: Number of steps, learning rate and gamma of the training.
        losses: (steps,) float32 loss of eq. 7 before each step. It may increase, because the teacher and therefore
            the target changes.
        spreads: Spread of the teacher's z̄ by the number of the step, counted from 1: every `LOOK_EVERY` steps and at
            the last step.

    Examples:
        >>> import numpy as np
        >>> from reconpatch import AdapterConfig, train_adapter
        >>> features = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
        >>> adapter = train_adapter(features, AdapterConfig(dim=4, epochs=2, batch_size=16))
        >>> adapter.weight.shape, adapter.losses.shape, adapter.schedule.steps
        ((4, 8), (8,), 8)
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
        features: (n, C') float16 or float32 array of patch features, in memory or memory-mapped. Only the rows of a
            batch are read at a time.
        config: Options of the training.
        per_image: Number of patches per image, at least 1; the rows are grouped by image. It is used by the
            initialization 'neighbors' and by `batch_images`. None treats all rows as one image.
        device: torch device of the computation.
        variant: Replacements for parts of the training step. None trains as in the paper.
        progress: Callbacks and checkpoint. None reports nothing and saves no checkpoints.

    Returns:
        The trained layer.

    Raises:
        ValueError: features is not a matrix with at least one row, epochs is 0 and init is 'raw' (the identity
            adapter needs no training: use `embed(features, None)`), the loss is not finite, or the training
            collapses (see `require_spread`).

    Examples:
        Four images of 16 patches with 8 channels, embedded in 4 dimensions:

        >>> import numpy as np
        >>> from reconpatch import AdapterConfig, train_adapter
        >>> features = np.random.default_rng(0).normal(size=(4 * 16, 8)).astype(np.float32)
        >>> config = AdapterConfig(dim=4, epochs=1, batch_size=16, init="neighbors")
        >>> adapter = train_adapter(features, config, per_image=16)
        >>> embeddings = features @ adapter.weight.T
        >>> embeddings.shape
        (64, 4)
    """
    variant, progress = variant or TrainingVariant(), progress or TrainingProgress()
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must have shape (n, C'), one row per patch; got shape {features.shape}.")
    if config.epochs == 0 and config.init == "raw":
        raise ValueError(
            "epochs 0 with init 'raw' leaves nothing to train. For the identity adapter, pass weight None to embed."
        )
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
    """Return the embeddings f(p) of patch features (the paper's target-oriented features).

    Args:
        features: (n, C') array or tensor of patch features, any real dtype.
        weight: (D, C') float32 weight of an `Adapter`. None is the identity adapter, with D = C'.
        device: torch device on which an array is embedded. A tensor is embedded on its own device.

    Returns:
        (n, D) float32 copy: an array or tensor like features, on the same device.

    Raises:
        ValueError: features is not a matrix, or its width is not that of the weight.
    """
    if features.ndim != 2 or (weight is not None and features.shape[1] != weight.shape[1]):
        expected = "(n, C')" if weight is None else f"(n, {weight.shape[1]})"
        raise ValueError(f"features must have shape {expected} for this adapter; got {tuple(features.shape)}.")
    if isinstance(features, torch.Tensor):
        if weight is None:
            return features.to(torch.float32, copy=True)
        return features.to(torch.float32) @ torch.from_numpy(weight).to(features.device, torch.float32).T
    if weight is None:
        return np.array(features, dtype=np.float32)
    projection = torch.from_numpy(weight).to(device, torch.float32).T
    embedded = np.empty((len(features), len(weight)), dtype=np.float32)
    for start in range(0, len(features), _BLOCK):  # memory-mapped features may not fit in memory as float32
        block = as_tensor(features[start : start + _BLOCK]).to(device, torch.float32)
        embedded[start : start + _BLOCK] = (block @ projection).cpu().numpy()
    return embedded


def _batches(n: int, config: AdapterConfig, steps: range) -> Iterator[np.ndarray]:
    """Yield the row numbers of each step. The order of an epoch depends only on the seed and its number."""
    per_epoch = math.ceil(n / config.batch_size)
    for step in steps:
        epoch, batch = divmod(step, per_epoch)
        if batch == 0 or step == steps.start:
            order = np.random.default_rng((config.seed, epoch)).permutation(n)
        # The loss does not depend on the order within a batch, and a memory-mapped file is read faster in file order.
        yield np.sort(order[batch * config.batch_size : (batch + 1) * config.batch_size])


def _of_images(n: int, per_image: int, config: AdapterConfig, step: int) -> np.ndarray:
    """Return the same number of rows from each of a few images, so that a batch contains similar patches."""
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
    """Execute one step: compute similarities and loss, update the student by AdamP and the teacher by eq. 8."""
    with torch.no_grad():
        # Copies of a patch are ties in eqs. 2-5, so their z̄ must be bit-identical. A matrix product does not guarantee
        # this, so each distinct patch is embedded once.
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
    """Return the error message for a loss that is not finite."""
    fact = f"The loss is not finite at step {step} of {plan.steps}"
    if not torch.isfinite(patches).all():
        return f"{fact}: the patch features contain NaN or infinite values. Extract them again."
    largest = float(patches.abs().max())
    return f"{fact}. Reduce lr (now {plan.lr:g}) or scale the patch features down (up to {largest:g} in this batch)."


def _narrowest(weight: torch.Tensor) -> np.ndarray:
    """Return the weight W, or R of W = QR if it has fewer rows; the distances are equal: ‖Wp - Wq‖ = ‖Rp - Rq‖."""
    if weight.shape[0] > weight.shape[1]:
        weight = torch.linalg.qr(weight.double(), mode="r").R.float()
    return weight.cpu().numpy()
