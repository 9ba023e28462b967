"""model.json: the model of a category as plain JSON, without pickled objects."""

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

FORMAT = 1  # format of model.json; reading a later format is an error
# Keys of model.json that differ from the names of the fields of `Model` and `MemberModel`.
_STORED_NAMES = {"layers": "levels", "score_neighbors": "reweight"}


def to_json(model: Model) -> str:
    """Return the text of model.json: the fields of `Model` and `MemberModel`, and `format`.

    Args:
        model: Model to write.

    Returns:
        JSON with a line break at the end. `from_json` restores the model exactly.
    """
    stored = _stored_names(asdict(model))
    stored["members"] = [_stored_names(member) for member in stored["members"]]
    return json.dumps({"format": FORMAT, **stored}, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str | bytes) -> Model:
    """Read a model from the text of model.json.

    Args:
        text: Content of the file.

    Returns:
        The model.

    Raises:
        ModelError: The text is not JSON, a field is missing or invalid, or the text has a later format or another
            `CODE_VERSION`.
    """
    try:
        stored: dict[str, Any] = json.loads(text)
        if stored["format"] > FORMAT:
            raise ModelError(
                f"The model has format {stored['format']}, but this version reads formats up to {FORMAT}. Update "
                f"reconpatch-ray."
            )
        if stored["code_version"] != CODE_VERSION:
            raise ModelError(
                f"The model was fitted by code version {stored['code_version']}. This is code version {CODE_VERSION}, "
                f"whose scores cannot be compared with the model's threshold. Fit the model again."
            )
        members = tuple(MemberModel(**_fields({"grid": None, **member}, MemberModel)) for member in stored["members"])
        model = Model(**{**_fields(stored, Model), "members": members})
        _require_sound(model)
        return model
    except ModelError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"model.json is damaged ({type(error).__name__}: {reason}). Fit the model again.") from error


def _stored_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values by their keys in model.json."""
    return {_STORED_NAMES.get(name, name): value for name, value in values.items()}


def _fields(stored: dict[str, Any], kind: type) -> dict[str, Any]:
    """Return the values of a dataclass's fields from a stored object, lists as tuples. Other keys are ignored."""
    values = {field.name: stored[_STORED_NAMES.get(field.name, field.name)] for field in fields(kind)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _require_sound(model: Model) -> None:
    """Raise ValueError unless every field has its type and is in its range."""
    for part in (model, *model.members):
        for name, kind in get_type_hints(type(part)).items():
            if not _is_a(getattr(part, name), kind):
                raise ValueError(f"invalid {_STORED_NAMES.get(name, name)}: {repr(getattr(part, name))[:60]}")
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
    """Return whether a value has a field's type. A float must be finite; an int is accepted as a float."""
    if isinstance(kind, UnionType):
        return any(_is_a(value, option) for option in get_args(kind))
    if get_origin(kind) is tuple:
        first, last = get_args(kind)  # tuple[X, X], or tuple[X, ...] for any length
        length = 2 if last is first else None
        return (
            isinstance(value, tuple)
            and length in (None, len(value))
            and all(_is_a(element, first) for element in value)
        )
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is kind
