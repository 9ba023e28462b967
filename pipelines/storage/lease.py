"""The lease of a run directory, so that one process at a time works in it.

A lease file names the process. It is void when that process is gone or has not renewed it for minutes.
"""

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pipelines.errors import UsageError
from pipelines.storage.cleanup import remove_partial_files
from pipelines.storage.paths import LEASE
from pipelines.storage.store import Store

RENEW_SECONDS = 60.0
VOID_SECONDS = 300.0
WAIT_SECONDS = 5.0
_SETTLE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class _Holder:
    """Who holds a lease.

    Attributes:
        token: differs between two leases of one process.
        host: name of the machine.
        pid: of the process.
        started: when the process started, as the kernel says it; None where it does not.
        renewed: seconds since the epoch.
    """

    token: str | None
    host: str | None
    pid: int
    started: str | None
    renewed: float

    @classmethod
    def this_process(cls) -> Self:
        """Return a new lease of this process."""
        pid = os.getpid()
        return cls(
            token=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=pid,
            started=_process_start(pid),
            renewed=time.time(),
        )

    @classmethod
    def read(cls, out: Store) -> Self | None:
        """Return who holds the lease of a folder; None where nobody does, or the file is damaged."""
        try:
            lease = out.read_json(LEASE)
            return cls(
                token=lease.get("token"),
                host=lease.get("host"),
                pid=int(lease["pid"]),
                started=lease.get("started"),
                renewed=float(lease["renewed"]),
            )
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError):  # half written by a killed process
            return None

    def to_bytes(self) -> bytes:
        """Return the lease file, renewed now."""
        return (json.dumps({**asdict(self), "renewed": time.time()}, indent=2) + "\n").encode()

    @property
    def is_void(self) -> bool:
        """Whether another process may take the lease over."""
        if self.host == socket.gethostname():
            started = _process_start(self.pid)
            return started is None or started != self.started
        # A time far in the future voids it as well: clocks differ by less.
        return not abs(time.time() - self.renewed) <= VOID_SECONDS


@contextmanager
def leased(out: Store, *, wait: bool = False) -> Iterator[None]:
    """Hold the lease of a run directory while the block runs.

    The lease is renewed every minute. Partial files of killed processes are removed before and after.

    Args:
        out: the run directory.
        wait: whether to wait until another process that holds the lease is done.

    Raises:
        UsageError: another process holds the lease, or has taken it over while this one did not renew it; the message
            names its host and process.
    """
    lease = _Holder.this_process()
    while True:
        try:
            _take(out, lease)
            break
        except UsageError:
            if not wait:
                raise
            time.sleep(WAIT_SECONDS)
    remove_partial_files(out)
    is_over, is_lost = threading.Event(), threading.Event()
    renewing = threading.Thread(target=_renew, args=(out, lease, is_over, is_lost), daemon=True)
    renewing.start()
    try:
        yield
    except KeyboardInterrupt:
        if not is_lost.is_set():
            raise
        raise UsageError(
            f"{out.uri} was taken over by {_process(_Holder.read(out))}, because this process had not renewed its "
            f"lease for {VOID_SECONDS:.0f} seconds. It stops; what it has finished stays."
        ) from None
    finally:
        is_over.set()
        renewing.join()
        holder = _Holder.read(out)
        if holder is not None and holder.token == lease.token:
            remove_partial_files(out)
            out.remove(LEASE)


def _take(out: Store, lease: _Holder) -> None:
    holder = _Holder.read(out)
    if holder is not None and not holder.is_void:
        raise _in_use(out, holder)
    is_there = out.exists(LEASE)
    if out.is_local:
        path = Path(out.path(LEASE))
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_there:
            path.unlink(missing_ok=True)
        try:
            with path.open("xb") as file:  # of two processes that create it at once, one fails
                file.write(lease.to_bytes())
        except FileExistsError:
            raise _in_use(out, _Holder.read(out)) from None
        if not is_there:
            return
    else:
        out.write(LEASE, lease.to_bytes())
    # Two processes that take over the same void lease, or write to an object store at once, have both written by now.
    time.sleep(_SETTLE_SECONDS)
    holder = _Holder.read(out)
    if holder is None or holder.token != lease.token:
        raise _in_use(out, holder)


def _in_use(out: Store, holder: _Holder | None) -> UsageError:
    return UsageError(f"{out.uri} is in use by {_process(holder)}; wait until it is done, or stop it.")


def _process(holder: _Holder | None) -> str:
    return "another process" if holder is None else f"process {holder.pid} on {holder.host}"


def _renew(out: Store, lease: _Holder, is_over: threading.Event, is_lost: threading.Event) -> None:
    while not is_over.wait(RENEW_SECONDS):
        try:
            holder = _Holder.read(out)
            # A machine that slept finds another process's lease.
            if holder is not None and holder.token not in (None, lease.token):
                is_lost.set()
                os.kill(os.getpid(), signal.SIGINT)
                return
            out.write(LEASE, lease.to_bytes())
        except OSError:  # a full disk or an unavailable store: there are five attempts before the lease is void
            continue


def _process_start(pid: int) -> str | None:
    """Return when a process of this machine started, as the kernel says it; None where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError):
            return None
        return "alive"  # without /proc nothing more is known
    return stat.rpartition(")")[2].split()[19]
