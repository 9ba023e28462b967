"""Registry of models: immutable versions per category, one of which is active and scores new images.

    <registry>/<category>/<version>/    files of a run's model (model.json, <backbone>/..., ...) and ruling.json
    <registry>/<category>/current       name of the active version, in one line
    <registry>/<category>/history.json  promotions, rejections and rollbacks, with their times
    <registry>/.work                    run directory in which nightly runs train candidates

The name of a version is derived from the images and options of its model, so equal input gives the same version. Its
model.json is written last; a version without it is incomplete and is ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.errors import ModelError, UsageError
from pipelines.registry.history import HISTORY, RegistryEvent, append_event, now, read_history, version_before
from pipelines.registry.ruling import StoredRuling, Version
from pipelines.registry.statuses import EventType
from pipelines.storage.paths import RULING, RUN, folder_name, model_folder
from pipelines.storage.store import Store, side_by_side
from reconpatch.detector.model import MODEL_FILE, Model
from reconpatch.detector.model_json import from_json
from reconpatch.evaluation.acceptance import AcceptanceStatus

CURRENT = "current"
WORK = ".work"
_NAME = re.compile(r"[\w.-]*\w[\w.-]*")  # name of a version: a single folder
_SETTLED = frozenset({EventType.REJECTED, EventType.ROLLED_BACK, EventType.SET_ASIDE})


@dataclass(frozen=True)
class Registry:
    """Registry of models, on a local disk or in an object store. Only one process at a time may write to it.

    Attributes:
        store: Folder of the registry.
    """

    store: Store

    def categories(self) -> list[str]:
        """Return the names of the categories that have a history, sorted."""
        folders = [name for name in self.store.folders() if not name.startswith(".")]
        have_history = side_by_side(lambda name: self.store.exists(f"{name}/{HISTORY}"), folders)
        return sorted(unquote(name) for name, has_one in zip(folders, have_history, strict=True) if has_one)

    def of(self, category: str) -> Store:
        """Return the folder of a category.

        Args:
            category: Name of the category.
        """
        return self.store.below(folder_name(category))

    def version(self, category: str, name: str) -> Store:
        """Return the folder of a version; its files are those of models/<category> of a run, and ruling.json.

        Args:
            category: Name of the category.
            name: Name of the version.
        """
        return self.of(category).below(name)

    def current(self, category: str) -> str | None:
        """Return the name of the active version; None if there is none.

        Args:
            category: Name of the category.

        Raises:
            UsageError: The file `current` is damaged.
        """
        folder = self.of(category)
        if not folder.exists(CURRENT):
            return None
        name = folder.read(CURRENT).decode(errors="replace").strip()
        if not _NAME.fullmatch(name):
            raise UsageError(f"{folder.below(CURRENT).uri} is damaged. Select a version with `models promote`.")
        return name

    def history(self, category: str) -> list[RegistryEvent]:
        """Return the events of a category, oldest first.

        Args:
            category: Name of the category.

        Raises:
            UsageError: history.json is damaged.
        """
        return read_history(self.of(category))

    def is_settled(self, category: str, name: str) -> bool:
        """Return whether a version needs no decision: it is active, or was last rejected, rolled back or set aside.

        Args:
            category: Name of the category.
            name: Name of the version, which does not have to exist.
        """
        last = self.last_event(category, name)
        return (last is not None and last.event in _SETTLED) or name == self.current(category)

    def last_event(self, category: str, name: str) -> RegistryEvent | None:
        """Return the newest event of a version; None if there is none.

        Args:
            category: Name of the category.
            name: Name of the version.
        """
        return next((event for event in reversed(self.history(category)) if event.version == name), None)

    def repair(self, category: str) -> None:
        """Write `current` if a promotion or rollback was interrupted between writing the history and writing `current`.

        Args:
            category: Name of the category.
        """
        changes = [
            event for event in self.history(category) if event.event in (EventType.PROMOTED, EventType.ROLLED_BACK)
        ]
        if changes:
            last = changes[-1]
            due = last.version if last.to is None else last.to
            if due != self._current_if_readable(category) and self.holds(category, due):
                self._activate(category, due)

    def holds(self, category: str, name: str) -> bool:
        """Return whether a version exists and is complete.

        Args:
            category: Name of the category.
            name: Name of the version.
        """
        return self.version(category, name).exists(MODEL_FILE)

    def versions(self, category: str) -> list[Version]:
        """Return all versions of a category, newest first.

        Args:
            category: Name of the category.

        Raises:
            UsageError: A ruling or the file `current` is damaged.
        """
        current = self.current(category)
        versions = []
        for name in self.of(category).folders():
            ruling = self.ruling(category, name) if self.holds(category, name) else None
            if ruling is not None:
                versions.append(Version(category, name, ruling.at, ruling.status, name == current))
        return sorted(versions, key=lambda version: (version.created_at, version.name), reverse=True)

    def ruling(self, category: str, name: str) -> StoredRuling | None:
        """Return the result of a version's acceptance test; None if there is no such file.

        Args:
            category: Name of the category.
            name: Name of the version.

        Raises:
            UsageError: ruling.json is damaged.
        """
        folder = self.version(category, name)
        stored = folder.read_json(RULING)
        if stored is None:
            return None
        try:
            return StoredRuling.from_json(stored)
        except ValueError as error:
            raise UsageError(f"{folder.below(RULING).uri} is damaged ({error}). Restore it from a backup.") from error

    def model(self, category: str, name: str) -> Model:
        """Return the model of a version.

        Args:
            category: Name of the category.
            name: Name of the version.

        Raises:
            ModelError: model.json is damaged.
            UsageError: The version does not exist.
        """
        self._require(category, name)
        return from_json(self.version(category, name).read(MODEL_FILE))

    def add(self, category: str, name: str, *, source: Store, ruling: StoredRuling) -> None:
        """Copy a model into the registry. A version that already exists is not changed.

        Args:
            category: Name of the category.
            name: Name of the version.
            source: Folder of the model, models/<category> of a run.
            ruling: Result of its acceptance test.
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
            category: Name of the category.
            name: Name of the version.
            by_hand: Whether a person selected the version. If so, nightly runs do not promote the replaced version
                again until its images change.
            ruling: Result of the acceptance test, stored in the history; None for a change by hand.

        Raises:
            UsageError: The version does not exist, or history.json is damaged.
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
        """Record in the history that a version failed its acceptance test.

        Args:
            category: Name of the category.
            name: Name of the version.
            ruling: Result of the test.
        """
        rejected = RegistryEvent(
            event=EventType.REJECTED, version=name, at=now(), reasons=ruling.reasons, run_id=ruling.run_id
        )
        append_event(self.of(category), rejected)

    def rollback(self, category: str) -> str:
        """Make the previous version active; nightly runs promote the replaced one again only if its images change.

        Args:
            category: Name of the category.

        Returns:
            Name of the version that is now active.

        Raises:
            UsageError: There is no previous version, or it has been pruned.
        """
        current = self.current(category)
        before = version_before(self.history(category), current)
        if current is None or before is None:
            raise UsageError(f"--category {category}: there is no previous version to roll back to.")
        self._require(category, before)
        rolled_back = RegistryEvent(event=EventType.ROLLED_BACK, version=current, at=now(), to=before)
        append_event(self.of(category), rolled_back)
        self._activate(category, before)
        return before

    def prune(self, category: str, keep: int) -> list[str]:
        """Remove old versions, except the active version and the one before it.

        Args:
            category: Name of the category.
            keep: Number of the newest versions to keep, counted separately for rejected versions and for the others.

        Returns:
            Names of the removed versions.
        """
        current = self.current(category)
        spared = {current, version_before(self.history(category), current)}
        versions = self.versions(category)
        passed = [version.name for version in versions if version.status is not AcceptanceStatus.REJECTED]
        rejected = [version.name for version in versions if version.status is AcceptanceStatus.REJECTED]
        old = [name for name in [*passed[keep:], *rejected[keep:]] if name not in spared]
        for name in old:
            folder = self.version(category, name)
            folder.remove(MODEL_FILE)  # first, so that a partly removed version is ignored
            folder.remove_folder()
        return old

    def _current_if_readable(self, category: str) -> str | None:
        """Return `current`, or None if the file is damaged; the callers then replace it."""
        try:
            return self.current(category)
        except UsageError:
            return None

    def _activate(self, category: str, name: str) -> None:
        self.of(category).write(CURRENT, f"{name}\n".encode())

    def _require(self, category: str, name: str) -> None:
        if not self.holds(category, name):
            known = ", ".join(version.name for version in self.versions(category)) or "none"
            raise UsageError(f"{category}: the registry has no version '{name}'. Available versions: {known}.")


def find_model(source: Store, category: str) -> Store:
    """Return the folder of a category's model: that of a run, or that of the active version in a registry.

    Args:
        source: Run directory, registry, or folder in which models are in <category>/.
        category: Name of the category.

    Raises:
        ModelError: There is no model of the category.
    """
    if source.exists(RUN):
        folder = source.below(model_folder(category))
    else:
        registry = Registry(source)
        version = registry.current(category)
        folder = registry.of(category) if version is None else registry.version(category, version)
    if not folder.exists(MODEL_FILE):
        raise ModelError(f"--model {source.uri} has no model of category '{category}'.")
    return folder
