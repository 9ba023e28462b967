"""A proxy in front of an object store that delays, refuses and resets connections, reproducibly by a seed."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class StoreFaults:
    """What happens to connections.

    Attributes:
        refused: share of the connections that are answered with 503.
        broken: share of the connections that are reset after some bytes.
        delay: seconds of delay of each connection.
        never: part of a name; requests for names that contain it are always refused.
    """

    refused: float = 0.0
    broken: float = 0.0
    delay: float = 0.0
    never: bytes = b""


@contextmanager
def proxied(store_address: tuple[str, int], faults: StoreFaults, seed: int = 0) -> Iterator[int]:
    """Forward connections to a store; yields the proxy's own port on loopback.

    Args:
        store_address: host and port of the store.
        faults: of the connections.
        seed: of the choice of connections.
    """
    chance = random.Random(seed)
    server = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                client, _ = server.accept()
            except OSError:
                return
            draw = chance.random()
            threading.Thread(target=_forward, args=(client, store_address, faults, draw), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        ended.set()
        server.close()


def _forward(client: socket.socket, store_address: tuple[str, int], faults: StoreFaults, draw: float) -> None:
    time.sleep(faults.delay)
    with client, suppress(OSError):
        if draw < faults.refused:
            client.recv(65_536)
            client.sendall(_REFUSED)
            return
        breaks = draw < faults.refused + faults.broken
        with socket.create_connection(store_address) as store:
            back = threading.Thread(target=_copy, args=(store, client, 2_000 if breaks else None), daemon=True)
            back.start()
            _copy(client, store, None, faults.never)
            back.join()


def _copy(source: socket.socket, target: socket.socket, limit: int | None, never: bytes = b"") -> None:
    """Copy bytes until the end, or until the limit is passed: then the connection is reset."""
    passed = 0
    with suppress(OSError):
        while data := source.recv(65_536):
            if never and never in data.partition(b"\r\n")[0]:
                source.sendall(_REFUSED)
                source.shutdown(socket.SHUT_RDWR)
                return
            passed += len(data)
            if limit is not None and passed > limit:
                target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                target.close()
                return
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
