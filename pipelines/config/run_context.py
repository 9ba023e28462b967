"""What every job of a run is given beside itself."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.config.run_config import RunConfig
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The configuration of a run and the stores it works in; travels to Ray tasks with each job.

    Attributes:
        config: what the run is asked to do.
        data: the root that image paths are relative to.
        out: the run directory.
        scratch: where feature shards and checkpoints are kept while they are needed.
        provenance: the run and the time that scored rows carry.
    """

    config: RunConfig
    data: Store
    out: Store
    scratch: Store
    provenance: Provenance
