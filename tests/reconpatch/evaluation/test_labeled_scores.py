"""Validation of scores and labels. The errors are tested together with the metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from reconpatch.evaluation.labeled_scores import by_class, checked


def test_scores_are_divided_by_class_and_copied() -> None:
    scores = np.array([3.0, 1.0, 2.0], np.float32)
    good, defective = by_class(scores, [0, 1, 0])
    assert (good.tolist(), defective.tolist()) == ([3.0, 2.0], [1.0])
    assert good.dtype == np.float32
    assert not np.shares_memory(good, scores)


def test_bfloat16_is_read_as_float32_and_labels_as_bool() -> None:
    values, defective = checked(torch.tensor([1.5]).bfloat16(), torch.tensor([1]), names=("scores", "labels"), ndim=1)
    assert (values.dtype, values.tolist()) == (np.float32, [1.5])
    assert (defective.dtype, defective.tolist()) == (np.bool_, [True])


def test_an_error_names_both_arguments() -> None:
    with pytest.raises(
        ValueError, match=r"^a and b must have the same shape with 2 dimensions; got \(1, 2\) and \(2,\)"
    ):
        checked(np.zeros((1, 2)), np.zeros(2), names=("a", "b"), ndim=2)
