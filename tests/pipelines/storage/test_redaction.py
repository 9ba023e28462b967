"""Credentials in URIs appear neither in messages nor in files or logs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs as pafs
import pytest
from click.testing import CliRunner

from pipelines.cli.main import main
from pipelines.config.presets import DEMO_BACKBONES, resolve_members
from pipelines.config.run_config import RunConfig
from pipelines.errors import UsageError
from pipelines.storage import store as storage
from pipelines.storage.parquet import read_rows
from pipelines.storage.redaction import is_redacted, redact
from pipelines.storage.store import Store
from pipelines.tracking.console import Console
from pipelines.tracking.run_record import RunRecord
from tests.object_stores import copy_into, options_of
from tests.pipelines.processes import start_alone
from tests.pipelines.runs import ensemble_options, make_category

BUCKET = "s3://AKIA:SECRET@bucket/"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://AKIA:secret@bucket/run", "s3://***@bucket/run"),
        ("s3://AKIA:sec/r@et@bucket/run", "s3://***@bucket/run"),
        ("abfs://container@account.dfs.core.windows.net/run", "abfs://***@account.dfs.core.windows.net/run"),
        ("s3:/AKIA:secret@bucket/run", "s3:/***@bucket/run"),  # a slash is missing
        # without ':' or '@' before the first '/' there are no credentials, and a later '@' is part of a name
        ("gs://bucket/lot@5/run", "gs://bucket/lot@5/run"),
        ("file:///data/lot@5", "file:///data/lot@5"),
        ("/plain/p@th", "/plain/p@th"),
        # redacted text and the path below it are not changed again
        ("s3://***@bucket/lot@5", "s3://***@bucket/lot@5"),
        ("s3://b/run?region=eu&secret_key=abc&x=1", "s3://b/run?region=eu&secret_key=***&x=***"),
        ("s3://b/run?secret%5Fkey=abc&REGION=eu", "s3://b/run?secret%5Fkey=***&REGION=eu"),
        ("abfs://c/run?client_secret=a/b&sas_token=c&sig=d", "abfs://c/run?client_secret=***&sas_token=***&sig=***"),
        ("s3://b/run?endpoint_override=h%3A9000&scheme=http", "s3://b/run?endpoint_override=h%3A9000&scheme=http"),
        ("s3://b/run?endpoint_override=u:secret@h", "s3://b/run?endpoint_override=***"),
        ("s3://b/run?secret", "s3://b/run?***"),
        ("--run s3://A:s@b/x: holds no run.", "--run s3://***@b/x: holds no run."),
        ("s3://A:s@b/x and s3://A:s@b/y?sig=z: no image.", "s3://***@b/x and s3://***@b/y?sig=***: no image."),
        ("--out=s3://A:s@b/x", "--out=s3://***@b/x"),
    ],
)
def test_credentials_are_never_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


def test_a_redacted_uri_is_recognized() -> None:
    assert is_redacted(redact("s3://AKIA:secret@bucket/run"))
    assert is_redacted(redact("s3://bucket/run?sig=secret"))
    assert not is_redacted(redact("s3://bucket/run?region=eu"))


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIA:SEC/RET@bucket/x?region=eu-west-1",
        "s3://AKIA:SEC RET@bucket/x",
        "s3://AKIA:SEC?RET@bucket/x",
        "s3://AKIA:SEC@RET@bucket/x",
        "s3://AKIA:SECRET@bucket/x?regon=eu",
        "s3://bucket/x?access%5Fkey=AKIA&secret%5Fkey=SECRET",
        "abfs://c@a.dfs.core.windows.net/x?sas_token=SECRET",
        "s3a://AKIA:SECRET@b/x",
        "s3://AKIA:SECRET@bucket/[x]",
    ],
)
def test_the_error_for_an_invalid_uri_does_not_contain_the_secret(uri: str) -> None:
    with pytest.raises(UsageError) as raised:
        Store.of(uri)
    assert "SEC" not in str(raised.value)
    assert "RET" not in str(raised.value)
    assert raised.value.__suppress_context__  # otherwise the traceback would contain the secret


@pytest.fixture
def bucket_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Local folder that replaces the bucket: `full` contains unrelated files, `data` contains a category."""

    class Disk:
        @staticmethod
        def from_uri(uri: str) -> tuple[pafs.FileSystem, str]:
            return pafs.LocalFileSystem(), str(tmp_path / uri.split("@bucket/")[1].split("?")[0])

    monkeypatch.setattr(storage, "pafs", SimpleNamespace(**{**vars(pafs), "FileSystem": Disk}))
    make_category(tmp_path / "data" / "part", seed=0, train=1, good=0, defects=0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("status --registry B/full", "holds neither a model nor a nightly run"),
        ("models list --registry B/full", "holds no model"),
        ("evaluate --run B/full", "holds no run"),
        ("evaluate --run B/empty", "the folder does not exist or is empty"),
        ("report --run B/empty", "holds no run"),
        ("compare B/empty B/empty", "holds no run"),
        ("paper-tables --data B/data --out B/o", "is a category of MVTec AD"),
        ("ensemble --data B/data --out B/full", "is not empty"),
        ("ensemble --data B/data --out B/data/x", "is inside the data"),
        ("ensemble --data B/nothing --out B/o", "the folder does not exist"),
        (
            "nightly --data B/data --images B/nothing --registry B/r --scores B/s",
            "the folder does not exist or is empty",
        ),
        ("score --model B/full --images B/data --category part --out B/o", "has no model"),
        ("score --model B/empty --images B/data --category part --out B/o", "--model s3://***@"),
    ],
)
def test_no_command_prints_the_secret(bucket_on_disk: Path, words: str, sentence: str) -> None:
    done = CliRunner().invoke(main, words.replace("B/", BUCKET).split())
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert sentence in done.output
    assert "SECRET" not in done.output


