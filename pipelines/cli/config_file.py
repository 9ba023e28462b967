"""Options from a YAML or JSON file (`--config`), under the names that the command line uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from pipelines.cli.generate import ConfigOption, Layers, notice_former
from pipelines.errors import UsageError, error_line

_NOTHING = ("", "~", "null", "Null", "NULL")  # the values that YAML reads as null
_EXAMPLE = "a mapping such as 'image-size: 224'"


def options_from_file(name: str, command: click.Command) -> dict[str, Any]:
    """Read the options in a file. Names may be written with hyphens or underscores (`image-size`, `image_size`).

    All values are read as text, as on the command line. YAML's own types would change the part number 004711, the time
    23:30 and the category `no`.

    Args:
        name: Path of the YAML or JSON file.
        command: Command that the options are for.

    Returns:
        The value of each option, by click's parameter name. Options without a value in the file are left out.

    Raises:
        UsageError: The file cannot be read, is not a mapping, or has an option that the command does not have; or an
            option that takes one value is given a list or a mapping.
    """
    parameters = {
        option.lstrip("-").replace("-", "_"): parameter
        for parameter in command.params
        for option in parameter.opts
        if parameter.name != "config"
    }
    former = {
        old.replace("-", "_"): parameter
        for parameter in command.params
        if isinstance(parameter, ConfigOption)
        for old in parameter.option.former
    }
    options: dict[str, Any] = {}
    for key, value in _read(name).items():
        option = key.replace("-", "_")
        parameter = parameters.get(option) or former.get(option)
        if parameter is None:
            raise UsageError(
                f"--config {name}: {command.name} has no option '{key[:100]}'. Its options are "
                f"{', '.join(sorted(known.replace('_', '-') for known in parameters))}."
            )
        if option in former:
            notice_former(key, parameter.opts[0].lstrip("-"))
        given = _given(value, parameter, f"--config {name}: {key}")
        if given is not None:
            options[str(parameter.name)] = given
    return options


def _given(value: Any, parameter: click.Parameter, label: str) -> str | list[str] | None:
    """Return an option's value in the form that click expects, or None if the file has no value for it."""
    is_multiple = isinstance(parameter, click.Option) and parameter.multiple
    takes_list = is_multiple or isinstance(parameter.type, Layers)
    values = value if isinstance(value, list) and takes_list else [value]
    if not all(isinstance(item, str) for item in values):  # not quoted: a few lines of YAML can expand to gigabytes
        raise UsageError(f"{label} takes {'values' if is_multiple else 'a value'}, not lists or mappings.")
    given = [item for item in values if item not in _NOTHING]
    if not given:
        return None
    return given if is_multiple or isinstance(value, list) else given[0]


def _read(name: str) -> dict[str, Any]:
    """Return the mapping in the file, with all scalars as text."""
    try:
        stored = yaml.load(Path(name).read_text("utf-8"), yaml.BaseLoader)  # JSON is a subset of YAML
    except yaml.MarkedYAMLError as error:  # its full text quotes the line, which may contain a secret
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise UsageError(f"--config {name}: {error.problem}{line}.") from error
    except FileNotFoundError as error:
        raise UsageError(f"--config {name}: the file does not exist.") from error
    except RecursionError as error:
        raise UsageError(f"--config {name}: the file is nested too deeply; give {_EXAMPLE}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config {name}: {error_line(error, limit=200)}") from error
    if not isinstance(stored, dict):
        raise UsageError(f"--config {name}: give {_EXAMPLE}.")
    return stored
