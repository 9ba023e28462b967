"""Files of a registry: immutable versions, the name of the active version, the history, and rollbacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.registry.registry import Registry
from pipelines.registry.ruling import StoredRuling
from pipelines.storage.store import Store
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from reconpatch.detector.model_json import to_json
from reconpatch.evaluation.acceptance import AcceptanceStatus

PASSED = StoredRuling(at="2026-01-01T00:00:00.000000+00:00", status=AcceptanceStatus.PASSED)
REJECTED = replace(PASSED, status=AcceptanceStatus.REJECTED, reasons=("no",))
CATEGORY = "a=b x%20y/z"


def source(folder: Path, name: str) -> Store:
    """Create the model folder of a run; the test uses only its files."""
    member = MemberModel("lite0", (2, 3), 3, "concat", 0, "package x", "ab" * 32, "cd" * 32)
    model = Model(CATEGORY, name, (member,), 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    (folder / name / "lite0").mkdir(parents=True)
    (folder / name / "model.json").write_text(to_json(model))
    (folder / name / "lite0" / "memory_bank.safetensors").write_bytes(name.encode())
    return Store.of(str(folder / name))


@pytest.fixture(params=["disk", "object store"])
def registry(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Registry:
    if request.param == "disk":
        return Registry(Store.of(str(tmp_path / "registry")))
    place, _, options = bucket.partition("?")
    return Registry(Store.of(f"{place}/{tmp_path.name}?{options}"))


@pytest.fixture
def add(registry: Registry, tmp_path: Path) -> Callable[..., None]:
    def add(*names: str, promote: bool = True) -> None:
        for name in names:
            ruling = replace(PASSED, at=datetime.now(UTC).isoformat(timespec="microseconds"))
            registry.add(CATEGORY, name, source=source(tmp_path / "run", name), ruling=ruling)
            if promote:
                registry.promote(CATEGORY, name)

    return add


def test_a_version_contains_the_files_of_the_model_and_its_ruling(registry: Registry, add: Callable[..., None]) -> None:
    add("one")
    folder = registry.version(CATEGORY, "one")
    assert {folder.name_of(info) for info in folder.files()} == {
        "model.json",
        "ruling.json",
        "lite0/memory_bank.safetensors",
    }
    assert registry.model(CATEGORY, "one").version == "one"
    (version,) = registry.versions(CATEGORY)
    assert (version.category, version.name, version.status, version.current) == (CATEGORY, "one", "passed", True)
    assert registry.categories() == [CATEGORY]


def test_the_name_of_the_active_version_is_stored_in_one_line(registry: Registry, add: Callable[..., None]) -> None:
    assert registry.current(CATEGORY) is None
    add("one", "two")
    assert registry.of(CATEGORY).read("current") == b"two\n"
    assert [version.name for version in registry.versions(CATEGORY)] == ["two", "one"]


def test_a_version_never_changes(registry: Registry, add: Callable[..., None], tmp_path: Path) -> None:
    add("one")
    (tmp_path / "run" / "one" / "lite0" / "memory_bank.safetensors").write_bytes(b"other")
    registry.add(CATEGORY, "one", source=Store.of(str(tmp_path / "run" / "one")), ruling=REJECTED)
    assert registry.version(CATEGORY, "one").read("lite0/memory_bank.safetensors") == b"one"
    assert registry.versions(CATEGORY)[0].status == "passed"


def test_a_rollback_skips_versions_that_were_rolled_back(registry: Registry, add: Callable[..., None]) -> None:
    add("one", "two")
    assert registry.rollback(CATEGORY) == "one"
    add("three")
    assert registry.rollback(CATEGORY) == "one"
    with pytest.raises(UsageError, match="there is no previous version to roll back to"):
        registry.rollback(CATEGORY)
    assert registry.current(CATEGORY) == "one"


def test_rolled_back_and_rejected_versions_are_settled_and_others_are_not(
    registry: Registry, add: Callable[..., None]
) -> None:
    add("one", "two")
    registry.rollback(CATEGORY)
    add("three", promote=False)
    registry.reject(CATEGORY, "three", ruling=REJECTED)
    add("four", promote=False)
    settled = {name: registry.is_settled(CATEGORY, name) for name in ("one", "two", "three", "four")}
    assert settled == {"one": True, "two": True, "three": True, "four": False}
    registry.promote(CATEGORY, "four")
    assert not registry.is_settled(CATEGORY, "one")  # the images of an earlier version may be restored


def test_a_version_that_was_replaced_by_hand_is_settled(registry: Registry, add: Callable[..., None]) -> None:
    add("one", "two")
    registry.promote(CATEGORY, "one", by_hand=True)
    assert registry.is_settled(CATEGORY, "two")
    registry.promote(CATEGORY, "two", by_hand=True)
    assert registry.current(CATEGORY) == "two"


def test_a_change_that_was_interrupted_before_current_was_written_is_finished(
    registry: Registry, add: Callable[..., None]
) -> None:
    add("one", "two")
    registry.of(CATEGORY).write("current", b"one\n")
    registry.repair(CATEGORY)
    assert registry.current(CATEGORY) == "two"
    registry.rollback(CATEGORY)
    registry.of(CATEGORY).write("current", b"two\n")
    registry.repair(CATEGORY)
    assert registry.current(CATEGORY) == "one"


def test_pruning_keeps_the_newest_versions_the_active_one_and_the_one_before(
    registry: Registry, add: Callable[..., None]
) -> None:
    add("one", "two", "three", "four", "five")
    registry.promote(CATEGORY, "two")
    assert set(registry.prune(CATEGORY, keep=1)) == {"one", "three", "four"}
    assert {version.name for version in registry.versions(CATEGORY)} == {"five", "two"}
    assert registry.rollback(CATEGORY) == "five"


def test_pruning_counts_rejected_versions_separately(
    registry: Registry, tmp_path: Path, add: Callable[..., None]
) -> None:
    add("one", "two", "three")
    for name in ("bad", "worse"):
        ruling = replace(REJECTED, at=datetime.now(UTC).isoformat(timespec="microseconds"))
        registry.add(CATEGORY, name, source=source(tmp_path / "run", name), ruling=ruling)
    assert registry.prune(CATEGORY, keep=3) == []
    assert registry.prune(CATEGORY, keep=1) == ["one", "bad"]


def test_a_version_without_its_model_does_not_exist(registry: Registry, add: Callable[..., None]) -> None:
    add("one")
    registry.version(CATEGORY, "two").write("lite0/memory_bank.safetensors", b"half")
    assert [version.name for version in registry.versions(CATEGORY)] == ["one"]
    with pytest.raises(UsageError, match=r"no version 'two'\. Available versions: one\."):
        registry.promote(CATEGORY, "two")
    with pytest.raises(UsageError, match="no version 'two'"):
        registry.model(CATEGORY, "two")


def test_every_change_is_recorded_in_the_history(registry: Registry, add: Callable[..., None]) -> None:
    add("one", "two")
    registry.rollback(CATEGORY)
    events = json.loads(registry.of(CATEGORY).read("history.json"))
    assert [(event["event"], event["version"]) for event in events] == [
        ("promoted", "one"),
        ("promoted", "two"),
        ("rolled back", "two"),
    ]
    assert (events[1]["replaces"], events[2]["to"]) == ("one", "one")
