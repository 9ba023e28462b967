"""The command `paper-tables`: the configurations of its runs, and our figures compared with the published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.commands.paper.published import CATEGORIES, IMAGE, PIXEL
from pipelines.commands.paper.tables import RUNS
from pipelines.config.presets import ENSEMBLE_BACKBONES, SINGLE_BACKBONE, resolve_members
from pipelines.config.run_config import RunConfig
from pipelines.storage.parquet import write_rows
from pipelines.storage.paths import METRICS_FILE
from pipelines.storage.schemas import METRICS
from pipelines.storage.store import Store
from tests.pipelines.runs import BACKBONES, SIZE, Finished, call, files, make_category, rows_of


@pytest.mark.parametrize(
    ("name", "preset", "size", "backbones", "changes"),
    [
        ("single", "single", 224, [SINGLE_BACKBONE], {}),
        ("segmentation", "segmentation", 224, [SINGLE_BACKBONE], {}),
        ("single-d1024-c25", "single", 224, [SINGLE_BACKBONE], {"dim": 1024, "coreset": 0.25}),
        ("single-s5", "single", 224, [SINGLE_BACKBONE], {"patch_size": 5}),
        ("ensemble-320", "ensemble", 320, ENSEMBLE_BACKBONES, {}),
        ("ensemble-480", "ensemble", 480, ENSEMBLE_BACKBONES, {}),
        ("patchcore-ensemble-480", "ensemble", 480, ENSEMBLE_BACKBONES, {"epochs": 0}),
    ],
)
def test_the_runs_have_the_settings_of_the_presets(
    *, done: Callable[..., Any], name: str, preset: str, size: int, backbones: list[str], changes: dict[str, Any]
) -> None:
    configs = {Path(config.out).name: config for config in done()[1]}
    assert len(configs) == len(RUNS) - 2  # Two runs with only WRN-101 at 480 px use the results of ensembles.
    config = configs[name]
    assert (config.image_size, config.max_steps, config.holdout, config.recipe) == (size, 0, 0.0, "paper")
    expected = resolve_members(preset, backbones, size, changes)
    if changes.get("epochs") == 0:
        assert all(member.epochs == 0 for member in config.members)
    assert config.members == expected


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that calls the command with replaced runs, which write metrics without computing scores.

    In the n-th category, the image AUROC is 90 % + n % for ensembles and single models, and 60 % for members of an
    ensemble.
    """
    for category in ("carpet", "screw", "zipper"):
        make_category(tmp_path / "data" / category, seed=0, train=1, good=1, defects=1)
    asked: list[RunConfig] = []

    def pretend(config: RunConfig, console: object) -> int:
        asked.append(config)
        rows = [
            {"category": category, "model": model, IMAGE: image, PIXEL: 0.8}
            for number, category in enumerate(config.categories)
            for model in ("ensemble", *(member.backbone for member in config.members))
            for image in [0.9 + number / 100 if model == "ensemble" or len(config.members) == 1 else 0.6]
        ]
        failed = config.members[0].coreset == 0.25  # These runs fail in their last category.
        write_rows(Store.of(config.out), METRICS_FILE, rows[: len(rows) - 2 * failed], METRICS)
        return int(failed)

    def call_it(*arguments: str) -> tuple[Finished, list[RunConfig]]:
        asked.clear()
        out = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
        return call("paper-tables", *out, *arguments), list(asked)

    monkeypatch.setattr("pipelines.commands.paper.tables.run", pretend)
    monkeypatch.setattr("pipelines.commands.paper.tables.load_networks", lambda config: {})
    return call_it


def figures(out: Path) -> dict[tuple[int, str, str, str], tuple[float | None, float | None]]:
    rows = rows_of(out / "tables.parquet")
    return {(row["table"], row["row"], row["category"], row["metric"]): (row["published"], row["ours"]) for row in rows}


