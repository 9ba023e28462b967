"""Folders on local disks and in object stores. A file is written completely or not at all."""

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
PARTIAL_FILE = re.compile(r"\..+\.[a-z0-9_]{8}\.part")  # name of a file during writing
# Messages of object store errors contain one of these texts; messages of the Parquet reader do not.
_STORE_ERRORS = ("AWS Error", "google::cloud::Status", "Azure Error")
_PARALLEL_REQUESTS = 32  # each request to an object store takes tens of milliseconds
_LIST_SUFFIXES = (".csv", ".parquet")
_MAX_IMAGE_BYTES = 2_000_000_000  # 200 megapixels with four 16-bit channels take 1.6 GB
# Messages for files that do not exist, from object stores for which pyarrow does not raise FileNotFoundError.
_NO_SUCH_FILE = ("AWS Error NO_SUCH_KEY", "AWS Error RESOURCE_NOT_FOUND", "Status(NOT_FOUND")
_T = TypeVar("_T")
_R = TypeVar("_R")


def is_unavailable(error: BaseException) -> bool:
    """Return whether an error means that a disk or an object store did not return a file, which may be intact.

    Args:
        error: Error while reading a file; False is returned if the file does not exist or is damaged.
    """
    if isinstance(error, StoreUnavailableError):
        return True
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
        return False
    return error.errno is not None or any(words in str(error) for words in _STORE_ERRORS)


