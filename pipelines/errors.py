"""The error classes of the project, and functions that turn an error into one line of text.

The errors of the method are re-exported from `reconpatch.exceptions`. Importing this module loads neither torch, ray
nor pyarrow.
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

# The errors that an image itself can cause while it is read.
IMAGE_READ_ERRORS = (ImageError, OSError, MemoryError)

_OUT_OF_MEMORY = "Out of memory. Scale the image down or cut it into tiles."


class UsageError(ReconPatchError, ValueError):
    """An error of usage or input. The command prints it as one line and exits with code 2."""


class StoreUnavailableError(ReconPatchError):
    """An error of an object store that returned neither a file nor the information that the file does not exist.

    The file may be intact, so it must not count as unreadable. For this reason the class derives from neither OSError
    nor ValueError: handlers of these two treat the error as a property of one image.
    """


def cause_of(error: BaseException) -> BaseException:
    """Return the exception inside Ray's wrapper of a task error, or the error itself if it is not wrapped.

    Args:
        error: Any exception.
    """
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, BaseException) else error


def one_line(text: str) -> str:
    """Return a text with each line break, and the whitespace around it, replaced by one space.

    Args:
        text: Text of any number of lines; whitespace at both ends is removed.
    """
    return re.sub(r"\s*\n\s*", " ", text.strip())


def error_line(error: BaseException, *, limit: int = 500) -> str:
    """Return a description of an error in one line.

    The messages of this project's errors, of OSError and of ValueError are complete by themselves. For any other error
    the line starts with the type, because the message alone may be unclear (the message of a KeyError is the key).

    Args:
        error: Any exception. For the error of a Ray task, the exception that the task raised is described.
        limit: Maximum number of characters; a longer line is cut.

    Returns:
        One line without a line break at its end.
    """
    cause = cause_of(error)
    message = one_line(str(cause))
    if isinstance(cause, MemoryError):  # its message is usually empty
        message = _OUT_OF_MEMORY
    elif not message:
        message = type(cause).__name__
    elif not isinstance(cause, (ReconPatchError, OSError, ValueError)):
        message = f"{type(cause).__name__}: {message}"
    return message[:limit]
