"""The command `models`: versions are listed, shown, promoted, rolled back and pruned."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.commands.models import list_models, promote_model, prune_models, rollback_model, show_model
from pipelines.errors import UsageError
from pipelines.tracking.console import Console
from tests.pipelines.commands.registries import make_registry


def test_versions_are_listed_newest_first_with_the_active_one_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = make_registry(tmp_path, "one", "two")
    assert list_models(Console(), registry=registry.store.uri) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "nut" in line]
    assert ["*" in line for line in lines] == [True, False]
    assert ["two" in lines[0], "one" in lines[1]] == [True, True]
    assert all("passed" in line for line in lines)


def test_damaged_files_of_a_category_do_not_hide_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = make_registry(tmp_path, "one")
    make_registry(tmp_path, "one", category="bolt").version("bolt", "one").write("ruling.json", b"{}")
    assert list_models(Console(), registry=registry.store.uri) == 1
    printed = capsys.readouterr()
    assert "nut" in printed.out
    assert printed.err.startswith("warning: bolt: ")


def test_the_active_version_is_shown_with_its_acceptance_test_and_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = make_registry(tmp_path, "one", "two")
    assert show_model(Console(), registry=registry.store.uri, category="nut") == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["version"], shown["current"], shown["members"]) == ("two", True, ["lite0"])
    assert shown["ruling"]["status"] == "passed"
    assert [(event["event"], event["version"]) for event in shown["history"]] == [
        ("promoted", "one"),
        ("promoted", "two"),
    ]


def test_a_version_is_promoted_and_rolled_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = make_registry(tmp_path, "one", "two")
    assert rollback_model(Console(), registry=registry.store.uri, category="nut") == 0
    assert registry.current("nut") == "one"
    assert promote_model(Console(), registry=registry.store.uri, category="nut", version="two") == 0
    assert registry.current("nut") == "two"
    assert capsys.readouterr().out.splitlines() == ["nut: one is active again", "nut: two is active"]


def test_old_versions_are_pruned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    registry = make_registry(tmp_path, "one", "two", "three")
    assert prune_models(Console(), registry=registry.store.uri, keep=1) == 0
    assert capsys.readouterr().out == "nut: one was removed\n"
    assert [version.name for version in registry.versions("nut")] == ["three", "two"]


def test_a_folder_without_models_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no model"):
        list_models(Console(), registry=str(tmp_path))
