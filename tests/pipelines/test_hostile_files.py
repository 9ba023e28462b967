"""Files that a run, a night or a registry left and that are damaged, or another program's: one sentence, one category.

And names that would be more than names on a terminal and in a spreadsheet.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from pipelines.cli import main
from pipelines.config import DEMO_BACKBONES, RunConfig, resolve_members
from pipelines.dataset import Listing
from pipelines.deadline import COSTS, Costs
from pipelines.gate import Candidate, Terms, rule_all
from pipelines.index import known_images
from pipelines.layouts import MVTEC
from pipelines.learn import learn
from pipelines.morning import judge
from pipelines.networks import Networks
from pipelines.night import Night, NightOptions
from pipelines.plan import CategoryPlan
from pipelines.progress import Screen
from pipelines.record import Record, csv_of, show_metrics
from pipelines.registry import Registry
from pipelines.report.build import _standing
from pipelines.rundir import NIGHT_FILE, Stamp
from pipelines.stages import Stages
from pipelines.storage import Store
from pipelines.tables import read_rows
from pipelines.usage import UsageError
from reconpatch.model import CODE_VERSION, Model
from tests.pipelines.nights import Factory
from tests.pipelines.runs import make_category

CONFIG = RunConfig("nightly", "data", "work", resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {}), 224)
PLAN = CategoryPlan("sound", (), (), (), False, "key", 0)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A night without images, whose registry holds the categories `sound` and `hurt`; no Ray is started."""
    registry, images = Store.of(str(tmp_path / "registry")), Store.of(str(tmp_path / "images"))
    out, work, now = Store.of(str(tmp_path / "scores")), registry.below(".work"), datetime.now(UTC)
    record = Record(CONFIG, out, Screen(), {}, "id", now)
    stages = Stages(CONFIG, images, work, work.below("_scratch"), record, record.screen, 1, Stamp("id", now))
    options = NightOptions(registry.uri, str(tmp_path / "scores"), images.uri)
    found = Night(options, Registry(registry), stages, out, Networks({}, None), Costs(), {}, None)
    version = found.version(PLAN)
    for name in ("sound", "hurt"):
        make_registered(tmp_path / "registry" / name, version)
    return found


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


def hurt(night: Night, name: str, content: bytes) -> None:
    night.registry.of("hurt").write(name.replace("VERSION", night.version(PLAN)), content)


@pytest.mark.parametrize("content", DAMAGED["history.json"])
def test_a_damaged_history_is_its_categorys_failure(night: Night, content: bytes) -> None:
    hurt(night, "history.json", content)
    assert set(night.of_each(night.registry.mend, ["hurt", "sound"], "mend", learned="failed")) == {"sound"}
    learn(night, [PLAN, CategoryPlan("hurt", (), (), (), False, "key", 0)], {})
    assert night.told["hurt"] == {"category": "hurt", "learned": "failed"}
    assert night.told["sound"] == {"category": "sound", "learned": "unchanged"}
    assert "hurt/history.json" in night.record.failed["hurt"]
    assert set(night.record.failed) == {"hurt"}


@pytest.mark.parametrize("content", DAMAGED["current"])
def test_what_is_in_force_comes_back_from_the_history_or_is_its_categorys_failure(night: Night, content: bytes) -> None:
    hurt(night, "current", content)
    with pytest.raises(UsageError, match="hurt/current: is damaged"):
        night.registry.current("hurt")
    judge(night, Listing((), (), (), MVTEC), {})
    assert {name: row["judged"] for name, row in night.told.items()} == {"hurt": "failed", "sound": "no images"}
    night.registry.mend("hurt")
    assert night.registry.current("hurt") == night.version(PLAN)


@pytest.mark.parametrize("content", DAMAGED["VERSION/ruling.json"])
def test_a_damaged_ruling_stands_in_no_other_categorys_way(night: Night, content: bytes) -> None:
    hurt(night, "VERSION/ruling.json", content)
    assert night.of_each(lambda name: night.registry.prune(name, 1), ["hurt", "sound"], "prune") == {"sound": []}
    assert "ruling.json" in night.record.failed["hurt"]
    done = CliRunner().invoke(main, ["models", "list", "--registry", night.registry.store.uri])
    assert done.exit_code == 1
    assert "sound" in done.stdout
    assert "hurt" in done.stderr


