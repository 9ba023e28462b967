"""Tests that results do not depend on the number of workers or on the order of batches and jobs.

tests/faults has the tests with several nodes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.planning.batches import ImageBatch
from pipelines.planning.stage import Crew, StageResult
from pipelines.runtime.tasks import run_tasks
from pipelines.stages import index, runner
from pipelines.stages.extract import stream_batches
from pipelines.storage.store import Store
from tests.faults.commands import outcome_of
from tests.pipelines.runs import BACKBONES, Finished, ensemble


def test_two_workers_and_a_shuffled_order_give_identical_results(
    finished: Finished, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = random.Random(0)
    orders: list[tuple[list[Any], list[Any]]] = []

    def shuffled(items: Sequence[Any]) -> list[Any]:
        mixed = generator.sample(items, len(items))
        orders.append((list(items), mixed))
        return mixed

    def stream_mixed(batches: Sequence[ImageBatch], crew: Crew) -> Iterator[tuple[ImageBatch, StageResult]]:
        return stream_batches(shuffled(batches), crew)

    def tasks_mixed(function: Any, items: Sequence[Any], *rest: Any) -> Iterator[tuple[Any, Any]]:
        return run_tasks(function, shuffled(items), *rest)

    extract = replace(runner.EXTRACT, launch=stream_mixed)
    monkeypatch.setattr(runner, "STAGES", (extract, *runner.STAGES[1:]))
    for module in (runner, index):
        monkeypatch.setattr(module, "run_tasks", tasks_mixed)
    again = ensemble(data, tmp_path / "two", "--workers", "2", backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert any(before != after for before, after in orders)
    one, two = (_files_of_member(run, BACKBONES[0]) for run in (finished, again))
    assert list(one) == list(two)
    assert len(one) == 10  # per category: adapter, training, memory bank, bank index, scores
    for name in one:
        assert one[name] == two[name], name


def _files_of_member(run: Finished, backbone: str) -> dict[str, object]:
    """Return the contents of the files that belong to one member only."""
    outcome = outcome_of(Store.of(str(run.out)))
    return {name: file for name, file in outcome.items() if backbone in (Path(name).stem, Path(name).parent.name)}
