"""Folders on local disks and object stores, and files in them that appear whole or not at all."""

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

from pipelines.listing import Contents, contents_of, is_absent
from pipelines.patience import patient
from pipelines.secrets import masked
from pipelines.usage import UsageError

_PART = ".part"
ASIDE = re.compile(r"\..+\.[a-z0-9_]{8}\.part")  # what a file is called while it is written
# What an error has in it that an object store has passed on, and no reader of Parquet has made.
_PASSED_ON = ("AWS Error", "google::cloud::Status", "Azure Error")
_REQUESTS = 32
_LISTS = (".csv", ".parquet")
_LARGEST_PICTURE = 2_000_000_000  # bytes; 200 megapixels of four channels of 16 bits are 1.6 GB
# How object stores tell, through pyarrow, that there is no such file, where it does not say so itself.
_GONE = ("AWS Error NO_SUCH_KEY", "AWS Error RESOURCE_NOT_FOUND", "Status(NOT_FOUND")
_T = TypeVar("_T")
_R = TypeVar("_R")


class UnansweredError(Exception):
    """An object store did not give a picture, and did not say that there is none: nothing is known of it, least of all
    that it cannot be read. No OSError, since many are taken for a picture's own matter."""


def is_withheld(error: Exception) -> bool:
    """Whether a disk or an object store did not give a file that may well be whole; of pyarrow, a damaged one is an
    OSError too."""
    if isinstance(error, UnansweredError):
        return True
    if not isinstance(error, OSError) or isinstance(error, FileNotFoundError):
        return False
    return error.errno is not None or any(words in str(error) for words in _PASSED_ON)


