"""A file of options: YAML or JSON of the command line's names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from pipelines.config import UsageError


def options_from_file(name: str, command: click.Command) -> dict[str, Any]:
    """The file's options by click's parameter names; `image-size` and `image_size` are the same.

    Raises:
        UsageError: no such file, no mapping, or an option that the command does not have.
    """
    try:
        stored = yaml.safe_load(Path(name).read_text())  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"--config {name}: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(stored, dict):
        raise UsageError(f"--config {name}: give a mapping such as 'image-size: 224'.")
    known = {
        option.lstrip("-").replace("-", "_"): str(param.name)
        for param in command.params
        for option in param.opts
        if param.name != "config"
    }
    unknown = [key for key in stored if str(key).replace("-", "_") not in known]
    if unknown:
        raise UsageError(
            f"--config {name}: {command.name} has no option '{unknown[0]}'; it has "
            f"{', '.join(sorted(option.replace('_', '-') for option in known))}."
        )
    found: dict[str, Any] = {}
    for key, value in stored.items():
        param = known[str(key).replace("-", "_")]
        multiple = next(each for each in command.params if each.name == param).multiple
        found[param] = [value] if multiple and not isinstance(value, list) else value
    return found
