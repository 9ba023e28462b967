"""Validation of anomaly scores and their labels, for images and for pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from reconpatch.arrays import Array


def by_class(scores: Array, labels: Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the scores of good and of defective images.

    Args:
        scores: (n,) finite anomaly scores.
        labels: (n,) labels: bool, or 0 (good) and 1 (defective).

    Returns:
        Copies of the scores of the good and of the defective images, in the order of the input.

    Raises:
        ValueError: As for `checked`.
    """
    values, defective = checked(scores, labels, names=("scores", "labels"), ndim=1)
    return values[~defective], values[defective]


def checked(
    scores: Array, truth: Array, *, names: tuple[str, str], ndim: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return scores and their labels as NumPy arrays after checking them.

    Args:
        scores: Array or tensor of finite anomaly scores, of images or of pixels.
        truth: Labels of the scores, in the same shape: bool, or 0 (good) and 1 (defective).
        names: Names of the two arguments, for messages.
        ndim: Expected number of dimensions, at least 1.

    Returns:
        The scores in their own dtype (bfloat16 as float32), and the labels as bool, True for defective.

    Raises:
        ValueError: The shapes differ or have another number of dimensions, a score is not finite, or a label is
            neither 0 nor 1.
    """
    scores_name, truth_name = names
    values, defective = _as_numpy(scores), _as_numpy(truth)
    if values.ndim != ndim or values.shape != defective.shape:
        raise ValueError(
            f"{scores_name} and {truth_name} must have the same shape with {ndim} dimension{'s' if ndim > 1 else ''}; "
            f"got {values.shape} and {defective.shape}."
        )
    if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ValueError(f"{scores_name} must be finite numbers. Leave out images without a score.")
    if defective.dtype != np.bool_:
        if not ((defective == 0) | (defective == 1)).all():
            raise ValueError(f"{truth_name} must be bool, or contain only 0 (good) and 1 (defective).")
        defective = defective == 1
    return values, defective


def _as_numpy(array: Array) -> npt.NDArray[Any]:
    """Return an array or tensor as a NumPy array."""
    if not isinstance(array, torch.Tensor):
        return np.asarray(array)
    if array.dtype == torch.bfloat16:  # NumPy has no bfloat16; float32 represents all its values
        array = array.float()
    return np.asarray(array.detach().cpu().numpy())
