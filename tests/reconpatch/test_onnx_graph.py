"""The graph in onnxruntime is the Detector, whatever the model is made of; one that is not is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from reconpatch.adapter import embed
from reconpatch.backbones import Backbone
from reconpatch.coreset import select_coreset
from reconpatch.detector import Detector, LoadedMember
from reconpatch.geometry import Geometry
from reconpatch.images import preprocess
from reconpatch.model import CODE_VERSION, MemberModel, Model, ModelError, calibrate, normalise
from reconpatch.onnx_check import TOLERANCE, compare, trial_pictures
from reconpatch.onnx_graph import ExportError, NearestEntries, ScoringGraph, metadata, resized, trace, without_features
from reconpatch.patches import extract_features
from reconpatch.scoring import MemoryBank

SIDE = 48


class Levels(torch.nn.Module):
    """Three convolutions, of which each is a level."""

    def __init__(self, seed: int, strides: Sequence[int]) -> None:
        super().__init__()
        torch.manual_seed(seed)
        widths = [3, 8, 12, 10][: len(strides) + 1]
        self.steps = torch.nn.ModuleList(
            torch.nn.Conv2d(before, after, 3, stride, 1)
            for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        maps = [images]
        for step in self.steps:
            maps.append(torch.relu(step(maps[-1])))
        return maps[1:]


def network(seed: int, strides: Sequence[int] = (4, 2)) -> Backbone:
    channels = (8, 12, 10)[: len(strides)]
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    levels = tuple(range(len(strides)))
    module = Levels(seed, strides).eval().requires_grad_(False)
    return Backbone(f"net{seed}", levels, mean, std, "", "", module, False, torch.device("cpu"), channels, (4, 8))


def weave(seed: int, height: int = 60, width: int = 55) -> np.ndarray:
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    threads = np.sin(rows / 3 + random.uniform(0, 6)) + np.sin(columns / 4 + random.uniform(0, 6))
    values = 0.5 + 0.12 * threads[:, :, None] + random.normal(0, 0.02, (height, width, 3))
    return np.clip(values, 0, 1).astype(np.float32)


def fitted(
    *backbones: Backbone,
    aggregation: str = "concat",
    patch_size: int = 3,
    adapter: int = 0,
    entries: int = 40,
    **changes: object,
) -> Detector:
    """A model of six weaves, with four more held out."""
    made = tuple(
        MemberModel(each.name, each.levels, patch_size, aggregation, adapter, "", "", "") for each in backbones
    )
    model = Model("nut=1", "v1", made, SIDE, True, 16, 16, "patch", 9, 0.1, CODE_VERSION)
    model = replace(model, **changes)  # type: ignore[arg-type]
    empty = Detector(model, 1, ())
    images = np.concatenate([empty.network_input(weave(seed))[0] for seed in range(6)])
    members, maps = [], []
    for backbone in backbones:
        features, grid = extract_features(backbone, images, patch_size, aggregation)
        rows = features.reshape(-1, features.shape[2])
        weight = None
        if adapter:
            weight = np.random.default_rng(0).normal(size=(adapter, rows.shape[1])).astype(np.float32)
        rows = embed(rows, weight)
        chosen = select_coreset(rows, ratio=entries / len(rows)).indices
        bank = MemoryBank(rows[chosen], model.reweight)
        places = {"image_path": ["x"] * len(chosen), "row": [0] * len(chosen), "col": [0] * len(chosen)}
        members.append(LoadedMember(backbone, weight, bank, places))
        maps.append(bank.score(rows).reshape(6, *grid))
    model, _ = normalise(model, maps)
    detector = Detector(model, 1, tuple(members))
    return replace(detector, model=calibrate(model, [detector.score(weave(seed)).score for seed in range(6, 10)]))


PICTURES = [weave(20), weave(21, 97, 200), np.broadcast_to(weave(22)[:, :, :1], (60, 55, 3)), *trial_pictures(SIDE)]


@pytest.fixture(scope="module")
def small() -> Detector:
    return fitted(network(0))


@pytest.fixture(scope="module")
def graph(small: Detector) -> onnx.ModelProto:
    return trace(small)


def run(graph: onnx.ModelProto, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(without_features(graph))
    score, patches = session.run(["score", "map"], {"image": image})
    return score, patches


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: fitted(network(1), adapter=16, full_frame=False), id="adapter, centre crop"),
        pytest.param(
            lambda: fitted(network(2, (4, 2, 1)), aggregation="patchcore", patch_size=5, reweight=1),
            id="three levels, patchcore's aggregation, no reweighting",
        ),
        pytest.param(
            lambda: fitted(network(3), network(4, (8, 2)), adapter=12, fusion="image"),
            id="two members on different grids, image fusion",
        ),
        pytest.param(lambda: fitted(network(5), entries=1), id="one entry in the bank"),
    ],
)
def test_a_graph_is_its_detector(make) -> None:
    detector = make()
    found = compare(detector, trace(detector), PICTURES)
    assert found.pictures == len(PICTURES)
    assert found.before <= 1e-5
    assert found.after <= 1e-5
    assert found.score <= 1e-3  # a float16 may have fallen to the other side


def test_scores_and_maps_are_the_detectors(small: Detector, graph: onnx.ModelProto) -> None:
    found = compare(small, graph, PICTURES)
    assert max(found.before, found.after) <= 1e-5
    for picture in PICTURES:
        (score,), patches = run(graph, picture[None])
        assert abs(score - small.score(picture).score) <= 1e-3 * max(1.0, abs(score))
        assert patches.shape == (1, 12, 12)
        assert score == patches.max()


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


def changed(graph: onnx.ModelProto, shape: tuple[int, ...], factor: float) -> onnx.ModelProto:
    """The graph with its only constant of that shape multiplied."""
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    (constant,) = (each for each in other.graph.initializer if tuple(each.dims) == shape)
    values = numpy_helper.to_array(constant) * np.float32(factor)
    constant.CopyFrom(numpy_helper.from_array(values.astype(np.float32), constant.name))
    return other


@pytest.mark.parametrize(
    ("shape", "where"),
    [pytest.param((12, 8, 3, 3), "before", id="network"), pytest.param((40, 20), "after", id="bank")],
)
def test_a_graph_that_differs_is_refused(
    small: Detector, graph: onnx.ModelProto, shape: tuple[int, ...], where: str
) -> None:
    assert TOLERANCE == 1e-4
    compare(small, changed(graph, shape, 1.0), PICTURES)
    for factor in (1.002, math.nan):
        with pytest.raises(ExportError, match=f"what comes {where} patch features are rounded moves scores"):
            compare(small, changed(graph, shape, factor), PICTURES)


def test_a_graph_that_does_not_round_is_refused() -> None:
    """Features far from 0 are coarse in float16; what leaves that out computes another method."""
    backbone = network(0)
    with torch.no_grad():
        for step in backbone.network.steps:
            step.bias += 5.0
    detector = fitted(backbone)
    graph = trace(detector)
    compare(detector, graph, PICTURES)
    (node,) = (each for each in graph.graph.node if each.op_type == "Cast" and each.attribute[0].i == 10)
    node.attribute[0].i = onnx.TensorProto.FLOAT
    with pytest.raises(ExportError, match="what comes after"):
        compare(detector, graph, PICTURES)


def test_a_graph_that_onnxruntime_cannot_run_is_refused(small: Detector, graph: onnx.ModelProto) -> None:
    other = onnx.ModelProto()
    other.CopyFrom(graph)
    other.graph.node[0].op_type = "Nonesuch"
    with pytest.raises(ExportError, match="onnxruntime cannot run the graph"):
        compare(small, other, PICTURES)


def test_a_model_that_fits_no_file_is_refused(small: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconpatch.onnx_graph._FILE_LIMIT", 1000)
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


def test_trial_pictures_are_the_same_each_time_and_none_is_even() -> None:
    pictures = trial_pictures(64)
    assert len({picture.shape for picture in pictures}) == len(pictures)
    for picture, again in zip(pictures, trial_pictures(64), strict=True):
        assert (picture == again).all()
        assert picture.dtype == np.float32
        assert 0.0 <= picture.min() < picture.max() <= 1.0
