"""A category's model as one ONNX graph: pictures go in, scores and patch maps come out.

Networks, patch features, rounding, adapters and fusion are traced from the functions that score in Python. Two things
are written anew. The resize: ONNX's own antialiased one differs from torch's by 1e-5 of the pixels' range, products
with torch's weights by 1e-7. And the nearest entry: how many candidates there are depends on the values, and a graph's
shapes must not, so it looks at a fixed number of them. `reconpatch.onnx_check` compares the two.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch

from reconpatch.adapter import embed
from reconpatch.detector import Detector
from reconpatch.fusion import fuse_maps
from reconpatch.geometry import Geometry
from reconpatch.model import Model, normalised_scores
from reconpatch.patches import finest_grid, patch_features
from reconpatch.scoring import MemoryBank

OUTPUTS = ("score", "map")
_OPSET = 18  # torch's own choice grows with its versions, and the onnxruntime of a station may be old
_FILE_LIMIT = 1 << 31  # bytes: one file of protocol buffers cannot be larger
# Entries that the matrix product finds nearest, and whose differences decide. The product is wrong by 1e-6 of a
# distance; five entries that near to each other, and the right one the last of them, do not happen.
_CANDIDATES = 4


class ExportError(ValueError):
    """A model cannot be exported, or what was exported differs; the sentence says how."""


class NearestEntries(torch.nn.Module):
    """`MemoryBank.query` without blocks, as torch can trace it.

    Attributes:
        entries: (M, D) of the bank, as they are.
        shift: (D,) their mean.
        columns, norms: (D, M) and (M,), the entries about it and their squared norms.
        neighbours: (M, min(b, M)) int64, N_b of every entry.
    """

    entries: torch.Tensor
    shift: torch.Tensor
    columns: torch.Tensor
    norms: torch.Tensor
    neighbours: torch.Tensor

    def __init__(self, bank: MemoryBank) -> None:
        super().__init__()
        shift = bank.entries.mean(0)
        centred = bank.entries - shift
        self.register_buffer("entries", bank.entries)
        self.register_buffer("shift", shift)
        self.register_buffer("columns", centred.T.contiguous())
        self.register_buffer("norms", centred.square().sum(1))
        self.register_buffer("neighbours", bank.neighbours[:, : bank.n_neighbors].contiguous())

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """Patch scores s of equation 10: (n, D) of the bank's dtype to (n,)."""
        products = self.norms - 2.0 * ((patches - self.shift) @ self.columns)
        count = min(_CANDIDATES, self.entries.shape[0])
        # By ascending row, so that the first of equals is the lowest.
        candidates = products.topk(count, dim=1, largest=False).indices.sort(dim=1).values
        distances = self._distances(patches, candidates)
        best = distances.argmin(1, keepdim=True)
        nearest, raw = candidates.gather(1, best)[:, 0], distances.gather(1, best)[:, 0]
        if self.neighbours.shape[1] == 1:
            return raw
        around = self._distances(patches, self.neighbours.index_select(0, nearest))
        return (1.0 - torch.softmax(around, dim=1)[:, 0]) * raw

    def _distances(self, patches: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """(n, k) from each patch to its k rows, from the differences."""
        chosen = self.entries.index_select(0, rows.flatten()).view(-1, *rows.shape[1:], self.entries.shape[1])
        difference = chosen - patches[:, None, :]
        return (difference * difference).sum(2).sqrt()


class ScoringGraph(torch.nn.Module):
    """What `Detector.score` computes of pictures, as torch can trace it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.networks = torch.nn.ModuleList([member.backbone.network for member in detector.members])
        self.banks = torch.nn.ModuleList([NearestEntries(member.bank) for member in detector.members])

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Score pictures of one size.

        Args:
            image: (B, H, W, 3) float32 in [0, 1], as `read_image` gives it.

        Returns:
            (B,) fused image scores and the (B, H', W') fused patch map, float32; then of each member its patch
            features before they are rounded, (B, H'·W', C'), for the check.
        """
        model = self.detector.model
        seen = resized(image, model.geometry(1, 1))
        unrounded, maps = [], []
        for member, each, bank in zip(self.detector.members, model.members, self.banks, strict=True):
            levels = member.backbone.level_maps(seen)
            features = patch_features(levels, each.patch_size, each.aggregation)
            scores = bank(embed(features.half().flatten(0, 1), member.weight))
            unrounded.append(features)
            maps.append(scores.view(-1, *finest_grid(levels)))
        normalised = normalised_scores(model, maps)
        fused = fuse_maps(normalised)
        score = _largest(fused)
        if model.fusion == "image":
            score = torch.stack([_largest(each) for each in normalised]).mean(0)
        return score, fused, *unrounded


def _largest(maps: torch.Tensor) -> torch.Tensor:
    """NaN where any patch is: the Detector refuses what is not finite, and a graph has no other way to say so."""
    flat = maps.flatten(1)
    return torch.where(flat.isnan().any(1), torch.nan, flat.amax(1))


def resized(image: torch.Tensor, geometry: Geometry) -> torch.Tensor:
    """`images.preprocess` of pictures of any height and width: (B, H, W, 3) to (B, 3, S, S).

    Args:
        geometry: its resize and crop count.
    """
    rows, columns = (_antialiased(side, geometry) for side in image.shape[1:3])
    lines = (rows @ image.flatten(2)).reshape(-1, geometry.crop, image.shape[2], 3)
    return torch.clamp(lines.permute(0, 3, 1, 2) @ columns.T, 0.0, 1.0)


def _antialiased(side: int, geometry: Geometry) -> torch.Tensor:
    """(S, side): what each pixel of the picture gives to each of the crop's.

    torch computes its triangles in float32, where positions of large pictures are off by as much as 1e-4 of a pixel;
    to agree with it they are computed likewise.
    """
    scale = torch.ones(()) * side / geometry.resize
    inverse = 1.0 / scale.clamp(min=1.0)
    centres = scale * (torch.arange(geometry.offset, geometry.offset + geometry.crop) + 0.5)
    weights = (1.0 - ((torch.arange(side) - centres[:, None] + 0.5) * inverse).abs()).clamp(min=0.0)
    return weights / weights.sum(1, keepdim=True)


def trace(detector: Detector) -> Any:
    """The model as an `onnx.ModelProto` that takes any number of pictures of any one size.

    Args:
        detector: on the CPU.

    Returns:
        Input `image`; outputs `score`, `map` and one `features_<n>` a member, as `ScoringGraph.forward`; what
        `metadata` says among its properties. Needs the packages onnx and onnxscript.

    Raises:
        ExportError: the model does not fit one file, or torch cannot export a network.
        ModelError: a member without median and MAD.
    """
    import onnx

    graph = ScoringGraph(detector).eval()
    size = sum(each.numel() * each.element_size() for each in (*graph.parameters(), *graph.buffers()))
    if 1.1 * size > _FILE_LIMIT:
        raise ExportError(f"The model has {size / 1e9:.1f} GB, and one ONNX file holds 2; export fewer members.")
    names = [f"features_{number}" for number in range(len(detector.members))]
    side = detector.model.image_size
    axes = {axis: torch.export.Dim(name) for axis, name in enumerate(("batch", "height", "width"))}
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            example = torch.zeros(2, side + 1, side + 2, 3)  # where two sides are equal the tracer takes them for one
            graph(example)  # what is computed once and kept must not be kept from the tracer, whose tensors are empty
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
        raise ExportError(f"torch cannot export these networks: {' '.join(str(error).split())[:300]}") from error
    assert program is not None
    proto = program.model_proto
    _without_traces(proto)
    proto.producer_name = "reconpatch-ray"
    proto.graph.name = detector.model.category
    onnx.helper.set_model_props(proto, metadata(detector.model))
    return proto


def without_features(proto: Any) -> bytes:
    """The file that is deployed: `score` and `map` are its only outputs.

    Args:
        proto: of `trace`.
    """
    import onnx

    deployed = onnx.ModelProto()
    deployed.CopyFrom(proto)
    del deployed.graph.output[len(OUTPUTS) :]
    written: bytes = deployed.SerializeToString()
    return written


def metadata(model: Model) -> dict[str, str]:
    """What a station needs to know beside score and map; numbers and lists are JSON.

    `threshold` and `false_alarm_bound` are missing where the model has no held-out images to promise anything from.
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
                "backbone": each.backbone,
                "levels": each.levels,
                "patch_size": each.patch_size,
                "aggregation": each.aggregation,
                "dim": each.dim,
                "weights_sha256": each.weights_sha256,
            }
            for each in model.members
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
    """Take out the lines of source code and the folders of this machine that the tracer notes at every node."""
    for part in (*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output, proto.graph):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    proto.graph.ClearField("value_info")
