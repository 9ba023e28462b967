"""Tensors as safetensors files, which hold the key of what they came from."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from safetensors.numpy import load, save

from pipelines.storage import Store


def write_tensors(store: Store, name: str, tensors: Mapping[str, np.ndarray], key: str) -> None:
    """Tensors and the key of what they came from, the only metadata: safetensors writes several in any order."""
    contiguous = {each: np.ascontiguousarray(tensor) for each, tensor in tensors.items()}
    store.write(name, save(contiguous, metadata={"key": key}))


def read_tensors(store: Store, name: str) -> dict[str, np.ndarray]:
    """A safetensors file's tensors by name. Raises OSError where it is not there, SafetensorError where it is none."""
    tensors: dict[str, np.ndarray] = load(store.read(name))
    return tensors


def tensors_key(store: Store, name: str) -> str | None:
    """The key of a file of tensors, from its header and size alone; None where it is not there, not whole, or none."""
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
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):  # JSON, but of anything
        return None
    return key if end == size and isinstance(key, str) else None
