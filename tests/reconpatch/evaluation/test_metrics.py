"""Metrics compared with scikit-learn and with loops, on random, tied, constant and inverted scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from reconpatch.evaluation.metrics import (
    ImageMetrics,
    PixelMetrics,
    aupro,
    d_prime,
    f1_max,
    image_ap,
    image_auroc,
    image_metrics,
    pixel_ap,
    pixel_auroc,
    pixel_f1_max,
    pixel_metrics,
    precision_and_recall,
    roc,
)

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


def sklearn_f1_max(labels: Bools, scores: Floats) -> float:
    """Return the largest F1 on scikit-learn's precision-recall curve."""
    precision, recall, _ = precision_recall_curve(labels, scores)
    with np.errstate(invalid="ignore"):
        return float(np.nanmax(2 * precision * recall / (precision + recall)))


def naive_aupro(maps: Floats, masks: Bools, max_fpr: float, ignored: Bools | None = None) -> float:
    """Return AUPRO by its definition: loop over thresholds and regions, and add trapezoids up to the limit."""
    counted = np.ones(masks.shape, bool) if ignored is None else ~ignored
    good = counted & ~masks
    regions = [region for n, mask in enumerate(masks & counted) for region in flood_regions(n, mask)]
    fprs, overlaps = [0.0], [0.0]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        detected = maps >= threshold
        fprs.append(float((detected & good).sum() / good.sum()))
        overlaps.append(float(np.mean([np.mean([detected[pixel] for pixel in region]) for region in regions])))
    area = 0.0
    for i in range(1, len(fprs)):
        x0, x1, y0, y1 = fprs[i - 1], fprs[i], overlaps[i - 1], overlaps[i]
        if x0 >= max_fpr:
            break
        if x1 > max_fpr:
            y1 = y0 + (y1 - y0) * (max_fpr - x0) / (x1 - x0)
            x1 = max_fpr
        area += (x1 - x0) * (y0 + y1) / 2
    return area / max_fpr


def flood_regions(n: int, mask: Bools) -> list[list[tuple[int, int, int]]]:
    """Return the 8-connected regions of one mask, found by flooding, as lists of (n, row, column)."""
    todo = {(int(r), int(c)) for r, c in np.argwhere(mask)}
    regions = []
    while todo:
        front = [todo.pop()]
        region = []
        while front:
            r, c = front.pop()
            region.append((n, r, c))
            near = {(r + dr, c + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)} & todo
            todo -= near
            front += near
        regions.append(region)
    return regions


def score_kinds(shape: tuple[int, ...], truth: Bools) -> dict[str, Floats]:
    """Return scores of several kinds for the given labels or masks, by name."""
    rng = np.random.default_rng(7)
    good = rng.normal(size=shape).astype(np.float32) + truth
    return {
        "random": good,
        "tied": np.round(good).astype(np.float32),
        "heavily tied": (good > 0.5).astype(np.float32),
        "constant": np.full(shape, 3.25, np.float32),
        "inverted": -good,
        "perfect": (truth + rng.random(shape) / 2).astype(np.float32),
        "perfectly wrong": -truth.astype(np.float32),
        "huge": good * np.float32(1e30),
        "far from 0": good + np.float32(1e6),
        "signed zeros": np.where(rng.random(shape) < 0.5, np.float32(0.0), np.float32(-0.0)),
    }


KINDS = list(score_kinds((1,), np.zeros(1, bool)))


