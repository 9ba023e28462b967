"""What processes leave that are killed while they write: files aside, which nobody will give their names any more."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.rundir import COMPARE, REPORT
from pipelines.storage import ASIDE, Store

_WITHOUT_LEASE = (REPORT, COMPARE)  # another process may be writing there now


def sweep(out: Store) -> None:
    """Remove them from a folder in which nobody else writes, but for reports' and comparisons'; an object store has
    none, since what is not uploaded whole is not there."""
    if not out.is_local:
        return
    for folder, below, names in os.walk(out.path()):
        if folder == out.path():
            below[:] = [name for name in below if name not in _WITHOUT_LEASE]
        for name in filter(ASIDE.fullmatch, names):
            Path(folder, name).unlink(missing_ok=True)
