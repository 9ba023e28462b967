"""Tests of damaged files, and of files of other programs, in runs, nightly runs and registries.

Each is reported in one sentence, and a damaged file of one category does not affect the others.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipelines.cli.main import main
from pipelines.config.networks import Networks
from pipelines.config.nightly_options import AcceptanceConfig, NightOptions
from pipelines.config.presets import DEMO_BACKBONES, resolve_members
from pipelines.config.run_config import RunConfig
from pipelines.config.run_context import RunContext
from pipelines.data.dataset import Listing
from pipelines.data.layouts.detect import MVTEC
from pipelines.errors import UsageError
from pipelines.nightly.candidates import ActiveModel, Candidate
from pipelines.nightly.deadline import COSTS, Costs
from pipelines.nightly.night_info import NightInfo
from pipelines.nightly.promote import run_acceptance_tests
from pipelines.nightly.score import score_categories
from pipelines.nightly.state import NightRun
from pipelines.nightly.steps import NightStage, NightTask
from pipelines.nightly.train import train_categories
from pipelines.planning.jobs import CategoryPlan
from pipelines.registry.night_table import CategoryNight
from pipelines.registry.registry import Registry
from pipelines.report.build import _stored_pages
from pipelines.stages.index import known_images
from pipelines.stages.runner import Runner
from pipelines.storage.parquet import read_rows
from pipelines.storage.paths import NIGHT_FILE
from pipelines.storage.schemas import Provenance
from pipelines.storage.store import Store
from pipelines.storage.stored_model import StoredModel
from pipelines.tracking.console import Console
from pipelines.tracking.run_record import RunRecord
from reconpatch.detector.model import CODE_VERSION, Model
from tests.pipelines.nights import Factory
from tests.pipelines.runs import make_category

CONFIG = RunConfig(
    command="nightly",
    data="data",
    out="work",
    members=resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {}),
    image_size=224,
)
PLAN = CategoryPlan(
    category="sound", images=(), members=(), batches=(), fuse=None, version="0123456789ab", scratch_bytes=0
)


@pytest.fixture
def night(tmp_path: Path) -> NightRun:
    """Return a nightly run without images whose registry has the categories `sound` and `hurt`; Ray is not started."""
    registry, images = Store.of(str(tmp_path / "registry")), Store.of(str(tmp_path / "images"))
    out, work, now = Store.of(str(tmp_path / "scores")), registry.below(".work"), datetime.now(UTC)
    record = RunRecord(CONFIG, out, Console(), {}, "id", now)
    scratch, provenance = work.below("_scratch"), Provenance("id", now)
    context = RunContext(config=CONFIG, data=images, out=work, scratch=scratch, provenance=provenance)
    for name in ("sound", "hurt"):
        make_registered(tmp_path / "registry" / name, PLAN.version)
    return NightRun(
        options=NightOptions(registry.uri, str(tmp_path / "scores"), images.uri),
        registry=Registry(registry),
        runner=Runner(context=context, record=record, console=record.console, workers=1),
        out=out,
        networks=Networks({}, None),
        costs=Costs(),
        previous=NightInfo(),
        deadline=None,
    )


def make_registered(folder: Path, version: str) -> None:
    (folder / version).mkdir(parents=True)
    (folder / version / "model.json").write_text("{}")
    (folder / version / "ruling.json").write_text(json.dumps({"at": "2026-01-01T00:00:00+00:00", "status": "passed"}))
    (folder / "current").write_text(f"{version}\n")
    event = {"event": "promoted", "version": version, "at": "2026-01-01T00:00:00+00:00"}
    (folder / "history.json").write_text(json.dumps([event]))


DAMAGED = {
    "history.json": [
        b'[{"event":',
        b"",
        b"{}",
        b'["promoted"]',
        b'[{"event": "rolled back", "version": "x"}]',
        b"\xff",
    ],
    "current": [b"\xff\xfe", b"", b"../sound\n", b"a\0b", b"..", b"/etc"],
    "VERSION/ruling.json": [b'{"at":', b"{}", b"[]", b'{"at": 1, "status": "passed"}'],
}


def damage(night: NightRun, name: str, content: bytes) -> None:
    """Overwrite a file of the category `hurt` in the registry."""
    night.registry.of("hurt").write(name.replace("VERSION", PLAN.version), content)


@pytest.mark.parametrize("content", DAMAGED["history.json"])
def test_a_damaged_history_fails_only_its_category(night: NightRun, content: bytes) -> None:
    damage(night, "history.json", content)
    names = ["hurt", "sound"]
    repaired = night.for_each(names, night.registry.repair, NightStage.REPAIR, NightTask.TRAIN)
    assert set(repaired) == {"sound"}
    train_categories(night, [PLAN, replace(PLAN, category="hurt")], {})
    assert night.categories["hurt"] == CategoryNight(category="hurt", learned="failed")
    assert night.categories["sound"] == CategoryNight(category="sound", learned="unchanged")
    assert "hurt/history.json" in night.record.failed["hurt"]
    assert set(night.record.failed) == {"hurt"}


@pytest.mark.parametrize("content", DAMAGED["current"])
def test_a_damaged_active_version_is_restored_from_the_history_or_fails_its_category(
    night: NightRun, content: bytes
) -> None:
    damage(night, "current", content)
    with pytest.raises(UsageError, match="hurt/current is damaged"):
        night.registry.current("hurt")
    score_categories(night, Listing((), (), (), MVTEC), {})
    assert {name: row.judged for name, row in night.categories.items()} == {"hurt": "failed", "sound": "no images"}
    night.registry.repair("hurt")
    assert night.registry.current("hurt") == PLAN.version


@pytest.mark.parametrize("content", DAMAGED["VERSION/ruling.json"])
def test_a_damaged_ruling_fails_only_its_category(night: NightRun, content: bytes) -> None:
    damage(night, "VERSION/ruling.json", content)
    names = ["hurt", "sound"]
    pruned = night.for_each(names, lambda name: night.registry.prune(name, 1), NightStage.PRUNE)
    assert pruned == {"sound": []}
    assert "ruling.json" in night.record.failed["hurt"]
    done = CliRunner().invoke(main, ["models", "list", "--registry", night.registry.store.uri])
    assert done.exit_code == 1
    assert "sound" in done.stdout
    assert "hurt" in done.stderr


@pytest.mark.parametrize("name", ["current", "VERSION/ruling.json"])
def test_status_shows_a_damaged_category_first_and_the_others(night: NightRun, name: str) -> None:
    damage(night, name, DAMAGED[name][0])
    (night.registry.store.below(".work")).write(NIGHT_FILE, b"PAR1 and no more")
    night.registry.of("sound").write("drift/20260101T000000-aa.parquet", b"PAR1 and no more")
    done = CliRunner().invoke(main, ["status", "--registry", night.registry.store.uri, "--json"])
    assert done.exit_code == 0
    assert f"{NIGHT_FILE} is damaged or not a Parquet file" in done.stderr
    rows = json.loads(done.stdout)
    assert [(row["category"], row["attention"]) for row in rows] == [("hurt", "failed"), ("sound", "")]
    assert name.rpartition("/")[2] in rows[0]["reasons"]


def test_an_exception_about_a_category_fails_only_this_category(night: NightRun) -> None:
    def work(category: str) -> int:
        return {"sound": 1}[category]

    assert night.for_each(["hurt", "sound"], work, NightStage.SCORE, NightTask.SCORE) == {"sound": 1}
    assert night.record.failed == {"hurt": "predict: KeyError: 'hurt'"}
    assert night.categories["hurt"].judged == "failed"


@pytest.mark.slow
def test_a_nightly_run_with_damaged_files_completes_and_scores_every_category(tmp_path: Path) -> None:
    factory = Factory(tmp_path)
    for seed, name in enumerate(("bolt", "nut")):
        make_category(factory.data / name, seed=1000 * seed, train=4, good=1, defects=1)
    first = factory.night()
    assert first.done.code == 0, first.done.stderr
    (factory.registry / "bolt" / "history.json").write_text('[{"event":')
    for name in ("run.json", "costs.json", NIGHT_FILE, "index.parquet"):
        (factory.registry / ".work" / name).write_bytes(b"{")
    second = factory.night("--deadline", f"{datetime.now() + timedelta(hours=2):%H:%M}")
    assert second.done.code == 1
    assert {name: (row["learned"], row["judged"]) for name, row in second.categories.items()} == {
        "bolt": ("failed", "done"),
        "nut": ("unchanged", "done"),
    }
    assert second.current == first.current
    work = Store.of(str(factory.registry)).below(".work")  # the damaged files have been replaced
    assert work.read_json("run.json")["finished"][0]["run_id"] == second.scores.name
    assert Costs.read(work).measured
    assert {row["category"] for row in read_rows(work, NIGHT_FILE)} == {"bolt", "nut"}
    assert {row["category"] for row in read_rows(work, "index.parquet")} == {"bolt", "nut"}


def test_a_candidate_without_an_audit_fails_its_category(night: NightRun) -> None:
    model = Model("hurt", "v", (), 224, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    stored = StoredModel(model, night.registry.of("hurt"))
    candidate = Candidate(model=stored, good=(), labeled=(), active=ActiveModel())
    assert run_acceptance_tests(night.runner, [candidate], {}, AcceptanceConfig()) == {}
    assert "audit.parquet" in night.record.failed["hurt"]


def test_damaged_rows_of_the_last_nightly_run_are_not_reused(night: NightRun) -> None:
    night = replace(night, previous=NightInfo(finished=(replace(night.scope, run_id="last"),)))
    Store.of(night.options.scores).below("last").write("index.parquet", b"PAR1 and no more")
    assert night.previous_scores().index == {}
    assert "last/index.parquet" in night.record.warnings[0]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"5", b'{"learn": []}', b'{"learn": {"c": [1]}}', b'{"learn": {"c": ["x", 2]}}', b"\xff"]
)
def test_damaged_costs_and_page_lists_are_ignored(tmp_path: Path, content: bytes) -> None:
    store = Store.of(str(tmp_path))
    store.write(COSTS, content)
    assert Costs.read(store) == Costs()
    store.write("pages.json", content)
    assert _stored_pages(store) == {}


def test_impossible_costs_are_ignored(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    store.write(COSTS, b'{"learn": {"a": [NaN, 3], "b": [4.0, 0], "c": [5.0, 6]}}')
    assert Costs.read(store).measured == {"learn": {"c": (5.0, 6)}}


RUNS = [b'{"run_id": "x", ', b"[1]", b"{}", b"\xff", b'{"run_id": "x", "status": "complete", "config": "x"}']


@pytest.mark.parametrize("content", [*RUNS, b'{"run_id": "x", "status": "complete", "config": {"data": "x"}}'])
@pytest.mark.parametrize("words", [("evaluate", "--run"), ("report", "--run"), ("compare", ".")])
def test_a_damaged_run_is_reported_in_one_sentence(tmp_path: Path, words: tuple[str, str], content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    done = CliRunner().invoke(main, [words[0], words[1].replace(".", str(tmp_path)), str(tmp_path)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "run.json" in done.output


@pytest.mark.parametrize("content", RUNS)
def test_the_folder_of_another_program_is_not_changed(tmp_path: Path, content: bytes) -> None:
    make_category(tmp_path / "data" / "part", seed=0, train=1, good=0, defects=0)
    foreign = tmp_path / "foreign"
    (foreign / "models").mkdir(parents=True)
    (foreign / "models" / "mine.bin").write_bytes(b"x")
    (foreign / "run.json").write_bytes(content)
    options = ["--data", str(tmp_path / "data"), "--out", str(foreign), "--backbone", DEMO_BACKBONES[0]]
    done = CliRunner().invoke(main, ["ensemble", *options, "--fresh"])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert f"{foreign}/run.json is" in done.output
    assert (foreign / "models" / "mine.bin").exists()


def test_the_index_of_a_damaged_run_is_not_used(tmp_path: Path) -> None:
    out = Store.of(str(tmp_path))
    run_info = {"run_id": "x", "status": "complete", "config": {"data": CONFIG.data, "bit_depth": CONFIG.bit_depth}}
    for run, index in ((b"{", b""), (json.dumps(run_info).encode(), b"PAR1 and no more")):
        out.write("run.json", run)
        out.write("index.parquet", index)
        assert known_images(out, CONFIG) == {}
