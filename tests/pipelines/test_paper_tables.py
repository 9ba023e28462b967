"""The paper's tables: its figures as printed, its runs as the command line resolves them, ours beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from pipelines.config import ENSEMBLE_BACKBONES, SINGLE_BACKBONE, RunConfig, resolve_members
from pipelines.paper_tables import RUNS
from pipelines.paper_values import CATEGORIES, GROUPS, IMAGE, PIXEL, TABLES, PaperTable, Row
from pipelines.rundir import METRICS, METRICS_FILE
from pipelines.storage import Store, named_below
from pipelines.tables import write_rows
from tests.pipelines.runs import BACKBONES, SIZE, Finished, call, files, make_category, rows_of

BY_CATEGORY = [(table, row) for table in TABLES if table.by_category for row in table.rows if row.published]


@pytest.mark.parametrize(("table", "row"), BY_CATEGORY, ids=lambda each: str(getattr(each, "label", "")))
def test_the_printed_means_are_those_of_the_printed_rows(table: PaperTable, row: Row) -> None:
    """Also of the textures with zipper among them. PatchCore's mean of all is printed with one digit."""
    published = row.published[table.metrics[0]]
    for group, members in {**GROUPS, "mean": CATEGORIES}.items():
        digits = 0.05 if row.label.startswith("PatchCore") and group == "mean" else 0.005
        assert fmean(published[category] for category in members) == pytest.approx(published[group], abs=digits + 1e-9)


