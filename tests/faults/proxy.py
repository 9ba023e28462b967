"""A proxy in front of an object store that delays, refuses and resets connections; a seed selects them."""

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
    """Faults of the connections to an object store.

    Attributes:
        refused: Share of the connections that are answered with status 503, 0 to 1.
        broken: Share of the connections that are reset after some bytes, 0 to 1.
        delay: Delay of each connection in seconds.
        never: Part of an object name; requests for names that contain it are always refused. Empty refuses none.
    """

    refused: float = 0.0
    broken: float = 0.0
    delay: float = 0.0
    never: bytes = b""


@contextmanager
def proxied(store_address: tuple[str, int], faults: StoreFaults, seed: int = 0) -> Iterator[int]:
    """Start a proxy that forwards connections to a store, and stop it at the end.

    Args:
        store_address: Host and port of the store.
        faults: Faults of the connections.
        seed: Seed of the choice of connections.

    Yields:
        Port of the proxy on the loopback interface.
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
    """Copy bytes until the source ends; reset the connection after `limit` bytes, refuse requests with `never`."""
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
