"""model.json: a model is restored exactly; a damaged file or one of another version is an error of one line."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconpatch.detector.model import CODE_VERSION, Model, calibrate, normalize, predict
from reconpatch.detector.model_json import FORMAT, from_json, to_json
from reconpatch.exceptions import ModelError
from tests.reconpatch.detector.models import maps, model


def test_a_model_is_restored_exactly(fitted: Model) -> None:
    text = to_json(fitted)
    assert from_json(text) == fitted
    assert from_json(text.encode()) == fitted
    assert json.loads(text)["holdout_scores"] == sorted(fitted.holdout_scores)


def test_a_model_of_another_code_version_is_an_error(fitted: Model) -> None:
    other = replace(fitted, code_version=CODE_VERSION - 1)
    message = rf"version {CODE_VERSION - 1}\. This is code version {CODE_VERSION}, .*\. Fit the model again\.$"
    with pytest.raises(ModelError, match=message):
        from_json(to_json(other))


def test_a_model_of_a_later_format_is_an_error(fitted: Model) -> None:
    stored = {**json.loads(to_json(fitted)), "format": FORMAT + 1, "new_field": 1}
    with pytest.raises(ModelError, match=f"format {FORMAT + 1}, but this version reads formats up to {FORMAT}"):
        from_json(json.dumps(stored))


DAMAGED = ["", "[]", "null", "{", '{"format": 1}', '{"format": 1, "members": 3}', b"\xff\xfe", "[" * 100_000]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_model_is_an_error_of_one_line(text: str | bytes) -> None:
    with pytest.raises(ModelError, match=r"^model\.json is damaged \(.*\)\. Fit the model again\.$"):
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
def test_a_field_with_an_invalid_value_is_named(fitted: Model, field: str, value: Any) -> None:
    stored = {**json.loads(to_json(fitted)), field: value}
    with pytest.raises(ModelError, match=rf"^model\.json is damaged \(.*{field}.*\)\. Fit the model again\.$"):
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
def test_a_field_of_a_member_with_an_invalid_value_is_named(fitted: Model, field: str, value: Any) -> None:
    stored = json.loads(to_json(fitted))
    stored["members"][1][field] = value
    with pytest.raises(ModelError, match=rf"^model\.json is damaged \(.*{field}.*\)\. Fit the model again\.$"):
        from_json(json.dumps(stored))


@pytest.mark.parametrize("field", ["threshold", "holdout_scores", "members", "fusion"])
def test_a_missing_field_is_named(fitted: Model, field: str) -> None:
    stored = json.loads(to_json(fitted))
    del stored[field]
    with pytest.raises(ModelError, match=f"KeyError: '{field}'"):
        from_json(json.dumps(stored))


def test_an_integer_is_read_as_a_float_and_an_unknown_field_is_ignored(fitted: Model) -> None:
    stored = {**json.loads(to_json(fitted)), "threshold": 3, "later": [1]}
    assert from_json(json.dumps(stored)).threshold == 3


TEXT = to_json(calibrate(normalize(model(), maps(0, 5))[0], [1.0, 2.0])).encode()


@given(st.integers(0, len(TEXT) - 1), st.none() | st.integers(1, 255))
def test_text_with_a_changed_byte_or_a_missing_end_is_either_read_or_a_model_error(
    offset: int, flip: int | None
) -> None:
    """No other exception is raised. A changed digit cannot be detected; the model must still be usable."""
    text = TEXT[:offset] if flip is None else TEXT[:offset] + bytes([TEXT[offset] ^ flip]) + TEXT[offset + 1 :]
    try:
        restored = from_json(text)
    except ModelError:
        return
    assert predict(restored, maps(2, 3)).scores.shape == (3,)