def some_masks(seed: int = 3) -> Bools:
    """Return five masks of 9 x 9 pixels: random pixels, a block and a pixel, empty, full, and a diagonal."""
    masks = np.zeros((5, 9, 9), bool)
    masks[0] = np.random.default_rng(seed).random((9, 9)) < 0.2
    masks[1, 2:6, 1:4] = True
    masks[1, 8, 8] = True
    masks[3] = True
    masks[4] = np.eye(9, dtype=bool)
    return masks


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
@pytest.mark.parametrize("kind", KINDS)
def test_image_metrics_equal_scikit_learn(kind: str, share: float, dtype: type) -> None:
    labels = np.random.default_rng(0).random(211) < share
    scores: NDArray[np.floating] = np.asarray(score_kinds((211,), labels)[kind], dtype)
    assert image_auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)
    assert image_ap(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-9)
    assert f1_max(scores, labels) == pytest.approx(sklearn_f1_max(labels, scores), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_metrics_equal_scikit_learn(kind: str) -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)[kind]
    flat, truth = maps.ravel(), masks.ravel()
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    assert pixel_ap(maps, masks) == pytest.approx(average_precision_score(truth, flat), abs=1e-9)
    assert pixel_f1_max(maps, masks) == pytest.approx(sklearn_f1_max(truth, flat), abs=1e-9)


def test_scores_that_differ_in_float64_only_are_no_ties() -> None:
    assert image_auroc(np.array([1.0, 1.0 + 1e-12]), [0, 1]) == 1.0
    maps = np.array([[[1.0, 1.0 + 1e-12]]])
    assert pixel_metrics(maps, np.array([[[False, True]]])) == PixelMetrics(1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("max_fpr", [0.003, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_aupro_equals_a_loop_over_thresholds_and_regions(kind: str, max_fpr: float) -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)[kind]
    assert aupro(maps, masks, max_fpr) == pytest.approx(naive_aupro(maps, masks, max_fpr), abs=1e-9)


def test_regions_that_touch_diagonally_are_one() -> None:
    masks = np.zeros((1, 6, 6), bool)
    masks[0, [0, 1], [0, 1]] = True  # one region of two pixels
    masks[0, 4:6, 4:6] = True  # one region of four
    maps = np.zeros((1, 6, 6), np.float32)
    maps[0, 0, 0] = 2.0  # only half of the first region scores above the good pixels
    # One of two regions is half detected, so the curve starts at 1/4. It rises to 1 along a ramp over all good pixels.
    assert aupro(maps, masks, 0.3) == pytest.approx(0.25 + 0.75 * 0.3 / 2)


def test_all_regions_have_the_same_weight() -> None:
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :5, :5] = True
    masks[0, 7, 7] = True
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 7, 7] = 1.0
    assert aupro(maps, masks, 0.3) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


def test_regions_of_consecutive_images_are_not_connected() -> None:
    masks = np.zeros((2, 3, 3), bool)
    masks[0, 2, 0] = masks[1, 0, :] = True
    maps = np.zeros((2, 3, 3), np.float32)
    maps[0, 2, 0] = 1.0
    assert aupro(maps, masks, 0.3) == pytest.approx(0.5 + 0.5 * 0.3 / 2)


@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_a_constant_map_gets_the_chance_level(max_fpr: float) -> None:
    masks = some_masks()
    maps = np.full(masks.shape, 1.5, np.float32)
    assert aupro(maps, masks, max_fpr) == pytest.approx(max_fpr / 2)
    assert pixel_auroc(maps, masks) == 0.5


def test_aupro_is_one_for_a_perfect_map_and_zero_for_its_opposite() -> None:
    masks = some_masks()
    assert aupro(masks.astype(np.float32), masks) == 1.0
    assert aupro(-masks.astype(np.float32), masks) == 0.0


def test_aupro_is_0_if_no_defective_pixel_is_detected_below_the_limit() -> None:
    maps = np.array([[[5.0, 4.0, 3.0, 2.0, 1.0]]], np.float32)
    masks = np.array([[[False, False, False, False, True]]])
    assert aupro(maps, masks, 0.3) == 0.0
    assert aupro(maps, masks, 1.0) == 0.0


