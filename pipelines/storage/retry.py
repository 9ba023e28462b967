"""More retries of requests to S3: pyarrow makes three attempts once a file system was sent to another process."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

import pyarrow.fs as pafs

_ATTEMPTS = 6  # waits between them double: 15 s in all


def with_retries(filesystem: pafs.FileSystem) -> pafs.FileSystem:
    """Return the file system with more attempts per request; other kinds than S3 are returned unchanged.

    The setting holds in other processes too: pyarrow's own pickling loses it.
    """
    if not isinstance(filesystem, pafs.S3FileSystem):
        return filesystem
    rebuild, arguments = _reduced(filesystem)
    retrying: pafs.S3FileSystem = rebuild(*arguments)
    return retrying


def _retrying(options: dict[str, Any]) -> pafs.S3FileSystem:
    return pafs.S3FileSystem(**options, retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS))


def _reduced(filesystem: pafs.S3FileSystem) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return _retrying, filesystem.__reduce__()[1]


copyreg.pickle(pafs.S3FileSystem, _reduced)