@dataclass(frozen=True)
class Store:
    """A folder that may be on a local disk or in an object store, named by a path or a URI of pyarrow's filesystems.

    Names below it are '/'-separated. Objects of this class travel to Ray's workers.

    Attributes:
        filesystem: pyarrow's.
        root: the folder's path there.
        uri: what it was named by, credentials masked.
        listed: of images, the file in it that lists them; empty where its folders say what they are.
    """

    filesystem: pafs.FileSystem
    root: str
    uri: str
    listed: str = ""

    @classmethod
    def of(cls, where: str) -> Store:
        """The folder of a path (made absolute: Ray's workers have working directories of their own) or URI.

        Raises:
            UsageError: a URI that pyarrow does not know, a name that is not UTF-8.
        """
        if "://" not in where:
            path = _utf8(str(Path(where).resolve()))
            return cls(pafs.LocalFileSystem(), path, path)
        try:
            filesystem, root = pafs.FileSystem.from_uri(_utf8(where))
        except UnicodeDecodeError:
            raise UsageError(f"{masked(where)}: is not UTF-8; rename it.") from None
        except (pa.ArrowInvalid, OSError, NotImplementedError) as error:
            # It has not been understood: all that stands before an '@' may be a secret, and pyarrow says it again.
            shown = masked(re.sub(r"://.*@", "://***@", where, flags=re.DOTALL))
            raise UsageError(f"{shown}: {' '.join(str(error).replace(where, shown).split())[:200]}") from None
        return cls(patient(filesystem), root.rstrip("/"), masked(where))

    @classmethod
    def of_data(cls, where: str) -> Store:
        """The root of images: a folder, or that of a list of them, a CSV or Parquet file.

        Raises:
            UsageError: as `of`.
        """
        place, mark, options = where.partition("?") if "://" in where else (where, "", "")
        folder, slash, name = place.rpartition("/")
        if not name.lower().endswith(_LISTS):
            return cls.of(where)
        listed = unquote(name) if "://" in where else _utf8(name)
        return replace(cls.of(f"{folder or slash or '.'}{mark}{options}"), listed=listed)

    @property
    def is_local(self) -> bool:
        """Whether it is on a disk of this machine, or one that it has mounted."""
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    def below(self, name: str) -> Store:
        """A folder in this one. Raises UsageError as `path`."""
        return Store(self.filesystem, self.path(name), f"{self.uri.partition('?')[0].rstrip('/')}/{name}")

    def path(self, name: str = "") -> str:
        """Raises UsageError for a name that leads out of the folder: some are from files that others have written."""
        if ".." in name and ".." in name.split("/"):
            raise UsageError(f"{name!a}: a name with '..' leads out of {self.uri}; it is not followed.")
        return f"{self.root}/{name}" if name else self.root

    def read(self, name: str) -> bytes:
        """The whole file. Raises OSError where it is not there or cannot be read."""
        with self.filesystem.open_input_file(self.path(name)) as file:
            data: bytes = file.read()
        return data

    def read_picture(self, name: str) -> bytes:
        """As `read`, of what anybody may have put there: nothing is waited for, and memory is not filled.

        Raises:
            UnansweredError: the object store does not give it.
            OSError: the file is not there, cannot be read, or is too large.
        """
        path = self.path(name)
        if self.is_local and os.path.exists(path) and not os.path.isfile(path):
            raise OSError("It is no file but a folder, a pipe or a device; put the picture there.")
        try:
            with self.filesystem.open_input_file(path) as file:
                size = file.size()
                data: bytes = file.read() if size <= _LARGEST_PICTURE else b""
        except (OSError, pa.ArrowException) as error:
            if self.is_local or isinstance(error, FileNotFoundError):
                raise
            if any(words in str(error) for words in _GONE):
                raise FileNotFoundError(f"There is no such file any more: {error}") from error
            sentence = f"The object store does not give it; call again when it does. It says: {error}"
            raise UnansweredError(sentence) from error
        if size > _LARGEST_PICTURE:
            raise OSError(
                f"The file has {size / 1e9:.1f} GB, above the limit of {_LARGEST_PICTURE / 1e9:g} GB; scale the "
                "picture down or cut it into tiles."
            )
        return data

    def read_json(self, name: str) -> Any:
        """The file's JSON, or None where there is no such file.

        Raises:
            UsageError: it is none.
        """
        if not self.exists(name):
            return None
        if not self.is_local:
            # Replaced between the question for its size and that for its bytes, an object comes torn: once more, then.
            with suppress(ValueError, RecursionError):
                return json.loads(self.read(name))
        try:
            return json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            sentence = f"{self.below(name).uri}: is no JSON, or a damaged one ({error}); put it back from a copy."
            raise UsageError(sentence) from error

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name; a folder is none."""
        try:
            found: bool = self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.File
        except OSError as error:
            if is_absent(error):  # a name that is too long for any file
                return False
            raise
        return found

    def holds_something(self) -> bool:
        """Whether anything lies in the folder, if it is there at all."""
        selector = pafs.FileSelector(self.path(), allow_not_found=True)
        return bool(self.filesystem.get_file_info(selector))

    def files(self, folder: str = "", *, recursive: bool = True) -> list[pafs.FileInfo]:
        """All files below a folder, at any depth or right in it, sorted by path; none where there is no such folder."""
        return list(self.contents(folder, recursive=recursive).files)

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders in a folder, sorted."""
        return [info.base_name for info in self.contents(folder, recursive=False).folders]

    def contents(self, folder: str = "", *, recursive: bool = True) -> Contents:
        """What lies in a folder, at any depth or right in it, with what is odd about it."""
        return contents_of(self.filesystem, self.path(folder), recursive=recursive)

    def name_of(self, info: pafs.FileInfo) -> str:
        """A listed file's name below this folder."""
        name: str = info.path[len(self.root) + 1 :]
        return name

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Locally: aside, fsync, rename. On an object store: one upload of what is already serialised."""
        if not self.is_local:
            with self.filesystem.open_output_stream(self.path(name)) as stream:
                stream.write(data)
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:80]}.", suffix=_PART)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise

    def write_json(self, name: str, value: Mapping[str, Any] | Sequence[Any]) -> None:
        """As `write`, indented for people."""
        self.write(name, json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n")

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        if self.exists(name):
            self.filesystem.delete_file(self.path(name))

    def remove_folder(self, name: str = "") -> None:
        """Remove a folder and all in it, if it is there."""
        if self.filesystem.get_file_info(self.path(name)).type == pafs.FileType.Directory:
            self.filesystem.delete_dir(self.path(name))


def _utf8(where: str) -> str:
    """A path or URI as it is; raises UsageError where it holds bytes that are not UTF-8."""
    try:
        where.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{masked(where)!a}: is not UTF-8; rename it.") from None
    return where


def side_by_side(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Work that waits for files, on many items at once: an object store answers each request after tens of
    milliseconds, however many there are."""
    with ThreadPoolExecutor(_REQUESTS) as pool:
        return list(pool.map(work, items))


def named_below(where: str, name: str) -> str:
    """The path or URI of a folder in another one; a URI keeps its options, credentials and all, at its end."""
    place, mark, options = where.partition("?") if "://" in where else (where, "", "")
    return f"{place.rstrip('/')}/{name}{mark}{options}"
