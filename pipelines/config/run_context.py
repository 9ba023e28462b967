"""The context that all jobs of a run share."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.config.run_config import RunConfig
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store


@dataclass(frozen=True, kw_only=True)
class RunContext:
    """The configuration, the stores and the provenance of a run. It is sent to the Ray tasks with each job.

    Attributes:
        config: Run configuration.
        data: Root folder of the dataset; image paths are relative to it.
        out: Run directory.
        scratch: Scratch space, which holds feature shards and checkpoints while they are needed.
        provenance: Run id and start time, which are stored in each row of scores.
    """

    config: RunConfig
    data: Store
    out: Store
    scratch: Store
    provenance: Provenance
