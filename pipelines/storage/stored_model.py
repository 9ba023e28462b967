"""Reading of a stored model: model.json, and the adapter, memory bank and bank index of each member.

This module is separate from `pipelines.storage.store` because it imports torch.
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
    """Model of a category and the folder in which it is stored. Instances are sent to Ray workers.

    Attributes:
        model: Contents of model.json.
        folder: Folder of the model: models/<category> in a run directory, <category>/<version> in a registry.
    """

    model: Model
    folder: Store

    @classmethod
    def load(cls, folder: Store) -> StoredModel:
        """Read model.json from the folder of a model.

        Args:
            folder: Folder of the model.

        Returns:
            The model; adapters and memory banks are not read.

        Raises:
            ModelError: model.json is damaged or has a later format.
            OSError: model.json does not exist or cannot be read.
        """
        return cls(from_json(folder.read(MODEL_FILE)), folder)

    @property
    def category(self) -> str:
        """Category of the model."""
        return self.model.category

    @property
    def backbones(self) -> list[str]:
        """Names of the members' backbones, in the order of the members."""
        return [member.backbone for member in self.model.members]


def read_adapter(folder: Store, backbone: str) -> np.ndarray:
    """Return the weight of a member's adapter f. An adapter that is the identity has no file.

    Args:
        folder: Folder of the model.
        backbone: Name of the member's backbone.

    Returns:
        (D, C') float32.
    """
    return read_tensors(folder, adapter_name(backbone))["f.weight"]


def read_bank(folder: Store, backbone: str, *, score_neighbors: int, device: str) -> MemoryBank:
    """Return the memory bank of a member.

    Args:
        folder: Folder of the model.
        backbone: Name of the member's backbone.
        score_neighbors: Number of neighbors b in equation 10.
        device: Device on which queries run, as torch names it, such as 'cpu' or 'cuda'.

    Returns:
        Memory bank that is ready for queries.
    """
    return MemoryBank(read_tensors(folder, bank_name(backbone))["entries"], score_neighbors, device)


def read_bank_indices(stored: StoredModel) -> list[dict[str, list[Any]]]:
    """Return the origin of the entries of each member's bank.

    Args:
        stored: Model with its folder.

    Returns:
        For each member, column name of `BANK_INDEX` -> values, one per bank entry.
    """
    return [read_table(stored.folder, bank_index_name(backbone)).to_pydict() for backbone in stored.backbones]
