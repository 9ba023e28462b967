"""One run a directory: a second one is refused by name, and a dead one holds nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.storage import lease
from pipelines.storage.lease import leased
from pipelines.storage.paths import LEASE
from pipelines.storage.store import Store


@pytest.fixture(params=["local", "s3"])
def out(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.1)
    if request.param == "local":
        return Store.of(str(tmp_path / "run"))
    return Store.of(request.getfixturevalue("bucket")).below(tmp_path.name)


def test_the_lease_lies_there_while_the_run_goes_on_and_is_gone_after(out: Store) -> None:
    with leased(out):
        holder = out.read_json(LEASE)
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
    assert not out.exists(LEASE)


def test_a_second_run_is_refused_and_told_by_whom(out: Store) -> None:
    with leased(out):
        sentence = f"is in use by process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(UsageError, match=sentence), leased(out):
            pass
        assert out.exists(LEASE)  # the refused one took nothing away


def test_a_run_that_fails_gives_its_lease_back(out: Store) -> None:
    with pytest.raises(RuntimeError, match="broke"), leased(out):
        raise RuntimeError("broke")
    assert not out.exists(LEASE)


def holder(**changes: object) -> bytes:
    fields = {"token": "x", "host": "elsewhere", "pid": 1, "started": "0", "renewed": time.time()}
    return json.dumps({**fields, **changes}).encode()


def test_the_lease_of_a_process_that_is_gone_is_void(out: Store) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    out.write(LEASE, holder(host=socket.gethostname(), pid=gone.pid, started="1"))
    with leased(out):
        assert out.read_json(LEASE)["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are read from /proc")
def test_another_process_of_the_same_number_does_not_hold_it(out: Store) -> None:
    out.write(LEASE, holder(host=socket.gethostname(), pid=os.getpid(), started="another time"))
    with leased(out):
        pass


def test_another_hosts_lease_is_void_when_it_was_not_renewed_for_five_minutes(out: Store) -> None:
    out.write(LEASE, holder(renewed=time.time() - 299))
    with pytest.raises(UsageError, match="in use by process 1 on elsewhere"), leased(out):
        pass
    out.write(LEASE, holder(renewed=time.time() - 301))
    with leased(out):
        pass


def test_the_lease_is_renewed(out: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    with leased(out):
        first = out.read_json(LEASE)["renewed"]
        until = time.monotonic() + 5
        while time.monotonic() < until and out.read_json(LEASE)["renewed"] == first:
            time.sleep(0.02)
        assert out.read_json(LEASE)["renewed"] > first


def test_a_run_that_slept_while_another_took_over_stops_and_says_so(
    out: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)

    def sleep() -> None:
        with leased(out):
            for _ in range(50):  # the first may be overwritten by a renewal that had begun before
                out.write(LEASE, holder())
                time.sleep(0.2)

    with pytest.raises(UsageError, match="was taken over by process 1 on elsewhere"):
        sleep()
    assert out.read_json(LEASE)["token"] == "x"  # the successor's stays


@pytest.mark.parametrize(
    "content",
    [
        b'{"token": "x", "ho',
        b"[1]",
        b'"x"',
        b"{}",
        b"\xff",
        holder(pid="abc"),
        holder(pid=float("inf")),
        holder(renewed="x"),
        holder(renewed=float("nan")),
        holder(renewed=time.time() + 3600),
        holder(host=socket.gethostname(), pid=-1, started=None),
    ],
    ids=["cut", "list", "text", "empty", "bytes", "pid", "inf", "word", "nan", "future", "gone"],
)
def test_what_cannot_be_a_lease_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.0)
    out = Store.of(str(tmp_path))
    out.write(LEASE, content)
    with leased(out):
        assert out.read_json(LEASE)["pid"] == os.getpid()
