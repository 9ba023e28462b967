"""One run a directory: a lease file names who is in it, and is void when that process is gone or silent."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.rundir import LEASE
from pipelines.storage import Store
from pipelines.sweep import sweep
from pipelines.usage import UsageError

RENEW_SECONDS = 60.0
VOID_SECONDS = 300.0
WAIT_SECONDS = 5.0
_SETTLE_SECONDS = 1.0


@contextmanager
def leased(out: Store, *, wait: bool = False) -> Iterator[None]:
    """Hold the lease of a run directory while the block runs; it is renewed every minute, and what killed
    processes have left aside goes before and after.

    Args:
        wait: until another run that holds it is done.

    Raises:
        UsageError: another run holds it, or has taken it over from this one while it was silent for too long; the
            sentence names its host and process.
    """
    mine = {
        "token": uuid.uuid4().hex,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
    }
    while True:
        try:
            _take(out, mine)
            break
        except UsageError:
            if not wait:
                raise
            time.sleep(WAIT_SECONDS)
    sweep(out)
    over, lost = threading.Event(), threading.Event()
    renewing = threading.Thread(target=_renew, args=(out, mine, over, lost), daemon=True)
    renewing.start()
    try:
        yield
    except KeyboardInterrupt:
        if not lost.is_set():
            raise
        holder = _holder(out)
        raise UsageError(
            f"{out.uri} was taken over by process {holder.get('pid')} on {holder.get('host')}, since this one had been "
            f"silent for {VOID_SECONDS:.0f} seconds; it stops, and what it has done stands."
        ) from None
    finally:
        over.set()
        renewing.join()
        if _holder(out).get("token") == mine["token"]:
            sweep(out)
            out.remove(LEASE)


def _take(out: Store, mine: dict[str, Any]) -> None:
    holder = _holder(out)
    if holder and not _is_void(holder):
        _refuse(out, holder)
    void = out.exists(LEASE)
    if out.is_local:
        path = Path(out.path(LEASE))
        path.parent.mkdir(parents=True, exist_ok=True)
        if void:
            path.unlink(missing_ok=True)
        try:
            with path.open("x") as file:  # of two that come at once, the file system refuses one
                file.write(_text(mine))
        except FileExistsError:
            _refuse(out, _holder(out))
        if not void:
            return
    else:
        out.write(LEASE, _text(mine).encode())
    # Two that take the same void lease over, or come to an object store at once, have both written by now.
    time.sleep(_SETTLE_SECONDS)
    holder = _holder(out)
    if holder.get("token") != mine["token"]:
        _refuse(out, holder)


def _refuse(out: Store, holder: dict[str, Any]) -> None:
    raise UsageError(
        f"{out.uri} is in use by process {holder.get('pid')} on {holder.get('host')}; wait until it is done, or stop "
        f"it."
    )


def _renew(out: Store, mine: dict[str, Any], over: threading.Event, lost: threading.Event) -> None:
    while not over.wait(RENEW_SECONDS):
        try:
            if _holder(out).get("token", mine["token"]) != mine["token"]:  # a machine that slept has a successor
                lost.set()
                os.kill(os.getpid(), signal.SIGINT)
                return
            out.write(LEASE, _text(mine).encode())
        except OSError:  # a full disk or a flapping store: the next minute tries again, and five are allowed
            continue


def _text(mine: dict[str, Any]) -> str:
    return json.dumps({**mine, "renewed": time.time()}, indent=2) + "\n"


def _holder(out: Store) -> dict[str, Any]:
    """Who holds the lease; nobody where there is none, or none that can be understood."""
    try:
        found = out.read_json(LEASE)
        return {**found, "pid": int(found["pid"]), "renewed": float(found["renewed"])}
    except (ValueError, TypeError, LookupError, OverflowError):  # half written by a process that died in it, say
        return {}


def _is_void(holder: dict[str, Any]) -> bool:
    if holder.get("host") == socket.gethostname():
        started = _process_start(holder["pid"])
        return started is None or started != holder.get("started")
    # In the future it is as void as in the past: clocks differ by less.
    return not abs(time.time() - holder["renewed"]) <= VOID_SECONDS


def _process_start(pid: int) -> str | None:
    """When a process of this machine started, in the kernel's own words; None where there is none of that number."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError):
            return None
        return "alive"  # no /proc: that it lives is all that can be known
    return stat.rpartition(")")[2].split()[19]
