"""A stored model: model.json, and beside it the adapter, the memory bank and the bank index of each member.

A module of its own: it loads torch, which `pipelines.storage.store` does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.storage.parquet import read_table
from pipelines.storage.paths import adapter_name, bank_index_name, bank_name
from pipelines.storage.store import Store
from pipelines.storage.tensors import read_tensors
from reconpatch.detector.model import MODEL_FILE, Model
from reconpatch.detector.model_json import from_json
from reconpatch.neighbors.memory_bank import MemoryBank


@dataclass(frozen=True)
class StoredModel:
    """A category's model and the folder that holds it; travels to Ray's workers.

    Attributes:
        model: what model.json says.
        folder: of a run, models/<category>; of a registry, <category>/<version>.
    """

    model: Model
    folder: Store

    @classmethod
    def load(cls, folder: Store) -> StoredModel:
        """Read model.json from a model's folder.

        Raises:
            ModelError: it is damaged or of a later format.
            OSError: it is not there or cannot be read.
        """
        return cls(from_json(folder.read(MODEL_FILE)), folder)

    @property
    def category(self) -> str:
        """The category that the model is of."""
        return self.model.category

    @property
    def backbones(self) -> list[str]:
        """The backbones of the members, in order."""
        return [member.backbone for member in self.model.members]


def read_adapter(folder: Store, backbone: str) -> np.ndarray:
    """Return the weight (D, C') of a member's adapter f, float32; the identity is not stored.

    Args:
        folder: of the category's model.
        backbone: of the member.
    """
    return read_tensors(folder, adapter_name(backbone))["f.weight"]


def read_bank(folder: Store, backbone: str, *, score_neighbors: int, device: str) -> MemoryBank:
    """Return the memory bank of a member.

    Args:
        folder: of the category's model.
        backbone: of the member.
        score_neighbors: b of equation 10.
        device: torch's name of the device on which queries run.
    """
    return MemoryBank(read_tensors(folder, bank_name(backbone))["entries"], score_neighbors, device)


def read_bank_indices(stored: StoredModel) -> list[dict[str, list[Any]]]:
    """Return where the entries of each member's bank came from: per member, columns of `BANK_INDEX` by name."""
    return [read_table(stored.folder, bank_index_name(backbone)).to_pydict() for backbone in stored.backbones]
