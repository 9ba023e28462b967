"""How many threads a unit gets where there are more workers than units."""

from __future__ import annotations

from dataclasses import replace

import pytest
import ray

from pipelines.config import RunConfig, resolve_members
from pipelines.session import threads_for

CONFIG = RunConfig("ensemble", "data", "out", resolve_members("ensemble", ["tf_efficientnet_lite0"], 96, {}), 96)


@pytest.mark.parametrize(
    ("cpus", "per_unit", "workers", "units", "threads"),
    [
        ([2], 1, 2, 1, 2),  # one unit on a laptop: both CPUs
        ([8], 1, 8, 3, 2),
        ([8], 1, 8, 20, 1),
        ([8], 2, 4, 1, 8),
        ([4, 4, 4], 1, 12, 1, 4),  # a task lives on one node
        ([4, 3], 2, 3, 1, 4),
    ],
)
def test_few_units_share_the_workers_of_a_node(
    monkeypatch: pytest.MonkeyPatch, cpus: list[int], per_unit: int, workers: int, units: int, threads: int
) -> None:
    gone = {"Alive": False, "Resources": {"CPU": 64}}
    nodes = [gone, *({"Alive": True, "Resources": {"CPU": float(count)}} for count in cpus)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert threads_for(replace(CONFIG, threads_per_unit=per_unit), workers, units) == threads
