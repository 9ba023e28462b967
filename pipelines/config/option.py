"""Descriptions of options: what the command line, its help and docs/options.md say about a configuration field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal

from pipelines.errors import UsageError

_KEY = "option"  # in a field's metadata

FirstStage = Literal["extract", "fit", "select", "score", "fuse"]


class Section(StrEnum):
    """Headings that the help groups options under, in this order."""

    DATA = "Data"
    RECIPE = "Recipe and networks"
    INPUT = "Network input"
    FEATURES = "Patch features"
    TRAINING = "Adapter training"
    SCORES = "Memory bank and scores"
    THRESHOLDS = "Fusion and thresholds"
    NIGHTLY = "Nightly run"
    ACCEPTANCE = "Acceptance test"
    OUTPUT = "Output"
    WHERE = "Where it runs"
    RUN = "Run control"


@dataclass(frozen=True)
class Option:
    """Description of one option; knows nothing of the library that parses the command line.

    Attributes:
        section: heading in the help.
        help: what the option does, with unit and range.
        name: name without dashes; empty: the field's name.
        former: former names without dashes, which are read for one release.
        former_values: former value -> value.
        choices: allowed values; empty: any value of the field's type.
        off: name of a flag's opposite without dashes ("no-maps"); empty: the flag has none.
        former_off: former names of the opposite.
        word_for_none: value that stands for None ("neighbor").
        is_path: whether the value is a path or a URI.
        is_multiple: whether the option may be given several times.
        shown_default: default in the help, where it is no constant.
        redoes: first stage that a changed value repeats; None: no stored result depends on the value.
    """

    section: Section
    help: str
    _: KW_ONLY
    name: str = ""
    former: tuple[str, ...] = ()
    former_values: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()
    off: str = ""
    former_off: tuple[str, ...] = ()
    word_for_none: str = ""
    is_path: bool = False
    is_multiple: bool = False
    shown_default: str = ""
    redoes: FirstStage | None = None

    @property
    def metadata(self) -> dict[str, Option]:
        """The `metadata` of the dataclass field that the option describes."""
        return {_KEY: self}


def options_of(owner: type) -> dict[str, Option]:
    """Return field name -> option, for every field of a configuration class that has an option."""
    return {item.name: item.metadata[_KEY] for item in fields(owner) if _KEY in item.metadata}


def with_current_names(owner: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored fields of a configuration class under their current names and with their current values.

    Args:
        owner: the configuration class; its fields' options know the former names and values.
        stored: field name, current or former -> value.

    Raises:
        UsageError: the class has no such field.
    """
    options = options_of(owner)
    names = {item.name: item.name for item in fields(owner)}
    names |= {former: name for name, option in options.items() for former in option.former}
    current = {}
    for stored_name, value in stored.items():
        if stored_name not in names:
            raise UsageError(
                f"The stored configuration has a field '{stored_name[:100]}' that this version does not know; use the "
                f"version that wrote it."
            )
        name = names[stored_name]
        is_text = isinstance(value, str) and name in options
        current[name] = options[name].former_values.get(value, value) if is_text else value
    return current
