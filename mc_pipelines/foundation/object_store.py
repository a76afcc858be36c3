"""The plain object store: named, immutable bytes; on a disk, in S3, Azure Blob Storage or Google Cloud Storage.

Receipts and logs never come here directly: they go through :class:`mc_pipelines.keys.store.EncryptedObjectStore`,
which is built on this. The lake of execution facts, models and graph generations use it plainly.

Every store promises the same: an object is wholly there or not there at all, ``put`` with ``if_absent`` is
decided by the store in one atomic step, and what ``put`` has returned from survives a loss of power.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import unquote, urlsplit

from mc_pipelines.foundation.errors import ConfigurationError, InputError

SETTING = "MC_OBJECT_STORE_URL"
_MAXIMUM_PATH = 900
"""Bytes of a path; S3 and GCS allow 1,024 together with the prefix of the URL."""
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+,@:~-]{0,199}")


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of one object."""

    path: str
    size: int
    """Bytes."""
    modified: datetime
    """Aware, UTC."""


class ObjectStore(Protocol):
    """One store; paths are relative to the URL it was opened with."""

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        """Write an object, wholly or not at all.

        Args:
            path: where; see :func:`check_path`.
            content: all its bytes.
            if_absent: leave an object that is there already as it is.

        Returns:
            False if ``if_absent`` and there was an object already. A store that repeats a request after
            a lost answer may say False of an object that this very call wrote; names derived from content
            make that harmless.

        Raises:
            InputError: the path is refused.
            UnavailableError: the store is full, down or refuses the credentials; nothing was written.
        """
        ...

    def get(self, path: str) -> bytes:
        """Return all bytes of an object.

        Raises:
            NotFoundError: there is no such object.
        """
        ...

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer where the object ends.

        Raises:
            NotFoundError: there is no such object.
            InputError: the range is negative or begins behind the end.
        """
        ...

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under the folder ``prefix`` (empty: all) in the byte order of their paths."""
        ...

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""
        ...


def check_path(path: str) -> str:
    """Return ``path`` if every store can hold it under the same name.

    Segments are joined by single slashes; each has 1 to 200 of letters, digits and ``._=+,@:~-`` and begins
    with a letter, a digit or an underscore. That refuses ``..``, absolute paths, hidden files, control
    characters, and what stores escape differently.

    Raises:
        InputError: it is no such path.
    """
    if (
        not isinstance(path, str)
        or len(path) > _MAXIMUM_PATH
        or not all(_SEGMENT.fullmatch(part) for part in path.split("/"))
    ):
        raise InputError(
            "Not a path of the object store",
            field="path",
            value=path,
            mend="join with single slashes names of letters, digits and ._=+,@:~- that begin with a letter or digit",
        )
    return path


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` without a closing slash; empty means the whole store.

    Raises:
        InputError: it is no folder's path.
    """
    trimmed = prefix.removesuffix("/")
    return check_path(trimmed) if trimmed else ""


def check_range(start: int, length: int) -> None:
    """Refuse a negative range.

    Raises:
        InputError: start or length is negative.
    """
    if start < 0 or length < 0:
        raise InputError("A range of bytes is not negative", field="start, length", value=f"{start}, {length}")


def refuse_range(path: str, start: int, size: int) -> InputError:
    """Return the error for a range that begins behind the end of an object of ``size`` bytes."""
    return InputError(f"The range begins behind the end of {path}, which has {size} bytes", field="start", value=start)


def open_object_store(url: str) -> ObjectStore:
    """Open the store that a URL names; no request is made yet.

    Args:
        url: ``file:///folder``, ``s3://bucket/prefix``, ``az://account/container/prefix`` or
            ``gs://bucket/prefix``; credentials come from where the cloud's own tools look for them.

    Raises:
        ConfigurationError: the URL names no such store.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        from pathlib import Path

        from mc_pipelines.foundation.object_store_local import LocalObjectStore

        return LocalObjectStore(Path(unquote(parts.path)))
    if parts.scheme in {"s3", "az"} and parts.netloc:
        from mc_pipelines.foundation.object_store_cloud import open_cloud_store

        return open_cloud_store(url)
    if parts.scheme == "gs" and parts.netloc:
        from mc_pipelines.foundation.object_store_gcs import GoogleObjectStore

        return GoogleObjectStore.open(parts.netloc, parts.path.strip("/"))
    raise ConfigurationError(
        "Not the URL of an object store",
        field=SETTING,
        value=f"{parts.scheme}://…" if parts.scheme else url,
        mend="write file:///folder, s3://bucket/prefix, az://account/container/prefix or gs://bucket/prefix",
    )
