"""Export of a category's model as one ONNX graph that computes scores and patch maps from images.

Backbones, patch features, rounding, adapters and fusion are traced from the functions that the Detector uses. Two parts
are implemented separately. The antialiased resize of ONNX differs from that of torch by 1e-5 of the pixel range; the
matrix products that are used instead differ by 1e-7. The search for the nearest entry uses a number of candidates that
depends on the values, but the shapes in a graph must not. `reconpatch.export.onnx_check` compares graph and Detector.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch

from reconpatch.adapter.training import embed
from reconpatch.detector.detector import Detector
from reconpatch.detector.fusion import fuse_maps
from reconpatch.detector.model import Model, normalized_scores
from reconpatch.exceptions import ExportError
from reconpatch.features.patches import finest_grid, patch_features
from reconpatch.imaging.geometry import Geometry
from reconpatch.neighbors.memory_bank import MemoryBank

OUTPUTS = ("score", "map")
_OPSET = 18  # fixed, because torch's default may be too new for the onnxruntime where the graph runs
_FILE_LIMIT = 1 << 31  # bytes; limit of a single protocol buffer file
# Number of entries that the matrix product selects as candidates. Their exact distances decide which is nearest. The
# product has a relative error of 1e-6, so the nearest entry is missed only if four other entries are within this error.
_CANDIDATES = 4


class NearestEntries(torch.nn.Module):
    """`MemoryBank.query` without blocks, in a form that torch can trace.

    Attributes:
        entries: (M, D) float32 entries of the bank.
        shift: (D,) float32 mean of the entries.
        columns: (D, M) float32 entries minus their mean, transposed.
        norms: (M,) float32 squared norms of the centered entries.
        neighbors: (M, min(b, M)) int64 rows of the b nearest entries of every entry, N_b of eq. 10.
    """

    entries: torch.Tensor
    shift: torch.Tensor
    columns: torch.Tensor
    norms: torch.Tensor
    neighbors: torch.Tensor

    def __init__(self, bank: MemoryBank) -> None:
        """Create the module from a memory bank.

        Args:
            bank: Memory bank of a member, on the CPU.
        """
        super().__init__()
        shift = bank.entries.mean(0)
        centered = bank.entries - shift
        self.register_buffer("entries", bank.entries)
        self.register_buffer("shift", shift)
        self.register_buffer("columns", centered.T.contiguous())
        self.register_buffer("norms", centered.square().sum(1))
        self.register_buffer("neighbors", bank.neighbors[:, : bank.n_neighbors].contiguous())

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the patch scores s of eq. 10.

        Args:
            patches: (n, D) embeddings f(p) in the dtype of the bank.

        Returns:
            (n,) patch scores.
        """
        products = self.norms - 2.0 * ((patches - self.shift) @ self.columns)
        count = min(_CANDIDATES, self.entries.shape[0])
        # Rows are sorted so that, of entries at the same distance, argmin selects the one with the lowest row.
        candidates = products.topk(count, dim=1, largest=False).indices.sort(dim=1).values
        distances = self._distances(patches, candidates)
        best = distances.argmin(1, keepdim=True)
        nearest, raw = candidates.gather(1, best)[:, 0], distances.gather(1, best)[:, 0]
        if self.neighbors.shape[1] == 1:
            return raw
        around = self._distances(patches, self.neighbors.index_select(0, nearest))
        return (1.0 - torch.softmax(around, dim=1)[:, 0]) * raw

    def _distances(self, patches: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the (n, k) distances from each patch to its k entries, computed from the differences."""
        chosen = self.entries.index_select(0, rows.flatten()).view(-1, *rows.shape[1:], self.entries.shape[1])
        difference = chosen - patches[:, None, :]
        return (difference * difference).sum(2).sqrt()


class ScoringGraph(torch.nn.Module):
    """The computation of `Detector.score`, in a form that torch can trace.

    Attributes:
        detector: Model that is exported.
        networks: PyTorch modules of the backbones.
        banks: Memory banks of the members, in the order of the members.
    """

    def __init__(self, detector: Detector) -> None:
        """Create the module from a loaded model.

        Args:
            detector: Model to export, on the CPU.
        """
        super().__init__()
        self.detector = detector
        self.networks = torch.nn.ModuleList([member.backbone.network for member in detector.members])
        self.banks = torch.nn.ModuleList([NearestEntries(member.bank) for member in detector.members])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Score a batch of images of the same size.

        Args:
            image: (B, H, W, 3) float32 tensor in [0, 1]: images as `read_image` returns them.

        Returns:
            (B,) float32 anomaly scores, (B, H', W') float32 fused patch maps, and the (B, H'·W', C') patch features of
            each member before rounding, which `onnx_check` needs.
        """
        model = self.detector.model
        images = resized(image, model.geometry(1, 1))
        unrounded, maps = [], []
        for loaded, member, bank in zip(self.detector.members, model.members, self.banks, strict=True):
            layers = loaded.backbone.level_maps(images)
            features = patch_features(layers, member.patch_size, member.aggregation)
            scores = bank(embed(features.half().flatten(0, 1), loaded.weight))
            unrounded.append(features)
            maps.append(scores.view(-1, *finest_grid(layers)))
        normalized = normalized_scores(model, maps)
        fused = fuse_maps(normalized)
        score = _largest(fused)
        if model.fusion == "image":
            score = torch.stack([_largest(of_member) for of_member in normalized]).mean(0)
        return score, fused, *unrounded


def _largest(maps: torch.Tensor) -> torch.Tensor:
    """Return the maximum of each map, or NaN if any patch is NaN; unlike the Detector, a graph cannot raise errors."""
    flat = maps.flatten(1)
    return torch.where(flat.isnan().any(1), torch.nan, flat.amax(1))


def resized(image: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """Resize and crop images of any height and width as `preprocess` does.

    Args:
        image: (B, H, W, 3) float32 tensor in [0, 1].
        geometry: Resize and crop. Its height and width are ignored.

    Returns:
        (B, 3, S, S) float32 tensor in [0, 1].
    """
    rows, columns = (_antialiased(side, geometry) for side in image.shape[1:3])
    lines = (rows @ image.flatten(2)).reshape(-1, geometry.crop, image.shape[2], 3)
    return torch.clamp(lines.permute(0, 3, 1, 2) @ columns.T, 0.0, 1.0)


def _antialiased(side: int, geometry: Geometry) -> torch.Tensor:
    """Return the (S, side) weights of the pixels of the image, along one axis, in each pixel of the crop.

    torch computes the triangle filter in float32, in which positions in large images have errors up to 1e-4 of a pixel.
    The weights are computed in the same way so that they have the same errors.
    """
    scale = torch.ones(()) * side / geometry.resize
    inverse = 1.0 / scale.clamp(min=1.0)
    centers = scale * (torch.arange(geometry.offset, geometry.offset + geometry.crop) + 0.5)
    weights = (1.0 - ((torch.arange(side) - centers[:, None] + 0.5) * inverse).abs()).clamp(min=0.0)
    return weights / weights.sum(1, keepdim=True)


def trace(detector: Detector) -> Any:
    """Trace a model as an `onnx.ModelProto` for batches of images of the same size. Needs onnx and onnxscript.

    Args:
        detector: Model to export, on the CPU.

    Returns:
        Graph with the input `image`, the outputs `score`, `map` and one `features_<n>` per member (see
        `ScoringGraph.forward`), and the properties of `metadata`.

    Raises:
        ExportError: The model is too large for one file, or torch cannot export a backbone.
        ModelError: A member has no median and MAD.
    """
    import onnx

    graph = ScoringGraph(detector).eval()
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*graph.parameters(), *graph.buffers()))
    if 1.1 * size > _FILE_LIMIT:
        raise ExportError(
            f"The model has {size / 1e9:.1f} GB, but an ONNX file is limited to 2 GB. Export one with fewer members."
        )
    names = [f"features_{number}" for number in range(len(detector.members))]
    side = detector.model.image_size
    axes = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "height", "width"))}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            # Sizes differ because the tracer treats equal sizes as one dimension.
            example = torch.zeros(2, side + 1, side + 2, 3)
            graph(example)  # fills caches with real tensors; during tracing they would be filled with empty tensors
            program = torch.onnx.export(
                graph,
                (example,),
                dynamo=True,
                opset_version=_OPSET,
                verbose=False,
                input_names=["image"],
                output_names=[*OUTPUTS, *names],
                dynamic_shapes=(axes,),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ExportError(f"torch cannot export the backbones: {' '.join(str(error).split())[:300]}") from error
    assert program is not None
    proto = program.model_proto
    _without_traces(proto)
    proto.producer_name = "reconpatch-ray"
    proto.graph.name = detector.model.category
    onnx.helper.set_model_props(proto, metadata(detector.model))
    return proto


def without_features(proto: Any) -> bytes:
    """Return the content of the exported file, which has only the outputs `score` and `map`.

    Args:
        proto: Graph from `trace`.

    Returns:
        Serialized ONNX model.
    """
    import onnx

    deployed = onnx.ModelProto()
    deployed.CopyFrom(proto)
    del deployed.graph.output[len(OUTPUTS) :]
    written: bytes = deployed.SerializeToString()
    return written


def metadata(model: Model) -> dict[str, str]:
    """Return the properties that describe a model in its graph.

    Args:
        model: Exported model.

    Returns:
        Values by name; strings as they are, numbers and lists as JSON. `threshold` and `false_alarm_bound` are missing
        if the model has no calibration images.
    """
    geometry = model.geometry(1, 1)
    known = {
        "category": model.category,
        "model_version": model.version,
        "code_version": model.code_version,
        "threshold": model.threshold,
        "false_alarm_bound": model.false_alarm_bound,
        "false_alarms": model.false_alarms,
        "holdout_scores": list(model.holdout_scores),
        "fusion": model.fusion,
        "members": [
            {
                "backbone": member.backbone,
                "levels": member.layers,
                "patch_size": member.patch_size,
                "aggregation": member.aggregation,
                "dim": member.dim,
                "weights_sha256": member.weights_sha256,
            }
            for member in model.members
        ],
        "image_size": geometry.crop,
        "resize": geometry.resize,
        "crop_offset": geometry.offset,
        "bit_depth": model.bit_depth,
    }
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in known.items()
        if value is not None
    }


def _without_traces(proto: Any) -> None:
    """Remove the source lines and file paths that the tracer records at every node."""
    for part in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output, proto.graph):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    proto.graph.ClearField("value_info")
