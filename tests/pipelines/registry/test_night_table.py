"""night.parquet: rows are read as they were written, those of schema version 1 with current statuses."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

from pipelines.registry.night_table import NIGHT, CategoryNight, read_night, write_night
from pipelines.registry.statuses import ScoringResult, TrainingResult
from pipelines.storage.store import Store

FIRST_ROUND = Path(__file__).parents[2] / "data" / "first_round"
ROW = CategoryNight(category="bolt", learned=TrainingResult.ON_HOLD, judged=ScoringResult.NO_IMAGES, images=0, ks=0.5)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = Store.of(str(tmp_path))
    assert read_night(folder) == {}
    rows = {"bolt": ROW, "nut": CategoryNight(category="nut")}
    write_night(folder, rows)
    assert read_night(folder) == rows


def test_old_statuses_are_read_as_current_ones(tmp_path: Path) -> None:
    folder = Store.of(str(tmp_path))
    write_night(folder, {"bolt": replace(ROW, learned="held back")})
    assert read_night(folder) == {"bolt": ROW}


def test_a_file_of_schema_version_1_is_read() -> None:
    night = read_night(Store.of(str(FIRST_ROUND / "registry" / ".work")))
    assert night["cloth"].learned == TrainingResult.REJECTED
    assert {row.judged for row in night.values()} == {ScoringResult.DONE}
    first = read_night(Store.of(str(FIRST_ROUND / "scores" / "57bee9a98ef4409bbec76f3b6048e914")))
    assert {row.learned for row in first.values()} == {TrainingResult.INCONCLUSIVE}


def test_the_table_has_a_column_per_field() -> None:
    assert [field.name for field in fields(CategoryNight)] == NIGHT.names
