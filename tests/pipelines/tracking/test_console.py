"""Tests of the terminal output: escaping of control characters, markup in names, credentials, progress."""

from __future__ import annotations

import io
import re

import pytest

from pipelines.tracking.console import Console, printable, safe_line

MARKUP = ["part[a]", ":star:", "[/a]", "[bold]x", "[link=http://x]y"]


def test_names_in_tables_are_not_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(["category", "images"], [[name, "1"] for name in MARKUP])
    written = capsys.readouterr().out
    assert all(written.count(name) == 1 for name in MARKUP)


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console()
    name = "a\x1b[2J\x07\r\x9b31m\x7f\udcff"
    shown.say(f"{name}\n\tnext")
    shown.warn(f"{name}\nerror: forged")
    shown.table(["category"], [[name]])
    written = "".join(capsys.readouterr())
    assert not set(written) & set("\x1b\x07\r\x9b\x7f\udcff")
    assert written.count(r"a\u001b[2J\u0007\u000d\u009b31m\u007f\udcff") == 3
    assert "\n\tnext" in written.replace(" " * 8, "\t")  # tabs and line breaks of the text are kept
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


def test_a_row_without_cells_is_an_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table(["category", "images"], [["a", "1"], [], ["b", "2"]])
    header, rule, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["category", "images"]
    assert set(rule) == {"─"}
    assert [row.split() for row in rows] == [["a", "1"], [], ["b", "2"]]


def test_a_table_in_a_file_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    name = "part " * 100
    Console().table(["category", "images"], [[name, "1"]])
    assert name in capsys.readouterr().out


class Terminal(io.StringIO):
    """An output that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_warning_during_a_stage_is_printed_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    output, errors = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", output)
    monkeypatch.setattr("sys.stderr", errors)
    console = Console()
    with console.progress("fuse", 2, "categories") as bar:
        console.warn("cloth: few images")
        bar.reach(2)
    console.warn("after the stage")
    assert output.getvalue().count("warning: cloth: few images\n") == 1  # the console of the bar, which draws it anew
    assert errors.getvalue() == "warning: after the stage\n"


def test_a_warning_during_a_stage_goes_to_a_redirected_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("sys.stdout", Terminal())
    console = Console()
    with console.progress("fuse", 2, "categories"):
        console.warn("cloth: few images")
    assert capsys.readouterr().err == "warning: cloth: few images\n"


def shown_in_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    """Return what a table and a progress bar print in a terminal of this width."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"COLUMNS": str(columns), "TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    output = Terminal()
    monkeypatch.setattr("sys.stdout", output)
    console = Console()
    console.table(["category", "model", "AUROC"], [["a category with a long name" * 3, "lite0", "0.9536"]], names=2)
    with console.progress("extract", 40, "images") as bar:
        bar.reach(40)
    return output.getvalue()


@pytest.mark.parametrize("columns", [80, 120, 160])
def test_a_terminal_shows_figures_whole_and_no_line_is_too_long(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown_in_a_terminal(columns, monkeypatch))
    assert max(len(line) for line in re.split(r"[\r\n]+", text)) <= columns
    assert "0.9536" in text
    assert "40/40" in text


@pytest.mark.parametrize(("columns", "left_out"), [(60, []), (28, ["days"]), (20, ["days", "learned"])])
def test_a_narrow_terminal_leaves_out_optional_columns(
    columns: int, left_out: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    output = Terminal()
    monkeypatch.setattr("sys.stdout", output)
    header = ["category", "learned", "days", "images"]
    shown = Console().table(header, [["bolt", "unchanged", "3", "12"]], names=2, optional=["days", "learned"])
    assert shown == left_out
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.getvalue())
    assert text.splitlines()[0].split() == [name for name in header if name not in left_out]


def test_no_color_prints_no_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    color = r"\x1b\[(?:3[0-7]|38;|9[0-7])"
    assert re.search(color, shown_in_a_terminal(80, monkeypatch))
    assert not re.search(color, shown_in_a_terminal(80, monkeypatch, NO_COLOR="1"))
