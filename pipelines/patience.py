"""An object store that refuses is asked again: pyarrow gives up after three times where a file system has travelled."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

import pyarrow.fs as pafs

_ATTEMPTS = 6  # the waits between them double: a quarter of a minute in all


def patient(filesystem: pafs.FileSystem) -> pafs.FileSystem:
    """The same file system, which asks six times; of another kind than S3, itself.

    So does what has travelled to another process: pyarrow's own way of sending it forgets how often.
    """
    if not isinstance(filesystem, pafs.S3FileSystem):
        return filesystem
    rebuild, arguments = _reduced(filesystem)
    found: pafs.S3FileSystem = rebuild(*arguments)
    return found


def _asking(options: dict[str, Any]) -> pafs.S3FileSystem:
    return pafs.S3FileSystem(**options, retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS))


def _reduced(filesystem: pafs.S3FileSystem) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return _asking, filesystem.__reduce__()[1]


copyreg.pickle(pafs.S3FileSystem, _reduced)
