"""The command `status`: the state of every category as a table and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.commands.status import status
from pipelines.errors import UsageError
from pipelines.registry.night_table import CategoryNight, write_night
from pipelines.registry.registry import WORK
from pipelines.registry.statuses import ScoringResult, TrainingResult
from pipelines.tracking.console import Console
from tests.pipelines.commands.registries import make_registry


def test_the_most_urgent_category_comes_first_with_its_reasons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = make_registry(tmp_path, "one")
    make_registry(tmp_path, "one", category="bolt")
    rejected = CategoryNight(
        category="nut", learned=TrainingResult.REJECTED, judged=ScoringResult.DONE, reasons="AUROC is worse"
    )
    done = CategoryNight(category="bolt", learned=TrainingResult.UNCHANGED, judged=ScoringResult.DONE, images=3)
    write_night(registry.store.below(WORK), {"bolt": done, "nut": rejected})
    assert status(Console(), registry=registry.store.uri, as_json=True) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["category"], row["attention"], row["model"]) for row in rows] == [
        ("nut", "rejected", "one"),
        ("bolt", "", "one"),
    ]
    assert status(Console(), registry=registry.store.uri, as_json=False) == 0
    printed = capsys.readouterr().out
    assert printed.index("rejected") < printed.index("bolt")
    assert printed.endswith("nut: AUROC is worse\n")


def test_a_damaged_table_of_the_last_nightly_run_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = make_registry(tmp_path, "one")
    registry.store.below(WORK).write("night.parquet", b"PAR1 and no more")
    assert status(Console(), registry=registry.store.uri, as_json=True) == 0
    printed = capsys.readouterr()
    assert "The results of the last nightly run are not shown." in printed.err
    assert [row["model"] for row in json.loads(printed.out)] == ["one"]


def test_a_folder_without_a_registry_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds neither a model nor a nightly run"):
        status(Console(), registry=str(tmp_path), as_json=False)
