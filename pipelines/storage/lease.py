"""Lease of a run directory, which allows only one process at a time to work in it.

The lease is a file that identifies its process. It expires if the process has ended, or if a process on another host
has not renewed it for five minutes.
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
    """Process that holds a lease.

    Attributes:
        token: Identifier of the lease; two leases of the same process differ.
        host: Name of the machine.
        pid: Process ID.
        started: Start time of the process as reported by the kernel; None if it is not available.
        renewed: Time of the last renewal, in seconds since the epoch.
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
        """Return the holder of a folder's lease; None if there is no lease or the file is damaged.

        Args:
            out: Run directory.
        """
        try:
            lease = out.read_json(LEASE)
            return cls(
                token=lease.get("token"),
                host=lease.get("host"),
                pid=int(lease["pid"]),
                started=lease.get("started"),
                renewed=float(lease["renewed"]),
            )
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError):  # cut off by a killed process
            return None

    def to_bytes(self) -> bytes:
        """Return the contents of the lease file, renewed now."""
        return (json.dumps({**asdict(self), "renewed": time.time()}, indent=2) + "\n").encode()

    @property
    def is_void(self) -> bool:
        """Whether another process may take the lease over."""
        if self.host == socket.gethostname():
            started = _process_start(self.pid)
            return started is None or started != self.started
        # A renewal time far in the future also makes the lease void: clocks differ by less than that.
        return not abs(time.time() - self.renewed) <= VOID_SECONDS


@contextmanager
def leased(out: Store, *, wait: bool = False) -> Iterator[None]:
    """Hold the lease of a run directory while the block runs.

    A thread renews the lease every minute. Partial files of killed processes are removed before and after the block.

    Args:
        out: Run directory.
        wait: Whether to wait until another process releases the lease, instead of raising UsageError.

    Yields:
        Nothing; the lease is held inside the block.

    Raises:
        UsageError: Another process holds the lease, or took it over because this process did not renew it. The message
            contains host and ID of the other process.
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
            f"{out.uri} was taken over by {_process(_Holder.read(out))}, because this process did not renew its "
            f"lease for {VOID_SECONDS:.0f} seconds. This process stops; its finished results are kept."
        ) from None
    finally:
        is_over.set()
        renewing.join()
        holder = _Holder.read(out)
        if holder is not None and holder.token == lease.token:
            remove_partial_files(out)
            out.remove(LEASE)


def _take(out: Store, lease: _Holder) -> None:
    """Write the lease file; raise UsageError if another process holds the lease."""
    holder = _Holder.read(out)
    if holder is not None and not holder.is_void:
        raise _in_use(out, holder)
    lease_exists = out.exists(LEASE)
    if out.is_local:
        path = Path(out.path(LEASE))
        path.parent.mkdir(parents=True, exist_ok=True)
        if lease_exists:
            path.unlink(missing_ok=True)
        try:
            with path.open("xb") as file:  # if two processes create it at once, one fails
                file.write(lease.to_bytes())
        except FileExistsError:
            raise _in_use(out, _Holder.read(out)) from None
        if not lease_exists:
            return
    else:
        out.write(LEASE, lease.to_bytes())
    # Two processes may take over the same void lease, or write to an object store, at the same time. After this pause
    # both have written, and the file contains the lease of only one of them.
    time.sleep(_SETTLE_SECONDS)
    holder = _Holder.read(out)
    if holder is None or holder.token != lease.token:
        raise _in_use(out, holder)


def _in_use(out: Store, holder: _Holder | None) -> UsageError:
    """Return the error for a run directory whose lease another process holds."""
    return UsageError(f"{out.uri} is in use by {_process(holder)}. Wait until that process ends, or stop it.")


def _process(holder: _Holder | None) -> str:
    return "another process" if holder is None else f"process {holder.pid} on {holder.host}"


def _renew(out: Store, lease: _Holder, is_over: threading.Event, is_lost: threading.Event) -> None:
    """Renew the lease until `is_over`; interrupt this process if another process has taken the lease over."""
    while not is_over.wait(RENEW_SECONDS):
        try:
            holder = _Holder.read(out)
            # Another process may have taken the lease over while this machine was suspended.
            if holder is not None and holder.token not in (None, lease.token):
                is_lost.set()
                os.kill(os.getpid(), signal.SIGINT)
                return
            out.write(LEASE, lease.to_bytes())
        except OSError:  # disk full or store unavailable: several renewals can fail before the lease is void
            continue


def _process_start(pid: int) -> str | None:
    """Return the start time of a process on this machine as reported by the kernel; None if it does not exist."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:
            os.kill(pid, 0)
        except (OSError, OverflowError):
            return None
        return "alive"  # without /proc the start time is not available
    return stat.rpartition(")")[2].split()[19]
