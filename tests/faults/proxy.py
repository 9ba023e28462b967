"""A proxy before an object store that is slow, refuses, and breaks off, as a seed says."""

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
class Weather:
    """What happens to a connection.

    Attributes:
        refused, broken: shares of the connections that are answered by 503, or reset after some bytes.
        delay: seconds that each waits.
        never: a part of a name: requests for what is so called are refused always.
    """

    refused: float = 0.0
    broken: float = 0.0
    delay: float = 0.0
    never: bytes = b""


@contextmanager
def proxied(host: str, port: int, weather: Weather, seed: int = 0) -> Iterator[int]:
    """Pass connections on to a store; yields the proxy's own port on loopback."""
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
            threading.Thread(target=_pass_on, args=(client, host, port, weather, draw), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        ended.set()
        server.close()


def _pass_on(client: socket.socket, host: str, port: int, weather: Weather, draw: float) -> None:
    time.sleep(weather.delay)
    with client, suppress(OSError):
        if draw < weather.refused:
            client.recv(65_536)
            client.sendall(_REFUSED)
            return
        breaks = draw < weather.refused + weather.broken
        with socket.create_connection((host, port)) as store:
            back = threading.Thread(target=_copy, args=(store, client, 2_000 if breaks else None), daemon=True)
            back.start()
            _copy(client, store, None, weather.never)
            back.join()


def _copy(source: socket.socket, target: socket.socket, limit: int | None, never: bytes = b"") -> None:
    """Bytes from one to the other until the end, or until so many have passed: then the connection is reset."""
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
