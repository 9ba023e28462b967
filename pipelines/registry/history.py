"""History of a category's versions: history.json, a list of events to which entries are only appended.

The keys stay those of schema version 1, because other programs read them. Old values of statuses are read; new values
are written.
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
    """Event of a version; one entry of history.json.

    Attributes:
        event: Type of the event.
        version: Name of the version.
        at: Time of the event, UTC in ISO 8601.
        replaces: Promotion: version that was active before; None if there was none.
        to: Rollback: version that became active.
        status: Promotion by a nightly run: result of the acceptance test.
        reasons: Sentences of the acceptance test; None if there was no test.
        run_id: Id of the nightly run; None for a change by hand.
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
        """Return the event that is stored in an entry of history.json.

        Args:
            entry: Entry of any schema version.

        Raises:
            ValueError: The entry is not an event, or a key that its type requires is missing or has a wrong value.
        """
        if not isinstance(entry, dict):
            raise ValueError("expected a JSON object for each event")
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
            entry["replaces"] = self.replaces  # null for a category's first version
        known = {"to": self.to, "status": self.status, "reasons": self.reasons, "run_id": self.run_id}
        return entry | {name: value for name, value in known.items() if value is not None}


def read_history(folder: Store) -> list[RegistryEvent]:
    """Return the events of a category, oldest first; empty if there is no history.

    Args:
        folder: Folder of the category in the registry.

    Raises:
        UsageError: history.json is damaged.
    """
    return [RegistryEvent.from_json(entry) for entry in _read_entries(folder)]


def append_event(folder: Store, event: RegistryEvent) -> None:
    """Append an event to the history of a category. Existing entries are not changed.

    Args:
        folder: Folder of the category in the registry.
        event: New event.

    Raises:
        UsageError: history.json is damaged.
    """
    folder.write_json(HISTORY, [*_read_entries(folder), event.to_json()])


def version_before(events: Sequence[RegistryEvent], current: str | None) -> str | None:
    """Return the version that a rollback would activate: the one that the active version replaced.

    Args:
        events: Events of the category, oldest first.
        current: Name of the active version; None if there is none.

    Returns:
        Name of the version; None if there is none. Versions that were rolled back are skipped.
    """
    stack: list[str] = []
    for event in events:
        if event.event is EventType.PROMOTED:
            stack = [*(name for name in stack if name != event.version), event.version]
        elif event.event is EventType.ROLLED_BACK and event.to in stack:
            stack = stack[: stack.index(event.to) + 1]
    return stack[-2] if len(stack) > 1 and stack[-1] == current else None


def now() -> str:
    """Return the current time as the registry stores it: UTC in ISO 8601, with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def require_text(entry: dict[str, Any], name: str) -> str:
    """Return the value of a key that must be a string.

    Args:
        entry: JSON object.
        name: Key of the value.

    Raises:
        ValueError: The key is missing or its value is not a string.
    """
    value = entry.get(name)
    if not isinstance(value, str):
        raise ValueError(f"expected a string for '{name}', got {value!r}")
    return value


def _read_entries(folder: Store) -> list[Any]:
    """Return the entries of history.json; each of them is a valid event."""
    entries = folder.read_json(HISTORY)
    if entries is None:
        return []
    try:
        if not isinstance(entries, list):
            raise ValueError("expected a list of events")
        for entry in entries:
            RegistryEvent.from_json(entry)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{folder.below(HISTORY).uri} is damaged ({error}). Restore it from a backup.") from error
    return entries
