"""More attempts per request to S3, also for file systems that are sent to other processes.

pyarrow's own pickling loses the retry strategy of a file system, which leaves pyarrow's default of three attempts.
"""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any

import pyarrow.fs as pafs

_ATTEMPTS = 6  # the wait doubles after each attempt, up to 15 s in total


def with_retries(filesystem: pafs.FileSystem) -> pafs.FileSystem:
    """Return an S3 file system with more attempts per request, a setting that pickling preserves.

    Args:
        filesystem: pyarrow file system of any kind.

    Returns:
        A new file system for S3; any other file system unchanged.
    """
    if not isinstance(filesystem, pafs.S3FileSystem):
        return filesystem
    rebuild, arguments = _reduced(filesystem)
    retrying: pafs.S3FileSystem = rebuild(*arguments)
    return retrying


def _retrying(options: dict[str, Any]) -> pafs.S3FileSystem:
    """Return a file system with more attempts; unpickling calls this function."""
    return pafs.S3FileSystem(**options, retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS))


def _reduced(filesystem: pafs.S3FileSystem) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Return the function and the arguments that rebuild a file system, for pickling."""
    return _retrying, filesystem.__reduce__()[1]


copyreg.pickle(pafs.S3FileSystem, _reduced)
