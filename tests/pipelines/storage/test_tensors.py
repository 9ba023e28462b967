"""Tensor files: exact reading, reproducible bytes and the cache key of the inputs."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.storage.store import Store
from pipelines.storage.tensors import read_tensors, tensors_key, write_tensors


def test_tensors_are_read_as_they_were_written_with_their_cache_key(store: Store) -> None:
    tensors = {"b": np.arange(6.0).reshape(2, 3), "a": np.array([2.5])}
    write_tensors(store, "t.safetensors", tensors, "key")
    assert tensors_key(store, "t.safetensors") == "key"
    read = read_tensors(store, "t.safetensors")
    assert all(np.array_equal(read[name], tensors[name]) for name in tensors)


def test_the_bytes_of_a_tensor_file_are_reproducible(store: Store) -> None:
    for name in ("one", "two"):
        write_tensors(store, name, {letter: np.zeros(3) for letter in "zxcvbnm"}, "key")
    assert store.read("one") == store.read("two")


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 40, b"\x04" + b"\0" * 7 + b"[{}]"])
def test_a_damaged_file_has_no_key(store: Store, content: bytes) -> None:
    store.write("t", content)
    assert tensors_key(store, "t") is None


def test_a_missing_file_has_no_key(store: Store) -> None:
    assert tensors_key(store, "nothing") is None
