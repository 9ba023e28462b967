"""Removal of the partial files that killed processes leave behind."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.storage.paths import COMPARE, REPORT
from pipelines.storage.store import PARTIAL_FILE, Store

_WITHOUT_LEASE = (REPORT, COMPARE)  # commands without a lease may write to these folders at the same time


def remove_partial_files(out: Store) -> None:
    """Remove the partial files of a run directory, except those of reports and comparisons.

    In an object store there are none: an object does not exist until its upload is complete.

    Args:
        out: Run directory to which no other process writes.
    """
    if not out.is_local:
        return
    for folder, subfolders, names in os.walk(out.path()):
        if folder == out.path():
            subfolders[:] = [name for name in subfolders if name not in _WITHOUT_LEASE]
        for name in filter(PARTIAL_FILE.fullmatch, names):
            Path(folder, name).unlink(missing_ok=True)
