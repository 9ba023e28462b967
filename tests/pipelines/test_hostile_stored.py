"""Tests of stored files with arbitrary bytes: a damaged file counts as missing and never yields other results."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.errors import UsageError
from pipelines.storage.parquet import metadata_of, read_rows, read_table, write_table
from pipelines.storage.store import Store
from pipelines.storage.tensors import tensors_key, write_tensors
from tests.object_stores import put, remote


def parquet() -> bytes:
    store = remote()
    rows = [{"name": f"a/{number}.png", "score": np.sqrt(number)} for number in range(500)]
    store.filesystem.create_dir("lake")
    write_table(store, "t", pa.Table.from_pylist(rows), {"key": "k"})
    return store.read("t")


PARQUET = parquet()


def stored(data: bytes) -> Store:
    store = remote()
    put(store, "t", data)
    return store


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a Parquet file that is truncated or has changed bytes, most of them in its footer."""
    data = bytearray(PARQUET[: draw(st.integers(0, len(PARQUET)))] if draw(st.booleans()) else PARQUET)
    for _ in range(draw(st.integers(0, 4)) if data else 0):
        position = draw(st.one_of(st.integers(-min(len(data), 1200), -1), st.integers(0, len(data) - 1)))
        data[position] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=300)
@given(st.one_of(damaged(), st.binary(max_size=100)))
@example(b"PAR1" + b"\xff" * 60 + struct.pack("<i", 60) + b"PAR1")
@example(b"PAR1" + struct.pack("<I", 2**32 - 1) + b"PAR1")
def test_metadata_of_a_file_with_any_bytes_is_text_or_empty(data: bytes) -> None:
    found = metadata_of(stored(data), "t")
    assert all(isinstance(text, str) for pair in found.items() for text in pair)


def test_metadata_longer_than_the_first_read_is_read_whole() -> None:
    store, story = remote(), "x" * 300_000
    store.filesystem.create_dir("lake")
    write_table(store, "t", pa.table({"a": [1]}), {"story": story})
    assert metadata_of(store, "t")["story"] == story


def test_an_unavailable_store_is_not_mistaken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.of(str(tmp_path))
    store.write("t", PARQUET)
    monkeypatch.setattr(Store, "exists", lambda *_: True)
    (tmp_path / "t").unlink()
    with pytest.raises(OSError, match="t"):
        metadata_of(store, "t")


def test_a_flipped_bit_never_becomes_another_score() -> None:
    rows = read_rows(stored(PARQUET), "t")
    footer = len(PARQUET) - 8 - int.from_bytes(PARQUET[-8:-4], "little")
    noticed = 0
    for position in range(4, footer, 23):
        data = bytearray(PARQUET)
        data[position] ^= 4
        try:
            assert read_table(stored(bytes(data)), "t").to_pylist() == rows
        except (UsageError, UnicodeDecodeError):
            noticed += 1
    assert noticed > 100


def header(text: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<Q", len(text)) + text + body


@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(header)))
@example(header(b"[" * 200_000))
@example(header(b'{"__metadata__": []}'))
@example(header(b'{"__metadata__": {"key": 5}}'))
@example(header(b'{"__metadata__": {"key": "k"}, "a": 5}'))
@example(header(b'{"__metadata__": {"key": "k"}, "a": {"data_offsets": [0, 4]}}', b"abc"))
@example(struct.pack("<Q", 2**62) + b"{}")
def test_a_file_that_is_no_safetensors_file_has_no_key(data: bytes) -> None:
    assert tensors_key(stored(data), "t") is None


@given(st.integers(0, 200))
def test_a_truncated_safetensors_file_has_no_key(lost: int) -> None:
    store = remote()
    store.filesystem.create_dir("lake")
    write_tensors(store, "t", {"a": np.arange(24.0), "b": np.zeros(3, np.float32)}, "key")
    whole = store.read("t")
    assert tensors_key(stored(whole[: len(whole) - lost]), "t") == (None if lost else "key")
