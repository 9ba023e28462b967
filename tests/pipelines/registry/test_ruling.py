"""ruling.json: the keys stay those of schema version 1, and old statuses are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.registry.ruling import StoredRuling
from reconpatch.evaluation.acceptance import AcceptanceResult, AcceptanceStatus, Comparison

CLOTH = Path(__file__).parents[2] / "data" / "first_round" / "registry" / "cloth"
RESULT = AcceptanceResult(AcceptanceStatus.PASSED, ("Fine.",), 30, (Comparison("pasted", 0.9, 0.8, 0.1),))


def test_a_ruling_is_read_as_it_was_written() -> None:
    ruling = StoredRuling.of(RESULT, active="one", run_id="ab")
    assert StoredRuling.from_json(json.loads(json.dumps(ruling.to_json()))) == ruling


def test_the_keys_of_the_file_do_not_change() -> None:
    stored = StoredRuling.of(RESULT, active="one", run_id="ab").to_json()
    assert list(stored) == ["at", "status", "reasons", "images", "comparisons", "champion", "run_id"]
    assert stored["comparisons"] == [{"of": "pasted", "candidate": 0.9, "champion": 0.8, "worse": 0.1}]
    assert stored["champion"] == "one"


@pytest.mark.parametrize(
    ("version", "status", "active"),
    [
        ("05329b225db5", AcceptanceStatus.REJECTED, "83e460ecd0bc"),
        ("83e460ecd0bc", AcceptanceStatus.INCONCLUSIVE, None),
    ],
)
def test_a_ruling_of_schema_version_1_is_read(version: str, status: AcceptanceStatus, active: str | None) -> None:
    ruling = StoredRuling.from_json(json.loads((CLOTH / version / "ruling.json").read_text()))
    assert (ruling.status, ruling.active) == (status, active)
    assert ruling.to_json()["status"] == str(status)


@pytest.mark.parametrize(
    "stored",
    [
        [],
        {},
        {"at": 1, "status": "passed"},
        {"at": "now"},
        {"at": "now", "status": "perhaps"},
        {"at": "now", "status": "passed", "comparisons": [{"of": "pasted"}]},
    ],
)
def test_content_that_is_not_a_ruling_is_an_error(stored: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|not a valid"):
        StoredRuling.from_json(stored)