@dataclass(frozen=True)
class Store:
    """A folder on a local disk or in an object store, given by a path or a URI that pyarrow supports.

    Instances are sent to Ray workers. Names below the folder use '/' as separator. Methods that take a name raise
    UsageError if it has the component '..', which can lead out of the folder: names may come from untrusted files.

    Attributes:
        filesystem: pyarrow file system.
        root: Path of the folder in the file system.
        uri: Path or URI of the folder, without credentials.
        listed: For a data root, name of the file in it that lists the images; empty if the images are found in folders.
    """

    filesystem: pafs.FileSystem
    root: str
    uri: str
    listed: str = ""

    @classmethod
    def of(cls, where: str) -> Store:
        """Return the folder at a path or URI; it need not exist.

        Args:
            where: Path or URI. A path is made absolute, because Ray workers have other working directories.

        Raises:
            UsageError: pyarrow does not support the URI, or the name is not valid UTF-8.
        """
        if "://" not in where:
            path = _utf8(str(Path(where).resolve()))
            return cls(pafs.LocalFileSystem(), path, path)
        try:
            filesystem, root = pafs.FileSystem.from_uri(_utf8(where))
        except UnicodeDecodeError:
            raise UsageError(f"{redact(where)} is not valid UTF-8. Rename it.") from None
        except (pa.ArrowInvalid, OSError, NotImplementedError) as error:
            # In a URI that cannot be parsed, all text before an '@' may be a secret, and pyarrow's message repeats it.
            shown = redact(re.sub(r"://.*@", "://***@", where, flags=re.DOTALL))
            raise UsageError(f"{shown}: {one_line(str(error).replace(where, shown))[:200]}") from None
        return cls(with_retries(filesystem), root.rstrip("/"), redact(where))

    @classmethod
    def of_data(cls, where: str) -> Store:
        """Return the data root at a path or URI.

        Args:
            where: Folder with images, or list of images (a CSV or Parquet file), whose folder is the root.
        """
        path, mark, options = where.partition("?") if "://" in where else (where, "", "")
        folder, slash, name = path.rpartition("/")
        if not name.lower().endswith(_LIST_SUFFIXES):
            return cls.of(where)
        listed = unquote(name) if "://" in where else _utf8(name)
        return replace(cls.of(f"{folder or slash or '.'}{mark}{options}"), listed=listed)

    @property
    def is_local(self) -> bool:
        """Whether the folder is on a local or mounted disk."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def below(self, name: str) -> Store:
        """Return a folder below this one; it need not exist.

        Args:
            name: Name of the folder below this one.
        """
        return Store(self.filesystem, self.path(name), f"{self.uri.partition('?')[0].rstrip('/')}/{name}")

    def path(self, name: str = "") -> str:
        """Return the path of a file or folder in the file system.

        Args:
            name: Name below this folder; empty for the folder itself. In the root of an image list, an absolute path
                or a full URI is accepted, because a list can name files anywhere.
        """
        if ".." in name and ".." in name.split("/"):
            raise UsageError(f"{name!a}: a name with the component '..' can lead out of {self.uri}. Rename it.")
        if self.listed and (name.startswith("/") or "://" in name):
            return name.partition("://")[2] or name
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str) -> bytes:
        """Return the contents of a file; raise OSError if it does not exist or cannot be read.

        Args:
            name: Name of the file below this folder.
        """
        with self.filesystem.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
        return data

    def read_picture(self, name: str) -> bytes:
        """Return the contents of an image file; pipes, devices and files above 2 GB are rejected.

        Args:
            name: Name of the file below this folder.

        Raises:
            StoreUnavailableError: The object store could not return the file.
            OSError: The file does not exist, cannot be read or is too large.
        """
        path = self.path(name)
        if self.is_local and os.path.exists(path) and not os.path.isfile(path):
            raise OSError("It is not a file but a folder, a pipe or a device. Replace it with an image file.")
        try:
            with self.filesystem.open_input_file(path) as file:
                size = file.size()
                data: bytes = file.read() if size <= _MAX_IMAGE_BYTES else b""
        except (OSError, pa.ArrowException) as error:
            if self.is_local or isinstance(error, FileNotFoundError):
                raise
            if any(words in str(error) for words in _NO_SUCH_FILE):
                raise FileNotFoundError(f"The file no longer exists: {error}") from error
            raise StoreUnavailableError(
                f"The object store could not return the file. Retry when it is reachable. It reported: {error}"
            ) from error
        if size > _MAX_IMAGE_BYTES:
            raise OSError(
                f"The file has {size / 1e9:.1f} GB, above the limit of {_MAX_IMAGE_BYTES / 1e9:g} GB. Scale the image "
                "down or cut it into tiles."
            )
        return data

    def read_json(self, name: str) -> Any:
        """Return the JSON value in a file; None if the file does not exist.

        Args:
            name: Name of the file below this folder.

        Raises:
            UsageError: The file does not contain valid JSON.
        """
        if not self.exists(name):
            return None
        if not self.is_local:
            # If the object is replaced between the requests for its size and for its bytes, the read bytes are invalid.
            with suppress(ValueError, RecursionError):
                return json.loads(self.read(name))
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            sentence = f"{self.below(name).uri} is damaged or not a JSON file ({error}). Restore it from a backup."
            raise UsageError(sentence) from error

    def exists(self, name: str) -> bool:
        """Return whether a file exists; a folder does not count as a file.

        Args:
            name: Name of the file below this folder.
        """
        try:
            return bool(self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File)
        except OSError as error:
            if is_absent(error):  # a name that is too long for any file
                return False
            raise

    def holds_something(self) -> bool:
        """Return whether the folder exists and is not empty."""
        selector = pafs.FileSelector(self.path(), allow_not_found=True)
        return bool(self.filesystem.get_file_info(selector))

    def files(self, folder: str = "", *, recursive: bool = True) -> list[pafs.FileInfo]:
        """Return the files below a folder, sorted by path; none if the folder does not exist.

        Args:
            folder: Name of the folder below this one; empty for this one.
            recursive: Whether to return files at any depth, or only those directly in the folder.
        """
        return list(self.contents(folder, recursive=recursive).files)

    def folders(self, folder: str = "") -> list[str]:
        """Return the names of the folders directly in a folder, sorted, without the path to them.

        Args:
            folder: Name of the folder below this one; empty for this one.
        """
        return [info.base_name for info in self.contents(folder, recursive=False).folders]

    def contents(self, folder: str = "", *, recursive: bool = True) -> Contents:
        """Return the files and folders below a folder, including those whose names cannot be used.

        Args:
            folder: Name of the folder below this one; empty for this one.
            recursive: Whether to list files and folders at any depth, or only those directly in the folder.
        """
        return contents_of(self.filesystem, self.path(folder), recursive=recursive)

    def name_of(self, info: pafs.FileInfo) -> str:
        """Return the name of a file below this folder.

        Args:
            info: File information from `files` or `contents`.
        """
        return str(info.path[len(self.root) + 1 :])

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file completely or not at all: a local file under a temporary name, an object in one upload.

        Args:
            name: Name of the file below this folder; its folders are created.
            data: Contents of the file.
        """
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
        """Write a value as indented JSON, in the same way as `write`.

        Args:
            name: Name of the file below this folder.
            value: Value that `json.dumps` accepts.
        """
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Remove a file, if it exists.

        Args:
            name: Name of the file below this folder.
        """
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def remove_folder(self, name: str = "") -> None:
        """Remove a folder and everything in it, if it exists.

        Args:
            name: Name of the folder below this one; empty for this one.
        """
        if self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))


def _utf8(where: str) -> str:
    """Return a path or URI unchanged; raise UsageError if it is not valid UTF-8."""
    try:
        where.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{redact(where)!a} is not valid UTF-8. Rename it.") from None
    return where


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Return the results of a function for many items, called concurrently.

    Args:
        work: Function of one item that waits for files; it is called in several threads.
        items: Arguments of the calls; the results have the same order.
    """
    with ThreadPoolExecutor(_PARALLEL_REQUESTS) as pool:
        return list(pool.map(work, items))


def named_below(where: str, name: str) -> str:
    """Return the path or URI of a folder in another folder.

    Args:
        where: Path or URI of the other folder. The options of a URI, including credentials, are kept.
        name: Name of the folder in it.
    """
    path, mark, options = where.partition("?") if "://" in where else (where, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{options}"
