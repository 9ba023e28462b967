"""State of a nightly run: it is read as it was written, also from files of schema version 1."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import UsageError
from pipelines.nightly.night_info import NightInfo, NightScope
from pipelines.nightly.steps import NightTask
from pipelines.storage.store import Store
from pipelines.tracking.run_info import RunStatus

FIRST_ROUND = Path(__file__).parents[2] / "data" / "first_round" / "registry" / ".work"
SCOPE = NightScope(run_id="ab" * 16, scores="/scores", images="/data", bit_depth=16)
BOLT = replace(SCOPE, run_id="cd" * 16, categories=("bolt",))
INFO = NightInfo(
    run_id=SCOPE.run_id,
    status=RunStatus.INTERRUPTED,
    started_at="2026-01-01T00:00:00+00:00",
    data="/data",
    bit_depth=16,
    scope=SCOPE,
    deferred={NightTask.TRAIN: ("bolt",), NightTask.SCORE: ()},
    finished=(SCOPE, BOLT),
)
STORED: dict[str, Any] = {"run_id": "x", "status": "complete", "config": {}}


@pytest.fixture
def work(tmp_path: Path) -> Store:
    return Store.of(str(tmp_path))


def test_the_state_is_read_as_it_was_written(work: Store) -> None:
    assert NightInfo.read(work) == NightInfo()
    work.write_json("run.json", INFO.to_json())
    assert NightInfo.read(work) == INFO


def test_the_keys_of_the_file_do_not_change() -> None:
    stored = json.loads(json.dumps(INFO.to_json()))
    assert list(stored) == ["run_id", "status", "started_at", "config", "place", "deferred", "finished"]
    assert stored["config"] == {"data": "/data", "bit_depth": 16}
    assert stored["deferred"] == {"learn": ["bolt"], "judge": []}
    assert stored["place"] == {
        "run_id": SCOPE.run_id,
        "scores": "/scores",
        "images": "/data",
        "bit_depth": 16,
        "categories": [],
    }


def test_a_file_of_schema_version_1_is_read() -> None:
    info = NightInfo.read(Store.of(str(FIRST_ROUND)))
    assert info.status is RunStatus.COMPLETE
    assert info.scope is not None
    assert info.scope.run_id == info.run_id == "f024d181db884ed8af55bbe5edfa7839"
    assert info.finished == (info.scope,)
    assert info.last_finished(()) == info.scope
    assert json.loads(json.dumps(info.to_json())) == json.loads((FIRST_ROUND / "run.json").read_text())


@pytest.mark.parametrize(
    "content",
    [
        b"[1]",
        b"{}",
        b'{"run_id": "x", "status": "complete", "config": "x"}',
        b'{"run_id": "x", "status": "perhaps", "config": {}}',
        b'{"run_id": "x", "status": "complete", "config": {}, "deferred": {"learn": 5}}',
        b'{"run_id": "x", "status": "complete", "config": {}, "deferred": [1]}',
        b'{"run_id": "x", "status": "complete", "config": {}, "finished": 5}',
    ],
)
def test_the_error_for_a_damaged_file_names_the_file(work: Store, content: bytes) -> None:
    work.write("run.json", content)
    with pytest.raises(UsageError, match=r"run\.json is damaged"):
        NightInfo.read(work)


@pytest.mark.parametrize("scope", [None, 5, "x", {}, {**SCOPE.to_json(), "categories": None}])
def test_a_scope_that_cannot_be_read_is_left_out(scope: Any) -> None:
    info = NightInfo.from_json({**STORED, "place": scope, "finished": [scope, BOLT.to_json()]})
    assert info.scope is None
    assert info.finished == (BOLT,)


def test_runs_with_the_same_scope_do_the_same_work() -> None:
    asked = replace(SCOPE, run_id="")
    assert asked.is_same_work(SCOPE)
    assert not asked.is_same_work(BOLT)
    assert not asked.is_same_work(replace(SCOPE, images="/elsewhere"))
    assert not asked.is_same_work(None)


def test_the_images_are_compared_without_regard_to_the_categories() -> None:
    assert SCOPE.has_same_images(BOLT)
    for other in (replace(SCOPE, scores="/"), replace(SCOPE, images="/"), replace(SCOPE, bit_depth=12)):
        assert not SCOPE.has_same_images(other)


def test_the_last_run_of_the_same_categories_is_preferred_to_one_of_all() -> None:
    assert INFO.last_finished(("bolt",)) == BOLT
    assert INFO.last_finished(()) == SCOPE
    assert INFO.last_finished(("nut",)) == SCOPE
    assert NightInfo(finished=(BOLT,)).last_finished(("nut",)) is None
