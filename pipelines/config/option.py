"""Descriptions of options, from which the command line, its help and docs/options.md are generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal

from pipelines.errors import UsageError

_KEY = "option"  # key in the metadata of a dataclass field

FirstStage = Literal["extract", "fit", "select", "score", "fuse"]


class Section(StrEnum):
    """The headings of the help, in the order in which it shows them."""

    DATA = "Data"
    RECIPE = "Recipe and backbones"
    INPUT = "Backbone input"
    FEATURES = "Patch features"
    TRAINING = "Adapter training"
    SCORES = "Memory bank and scores"
    THRESHOLDS = "Fusion and thresholds"
    NIGHTLY = "Nightly run"
    ACCEPTANCE = "Acceptance test"
    OUTPUT = "Output"
    WHERE = "Workers and scratch space"
    RUN = "Run control"


@dataclass(frozen=True)
class Option:
    """A description of one option, independent of the library that parses the command line.

    Attributes:
        section: Heading of the help under which the option is shown.
        help: Help text: what the option does, with unit and range.
        name: Name without dashes; empty to use the name of the field.
        former: Former names without dashes, which are accepted for one release.
        former_values: Former value -> value that replaces it.
        choices: Allowed values; empty to allow any value of the field's type.
        off: Name of the opposite of a flag, without dashes ("no-maps"); empty if the flag has none.
        former_off: Former names of the opposite, without dashes.
        word_for_none: Word that stands for None ("neighbor"); empty if there is none.
        is_path: Whether the value is a path or a URI.
        is_multiple: Whether the option can be repeated.
        shown_default: Text that the help shows as the default if the default is not a constant.
        redoes: First stage that is repeated when the value changes; None if no stored result depends on the value.
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
        """Metadata for the dataclass field that the option describes."""
        return {_KEY: self}


def options_of(owner: type) -> dict[str, Option]:
    """Return the options of a configuration class.

    Args:
        owner: Dataclass whose fields have options in their metadata.

    Returns:
        Field name -> option, without the fields that have no option.
    """
    return {item.name: item.metadata[_KEY] for item in fields(owner) if _KEY in item.metadata}


def with_current_names(owner: type, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the former names and values in a stored configuration by the current ones.

    Args:
        owner: Configuration class; the options of its fields define the former names and values.
        stored: Field name, current or former -> stored value.

    Returns:
        Current field name -> current value.

    Raises:
        UsageError: The class has no field of a stored name.
    """
    options = options_of(owner)
    names = {item.name: item.name for item in fields(owner)}
    names |= {former: name for name, option in options.items() for former in option.former}
    current = {}
    for stored_name, value in stored.items():
        if stored_name not in names:
            raise UsageError(
                f"The stored configuration has the unknown field '{stored_name[:100]}'. Use the version of "
                f"reconpatch-ray that wrote it."
            )
        name = names[stored_name]
        is_text = isinstance(value, str) and name in options
        current[name] = options[name].former_values.get(value, value) if is_text else value
    return current
