"""Folders on local disks and in object stores. A file that is written to one appears whole or not at all."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from pipelines.errors import StoreUnavailableError, UsageError, one_line
from pipelines.storage.listing import Contents, contents_of, is_absent
from pipelines.storage.redaction import redact
from pipelines.storage.retry import with_retries

_PART = ".part"
PARTIAL_FILE = re.compile(r"\..+\.[a-z0-9_]{8}\.part")  # the name of a file while it is written
# Errors of an object store contain one of these; errors of the Parquet reader do not.
_STORE_ERRORS = ("AWS Error", "google::cloud::Status", "Azure Error")
_PARALLEL_REQUESTS = 32
_LIST_SUFFIXES = (".csv", ".parquet")
_MAX_IMAGE_BYTES = 2_000_000_000  # 200 megapixels of four channels of 16 bits are 1.6 GB
# How object stores report, through pyarrow, that there is no such file, where pyarrow does not raise FileNotFoundError.
_NO_SUCH_FILE = ("AWS Error NO_SUCH_KEY", "AWS Error RESOURCE_NOT_FOUND", "Status(NOT_FOUND")
_T = TypeVar("_T")
_R = TypeVar("_R")


def is_unavailable(error: BaseException) -> bool:
    """Return whether a disk or an object store did not return a file that may be intact.

    pyarrow raises OSError for damaged files as well; of those the answer is False.
    """
    if isinstance(error, StoreUnavailableError):
        return True
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
        return False
    return error.errno is not None or any(words in str(error) for words in _STORE_ERRORS)


@dataclass(frozen=True)
class Store:
    """A folder on a local disk or in an object store, given by a path or a URI of pyarrow's filesystems.

    Names below it are '/'-separated. Objects of this class travel to Ray's workers.

    Attributes:
        filesystem: pyarrow's.
        root: path of the folder in the filesystem.
        uri: the path or URI that it was given by, without credentials.
        listed: of a data root, the file in it that lists the images; empty where the images are found by their folders.
    """

    filesystem: pafs.FileSystem
    root: str
    uri: str
    listed: str = ""

    @classmethod
    def of(cls, where: str) -> Store:
        """Return the folder that a path or URI names.

        Args:
            where: a path is made absolute, since Ray's workers have working directories of their own.

        Raises:
            UsageError: pyarrow does not understand the URI, or the name is not UTF-8.
        """
        if "://" not in where:
            path = _utf8(str(Path(where).resolve()))
            return cls(pafs.LocalFileSystem(), path, path)
        try:
            filesystem, root = pafs.FileSystem.from_uri(_utf8(where))
        except UnicodeDecodeError:
            raise UsageError(f"{redact(where)}: is not UTF-8; rename it.") from None
        except (pa.ArrowInvalid, OSError, NotImplementedError) as error:
            # The URI could not be parsed: everything before an '@' may be a secret, and pyarrow's message repeats it.
            shown = redact(re.sub(r"://.*@", "://***@", where, flags=re.DOTALL))
            raise UsageError(f"{shown}: {one_line(str(error).replace(where, shown))[:200]}") from None
        return cls(with_retries(filesystem), root.rstrip("/"), redact(where))

    @classmethod
    def of_data(cls, where: str) -> Store:
        """Return the data root that a path or URI names.

        Args:
            where: a folder of images, or a list of images (a CSV or Parquet file), whose folder is the root then.

        Raises:
            UsageError: as `of`.
        """
        path, mark, options = where.partition("?") if "://" in where else (where, "", "")
        folder, slash, name = path.rpartition("/")
        if not name.lower().endswith(_LIST_SUFFIXES):
            return cls.of(where)
        listed = unquote(name) if "://" in where else _utf8(name)
        return replace(cls.of(f"{folder or slash or '.'}{mark}{options}"), listed=listed)

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a disk of this machine, or one that is mounted."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def below(self, name: str) -> Store:
        """Return a folder in this one. Raises UsageError as `path`."""
        return Store(self.filesystem, self.path(name), f"{self.uri.partition('?')[0].rstrip('/')}/{name}")

    def path(self, name: str = "") -> str:
        """Return the path of a file or folder in the filesystem.

        Args:
            name: below this folder; empty for the folder itself.

        Raises:
            UsageError: the name leads out of the folder. Some names come from files that others have written.
        """
        if ".." in name and ".." in name.split("/"):
            raise UsageError(f"{name!a}: a name with '..' leads out of {self.uri}; it is not followed.")
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str) -> bytes:
        """Return the contents of a file. Raises OSError where it is not there or cannot be read."""
        with self.filesystem.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
        return data

    def read_picture(self, name: str) -> bytes:
        """Return the contents of an image file, which anybody may have put there: pipes and huge files are rejected.

        Raises:
            StoreUnavailableError: the object store could not return the file.
            OSError: the file is not there, cannot be read, or is too large.
        """
        path = self.path(name)
        if self.is_local and os.path.exists(path) and not os.path.isfile(path):
            raise OSError("It is no file but a folder, a pipe or a device; put the picture there.")
        try:
            with self.filesystem.open_input_file(path) as file:
                size = file.size()
                data: bytes = file.read() if size <= _MAX_IMAGE_BYTES else b""
        except (OSError, pa.ArrowException) as error:
            if self.is_local or isinstance(error, FileNotFoundError):
                raise
            if any(words in str(error) for words in _NO_SUCH_FILE):
                raise FileNotFoundError(f"There is no such file any more: {error}") from error
            raise StoreUnavailableError(
                f"The object store could not return the file; retry when it is reachable. It reports: {error}"
            ) from error
        if size > _MAX_IMAGE_BYTES:
            raise OSError(
                f"The file has {size / 1e9:.1f} GB, above the limit of {_MAX_IMAGE_BYTES / 1e9:g} GB; scale the "
                "picture down or cut it into tiles."
            )
        return data

    def read_json(self, name: str) -> Any:
        """Return the JSON value that a file holds, or None where there is no such file.

        Raises:
            UsageError: the file is no JSON.
        """
        if not self.exists(name):
            return None
        if not self.is_local:
            # An object that is replaced between the request for its size and that for its bytes comes torn: read again.
            with suppress(ValueError, RecursionError):
                return json.loads(self.read(name))
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            sentence = f"{self.below(name).uri}: is no JSON, or a damaged one ({error}); put it back from a copy."
            raise UsageError(sentence) from error

    def exists(self, name: str) -> bool:
        """Return whether there is a file of that name; a folder is none."""
        try:
            is_file: bool = self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File
        except OSError as error:
            if is_absent(error):  # a name that is too long for any file
                return False
            raise
        return is_file

    def holds_something(self) -> bool:
        """Return whether the folder exists and is not empty."""
        selector = pafs.FileSelector(self.path(), allow_not_found=True)
        return bool(self.filesystem.get_file_info(selector))

    def files(self, folder: str = "", *, recursive: bool = True) -> list[pafs.FileInfo]:
        """Return the files below a folder, sorted by path; none where there is no such folder.

        Args:
            folder: below this one; empty for this one.
            recursive: whether files at any depth are returned, or only those directly in the folder.
        """
        return list(self.contents(folder, recursive=recursive).files)

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders directly in a folder, sorted."""
        return [info.base_name for info in self.contents(folder, recursive=False).folders]

    def contents(self, folder: str = "", *, recursive: bool = True) -> Contents:
        """Return files and folders as `files`, with those that cannot be read by name."""
        return contents_of(self.filesystem, self.path(folder), recursive=recursive)

    def name_of(self, info: pafs.FileInfo) -> str:
        """Return the name, below this folder, of a file that it has listed."""
        name: str = info.path[len(self.root) + 1 :]
        return name

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file whole: locally under another name, fsync, rename; to an object store in one upload."""
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path(name)) as stream:
                stream.write(data)
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=_PART)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(partial, 0o644)
            os.replace(partial, path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def write_json(self, name: str, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """Write a value as indented JSON, as `write`."""
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Remove a file, if there is one of that name."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def remove_folder(self, name: str = "") -> None:
        """Remove a folder and everything in it, if there is one of that name."""
        if self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))


def _utf8(where: str) -> str:
    """Return a path or URI unchanged; raise UsageError where it is not UTF-8."""
    try:
        where.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{redact(where)!a}: is not UTF-8; rename it.") from None
    return where


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return the results of work that waits for files, done for many items at once.

    An object store answers each request after tens of milliseconds, however many requests there are.

    Args:
        work: called with an item, in one of many threads.
        items: one a call.
    """
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        return list(pool.map(work, items))


def named_below(where: str, name: str) -> str:
    """Return the path or URI of a folder in another one.

    Args:
        where: the other folder; the options of a URI, credentials included, are kept.
        name: of the folder in it.
    """
    path, mark, options = where.partition("?") if "://" in where else (where, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{options}"
