"""How long a run will take, from a trial of each network on this machine: an estimate for --dry-run, no promise."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from pipelines.config import Member, RunConfig
from pipelines.plan import CategoryPlan, Unit
from pipelines.resources import use_threads
from reconpatch.adapter import train_adapter
from reconpatch.backbones import Backbone
from reconpatch.patches import extract_features
from reconpatch.schedule import schedule

_TRIAL_STEPS = 8
_SIDE = 1536  # of the matrices whose product tells the machine's speed


def estimated_hours(plans: Sequence[CategoryPlan], config: RunConfig, backbones: Mapping[str, Backbone]) -> float:
    """Hours of a run with as many workers as this machine has room for (or --workers).

    Args:
        backbones: of the members, by name.
    """
    use_threads(config.threads_per_unit)
    workers = config.workers or max(1, (os.cpu_count() or 1) // config.threads_per_unit)
    rate = _products_per_second()
    seconds = 0.0
    for member in config.members:
        units = [unit for plan in plans for unit in plan.units if unit.backbone == member.backbone]
        images = sum(
            len(chunk.images) for plan in plans for chunk in plan.chunks if chunk.view.backbone == member.backbone
        )
        if images:
            seconds += images * _seconds_per_image(backbones[member.backbone], member, config)
        steps = sum(_steps(unit, config) for unit in units if unit.fit)
        if steps:
            seconds += steps * _seconds_per_step(member, config, units[0].network.channels)
        seconds += sum(_products(unit) for unit in units) / rate
    return seconds / workers / 3600


def _seconds_per_image(backbone: Backbone, member: Member, config: RunConfig) -> float:
    image = np.zeros((1, 3, config.image_size, config.image_size), np.float32)
    return _timed(lambda: extract_features(backbone, image, member.patch_size, member.aggregation))


def _steps(unit: Unit, config: RunConfig) -> int:
    return schedule(unit.fit_images * unit.network.cells, config.adapter_config(unit.member)).steps


def _seconds_per_step(member: Member, config: RunConfig, channels: int) -> float:
    features = np.random.default_rng(0).normal(size=(2 * config.batch_size, channels)).astype(np.float16)
    trial = replace(config.adapter_config(member), max_steps=_TRIAL_STEPS)
    return _timed(lambda: train_adapter(features, trial)) / _TRIAL_STEPS


def _products(unit: Unit) -> float:
    """Multiplications and additions of selecting the bank and of scoring."""
    width = min(unit.dim or unit.network.channels, unit.network.channels)
    patches = unit.fit_images * unit.network.cells
    entries = max(1.0, unit.member.coreset * patches)
    # Selection looks at a third of all pairs or so (measured); scoring at all of them, and decides by differences.
    work = (0.4 * patches if unit.select else 0.0) + (
        1.3 * len(unit.images) * unit.network.cells if unit.score else 0.0
    )
    return 2.0 * work * entries * width


def _products_per_second() -> float:
    matrix = torch.ones(_SIDE, _SIDE)
    return 2.0 * _SIDE**3 / _timed(lambda: matrix @ matrix)


def _timed(work: Callable[[], object]) -> float:
    """The quicker of two: the first also pays for what is done once."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
