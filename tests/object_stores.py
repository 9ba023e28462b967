"""Object stores on loopback, as pyarrow's URIs name them, one in memory, and what is put into them."""

from __future__ import annotations

import pyarrow.fs as pafs

from pipelines.storage.store import Store


def options_of(host: str, port: int) -> str:
    """The options of a URI that lead to a store on loopback."""
    return f"endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"


def copy_into(local: str, uri: str, below: str = "") -> None:
    """Every file of a local folder, or of one in it, under its own name."""
    source, target = Store.of(local), Store.of(uri)
    for info in source.files(below):
        target.write(source.name_of(info), source.read(source.name_of(info)))


def remote() -> Store:
    """A store in memory that is not local, where a name may have dots."""
    return Store(pafs._MockFileSystem(), "lake", "mock://lake")


def put(store: Store, name: str, data: bytes = b"x") -> None:
    path = f"{store.root}/{name}"
    store.filesystem.create_dir(path.rpartition("/")[0])
    with store.filesystem.open_output_stream(path) as stream:
        stream.write(data)
