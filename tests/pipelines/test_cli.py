"""Bad usage is one sentence and exit code 2; nothing is written, nothing is half done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.__main__ import main as begin
from pipelines.cli import main
from pipelines.config import DEMO_BACKBONES, RunConfig
from pipelines.night import NightOptions
from tests.pipelines.runs import make_category


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_category(tmp_path / "data" / "cloth", seed=0, train=2, good=1, defects=1)
    return tmp_path / "data"


@pytest.mark.parametrize("command", ["ensemble", "single", "demo", "evaluate", "score", "nightly", "paper-tables"])
def test_every_command_explains_itself_with_its_defaults(command: str) -> None:
    for flag in ("-h", "--help"):
        code, output = invoke(command, flag)
        assert code == 0
        assert "--workers" in output
        assert "[default: " in output


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--data", "/nowhere"], "error: --data /nowhere: there is no such folder."),
        (["--category", "bolt"], "error: --category bolt: not in "),
        (["--backbone", "no_such_net"], "error: timm has no backbone 'no_such_net'"),
        (["--levels", "2,9"], "error: tf_efficientnet_lite0 has no levels (2, 9)"),
        (["--weights", "/nowhere"], "error: The weights folder /nowhere is no folder"),
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


@pytest.mark.parametrize("option", ["--gate-margin", "--gate-suspects"])
@pytest.mark.parametrize("value", ["nan", "inf", "-0.1"])
def test_a_gate_that_would_never_close_is_refused(data: Path, tmp_path: Path, option: str, value: str) -> None:
    places = ["--data", str(data), "--registry", str(tmp_path / "registry"), "--scores", str(tmp_path / "scores")]
    code, output = invoke("nightly", *places, option, value)
    assert (code, output) == (2, f"error: {option} {value}: give a finite number, at least 0.\n")
    assert not (tmp_path / "registry").exists()


def test_the_demo_is_the_small_ensemble_with_the_default_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[RunConfig] = []
    monkeypatch.setattr("pipelines.cli.prepare_demo", lambda out: out / "data")
    monkeypatch.setattr("pipelines.cli.run", lambda config, screen: asked.append(config) or 0)
    assert invoke("demo", "--out", "somewhere") == (0, "")
    (config,) = asked
    assert [member.backbone for member in config.members] == list(DEMO_BACKBONES)
    assert (config.recipe, config.full_frame, config.holdout, config.max_steps) == ("default", True, 0.2, 300)
    assert (config.data, config.out, config.fresh) == ("somewhere/data", "somewhere", True)


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
    assert "is not empty and holds no run" in output
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a folder that not even root can write")
def test_a_folder_that_cannot_be_written_is_one_sentence(data: Path) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", "/proc/run", *LITE)
    assert code == 1
    assert output.startswith("error: ")
    assert "/proc/run" in output
    assert output.count("\n") == 1


def test_nothing_is_written_into_the_data(data: Path) -> None:
    code, output = invoke("ensemble", "--data", str(data), "--out", str(data / "run"), *LITE)
    assert code == 2
    assert "lies inside the data" in output
    assert not (data / "run").exists()


def test_options_come_from_a_file_and_the_command_line_wins(data: Path, tmp_path: Path) -> None:
    (tmp_path / "night.yaml").write_text(
        f"data: {data}\nout: {tmp_path / 'run'}\nbackbone: tf_efficientnet_lite0\nimage-size: 96\n"
        f"levels: [1, 2]\nmaps: true\nseed: 7\nholdout: 0.0\n"
    )
    (tmp_path / "night.json").write_text(f'{{"data": "{data}", "out": "x", "image_size": 96, "levels": "1,2"}}')
    asked = []

    def listen(config: RunConfig, screen: object) -> int:
        asked.append(config)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.cli.run", listen)
        code, output = invoke("ensemble", "--config", str(tmp_path / "night.yaml"), "--seed", "8")
        assert code == 0, output
        code, output = invoke("ensemble", *LITE, "--config", str(tmp_path / "night.json"), "--out", "y")
        assert code == 0, output
    first, second = asked
    assert (first.out, first.image_size, first.maps, first.seed) == (str(tmp_path / "run"), 96, True, 8)
    assert [(member.backbone, member.levels) for member in first.members] == [("tf_efficientnet_lite0", (1, 2))]
    assert (second.out, second.image_size, second.members[0].levels) == ("y", 96, (1, 2))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image-sise: 96", "ensemble has no option 'image-sise'; it has address, aggregation"),
        ("- a list", "give a mapping such as 'image-size: 224'"),
        ("a: b: c", "mapping values are not allowed here, line 1."),
        ("image-size: [1, 2]", "image-size takes a value, not lists or mappings."),
        ("image-size: {a: 1}", "image-size takes a value, not lists or mappings."),
        ("category: [[cloth]]", "category takes values, not lists or mappings."),
        ("strict: !!python/object/apply:os.getcwd []", "strict takes a value, not lists or mappings."),
        (f"image-size: {'[' * 1200}{']' * 1200}", "lists in lists, deeper than can be read"),
        ("a: b: s3://KEY:SECRET@bucket/x", "mapping values are not allowed here, line 1."),
        (None, "No such file"),
    ],
)
def test_a_file_of_options_that_cannot_be_used_is_one_sentence(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "night.yaml").write_text(text)
    code, output = invoke("ensemble", "--config", str(tmp_path / "night.yaml"))
    assert code == 2
    assert output.startswith(f"error: --config {tmp_path / 'night.yaml'}: ")
    assert sentence in output
    assert "SECRET" not in output
    assert output.count("\n") == 1


def test_values_of_a_file_are_what_is_written_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML of its own would make 2505 of part number 004711, 1410 of 23:30 and False of no."""
    asked: list[tuple[RunConfig, NightOptions]] = []
    monkeypatch.setattr("pipelines.cli.nightly", lambda config, options, screen: asked.append((config, options)) or 0)
    place = "data: d\nregistry: r\nscores: s\nbackbone: tf_efficientnet_lite0\nimage-size:\nseed: null\nlevels: ~\n"
    (tmp_path / "night.yaml").write_text(
        f"{place}deadline: 23:30\ncategory: [004711, no]\nweights: 2024-01-01\nlr: 1e-5\nsigma: 2\n"
        f"strict: yes\nreport: false\nfull-frame: off\nmaps: on\n"
    )
    (tmp_path / "night.json").write_text(
        '{"data": "d", "registry": "r", "scores": "s", "category": "no", "wait": true, "report": false, "seed": 7, '
        '"levels": [1, 2], "weights": null, "backbone": ["tf_efficientnet_lite0"], "holdout": 0.5}'
    )
    for name in ("night.yaml", "night.json"):
        code, output = invoke("nightly", "--config", str(tmp_path / name))
        assert code == 0, output
    (first, options), (second, waiting) = asked
    assert (options.deadline, first.categories, first.weights) == ("23:30", ("004711", "no"), "2024-01-01")
    assert (first.members[0].lr, first.sigma, first.image_size, first.seed) == (1e-5, 2.0, 480, 0)
    assert (first.strict, first.report, first.full_frame, first.maps) == (True, False, False, True)
    assert (second.categories, second.report, second.seed, second.holdout) == (("no",), False, 7, 0.5)
    assert (second.members[0].levels, second.weights, waiting.wait) == ((1, 2), None, True)


def test_the_papers_recipe_counts_all_steps_and_holds_nothing_out(data: Path, tmp_path: Path) -> None:
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.cli.run", lambda config, screen: asked.append(config) or 0)
        for more in ([], ["--recipe", "paper"], ["--recipe", "paper", "--holdout", "0.1", "--max-steps", "5"]):
            assert invoke("ensemble", "--data", str(data), "--out", str(tmp_path / "run"), *LITE, *more)[0] == 0
    assert [(config.max_steps, config.holdout) for config in asked] == [(3000, 0.2), (0, 0.0), (5, 0.1)]


def test_who_interrupts_it_while_it_starts_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, *_: object) -> None:
            if name == "pipelines.cli":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "pipelines.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        begin()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
