"""A file of options: YAML or JSON with the command line's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from pipelines.cli.generate import ConfigOption, Layers, notice_former
from pipelines.errors import UsageError, error_line

_NOTHING = ("", "~", "null", "Null", "NULL")  # YAML's words for no value
_EXAMPLE = "a mapping such as 'image-size: 224'"


def options_from_file(name: str, command: click.Command) -> dict[str, Any]:
    """Return a file's options by click's parameter names; `image-size` and `image_size` are the same.

    Values are text, as on the command line: part number 004711, the time 23:30 and a category `no` stay what they are.

    Args:
        name: path of the file.
        command: the command that the options are for.

    Raises:
        UsageError: no such file, no mapping, an option that the command does not have, or a list or a mapping for one
            that takes a value.
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
                f"--config {name}: {command.name} has no option '{key[:100]}'; it has "
                f"{', '.join(sorted(known.replace('_', '-') for known in parameters))}."
            )
        if option in former:
            notice_former(key, parameter.opts[0].lstrip("-"))
        given = _given(value, parameter, f"--config {name}: {key}")
        if given is not None:
            options[str(parameter.name)] = given
    return options


def _given(value: Any, parameter: click.Parameter, label: str) -> str | list[str] | None:
    """Return an option's value as the command line would have it; None where the file gives none."""
    is_multiple = isinstance(parameter, click.Option) and parameter.multiple
    takes_list = is_multiple or isinstance(parameter.type, Layers)
    values = value if isinstance(value, list) and takes_list else [value]
    if not all(isinstance(item, str) for item in values):  # not shown: a few lines of YAML can stand for gigabytes
        wanted = "values" if is_multiple else "a value"
        raise UsageError(f"{label} takes {wanted}, not lists or mappings.")
    given = [item for item in values if item not in _NOTHING]
    if not given:
        return None
    return given if is_multiple or isinstance(value, list) else given[0]


def _read(name: str) -> dict[str, Any]:
    """Return the file's mapping."""
    try:
        stored = yaml.load(Path(name).read_text("utf-8"), yaml.BaseLoader)  # JSON is YAML
    except yaml.MarkedYAMLError as error:  # its whole text repeats the line, which may hold a secret
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise UsageError(f"--config {name}: {error.problem}{line}.") from error
    except RecursionError as error:
        raise UsageError(f"--config {name}: lists in lists, deeper than can be read; give {_EXAMPLE}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config {name}: {error_line(error, limit=200)}") from error
    if not isinstance(stored, dict):
        raise UsageError(f"--config {name}: give {_EXAMPLE}.")
    return stored
