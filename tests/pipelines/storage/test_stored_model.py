"""Reading of a stored model and of the files of its members."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipelines.errors import ModelError
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import adapter_name, bank_index_name, bank_name
from pipelines.storage.schemas import BANK_INDEX
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel, read_adapter, read_bank, read_bank_indices
from pipelines.storage.tensors import write_tensors
from reconpatch.detector.model import CODE_VERSION, MODEL_FILE, MemberModel, Model
from reconpatch.detector.model_json import to_json

MEMBERS = tuple(MemberModel(name, (2, 3), 3, "concat", 2, "weights", "0" * 64, "key") for name in ("lite0", "lite1"))
MODEL = Model("nut", "v", MEMBERS, 96, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)


def test_a_model_is_loaded_together_with_its_folder(store: Store) -> None:
    store.write(MODEL_FILE, to_json(MODEL).encode())
    stored = StoredModel.load(store)
    assert stored == StoredModel(MODEL, store)
    assert (stored.category, stored.backbones) == ("nut", ["lite0", "lite1"])


def test_a_damaged_model_is_an_error(store: Store) -> None:
    store.write(MODEL_FILE, json.dumps({"category": "nut"}).encode())
    with pytest.raises(ModelError, match="damaged"):
        StoredModel.load(store)


def test_a_folder_without_a_model_is_an_error(store: Store) -> None:
    with pytest.raises(OSError, match=MODEL_FILE):
        StoredModel.load(store)


def test_the_files_of_each_member_are_read_by_its_backbone(store: Store) -> None:
    entries = np.arange(6, dtype=np.float32).reshape(3, 2)
    weight = np.eye(2, dtype=np.float32)
    for number, backbone in enumerate(("lite0", "lite1")):
        write_tensors(store, adapter_name(backbone), {"f.weight": weight + number}, "key")
        write_tensors(store, bank_name(backbone), {"entries": entries + number}, "key")
        rows = [{"category": "nut", "image_path": f"{number}.png", "row": row, "col": 0} for row in range(3)]
        write_rows(store, bank_index_name(backbone), rows, BANK_INDEX)
    assert np.array_equal(read_adapter(store, "lite1"), weight + 1)
    bank = read_bank(store, "lite1", score_neighbors=2, device="cpu")
    assert np.array_equal(bank.entries.numpy(), entries + 1)
    indices = read_bank_indices(StoredModel(MODEL, store))
    assert [index["image_path"] for index in indices] == [["0.png"] * 3, ["1.png"] * 3]
