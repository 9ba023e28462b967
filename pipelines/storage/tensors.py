"""Tensors as safetensors files, with the cache key of what they were computed from."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load, save

from pipelines.storage.store import Store


def write_tensors(store: Store, name: str, tensors: Mapping[str, np.ndarray], key: str) -> None:
    """Write tensors as one file.

    Args:
        store: the folder.
        name: of the file in it.
        tensors: by name.
        key: of what they were computed from. It is the only metadata: safetensors writes several in random order.
    """
    contiguous = {tensor_name: np.ascontiguousarray(tensor) for tensor_name, tensor in tensors.items()}
    store.write(name, save(contiguous, metadata={"key": key}))


def read_tensors(store: Store, name: str) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file by name.

    Raises:
        OSError: the file is not there or cannot be read.
        SafetensorError: it is no safetensors file, or a damaged one.
    """
    tensors: dict[str, np.ndarray] = load(store.read(name))
    return tensors


def tensors_key(store: Store, name: str) -> str | None:
    """Return the cache key of a file of tensors, from its header and size alone.

    Returns:
        None where the file is not there, not whole, or no safetensors file.
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
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):  # some other JSON
        return None
    return key if end == size and isinstance(key, str) else None
