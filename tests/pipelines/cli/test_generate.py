"""Tests of click options made from descriptions: types, former names, defaults, and help with sections."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pipelines.cli.generate import SectionedCommand, make_option, together
from pipelines.config.option import Option, Section

SIZE = Option(Section.INPUT, "Pixels.", former=("width",), redoes="extract")
WORD = Option(Section.TRAINING, "Kind.", choices=("raw", "neighbors"), former_values={"neighbours": "neighbors"})
SIGMA = Option(Section.TRAINING, "Width.", word_for_none="neighbor", former_values={"neighbour": "neighbor"})
CROP = Option(Section.INPUT, "Whole image.", name="full", off="crop", former_off=("cut",))
NAMES = Option(Section.DATA, "Names.", name="name", is_multiple=True, shown_default="all")


@click.command(cls=SectionedCommand, context_settings={"show_default": True})
@together(
    make_option("size", int, SIZE, default=8),
    make_option("word", str | None, WORD),
    make_option("sigma", float | None, SIGMA),
    make_option("layers", tuple[int, ...], Option(Section.FEATURES, "Layers.")),
    make_option("is_full", bool, CROP, default=True),
    make_option("names", tuple[str, ...], NAMES),
    make_option("out", str, Option(Section.DATA, "Folder.", is_path=True), required=True),
)
@click.pass_obj
def command(given: dict[str, Any], **options: Any) -> None:
    given.update(options)


def call(*words: str) -> tuple[dict[str, Any], Result]:
    given: dict[str, Any] = {}
    result = CliRunner().invoke(command, ["--out", "o", *words], obj=given)
    return given, result


def test_options_that_are_not_given_have_their_defaults() -> None:
    given, _ = call()
    assert given == {
        "size": 8,
        "word": None,
        "sigma": None,
        "layers": None,
        "is_full": True,
        "names": (),
        "out": "o",
    }


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--size", "3"), "size", 3),
        (("--word", "raw"), "word", "raw"),
        (("--word", "neighbours"), "word", "neighbors"),
        (("--sigma", "2"), "sigma", 2.0),
        (("--sigma", "neighbor"), "sigma", None),
        (("--sigma", "neighbour"), "sigma", None),
        (("--layers", "1,2"), "layers", (1, 2)),
        (("--crop",), "is_full", False),
        (("--name", "a", "--name", "b"), "names", ("a", "b")),
    ],
)
def test_values_have_the_types_of_their_fields(words: tuple[str, ...], name: str, value: object) -> None:
    given, result = call(*words)
    assert result.output == ""
    assert given[name] == value


@pytest.mark.parametrize(
    ("words", "name", "value", "notice"),
    [
        (("--width", "3"), "size", 3, "--width is deprecated; use --size.\n"),
        (("--width=3",), "size", 3, "--width is deprecated; use --size.\n"),
        (("--cut",), "is_full", False, "--cut is deprecated; use --crop.\n"),
        (("--width", "3", "--size", "4"), "size", 4, "--width is deprecated; use --size.\n"),
        (("--name", "--width"), "names", ("--width",), ""),  # here --width is the value of --name
    ],
)
def test_former_names_are_accepted_with_a_notice(words: tuple[str, ...], name: str, value: object, notice: str) -> None:
    given, result = call(*words)
    assert (result.stdout, result.stderr) == ("", notice)
    assert given[name] == value


@pytest.mark.parametrize("words", [("--size", "x"), ("--word", "x"), ("--sigma", "x"), ("--layers", "x"), ("--wide",)])
def test_invalid_values_and_names_are_usage_errors(words: tuple[str, ...]) -> None:
    _, result = call(*words)
    assert result.exit_code == 2
    assert words[-1] in result.output


def test_a_missing_required_option_is_a_usage_error() -> None:
    result = CliRunner().invoke(command, [], obj={})
    assert (result.exit_code, "Missing option '--out'" in result.output) == (2, True)


def test_the_help_lists_sections_in_order_and_required_options_first() -> None:
    text = CliRunner().invoke(command, ["--help"]).output
    order = ["Data:", "--out", "--name", "Backbone input:", "--size", "Patch features:", "Adapter training:", "--word"]
    assert sorted(order, key=text.index) == order
    assert "Output:" not in text
    assert "[default: (all)]" in text
    assert "--width" not in text
