"""Object stores for tests: URIs of a store on the loopback interface, a store in memory, and functions to fill them."""

from __future__ import annotations

import pyarrow.fs as pafs

from pipelines.storage.store import Store


def options_of(host: str, port: int) -> str:
    """Return the options of a URI for an S3 store at an address on the loopback interface."""
    return f"endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"


def copy_into(local: str, uri: str, below: str = "") -> None:
    """Copy all files of a local folder, or of one below it, into a store under the same names."""
    source, target = Store.of(local), Store.of(uri)
    for info in source.files(below):
        target.write(source.name_of(info), source.read(source.name_of(info)))


def remote() -> Store:
    """Return a non-local store in memory. Names in it may contain dots."""
    return Store(pafs._MockFileSystem(), "lake", "mock://lake")


def put(store: Store, name: str, data: bytes = b"x") -> None:
    """Write a file to a store through its filesystem."""
    path = f"{store.root}/{name}"
    store.filesystem.create_dir(path.rpartition("/")[0])
    with store.filesystem.open_output_stream(path) as stream:
        stream.write(data)
