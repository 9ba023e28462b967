"""Comparison of an exported graph with the Detector that it was made from.

The method rounds patch features to float16. Two computations of a network differ in the seventh digit, so that one
value in a hundred rounds differently and a patch's score changes by 1e-4 to 1e-3, as it does in the Detector with
another `chunk`. A bound on the final scores would either fail for that reason or be too wide to detect an error.
What comes before the rounding and what comes after it are therefore bounded separately: a graph that passes both
differs from the Detector only in the direction of float16 roundings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.detector.detector import Detector
from reconpatch.detector.model import normalized_scores
from reconpatch.exceptions import ExportError
from reconpatch.export.onnx_graph import OUTPUTS, without_features
from reconpatch.features.patches import finest_grid, patch_features

TOLERANCE = 1e-4
_TIES = 0.01  # share of patches that may change their nearest entry; more cannot be explained by rounding


@dataclass(frozen=True)
class Differences:
    """Largest |graph - Detector| / max(1, largest |Detector| of the image), in units of s̄ (eq. 11).

    Attributes:
        pictures: number of images that were compared.
        before: difference of the members' patch scores, both computed by the Detector, from the graph's unrounded
            patch features and from its own: the contribution of resize, network and aggregation.
        after: difference of score and map, computed by the graph and by the Detector from the graph's patch features:
            the contribution of rounding, adapter, bank and fusion.
        score: difference of the final scores, float16 rounding included.
        map: difference of the final maps, likewise.
    """

    pictures: int
    before: float
    after: float
    score: float
    map: float


def compare(detector: Detector, proto: Any, pictures: Sequence[npt.NDArray[np.float32]]) -> Differences:
    """Compare the scores of images by the graph, in onnxruntime on the CPU, and by the Detector.

    Args:
        detector: the model, on the CPU.
        proto: the graph that `reconpatch.export.onnx_graph.trace` returned.
        pictures: at least one (H, W, 3) float32 image in [0, 1].

    Raises:
        ExportError: `before` or `after` is above `TOLERANCE`, or onnxruntime cannot run the graph.
    """
    whole, deployed = _session(proto.SerializeToString()), _session(without_features(proto))
    differences = []
    for picture in pictures:
        image = {"image": np.ascontiguousarray(picture)[None]}
        _, _, *features = whole.run(None, image)
        score, fused = deployed.run(list(OUTPUTS), image)
        outputs = float(score[0]), fused[0]
        differences.append(_differences(detector, picture, [of_member[0] for of_member in features], outputs))
    before, after, score, fused = np.max(differences, axis=0).tolist()  # NaN where any is NaN
    for value, where in ((before, "before"), (after, "after")):
        if not value <= TOLERANCE:
            raise ExportError(
                f"The graph is not the Detector: what comes {where} patch features are rounded moves scores by "
                f"{value:.1e} of their size, and {TOLERANCE:.0e} is allowed; nothing is written."
            )
    return Differences(len(pictures), before, after, score, fused)


def trial_pictures(side: int) -> list[npt.NDArray[np.float32]]:
    """Return six artificial images, always the same.

    They are larger and smaller than the networks' input, upright and wide, gray and colored. None is uniform: its
    scores would be so similar that float32 is too coarse to compare them.

    Args:
        side: S, the side of the networks' input.

    Returns:
        (H, W, 3) float32 images in [0, 1].
    """
    random = np.random.default_rng(0)

    def grid(height: float, width: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        rows, columns = np.mgrid[: round(side * height), : round(side * width)]
        return rows / len(rows), columns / columns.shape[1]

    def noisy(values: npt.NDArray[Any], strength: float) -> npt.NDArray[np.float32]:
        values = values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)
        return np.clip(values + strength * random.standard_normal(values.shape), 0.0, 1.0).astype(np.float32)

    rows, columns = grid(2.0, 1.3)
    ramps = noisy(np.stack([rows, columns, 1.0 - rows * columns], axis=2), 0.0)
    rows, columns = grid(0.7, 1.0)
    weave = noisy(0.5 + 0.15 * (np.sin(150.0 * rows) + np.sin(120.0 * columns)), 0.02)
    rows, columns = grid(1.4, 1.4)
    disc = noisy(0.1 + 0.8 * (np.hypot(rows - 0.5, columns - 0.4) < 0.3), 0.05)
    rows, columns = grid(1.0, 1.0)
    checks = noisy(np.stack([(9.0 * rows // 1 + n * columns // 1) % 2 for n in (5.0, 9.0, 14.0)], axis=2), 0.0)
    rows, columns = grid(0.5, 2.5)
    clouds = noisy(0.5 + 0.4 * np.sin(9.0 * rows + 4.0 * np.sin(7.0 * columns)), 0.01)
    rows, columns = grid(1.2, 0.9)
    noise = random.random((*rows.shape, 3), dtype=np.float32)
    return [ramps, weave, disc, checks, clouds, noise]


def _session(graph: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no base but this
        raise ExportError(f"onnxruntime cannot run the graph: {' '.join(str(error).split())[:300]}") from error


def _differences(
    detector: Detector,
    picture: npt.NDArray[np.float32],
    features: Sequence[npt.NDArray[np.float32]],
    outputs: tuple[float, npt.NDArray[np.float32]],
) -> tuple[float, float, float, float]:
    """Return `before`, `after`, `score` and `map` of one image.

    Args:
        detector: the model that was exported.
        picture: (H, W, 3) float32 in [0, 1].
        features: (H·W, C') patch features per member, computed by the graph and not rounded.
        outputs: score and map computed by the graph.
    """
    images = torch.from_numpy(detector.network_input(picture)[0])
    own_features, grids = [], []
    for loaded, member in zip(detector.members, detector.model.members, strict=True):
        layers = loaded.backbone(images)
        own_features.append(patch_features(layers, member.patch_size, member.aggregation)[0].numpy())
        grids.append(finest_grid(layers))
    score, fused = outputs
    if not all(np.isfinite(of_member.astype(np.float16)).all() for of_member in features):
        return (np.inf,) * 4
    _, own = detector.predict(own_features, grids)
    _, graph = detector.predict(features, grids)
    expected, computed = (
        normalized_scores(detector.model, [of_member.scores for of_member in patch_scores])
        for patch_scores in (own, graph)
    )
    before = []
    for own_member, graph_member, reference, values in zip(own, graph, expected, computed, strict=True):
        # Where two entries are equally near, the last digit decides whose neighbors eq. 10 counts, in any computation.
        tied = own_member.nearest != graph_member.nearest
        before.append(_relative(values[~tied], reference[~tied]) if tied.mean() <= _TIES else np.inf)
    rounded, _ = detector.predict([of_member.astype(np.float16) for of_member in features], grids)
    whole, _ = detector.predict([of_member.astype(np.float16) for of_member in own_features], grids)
    after = _relative(score, rounded.scores[0]), _relative(fused, rounded.fused[0])
    return max(before), float(np.max(after)), _relative(score, whole.scores[0]), _relative(fused, whole.fused[0])


def _relative(value: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    return float(np.max(np.abs(np.subtract(value, expected))) / max(1.0, float(np.max(np.abs(expected)))))
