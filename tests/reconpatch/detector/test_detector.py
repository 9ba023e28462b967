"""Loading of stored models, where a damaged model is an error of one line, and the images that they score."""

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
from PIL import Image
from safetensors.numpy import save_file

from reconpatch import Detector
from reconpatch.detector import detector
from reconpatch.detector.model import CODE_VERSION, MemberModel, Model
from reconpatch.detector.model_json import to_json
from reconpatch.exceptions import ImageError, ModelError
from reconpatch.features.backbones import Backbone, load_backbone

LITE = "tf_efficientnet_lite0"
ENTRIES = 20
IMAGE = np.random.default_rng(1).random((64, 64, 3), np.float32)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone(LITE, image_size=64)


@pytest.fixture(autouse=True)
def loaded_once(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "load_backbone", lambda *arguments, **options: backbone)


@pytest.fixture
def folder(backbone: Backbone, tmp_path: Path) -> Path:
    """Folder with a model that has an adapter, in the files that a run writes."""
    member = MemberModel(LITE, (2, 3), 3, "concat", 32, "package", backbone.weights_sha256, "key", 1.0, 1.0, 1.4826)
    model = Model("nut", "v1", (member,), 64, True, 16, 16, "patch", 9, 0.1, CODE_VERSION, (1.0, 2.0), 2.0, 0.3)
    (tmp_path / "model.json").write_text(to_json(model))
    random, member_folder = np.random.default_rng(0), tmp_path / LITE
    member_folder.mkdir()
    adapter = random.normal(size=(32, sum(backbone.channels))).astype(np.float32)
    save_file({"f.weight": adapter}, member_folder / "adapter.safetensors")
    write_bank(member_folder, random.normal(size=(ENTRIES, 32)).astype(np.float32))
    write_index(member_folder, ["a.png"] * ENTRIES)
    return tmp_path


def write_bank(member_folder: Path, entries: np.ndarray, name: str = "entries") -> None:
    save_file({name: entries}, member_folder / "memory_bank.safetensors")


def write_index(member_folder: Path, paths: list[Any], rows: list[Any] | None = None) -> None:
    table = {"image_path": paths, "row": rows or [0] * len(paths), "col": [0] * len(paths)}
    pq.write_table(pa.table(table), member_folder / "bank_index.parquet")


def test_a_complete_model_scores_an_image(folder: Path) -> None:
    verdict = Detector.load(folder).score(IMAGE)
    assert np.isfinite(verdict.score)
    assert (verdict.nearest_image, verdict.nearest_row, verdict.nearest_col) == ("a.png", 0, 0)


def test_a_file_is_read_with_the_bit_depth_of_the_model(folder: Path, tmp_path: Path) -> None:
    model = replace(Detector.load(folder).model, bit_depth=10)
    (folder / "model.json").write_text(to_json(model))
    stored = np.random.default_rng(2).integers(0, 1024, (64, 64), dtype=np.uint16)
    Image.fromarray(stored).save(tmp_path / "deep.png")
    loaded = Detector.load(folder)
    of_file, of_array = loaded.score(tmp_path / "deep.png"), loaded.score(stored.astype(np.float32) / 1023)
    assert of_file.score == of_array.score
    assert (of_file.map == of_array.map).all()


def test_an_image_that_cannot_be_scored_is_an_error_that_says_why(folder: Path, tmp_path: Path) -> None:
    loaded = Detector.load(folder)
    (tmp_path / "part.png").write_bytes(b"not an image at all")
    with pytest.raises(ImageError, match=r"^.*part\.png: "):
        loaded.score(tmp_path / "part.png")
    with pytest.raises(ValueError, match="divide by 255"):
        loaded.score(IMAGE * 255)
    with pytest.raises(ValueError, match="channels first"):
        loaded.score(IMAGE.transpose(2, 0, 1))


