"""Creation of click options from their descriptions (`pipelines.config.option`), and help texts with sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Any, get_args

import click

from pipelines.config.option import Option, Section
from pipelines.config.presets import RECIPES

Decorator = Callable[[Any], Any]


class Layers(click.ParamType[tuple[int, ...]]):
    """A click type for layer numbers: comma-separated text, or a list from a configuration file."""

    name = "layers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the layer numbers.

        Args:
            value: Text such as "2,3", or a list of numbers.
            param: Option that the value is for; click names it in the error.
            ctx: Context of the command; click uses it in the error.

        Raises:
            click.BadParameter: The value is not a list of integers.
        """
        try:
            return tuple(int(layer) for layer in (value.split(",") if isinstance(value, str) else value))
        except (ValueError, TypeError):
            self.fail(f"{value!r} is not a list of layer numbers such as 2,3", param, ctx)


class NumberOrWord(click.ParamType[float | None]):
    """A click type for a number or the word that stands for None."""

    def __init__(self, name: str, option: Option) -> None:
        """Create the type.

        Args:
            name: Name of the type in the help.
            option: Description that defines the word (`word_for_none`) and its former spellings.
        """
        self.name = name
        self._option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the number, or None for the word.

        Args:
            value: A number, its text, the word, or None.
            param: Option that the value is for; click names it in the error.
            ctx: Context of the command; click uses it in the error.

        Raises:
            click.BadParameter: The value is neither a number nor the word.
        """
        word = self._option.word_for_none
        if value is None or self._option.former_values.get(value, value) == word:
            return None
        try:
            return float(value)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor '{word}'", param, ctx)


class ChoiceWithFormer(click.Choice[str]):
    """A click type for one of several words that also accepts former spellings."""

    def __init__(self, choices: Sequence[str], former: Mapping[str, str]) -> None:
        """Create the type.

        Args:
            choices: Allowed words.
            former: Former spelling -> the word that replaces it.
        """
        super().__init__(choices)
        self._former = former

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the current spelling of a word.

        Args:
            value: A word, in its current or a former spelling.
            param: Option that the value is for; click names it in the error.
            ctx: Context of the command; click uses it in the error.

        Raises:
            click.BadParameter: The word is not one of the choices.
        """
        return super().convert(self._former.get(value, value), param, ctx)


class ConfigOption(click.Option):
    """A click option that knows its section of the help and accepts former names, which the help does not show.

    Attributes:
        option: Description that the click option is made from.
    """

    def __init__(self, names: Sequence[str], *, option: Option, **attributes: Any) -> None:
        """Create the option.

        Args:
            names: Names as they are typed ("--image-size"), and optionally the name of the parameter.
            option: Description with the help text, the section and the former names.
            **attributes: Further arguments of `click.Option`.
        """
        super().__init__(names, help=option.help, **attributes)
        self.option = option

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Add the option and its former names to the parser; each former name has its own destination.

        Args:
            parser: click's parser of the command line.
            ctx: Context of the command.
        """
        super().add_to_parser(parser, ctx)
        flag = "store_const" if self.is_flag else "store"
        for former, is_on in self._former_names():
            parser.add_option(obj=self, opts=[f"--{former}"], dest=former, action=flag, const=is_on)

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """Read the value of the option, also if it is given under a former name; print the current name on stderr.

        Args:
            ctx: Context of the command.
            opts: Destination in the parser -> value that was given.
            args: Arguments that the parser has not consumed.

        Returns:
            The value of the option and the remaining arguments.
        """
        for former, is_on in self._former_names():
            if former in opts:
                notice_former(former, self.option.off if not is_on else self.opts[0].lstrip("-"))
                opts = {str(self.name): opts[former], **opts}
        return super().handle_parse_result(ctx, opts, args)

    def _former_names(self) -> list[tuple[str, bool]]:
        """Return pairs (former name, True if the name turns the option on, False if it turns a flag off)."""
        return [(name, True) for name in self.option.former] + [(name, False) for name in self.option.former_off]


def notice_former(former: str, name: str) -> None:
    """Print on stderr that an option was given under a former name.

    Args:
        former: Former name without dashes.
        name: Current name without dashes.
    """
    click.echo(f"--{former} is deprecated; use --{name}.", err=True)


class SectionedCommand(click.Command):
    """A click command whose help groups the options in sections. In each section, required options come first."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options to the help text, section by section. click's own --help is in the last section.

        Args:
            ctx: Context of the command.
            formatter: click's formatter, which collects the text.
        """
        for section in Section:
            parameters = [parameter for parameter in self.get_params(ctx) if section_of(parameter) is section]
            parameters.sort(key=lambda parameter: not parameter.required)
            records = [record for parameter in parameters if (record := parameter.get_help_record(ctx)) is not None]
            if records:
                with formatter.section(section.value):
                    formatter.write_dl(records)


def section_of(parameter: click.Parameter) -> Section:
    """Return the section of the help that shows a parameter.

    Args:
        parameter: Parameter of a command; one without a description belongs to `Section.RUN`.
    """
    return parameter.option.section if isinstance(parameter, ConfigOption) else Section.RUN


def make_option(name: str, kind: Any, option: Option, *, default: Any = None, required: bool = False) -> Decorator:
    """Return a decorator that adds a click option to a command.

    Args:
        name: Name of the parameter in the command's function.
        kind: Type of the value: bool, int, float, str, one of these or None, a tuple of str or int, or a click type.
        option: Description of the option.
        default: Default value. None if the option is required, or if the default is decided later; the description's
            `shown_default` then explains the default.
        required: Whether the option must be given.
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
        # With an explicit default of None, click would accept a missing required option and call the command with None.
        **({"default": default} if is_flag or default is not None else {}),
    )


def together(*options: Decorator) -> Decorator:
    """Return one decorator that adds several options.

    Args:
        *options: Decorators, in the order in which the help shows their options.
    """

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
    """Return the help's text for a default that depends on the recipe; empty for any other option."""
    if name not in RECIPES["default"]:
        return ""
    values = [RECIPES[recipe][name] for recipe in ("default", "paper")]
    shown = [(on if value else option.off) if isinstance(value, bool) else f"{value:g}" for value in values]
    return f"{shown[0]}; {shown[1]} with --recipe paper"
