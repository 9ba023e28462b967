"""Neither how many work nor in which order blocks and units come changes a bit (several nodes: tests/faults)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines import stages
from pipelines.chunks import Chunk
from pipelines.extract import Receipt, extract
from pipelines.storage import Store
from pipelines.tasks import run_tasks
from tests.faults.places import outcome_of
from tests.pipelines.runs import BACKBONES, Finished, ensemble


def test_two_workers_and_another_order_give_the_same_as_one_worker(
    finished: Finished, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(0)
    orders: list[tuple[list[Any], list[Any]]] = []

    def shuffled(items: Sequence[Any]) -> list[Any]:
        mixed = chance.sample(items, len(items))
        orders.append((list(items), mixed))
        return mixed

    def extract_mixed(chunks: Sequence[Chunk], *rest: Any) -> Iterator[Receipt]:
        return extract(shuffled(chunks), *rest)

    def tasks_mixed(function: Any, items: Sequence[Any], *rest: Any) -> Iterator[tuple[Any, Any]]:
        return run_tasks(function, shuffled(items), *rest)

    monkeypatch.setattr(stages, "extract", extract_mixed)
    monkeypatch.setattr(stages, "run_tasks", tasks_mixed)
    again = ensemble(data, tmp_path / "two", "--workers", "2", backbones=BACKBONES[:1])
    assert again.code == 0, again.stderr
    assert any(before != after for before, after in orders)
    one, two = (_of_member(run, BACKBONES[0]) for run in (finished, again))
    assert list(one) == list(two)
    assert len(one) == 10  # per category: adapter, its training, bank, its index, scores
    for name in one:
        assert one[name] == two[name], name


def _of_member(run: Finished, backbone: str) -> dict[str, object]:
    """The files that are one member's alone."""
    found = outcome_of(Store.of(str(run.out)))
    return {name: each for name, each in found.items() if backbone in (Path(name).stem, Path(name).parent.name)}