def bank(width: int = 32, dtype: type = np.float32, rows: int = ENTRIES) -> np.ndarray:
    return np.ones((rows, width), dtype)


def with_nan() -> np.ndarray:
    entries = bank()
    entries[3, 4] = np.nan
    return entries


def truncate(name: str, size: int) -> Callable[[Path], object]:
    """Return a function that truncates a file of a member's folder to the given number of bytes."""
    return lambda member: (member / name).write_bytes((member / name).read_bytes()[:size])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda member: write_bank(member, bank(31)), r"the bank must .* width 32; it has dtype float32 .*\(20, 31\)"),
        (lambda member: write_bank(member, bank()[0]), "the bank"),
        (lambda member: write_bank(member, bank(rows=0)), "at least one row|its index"),
        (lambda member: write_bank(member, with_nan()), "finite"),
        (lambda member: write_bank(member, bank(dtype=np.int32)), r"the bank must .* it has dtype int32"),
        (lambda member: write_bank(member, bank(), "other"), "entries"),
        (truncate("memory_bank.safetensors", 1000), ""),
        (truncate("memory_bank.safetensors", 0), ""),
        (truncate("adapter.safetensors", 1000), ""),
        (
            lambda member: save_file({"f.weight": bank()}, member / "adapter.safetensors"),
            r"the adapter must .*\(20, 32\)",
        ),
        (
            lambda member: write_index(member, ["a.png"] * 3),
            "the bank has 20 entries, but its index has 3 rows",
        ),
        (lambda member: write_index(member, [None] * ENTRIES), ""),
        (lambda member: write_index(member, ["a.png"] * ENTRIES, ["x"] * ENTRIES), ""),
        (lambda member: pq.write_table(pa.table({"row": [0] * ENTRIES}), member / "bank_index.parquet"), "image_path"),
        (truncate("bank_index.parquet", 100), ""),
        (lambda member: (member / "bank_index.parquet").write_bytes(b"PAR1garbagePAR1"), ""),
        (lambda member: (member / "bank_index.parquet").unlink(), "No such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_model_is_an_error_that_names_the_damage(
    folder: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(folder / LITE)
    with pytest.raises(
        ModelError, match=rf"{LITE}: the model is incomplete or damaged \(.*({reason}).*\)\. Fit it again\.$"
    ) as raised:
        Detector.load(folder)
    assert "\n" not in str(raised.value)


def test_with_the_identity_adapter_the_bank_must_be_as_wide_as_the_features(folder: Path, backbone: Backbone) -> None:
    model = Detector.load(folder).model
    identity = replace(model, members=(replace(model.members[0], dim=0),))
    (folder / "model.json").write_text(to_json(identity))
    with pytest.raises(ModelError, match="width 152"):
        Detector.load(folder)
    write_bank(folder / LITE, bank(sum(backbone.channels)))
    assert Detector.load(folder).members[0].weight is None


@pytest.mark.parametrize("path", ["nowhere", "model.json"])
def test_a_path_without_a_model_is_an_error(folder: Path, path: str) -> None:
    with pytest.raises(ModelError, match=r"contains no model\.json\. Pass the folder models/<category> of a run"):
        Detector.load(folder / path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(["model.json", f"{LITE}/memory_bank.safetensors"]))
def test_a_file_with_a_changed_byte_or_a_missing_end_is_either_read_or_a_model_error(
    folder: Path, data: st.DataObject, name: str
) -> None:
    whole = (folder / name).read_bytes()
    offset = data.draw(st.integers(0, len(whole) - 1) | st.integers(0, 80))
    flip = data.draw(st.none() | st.integers(1, 255))
    rest = b"" if flip is None else bytes([whole[offset] ^ flip]) + whole[offset + 1 :]
    try:
        (folder / name).write_bytes(whole[:offset] + rest)
        Detector.load(folder)
    except ModelError:
        pass
    finally:
        (folder / name).write_bytes(whole)
