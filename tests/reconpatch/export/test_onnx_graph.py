"""Export as one ONNX graph: the parts of the graph, its metadata, and models that cannot be exported."""

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
from tests.reconpatch.export.small_models import SIDE, Layers, fitted, network, run, weave


def test_images_of_the_same_size_can_be_scored_as_a_batch(graph: onnx.ModelProto) -> None:
    batch = np.stack([weave(seed, 33, 71) for seed in range(3)])
    scores, maps = run(graph, batch)
    for image, score, patch_map in zip(batch, scores, maps, strict=True):
        (expected_score,), (expected_map,) = run(graph, image[None])
        np.testing.assert_allclose(score, expected_score, rtol=1e-3)
        np.testing.assert_allclose(patch_map, expected_map, atol=1e-3)


@pytest.mark.parametrize("full_frame", [True, False])
@pytest.mark.parametrize("size", [(48, 48), (10, 31), (97, 300), (1000, 701)])
def test_the_graph_resizes_as_the_detector_does(size: tuple[int, int], full_frame: bool) -> None:
    image = np.random.default_rng(0).random((*size, 3), dtype=np.float32)
    geometry = Geometry.of(*size, SIDE, full_frame)
    actual = resized(torch.from_numpy(image)[None], geometry)[0]
    np.testing.assert_allclose(actual, preprocess(image, geometry), atol=1e-6)


@pytest.mark.parametrize(("entries", "b"), [(1, 9), (2, 9), (7, 3), (300, 9), (300, 1)])
def test_the_scores_of_nearest_entries_equal_those_of_the_bank(entries: int, b: int) -> None:
    random = np.random.default_rng(0)
    # The entries are close together and far from the origin, where rounding decides the order of the matrix products.
    rows = (100.0 + random.normal(size=(entries, 20))).astype(np.float32)
    patches = np.concatenate([rows[:5], (100.0 + 2.0 * random.normal(size=(500, 20))).astype(np.float32)])
    bank = MemoryBank(rows, b)
    np.testing.assert_allclose(NearestEntries(bank)(torch.from_numpy(patches)), bank.score(patches), rtol=1e-5)


def test_inputs_outputs_and_metadata_of_a_graph(small: Detector, graph: onnx.ModelProto) -> None:
    session = onnxruntime.InferenceSession(without_features(graph))
    assert [output.name for output in session.get_outputs()] == ["score", "map"]
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", "height", "width", 3])
    stored = session.get_modelmeta().custom_metadata_map
    assert stored == metadata(small.model)
    assert (stored["category"], stored["model_version"], stored["code_version"]) == ("nut=1", "v1", str(CODE_VERSION))
    assert float(stored["threshold"]) == small.model.threshold
    assert float(stored["false_alarm_bound"]) == small.model.false_alarm_bound
    assert json.loads(stored["holdout_scores"]) == list(small.model.holdout_scores)
    assert [member["backbone"] for member in json.loads(stored["members"])] == ["net0"]
    assert [int(stored[name]) for name in ("image_size", "resize", "crop_offset")] == [SIDE, SIDE, 0]
    assert "threshold" not in metadata(calibrate(small.model, []))


def test_a_graph_contains_no_file_paths(graph: onnx.ModelProto) -> None:
    written = without_features(graph)
    assert b"site-packages" not in written
    assert b".py" not in written


def test_a_model_larger_than_an_onnx_file_is_an_error(small: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconpatch.export.onnx_graph._FILE_LIMIT", 1000)
    with pytest.raises(ExportError, match="an ONNX file is limited to 2 GB"):
        trace(small)


def test_the_message_of_torch_is_part_of_the_error(small: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise torch.onnx.errors.OnnxExporterError("Failed to export\n  a choice that depends on data")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ExportError) as raised:
        trace(small)
    assert str(raised.value) == "torch cannot export the backbones: Failed to export a choice that depends on data"


@pytest.mark.slow
def test_a_backbone_with_control_flow_that_depends_on_values_cannot_be_exported(small: Detector) -> None:
    class Choosing(Layers):
        def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
            return super().forward(images if images.mean() > 0 else -images)

    module = Choosing(0, (4, 2)).eval().requires_grad_(False)
    members = tuple(replace(member, backbone=replace(member.backbone, network=module)) for member in small.members)
    with pytest.raises(ExportError, match="torch cannot export the backbones: "):
        trace(replace(small, members=members))


def test_a_model_without_statistics_is_an_error(small: Detector) -> None:
    (member,) = small.model.members
    bare = replace(small, model=replace(small.model, members=(replace(member, median=None),)))
    with pytest.raises(ModelError, match="no median and MAD"):
        trace(bare)


def test_the_score_of_values_that_are_not_finite_is_nan() -> None:
    """The Detector raises an error, which a graph cannot. NaN is neither above nor below any threshold."""
    scoring = ScoringGraph(fitted(network(0)))
    image = torch.from_numpy(weave(0)[None])
    assert torch.isfinite(scoring(image)[0]).all()
    assert torch.isnan(scoring(image.clone().fill_(torch.nan))[0]).all()
    scoring.networks[0].steps[0].weight.data *= 1e6  # some patch features exceed the range of float16
    assert torch.isnan(scoring(image)[0]).all()
