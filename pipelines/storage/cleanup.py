"""Removal of the partial files that killed processes leave."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.storage.paths import COMPARE, REPORT
from pipelines.storage.store import PARTIAL_FILE, Store

_WITHOUT_LEASE = (REPORT, COMPARE)  # another process may be writing to these folders now


def remove_partial_files(out: Store) -> None:
    """Remove partial files from a folder that no other process writes to, but for those of reports and comparisons.

    An object store has none: an object that is not uploaded whole does not exist.
    """
    if not out.is_local:
        return
    for folder, subfolders, names in os.walk(out.path()):
        if folder == out.path():
            subfolders[:] = [name for name in subfolders if name not in _WITHOUT_LEASE]
        for name in filter(PARTIAL_FILE.fullmatch, names):
            Path(folder, name).unlink(missing_ok=True)