def test_the_record_of_a_run_contains_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["reconpatch-run", "ensemble", "--data", f"{BUCKET}data", f"--out={BUCKET}x?sig=SECRET"]
    monkeypatch.setattr("sys.argv", words)
    members = resolve_members("ensemble", DEMO_BACKBONES[:1], 224, {})
    config = RunConfig(
        command="ensemble",
        data=f"{BUCKET}data",
        out=f"{BUCKET}x",
        members=members,
        image_size=224,
        scratch=f"{BUCKET}s",
    )
    out = Store.of(str(tmp_path / "run"))
    record = RunRecord(config, out, Console(), {}, "id", datetime.now(UTC), origin={"images": f"{BUCKET}data"})
    record.warn(f"{BUCKET}data: odd.")
    record.category_failed("part", "extract", f"{BUCKET}data/part: gone")
    record.image_unreadable("part", "index", "part/a.png", f"{BUCKET}data/part/a.png: gone")
    record.close([])
    assert "SECRET" not in (tmp_path / "run" / "run.json").read_text()
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert info["warnings"] == ["s3://***@bucket/data: odd."]
    assert info["config"]["data"] == info["origin"]["images"] == "s3://***@bucket/data"
    assert info["command"][2:] == ["--data", "s3://***@bucket/data", "--out=s3://***@bucket/x?sig=***"]
    assert "SECRET" not in str(read_rows(out, "failures.parquet"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/tmp/ray").is_dir(), reason="looks where Ray writes its logs on Linux")
def test_neither_files_of_a_run_nor_ray_logs_contain_a_key(object_store: tuple[str, int], tmp_path: Path) -> None:
    """Run with a key that the object store on loopback accepts, and search all files and logs for it."""
    make_category(tmp_path / "data" / "cloth", seed=0, train=10, good=3, defects=3)
    options = options_of(*object_store)
    copy_into(str(tmp_path / "data"), f"s3://lake/secrets/data?{options}")
    uri = f"s3://AKIAKEY:veryverysecret@lake/secrets/{{}}?{options}"
    options_with_uri = ("--scratch", uri.format("scratch"), "--maps", "--report")
    running = start_alone(*ensemble_options(uri.format("data"), uri.format("run"), *options_with_uri))
    output, errors = running.communicate(timeout=400)
    assert running.returncode == 0, output + errors
    run = Store.of(f"s3://lake/secrets/run?{options}")
    written = {run.name_of(info): run.read(run.name_of(info)) for info in run.files()}
    assert {"run.json", "report/index.html", "metrics.csv"} <= written.keys()
    sessions = list(Path("/tmp/ray").glob(f"session_*_{running.pid}"))
    assert sessions
    logs = {str(path): path.read_bytes() for path in sessions[0].rglob("*") if path.is_file()}
    assert any(logs.values())
    contents = written | logs | {"standard output": output.encode(), "standard error": errors.encode()}
    assert [name for name, content in contents.items() if b"veryverysecret" in content] == []
