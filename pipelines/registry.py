"""The models of a factory: immutable versions a category, and which of them judges today.

    <registry>/<category>/<version>/    model.json, train.parquet, <backbone>/..., as a run leaves them, and ruling.json
    <registry>/<category>/current       the version that is in force: one line, replaced whole
    <registry>/<category>/history.json  what was promoted, refused and rolled back, and when
    <registry>/.work                    the run directory in which nights make candidates

A version is named by what its model was made from, so the same images and options are the same version. Its model.json
is written last: a version without one is not there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from pipelines.rundir import RULING, RUN, folder_name, model_folder
from pipelines.storage import Store, side_by_side
from pipelines.usage import UsageError
from reconpatch.model import MODEL_FILE, Model, ModelError, from_json

CURRENT = "current"
HISTORY = "history.json"
WORK = ".work"
PROMOTED, REFUSED, ROLLED_BACK, SET_ASIDE = "promoted", "refused", "rolled back", "set aside"
_NAME = re.compile(r"[\w.-]*\w[\w.-]*")  # of a version: one folder


@dataclass(frozen=True)
class Version:
    """One version of a category's model.

    Attributes:
        created_at: when it came into the registry, UTC in ISO 8601.
        status: of its ruling: 'passed', 'unproven' or 'refused'.
        current: whether it is in force.
    """

    category: str
    name: str
    created_at: str
    status: str
    current: bool


@dataclass(frozen=True)
class Registry:
    """A folder of versions, on a local disk or in an object store; one process at a time writes to it."""

    store: Store

    def categories(self) -> list[str]:
        """Those that have a history, by their own names."""
        names = [name for name in self.store.folders() if not name.startswith(".")]
        have = side_by_side(lambda name: self.store.exists(f"{name}/{HISTORY}"), names)
        return sorted(unquote(name) for name, one in zip(names, have, strict=True) if one)

    def of(self, category: str) -> Store:
        """A category's folder."""
        return self.store.below(folder_name(category))

    def version(self, category: str, name: str) -> Store:
        """The folder of a version, laid out as a run's models/<category>."""
        return self.of(category).below(name)

    def current(self, category: str) -> str | None:
        """The version in force. Raises UsageError where the file names none."""
        place = self.of(category)
        if not place.exists(CURRENT):
            return None
        name = place.read(CURRENT).decode(errors="replace").strip()
        if not _NAME.fullmatch(name):
            raise UsageError(f"{place.below(CURRENT).uri}: is damaged; put a version in force with `models promote`.")
        return name

    def history(self, category: str) -> list[dict[str, Any]]:
        """Events, oldest first: `event`, `version`, `at`, and what else is known of it.

        Raises:
            UsageError: it is damaged.
        """
        events = self.of(category).read_json(HISTORY)
        if events is None:
            return []
        if not isinstance(events, list) or not all(map(_is_event, events)):
            raise UsageError(f"{self.of(category).below(HISTORY).uri}: is no list of events; put it back from a copy.")
        return events

    def is_settled(self, category: str, name: str) -> bool:
        """Whether nothing is to be decided about a version: it is in force, was refused, rolled back or set aside."""
        last = self.last_event(category, name)
        decided = last is not None and last["event"] in (REFUSED, ROLLED_BACK, SET_ASIDE)
        return decided or name == self.current(category)

    def last_event(self, category: str, name: str) -> dict[str, Any] | None:
        """The newest of a version."""
        return next((event for event in reversed(self.history(category)) if event["version"] == name), None)

    def mend(self, category: str) -> None:
        """Finish a change that was cut off between the history and `current`."""
        moves = [event for event in self.history(category) if event["event"] in (PROMOTED, ROLLED_BACK)]
        if moves:
            due = moves[-1]["version"] if moves[-1]["event"] == PROMOTED else moves[-1]["to"]
            if due != self._if_known(category) and self.holds(category, due):
                self._put_in_force(category, due)

    def holds(self, category: str, name: str) -> bool:
        """Whether a version is there, whole."""
        return self.version(category, name).exists(MODEL_FILE)

    def versions(self, category: str) -> list[Version]:
        """All versions, newest first. Raises UsageError where a ruling is damaged."""
        current, place = self.current(category), self.of(category)
        found = []
        for name in place.folders():
            ruling = place.below(name).read_json(RULING) if self.holds(category, name) else None
            if ruling is None:
                continue
            if not isinstance(ruling, dict) or not all(isinstance(ruling.get(key), str) for key in ("at", "status")):
                raise UsageError(f"{place.below(name).below(RULING).uri}: is no ruling; put it back from a copy.")
            found.append(Version(category, name, ruling["at"], ruling["status"], name == current))
        return sorted(found, key=lambda version: (version.created_at, version.name), reverse=True)

    def model(self, category: str, name: str) -> Model:
        """Raises ModelError where it is damaged, UsageError where there is none."""
        self._require(category, name)
        return from_json(self.version(category, name).read(MODEL_FILE))

    def add(self, category: str, name: str, source: Store, ruling: Mapping[str, Any]) -> None:
        """Copy a run's model in; what is there already stays as it is.

        Args:
            source: the run's models/<category>.
            ruling: of the gate: `status`, `reasons` and what it found.
        """
        if self.holds(category, name):
            return
        place = self.version(category, name)
        for info in source.files():
            if source.name_of(info) != MODEL_FILE:
                place.write(source.name_of(info), source.read(source.name_of(info)))
        place.write_json(RULING, {"at": _now(), **ruling})
        place.write(MODEL_FILE, source.read(MODEL_FILE))

    def promote(self, category: str, name: str, *, by_hand: bool = False, **known: Any) -> None:
        """Put a version in force.

        Args:
            by_hand: the version that is replaced stays out of force while its images do not change.

        Raises:
            UsageError: there is no such version.
        """
        self._require(category, name)
        replaced = self._if_known(category)
        if replaced == name:
            return
        if by_hand and replaced is not None:
            self.note(category, SET_ASIDE, replaced)
        self.note(category, PROMOTED, name, replaces=replaced, **known)
        self._put_in_force(category, name)

    def rollback(self, category: str) -> str:
        """Put the version in force that was before the current one; returns its name.

        The version that is left is not promoted again by a night whose images have not changed.

        Raises:
            UsageError: there is none before it, or it has been pruned.
        """
        current = self.current(category)
        before = self._before(category, current)
        if current is None or before is None:
            raise UsageError(f"--category {category}: no version has been in force before; there is nothing to go to.")
        self._require(category, before)
        self.note(category, ROLLED_BACK, current, to=before)
        self._put_in_force(category, before)
        return before

    def prune(self, category: str, keep: int) -> list[str]:
        """Remove all but the `keep` newest versions that passed the gate, and as many of those that were refused; the
        one in force and the one before it always stay.

        Returns:
            The names of those that are gone.
        """
        current = self.current(category)
        spared = {current, self._before(category, current)}
        versions = self.versions(category)
        passed = [each.name for each in versions if each.status != REFUSED]
        refused = [each.name for each in versions if each.status == REFUSED]
        old = [name for name in [*passed[keep:], *refused[keep:]] if name not in spared]
        for name in old:
            place = self.version(category, name)
            place.remove(MODEL_FILE)  # first: a version that is half gone is not there
            place.remove_folder()
        return old

    def note(self, category: str, event: str, version: str, **known: Any) -> None:
        """Write an event down."""
        events = [*self.history(category), {"at": _now(), "event": event, "version": version, **known}]
        self.of(category).write_json(HISTORY, events)

    def _if_known(self, category: str) -> str | None:
        """As `current`, of a file that is about to be written anew: what is damaged names none."""
        try:
            return self.current(category)
        except UsageError:
            return None

    def _put_in_force(self, category: str, name: str) -> None:
        self.of(category).write(CURRENT, f"{name}\n".encode())

    def _before(self, category: str, current: str | None) -> str | None:
        """The version that the current one replaced, those that were rolled back passed over."""
        stack: list[str] = []
        for event in self.history(category):
            if event["event"] == PROMOTED:
                stack = [*(name for name in stack if name != event["version"]), event["version"]]
            elif event["event"] == ROLLED_BACK:
                stack = stack[: stack.index(event["to"]) + 1] if event["to"] in stack else stack
        return stack[-2] if len(stack) > 1 and stack[-1] == current else None

    def _require(self, category: str, name: str) -> None:
        if not self.holds(category, name):
            known = ", ".join(version.name for version in self.versions(category)) or "none"
            raise UsageError(f"{category}: the registry has no version '{name}'; it has {known}.")


def find_model(source: Store, category: str) -> Store:
    """The folder of a category's model: in a run, or the version that is in force in a registry.

    Raises:
        ModelError: there is none.
    """
    if source.exists(RUN):
        place = source.below(model_folder(category))
    else:
        registry = Registry(source)
        version = registry.current(category)
        place = registry.of(category) if version is None else registry.version(category, version)
    if not place.exists(MODEL_FILE):
        raise ModelError(f"--model {source.uri}: has no model of category '{category}'.")
    return place


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict):
        return False
    needed = ("event", "version", "to") if event.get("event") == ROLLED_BACK else ("event", "version")
    return all(isinstance(event.get(name), str) for name in needed)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
