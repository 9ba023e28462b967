"""Object stores on loopback, as pyarrow's URIs name them, and what is copied into them."""

from __future__ import annotations

from pipelines.storage import Store


def options_of(host: str, port: int) -> str:
    """The options of a URI that lead to a store on loopback."""
    return f"endpoint_override={host}%3A{port}&scheme=http&region=us-east-1"


def copy_into(local: str, uri: str) -> None:
    """Every file of a local folder, under its own name."""
    source, target = Store.of(local), Store.of(uri)
    for info in source.files():
        target.write(source.name_of(info), source.read(source.name_of(info)))
