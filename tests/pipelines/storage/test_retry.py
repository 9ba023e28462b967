"""A store that refuses a few times in a row is asked again, by the driver and by those it sends a file system to."""

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

REFUSALS = 3  # as often as pyarrow asks by itself


class Refusing(BaseHTTPRequestHandler):
    asked = 0

    def do_HEAD(self) -> None:
        Refusing.asked += 1
        self.send_response(503 if Refusing.asked <= REFUSALS else 200)
        self.send_header("Content-Length", "0" if Refusing.asked <= REFUSALS else "7")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def store() -> Iterator[Store]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Refusing.asked = 0
    yield Store.of(f"s3://key:secret@lake/run?{options_of('127.0.0.1', server.server_port)}")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "sent", [lambda store: store, lambda store: pickle.loads(cloudpickle.dumps(store))], ids=["driver", "worker"]
)
def test_a_file_is_found_that_was_refused_three_times(store: Store, sent) -> None:  # type: ignore[no-untyped-def]
    assert sent(store).exists("x")
    assert Refusing.asked == REFUSALS + 1


def test_all_that_leads_to_the_store_is_kept(store: Store) -> None:
    again = pickle.loads(pickle.dumps(store)).filesystem
    assert isinstance(again, pafs.S3FileSystem)
    assert again == store.filesystem
    assert again.region == "us-east-1"
    assert again.__reduce__()[1] == store.filesystem.__reduce__()[1]


def test_others_stay_themselves() -> None:
    local = pafs.LocalFileSystem()
    assert with_retries(local) is local
