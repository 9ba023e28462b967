"""State of a training, initialized or restored from the checkpoint of an interrupted training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from adamp import AdamP

from reconpatch.adapter.collapse import Spread
from reconpatch.adapter.schedule import AdapterConfig

_MOMENTS = ("exp_avg", "exp_avg_sq")  # keys of AdamP's moments of a layer


@dataclass(frozen=True)
class State:
    """State of a training after len(losses) steps. With the configuration and the features it is enough to resume.

    Attributes:
        f: (D, C') float32 weight of the student's representation layer.
        g: (D, D) float32 weight of the student's projection layer.
        f_bar: (D, C') float32 weight of the teacher's representation layer, the exponential moving average of f.
        g_bar: (D, D) float32 weight of the teacher's projection layer, the exponential moving average of g.
        optimizer: AdamP optimizer of f and g.
        losses: Loss of eq. 7 before each step.
        spreads: Spread of the teacher's z̄ by the number of the step, counted from 1.
    """

    f: torch.Tensor
    g: torch.Tensor
    f_bar: torch.Tensor
    g_bar: torch.Tensor
    optimizer: Any
    losses: list[float] = field(default_factory=list)
    spreads: dict[int, Spread] = field(default_factory=dict)


def initial_state(width: int, config: AdapterConfig, device: torch.device) -> State:
    """Return a state with semi-orthogonal layers. If D ≥ C', f preserves the distances between the features.

    Args:
        width: C', the number of channels of the patch features, at least 1.
        config: Training options, of which D, the seed, lr and weight decay are used.
        device: torch device of the layers.

    Returns:
        The state before the first step; teacher and student are equal.
    """
    generator = torch.Generator().manual_seed(config.seed)
    f, g = (
        torch.nn.init.orthogonal_(torch.empty(shape), generator=generator).to(device)
        for shape in ((config.dim, width), (config.dim, config.dim))
    )
    return _with_optimizer((f, g), (f.clone(), g.clone()), config)


def tensors_of(state: State) -> dict[str, np.ndarray]:
    """Return a state as arrays by name, for a checkpoint file.

    Args:
        state: State after at least one step.

    Returns:
        Bit-identical copies of the layers and of AdamP's moments (float32), the losses (float64) and the spreads
        (float64, one row per measurement).
    """
    tensors = {name: getattr(state, name).detach() for name in ("f", "g", "f_bar", "g_bar")}
    for name in ("f", "g"):
        for moment in _MOMENTS:
            tensors[f"{name}.{moment}"] = state.optimizer.state[getattr(state, name)][moment]
    arrays = {name: tensor.cpu().numpy().copy() for name, tensor in tensors.items()}
    arrays["losses"] = np.array(state.losses, dtype=np.float64)
    arrays["spreads"] = np.array([(step, *astuple(spread)) for step, spread in state.spreads.items()], dtype=np.float64)
    return arrays


def state_of(arrays: Mapping[str, np.ndarray], config: AdapterConfig, device: torch.device) -> State:
    """Restore the state from which `tensors_of` made the arrays.

    Args:
        arrays: Arrays by name, as `tensors_of` returns them.
        config: Options of the interrupted training.
        device: torch device of the layers.

    Returns:
        The state, bit-identical on the same device.
    """
    tensors = {name: torch.from_numpy(array).clone().to(device) for name, array in arrays.items()}
    state = _with_optimizer((tensors["f"], tensors["g"]), (tensors["f_bar"], tensors["g_bar"]), config)
    for name in ("f", "g"):
        moments = {moment: tensors[f"{name}.{moment}"] for moment in _MOMENTS}
        state.optimizer.state[getattr(state, name)] = {"step": len(arrays["losses"]), **moments}
    state.losses.extend(arrays["losses"].tolist())
    state.spreads.update({int(step): Spread(*values) for step, *values in arrays["spreads"].tolist()})
    return state


def _with_optimizer(
    student: tuple[torch.Tensor, torch.Tensor], teacher: tuple[torch.Tensor, torch.Tensor], config: AdapterConfig
) -> State:
    """Return a state before the first step; student and teacher are pairs of representation and projection layer."""
    parameters = [layer.requires_grad_() for layer in student]
    optimizer = AdamP(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return State(*student, *teacher, optimizer)
