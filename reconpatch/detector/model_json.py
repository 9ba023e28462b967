"""model.json: a category's model as plain JSON. Nothing is pickled."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import asdict, fields
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from reconpatch.detector.model import CODE_VERSION, FUSIONS, MemberModel, Model
from reconpatch.exceptions import ModelError
from reconpatch.features.patches import AGGREGATIONS

FORMAT = 1  # of model.json; a later one is an error
# Keys of model.json that differ from the names of the fields.
_STORED_NAMES = {"layers": "levels", "score_neighbors": "reweight"}


def to_json(model: Model) -> str:
    """Return the text of model.json: the fields of `Model` and `MemberModel`, and `format`."""
    stored = _stored_names(asdict(model))
    stored["members"] = [_stored_names(member) for member in stored["members"]]
    return json.dumps({"format": FORMAT, **stored}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str | bytes) -> Model:
    """Read a model from the text of model.json.

    Args:
        text: content of the file.

    Raises:
        ModelError: the text is not JSON, of a later format or another `CODE_VERSION`, or a field is missing or invalid.
    """
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored["format"] > FORMAT:
            raise ModelError(
                f"The model is of format {stored['format']}, and this version reads up to {FORMAT}; update "
                f"reconpatch-ray."
            )
        if stored["code_version"] != CODE_VERSION:
            raise ModelError(
                f"The model was made by code that computes other numbers (version {stored['code_version']}, this is "
                f"{CODE_VERSION}), so that scores would not mean what its threshold says; fit it again."
            )
        members = tuple(MemberModel(**_fields({"grid": None, **member}, MemberModel)) for member in stored["members"])
        model = Model(**{**_fields(stored, Model), "members": members})
        _require_sound(model)
        return model
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model.json is damaged ({type(error).__name__}: {reason}); fit the model again.") from error


def _stored_names(values: dict[str, Any]) -> dict[str, Any]:
    return {_STORED_NAMES.get(name, name): value for name, value in values.items()}


def _fields(stored: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return a stored object's value of each field, lists as tuples; other keys are ignored."""
    values = {field.name: stored[_STORED_NAMES.get(field.name, field.name)] for field in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _require_sound(model: Model) -> None:
    """Raise a ValueError unless every field has its type and is in its range."""
    for part in (model, *model.members):
        for name, kind in get_type_hints(type(part)).items():
            if not _is_a(getattr(part, name), kind):
                raise ValueError(f"{_STORED_NAMES.get(name, name)} is {repr(getattr(part, name))[:60]}")
    sound = {
        "members": len(model.members) > 0,
        "image_size": model.image_size >= 32,
        "bit_depth": 9 <= model.bit_depth <= 16,
        "chunk": model.chunk >= 1,
        "fusion": model.fusion in FUSIONS,
        "reweight": model.score_neighbors >= 1,
        "false_alarms": 0.0 < model.false_alarms < 1.0,
    }
    for member in model.members:
        spread = 1.0 if member.mad is None or member.beta is None else member.mad * member.beta
        sound |= {
            f"levels of {member.backbone}": len(member.layers) > 0,
            f"patch_size of {member.backbone}": member.patch_size >= 1 and member.patch_size % 2 == 1,
            f"aggregation of {member.backbone}": member.aggregation in AGGREGATIONS,
            f"dim of {member.backbone}": member.dim >= 0,
            f"mad and beta of {member.backbone}": 0.0 < spread < math.inf,
            f"grid of {member.backbone}": member.grid is None or min(member.grid) >= 1,
        }
    wrong = [name for name, is_sound in sound.items() if not is_sound]
    if wrong:
        raise ValueError(f"out of range: {', '.join(wrong)}")


def _is_a(value: Any, kind: Any) -> bool:
    """Return whether a value is of a field's type. A float must be finite, and may be given as an int."""
    if isinstance(kind, UnionType):
        return any(_is_a(value, option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        first, last = get_args(kind)  # tuple[X, X], or tuple[X, ...] of any length
        length = 2 if last is first else None
        return (
            isinstance(value, tuple)
            and length in (None, len(value))
            and all(_is_a(element, first) for element in value)
        )
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is kind
