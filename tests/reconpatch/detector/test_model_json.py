"""model.json: a model comes back exactly, and what is damaged or of another version is rejected in one sentence."""

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


TEXT = to_json(calibrate(normalize(model(), maps(0, 5))[0], [1.0, 2.0])).encode()


@given(st.integers(0, len(TEXT) - 1), st.none() | st.integers(1, 255))
def test_one_byte_that_fell_over_or_an_end_that_is_cut_off_is_a_model_or_refused(place: int, flip: int | None) -> None:
    """Refused as what every reader of models expects; a digit that is another digit nobody can see."""
    text = TEXT[:place] if flip is None else TEXT[:place] + bytes([TEXT[place] ^ flip]) + TEXT[place + 1 :]
    try:
        found = from_json(text)
    except ModelError:
        return
    assert predict(found, maps(2, 3)).scores.shape == (3,)