def test_means_are_over_the_categories_that_all_rows_have(done: Callable[..., Any]) -> None:
    finished, asked = done("--table", "4", "--table", "2")
    assert finished.code == 1  # The largest exit code of the runs.
    assert len(asked) == 9
    values = figures(finished.out)
    row = (4, "ReConPatch WRN-50 224")
    # The order of the paper is screw, carpet, zipper.
    assert values[*row, "carpet", IMAGE] == (99.6, pytest.approx(91.0))
    assert values[*row, "mean of 2", IMAGE] == (pytest.approx((98.52 + 99.6) / 2), pytest.approx(90.5))
    assert values[*row, "objects: mean of 1", IMAGE] == (98.52, pytest.approx(90.0))
    assert values[*row, "textures: mean of 1", IMAGE] == (99.6, pytest.approx(91.0))
    assert values[4, "PatchCore WRN-50 224 25 %", "zipper", IMAGE] == (99.4, None)
    assert values[4, "PatchCore WRN-50 224 1 %", "zipper", IMAGE] == (None, pytest.approx(92.0))
    assert values[2, "ReConPatch D = 64", "mean of 3, published of 15", PIXEL] == (97.68, pytest.approx(80.0))
    assert values[2, "ReConPatch D = 64", "zipper", PIXEL] == (None, pytest.approx(80.0))
    assert (finished.out / "tables.csv").read_text().startswith("table,row,category,metric,published,ours,run\n")
    for text in ("mean of 15", "mean of 3", "Zipper is counted as a texture", "wide_resnet50_2.tv_in1k"):
        assert text in finished.stdout


def test_all_categories_are_compared_with_the_printed_means(done: Callable[..., Any], tmp_path: Path) -> None:
    for category in CATEGORIES:
        make_category(tmp_path / "data" / category, seed=0, train=1, good=0, defects=1)
    values = figures(done("--table", "3", "--table", "5", "--table", "6")[0].out)
    assert values[6, "ReConPatch 480", "mean of 15", IMAGE] == (99.72, pytest.approx(97.0))
    assert values[5, "ReConPatch WRN-101 480", "textures: mean of 5", PIXEL][1] == pytest.approx(80.0)
    assert values[3, "ReConPatch levels 1+2+3", "mean of 15", IMAGE][1] == pytest.approx(97.0)
    assert values[3, "ReConPatch levels 1+2+3", "mean of 15", PIXEL] == (98.18, pytest.approx(80.0))


def test_settings_that_differ_from_the_paper_are_printed_above_the_tables(done: Callable[..., Any]) -> None:
    networks = ("--backbone", BACKBONES[0], "--backbone", BACKBONES[1])
    options = ("--max-steps", "7", "--epochs", "3", "--image-size", "96", "--category", "screw")
    finished, asked = done("--table", "3", "--table", "6", *networks, *options)
    assert finished.code == 0
    assert [Path(config.out).name for config in asked] == [
        "single-s5", "segmentation", "ensemble-320", "patchcore-segmentation", "patchcore-ensemble-320"
    ]  # fmt: skip
    one, _, two, identity, _ = asked
    assert {(config.image_size, config.max_steps, config.categories) for config in asked} == {(96, 7, ("screw",))}
    assert [(member.backbone, member.patch_size, member.dim, member.epochs) for member in one.members] == [
        (BACKBONES[0], 5, 512, 3)
    ]
    assert [member.backbone for member in two.members] == list(BACKBONES)
    assert [(member.layers, member.epochs) for member in identity.members] == [((1, 2, 3), 0)]
    assert f"ours: {BACKBONES[0]}; 96 px; 3 epochs; 7 steps at most." in finished.stdout
    assert f"ours: {BACKBONES[0]}, {BACKBONES[1]}; 96 px; 3 epochs; 7 steps at most." in finished.stdout
    runs = {row["row"]: row["run"] for row in rows_of(finished.out / "tables.parquet")}
    assert runs["ReConPatch 480"] == "ensemble-320"  # With --image-size, both ensembles are the same run.


def test_a_dry_run_lists_the_runs_and_writes_nothing(done: Callable[..., Any]) -> None:
    finished, asked = done("--dry-run")
    assert finished.code == 0
    assert asked == []
    assert not finished.out.exists()
    lines = [line for line in finished.stdout.splitlines() if "ensemble-480" in line]
    assert [("4,5,6" in line, "resnet101" in line) for line in lines] == [(True, True)] * 2


