"""Lease of a run directory: one process at a time holds it, and the lease of an ended process is void."""

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


def test_the_lease_exists_only_while_it_is_held(out: Store) -> None:
    with leased(out):
        holder = out.read_json(LEASE)
        assert (holder["host"], holder["pid"]) == (socket.gethostname(), os.getpid())
    assert not out.exists(LEASE)


def test_a_second_run_is_rejected_with_the_process_of_the_first(out: Store) -> None:
    with leased(out):
        sentence = f"is in use by process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(UsageError, match=sentence), leased(out):
            pass
        assert out.exists(LEASE)  # the rejected run has not removed the lease


def test_a_run_that_fails_releases_its_lease(out: Store) -> None:
    with pytest.raises(RuntimeError, match="broke"), leased(out):
        raise RuntimeError("broke")
    assert not out.exists(LEASE)


def holder(**changes: object) -> bytes:
    fields = {"token": "x", "host": "elsewhere", "pid": 1, "started": "0", "renewed": time.time()}
    return json.dumps({**fields, **changes}).encode()


def test_the_lease_of_an_ended_process_is_void(out: Store) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    out.write(LEASE, holder(host=socket.gethostname(), pid=ended.pid, started="1"))
    with leased(out):
        assert out.read_json(LEASE)["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="start times are read from /proc")
def test_another_process_with_the_same_id_does_not_hold_the_lease(out: Store) -> None:
    out.write(LEASE, holder(host=socket.gethostname(), pid=os.getpid(), started="another time"))
    with leased(out):
        pass


def test_the_lease_of_another_host_is_void_five_minutes_after_its_last_renewal(out: Store) -> None:
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


def test_a_run_that_was_suspended_while_another_took_over_stops_with_an_error(
    out: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)

    def hold_while_another_takes_over() -> None:
        with leased(out):
            for _ in range(50):  # a renewal that has already begun may overwrite the first lease
                out.write(LEASE, holder())
                time.sleep(0.2)

    with pytest.raises(UsageError, match="was taken over by process 1 on elsewhere"):
        hold_while_another_takes_over()
    assert out.read_json(LEASE)["token"] == "x"  # the lease of the other process is kept


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
def test_an_invalid_lease_file_is_void(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(lease, "_SETTLE_SECONDS", 0.0)
    out = Store.of(str(tmp_path))
    out.write(LEASE, content)
    with leased(out):
        assert out.read_json(LEASE)["pid"] == os.getpid()
