"""An exported graph beside the Detector that it was made from, on pictures, before anybody relies on it.

The method rounds patch features to float16. Two computations of a network differ in the seventh digit, so that in one
value of a hundred they round to different neighbours, and a patch's score moves by 1e-4 to 1e-3: as it does in the
Detector itself with another `chunk`. A bound on the whole would break on that, or be too wide to see an error. What
comes before the rounding and what comes after it are therefore bounded each by itself, where nothing jumps: a graph
that passes both differs from the Detector by nothing but the sides on which float16 fell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.detector import Detector
from reconpatch.model import normalised_scores
from reconpatch.onnx_graph import OUTPUTS, ExportError, without_features
from reconpatch.patches import finest_grid, patch_features

TOLERANCE = 1e-4
_TIES = 0.01  # of the patches: where more change their nearest entry, it is no last digit that chose


@dataclass(frozen=True)
class Differences:
    """The largest of |graph - Detector| / max(1, largest |Detector| of the picture), in units of s̄ (eq. 11).

    Attributes:
        pictures: how many were compared.
        before: of each member's patch scores, from the graph's patch features and from the Detector's own, unrounded,
            both by the Detector. This is what resize, network and aggregation add.
        after: of score and map, the graph's and those that the Detector gives the graph's patch features. This is what
            rounding, adapter, bank and fusion add.
        score, map: of the whole, float16 steps and all.
    """

    pictures: int
    before: float
    after: float
    score: float
    map: float


def compare(detector: Detector, proto: Any, pictures: Sequence[npt.NDArray[np.float32]]) -> Differences:
    """Score pictures by the graph, in onnxruntime on the CPU, and by the Detector.

    Args:
        detector: on the CPU.
        proto: of `reconpatch.onnx_graph.trace`.
        pictures: (H, W, 3) float32 in [0, 1] each, at least one.

    Raises:
        ExportError: `before` or `after` is above `TOLERANCE`, or onnxruntime cannot run the graph.
    """
    whole, deployed = _session(proto.SerializeToString()), _session(without_features(proto))
    found = []
    for picture in pictures:
        image = {"image": np.ascontiguousarray(picture)[None]}
        _, _, *features = whole.run(None, image)
        score, fused = deployed.run(list(OUTPUTS), image)
        found.append(_differences(detector, picture, [each[0] for each in features], (float(score[0]), fused[0])))
    before, after, score, fused = np.max(found, axis=0).tolist()  # of NaN and a number numpy takes NaN
    for value, where in ((before, "before"), (after, "after")):
        if not value <= TOLERANCE:
            raise ExportError(
                f"The graph is not the Detector: what comes {where} patch features are rounded moves scores by "
                f"{value:.1e} of their size, and {TOLERANCE:.0e} is allowed; nothing is written."
            )
    return Differences(len(pictures), before, after, score, fused)


def trial_pictures(side: int) -> list[npt.NDArray[np.float32]]:
    """Six pictures of what no category shows, the same each time: larger and smaller than the networks' input, upright
    and wide, grey and coloured. None is even all over: a good part's background may be, and its scores so alike that
    float32 is coarse among them.

    Args:
        side: S, of the networks' input.

    Returns:
        (H, W, 3) float32 in [0, 1] each.
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
    said: tuple[float, npt.NDArray[np.float32]],
) -> tuple[float, float, float, float]:
    """`before`, `after`, `score` and `map` of one picture.

    Args:
        features: (H·W, C') a member, the graph's, unrounded.
        said: score and map of the graph.
    """
    images = torch.from_numpy(detector.network_input(picture)[0])
    own, grids = [], []
    for member, each in zip(detector.members, detector.model.members, strict=True):
        levels = member.backbone(images)
        own.append(patch_features(levels, each.patch_size, each.aggregation)[0].numpy())
        grids.append(finest_grid(levels))
    score, fused = said
    if not all(np.isfinite(each.astype(np.float16)).all() for each in features):
        return (np.inf,) * 4
    _, ours = detector.judge(own, grids)
    _, theirs = detector.judge(features, grids)
    expected, found = (normalised_scores(detector.model, [each.scores for each in part]) for part in (ours, theirs))
    before = []
    for one, other, was, now in zip(ours, theirs, expected, found, strict=True):
        # Where two entries are equally near, the last digit says whose neighbours eq. 10 counts, in any computation.
        tied = one.nearest != other.nearest
        before.append(_relative(now[~tied], was[~tied]) if tied.mean() <= _TIES else np.inf)
    rounded, _ = detector.judge([each.astype(np.float16) for each in features], grids)
    whole, _ = detector.judge([each.astype(np.float16) for each in own], grids)
    after = _relative(score, rounded.scores[0]), _relative(fused, rounded.fused[0])
    return max(before), float(np.max(after)), _relative(score, whole.scores[0]), _relative(fused, whole.fused[0])


def _relative(value: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    return float(np.max(np.abs(np.subtract(value, expected))) / max(1.0, float(np.max(np.abs(expected)))))
