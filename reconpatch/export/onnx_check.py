"""Comparison of an exported graph with the Detector from which it was made.

The method rounds patch features to float16. Two computations of a backbone differ in the seventh digit, so one value in
a hundred is rounded differently, and the score of a patch changes by 1e-4 to 1e-3. The same happens in the Detector
with another `chunk`. A bound on the final scores would either be exceeded by this effect or be too wide to detect an
error. The computations before and after the rounding are therefore bounded separately. A graph within both bounds
differs from the Detector only in the direction in which single values are rounded.
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

TOLERANCE = 1e-4  # largest accepted value of `Differences.before` and `Differences.after`
_TIES = 0.01  # largest share of patches whose nearest entry may change; rounding cannot explain a larger share


@dataclass(frozen=True)
class Differences:
    """Largest differences between graph and Detector over all images.

    Each difference is |graph - Detector| / max(1, largest |Detector| of the image), in modified z-scores (eq. 11).

    Attributes:
        pictures: Number of images that were compared.
        before: Difference caused before the rounding (resize, backbone, aggregation): between the members' patch
            scores that the Detector computes from the graph's unrounded patch features and from its own.
        after: Difference caused from the rounding on (rounding, adapter, bank, fusion): between score and map of the
            graph and those that the Detector computes from the graph's patch features.
        score: Difference of the final scores, including the effect of the rounding.
        map: Difference of the final patch maps, including the effect of the rounding.
    """

    pictures: int
    before: float
    after: float
    score: float
    map: float


def compare(detector: Detector, proto: Any, pictures: Sequence[npt.NDArray[np.float32]]) -> Differences:
    """Compare the scores that the graph (in onnxruntime, on the CPU) and the Detector compute for images.

    Args:
        detector: Exported model, on the CPU.
        proto: Graph from `reconpatch.export.onnx_graph.trace`.
        pictures: Images, at least one: (H, W, 3) float32 in [0, 1]. Their sizes may differ.

    Returns:
        The largest differences.

    Raises:
        ExportError: `before` or `after` is above `TOLERANCE` or not a number, or onnxruntime cannot run the graph.
    """
    whole, deployed = _session(proto.SerializeToString()), _session(without_features(proto))
    differences = []
    for picture in pictures:
        image = {"image": np.ascontiguousarray(picture)[None]}
        _, _, *features = whole.run(None, image)
        score, fused = deployed.run(list(OUTPUTS), image)
        outputs = float(score[0]), fused[0]
        differences.append(_differences(detector, picture, [of_member[0] for of_member in features], outputs))
    before, after, score, fused = np.max(differences, axis=0).tolist()  # NaN if the difference of any image is NaN
    for value, where in ((before, "before"), (after, "after")):
        if not value <= TOLERANCE:
            raise ExportError(
                f"The graph does not match the Detector: the computation {where} the rounding of patch features "
                f"changes scores by {value:.1e} of their size. The limit is {TOLERANCE:.0e}, so no file is written."
            )
    return Differences(len(pictures), before, after, score, fused)


def trial_pictures(side: int) -> list[npt.NDArray[np.float32]]:
    """Return six synthetic images for `compare`; every call returns the same images.

    They are larger and smaller than the backbones' input, in portrait and landscape format, gray and colored. None is
    uniform, because the patch scores of a uniform image are too similar to be compared in float32.

    Args:
        side: S, the side of the backbones' input in pixels.

    Returns:
        (H, W, 3) float32 images in [0, 1], each of a different size.
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
    """Return an onnxruntime session that runs the graph on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the exceptions of onnxruntime have no more specific base class
        raise ExportError(f"onnxruntime cannot run the graph: {' '.join(str(error).split())[:300]}") from error


def _differences(
    detector: Detector,
    picture: npt.NDArray[np.float32],
    features: Sequence[npt.NDArray[np.float32]],
    outputs: tuple[float, npt.NDArray[np.float32]],
) -> tuple[float, float, float, float]:
    """Return `before`, `after`, `score` and `map` of one image.

    Args:
        detector: Exported model.
        picture: (H, W, 3) float32 image in [0, 1].
        features: (H·W, C') patch features of each member, computed by the graph and not rounded.
        outputs: Score and patch map computed by the graph.
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
        # If two entries are equally near, the last digit decides which is nearest and whose neighbors eq. 10 uses.
        # These patches are not compared, provided that there are few of them.
        tied = own_member.nearest != graph_member.nearest
        before.append(_relative(values[~tied], reference[~tied]) if tied.mean() <= _TIES else np.inf)
    rounded, _ = detector.predict([of_member.astype(np.float16) for of_member in features], grids)
    whole, _ = detector.predict([of_member.astype(np.float16) for of_member in own_features], grids)
    after = _relative(score, rounded.scores[0]), _relative(fused, rounded.fused[0])
    return max(before), float(np.max(after)), _relative(score, whole.scores[0]), _relative(fused, whole.fused[0])


def _relative(value: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """Return the largest difference, relative to the largest expected value or 1."""
    return float(np.max(np.abs(np.subtract(value, expected))) / max(1.0, float(np.max(np.abs(expected)))))
