"""The object store on a disk: files that are never seen half-written.

An object is written to a file under ``.incoming``, flushed to the disk, and only then linked to its name:
``link`` fails if the name is taken, which is the atomic put-if-absent, and ``rename`` replaces. A process
that dies before leaves a file under ``.incoming``, which no listing shows and :func:`sweep` removes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from mc_pipelines.foundation.errors import NotFoundError, UnavailableError
from mc_pipelines.foundation.object_store import (
    SETTING,
    ObjectInfo,
    check_path,
    check_prefix,
    check_range,
    refuse_range,
)

_INCOMING = ".incoming"
_MENDS = {
    errno.EEXIST: "a folder of that name is needed where there is an object: choose another path",
    errno.ENOTDIR: "a folder of that name is needed where there is an object: choose another path",
    errno.EISDIR: "there are objects under that name: choose another path",
    errno.ENOSPC: "free space on that disk, then repeat; nothing was written",
    errno.EDQUOT: "raise the quota or free space, then repeat; nothing was written",
    errno.EROFS: "the disk is mounted read-only: remount it, or name another folder",
    errno.EACCES: "let this user read and write that folder, or name another",
    errno.EPERM: "let this user read and write that folder, or name another",
}


class LocalObjectStore:
    """Objects as files under one folder, which is made when the first object is."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        """Write an object, wholly or not at all; see :class:`ObjectStore`."""
        target = self._file(path)
        with self._spoken_errors():
            if if_absent and target.is_file():
                return False
            incoming = self.root / _INCOMING / uuid4().hex
            _make_folder(incoming.parent)
            try:
                _write_through(incoming, content)
                _make_folder(target.parent)
                placed = _place(incoming, target, if_absent=if_absent)
                _flush_folder(target.parent)
            finally:
                incoming.unlink(missing_ok=True)
        return placed

    def get(self, path: str) -> bytes:
        """Return all bytes of an object."""
        with self._spoken_errors(path):
            return self._file(path).read_bytes()

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer where the object ends."""
        check_range(start, length)
        with self._spoken_errors(path), self._file(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if start > size:
                raise refuse_range(path, start, size)
            file.seek(start)
            return file.read(length)

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        with self._spoken_errors():
            return self._file(path).is_file()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under the folder ``prefix`` in the byte order of their paths."""
        names = []
        for parent, folders, files in os.walk(self.root / check_prefix(prefix)):
            folders[:] = [folder for folder in folders if folder != _INCOMING]
            names += [(Path(parent) / name).relative_to(self.root).as_posix() for name in files]
        for name in sorted(names):
            with suppress(FileNotFoundError):  # deleted since the walk
                facts = (self.root / name).stat()
                yield ObjectInfo(name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""
        with self._spoken_errors():
            self._file(path).unlink(missing_ok=True)

    def sweep(self, *, older_than: timedelta, now: datetime) -> int:
        """Remove what dead writers left under ``.incoming`` and return how many files that were."""
        removed = 0
        with self._spoken_errors():
            for file in (self.root / _INCOMING).glob("*"):
                with suppress(FileNotFoundError):
                    if datetime.fromtimestamp(file.stat().st_mtime, UTC) <= now - older_than:
                        file.unlink()
                        removed += 1
        return removed

    def _file(self, path: str) -> Path:
        return self.root / check_path(path)

    @contextmanager
    def _spoken_errors(self, path: str | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if path is not None and error.errno in {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}:
                raise NotFoundError("There is no such object", field="path", value=path) from error
            raise UnavailableError(
                f"The object store does not work: {os.strerror(error.errno or 0)}",
                field=SETTING,
                value=f"file://{self.root}",
                mend=_MENDS.get(error.errno or 0, "`mc doctor` says more"),
            ) from error


def _place(incoming: Path, target: Path, *, if_absent: bool) -> bool:
    if not if_absent:
        incoming.replace(target)
        return True
    try:
        os.link(incoming, target)
    except FileExistsError:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        return False
    return True


def _write_through(file: Path, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    """Make ``folder`` and its parents, and flush the parent of each one made: a new name must survive too."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
