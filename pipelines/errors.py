"""Every error class of the project, and the one way from an error to a line for people.

The method's own errors are re-exported from `reconpatch.exceptions`. Importing this module loads neither torch, ray nor
pyarrow.
"""

from __future__ import annotations

import re

from reconpatch.exceptions import BackboneError, ExportError, ImageError, ModelError, ReconPatchError

__all__ = [
    "IMAGE_READ_ERRORS",
    "BackboneError",
    "ExportError",
    "ImageError",
    "ModelError",
    "ReconPatchError",
    "StoreUnavailableError",
    "UsageError",
    "cause_of",
    "error_line",
    "one_line",
]

# What reading an image may raise because of the image itself.
IMAGE_READ_ERRORS = (ImageError, OSError, MemoryError)

_OUT_OF_MEMORY = "It takes more memory than there is; scale the picture down or cut it into tiles."


class UsageError(ReconPatchError, ValueError):
    """Bad usage or input: one line for the user, exit code 2."""


class StoreUnavailableError(ReconPatchError):
    """An object store returned neither a file nor the information that the file does not exist.

    The file may be intact, so it must not count as unreadable: this is no OSError and no ValueError, since those are
    caught as a property of a single picture.
    """


def cause_of(error: BaseException) -> BaseException:
    """Return the exception that a Ray task raised, without Ray's wrapper; any other error unchanged."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def one_line(text: str) -> str:
    """Return text with every line break, and the whitespace around it, replaced by one space."""
    return re.sub(r"\s*\n\s*", " ", text.strip())


def error_line(error: BaseException, *, limit: int = 500) -> str:
    """Return what went wrong in one line.

    Errors of this project, OSError and ValueError have messages written for people; of any other error the type is
    named as well, since its message alone may say nothing (a KeyError's is the key).

    Args:
        error: a Ray task's error is described by what the task raised.
        limit: number of characters after which the line is cut.
    """
    cause = cause_of(error)
    message = one_line(str(cause))
    if isinstance(cause, MemoryError):  # mostly without a message
        message = _OUT_OF_MEMORY
    elif not message:
        message = type(cause).__name__
    elif not isinstance(cause, (ReconPatchError, OSError, ValueError)):
        message = f"{type(cause).__name__}: {message}"
    return message[:limit]
