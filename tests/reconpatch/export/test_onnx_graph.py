"""A model as one ONNX graph: its parts, what it says of itself, and what cannot be exported."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from reconpatch.detector.detector import Detector
from reconpatch.detector.model import CODE_VERSION, calibrate
from reconpatch.exceptions import ExportError, ModelError
from reconpatch.export.onnx_graph import NearestEntries, ScoringGraph, metadata, resized, trace, without_features
from reconpatch.imaging.geometry import Geometry
from reconpatch.imaging.images import preprocess
from reconpatch.neighbors.memory_bank import MemoryBank
from tests.reconpatch.export.small_models import SIDE, Levels, fitted, network, run, weave


def test_pictures_of_one_size_go_together(graph: onnx.ModelProto) -> None:
    batch = np.stack([weave(seed, 33, 71) for seed in range(3)])
    scores, patches = run(graph, batch)
    for picture, score, each in zip(batch, scores, patches, strict=True):
        alone, alone_patches = run(graph, picture[None])
        np.testing.assert_allclose(score, alone[0], rtol=1e-3)
        np.testing.assert_allclose(each, alone_patches[0], atol=1e-3)


@pytest.mark.parametrize("full_frame", [True, False])
@pytest.mark.parametrize("size", [(48, 48), (10, 31), (97, 300), (1000, 701)])
def test_the_graph_resizes_as_the_detector_does(size: tuple[int, int], full_frame: bool) -> None:
    picture = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    geometry = Geometry.of(*size, SIDE, full_frame)
    found = resized(torch.from_numpy(picture)[None], geometry)[0]
    np.testing.assert_allclose(found, preprocess(picture, geometry), atol=1e-6)


@pytest.mark.parametrize(("entries", "b"), [(1, 9), (2, 9), (7, 3), (300, 9), (300, 1)])
def test_nearest_entries_are_the_banks(entries: int, b: int) -> None:
    random = np.random.default_rng(0)
    # Far from the origin and close together, where a product alone would choose among them by its rounding.
    rows = (100.0 + random.normal(size=(entries, 20))).astype(np.float32)
    patches = np.concatenate([rows[:5], (100.0 + 2.0 * random.normal(size=(500, 20))).astype(np.float32)])
    bank = MemoryBank(rows, b)
    np.testing.assert_allclose(NearestEntries(bank)(torch.from_numpy(patches)), bank.score(patches), rtol=1e-5)


def test_what_a_graph_says_of_itself(small: Detector, graph: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(without_features(graph))
    assert [each.name for each in session.get_outputs()] == ["score", "map"]
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", "height", "width", 3])
    known = session.get_modelmeta().custom_metadata_map
    assert known == metadata(small.model)
    assert (known["category"], known["model_version"], known["code_version"]) == ("nut=1", "v1", str(CODE_VERSION))
    assert float(known["threshold"]) == small.model.threshold
    assert float(known["false_alarm_bound"]) == small.model.false_alarm_bound
    assert json.loads(known["holdout_scores"]) == list(small.model.holdout_scores)
    assert [each["backbone"] for each in json.loads(known["members"])] == ["net0"]
    assert [int(known[name]) for name in ("image_size", "resize", "crop_offset")] == [SIDE, SIDE, 0]
    assert "threshold" not in metadata(calibrate(small.model, []))


def test_a_graph_names_no_folder_of_the_machine_that_made_it(graph: onnx.ModelProto) -> None:
    written = without_features(graph)
    assert b"site-packages" not in written
    assert b".py" not in written


def test_a_model_that_fits_no_file_is_refused(small: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconpatch.export.onnx_graph._FILE_LIMIT", 1000)
    with pytest.raises(ExportError, match="one ONNX file holds 2"):
        trace(small)


def test_a_network_that_torch_cannot_export_is_named(small: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("Failed to export\n  a choice that depends on data")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(ExportError) as raised:
        trace(small)
    assert str(raised.value) == ("torch cannot export these networks: Failed to export a choice that depends on data")


@pytest.mark.slow
def test_a_network_that_chooses_by_its_values_cannot_be_exported(small: Detector) -> None:
    class Choosing(Levels):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return super().forward(images if images.mean() > 0 else -images)

    module = Choosing(0, (4, 2)).eval().requires_grad_(False)
    members = tuple(replace(each, backbone=replace(each.backbone, network=module)) for each in small.members)
    with pytest.raises(ExportError, match="torch cannot export these networks: "):
        trace(replace(small, members=members))


def test_a_model_without_statistics_is_refused(small: Detector) -> None:
    (member,) = small.model.members
    bare = replace(small, model=replace(small.model, members=(replace(member, median=None),)))
    with pytest.raises(ModelError, match="no median and MAD"):
        trace(bare)


def test_what_is_not_finite_has_no_score() -> None:
    """The Detector raises; a graph cannot, and NaN is above no threshold and below none."""
    scoring = ScoringGraph(fitted(network(0)))
    picture = torch.from_numpy(weave(0)[None])
    assert torch.isfinite(scoring(picture)[0]).all()
    assert torch.isnan(scoring(picture.clone().fill_(torch.nan))[0]).all()
    scoring.networks[0].steps[0].weight.data *= 1e6  # beyond what float16 holds, in some patches
    assert torch.isnan(scoring(picture)[0]).all()
