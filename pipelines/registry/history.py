"""What happened to a category's versions: history.json, a list of events that only grows.

Its keys are those of schema version 1 and do not change, since others read them. Statuses are read in old and new words
and written in new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import UsageError
from pipelines.registry.statuses import EventType, current_word
from pipelines.storage.store import Store
from reconpatch.evaluation.acceptance import AcceptanceStatus

HISTORY = "history.json"


@dataclass(frozen=True, kw_only=True)
class RegistryEvent:
    """An event of a version, one entry of history.json.

    Attributes:
        event: what happened.
        version: the version that it happened to.
        at: when, UTC in ISO 8601.
        replaces: of a promotion: the version that was active until then, if any.
        to: of a rollback: the version that is active from then on.
        status: of a promotion by a nightly run: the result of the acceptance test.
        reasons: sentences of the acceptance test; None where there was none.
        run_id: the nightly run, None where somebody did it by hand.
    """

    event: EventType
    version: str
    at: str
    replaces: str | None = None
    to: str | None = None
    status: AcceptanceStatus | None = None
    reasons: tuple[str, ...] | None = None
    run_id: str | None = None

    @classmethod
    def from_json(cls, entry: Any) -> RegistryEvent:
        """Return the event of a stored entry.

        Args:
            entry: of history.json, in the words of any schema version.

        Raises:
            ValueError: it is no event, or lacks what an event of its type has.
        """
        if not isinstance(entry, dict):
            raise ValueError("an event must be an object")
        event = EventType(current_word(require_text(entry, "event")))
        status, reasons = entry.get("status"), entry.get("reasons")
        return cls(
            event=event,
            version=require_text(entry, "version"),
            at=str(entry.get("at", "")),
            replaces=entry.get("replaces"),
            to=require_text(entry, "to") if event is EventType.ROLLED_BACK else None,
            status=None if status is None else AcceptanceStatus(status),
            reasons=None if reasons is None else tuple(reasons),
            run_id=entry.get("run_id"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the event as an entry of history.json."""
        entry: dict[str, Any] = {"at": self.at, "event": self.event, "version": self.version}
        if self.event is EventType.PROMOTED:
            entry["replaces"] = self.replaces  # null for the first version
        known = {"to": self.to, "status": self.status, "reasons": self.reasons, "run_id": self.run_id}
        return entry | {name: value for name, value in known.items() if value is not None}


def read_history(folder: Store) -> list[RegistryEvent]:
    """Return a category's events, oldest first.

    Args:
        folder: of the category.

    Raises:
        UsageError: the history is damaged.
    """
    return [RegistryEvent.from_json(entry) for entry in _read_entries(folder)]


def append_event(folder: Store, event: RegistryEvent) -> None:
    """Add an event to a category's history; the entries that are there stay as they were written.

    Args:
        folder: of the category.
        event: what happened last.

    Raises:
        UsageError: the history is damaged.
    """
    folder.write_json(HISTORY, [*_read_entries(folder), event.to_json()])


def version_before(events: Sequence[RegistryEvent], current: str | None) -> str | None:
    """Return the version that the active one replaced; versions that were rolled back are skipped.

    Args:
        events: of the category, oldest first.
        current: the active version.
    """
    stack: list[str] = []
    for event in events:
        if event.event is EventType.PROMOTED:
            stack = [*(name for name in stack if name != event.version), event.version]
        elif event.event is EventType.ROLLED_BACK and event.to in stack:
            stack = stack[: stack.index(event.to) + 1]
    return stack[-2] if len(stack) > 1 and stack[-1] == current else None


def now() -> str:
    """Return the time as the registry's files have it: UTC in ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def require_text(entry: dict[str, Any], name: str) -> str:
    """Return a value that has to be a text.

    Args:
        entry: of a stored file.
        name: key of the value.

    Raises:
        ValueError: it is missing or no text.
    """
    value = entry.get(name)
    if not isinstance(value, str):
        raise ValueError(f"'{name}' must be a text, not {value!r}")
    return value


def _read_entries(folder: Store) -> list[Any]:
    """Return the list in history.json, each entry of which is an event."""
    entries = folder.read_json(HISTORY)
    if entries is None:
        return []
    try:
        if not isinstance(entries, list):
            raise ValueError("it must be a list of events")
        for entry in entries:
            RegistryEvent.from_json(entry)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{folder.below(HISTORY).uri}: is damaged ({error}); restore it from a copy.") from error
    return entries