def test_d_prime_is_equation_12() -> None:
    scores = np.array([0.0, 2.0, 5.0, 9.0])
    # The means are 1 and 7, the standard deviations (ddof 0) 1 and 2.
    assert d_prime(scores, [0, 0, 1, 1]) == pytest.approx(6.0 / np.sqrt((1.0 + 4.0) / 2.0))
    assert d_prime(scores, [1, 1, 0, 0]) == d_prime(scores, [0, 0, 1, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_d_prime_is_exact_for_very_large_and_very_small_scores(dtype: type) -> None:
    scores: NDArray[np.floating] = np.array([0.0, 2.0, 5.0, 9.0], dtype)
    expected = 6.0 / np.sqrt(2.5)
    for unit in (np.finfo(dtype).max / 16, np.finfo(dtype).tiny * 2):
        assert d_prime(scores * dtype(unit), [0, 0, 1, 1]) == pytest.approx(expected)


def test_d_prime_needs_a_deviation_in_at_least_one_class() -> None:
    assert np.std(np.full(3, 0.1)) > 0.0  # the mean of equal numbers is rounded, so NumPy's deviation is not 0
    assert d_prime([0.1, 0.1, 0.1, 1.0, 1.0, 1.0], [0, 0, 0, 1, 1, 1]) is None
    assert d_prime([0.0, 0.0, 1.0], [0, 0, 1]) is None
    assert d_prime([0.0, 0.0, 0.0], [0, 0, 1]) is None
    assert d_prime([3.0, 3.0, 1.0, 2.0], [0, 0, 1, 1]) == pytest.approx(1.5 / np.sqrt(0.25 / 2.0))


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], []], ids=["good only", "defective only", "no image"])
def test_image_metrics_need_both_classes(labels: list[int]) -> None:
    scores = np.arange(len(labels), dtype=np.float32)
    assert image_metrics(scores, np.array(labels, bool)) == ImageMetrics(None, None, None, None)


@pytest.mark.parametrize("shape", [(2, 3, 3), (0, 3, 3)])
@pytest.mark.parametrize("value", [False, True])
def test_pixel_metrics_need_good_and_defective_pixels(shape: tuple[int, ...], value: bool) -> None:
    maps = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert pixel_metrics(maps, np.full(shape, value)) == PixelMetrics(None, None, None, None)


def test_a_single_good_or_defective_pixel_is_enough() -> None:
    masks = np.zeros((1, 3, 3), bool)
    masks[0, 1, 1] = True
    maps = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    for truth in (masks, ~masks):
        assert pixel_auroc(maps, truth) == pytest.approx(0.5)
        assert aupro(maps, truth, 0.3) == pytest.approx(naive_aupro(maps, truth, 0.3))


def test_single_functions_return_the_fields_of_all_metrics() -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)["random"]
    assert pixel_metrics(maps, masks, 0.1) == PixelMetrics(
        pixel_auroc(maps, masks), pixel_ap(maps, masks), pixel_f1_max(maps, masks), aupro(maps, masks, 0.1)
    )
    scores, labels = np.random.default_rng(0).normal(size=405), masks.ravel()
    assert image_metrics(scores, labels) == ImageMetrics(
        image_auroc(scores, labels), image_ap(scores, labels), f1_max(scores, labels), d_prime(scores, labels)
    )


def test_arrays_and_tensors_of_all_dtypes_give_python_floats() -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)["tied"]
    expected = pixel_metrics(maps, masks)
    assert all(type(value) is float for value in vars(expected).values())
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int32):
        given_maps = torch.from_numpy(maps).to(dtype)
        assert pixel_metrics(given_maps, torch.from_numpy(masks)) == expected
    assert pixel_metrics(torch.from_numpy(maps).requires_grad_(), masks.astype(np.uint8)) == expected
    assert image_auroc([1, 2, 3], [0, 1, 1]) == 1.0


