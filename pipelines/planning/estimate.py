"""Estimate of a run's duration for `--dry-run`, from a timed trial of each backbone on this machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from pipelines.config.member import Member
from pipelines.config.run_config import RunConfig
from pipelines.planning.jobs import CategoryPlan, MemberJob
from pipelines.runtime.resources import use_threads
from reconpatch.adapter.schedule import schedule
from reconpatch.adapter.training import train_adapter
from reconpatch.features.backbones import Backbone
from reconpatch.features.patches import extract_features

_TRIAL_STEPS = 8
_SIDE = 1536  # side of the square matrices whose product is timed to measure the machine's speed


def estimated_hours(plans: Sequence[CategoryPlan], config: RunConfig, backbones: Mapping[str, Backbone]) -> float:
    """Estimate the duration of a run on this machine.

    The estimate assumes `--workers` workers, or as many as this machine has CPUs for.

    Args:
        plans: Plans of the categories that have jobs to do.
        config: Run configuration.
        backbones: Name of each member's backbone -> loaded backbone.

    Returns:
        Hours; 0 if there is nothing to do.
    """
    use_threads(config.threads_per_unit)
    workers = config.workers or max(1, (os.cpu_count() or 1) // config.threads_per_unit)
    rate = _products_per_second()
    seconds = 0.0
    for member in config.members:
        jobs = [job for plan in plans for job in plan.members if job.backbone == member.backbone]
        images = sum(batch.size for plan in plans for batch in plan.batches if batch.backbone == member.backbone)
        if images:
            seconds += images * _seconds_per_image(backbones[member.backbone], member, config)
        steps = sum(_steps(job, config) for job in jobs if job.fit)
        if steps:
            seconds += steps * _seconds_per_step(member, config, jobs[0].network.channels)
        seconds += sum(_products(job) for job in jobs) / rate
    return seconds / workers / 3600


def _seconds_per_image(backbone: Backbone, member: Member, config: RunConfig) -> float:
    """Time the feature extraction of one image."""
    image = np.zeros((1, 3, config.image_size, config.image_size), np.float32)
    return _timed(lambda: extract_features(backbone, image, member.patch_size, member.aggregation))


def _steps(job: MemberJob, config: RunConfig) -> int:
    """Return the number of training steps of a member's adapter."""
    return schedule(job.fit_images * job.network.cells, config.adapter_config(job.member)).steps


def _seconds_per_step(member: Member, config: RunConfig, channels: int) -> float:
    """Time a training step on random features."""
    features = np.random.default_rng(0).normal(size=(2 * config.batch_size, channels)).astype(np.float16)
    trial = replace(config.adapter_config(member), max_steps=_TRIAL_STEPS)
    return _timed(lambda: train_adapter(features, trial)) / _TRIAL_STEPS


def _products(job: MemberJob) -> float:
    """Return the number of multiplications and additions that selecting the bank and scoring take."""
    width = min(job.dim or job.network.channels, job.network.channels)
    patches = job.fit_images * job.network.cells
    entries = max(1.0, job.member.coreset * patches)
    # Measured: the selection computes about a third of all pairwise distances. Scoring computes all of them, and the
    # smallest ones again from differences.
    work = (0.4 * patches if job.select else 0.0) + (1.3 * len(job.images) * job.network.cells if job.score else 0.0)
    return 2.0 * work * entries * width


def _products_per_second() -> float:
    """Time a matrix product and return the multiplications and additions per second."""
    matrix = torch.ones(_SIDE, _SIDE)
    return 2.0 * _SIDE**3 / _timed(lambda: matrix @ matrix)


def _timed(work: Callable[[], object]) -> float:
    """Return the shorter duration of two calls, in seconds; the first call includes one-time initialization."""
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
