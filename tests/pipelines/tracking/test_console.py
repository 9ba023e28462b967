"""The terminal shows names as they are, without control characters, markup and credentials."""

from __future__ import annotations

import pytest

from pipelines.tracking.console import Console, printable, safe_line

ODD = ["part[a]", ":star:", "[/a]", "[bold]x", "[link=http://x]y"]


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(["category", "images"], [[name, "1"] for name in ODD])
    written = capsys.readouterr().out
    assert all(written.count(name) == 1 for name in ODD)


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console()
    name = "a\x1b[2J\x07\r\x9b31m\x7f\udcff"
    shown.say(f"{name}\n\tnext")
    shown.warn(f"{name}\nerror: forged")
    shown.table(["category"], [[name]])
    written = "".join(capsys.readouterr())
    assert not set(written) & set("\x1b\x07\r\x9b\x7f\udcff")
    assert written.count(r"a\u001b[2J\u0007\u000d\u009b31m\u007f\udcff") == 3
    assert "\n\tnext" in written.replace(" " * 8, "\t")  # what a sentence itself has
    assert "\nerror" not in written


def test_a_line_has_no_breaks_no_control_characters_and_no_credentials() -> None:
    assert printable("a\x07\tb\n") == "a\\u0007\tb\n"
    assert safe_line(" s3://A:secret@bucket/x:\n  gone\x07 ") == "s3://***@bucket/x: gone\\u0007"


def test_warnings_are_lines_of_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    Console().warn("first\nsecond")
    written = capsys.readouterr()
    assert (written.out, written.err) == ("", "warning: first second\n")


def test_piped_output_has_one_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("extract", 40, "images") as bar:
        bar.advance(15)
        assert capsys.readouterr().out == ""
        bar.reach(40)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("extract  40/40 images in ")


def test_a_row_without_cells_is_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(["category", "images"], [["a", "1"], [], ["b", "2"]])
    assert sum(line.startswith("├") for line in capsys.readouterr().out.splitlines()) == 1
