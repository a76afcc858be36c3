"""The object store in Google Cloud Storage, through Google's own client.

Its conditional writes (``ifGenerationMatch=0``) and its default credentials, workload identity included, are
the reason that this one store is not obstore's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.api_core import exceptions as google_errors
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests.exceptions import RequestException

from mc_pipelines.foundation.errors import NotFoundError, UnavailableError
from mc_pipelines.foundation.object_store import (
    SETTING,
    ObjectInfo,
    check_path,
    check_prefix,
    check_range,
    refuse_range,
)

_TIMEOUT_SECONDS = 60


class GoogleObjectStore:
    """Objects in a bucket of Google Cloud Storage, under a prefix."""

    def __init__(self, bucket: Any, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._url = f"gs://{bucket.name}/{prefix}"

    @classmethod
    def open(cls, bucket: str, prefix: str) -> GoogleObjectStore:
        """Open a bucket with the process's own credentials.

        Raises:
            UnavailableError: there are no credentials.
        """
        try:
            return cls(storage.Client().bucket(bucket), prefix)
        except (GoogleAuthError, OSError) as error:
            raise UnavailableError(
                f"No credentials for Google Cloud Storage: {str(error).splitlines()[0]}",
                field=SETTING,
                value=f"gs://{bucket}/{prefix}",
                mend="run with a service account, or set GOOGLE_APPLICATION_CREDENTIALS",
            ) from error

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        """Write an object, wholly or not at all; see :class:`ObjectStore`."""
        blob = self._blob(path)
        with self._spoken_errors():
            try:
                blob.upload_from_string(
                    content,
                    content_type="application/octet-stream",
                    if_generation_match=0 if if_absent else None,
                    checksum="crc32c",
                    timeout=_TIMEOUT_SECONDS,
                )
            except google_errors.PreconditionFailed:
                return False
        return True

    def get(self, path: str) -> bytes:
        """Return all bytes of an object."""
        blob = self._blob(path)
        with self._spoken_errors(path):
            return bytes(blob.download_as_bytes(timeout=_TIMEOUT_SECONDS))

    def get_range(self, path: str, start: int, length: int) -> bytes:
        """Return ``length`` bytes from ``start``, or fewer where the object ends."""
        check_range(start, length)
        blob = self._blob(path)
        with self._spoken_errors(path):
            blob.reload(timeout=_TIMEOUT_SECONDS)
            size = int(blob.size)
            if start > size:
                raise refuse_range(path, start, size)
            end = min(start + length, size)
            if end == start:
                return b""
            return bytes(blob.download_as_bytes(start=start, end=end - 1, timeout=_TIMEOUT_SECONDS))

    def exists(self, path: str) -> bool:
        """Tell whether there is such an object."""
        blob = self._blob(path)
        with self._spoken_errors():
            return bool(blob.exists(timeout=_TIMEOUT_SECONDS))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects under the folder ``prefix`` in the byte order of their paths."""
        folder = check_prefix(prefix)
        wanted = self._prefix + (f"{folder}/" if folder else "")
        with self._spoken_errors():
            for blob in self._bucket.list_blobs(prefix=wanted or None, timeout=_TIMEOUT_SECONDS):
                yield ObjectInfo(blob.name.removeprefix(self._prefix), int(blob.size), blob.updated)

    def delete(self, path: str) -> None:
        """Remove an object; one that is not there is no error."""
        blob = self._blob(path)
        with self._spoken_errors():
            try:
                blob.delete(timeout=_TIMEOUT_SECONDS)
            except google_errors.NotFound:
                return

    def _blob(self, path: str) -> Any:
        return self._bucket.blob(self._prefix + check_path(path))

    @contextmanager
    def _spoken_errors(self, path: str | None = None) -> Iterator[None]:
        try:
            yield
        except google_errors.NotFound as error:
            if path is None:
                raise self._unavailable("the bucket does not exist", error) from error
            raise NotFoundError("There is no such object", field="path", value=path) from error
        except (google_errors.GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise self._unavailable(str(error).splitlines()[0], error) from error

    def _unavailable(self, why: str, error: Exception) -> UnavailableError:
        refused = isinstance(error, google_errors.Forbidden | google_errors.Unauthorized | GoogleAuthError)
        return UnavailableError(
            f"The object store does not answer: {why}",
            field=SETTING,
            value=self._url,
            mend="give this process an identity that may read, write and list there"
            if refused
            else "check the address and the network; `mc doctor` says more",
        )