@pytest.mark.parametrize("name", ["current", "VERSION/ruling.json"])
def test_status_shows_a_damaged_category_first_and_the_others(night: Night, name: str) -> None:
    hurt(night, name, DAMAGED[name][0])
    (night.registry.store.below(".work")).write(NIGHT_FILE, b"PAR1 and no more")
    night.registry.of("sound").write("drift/20260101T000000-aa.parquet", b"PAR1 and no more")
    done = CliRunner().invoke(main, ["status", "--registry", night.registry.store.uri, "--json"])
    assert done.exit_code == 0
    assert f"{NIGHT_FILE}: is no Parquet" in done.stderr
    rows = json.loads(done.stdout)
    assert [(row["category"], row["attention"]) for row in rows] == [("hurt", "failed"), ("sound", "")]
    assert name.rpartition("/")[2] in rows[0]["reasons"]


def test_whatever_is_raised_about_a_category_is_its_failure_alone(night: Night) -> None:
    def work(category: str) -> int:
        return {"sound": 1}[category]

    assert night.of_each(work, ["hurt", "sound"], "judge", judged="failed") == {"sound": 1}
    assert night.record.failed == {"hurt": "judge: KeyError: 'hurt'"}
    assert night.told["hurt"]["judged"] == "failed"


def test_a_night_among_damaged_files_ends_and_judges_everything(tmp_path: Path) -> None:
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
    assert {name: (row["learned"], row["judged"]) for name, row in second.told.items()} == {
        "bolt": ("failed", "done"),
        "nut": ("unchanged", "done"),
    }
    assert second.current == first.current
    work = Store.of(str(factory.registry)).below(".work")  # what was damaged has been written anew
    assert work.read_json("run.json")["finished"][0]["run_id"] == second.scores.name
    assert Costs.read(work).found
    assert {row["category"] for row in read_rows(work, NIGHT_FILE)} == {"bolt", "nut"}
    assert {row["category"] for row in read_rows(work, "index.parquet")} == {"bolt", "nut"}


def test_a_candidate_without_an_audit_is_its_categorys_failure(night: Night) -> None:
    model = Model("hurt", "v", (), 224, True, 16, 16, "patch", 9, 0.01, CODE_VERSION)
    candidate = Candidate(model, night.registry.of("hurt"), (), (), None)
    assert rule_all(night.stages, [candidate], {}, Terms()) == {}
    assert "audit.parquet" in night.record.failed["hurt"]


def test_rows_of_the_last_night_that_are_damaged_are_not_taken_over(night: Night) -> None:
    before = {"finished": [{**night.place(), "run_id": "last"}]}
    night = Night(night.options, night.registry, night.stages, night.out, night.networks, night.costs, before, None)
    Store.of(night.options.scores).below("last").write("index.parquet", b"PAR1 and no more")
    assert night.last_finished().index == {}
    assert "last/index.parquet" in night.record.warnings[0]


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"5", b'{"learn": []}', b'{"learn": {"c": [1]}}', b'{"learn": {"c": ["x", 2]}}', b"\xff"]
)
def test_damaged_costs_are_none_and_so_are_the_pages_that_stand(tmp_path: Path, content: bytes) -> None:
    store = Store.of(str(tmp_path))
    store.write(COSTS, content)
    assert Costs.read(store) == Costs()
    store.write("pages.json", content)
    assert _standing(store) == {}


def test_costs_that_cannot_be_are_left_out(tmp_path: Path) -> None:
    store = Store.of(str(tmp_path))
    store.write(COSTS, b'{"learn": {"a": [NaN, 3], "b": [4.0, 0], "c": [5.0, 6]}}')
    assert Costs.read(store).found == {"learn": {"c": (5.0, 6)}}


RUNS = [b'{"run_id": "x", ', b"[1]", b"{}", b"\xff", b'{"run_id": "x", "status": "complete", "config": "x"}']