def test_categories_that_the_paper_does_not_have_are_skipped_with_a_warning(
    done: Callable[..., Any], tmp_path: Path
) -> None:
    make_category(tmp_path / "data" / "cloth", seed=0, train=1, good=1, defects=1)
    finished, asked = done("--table", "6")
    assert "cloth is skipped: it is not a category of the paper" in finished.stderr
    assert asked[0].categories == ("screw", "carpet", "zipper")
    finished, _ = done("--category", "cloth")
    assert finished.code == 2
    assert finished.stderr.startswith("error: --data ")
    assert "none of cloth is a category of MVTec AD" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_missing_weights_are_an_error_before_anything_is_computed(tmp_path: Path) -> None:
    make_category(tmp_path / "data" / "screw", seed=0, train=1, good=1, defects=1)
    (tmp_path / "weights").mkdir()
    options = ("--backbone", BACKBONES[0], "--backbone", "no_such_net", "--image-size", str(SIZE))
    finished = call("paper-tables", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *options)
    assert finished.code == 2
    assert finished.stderr.startswith("error: timm has no backbone 'no_such_net'")
    assert not finished.out.exists()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """Table 6 for a synthetic category and a small backbone; this requires two runs."""
    root = tmp_path_factory.mktemp("paper")
    make_category(root / "data" / "screw", seed=0, train=4, good=2, defects=2)
    return root / "data", call(*small_options(root / "data", root / "out"))


def small_options(data: Path, out: Path) -> tuple[str, ...]:
    options = ("--table", "6", "--image-size", str(SIZE), "--max-steps", "5", "--backbone", BACKBONES[0])
    return ("paper-tables", "--data", str(data), "--out", str(out), *options)


@pytest.mark.slow
def test_our_figures_are_those_of_the_run_directories(small: tuple[Path, Finished]) -> None:
    _, finished = small
    assert finished.code == 0, finished.stderr
    runs = {"ReConPatch 480": "ensemble-320", "PatchCore 480": "patchcore-ensemble-320"}
    assert {path.name for path in finished.out.iterdir() if path.is_dir()} == set(runs.values())
    values = figures(finished.out)
    for label, run in runs.items():
        rows = rows_of(finished.out / run / "metrics.parquet")
        (measured,) = [row for row in rows if row["model"] == BACKBONES[0] and row["category"] == "screw"]
        for metric in (IMAGE, PIXEL):
            assert values[6, label, "mean of 1, published of 15", metric][1] == pytest.approx(100 * measured[metric])
    assert values[6, "ReConPatch 480", "mean of 1, published of 15", PIXEL][0] == 98.67


@pytest.mark.slow
def test_a_second_call_only_prints_the_results(small: tuple[Path, Finished]) -> None:
    data, first = small
    before = files(first.out)
    again = call(*small_options(data, first.out))
    assert again.code == 0, again.stderr
    assert again.stdout.count("reused") == 2
    assert {name for name, provenance in files(first.out).items() if before[name] != provenance} == {
        "tables.parquet",
        "tables.csv",
    }
    tables = [run.stdout[run.stdout.index("Table 6") :] for run in (first, again)]
    assert tables[0] == tables[1]


@pytest.mark.slow
def test_single_with_the_same_options_reuses_a_run_of_the_paper(small: tuple[Path, Finished]) -> None:
    """`single --recipe paper` computes nothing if the run directory already has the member."""
    data, first = small
    options = ("--data", str(data), "--recipe", "paper", "--image-size", str(SIZE), "--backbone", BACKBONES[0])
    out = first.out / "patchcore-ensemble-320"
    before = {row["category"]: row for row in members(out)}
    alone = call("single", "--out", str(out), *options, "--epochs", "0")
    assert "reused   1 of 1 members" in alone.stdout
    assert before
    assert {row["category"]: row for row in members(alone.out)} == before


def members(out: Path) -> list[dict[str, Any]]:
    return [row for row in rows_of(out / "metrics.parquet") if row["model"] == BACKBONES[0]]
