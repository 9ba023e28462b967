"""Reading and writing of tensors as safetensors files, with the cache key of their inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load, save

from pipelines.storage.store import Store


def write_tensors(store: Store, name: str, tensors: Mapping[str, np.ndarray], key: str) -> None:
    """Write tensors as one safetensors file.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.
        tensors: Name -> tensor.
        key: Cache key of the inputs from which the tensors were computed. It is the only metadata entry, because
            safetensors writes several entries in random order and the file must be reproducible.
    """
    contiguous = {tensor_name: np.ascontiguousarray(tensor) for tensor_name, tensor in tensors.items()}
    store.write(name, save(contiguous, metadata={"key": key}))


def read_tensors(store: Store, name: str) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.

    Returns:
        Name -> tensor.

    Raises:
        OSError: The file does not exist or cannot be read.
        SafetensorError: The file is damaged or is not a safetensors file.
    """
    tensors: dict[str, np.ndarray] = load(store.read(name))
    return tensors


def tensors_key(store: Store, name: str) -> str | None:
    """Return the cache key of a file with tensors; only its header and size are read.

    Args:
        store: Folder of the file.
        name: Name of the file below the folder.

    Returns:
        The key; None if the file does not exist, is incomplete or is not a safetensors file.
    """
    if not store.exists(name):
        return None
    with store.filesystem.open_input_file(store.path(name)) as file:
        size = file.size()
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= size else b""
    try:
        header = json.loads(text)
        key = header.pop("__metadata__")["key"]
        end = 8 + length + max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):  # not the header of such a file
        return None
    return key if end == size and isinstance(key, str) else None
