"""Listing of folders.

Local folders are listed without pyarrow, which fails on names that are not UTF-8 and on links to a parent folder.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(frozen=True)
class Contents:
    """Contents of a folder; each tuple is sorted by path.

    Attributes:
        files: Files with a valid name.
        folders: Folders with a valid name.
        unnamable: Paths whose name is not valid, because it is not UTF-8 or contains the component '..'.
        loops: Paths of links that point to a folder that contains them. They are also in `folders`, but their contents
            are not listed.
        broken: Paths of links whose target does not exist.
    """

    files: tuple[pafs.FileInfo, ...] = ()
    folders: tuple[pafs.FileInfo, ...] = ()
    unnamable: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


def is_absent(error: OSError) -> bool:
    """Return whether an error means that a file or folder does not exist.

    Args:
        error: Error of the operating system. A name that is too long for any file counts as absent.

    Returns:
        False for other errors, such as missing permission.
    """
    return error.errno in _ABSENT


def contents_of(filesystem: pafs.FileSystem, folder: str, *, recursive: bool) -> Contents:
    """List a folder; a folder that does not exist counts as empty.

    Args:
        filesystem: pyarrow file system.
        folder: Path of the folder in the file system.
        recursive: Whether to list files and folders at any depth, or only those directly in the folder.

    Returns:
        Files, folders and paths that cannot be used.
    """
    if isinstance(filesystem, pafs.LocalFileSystem):
        return _local(folder, recursive=recursive)
    infos = filesystem.get_file_info(pafs.FileSelector(folder, recursive=recursive, allow_not_found=True))
    infos.sort(key=lambda info: info.path)
    leading_out = {info.path for info in infos if ".." in info.path[len(folder) :].split("/")}
    return Contents(
        tuple(info for info in infos if info.type == pafs.FileType.File and info.path not in leading_out),
        tuple(info for info in infos if info.type == pafs.FileType.Directory and info.path not in leading_out),
        tuple(sorted(leading_out)),
    )


def _local(top: str, *, recursive: bool) -> Contents:
    files: list[pafs.FileInfo] = []
    folders: list[pafs.FileInfo] = []
    unnamable: list[str] = []
    loops: list[str] = []
    broken: list[str] = []
    waiting = [(top, _ancestors(top) if recursive else frozenset())]
    while waiting:
        folder, ancestors = waiting.pop()
        for entry in _entries(folder):
            try:
                entry.name.encode()
            except UnicodeEncodeError:
                unnamable.append(entry.path)
                continue
            status = _status(entry)
            if status is None:  # a link without a target, or a file that has just been removed
                broken += [entry.path] if entry.is_symlink() else []
                continue
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFREG:
                size, time = status.st_size, status.st_mtime_ns
                files.append(pafs.FileInfo(entry.path, pafs.FileType.File, size=size, mtime_ns=time))
            elif kind == stat.S_IFDIR:
                folders.append(pafs.FileInfo(entry.path, pafs.FileType.Directory))
                if recursive and entry.is_symlink() and _identity(status) in ancestors:
                    loops.append(entry.path)
                elif recursive:
                    waiting.append((entry.path, ancestors | {_identity(status)}))
    files.sort(key=lambda info: info.path)
    folders.sort(key=lambda info: info.path)
    return Contents(tuple(files), tuple(folders), tuple(sorted(unnamable)), tuple(sorted(loops)), tuple(sorted(broken)))


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """Return the status of a file or of the target of a link; None if it does not exist."""
    try:
        return entry.stat()
    except OSError as error:
        if is_absent(error):
            return None
        raise


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if is_absent(error):
            return []
        raise


def _ancestors(folder: str) -> frozenset[tuple[int, int]]:
    """Return the identities of a folder and of its parents, along its path and along its real path."""
    ends = {Path(folder), Path(os.path.realpath(folder))}
    paths = {path for end in ends for path in (end, *end.parents)}
    return frozenset(_identity(os.stat(path)) for path in paths if os.path.exists(path))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
