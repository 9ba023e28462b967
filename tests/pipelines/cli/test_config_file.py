"""Tests of `--config`: precedence of the command line, values read as text, former names, and invalid files."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli.main import main
from pipelines.config.nightly_options import NightOptions
from pipelines.config.run_config import RunConfig

LITE = ("--backbone", "tf_efficientnet_lite0")


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.output


def test_the_command_line_takes_precedence_over_the_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (tmp_path / "options.yaml").write_text(
        f"data: {data}\nout: {tmp_path / 'run'}\nbackbone: tf_efficientnet_lite0\nimage-size: 96\n"
        f"layers: [1, 2]\nmaps: true\nseed: 7\nholdout: 0.0\n"
    )
    (tmp_path / "options.json").write_text(f'{{"data": "{data}", "out": "x", "image_size": 96, "layers": "1,2"}}')
    configs = []

    def record_config(config: RunConfig, console: object) -> int:
        configs.append(config)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.commands.run.run", record_config)
        code, output = invoke("ensemble", "--config", str(tmp_path / "options.yaml"), "--seed", "8")
        assert code == 0, output
        code, output = invoke("ensemble", *LITE, "--config", str(tmp_path / "options.json"), "--out", "y")
        assert code == 0, output
    first, second = configs
    assert (first.out, first.image_size, first.maps, first.seed) == (str(tmp_path / "run"), 96, True, 8)
    assert [(member.backbone, member.layers) for member in first.members] == [("tf_efficientnet_lite0", (1, 2))]
    assert (second.out, second.image_size, second.members[0].layers) == ("y", 96, (1, 2))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("image-sise: 96", "ensemble has no option 'image-sise'. Its options are address, aggregation"),
        ("- a list", "give a mapping such as 'image-size: 224'"),
        ("a: b: c", "mapping values are not allowed here, line 1."),
        ("image-size: [1, 2]", "image-size takes a value, not lists or mappings."),
        ("image-size: {a: 1}", "image-size takes a value, not lists or mappings."),
        ("category: [[cloth]]", "category takes values, not lists or mappings."),
        ("strict: !!python/object/apply:os.getcwd []", "strict takes a value, not lists or mappings."),
        (
            f"image-size: {'[' * 1200}{']' * 1200}",
            "the file is nested too deeply; give a mapping such as 'image-size: 224'.",
        ),
        ("a: b: s3://KEY:SECRET@bucket/x", "mapping values are not allowed here, line 1."),
        (None, "the file does not exist"),
    ],
)
def test_an_invalid_file_gives_one_error_line(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "options.yaml").write_text(text)
    code, output = invoke("ensemble", "--config", str(tmp_path / "options.yaml"))
    assert code == 2
    assert output.startswith(f"error: --config {tmp_path / 'options.yaml'}: ")
    assert sentence in output
    assert "SECRET" not in output
    assert output.count("\n") == 1


def test_values_in_the_file_are_read_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML's own types would change the part number 004711 to 2505, the time 23:30 to 1410 and `no` to False."""
    calls: list[tuple[RunConfig, NightOptions]] = []
    monkeypatch.setattr(
        "pipelines.nightly.run.nightly", lambda config, options, console: calls.append((config, options)) or 0
    )
    required = "data: d\nregistry: r\nscores: s\nbackbone: tf_efficientnet_lite0\nimage-size:\nseed: null\nlayers: ~\n"
    (tmp_path / "options.yaml").write_text(
        f"{required}deadline: 23:30\ncategory: [004711, no]\nweights: 2024-01-01\nlr: 1e-5\nsigma: 2\n"
        f"strict: yes\nreport: false\nfull-frame: off\nmaps: on\n"
    )
    (tmp_path / "options.json").write_text(
        '{"data": "d", "registry": "r", "scores": "s", "category": "no", "wait": true, "report": false, "seed": 7, '
        '"layers": [1, 2], "weights": null, "backbone": ["tf_efficientnet_lite0"], "holdout": 0.5}'
    )
    for name in ("options.yaml", "options.json"):
        code, output = invoke("nightly", "--config", str(tmp_path / name))
        assert code == 0, output
    (first, options), (second, second_options) = calls
    assert (options.deadline, first.categories, first.weights) == ("23:30", ("004711", "no"), "2024-01-01")
    assert (first.members[0].lr, first.sigma, first.image_size, first.seed) == (1e-5, 2.0, 480, 0)
    assert (first.strict, first.report, first.full_frame, first.maps) == (True, False, False, True)
    assert (second.categories, second.report, second.seed, second.holdout) == (("no",), False, 7, 0.5)
    assert (second.members[0].layers, second.weights, second_options.wait) == ((1, 2), None, True)


def test_former_names_and_values_are_read_with_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[RunConfig] = []
    monkeypatch.setattr("pipelines.commands.run.run", lambda config, console: configs.append(config) or 0)
    (tmp_path / "old.yaml").write_text(
        "data: d\nout: o\nreweight: 3\nlevels: [1, 2]\nsigma: neighbour\nstart: neighbours\n"
    )
    result = CliRunner().invoke(main, ["ensemble", *LITE, "--config", str(tmp_path / "old.yaml")])
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "--reweight is deprecated; use --score-neighbors.",
        "--levels is deprecated; use --layers.",
        "--start is deprecated; use --init.",
    ]
    (config,) = configs
    assert (config.score_neighbors, config.sigma) == (3, None)
    assert [(member.layers, member.init) for member in config.members] == [((1, 2), "neighbors")]
