"""Tests of the commands: usage errors, defaults, help and former names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli.main import main
from pipelines.config.nightly_options import NightOptions
from pipelines.config.presets import DEMO_BACKBONES
from pipelines.config.run_config import RunConfig
from tests.pipelines.runs import make_category


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_category(tmp_path / "data" / "cloth", seed=0, train=2, good=1, defects=1)
    return tmp_path / "data"


@pytest.mark.parametrize("command", ["ensemble", "single", "demo", "evaluate", "score", "nightly", "paper-tables"])
def test_the_help_of_each_command_shows_defaults(command: str) -> None:
    for flag in ("-h", "--help"):
        code, output = invoke(command, flag)
        assert code == 0
        assert "--workers" in output
        assert "[default: " in output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "/nowhere"], "error: --data /nowhere: the folder does not exist."),
        (["--category", "bolt"], "error: --category bolt: not found in "),
        (["--backbone", "no_such_net"], "error: timm has no backbone 'no_such_net'"),
        (["--layers", "2,9"], "error: tf_efficientnet_lite0 has no layers (2, 9)"),
        (["--weights", "/nowhere"], "error: The weights folder /nowhere is not a folder"),
        (["--patch-size", "4"], "error: --patch-size 4: give an odd number"),
        (["--contrastive-neighbors", "2"], "error: contrastive_neighbors must be at least 4"),
    ],
)
def test_invalid_input_gives_one_error_line_and_writes_nothing(
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


@pytest.mark.parametrize("option", ["--acceptance-margin", "--acceptance-suspects"])
@pytest.mark.parametrize("value", ["nan", "inf", "-0.1"])
def test_limits_that_reject_nothing_are_usage_errors(data: Path, tmp_path: Path, option: str, value: str) -> None:
    folders = ["--data", str(data), "--registry", str(tmp_path / "registry"), "--scores", str(tmp_path / "scores")]
    code, output = invoke("nightly", *folders, option, value)
    assert (code, output) == (2, f"error: {option} {value}: give a finite number of at least 0.\n")
    assert not (tmp_path / "registry").exists()


def test_the_demo_is_the_small_ensemble_with_the_default_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[RunConfig] = []
    monkeypatch.setattr("pipelines.data.demo.prepare_demo", lambda out: out / "data")
    monkeypatch.setattr("pipelines.commands.run.run", lambda config, console: configs.append(config) or 0)
    assert invoke("demo", "--out", "somewhere") == (0, "")
    (config,) = configs
    assert [member.backbone for member in config.members] == list(DEMO_BACKBONES)
    assert (config.recipe, config.full_frame, config.holdout, config.max_steps) == ("default", True, 0.2, 300)
    assert (config.data, config.out, config.fresh) == ("somewhere/data", "somewhere", True)


@pytest.mark.parametrize(("option", "value"), [("--layers", "two"), ("--sigma", "wide"), ("--recipe", "mine")])
def test_the_error_names_an_invalid_value(data: Path, tmp_path: Path, option: str, value: str) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), option, value)
    assert code == 2
    assert value in output


LITE = ("--backbone", "tf_efficientnet_lite0")


def test_a_folder_with_other_files_is_not_changed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    code, output = invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), *LITE, "--fresh")
    assert code == 2
    assert "is not empty and holds no run" in output
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="the test needs a folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_gives_one_error_line(data: Path) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", "/proc/run", *LITE)
    assert code == 1
    assert output.startswith("error: ")
    assert "/proc/run" in output
    assert output.count("\n") == 1


def test_nothing_is_written_into_the_dataset(data: Path) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", str(data / "run"), *LITE)
    assert code == 2
    assert "is inside the data" in output
    assert not (data / "run").exists()


def test_the_papers_recipe_has_no_step_limit_and_no_holdout(data: Path, tmp_path: Path) -> None:
    configs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.commands.run.run", lambda config, console: configs.append(config) or 0)
        for more in ([], ["--recipe", "paper"], ["--recipe", "paper", "--holdout", "0.1", "--max-steps", "5"]):
            assert invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), *LITE, *more)[0] == 0
    assert [(config.max_steps, config.holdout) for config in configs] == [(3000, 0.2), (0, 0.0), (5, 0.1)]


FORMER = [
    (("--levels", "1,2"), "--levels is deprecated; use --layers."),
    (("--start", "white"), "--start is deprecated; use --init."),
    (("--neighbours", "6"), "--neighbours is deprecated; use --contrastive-neighbors."),
    (("--reweight", "3"), "--reweight is deprecated; use --score-neighbors."),
    (("--centre-crop",), "--centre-crop is deprecated; use --center-crop."),
]
CURRENT = [
    "--layers",
    "1,2",
    "--init",
    "white",
    "--contrastive-neighbors",
    "6",
    "--score-neighbors",
    "3",
    "--center-crop",
]


@pytest.fixture
def configs(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Replace `run` by a function that records the configurations that it is called with."""
    given: list[RunConfig] = []
    monkeypatch.setattr("pipelines.commands.run.run", lambda config, console: given.append(config) or 0)
    return given


def test_former_names_are_equivalent_and_print_a_notice(configs: list[RunConfig]) -> None:
    for options in ([word for words, _ in FORMER for word in words], CURRENT):
        result = CliRunner().invoke(main, ["ensemble", "--data", "d", "--out", "o", *LITE, *options])
        assert (result.exit_code, result.stdout) == (0, "")
        expected = sorted(notice for _, notice in FORMER) if options is not CURRENT else []
        assert sorted(result.stderr.splitlines()) == expected
    former, current = configs
    assert former == current
    assert (current.score_neighbors, current.members[0].layers, current.full_frame) == (3, (1, 2), False)


@pytest.mark.parametrize(
    ("former", "current"),
    [(("--sigma", "neighbour"), ("--sigma", "neighbor")), (("--init", "neighbours"), ("--init", "neighbors"))],
)
def test_former_values_are_equivalent(
    configs: list[RunConfig], former: tuple[str, str], current: tuple[str, str]
) -> None:
    for options in (former, current):
        assert invoke("ensemble", "--data", "d", "--out", "o", *LITE, *options) == (0, "")
    assert configs[0] == configs[1]


def test_former_names_of_the_acceptance_test_are_equivalent(monkeypatch: pytest.MonkeyPatch) -> None:
    options_given: list[NightOptions] = []
    monkeypatch.setattr(
        "pipelines.nightly.run.nightly", lambda config, options, console: options_given.append(options) or 0
    )
    base = ("nightly", "--data", "d", "--registry", "r", "--scores", "s", *LITE)
    code, output = invoke(*base, "--gate-margin", "0.5", "--gate-suspects", "1")
    assert (code, sorted(output.splitlines())) == (
        0,
        [
            "--gate-margin is deprecated; use --acceptance-margin.",
            "--gate-suspects is deprecated; use --acceptance-suspects.",
        ],
    )
    assert invoke(*base, "--acceptance-margin", "0.5", "--acceptance-suspects", "1") == (0, "")
    assert options_given[0] == options_given[1]
    assert (options_given[0].acceptance.margin, options_given[0].acceptance.suspects) == (0.5, 1.0)


@pytest.mark.parametrize("command", ["ensemble", "single", "nightly", "paper-tables"])
def test_the_help_has_sections_and_no_former_names(command: str) -> None:
    _, output = invoke(command, "-h")
    for heading in ("Data:", "Adapter training:", "Workers and scratch space:", "Run control:"):
        assert f"\n{heading}\n" in output
    for former in ("--levels", "--start", "--neighbours", "--reweight", "--centre-crop", "--gate-"):
        assert former not in output
