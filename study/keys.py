"""Names of files: digests of recipes, so that a changed recipe is tried again and an unchanged one is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from study.data import digest

# Names of fields, and of the initialization 'neighbors', when the first trials were stored: a new name must not change
# the names of their files.
_FORMER_NAMES = {
    "layers": "levels",
    "score_neighbors": "reweight",
    "init": "start",
    "contrastive_neighbors": "neighbours",
    "neighbors": "neighbours",
}
_FORMER_INITIALIZATIONS = {"neighbors": "neighbours"}


def file_name(values: list[Any]) -> str:
    """Return the name, without a suffix, of the file that holds what depends on some values.

    Args:
        values: of JSON; dicts have names of fields as keys.
    """
    return digest(json.dumps([_with_former_names(value) for value in values]))[:24]


def _with_former_names(value: Any) -> Any:
    if isinstance(value, Mapping):
        former = {_FORMER_NAMES.get(name, name): _with_former_names(field) for name, field in value.items()}
        if "start" in former:
            former["start"] = _FORMER_INITIALIZATIONS.get(former["start"], former["start"])
        return former
    return [_with_former_names(item) for item in value] if isinstance(value, list) else value