def test_the_input_is_not_changed() -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)["random"]
    before = maps.copy()
    maps.flags.writeable = False
    pixel_metrics(maps, masks)
    image_metrics(maps.ravel(), masks.ravel())
    assert np.array_equal(maps, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("function", [image_auroc, image_ap, f1_max, d_prime, image_metrics])
def test_image_scores_must_be_finite(function: Callable[..., object], bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        function([0.0, bad, 1.0], [0, 0, 1])
    with pytest.raises(ValueError, match="finite"):  # also if only one class occurs
        function([0.0, bad, 1.0], [0, 0, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_maps_must_be_finite(bad: float) -> None:
    maps = np.zeros((1, 2, 2), np.float32)
    maps[0, 0, 0] = bad
    with pytest.raises(ValueError, match="finite"):
        pixel_metrics(maps, np.zeros((1, 2, 2), bool))


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0], [0, 1, 1], "same shape with 1 dimension; got"),
        ([[1.0], [2.0]], [[0], [1]], "same shape with 1 dimension; got"),
        ([1.0, 2.0], [0, 2], "labels must be bool"),
        ([1.0, 2.0], [0.0, np.nan], "labels must be bool"),
        ([1.0, 2.0], [0, None], "labels must be bool"),
        ([1.0, None], [0, 1], "finite"),
        (["a", "b"], [0, 1], "finite"),
    ],
)
def test_invalid_scores_and_labels_are_errors(scores: object, labels: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        image_metrics(scores, labels)


def test_invalid_maps_and_masks_are_errors() -> None:
    maps, masks = np.zeros((2, 4, 4), np.float32), np.zeros((2, 4, 4), bool)
    with pytest.raises(ValueError, match="same shape with 3 dimensions; got"):
        pixel_metrics(maps, masks[:1])
    with pytest.raises(ValueError, match="same shape with 3 dimensions; got"):
        pixel_metrics(maps[0], masks[0])
    with pytest.raises(ValueError, match="masks must be bool"):
        pixel_metrics(maps, masks.astype(np.uint8) + np.uint8(255))
    for max_fpr in (0.0, -0.1, 1.01, float("nan")):
        with pytest.raises(ValueError, match="max_fpr"):
            aupro(maps, masks, max_fpr)


# Integers from a small range give many ties, and every transformation below is exact on them.
grids = st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(grids)
def test_auroc_depends_only_on_the_order_of_the_scores(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([row[0] for row in rows], np.float64), np.array([row[1] for row in rows])
    for transformed in (3.0 * scores + 100.0, scores**3, np.exp(scores), np.arctan(scores)):
        assert image_auroc(transformed, labels) == image_auroc(scores, labels)
        assert image_ap(transformed, labels) == image_ap(scores, labels)
        assert f1_max(transformed, labels) == f1_max(scores, labels)


@given(grids)
def test_auroc_of_negated_scores_is_the_complement(rows: list[tuple[int, bool]]) -> None:
    scores, labels = np.array([row[0] for row in rows], np.float64), np.array([row[1] for row in rows])
    auroc, negated = image_auroc(scores, labels), image_auroc(-scores, labels)
    assert auroc is not None
    assert negated == pytest.approx(1.0 - auroc, abs=1e-15)
    assert image_auroc(scores, ~labels) == negated


@given(
    maps=arrays(np.float32, (2, 4, 5), elements=st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, float(np.float32(1e30))])),
    masks=arrays(np.bool_, (2, 4, 5)),
    max_fpr=st.sampled_from([1e-6, 0.01, 0.3, 0.5, 1.0]),
)
def test_aupro_equals_the_loops_and_is_within_0_and_1(maps: Floats, masks: Bools, max_fpr: float) -> None:
    value = aupro(maps, masks, max_fpr)
    if masks.all() or not masks.any():
        assert value is None
    else:
        assert value is not None
        assert 0.0 <= value <= 1.0
        assert value == pytest.approx(naive_aupro(maps, masks, max_fpr), abs=1e-9)


@given(arrays(np.int8, (2, 4, 5), elements=st.integers(-3, 3)), arrays(np.bool_, (2, 4, 5)))
def test_aupro_does_not_depend_on_the_order_of_images(maps: NDArray[np.int8], masks: Bools) -> None:
    value, reversed_value = aupro(maps, masks), aupro(maps[::-1], masks[::-1])
    assert reversed_value == (None if value is None else pytest.approx(value, abs=1e-12))


@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40))
def test_the_curves_equal_those_of_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores, labels = (np.array(column) for column in zip(*pairs, strict=True))
    if len(set(labels.tolist())) < 2:
        return
    false_rate, true_rate = roc(scores.astype(float), labels)
    expected_false, expected_true, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert np.all(np.diff(false_rate) >= 0)
    assert np.all(np.diff(true_rate) >= 0)
    assert auc(false_rate, true_rate) == pytest.approx(auc(expected_false, expected_true))
    assert points(false_rate, true_rate) <= points(expected_false, expected_true)
    precision, recall = precision_and_recall(scores.astype(float), labels)
    expected_precision, expected_recall, _ = precision_recall_curve(labels, scores)
    assert points(precision, recall) <= points(expected_precision, expected_recall)


def points(x: NDArray[np.float64], y: NDArray[np.float64]) -> set[tuple[float, float]]:
    """Return the points of a curve, rounded so that they can be compared."""
    return {(round(float(a), 9), round(float(b), 9)) for a, b in zip(x, y, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_pixel_metrics_leave_out_ignored_pixels(kind: str) -> None:
    masks = some_masks()
    ignored = np.random.default_rng(8).random(masks.shape) < 0.2
    ignored[0, :, 4] = True
    maps = score_kinds(masks.shape, masks)[kind]
    metrics = pixel_metrics(maps, masks, 0.3, ignored=ignored)
    flat, truth = maps[~ignored], masks[~ignored]
    assert metrics.auroc == pytest.approx(roc_auc_score(truth, flat), abs=1e-9)
    assert metrics.ap == pytest.approx(average_precision_score(truth, flat), abs=1e-9)
    assert metrics.f1max == pytest.approx(sklearn_f1_max(truth, flat), abs=1e-9)
    assert metrics.aupro == pytest.approx(naive_aupro(maps, masks, 0.3, ignored), abs=1e-9)


def test_ignored_pixels_separate_regions() -> None:
    masks, ignored = np.zeros((1, 3, 9), bool), np.zeros((1, 3, 9), bool)
    masks[0, :, :6] = True
    ignored[0, :, 3] = True  # 9 defective pixels left of it, 6 right of it, 9 good ones
    maps = np.zeros((1, 3, 9), np.float32)
    maps[0, :, :3] = 1.0  # one of the two regions is detected; without the gap it would be 9 of 18 pixels
    maps[0, 0, 4] = 1.0
    assert pixel_metrics(maps, masks, 1e-9, ignored=ignored).aupro == pytest.approx((1 + 1 / 6) / 2)


def test_no_ignored_pixel_changes_nothing() -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)["random"]
    assert pixel_metrics(maps, masks, ignored=np.zeros(masks.shape, bool)) == pixel_metrics(maps, masks)


def test_pixel_metrics_are_undefined_if_one_class_is_ignored() -> None:
    masks = some_masks()
    maps = score_kinds(masks.shape, masks)["random"]
    for ignored in (masks, ~masks, np.ones(masks.shape, bool)):
        assert pixel_metrics(maps, masks, ignored=ignored) == PixelMetrics(None, None, None, None)


@pytest.mark.parametrize(
    ("ignored", "message"),
    [
        (np.zeros((1, 2, 2), bool), "maps and ignored must have the same shape"),
        (np.full((1, 3, 3), 2), "ignored must be"),
    ],
)
def test_ignored_pixels_of_another_shape_or_value_raise(ignored: Bools, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pixel_metrics(np.zeros((1, 3, 3)), np.zeros((1, 3, 3), bool), ignored=ignored)
