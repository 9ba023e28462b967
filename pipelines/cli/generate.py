"""Click options made from their descriptions (`pipelines.config.option`), and help that groups them in sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, get_args

import click

from pipelines.config.option import Option, Section
from pipelines.config.presets import RECIPES

Decorator = Callable[[Any], Any]


class Layers(click.ParamType[tuple[int, ...]]):
    """Comma-separated layer numbers, or a list of them."""

    name = "layers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        try:
            return tuple(int(layer) for layer in (value.split(",") if isinstance(value, str) else value))
        except (ValueError, TypeError):
            self.fail(f"{value!r} is not a list of layers such as 2,3", param, ctx)


class NumberOrWord(click.ParamType[float | None]):
    """A number, or the word that stands for None."""

    def __init__(self, name: str, option: Option) -> None:
        self.name = name
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the number, or None for the word."""
        word = self._option.word_for_none
        if value is None or self._option.former_values.get(value, value) == word:
            return None
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor '{word}'", param, ctx)


class ChoiceWithFormer(click.Choice[str]):
    """One of several words, under its former name as well."""

    def __init__(self, choices: Sequence[str], former: Mapping[str, str]) -> None:
        super().__init__(choices)
        self._former = former

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word's current name."""
        return super().convert(self._former.get(value, value), param, ctx)


class ConfigOption(click.Option):
    """A click option with its description: its section in the help, and former names, which the help leaves out.

    Attributes:
        option: the description.
    """

    def __init__(self, names: Sequence[str], *, option: Option, **attributes: Any) -> None:
        super().__init__(names, help=option.help, **attributes)
        self.option = option

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Add the option to the parser, and each former name under a destination of its own."""
        super().add_to_parser(parser, ctx)
        flag = "store_const" if self.is_flag else "store"
        for former, is_on in self._former_names():
            parser.add_option(obj=self, opts=[f"--{former}"], dest=former, action=flag, const=is_on)

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Read values that were given under a former name, and say the current name on stderr."""
        for former, is_on in self._former_names():
            if former in opts:
                notice_former(former, self.option.off if not is_on else self.opts[0].lstrip("-"))
                opts = {str(self.name): opts[former], **opts}
        return super().handle_parse_result(ctx, opts, args)

    def _former_names(self) -> list[tuple[str, bool]]:
        """Return (former name, whether it turns the option on); only a flag's opposite turns it off."""
        return [(name, True) for name in self.option.former] + [(name, False) for name in self.option.former_off]


def notice_former(former: str, name: str) -> None:
    """Write one line to stderr about an option that was given under its former name."""
    click.echo(f"--{former} is now --{name}", err=True)


class SectionedCommand(click.Command):
    """A command whose help lists the options below headings, required ones first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section after section; click's own --help goes to the last one."""
        for section in Section:
            parameters = [parameter for parameter in self.get_params(ctx) if section_of(parameter) is section]
            parameters.sort(key=lambda parameter: not parameter.required)
            records = [record for parameter in parameters if (record := parameter.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(section.value):
                    formatter.write_dl(records)


def section_of(parameter: click.Parameter) -> Section:
    """Return the section of a command's parameter."""
    return parameter.option.section if isinstance(parameter, ConfigOption) else Section.RUN


def make_option(name: str, kind: Any, option: Option, *, default: Any = None, required: bool = False) -> Decorator:
    """Return a click option.

    Args:
        name: the parameter's name.
        kind: its type: bool, int, float, str, a union of one of these with None, a tuple, or a type of click's.
        option: its description.
        default: its default; None where the option's `shown_default` says what decides.
        required: whether it must be given.
    """
    on = (option.name or name).replace("_", "-")
    is_flag = kind is bool
    if default is None and option.word_for_none:
        default = option.word_for_none
    return click.option(
        f"--{on}/--{option.off}" if is_flag and option.off else f"--{on}",
        name,
        cls=ConfigOption,
        option=option,
        type=None if is_flag else _click_type(name, kind, option),
        is_flag=is_flag or None,
        multiple=option.is_multiple,
        show_default=option.shown_default or (default is None and _by_recipe(name, on, option)) or True,
        required=required,
        # click takes None for a value, which a required option or one of several values would have then.
        **({"default": default} if is_flag or default is not None else {}),
    )


def together(*options: Decorator) -> Decorator:
    """Return several options as one decorator, in the order in which the help shows them."""

    def decorate(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _click_type(name: str, kind: Any, option: Option) -> Any:
    if isinstance(kind, click.ParamType):
        return kind
    if option.choices:
        return ChoiceWithFormer(option.choices, option.former_values)
    if option.is_path:
        return click.Path()
    if option.word_for_none:
        return NumberOrWord(name, option)
    if kind == tuple[int, ...]:
        return Layers()
    if kind == tuple[str, ...]:
        return str
    return next((argument for argument in get_args(kind) if argument is not NoneType), kind)


def _by_recipe(name: str, on: str, option: Option) -> str:
    """Return the text for a default that the recipe decides; empty for other options."""
    if name not in RECIPES["default"]:
        return ""
    values = [RECIPES[recipe][name] for recipe in ("default", "paper")]
    shown = [(on if value else option.off) if isinstance(value, bool) else f"{value:g}" for value in values]
    return f"{shown[0]}; {shown[1]} with --recipe paper"
