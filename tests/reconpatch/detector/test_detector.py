"""A stored model is loaded whole or refused: what is damaged is known before the first image, in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from reconpatch import Detector
from reconpatch.detector import detector
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from reconpatch.detector.model_json import to_json
from reconpatch.exceptions import ModelError
from reconpatch.features.backbones import Backbone, load_backbone

LITE = "tf_efficientnet_lite0"
ENTRIES = 20
PICTURE = np.random.default_rng(1).random((64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE, image_size=64)


@pytest.fixture(autouse=True)
def loaded_once(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "load_backbone", lambda *given, **options: backbone)


@pytest.fixture
def folder(backbone: Backbone, tmp_path: Path) -> Path:
    """A model with an adapter, as a run leaves it."""
    member = MemberModel(LITE, (2, 3), 3, "concat", 32, "package", backbone.weights_sha256, "key", 1.0, 1.0, 1.4826)
    model = Model("nut", "v1", (member,), 64, True, 16, 16, "patch", 9, 0.1, CODE_VERSION, (1.0, 2.0), 2.0, 0.3)
    (tmp_path / "model.json").write_text(to_json(model))
    random, place = np.random.default_rng(0), tmp_path / LITE
    place.mkdir()
    adapter = random.normal(size=(32, sum(backbone.channels))).astype(np.float32)
    save_file({"f.weight": adapter}, place / "adapter.safetensors")
    write_bank(place, random.normal(size=(ENTRIES, 32)).astype(np.float32))
    write_index(place, ["a.png"] * ENTRIES)
    return tmp_path


def write_bank(place: Path, entries: np.ndarray, name: str = "entries") -> None:
    save_file({name: entries}, place / "memory_bank.safetensors")


def write_index(place: Path, paths: list[Any], rows: list[Any] | None = None) -> None:
    table = {"image_path": paths, "row": rows or [0] * len(paths), "col": [0] * len(paths)}
    pq.write_table(pa.table(table), place / "bank_index.parquet")


def test_a_model_that_is_whole_scores(folder: Path) -> None:
    found = Detector.load(folder).score(PICTURE)
    assert np.isfinite(found.score)
    assert (found.nearest_image, found.nearest_row, found.nearest_col) == ("a.png", 0, 0)


def bank(width: int = 32, dtype: type = np.float32, rows: int = ENTRIES) -> np.ndarray:
    return np.ones((rows, width), dtype)


def with_nan() -> np.ndarray:
    entries = bank()
    entries[3, 4] = np.nan
    return entries


def cut(name: str, keep: int) -> Callable[[Path], object]:
    return lambda place: (place / name).write_bytes((place / name).read_bytes()[:keep])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda place: write_bank(place, bank(31)), r"the bank, float32 \(20, 31\), is not of .* width 32"),
        (lambda place: write_bank(place, bank()[0]), "the bank"),
        (lambda place: write_bank(place, bank(rows=0)), "at least one row|its index"),
        (lambda place: write_bank(place, with_nan()), "finite"),
        (lambda place: write_bank(place, bank(dtype=np.int32)), r"the bank, int32"),
        (lambda place: write_bank(place, bank(), "other"), "entries"),
        (cut("memory_bank.safetensors", 1000), ""),
        (cut("memory_bank.safetensors", 0), ""),
        (cut("adapter.safetensors", 1000), ""),
        (lambda place: save_file({"f.weight": bank()}, place / "adapter.safetensors"), r"the adapter, .*\(20, 32\)"),
        (lambda place: write_index(place, ["a.png"] * 3), "the bank has 20 entries, and its index 3"),
        (lambda place: write_index(place, [None] * ENTRIES), ""),
        (lambda place: write_index(place, ["a.png"] * ENTRIES, ["x"] * ENTRIES), ""),
        (lambda place: pq.write_table(pa.table({"row": [0] * ENTRIES}), place / "bank_index.parquet"), "image_path"),
        (cut("bank_index.parquet", 100), ""),
        (lambda place: (place / "bank_index.parquet").write_bytes(b"PAR1garbagePAR1"), ""),
        (lambda place: (place / "bank_index.parquet").unlink(), "No such file"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_model_that_is_not_whole_says_what_is_wrong(
    folder: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(folder / LITE)
    with pytest.raises(
        ModelError, match=rf"{LITE}: the model is not whole \(.*({reason}).*\); fit it again\.$"
    ) as refused:
        Detector.load(folder)
    assert "\n" not in str(refused.value)


def test_the_identity_adapters_bank_is_as_wide_as_the_features(folder: Path, backbone: Backbone) -> None:
    model = Detector.load(folder).model
    identity = replace(model, members=(replace(model.members[0], dim=0),))
    (folder / "model.json").write_text(to_json(identity))
    with pytest.raises(ModelError, match="width 152"):
        Detector.load(folder)
    write_bank(folder / LITE, bank(sum(backbone.channels)))
    assert Detector.load(folder).members[0].weight is None


@pytest.mark.parametrize("path", ["nowhere", "model.json"])
def test_a_path_without_a_model_is_named(folder: Path, path: str) -> None:
    with pytest.raises(ModelError, match=r"there is no model\.json; give models/<category> of a run"):
        Detector.load(folder / path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["model.json", f"{LITE}/memory_bank.safetensors"]))
def test_one_byte_that_fell_over_or_an_end_that_is_cut_off_is_a_model_or_refused(
    folder: Path, data: st.DataObject, name: str
) -> None:
    whole = (folder / name).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 80))
    flip = data.draw(st.none() | st.integers(1, 255))
    rest = b"" if flip is None else bytes([whole[place] ^ flip]) + whole[place + 1 :]
    try:
        (folder / name).write_bytes(whole[:place] + rest)
        Detector.load(folder)
    except ModelError:
        pass
    finally:
        (folder / name).write_bytes(whole)
