"""Names of stored files: hashes of recipes, so that a trial runs again only if its recipe has changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from study.data import digest

# Current name -> name when the first trials were stored. The names of the stored files depend on the former names of
# fields and of the initialization 'neighbors', so that renaming a field does not invalidate the stored trials.
_FORMER_NAMES = {
    "layers": "levels",
    "score_neighbors": "reweight",
    "init": "start",
    "contrastive_neighbors": "neighbours",
    "neighbors": "neighbours",
}
_FORMER_INITIALIZATIONS = {"neighbors": "neighbours"}


def file_name(values: list[Any]) -> str:
    """Return a file name without a suffix, which is a hash of the given values.

    Args:
        values: JSON values; the keys of dicts are names of fields.
    """
    return digest(json.dumps([_with_former_names(value) for value in values]))[:24]


def _with_former_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        former = {_FORMER_NAMES.get(name, name): _with_former_names(field) for name, field in value.items()}
        if "start" in former:
            former["start"] = _FORMER_INITIALIZATIONS.get(former["start"], former["start"])
        return former
    return [_with_former_names(item) for item in value] if isinstance(value, list) else value
