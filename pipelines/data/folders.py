"""Folders that options name and that must exist."""

from __future__ import annotations

from pipelines.errors import UsageError
from pipelines.storage.redaction import redact
from pipelines.storage.store import Store


def existing_folder(option: str, where: str) -> Store:
    """Return a folder that must exist and hold something.

    Args:
        option: Name of the option that gives the folder, for the message.
        where: Path or URI.

    Raises:
        UsageError: The folder does not exist or is empty.
    """
    folder = Store.of(where)
    if not folder.holds_something():
        raise UsageError(f"{option} {redact(where)}: the folder does not exist or is empty.")
    return folder
