"""history.json: events are read as they were written, also those of schema version 1."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.registry.history import RegistryEvent, append_event, read_history, version_before
from pipelines.registry.statuses import EventType
from pipelines.storage.store import Store
from reconpatch.evaluation.acceptance import AcceptanceStatus

FIRST_ROUND = Path(__file__).parents[2] / "data" / "first_round" / "registry"
AT = "2026-01-01T00:00:00.000000+00:00"
EVENTS = [
    RegistryEvent(event=EventType.PROMOTED, version="one", at=AT),
    RegistryEvent(
        event=EventType.PROMOTED,
        version="two",
        at=AT,
        replaces="one",
        status=AcceptanceStatus.PASSED,
        reasons=(),
        run_id="ab",
    ),
    RegistryEvent(event=EventType.REJECTED, version="three", at=AT, reasons=("It is worse.",), run_id="cd"),
    RegistryEvent(event=EventType.ROLLED_BACK, version="two", at=AT, to="one"),
    RegistryEvent(event=EventType.SET_ASIDE, version="one", at=AT),
]


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store.of(str(tmp_path))


def test_events_are_read_as_they_were_appended(folder: Store) -> None:
    assert read_history(folder) == []
    for event in EVENTS:
        append_event(folder, event)
    assert read_history(folder) == EVENTS


def test_an_event_has_only_the_keys_of_its_type() -> None:
    assert EVENTS[0].to_json() == {"at": AT, "event": "promoted", "version": "one", "replaces": None}
    assert set(EVENTS[1].to_json()) == {"at", "event", "version", "replaces", "status", "reasons", "run_id"}
    assert set(EVENTS[2].to_json()) == {"at", "event", "version", "reasons", "run_id"}
    assert set(EVENTS[3].to_json()) == {"at", "event", "version", "to"}


def test_a_history_of_schema_version_1_is_read() -> None:
    promoted, rejected = read_history(Store.of(str(FIRST_ROUND / "cloth")))
    assert (promoted.event, promoted.status) == (EventType.PROMOTED, AcceptanceStatus.INCONCLUSIVE)
    assert (rejected.event, rejected.version) == (EventType.REJECTED, "05329b225db5")
    assert rejected.reasons is not None
    assert len(rejected.reasons) == 2


def test_existing_entries_are_not_rewritten(folder: Store) -> None:
    """An entry with an old status or an unknown key stays as it is."""
    old = {"at": AT, "event": "refused", "version": "one", "reasons": ["no"], "note": "by a later version"}
    folder.write_json("history.json", [old])
    append_event(folder, EVENTS[4])
    assert json.loads(folder.read("history.json"))[0] == old


@pytest.mark.parametrize(
    "content",
    [
        b"{}",
        b'["promoted"]',
        b'[{"event": "promoted"}]',
        b'[{"event": "vanished", "version": "x"}]',
        b'[{"event": "rolled back", "version": "x"}]',
        b'[{"event": "promoted", "version": "x", "status": "perhaps"}]',
        b'[{"event": "promoted", "version": "x", "reasons": 5}]',
    ],
)
def test_the_error_for_a_damaged_history_is_one_line_that_names_the_file(folder: Store, content: bytes) -> None:
    folder.write("history.json", content)
    with pytest.raises(UsageError, match=r"history\.json is damaged") as damaged:
        read_history(folder)
    assert "\n" not in str(damaged.value)


def test_the_version_before_is_the_one_that_the_active_version_replaced() -> None:
    assert version_before(EVENTS[:2], "two") == "one"
    assert version_before(EVENTS[:1], "one") is None
    assert version_before(EVENTS[:4], "one") is None  # the version that was rolled back is skipped
    assert version_before(EVENTS[:2], "unknown") is None
