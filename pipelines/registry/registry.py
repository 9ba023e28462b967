"""The models of a factory: immutable versions by category, one of which is active and scores new images.

    <registry>/<category>/<version>/    model.json, train.parquet, <backbone>/..., as a run leaves them, and ruling.json
    <registry>/<category>/current       the name of the active version: one line, replaced whole
    <registry>/<category>/history.json  which versions were promoted, rejected and rolled back, and when
    <registry>/.work                    the run directory in which nightly runs train candidates

A version is named by what its model was made from, so that equal images and options give the same version. Its
model.json is written last: a version without one does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.errors import ModelError, UsageError
from pipelines.registry.history import HISTORY, RegistryEvent, append_event, now, read_history, version_before
from pipelines.registry.ruling import StoredRuling
from pipelines.registry.statuses import EventType
from pipelines.storage.paths import RULING, RUN, folder_name, model_folder
from pipelines.storage.store import Store, side_by_side
from reconpatch.detector.model import MODEL_FILE, Model
from reconpatch.detector.model_json import from_json
from reconpatch.evaluation.acceptance import AcceptanceStatus

CURRENT = "current"
WORK = ".work"
_NAME = re.compile(r"[\w.-]*\w[\w.-]*")  # of a version: one folder
_SETTLED = frozenset({EventType.REJECTED, EventType.ROLLED_BACK, EventType.SET_ASIDE})


@dataclass(frozen=True)
class Version:
    """One version of a category's model.

    Attributes:
        category: the category.
        name: of the version.
        created_at: when it was added to the registry, UTC in ISO 8601.
        status: the result of its acceptance test.
        current: whether it is the active version.
    """

    category: str
    name: str
    created_at: str
    status: AcceptanceStatus
    current: bool


@dataclass(frozen=True)
class Registry:
    """A folder of versions, on a local disk or in an object store; only one process at a time may write to it.

    Attributes:
        store: the folder.
    """

    store: Store

    def categories(self) -> list[str]:
        """Return the names of the categories that have a history, sorted."""
        folders = [name for name in self.store.folders() if not name.startswith(".")]
        have_history = side_by_side(lambda name: self.store.exists(f"{name}/{HISTORY}"), folders)
        return sorted(unquote(name) for name, has_one in zip(folders, have_history, strict=True) if has_one)

    def of(self, category: str) -> Store:
        """Return a category's folder."""
        return self.store.below(folder_name(category))

    def version(self, category: str, name: str) -> Store:
        """Return the folder of a version, which is laid out as models/<category> of a run."""
        return self.of(category).below(name)

    def current(self, category: str) -> str | None:
        """Return the name of the active version; None where there is none.

        Raises:
            UsageError: the file that names it is damaged.
        """
        folder = self.of(category)
        if not folder.exists(CURRENT):
            return None
        name = folder.read(CURRENT).decode(errors="replace").strip()
        if not _NAME.fullmatch(name):
            raise UsageError(f"{folder.below(CURRENT).uri}: is damaged; choose a version with `models promote`.")
        return name

    def history(self, category: str) -> list[RegistryEvent]:
        """Return a category's events, oldest first.

        Raises:
            UsageError: the history is damaged.
        """
        return read_history(self.of(category))

    def is_settled(self, category: str, name: str) -> bool:
        """Return whether nothing remains to be decided about a version.

        That is so of the active version and of one that was rejected, rolled back or set aside last.

        Args:
            category: the category.
            name: of the version, which need not exist.
        """
        last = self.last_event(category, name)
        return (last is not None and last.event in _SETTLED) or name == self.current(category)

    def last_event(self, category: str, name: str) -> RegistryEvent | None:
        """Return the newest event of a version; None where there is none."""
        return next((event for event in reversed(self.history(category)) if event.version == name), None)

    def repair(self, category: str) -> None:
        """Finish a change that was interrupted after the history was written and before `current` was."""
        changes = [
            event for event in self.history(category) if event.event in (EventType.PROMOTED, EventType.ROLLED_BACK)
        ]
        if changes:
            last = changes[-1]
            due = last.version if last.to is None else last.to
            if due != self._current_if_readable(category) and self.holds(category, due):
                self._activate(category, due)

    def holds(self, category: str, name: str) -> bool:
        """Return whether a version exists and is complete."""
        return self.version(category, name).exists(MODEL_FILE)

    def versions(self, category: str) -> list[Version]:
        """Return all versions, newest first.

        Raises:
            UsageError: the ruling of one of them is damaged.
        """
        current = self.current(category)
        versions = []
        for name in self.of(category).folders():
            ruling = self.ruling(category, name) if self.holds(category, name) else None
            if ruling is not None:
                versions.append(Version(category, name, ruling.at, ruling.status, name == current))
        return sorted(versions, key=lambda version: (version.created_at, version.name), reverse=True)

    def ruling(self, category: str, name: str) -> StoredRuling | None:
        """Return the result of a version's acceptance test; None where there is no such file.

        Args:
            category: the category.
            name: of the version.

        Raises:
            UsageError: the file is damaged.
        """
        folder = self.version(category, name)
        stored = folder.read_json(RULING)
        if stored is None:
            return None
        try:
            return StoredRuling.from_json(stored)
        except ValueError as error:
            raise UsageError(f"{folder.below(RULING).uri}: is damaged ({error}); restore it from a copy.") from error

    def model(self, category: str, name: str) -> Model:
        """Return the model of a version.

        Args:
            category: the category.
            name: of the version.

        Raises:
            ModelError: its file is damaged.
            UsageError: there is no such version.
        """
        self._require(category, name)
        return from_json(self.version(category, name).read(MODEL_FILE))

    def add(self, category: str, name: str, *, source: Store, ruling: StoredRuling) -> None:
        """Copy a model into the registry; a version that exists stays as it is.

        Args:
            category: the category.
            name: of the version.
            source: models/<category> of a run.
            ruling: the result of its acceptance test.
        """
        if self.holds(category, name):
            return
        folder = self.version(category, name)
        for info in source.files():
            if source.name_of(info) != MODEL_FILE:
                folder.write(source.name_of(info), source.read(source.name_of(info)))
        folder.write_json(RULING, ruling.to_json())
        folder.write(MODEL_FILE, source.read(MODEL_FILE))

    def promote(self, category: str, name: str, *, by_hand: bool = False, ruling: StoredRuling | None = None) -> None:
        """Make a version the active one.

        Args:
            category: the category.
            name: of the version.
            by_hand: whether somebody chose it: no nightly run then promotes the version that is replaced again while
                its images do not change.
            ruling: the result of its acceptance test, for the history.

        Raises:
            UsageError: there is no such version.
        """
        self._require(category, name)
        replaced = self._current_if_readable(category)
        if replaced == name:
            return
        if by_hand and replaced is not None:
            append_event(self.of(category), RegistryEvent(event=EventType.SET_ASIDE, version=replaced, at=now()))
        append_event(
            self.of(category),
            RegistryEvent(
                event=EventType.PROMOTED,
                version=name,
                at=now(),
                replaces=replaced,
                status=None if ruling is None else ruling.status,
                reasons=None if ruling is None else ruling.reasons,
                run_id=None if ruling is None else ruling.run_id,
            ),
        )
        self._activate(category, name)

    def reject(self, category: str, name: str, *, ruling: StoredRuling) -> None:
        """Write down that a version did not pass its acceptance test.

        Args:
            category: the category.
            name: of the version.
            ruling: the result of the test.
        """
        rejected = RegistryEvent(
            event=EventType.REJECTED, version=name, at=now(), reasons=ruling.reasons, run_id=ruling.run_id
        )
        append_event(self.of(category), rejected)

    def rollback(self, category: str) -> str:
        """Make the version active that was so before the current one.

        The version that is left is not promoted again by a nightly run while its images do not change.

        Returns:
            The name of the version that is active now.

        Raises:
            UsageError: there is none before it, or it has been pruned.
        """
        current = self.current(category)
        before = version_before(self.history(category), current)
        if current is None or before is None:
            raise UsageError(f"--category {category}: no version was active before; there is nothing to roll back to.")
        self._require(category, before)
        append_event(
            self.of(category), RegistryEvent(event=EventType.ROLLED_BACK, version=current, at=now(), to=before)
        )
        self._activate(category, before)
        return before

    def prune(self, category: str, keep: int) -> list[str]:
        """Remove old versions; the active version and the one before it always stay.

        Args:
            category: the category.
            keep: how many of the newest versions that passed the acceptance test stay, and how many of those that were
                rejected.

        Returns:
            The names of the versions that were removed.
        """
        current = self.current(category)
        spared = {current, version_before(self.history(category), current)}
        versions = self.versions(category)
        passed = [version.name for version in versions if version.status is not AcceptanceStatus.REJECTED]
        rejected = [version.name for version in versions if version.status is AcceptanceStatus.REJECTED]
        old = [name for name in [*passed[keep:], *rejected[keep:]] if name not in spared]
        for name in old:
            folder = self.version(category, name)
            folder.remove(MODEL_FILE)  # first: a version that is half removed must not be found
            folder.remove_folder()
        return old

    def _current_if_readable(self, category: str) -> str | None:
        """Return `current`, or None where that file is damaged: it is about to be written anew."""
        try:
            return self.current(category)
        except UsageError:
            return None

    def _activate(self, category: str, name: str) -> None:
        self.of(category).write(CURRENT, f"{name}\n".encode())

    def _require(self, category: str, name: str) -> None:
        if not self.holds(category, name):
            known = ", ".join(version.name for version in self.versions(category)) or "none"
            raise UsageError(f"{category}: the registry has no version '{name}'; it has {known}.")


def find_model(source: Store, category: str) -> Store:
    """Return the folder of a category's model: of a run, or of the active version in a registry.

    Args:
        source: a run, a registry, or the folder of a category in one.
        category: the category.

    Raises:
        ModelError: there is none.
    """
    if source.exists(RUN):
        folder = source.below(model_folder(category))
    else:
        registry = Registry(source)
        version = registry.current(category)
        folder = registry.of(category) if version is None else registry.version(category, version)
    if not folder.exists(MODEL_FILE):
        raise ModelError(f"--model {source.uri}: has no model of category '{category}'.")
    return folder