def test_a_run_has_one_published_mean_wherever_it_is_printed() -> None:
    printed: dict[tuple[str, str], set[float]] = {}
    for table in TABLES:
        for row in table.rows:
            for metric, figures in row.published.items():
                printed.setdefault((row.run, metric), set()).add(figures["mean"])
    assert all(len(means) == 1 for means in printed.values()), printed
    assert {run for run, _ in printed} | {row.run for table in TABLES for row in table.rows} == set(RUNS)


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
def test_the_runs_are_the_presets(
    done: Callable[..., Any], name: str, preset: str, size: int, backbones: list[str], changes: dict[str, Any]
) -> None:
    configs = {Path(config.out).name: config for config in done()[1]}
    assert len(configs) == len(RUNS) - 2  # WRN-101 at 480 is a member of the ensembles there
    config = configs[name]
    assert (config.image_size, config.max_steps, config.holdout, config.recipe) == (size, 0, 0.0, "paper")
    expected = resolve_members(preset, backbones, size, changes)
    if changes.get("epochs") == 0:
        assert all(member.epochs == 0 for member in config.members)
    assert config.members == expected


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Calls the command with runs that compute nothing: in the n-th category every model has 90 % + n, but that in
    ensembles the members have 60 %."""
    for category in ("carpet", "screw", "zipper"):
        make_category(tmp_path / "data" / category, seed=0, train=1, good=1, defects=1)
    asked: list[RunConfig] = []

    def pretend(config: RunConfig, screen: object) -> int:
        asked.append(config)
        rows = [
            {"category": category, "model": model, IMAGE: image, PIXEL: 0.8}
            for number, category in enumerate(config.categories)
            for model in ("ensemble", *(member.backbone for member in config.members))
            for image in [0.9 + number / 100 if model == "ensemble" or len(config.members) == 1 else 0.6]
        ]
        failed = config.members[0].coreset == 0.25  # these runs lose their last category
        write_rows(Store.of(config.out), METRICS_FILE, rows[: len(rows) - 2 * failed], METRICS)
        return int(failed)

    def call_it(*arguments: str) -> tuple[Finished, list[RunConfig]]:
        asked.clear()
        out = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
        return call("paper-tables", *out, *arguments), list(asked)

    monkeypatch.setattr("pipelines.paper_tables.run", pretend)
    monkeypatch.setattr("pipelines.paper_tables.load_networks", lambda config: {})
    return call_it


def figures(out: Path) -> dict[tuple[int, str, str, str], tuple[float | None, float | None]]:
    rows = rows_of(out / "tables.parquet")
    return {(row["table"], row["row"], row["category"], row["metric"]): (row["published"], row["ours"]) for row in rows}


def test_means_are_over_the_categories_that_all_rows_have(done: Callable[..., Any]) -> None:
    finished, asked = done("--table", "4", "--table", "2")
    assert finished.code == 1  # the worst run's
    assert len(asked) == 9
    found = figures(finished.out)
    row = (4, "ReConPatch WRN-50 224")
    assert found[*row, "carpet", IMAGE] == (99.6, pytest.approx(91.0))  # the paper's order: screw, carpet, zipper
    assert found[*row, "mean of 2", IMAGE] == (pytest.approx((98.52 + 99.6) / 2), pytest.approx(90.5))
    assert found[*row, "objects: mean of 1", IMAGE] == (98.52, pytest.approx(90.0))
    assert found[*row, "textures: mean of 1", IMAGE] == (99.6, pytest.approx(91.0))
    assert found[4, "PatchCore WRN-50 224 25 %", "zipper", IMAGE] == (99.4, None)
    assert found[4, "PatchCore WRN-50 224 1 %", "zipper", IMAGE] == (None, pytest.approx(92.0))
    assert found[2, "ReConPatch D = 64", "mean of 3, published of 15", PIXEL] == (97.68, pytest.approx(80.0))
    assert found[2, "ReConPatch D = 64", "zipper", PIXEL] == (None, pytest.approx(80.0))
    assert (finished.out / "tables.csv").read_text().startswith("table,row,category,metric,published,ours,run\n")
    for said in ("mean of 15", "mean of 3", "Zipper is a texture here", "wide_resnet50_2.tv_in1k"):
        assert said in finished.stdout


def test_a_full_set_has_the_printed_means(done: Callable[..., Any], tmp_path: Path) -> None:
    for category in CATEGORIES:
        make_category(tmp_path / "data" / category, seed=0, train=1, good=0, defects=1)
    found = figures(done("--table", "3", "--table", "5", "--table", "6")[0].out)
    assert found[6, "ReConPatch 480", "mean of 15", IMAGE] == (99.72, pytest.approx(97.0))
    assert found[5, "ReConPatch WRN-101 480", "textures: mean of 5", PIXEL][1] == pytest.approx(80.0)
    assert found[3, "ReConPatch levels 1+2+3", "mean of 15", IMAGE][1] == pytest.approx(97.0)
    assert found[3, "ReConPatch levels 1+2+3", "mean of 15", PIXEL] == (98.18, pytest.approx(80.0))


def test_what_was_changed_stands_above_the_tables(done: Callable[..., Any]) -> None:
    networks = ("--backbone", BACKBONES[0], "--backbone", BACKBONES[1])
    options = ("--max-steps", "7", "--epochs", "3", "--image-size", "96", "--category", "screw")
    finished, asked = done("--table", "3", "--table", "6", *networks, *options)
    assert finished.code == 0
    assert [Path(config.out).name for config in asked] == [
        "single-s5", "segmentation", "ensemble-320", "patchcore-segmentation", "patchcore-ensemble-320"
    ]  # fmt: skip
    one, _, two, identity, _ = asked
    assert {(config.image_size, config.max_steps, config.categories) for config in asked} == {(96, 7, ("screw",))}
    assert [(each.backbone, each.patch_size, each.dim, each.epochs) for each in one.members] == [
        (BACKBONES[0], 5, 512, 3)
    ]
    assert [member.backbone for member in two.members] == list(BACKBONES)
    assert [(member.levels, member.epochs) for member in identity.members] == [((1, 2, 3), 0)]
    assert f"ours: {BACKBONES[0]}; 96 px; 3 epochs; 7 steps at most." in finished.stdout
    assert f"ours: {BACKBONES[0]}, {BACKBONES[1]}; 96 px; 3 epochs; 7 steps at most." in finished.stdout
    runs = {row["row"]: row["run"] for row in rows_of(finished.out / "tables.parquet")}
    assert runs["ReConPatch 480"] == "ensemble-320"  # the same run at the same size


def test_a_dry_run_lists_the_runs_and_writes_nothing(done: Callable[..., Any]) -> None:
    finished, asked = done("--dry-run")
    assert finished.code == 0
    assert asked == []
    assert not finished.out.exists()
    lines = [line for line in finished.stdout.splitlines() if "ensemble-480" in line]
    assert [("4,5,6" in line, "resnet101" in line) for line in lines] == [(True, True)] * 2


def test_other_categories_are_left_out_and_said(done: Callable[..., Any], tmp_path: Path) -> None:
    make_category(tmp_path / "data" / "cloth", seed=0, train=1, good=1, defects=1)
    finished, asked = done("--table", "6")
    assert "cloth: the paper has no such category" in finished.stderr
    assert asked[0].categories == ("screw", "carpet", "zipper")
    finished, _ = done("--category", "cloth")
    assert finished.code == 2
    assert finished.stderr.startswith("error: --data ")
    assert "none of cloth is of MVTec AD" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_missing_weights_are_said_before_anything_is_computed(tmp_path: Path) -> None:
    make_category(tmp_path / "data" / "screw", seed=0, train=1, good=1, defects=1)
    (tmp_path / "weights").mkdir()
    options = ("--backbone", BACKBONES[0], "--backbone", "no_such_net", "--image-size", str(SIZE))
    finished = call("paper-tables", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), *options)
    assert finished.code == 2
    assert finished.stderr.startswith("error: timm has no backbone 'no_such_net'")
    assert not finished.out.exists()


def test_a_folder_below_a_uri_keeps_its_options() -> None:
    assert named_below("s3://lake/runs/?region=x&scheme=http", "single") == "s3://lake/runs/single?region=x&scheme=http"
    assert named_below("a/what?", "single") == "a/what?/single"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """Table 6 on a made-up category with a small network: two runs."""
    root = tmp_path_factory.mktemp("paper")
    make_category(root / "data" / "screw", seed=0, train=4, good=2, defects=2)
    return root / "data", call(*small_options(root / "data", root / "out"))


def small_options(data: Path, out: Path) -> tuple[str, ...]:
    options = ("--table", "6", "--image-size", str(SIZE), "--max-steps", "5", "--backbone", BACKBONES[0])
    return ("paper-tables", "--data", str(data), "--out", str(out), *options)


def test_ours_are_the_figures_of_ordinary_runs(small: tuple[Path, Finished]) -> None:
    _, finished = small
    assert finished.code == 0, finished.stderr
    runs = {"ReConPatch 480": "ensemble-320", "PatchCore 480": "patchcore-ensemble-320"}
    assert {path.name for path in finished.out.iterdir() if path.is_dir()} == set(runs.values())
    found = figures(finished.out)
    for row, run in runs.items():
        rows = rows_of(finished.out / run / "metrics.parquet")
        (measured,) = [each for each in rows if each["model"] == BACKBONES[0] and each["category"] == "screw"]
        for metric in (IMAGE, PIXEL):
            assert found[6, row, "mean of 1, published of 15", metric][1] == pytest.approx(100 * measured[metric])
    assert found[6, "ReConPatch 480", "mean of 1, published of 15", PIXEL][0] == 98.67


def test_a_second_call_prints_and_computes_nothing(small: tuple[Path, Finished]) -> None:
    data, first = small
    before = files(first.out)
    again = call(*small_options(data, first.out))
    assert again.code == 0, again.stderr
    assert again.stdout.count("reused") == 2
    assert {name for name, stamp in files(first.out).items() if before[name] != stamp} == {
        "tables.parquet",
        "tables.csv",
    }
    tables = [run.stdout[run.stdout.index("Table 6") :] for run in (first, again)]
    assert tables[0] == tables[1]


def test_the_command_line_resolves_the_same_runs(small: tuple[Path, Finished]) -> None:
    """`single --recipe paper` into a run's folder has nothing to compute: the member's figures are its own."""
    data, first = small
    options = ("--data", str(data), "--recipe", "paper", "--image-size", str(SIZE), "--backbone", BACKBONES[0])
    out = first.out / "patchcore-ensemble-320"
    before = {row["category"]: row for row in members(out)}
    alone = call("single", "--out", str(out), *options, "--epochs", "0")
    assert "reused   1 of 1 units" in alone.stdout
    assert before
    assert {row["category"]: row for row in members(alone.out)} == before


def members(out: Path) -> list[dict[str, Any]]:
    return [row for row in rows_of(out / "metrics.parquet") if row["model"] == BACKBONES[0]]