@pytest.mark.parametrize("content", [*RUNS, b'{"run_id": "x", "status": "complete", "config": {"data": "x"}}'])
@pytest.mark.parametrize("words", [("evaluate", "--run"), ("report", "--run"), ("compare", ".")])
def test_a_damaged_run_is_one_sentence(tmp_path: Path, words: tuple[str, str], content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    done = CliRunner().invoke(main, [words[0], words[1].replace(".", str(tmp_path)), str(tmp_path)])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "run.json" in done.output


@pytest.mark.parametrize("content", RUNS)
def test_another_programs_folder_is_left_alone(tmp_path: Path, content: bytes) -> None:
    make_category(tmp_path / "data" / "part", seed=0, train=1, good=0, defects=0)
    theirs = tmp_path / "theirs"
    (theirs / "models").mkdir(parents=True)
    (theirs / "models" / "mine.bin").write_bytes(b"x")
    (theirs / "run.json").write_bytes(content)
    place = ["--data", str(tmp_path / "data"), "--out", str(theirs), "--backbone", DEMO_BACKBONES[0]]
    done = CliRunner().invoke(main, ["ensemble", *place, "--fresh"])
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert f"{theirs}/run.json: is" in done.output
    assert (theirs / "models" / "mine.bin").exists()


def test_images_of_a_damaged_run_are_read_again(tmp_path: Path) -> None:
    out = Store.of(str(tmp_path))
    told = {"run_id": "x", "status": "complete", "config": {"data": CONFIG.data, "bit_depth": CONFIG.bit_depth}}
    for run, index in ((b"{", b""), (json.dumps(told).encode(), b"PAR1 and no more")):
        out.write("run.json", run)
        out.write("index.parquet", index)
        assert known_images(out, CONFIG) == {}


ODD = ["part[a]", ":star:", "[/a]", "[bold]x", "[link=http://x]y"]


def test_names_in_tables_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Screen()
    shown.table(["category", "images"], [[name, "1"] for name in ODD])
    show_metrics(shown, [{"category": name, "model": "ensemble", "n_good": 1, "n_defect": 1} for name in ODD])
    written = capsys.readouterr().out
    assert all(written.count(name) == 2 for name in ODD)


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Screen()
    name = "a\x1b[2J\x07\r\x9b31m\x7f\udcff"
    shown.say(f"{name}\n\tnext")
    shown.warn(f"{name}\nerror: forged")
    shown.table(["category"], [[name]])
    written = "".join(capsys.readouterr())
    assert not set(written) & set("\x1b\x07\r\x9b\x7f\udcff")
    assert written.count(r"a\u001b[2J\u0007\u000d\u009b31m\u007f\udcff") == 3
    assert "\n\tnext" in written.replace(" " * 8, "\t")  # what a sentence itself has
    assert "\nerror" not in written


def test_a_spreadsheet_runs_no_text_of_a_csv(tmp_path: Path) -> None:
    texts = ["=cmd|' /C calc'!A0", "+x", "@SUM(1)", "-1", "\tx", "\rx", "plain"]
    rows = [{"category": text, "aupro": -0.5, "n_good": None} for text in texts]
    (tmp_path / "metrics.csv").write_bytes(csv_of(rows, ["category", "aupro", "n_good"]))
    read = pd.read_csv(tmp_path / "metrics.csv", lineterminator="\n")
    assert list(read["category"]) == [*(f"'{text}" for text in texts[:-1]), "plain"]
    assert list(read["aupro"]) == [-0.5] * len(texts)
    assert read["n_good"].isna().all()


def test_the_story_of_the_run_stays_when_it_is_evaluated_again(night: Night, tmp_path: Path) -> None:
    told = {"command": ["first"], "started_at": "2026-01-01T00:00:00+00:00", "seconds": 3600.0, "status": "complete"}
    out = Store.of(str(tmp_path / "run"))
    Record(CONFIG, out, Screen(), {}, "id", datetime.now(UTC), before=told).save("partial")
    assert {name: out.read_json("run.json")[name] for name in told} == {**told, "status": "partial"}
    Record(CONFIG, out, Screen(), {}, "id", datetime.now(UTC)).save("complete")
    assert out.read_json("run.json")["seconds"] < 60
