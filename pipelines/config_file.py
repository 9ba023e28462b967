"""A file of options: YAML or JSON of the command line's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from pipelines.usage import UsageError

_NOTHING = ("", "~", "null", "Null", "NULL")  # YAML's words for no value
_LISTS = ("levels",)  # types of options that take one
_EXAMPLE = "a mapping such as 'image-size: 224'"


def options_from_file(name: str, command: click.Command) -> dict[str, Any]:
    """The file's options by click's parameter names; `image-size` and `image_size` are the same.

    Values are text, as on the command line: part number 004711, the time 23:30 and a category `no` stay what they are.

    Raises:
        UsageError: no such file, no mapping, an option that the command does not have, or a list or a mapping for one
            that takes a value.
    """
    stored = _read(name)
    known = {
        option.lstrip("-").replace("-", "_"): param
        for param in command.params
        for option in param.opts
        if param.name != "config"
    }
    found: dict[str, Any] = {}
    for key, value in stored.items():
        param = known.get(key.replace("-", "_"))
        if param is None:
            raise UsageError(
                f"--config {name}: {command.name} has no option '{key[:100]}'; it has "
                f"{', '.join(sorted(option.replace('_', '-') for option in known))}."
            )
        multiple = isinstance(param, click.Option) and param.multiple
        values = value if isinstance(value, list) and (multiple or param.type.name in _LISTS) else [value]
        if not all(isinstance(each, str) for each in values):  # not shown: a few lines of YAML can stand for gigabytes
            wanted = "values" if multiple else "a value"
            raise UsageError(f"--config {name}: {key} takes {wanted}, not lists or mappings.")
        given = [each for each in values if each not in _NOTHING]
        if given:
            found[str(param.name)] = given if multiple or isinstance(value, list) else given[0]
    return found


def _read(name: str) -> dict[str, Any]:
    """The file's mapping."""
    try:
        stored = yaml.load(Path(name).read_text("utf-8"), yaml.BaseLoader)  # JSON is YAML
    except yaml.MarkedYAMLError as error:  # its whole text repeats the line, which may hold a secret
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise UsageError(f"--config {name}: {error.problem}{line}.") from error
    except RecursionError as error:
        raise UsageError(f"--config {name}: lists in lists, deeper than can be read; give {_EXAMPLE}.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config {name}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(stored, dict):
        raise UsageError(f"--config {name}: give {_EXAMPLE}.")
    return stored
