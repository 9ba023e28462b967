"""Generation of docs/options.md from the commands: `python -m pipelines.cli.options_table > docs/options.md`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from pipelines.cli.generate import ConfigOption
from pipelines.cli.main import main
from pipelines.config.option import Section

_TRAINING = ("ensemble", "single", "nightly")
_INTRODUCTION = """\
# Options

<!-- Generated from the code by `python -m pipelines.cli.options_table > docs/options.md`; do not edit. -->

This page lists the options of all commands. `--config FILE` reads the same options from a YAML or JSON file. Former
names of options are accepted for one release.

The default **by preset** depends on the command, the backbone, the image size and `--recipe`.

The column **Repeats** names the first stage that is repeated when the value changes; all later stages are repeated too.
The stages are extract, fit, select, score and fuse. If the column is empty, no stored result depends on the option.

## Options of `ensemble`, `single` and `nightly`
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table: an option of a command. All texts are Markdown.

    Attributes:
        section: Heading under which the option is listed.
        names: Names of the option as they are typed.
        default: Default value, or a text that explains the default.
        help: Help text, with the allowed values and the former names.
        redoes: First stage that is repeated when the value changes; empty if there is none.
        only: Commands that have the option, in parentheses; empty if all commands of the table have it.
    """

    section: Section
    names: str
    default: str
    help: str
    redoes: str
    only: str = ""


def options_page() -> str:
    """Return the text of docs/options.md."""
    rows = {name: {row.names: row for row in _rows(command)} for name, command in _commands(main)}
    training = {name: rows.pop(name) for name in _TRAINING}
    parts = [_INTRODUCTION]
    merged = _merged(training)
    for section in Section:
        table = [row for row in merged if row.section is section]
        if table:
            parts.append(f"### {section.value}\n\n{_table(table, with_redoes=True)}\n")
    known = {(row.names, row.default, row.help) for row in merged}
    for name, own in rows.items():
        same = [row.names for row in own.values() if (row.names, row.default, row.help) in known]
        new = [row for row in own.values() if row.names not in same]
        parts.append(f"## Options of `{name}`\n")
        parts += [f"{_table(new, with_redoes=False)}\n"] if new else []
        parts += [f"These options are described above: {', '.join(same)}.\n"] if same else []
    return "\n".join(parts)


def _commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield (name as it is typed, command) for the commands with options in a group and its subgroups."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{prefix}{name} ")
        elif any(isinstance(parameter, ConfigOption) for parameter in command.params):
            yield f"{prefix}{name}", command


def _rows(command: click.Command) -> Iterator[Row]:
    for parameter in command.params:
        if isinstance(parameter, ConfigOption):
            option = parameter.option
            names = " / ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
            text = option.help
            if option.choices:
                text += f" One of {', '.join(f'`{choice}`' for choice in option.choices)}."
            if option.former or option.former_off:
                text += f" Former name: {', '.join(f'`--{name}`' for name in (*option.former, *option.former_off))}."
            yield Row(
                section=option.section,
                names=names,
                default=_default(parameter),
                help=text.replace("|", "\\|").replace("<", "&lt;"),
                redoes=option.redoes or "",
            )


def _default(parameter: ConfigOption) -> str:
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value: Any = parameter.get_default(click.Context(click.Command("")))
    if isinstance(value, bool):
        names = parameter.opts if value else parameter.secondary_opts
        return f"`{names[0]}`" if names else "off"
    if isinstance(value, (tuple, list)):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`" if isinstance(value, (str, int, float)) else ""


def _merged(training: Mapping[str, Mapping[str, Row]]) -> list[Row]:
    """Return the options of several commands in one list, with the names of commands that have other defaults."""
    rows = []
    for names in dict.fromkeys(names for own in training.values() for names in own):
        by_command = {command: own[names] for command, own in training.items() if names in own}
        first = next(iter(by_command.values()))
        defaults: dict[str, list[str]] = {}
        for command, row in by_command.items():
            defaults.setdefault(row.default, []).append(f"`{command}`")
        default = first.default
        if len(defaults) > 1:
            default = "; ".join(f"{', '.join(commands)}: {value}" for value, commands in defaults.items())
        only = "" if len(by_command) == len(training) else f" ({', '.join(by_command)})"
        rows.append(replace(first, default=default, only=only))
    return rows


def _table(rows: Sequence[Row], *, with_redoes: bool) -> str:
    header = ["Option", "Default", "What it does", *(["Repeats"] if with_redoes else [])]
    lines = [header, ["---"] * len(header)]
    lines += [[row.names + row.only, row.default, row.help, *([row.redoes] if with_redoes else [])] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    print(options_page(), end="")
