"""All that a training step changes: made anew, or taken up where an interrupted training left it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import numpy as np
import torch
from adamp import AdamP

from reconpatch.collapse import Spread
from reconpatch.schedule import AdapterConfig

_MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamP's, of each layer


@dataclass(frozen=True)
class State:
    """With the configuration and the features, all that is needed to go on from here.

    len(losses) is the number of steps done. f is (D, C'), g is (D, D); the bars are their EMA copies.
    """

    f: torch.Tensor
    g: torch.Tensor
    f_bar: torch.Tensor
    g_bar: torch.Tensor
    optimiser: Any
    losses: list[float] = field(default_factory=list)
    spreads: dict[int, Spread] = field(default_factory=dict)


def initial_state(width: int, config: AdapterConfig, device: torch.device) -> State:
    """Semi-orthogonal layers: for D ≥ C' training starts at the distances of the features themselves.

    Args:
        width: C'.
    """
    generator = torch.Generator().manual_seed(config.seed)
    f, g = (
        torch.nn.init.orthogonal_(torch.empty(shape), generator=generator).to(device)
        for shape in ((config.dim, width), (config.dim, config.dim))
    )
    return _with_optimiser(f, g, f.clone(), g.clone(), config)


def tensors_of(state: State) -> dict[str, np.ndarray]:
    """A state as arrays by name, for a file: copies, to the bit."""
    found = {name: getattr(state, name).detach() for name in ("f", "g", "f_bar", "g_bar")}
    for name in ("f", "g"):
        for moment in _MOMENTS:
            found[f"{name}.{moment}"] = state.optimiser.state[getattr(state, name)][moment]
    arrays = {name: tensor.cpu().numpy().copy() for name, tensor in found.items()}
    arrays["losses"] = np.array(state.losses, dtype=np.float64)
    arrays["spreads"] = np.array([(step, *astuple(each)) for step, each in state.spreads.items()], dtype=np.float64)
    return arrays


def state_of(arrays: Mapping[str, np.ndarray], config: AdapterConfig, device: torch.device) -> State:
    """The state that `tensors_of` made into arrays."""
    tensors = {name: torch.from_numpy(array).clone().to(device) for name, array in arrays.items()}
    state = _with_optimiser(tensors["f"], tensors["g"], tensors["f_bar"], tensors["g_bar"], config)
    for name in ("f", "g"):
        moments = {moment: tensors[f"{name}.{moment}"] for moment in _MOMENTS}
        state.optimiser.state[getattr(state, name)] = {"step": len(arrays["losses"]), **moments}
    state.losses.extend(arrays["losses"].tolist())
    state.spreads.update({int(step): Spread(*each) for step, *each in arrays["spreads"].tolist()})
    return state


def _with_optimiser(
    f: torch.Tensor, g: torch.Tensor, f_bar: torch.Tensor, g_bar: torch.Tensor, config: AdapterConfig
) -> State:
    parameters = [f.requires_grad_(), g.requires_grad_()]
    optimiser = AdamP(parameters, lr=config.lr, weight_decay=config.weight_decay)
    return State(f, g, f_bar, g_bar, optimiser)
