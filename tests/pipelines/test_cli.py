"""Bad usage is one sentence and exit code 2; nothing is written, nothing is half done."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli import main
from tests.pipelines.runs import make_category


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_category(tmp_path / "data" / "cloth", seed=0, train=2, good=1, defects=1)
    return tmp_path / "data"


@pytest.mark.parametrize("command", ["ensemble", "single", "demo"])
def test_every_command_explains_itself_with_its_defaults(command: str) -> None:
    for flag in ("-h", "--help"):
        code, output = invoke(command, flag)
        assert code == 0
        assert "--workers" in output
        assert "[default: " in output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "nowhere"], "error: --data nowhere: there is no such folder."),
        (["--category", "bolt"], "error: --category bolt: not in "),
        (["--backbone", "no_such_net"], "error: timm has no backbone 'no_such_net'"),
        (["--levels", "2,9"], "error: tf_efficientnet_lite0 has no levels (2, 9)"),
        (["--weights", "."], "error: The weights folder "),
        (["--patch-size", "4"], "error: --patch-size 4: give an odd number"),
        (["--neighbours", "2"], "error: neighbours must be at least 4"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    data: Path, tmp_path: Path, options: list[str], sentence: str
) -> None:
    base = ["--data", str(data), "--out", str(tmp_path / "run")]
    if "--backbone" not in options:
        base += ["--backbone", "tf_efficientnet_lite0"]
    code, output = invoke("ensemble", *base, *options)
    assert code == 2
    assert output.startswith(sentence)
    assert output.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("option", "value"), [("--levels", "two"), ("--sigma", "wide"), ("--recipe", "mine")])
def test_values_of_the_wrong_kind_are_named(data: Path, tmp_path: Path, option: str, value: str) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), option, value)
    assert code == 2
    assert value in output


LITE = ("--backbone", "tf_efficientnet_lite0")


def test_a_folder_that_holds_other_files_is_left_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    code, output = invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), *LITE, "--fresh")
    assert code == 2
    assert "is not an empty folder and holds no run" in output
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_a_run_is_not_overwritten_unasked(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    code, output = invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), *LITE)
    assert code == 2
    assert "--fresh" in output


def test_nothing_is_written_into_the_data(data: Path) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", str(data / "run"), *LITE)
    assert code == 2
    assert "lies inside the data" in output
    assert not (data / "run").exists()
