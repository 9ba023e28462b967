"""What lies in a folder. Local ones are listed here: pyarrow gives up on a name that is not UTF-8, and follows a link
that leads back up."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


@dataclass(frozen=True)
class Contents:
    """What lies in a folder, each sorted by its path.

    Attributes:
        files, folders: what can be read.
        unnamable: paths that nothing can be read by, not UTF-8 or with '..' in them.
        loops: paths of links to a folder that they lie in; they are among the folders, and nothing below them is here.
    """

    files: tuple[pafs.FileInfo, ...] = ()
    folders: tuple[pafs.FileInfo, ...] = ()
    unnamable: tuple[str, ...] = ()
    loops: tuple[str, ...] = ()


def is_absent(error: OSError) -> bool:
    """Whether an error says that there is nothing by that name, one that is too long for any file included."""
    return error.errno in _NOT_THERE


def contents_of(filesystem: pafs.FileSystem, folder: str, *, recursive: bool) -> Contents:
    """What lies in a folder, at any depth or right in it; nothing where there is no such folder."""
    if isinstance(filesystem, pafs.LocalFileSystem):
        return _local(folder, recursive=recursive)
    found = filesystem.get_file_info(pafs.FileSelector(folder, recursive=recursive, allow_not_found=True))
    found.sort(key=lambda info: info.path)
    leading_out = {info.path for info in found if ".." in info.path[len(folder) :].split("/")}
    return Contents(
        tuple(info for info in found if info.type == pafs.FileType.File and info.path not in leading_out),
        tuple(info for info in found if info.type == pafs.FileType.Directory and info.path not in leading_out),
        tuple(sorted(leading_out)),
    )


def _local(top: str, *, recursive: bool) -> Contents:
    files: list[pafs.FileInfo] = []
    folders: list[pafs.FileInfo] = []
    unnamable: list[str] = []
    loops: list[str] = []
    waiting = [(top, _around(top) if recursive else frozenset())]
    while waiting:
        folder, around = waiting.pop()
        for entry in _entries(folder):
            try:
                entry.name.encode()
            except UnicodeEncodeError:
                unnamable.append(entry.path)
                continue
            try:
                found = entry.stat()
            except OSError as error:
                if not is_absent(error):
                    raise
                continue  # a link that leads nowhere, or a file that has just gone
            kind = stat.S_IFMT(found.st_mode)
            if kind == stat.S_IFREG:
                size, time = found.st_size, found.st_mtime_ns
                files.append(pafs.FileInfo(entry.path, pafs.FileType.File, size=size, mtime_ns=time))
            elif kind == stat.S_IFDIR:
                folders.append(pafs.FileInfo(entry.path, pafs.FileType.Directory))
                if recursive and entry.is_symlink() and _identity(found) in around:
                    loops.append(entry.path)
                elif recursive:
                    waiting.append((entry.path, around | {_identity(found)}))
    files.sort(key=lambda info: info.path)
    folders.sort(key=lambda info: info.path)
    return Contents(tuple(files), tuple(folders), tuple(sorted(unnamable)), tuple(sorted(loops)))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if is_absent(error):
            return []
        raise


def _around(folder: str) -> frozenset[tuple[int, int]]:
    """A folder and all that it lies in, by its name and by where it really is."""
    ends = {Path(folder), Path(os.path.realpath(folder))}
    places = {place for end in ends for place in (end, *end.parents)}
    return frozenset(_identity(os.stat(place)) for place in places if os.path.exists(place))


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino
