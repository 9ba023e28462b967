"""A category's model: its statistics, its threshold, what it says of images, and its JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.model import (
    CODE_VERSION,
    FORMAT,
    MemberModel,
    Model,
    ModelError,
    calibrate,
    from_json,
    judge,
    normalise,
    to_json,
)


def model(**changes: object) -> Model:
    members = tuple(
        MemberModel(f"net{number}", (2, 3), 3, "concat", 256, "package x", "ab" * 32, "cd" * 32) for number in range(2)
    )
    made = Model("nut=1", "v1", members, 224, False, 16, 16, "patch", 9, 0.1, CODE_VERSION)
    return replace(made, **changes)  # type: ignore[arg-type]


def maps(seed: int, images: int, grids: tuple[tuple[int, int], ...] = ((6, 6), (3, 3))) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.gamma(2.0, size=(images, *grid)).astype(np.float32) for grid in grids]


@pytest.fixture
def fitted() -> Model:
    found, _ = normalise(model(), maps(0, 30))
    return calibrate(found, judge(found, maps(1, 40)).scores)


def test_statistics_are_median_and_mad_of_the_fit_images_patches() -> None:
    fit = maps(0, 30)
    found, statistics = normalise(model(), fit)
    for member, scores, each in zip(found.members, fit, statistics, strict=True):
        median = np.median(scores.astype(np.float64))
        assert member.median == pytest.approx(median)
        assert member.mad == pytest.approx(np.median(np.abs(scores.astype(np.float64) - median)))
        assert member.beta == 1.4826
        assert not each.fallback


def test_with_image_fusion_they_are_those_of_the_fit_images_largest_scores() -> None:
    fit = maps(0, 30)
    found, _ = normalise(model(fusion="image"), fit)
    largest = fit[0].reshape(30, -1).max(axis=1).astype(np.float64)
    assert found.members[0].median == pytest.approx(np.median(largest))


def test_scores_without_spread_name_category_and_member() -> None:
    with pytest.raises(ValueError, match="nut=1, net1: All"):
        normalise(model(), [maps(0, 5)[0], np.ones((5, 3, 3), np.float32)])


def test_the_verdict_is_equation_11_against_the_threshold(fitted: Model) -> None:
    new = maps(2, 25, ((6, 6), (6, 6)))
    found = judge(fitted, new)
    fused = np.mean(
        [(each - m.median) / (1.4826 * m.mad) for each, m in zip(new, fitted.members, strict=True)],  # type: ignore[operator]
        axis=0,
    )
    np.testing.assert_allclose(found.scores, fused.reshape(25, -1).max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.fused, fused, rtol=1e-4, atol=1e-5)
    held = np.array(fitted.holdout_scores)
    assert found.p_values is not None
    assert found.is_anomaly is not None
    assert found.p_values.tolist() == [(1 + (held >= score).sum()) / 41 for score in found.scores]
    assert fitted.threshold == sorted(held)[36]  # r = ⌈41 · 0.9⌉ = 37
    assert found.is_anomaly.tolist() == [score > fitted.threshold for score in found.scores]
    for number in range(25):
        row, col = np.unravel_index(found.fused[number].argmax(), (6, 6))
        assert (found.peaks.row[number], found.peaks.col[number]) == (row, col)


def test_an_image_score_of_image_fusion_is_the_mean_of_the_members() -> None:
    found, _ = normalise(model(fusion="image"), maps(0, 30))
    judged = judge(found, maps(2, 5))
    np.testing.assert_allclose(judged.scores, judged.member_scores.mean(axis=0))


def test_what_is_said_of_an_image_does_not_depend_on_its_batch(fitted: Model) -> None:
    new = maps(3, 6)
    together = judge(fitted, new)
    for number in range(6):
        alone = judge(fitted, [each[number : number + 1] for each in new])
        assert alone.scores[0] == together.scores[number]
        assert np.array_equal(alone.fused[0], together.fused[number])


def test_without_held_out_images_nothing_is_promised() -> None:
    found, _ = normalise(model(), maps(0, 30))
    calibrated = calibrate(found, [])
    assert (calibrated.threshold, calibrated.false_alarm_bound, calibrated.holdout_scores) == (None, None, ())
    judged = judge(calibrated, maps(2, 3))
    assert judged.p_values is judged.is_anomaly is None


def test_a_model_without_statistics_says_so() -> None:
    with pytest.raises(ValueError, match="nut=1, net0: the model has no median and MAD"):
        judge(model(), maps(0, 2))


def test_a_model_comes_back_from_its_json_exactly(fitted: Model) -> None:
    text = to_json(fitted)
    assert from_json(text) == fitted
    assert from_json(text.encode()) == fitted
    assert json.loads(text)["holdout_scores"] == sorted(fitted.holdout_scores)


def test_a_model_of_code_with_other_numbers_is_refused(fitted: Model) -> None:
    other = replace(fitted, code_version=CODE_VERSION - 1)
    with pytest.raises(ModelError, match=f"version {CODE_VERSION - 1}, this is {CODE_VERSION}.*fit it again"):
        from_json(to_json(other))


def test_a_model_of_a_later_format_is_refused(fitted: Model) -> None:
    stored = {**json.loads(to_json(fitted)), "format": FORMAT + 1, "new_field": 1}
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}, and this version reads up to {FORMAT}"):
        from_json(json.dumps(stored))


DAMAGED = ["", "[]", "null", "{", '{"format": 1}', '{"format": 1, "members": 3}', b"\xff\xfe", "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_model_is_refused_in_one_sentence(text: str | bytes) -> None:
    with pytest.raises(ModelError, match=r"^model\.json is damaged \(.*\); fit the model again\.$"):
        from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("category", 3),
        ("version", None),
        ("members", []),
        ("image_size", "224"),
        ("image_size", 31),
        ("full_frame", 1),
        ("bit_depth", 8),
        ("bit_depth", 17),
        ("chunk", 0),
        ("fusion", "zzz"),
        ("reweight", 0),
        ("reweight", 9.0),
        ("false_alarms", 0),
        ("false_alarms", 1.0),
        ("holdout_scores", [1.0, float("nan")]),
        ("holdout_scores", None),
        ("threshold", "x"),
        ("threshold", float("inf")),
        ("threshold", 10**400),
        ("threshold", True),
        ("false_alarm_bound", float("nan")),
    ],
)
def test_a_field_that_no_model_has_is_named(fitted: Model, field: str, value: Any) -> None:
    stored = {**json.loads(to_json(fitted)), field: value}
    with pytest.raises(ModelError, match=rf"^model\.json is damaged \(.*{field}.*\); fit the model again\.$"):
        from_json(json.dumps(stored))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("backbone", 3),
        ("levels", []),
        ("levels", ["2"]),
        ("levels", 2),
        ("patch_size", 2),
        ("patch_size", -1),
        ("aggregation", "zzz"),
        ("dim", -1),
        ("weights_sha256", None),
        ("median", float("nan")),
        ("mad", 0.0),
        ("mad", "1"),
        ("beta", -1.0),
        ("grid", [8]),
        ("grid", [8, 0]),
        ("grid", [8, 8.5]),
    ],
)
def test_a_members_field_that_no_model_has_is_named(fitted: Model, field: str, value: Any) -> None:
    stored = json.loads(to_json(fitted))
    stored["members"][1][field] = value
    with pytest.raises(ModelError, match=rf"^model\.json is damaged \(.*{field}.*\); fit the model again\.$"):
        from_json(json.dumps(stored))


@pytest.mark.parametrize("field", ["threshold", "holdout_scores", "members", "fusion"])
def test_a_field_that_is_not_there_is_named(fitted: Model, field: str) -> None:
    stored = json.loads(to_json(fitted))
    del stored[field]
    with pytest.raises(ModelError, match=f"KeyError: '{field}'"):
        from_json(json.dumps(stored))


def test_a_whole_number_may_stand_for_any_and_a_field_of_later_code_is_passed_over(fitted: Model) -> None:
    stored = {**json.loads(to_json(fitted)), "threshold": 3, "later": [1]}
    assert from_json(json.dumps(stored)).threshold == 3


TEXT = to_json(calibrate(normalise(model(), maps(0, 5))[0], [1.0, 2.0])).encode()


@given(st.integers(0, len(TEXT) - 1), st.none() | st.integers(1, 255))
def test_one_byte_that_fell_over_or_an_end_that_is_cut_off_is_a_model_or_refused(place: int, flip: int | None) -> None:
    """Refused as what every reader of models expects; a digit that is another digit nobody can see."""
    text = TEXT[:place] if flip is None else TEXT[:place] + bytes([TEXT[place] ^ flip]) + TEXT[place + 1 :]
    try:
        found = from_json(text)
    except ModelError:
        return
    assert judge(found, maps(2, 3)).scores.shape == (3,)
