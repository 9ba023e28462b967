"""Tests of the runner: its tasks share CPUs and GPUs, and options name stages that exist."""

from __future__ import annotations

from dataclasses import replace

import pytest
import ray

from pipelines.config.member import Member
from pipelines.config.option import options_of
from pipelines.config.recipe import Recipe
from pipelines.stages.runner import STAGES, Runner


@pytest.mark.parametrize(
    ("gpus", "on_device", "alone", "expected"),
    [
        (0.0, True, False, ({"num_cpus": 2}, 4)),
        (0.0, False, False, ({"num_cpus": 2}, 4)),
        (1.0, True, False, ({"num_cpus": 2, "num_gpus": 1.0}, 4)),
        (1.0, False, False, ({"num_cpus": 2}, 16)),
        (1.0, False, True, ({"num_cpus": 2}, 1)),
    ],
)
def test_tasks_request_a_gpu_only_if_they_use_one(
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    *,
    gpus: float,
    on_device: bool,
    alone: bool,
    expected: tuple[dict[str, float], int],
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 32.0, "GPU": 4.0}}])
    config = replace(runner.context.config, gpus_per_actor=gpus, threads_per_unit=2)
    pool = replace(runner, context=replace(runner.context, config=config)).pool(
        "score", on_device=on_device, alone=alone
    )
    assert (pool.options, pool.at_once) == expected


@pytest.mark.parametrize("owner", [Recipe, Member])
def test_options_name_stages_that_exist(owner: type) -> None:
    """docs/options.md and the help texts are made from these names."""
    redone = {option.redoes for option in options_of(owner).values() if option.redoes}
    assert redone
    assert redone <= {stage.name for stage in STAGES}
