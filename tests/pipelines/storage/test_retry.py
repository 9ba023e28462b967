"""Retries of requests to an object store, in the driver and in processes that receive a file system."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cloudpickle
import pyarrow.fs as pafs
import pytest

from pipelines.storage.retry import with_retries
from pipelines.storage.store import Store
from tests.object_stores import options_of

REFUSALS = 3  # pyarrow makes three attempts by default


class Refusing(BaseHTTPRequestHandler):
    requests = 0

    def do_HEAD(self) -> None:
        Refusing.requests += 1
        self.send_response(503 if Refusing.requests <= REFUSALS else 200)
        self.send_header("Content-Length", "0" if Refusing.requests <= REFUSALS else "7")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Refusing.requests = 0
    yield Store.of(f"s3://key:secret@lake/run?{options_of('127.0.0.1', server.server_port)}")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "sent", [lambda store: store, lambda store: pickle.loads(cloudpickle.dumps(store))], ids=["driver", "worker"]
)
def test_a_request_that_fails_three_times_is_retried(store: Store, sent) -> None:  # type: ignore[no-untyped-def]
    assert sent(store).exists("x")
    assert Refusing.requests == REFUSALS + 1


def test_pickling_keeps_the_options_of_a_file_system(store: Store) -> None:
    copy = pickle.loads(pickle.dumps(store)).filesystem
    assert isinstance(copy, pafs.S3FileSystem)
    assert copy == store.filesystem
    assert copy.region == "us-east-1"
    assert copy.__reduce__()[1] == store.filesystem.__reduce__()[1]


def test_other_file_systems_are_not_changed() -> None:
    local = pafs.LocalFileSystem()
    assert with_retries(local) is local
