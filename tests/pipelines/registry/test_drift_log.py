"""Drift comparisons in a registry: one file per run; the oldest are removed and damaged ones skipped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.registry import drift_log
from pipelines.registry.drift_log import note_drift, read_drift
from pipelines.registry.registry import Registry
from pipelines.storage.schemas import DriftRow, Provenance
from pipelines.storage.store import Store

START = datetime(2026, 1, 1, tzinfo=UTC)
FIRST_ROUND = Path(__file__).parents[2] / "data" / "first_round" / "registry"


def note(registry: Registry, run: str, day: int, ks: float = 0.5) -> None:
    provenance = Provenance(run * 32, START + timedelta(days=day))
    row = DriftRow(
        category="bolt",
        **provenance.columns("one"),
        images=3,
        holdout=4,
        quantiles=[1.0],
        holdout_quantiles=[2.0],
        ks=ks,
        ks_p_value=0.1,
        above_threshold=None,
        rare=0.0,
    )
    note_drift(registry, row, provenance)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store.of(str(tmp_path)))


def test_comparisons_are_read_oldest_first(registry: Registry) -> None:
    for day, run in enumerate("abc"):
        note(registry, run, day)
    assert [row.run_id[0] for row in read_drift(registry, "bolt")] == ["a", "b", "c"]
    assert [row.run_id[0] for row in read_drift(registry, "bolt", last=1)] == ["c"]


def test_a_resumed_run_replaces_its_own_comparison(registry: Registry) -> None:
    note(registry, "a", 0, ks=0.1)
    note(registry, "a", 1, ks=0.2)
    assert [row.ks for row in read_drift(registry, "bolt")] == [0.2]


def test_the_oldest_comparisons_are_removed(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_log, "_KEPT", 2)
    for day, run in enumerate("abc"):
        note(registry, run, day)
    assert [row.run_id[0] for row in read_drift(registry, "bolt")] == ["b", "c"]


def test_a_damaged_file_is_skipped(registry: Registry) -> None:
    note(registry, "a", 0)
    registry.of("bolt").write("drift/20260101T000000-aa.parquet", b"PAR1 and no more")
    assert len(read_drift(registry, "bolt")) == 1


def test_comparisons_of_schema_version_1_are_read() -> None:
    assert len(read_drift(Registry(Store.of(str(FIRST_ROUND))), "cloth")) == 2
